/* SPDX-License-Identifier: MIT */
/* Layouts of a batch of sequences in memory: the strides that the tests use. */
#ifndef FRNN_TESTS_LAYOUT_H
#define FRNN_TESTS_LAYOUT_H

#include <stddef.h>

/* Where the elements of [steps][batch][width] floats are. */
typedef struct {
    ptrdiff_t step, row;
    size_t origin, floats;
} layout;

/* Returns the layout with number `kind`. The last one, where all rows are the same memory, is for
 * arrays that are only read. */
enum { LAYOUTS = 5, X_LAYOUTS = 6 };
static inline layout layout_make(unsigned kind, size_t steps, size_t batch, size_t width)
{
    ptrdiff_t step = (ptrdiff_t)(batch * width), row = (ptrdiff_t)width;
    switch (kind) {
    case 1: row = (ptrdiff_t)(steps * width), step = (ptrdiff_t)width; break; /* batch first */
    case 2: row = (ptrdiff_t)width + 3, step = (ptrdiff_t)batch * row + 5; break;
    case 3: step = -step; break;
    case 4: row = -row - 1, step = (ptrdiff_t)batch * -row; break;
    case 5: row = 0, step = (ptrdiff_t)width; break; /* all rows are the same memory; x only */
    default: break;
    }
    const size_t over_steps = (steps - 1) * (size_t)(step < 0 ? -step : step);
    const size_t over_rows = (batch - 1) * (size_t)(row < 0 ? -row : row);
    return (layout){step, row, (step < 0 ? over_steps : 0) + (row < 0 ? over_rows : 0),
                    over_steps + over_rows + width};
}

#endif
