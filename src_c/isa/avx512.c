/* SPDX-License-Identifier: MIT */
/* The kernels compiled for AVX-512F. The pragmas enable it for this file only. */
#include "../kernels/table.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f"))), apply_to = function)
#else
#pragma GCC target("avx512f")
#endif
#include "../simd/vec_avx512.h"

#include "../kernels/isa_table.h"

const frnn_isa frnn_isa_avx512 = ISA_TABLE("avx512");

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
