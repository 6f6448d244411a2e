/* SPDX-License-Identifier: MIT */
/* Panels: the lanes of a vector hold one gate of so many units. Workers share whole panels. */
#ifndef FRNN_CORE_PANELS_H
#define FRNN_CORE_PANELS_H

#include "../kernels/table.h"
#include "sizes.h"

/* Panels or units [begin, end). */
typedef struct {
    int begin, end;
} unit_range;

/* The panels of so many units; the last one may be padded. */
static inline int panels_of(const frnn_isa *isa, int units)
{
    return (int)size_pieces((size_t)units, (size_t)isa->lanes);
}

/* Panels that fill the width of a product's tile where a unit has so many gates. */
static inline int panels_per_tile(const frnn_product *product, int gates)
{
    return gates < product->tile_vectors ? product->tile_vectors / gates : 1;
}

/* The panels of a worker's share, in whole tiles as far as possible. */
static inline unit_range panel_range(const frnn_product *product, int panels, int gates, int worker,
                                     int workers)
{
    if (workers == 1) /* the usual case does without divisions */
        return (unit_range){0, panels};
    const size_t count = (size_t)panels, grain = (size_t)panels_per_tile(product, gates);
    return (unit_range){(int)share_begin(count, grain, worker, workers),
                        (int)share_begin(count, grain, worker + 1, workers)};
}

/* The units of a range of panels; `units`: all, where the last panel is padded. */
static inline unit_range units_of_panels(unit_range panels, int lanes, int units)
{
    const int end = panels.end * lanes;
    return (unit_range){panels.begin * lanes, end < units ? end : units};
}

#endif
