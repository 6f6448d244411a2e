/* SPDX-License-Identifier: MIT */
/* Sequences laid out in memory in every way that strides allow. */
#ifndef FRNN_TESTS_LAYOUT_H
#define FRNN_TESTS_LAYOUT_H

#include <stddef.h>

/* Where [steps][batch][width] floats lie. */
typedef struct {
    ptrdiff_t step, row;
    size_t origin, floats;
} layout;

/* The kind-th way to lay sequences out; the last one, of what is only read, has one row for all. */
enum { LAYOUTS = 5, X_LAYOUTS = 6 };
static inline layout layout_make(unsigned kind, size_t steps, size_t batch, size_t width)
{
    ptrdiff_t step = (ptrdiff_t)(batch * width), row = (ptrdiff_t)width;
    switch (kind) {
    case 1: row = (ptrdiff_t)(steps * width), step = (ptrdiff_t)width; break; /* batch first */
    case 2: row = (ptrdiff_t)width + 3, step = (ptrdiff_t)batch * row + 5; break;
    case 3: step = -step; break;
    case 4: row = -row - 1, step = (ptrdiff_t)batch * -row; break;
    case 5: row = 0, step = (ptrdiff_t)width; break; /* one row for all; for x only */
    default: break;
    }
    const size_t over_steps = (steps - 1) * (size_t)(step < 0 ? -step : step);
    const size_t over_rows = (batch - 1) * (size_t)(row < 0 ? -row : row);
    return (layout){step, row, (step < 0 ? over_steps : 0) + (row < 0 ? over_rows : 0),
                    over_steps + over_rows + width};
}

#endif
