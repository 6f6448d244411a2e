/* SPDX-License-Identifier: MIT */
/* The forward pass in double: one row, layer, direction and step after another. */
#include "oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_GATES = 4 };

/* One layer and direction of one row. */
typedef struct {
    const frnn_config *config;
    const frnn_weights *weights;
    int inputs, outputs;
    double *pre_x, *pre_h; /* [gates][hidden_size] */
    double *reset_h;       /* [hidden_size] */
    double *h, *c;         /* [outputs], [hidden_size] */
} worker;

const oracle_cell oracle_cells[FRNN_CELL_COUNT] = {
    [FRNN_RNN_TANH] = {"rnn", 1, 0, 0},
    [FRNN_RNN_RELU] = {"rnn-relu", 1, 0, 0},
    [FRNN_GRU] = {"gru", 3, 0, 0},
    [FRNN_GRU_RESET_BEFORE] = {"gru-before", 3, 0, 0},
    [FRNN_LSTM] = {"lstm", 4, 1, 1},
    [FRNN_LSTM_COUPLED] = {"lstm-coupled", 3, 1, 1},
};

int oracle_kinds(void)
{
    int kinds = FRNN_CELL_COUNT;
    for (int cell = 0; cell < FRNN_CELL_COUNT; cell++) kinds += oracle_cells[cell].has_projection;
    return kinds;
}

oracle_kind oracle_kind_at(int index)
{
    int cell = 0;
    if (index < FRNN_CELL_COUNT)
        return (oracle_kind){(frnn_cell)index, 0};
    for (int left = index - FRNN_CELL_COUNT; left > 0 || !oracle_cells[cell].has_projection; cell++)
        left -= oracle_cells[cell].has_projection;
    return (oracle_kind){(frnn_cell)cell, 1};
}

int oracle_output_size(const frnn_config *config)
{
    return config->proj_size > 0 ? config->proj_size : config->hidden_size;
}

int oracle_input_size(const frnn_config *config, int layer)
{
    const int below = (1 + config->bidirectional) * oracle_output_size(config);
    return layer == 0 ? config->input_size : below;
}

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

/* bias[row] + matrix[row] * values, for rows [begin, end). */
static void product(double *sum, const float *matrix, const float *bias, const double *values,
                    int depth, int begin, int end)
{
    for (int row = begin; row < end; row++) {
        double total = bias ? (double)bias[row] : 0.0;
        const float *weights = matrix + (size_t)row * (size_t)depth;
        for (int k = 0; k < depth; k++) total += (double)weights[k] * values[k];
        sum[row] = total;
    }
}

static void step_rnn(worker *w)
{
    for (int j = 0; j < w->config->hidden_size; j++) {
        const double pre = w->pre_x[j] + w->pre_h[j];
        if (w->config->cell == FRNN_RNN_TANH)
            w->h[j] = tanh(pre);
        else
            w->h[j] = pre > 0.0 ? pre : 0.0;
    }
}

static void step_gru(worker *w)
{
    const int n = w->config->hidden_size;
    if (w->config->cell == FRNN_GRU_RESET_BEFORE) {
        for (int j = 0; j < n; j++) w->reset_h[j] = sigmoid(w->pre_x[j] + w->pre_h[j]) * w->h[j];
        product(w->pre_h, w->weights->weight_hh, w->weights->bias_hh, w->reset_h, n, 2 * n, 3 * n);
    }
    for (int j = 0; j < n; j++) {
        const double reset = sigmoid(w->pre_x[j] + w->pre_h[j]);
        const double update = sigmoid(w->pre_x[n + j] + w->pre_h[n + j]);
        const double hidden = w->pre_h[2 * n + j];
        const int before = w->config->cell == FRNN_GRU_RESET_BEFORE;
        const double candidate = tanh(w->pre_x[2 * n + j] + (before ? hidden : reset * hidden));
        w->h[j] = (1.0 - update) * candidate + update * w->h[j];
    }
}

static void step_lstm(worker *w)
{
    const int n = w->config->hidden_size, coupled = w->config->cell == FRNN_LSTM_COUPLED;
    for (int j = 0; j < n; j++) {
        double pre[MOST_GATES];
        for (int g = 0; g < MOST_GATES - coupled; g++)
            pre[g] = w->pre_x[g * n + j] + w->pre_h[g * n + j];
        const double in = sigmoid(pre[0]), forget = coupled ? 1.0 - in : sigmoid(pre[1]);
        w->c[j] = forget * w->c[j] + in * tanh(pre[2 - coupled]);
        w->reset_h[j] = sigmoid(pre[3 - coupled]) * tanh(w->c[j]);
    }
    if (w->weights->weight_hr)
        product(w->h, w->weights->weight_hr, NULL, w->reset_h, n, 0, w->outputs);
    else
        memcpy(w->h, w->reset_h, (size_t)n * sizeof *w->h);
}

