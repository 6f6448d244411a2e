/* SPDX-License-Identifier: MIT */
/* The kernels compiled for AVX2 and FMA. The pragmas enable it for this file only. */
#include "../kernels/table.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#include "../simd/vec_avx2.h"

#include "../kernels/isa_table.h"

const frnn_isa frnn_isa_avx2 = ISA_TABLE("avx2");

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
