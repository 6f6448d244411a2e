/* SPDX-License-Identifier: MIT */
/* The kernels in portable C, one lane: the table that every machine has. */
#include "../simd/vec_scalar.h"

#include "../kernels/isa_table.h"

const frnn_isa frnn_isa_scalar = ISA_TABLE("scalar");
