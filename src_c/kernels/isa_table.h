/* SPDX-License-Identifier: MIT */
/* Every kernel over the vector layer that was included before, and the table that lists them. The
 * including file also defines the tuning constants of its instruction set, see src_c/isa/scalar.c. */
#include "table.h"

#include "activation.h"

#include "product/product_f32.h"

#include "cells/finish.h"
#include "cells/gradient_pass.h"

#include "cells/cell_gru.h"
#include "cells/cell_gru_reset_before.h"
#include "cells/cell_lstm.h"
#include "cells/cell_lstm_coupled.h"
#include "cells/cell_rnn.h"
#include "cells/projection.h"

#include "functions.h"
#include "probe.h"
#include "product/outer.h"
#include "rows.h"

static unsigned denormals_off(void) { return vec_denormals_off(); }
static void denormals_restore(unsigned saved) { vec_denormals_restore(saved); }
static void pause_thread(void) { vec_pause(); }
static unsigned long long ticks(void) { return vec_ticks(); }

/* The table's contents: what follows the name are products beside float32. */
#define ISA_TABLE(isa_name, ...)                                                                   \
    {                                                                                              \
        .name = isa_name, .lanes = LANES,                                                          \
        .product = {[FRNN_FLOAT32] = &product_f32, __VA_ARGS__},                                   \
        .cell = {                                                                                  \
            [FRNN_RNN_TANH] = RNN_CELL(tanh),                                                      \
            [FRNN_RNN_RELU] = RNN_CELL(relu),                                                      \
            [FRNN_GRU] = GRU_CELL,                                                                 \
            [FRNN_GRU_RESET_BEFORE] = GRU_RESET_BEFORE_CELL,                                       \
            [FRNN_LSTM] = LSTM_CELL,                                                               \
            [FRNN_LSTM_COUPLED] = LSTM_COUPLED_CELL,                                               \
        },                                                                                         \
        .projection = PROJECTION_STAGE,                                                            \
        .pack_bias = pack_bias, .pack_transposed = pack_transposed, .pack_rows = pack_rows,        \
        .outer = outer, .sum_columns = sum_columns,                                                \
        .function = {                                                                              \
            [FRNN_RELU] = FUNCTION(relu),                                                          \
            [FRNN_TANH] = FUNCTION(tanh),                                                          \
            [FRNN_SIGMOID] = FUNCTION(sigmoid),                                                    \
            [FRNN_ELU] = FUNCTION(elu),                                                            \
            [FRNN_LEAKY_RELU] = FUNCTION(leaky_relu),                                              \
            [FRNN_SILU] = FUNCTION(silu),                                                          \
            [FRNN_GELU] = FUNCTION(gelu),                                                          \
            [FRNN_GELU_TANH] = FUNCTION(gelu_tanh),                                                \
            [FRNN_SOFTPLUS] = FUNCTION(softplus),                                                  \
            [FRNN_HARDTANH] = FUNCTION(hardtanh),                                                  \
            [FRNN_HARDSIGMOID] = FUNCTION(hardsigmoid),                                            \
            [FRNN_MISH] = FUNCTION(mish),                                                          \
            [FRNN_SOFTSIGN] = FUNCTION(softsign),                                                  \
            [FRNN_HARDSWISH] = FUNCTION(hardswish),                                                \
            [FRNN_SCALE] = FUNCTION(scale),                                                        \
        },                                                                                         \
        .softmax = softmax, .log_softmax = log_softmax, .layer_norm = layer_norm,                  \
        .batch_norm = batch_norm, .sum_steps = sum_steps, .weighted_sum = weighted_sum,            \
        .probe_fma = probe_fma, .probe_read = probe_read,                                          \
        .denormals_off = denormals_off, .denormals_restore = denormals_restore,                    \
        .pause = pause_thread, .ticks = ticks,                                                     \
    }
