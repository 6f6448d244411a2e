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

/* Tuning of the products: see where each is used. */
enum {
    TILE_VECTORS = 4, /* a tile of the k loop is ACCUMULATORS / 4 rows x 4 vectors of weights */
    SWEEP_RUN = 256,  /* a run's weights stay in L1 while all rows use them; ptb_lstm_650x2 */
    MULTIPLY_RUN = 256,
    OUTER_RUN = 256,      /* what a run takes of a panel of left and of three of right stays in L1 */
    OUTER_BLOCK_RUNS = 64 /* panels of right that stay in L2 while all of left pass by, in runs */
};

#include "../kernels/isa_table.h"

const frnn_isa frnn_isa_avx2 = ISA_TABLE("avx2", [FRNN_BFLOAT16_WEIGHTS] = NULL);

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
