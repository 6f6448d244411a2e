/* SPDX-License-Identifier: MIT */
/* The public view of a kernel table. */
#include "../../kernels/table.h"

const char *frnn_isa_name(const frnn_isa *isa) { return isa->name; }

double frnn_probe_fma(const frnn_isa *isa, size_t rounds, float *result)
{
    return isa->probe_fma(rounds, result);
}

void frnn_probe_read(const frnn_isa *isa, const float *values, size_t count, float *result)
{
    isa->probe_read(values, count, result);
}
