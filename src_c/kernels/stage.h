/* SPDX-License-Identifier: MIT */
/* project and step of every stage: a sweep, and what closes the sums of each tile. */
#ifndef FRNN_KERNELS_STAGE_H
#define FRNN_KERNELS_STAGE_H

/* What closes the sums of project. */
static void finish_nothing(const frnn_pass *a, tile_place at, int rows, int panels)
{
    (void)a, (void)at, (void)rows, (void)panels;
}

/* The slot that gets nothing from x, n_h, starts its recurrent sum at the bias. */
static void finish_gru_bias(const frnn_pass *a, tile_place at, int rows, int panels)
{
    for (int p = at.panel; p < at.panel + panels; p++) {
        const vec n_h = vec_load(bias_at(a, p, GRU_SLOTS) + (GRU_SLOTS - 1) * LANES);
        for (int r = at.row; r < at.row + rows; r++)
            vec_store(pre_at(a, p, r, GRU_SLOTS) + (GRU_SLOTS - 1) * LANES, n_h);
    }
}

/* One vector of units: loads its sums, computes the cell, stores y. stage is a constant. */
ALWAYS_INLINE void finish_units(const frnn_pass *a, int row, int panel, const int slots,
                                const int stage)
{
    const int unit = panel * LANES, count = a->units - unit, whole = count >= LANES;
    const int needs_h = stage == FRNN_STAGE_GRU || stage == FRNN_STAGE_GRU_RESET ||
                        stage == FRNN_STAGE_GRU_CANDIDATE;
    const int needs_c = stage == FRNN_STAGE_LSTM || stage == FRNN_STAGE_GRU_RESET ||
                        stage == FRNN_STAGE_GRU_CANDIDATE;
    const float *const pre = pre_at(a, panel, row, slots);
    float *const y = a->y[row] + unit;
    float *const c = needs_c ? a->c + (size_t)row * a->c_stride + unit : NULL;
    vec gate[FRNN_MAX_SLOTS], h = vec_zero(), result;
    UNROLL for (int g = 0; g < slots; g++) gate[g] = vec_load(pre + g * LANES);
    if (needs_h)
        h = whole ? vec_load(a->h[row] + unit) : vec_load_part(a->h[row] + unit, count);
    switch (stage) {
    case FRNN_STAGE_RNN_TANH: result = rnn_tanh_finish(gate); break;
    case FRNN_STAGE_RNN_RELU: result = rnn_relu_finish(gate); break;
    case FRNN_STAGE_GRU: result = gru_finish(gate, h); break;
    case FRNN_STAGE_GRU_RESET: result = gru_reset_finish(gate, h, c); break;
    case FRNN_STAGE_GRU_CANDIDATE: result = gru_candidate_finish(gate, h, c); break;
    case FRNN_STAGE_LSTM: result = lstm_finish(gate, c); break;
    default: result = gate[0]; break; /* linear: the sum itself */
    }
    if (whole)
        vec_store(y, result);
    else
        vec_store_part(y, result, count);
}

#define PROJECT_KERNEL(name, sweep_gates, slots, finish)                   \
    static void name(const frnn_pass *a)                                   \
    {                                                                      \
        sweep_gates(a, &(const sweep_kind){slots, 0, 1, finish});          \
    }
PROJECT_KERNEL(project_rnn, sweep_1, RNN_SLOTS, finish_nothing)
PROJECT_KERNEL(project_gru, sweep_3, GRU_SLOTS, finish_gru_bias)
PROJECT_KERNEL(project_gru_reset, sweep_2, GRU_RESET_SLOTS, finish_nothing)
PROJECT_KERNEL(project_lstm, sweep_4, LSTM_SLOTS, finish_nothing)
#undef PROJECT_KERNEL

/* first: the slot of the first recurrent sum; from_bias: there was no project before. */
#define STEP_KERNEL(name, sweep_gates, slots, first, from_bias, stage)                  \
    static void finish_##name(const frnn_pass *a, tile_place at, int rows, int panels)  \
    {                                                                                   \
        for (int r = at.row; r < at.row + rows; r++)                                    \
            for (int p = at.panel; p < at.panel + panels; p++)                          \
                finish_units(a, r, p, slots, stage);                                    \
    }                                                                                   \
    static void step_##name(const frnn_pass *a)                                         \
    {                                                                                   \
        sweep_gates(a, &(const sweep_kind){slots, first, from_bias, finish_##name});    \
    }
STEP_KERNEL(rnn_tanh, sweep_1, RNN_SLOTS, 0, 0, FRNN_STAGE_RNN_TANH)
STEP_KERNEL(rnn_relu, sweep_1, RNN_SLOTS, 0, 0, FRNN_STAGE_RNN_RELU)
STEP_KERNEL(gru, sweep_3, GRU_SLOTS, 1, 0, FRNN_STAGE_GRU)
STEP_KERNEL(gru_reset, sweep_2, GRU_RESET_SLOTS, 0, 0, FRNN_STAGE_GRU_RESET)
STEP_KERNEL(gru_candidate, sweep_1, RNN_SLOTS, 0, 0, FRNN_STAGE_GRU_CANDIDATE)
STEP_KERNEL(lstm, sweep_4, LSTM_SLOTS, 0, 0, FRNN_STAGE_LSTM)
STEP_KERNEL(linear, sweep_1, RNN_SLOTS, 0, 1, FRNN_STAGE_LINEAR)
#undef STEP_KERNEL

#endif