static void step(worker *w, const double *x)
{
    const int rows = oracle_cells[w->config->cell].gates * w->config->hidden_size;
    product(w->pre_x, w->weights->weight_ih, w->weights->bias_ih, x, w->inputs, 0, rows);
    product(w->pre_h, w->weights->weight_hh, w->weights->bias_hh, w->h, w->outputs, 0, rows);
    switch (w->config->cell) {
    case FRNN_RNN_TANH:
    case FRNN_RNN_RELU: step_rnn(w); break;
    case FRNN_GRU:
    case FRNN_GRU_RESET_BEFORE: step_gru(w); break;
    case FRNN_LSTM:
    case FRNN_LSTM_COUPLED: step_lstm(w); break;
    }
}

static double *doubles(size_t count)
{
    double *values = calloc(count ? count : 1, sizeof *values);
    if (!values)
        abort();
    return values;
}

static void load_state(double *into, const float *from, size_t first, size_t count)
{
    for (size_t i = 0; i < count; i++) into[i] = from ? (double)from[first + i] : 0.0;
}

/* All layers of one row. below: [steps][widest] holds the row's x and is overwritten. */
static void run_row(const frnn_config *config, const frnn_weights *weights, const frnn_call *call,
                    size_t row, double *below, double *above, worker *w, double *hn, double *cn)
{
    const size_t length = call->lengths ? call->lengths[row] : call->steps;
    const size_t hidden = (size_t)config->hidden_size, outputs = (size_t)w->outputs;
    const int directions = 1 + config->bidirectional;
    for (int layer = 0; layer < config->num_layers; layer++) {
        w->inputs = oracle_input_size(config, layer);
        for (int direction = 0; direction < directions; direction++) {
            const size_t index = (size_t)(layer * directions + direction) * call->batch + row;
            w->weights = &weights[layer * directions + direction];
            load_state(w->h, call->h0, index * outputs, outputs);
            load_state(w->c, call->c0, index * hidden, hidden);
            for (size_t s = 0; s < length; s++) {
                const size_t time = direction ? length - 1 - s : s;
                step(w, below + time * (size_t)w->inputs);
                memcpy(above + (time * (size_t)directions + (size_t)direction) * outputs, w->h,
                       outputs * sizeof *above);
            }
            memcpy(hn + index * outputs, w->h, outputs * sizeof *hn);
            if (oracle_cells[config->cell].has_c)
                memcpy(cn + index * hidden, w->c, hidden * sizeof *cn);
        }
        memcpy(below, above, length * (size_t)directions * outputs * sizeof *below);
    }
}

void oracle_forward(const frnn_config *config, const frnn_weights *weights, const frnn_call *call,
                    double *y, double *hn, double *cn)
{
    const size_t outputs = (size_t)oracle_output_size(config);
    const size_t width = outputs * (size_t)(1 + config->bidirectional);
    const size_t inputs = (size_t)config->input_size, hidden = (size_t)config->hidden_size;
    double *below = doubles(call->steps * (inputs > width ? inputs : width));
    double *above = doubles(call->steps * width);
    worker w = {config, NULL, 0, (int)outputs, doubles(MOST_GATES * hidden),
                doubles(MOST_GATES * hidden), doubles(hidden), doubles(hidden), doubles(hidden)};
    for (size_t row = 0; row < call->batch; row++) {
        for (size_t t = 0; t < call->steps; t++) {
            const ptrdiff_t at = (ptrdiff_t)t * call->x_step + (ptrdiff_t)row * call->x_row;
            for (size_t i = 0; i < inputs; i++)
                below[t * inputs + i] = (double)call->x[at + (ptrdiff_t)i];
        }
        memset(above, 0, call->steps * width * sizeof *above);
        run_row(config, weights, call, row, below, above, &w, hn, cn);
        for (size_t t = 0; t < call->steps; t++)
            memcpy(y + (t * call->batch + row) * width, above + t * width, width * sizeof *y);
    }
    free(below), free(above), free(w.pre_x), free(w.pre_h), free(w.reset_h), free(w.h), free(w.c);
}
