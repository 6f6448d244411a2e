/* SPDX-License-Identifier: MIT */
/* The kernels in portable C with one lane. Every machine can run this table. */
#include "../simd/vec_scalar.h"

#include "../kernels/isa_table.h"

const frnn_isa frnn_isa_scalar = ISA_TABLE("scalar");
