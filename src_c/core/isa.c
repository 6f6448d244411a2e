/* SPDX-License-Identifier: MIT */
/* The public view of a kernel table. */
#include "../kernels/table.h"

const char *frnn_isa_name(const frnn_isa *isa) { return isa->name; }

void frnn_sigmoid(const frnn_isa *isa, float *y, const float *x, size_t count)
{
    isa->sigmoid(y, x, count);
}

void frnn_tanh(const frnn_isa *isa, float *y, const float *x, size_t count)
{
    isa->tanh(y, x, count);
}
