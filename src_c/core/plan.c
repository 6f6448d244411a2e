/* SPDX-License-Identifier: MIT */
/* How a pass is cut, from the sizes of the model and of the batch. */
#include "plan.h"

enum {
    /* Pre-activations of a chunk stay in L2 beside the weights in use.
     * Case rnn/lstm_500_128_32_32: longer chunks go through memory. */
    PRE_BYTES = 256 * 1024,
    /* Rows enough to hide the weights' way from L3; case lstm_25_64_1024_1024. */
    LEAST_BLOCK_ROWS = 96,
    /* Rows of the projection enough for full tiles to pay for reading its weights; case
     * gru_500_1_256_256. */
    LEAST_CHUNK_ROWS = 192
};

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

frnn_plan frnn_plan_make(const frnn_model *model, size_t steps, size_t batch)
{
    size_t row_bytes = 0;
    for (int i = 0; i < model->stages; i++)
        row_bytes += model_pre_floats(model, &model->layers->stage[i]) * sizeof(float);
    const size_t fitting = PRE_BYTES / row_bytes;
    frnn_plan plan;
    plan.block_rows = larger(1, smaller(batch, larger(fitting, LEAST_BLOCK_ROWS)));
    /* Chunks of equal length: a short last one would read the input weights for a few rows. */
    const size_t most = larger(1, larger(fitting, LEAST_CHUNK_ROWS) / plan.block_rows);
    const size_t chunks = (steps - 1) / most + 1;
    plan.chunk_steps = (steps - 1) / chunks + 1;
    return plan;
}
