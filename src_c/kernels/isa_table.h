/* SPDX-License-Identifier: MIT */
/* Every kernel over the vector layer that was included before, and the table that lists them. */
#include "table.h"

#include "activation.h"
#include "cells/cell_gru.h"
#include "cells/cell_lstm.h"
#include "cells/cell_rnn.h"
#include "product/pack.h"
#include "product/tile.h"

#include "product/sweep.h"

#include "cells/gradient.h"
#include "product/multiply.h"
#include "product/outer.h"
#include "probe.h"
#include "rows.h"
#include "stage.h"

static unsigned denormals_off(void) { return vec_denormals_off(); }
static void denormals_restore(unsigned saved) { vec_denormals_restore(saved); }
static void pause_thread(void) { vec_pause(); }
static unsigned long long ticks(void) { return vec_ticks(); }

/* The table's contents. Gate numbers are PyTorch's: RNN 0, GRU r z n, LSTM i f g o. */
#define ISA_TABLE(isa_name)                                                                        \
    {                                                                                              \
        .name = isa_name, .lanes = LANES, .pack = pack, .pack_bias = pack_bias,                    \
        .pack_transposed = pack_transposed, .pack_rows = pack_rows,                                \
        .multiply = multiply, .multiply_add = multiply_add, .multiply_bias = multiply_bias,        \
        .outer = outer, .sum_columns = sum_columns,                                                \
        .sigmoid = sigmoid_map, .tanh = tanh_map, .relu = relu_map,                                \
        .softmax = softmax, .log_softmax = log_softmax, .layer_norm = layer_norm, .mean = mean,    \
        .probe_fma = probe_fma, .probe_read = probe_read,                                          \
        .denormals_off = denormals_off, .denormals_restore = denormals_restore,                    \
        .pause = pause_thread, .ticks = ticks,                                                     \
        .stages[FRNN_F32] = {                                                                      \
            [FRNN_STAGE_RNN_TANH] = {1, 1, 1, {0}, {0}, project_rnn, step_rnn_tanh, NULL,          \
                                     gradient_rnn_tanh},                                           \
            [FRNN_STAGE_RNN_RELU] = {1, 1, 1, {0}, {0}, project_rnn, step_rnn_relu, NULL,          \
                                     gradient_rnn_relu},                                           \
            [FRNN_STAGE_GRU] = {4, 3, 3, {2, 0, 1, -1}, {-1, 0, 1, 2}, project_gru, step_gru,      \
                                step_gru_recorded, gradient_gru},                                  \
            [FRNN_STAGE_GRU_RESET] = {2, 2, 2, {0, 1}, {0, 1}, project_gru_reset, step_gru_reset,  \
                                      step_gru_reset_recorded, gradient_gru_reset},                \
            [FRNN_STAGE_GRU_CANDIDATE] = {1, 1, 1, {2}, {2}, project_rnn, step_gru_candidate,      \
                                          step_gru_candidate_recorded, gradient_gru_candidate},    \
            [FRNN_STAGE_LSTM] = {4, 4, 4, {0, 1, 2, 3}, {0, 1, 2, 3}, project_lstm, step_lstm,     \
                                 step_lstm_recorded, gradient_lstm},                               \
            [FRNN_STAGE_LINEAR] = {1, 1, 1, {0}, {0}, project_rnn, step_linear, NULL,              \
                                   gradient_linear},                                               \
        },                                                                                         \
    }
