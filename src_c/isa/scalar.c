/* SPDX-License-Identifier: MIT */
/* The kernels in portable C with one lane. Every machine can run this table. */
#include "../simd/vec_scalar.h"

/* Tuning of the products: see where each is used. */
enum {
    TILE_VECTORS = 4, /* a tile of the k loop is ACCUMULATORS / 4 rows x 4 vectors of weights */
    SWEEP_RUN = 256,  /* a run's weights stay in L1 while all rows use them; ptb_lstm_650x2 */
    MULTIPLY_RUN = 256,
    OUTER_RUN = 256,      /* what a run takes of a panel of left and of three of right stays in L1 */
    OUTER_BLOCK_RUNS = 64 /* panels of right that stay in L2 while all of left pass by, in runs */
};

#include "../kernels/isa_table.h"
#include "../kernels/product/product_bf16_weights.h"

const frnn_isa frnn_isa_scalar = 
    ISA_TABLE("scalar", [FRNN_BFLOAT16_WEIGHTS] = &product_bf16_weights);
