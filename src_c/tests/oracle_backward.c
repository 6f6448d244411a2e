/* SPDX-License-Identifier: MIT */
/* Forward and backward in double, one row after another; every intermediate value is kept. */
#include "oracle_backward.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"

enum { MOST_GATES = 4, MOST_PARTS = 8 };

/* One layer and direction of one row. Step s computes gate[s], h[s + 1] and c[s + 1] from x[s],
 * h[s] and c[s]. */
typedef struct {
    const frnn_config *config;
    const frnn_weights *w;
    int gates, inputs, hidden, outputs;
    double *x, *h, *c;       /* [steps][inputs], [steps + 1][outputs], [steps + 1][hidden] */
    double *gate;            /* [steps][MOST_GATES][hidden]: values; GRU n_h as the fourth */
    double *kink;
    double *tensor[ORACLE_TENSORS]; /* gradients; NULL: not wanted */
} part;

static double *doubles(size_t count)
{
    double *values = calloc(count ? count : 1, sizeof *values);
    if (!values)
        abort();
    return values;
}

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

size_t oracle_tensor_size(const frnn_config *config, int layer, int tensor)
{
    const size_t rows = (size_t)(oracle_cells[config->cell].gates * config->hidden_size);
    switch (tensor) {
    case 0: return rows * (size_t)oracle_input_size(config, layer);
    case 1: return rows * (size_t)oracle_output_size(config);
    case 4: return (size_t)(config->proj_size * config->hidden_size);
    default: return rows;
    }
}

size_t oracle_weights_size(const frnn_config *config)
{
    size_t total = 0;
    for (int layer = 0; layer < config->num_layers; layer++)
        for (int i = 0; i < ORACLE_TENSORS; i++) total += oracle_tensor_size(config, layer, i);
    return total * (size_t)(1 + config->bidirectional);
}

/* ---- Forward --------------------------------------------------------------------------------- */

/* Row `row` of matrix times values, plus the bias. */
static double dot(const float *matrix, const float *bias, int row, const double *values, int depth)
{
    double sum = bias ? (double)bias[row] : 0.0;
    for (int k = 0; k < depth; k++)
        sum += (double)matrix[(size_t)row * (size_t)depth + (size_t)k] * values[k];
    return sum;
}

static double x_sum(const part *p, size_t s, int row)
{
    return dot(p->w->weight_ih, p->w->bias_ih, row, p->x + s * (size_t)p->inputs, p->inputs);
}

static double h_sum(const part *p, int row, const double *h)
{
    return dot(p->w->weight_hh, p->w->bias_hh, row, h, p->outputs);
}

static double *gate_at(const part *p, size_t s, int gate)
{
    return p->gate + (s * MOST_GATES + (size_t)gate) * (size_t)p->hidden;
}

static double *h_at(const part *p, size_t s) { return p->h + s * (size_t)p->outputs; }
static double *c_at(const part *p, size_t s) { return p->c + s * (size_t)p->hidden; }

static void forward_rnn(const part *p, size_t s)
{
    for (int j = 0; j < p->hidden; j++) {
        const double pre = x_sum(p, s, j) + h_sum(p, j, h_at(p, s));
        *p->kink = fmin(*p->kink, fabs(pre));
        h_at(p, s + 1)[j] = p->config->cell == FRNN_RNN_TANH ? tanh(pre) : pre > 0 ? pre : 0;
    }
}

static void forward_gru(const part *p, size_t s)
{
    const int n = p->hidden, before = p->config->cell == FRNN_GRU_RESET_BEFORE;
    double *r = gate_at(p, s, 0), *z = gate_at(p, s, 1), *c = gate_at(p, s, 2);
    double *hidden = gate_at(p, s, 3), *reset = doubles((size_t)n);
    const double *h = h_at(p, s);
    for (int j = 0; j < n; j++) {
        r[j] = sigmoid(x_sum(p, s, j) + h_sum(p, j, h));
        z[j] = sigmoid(x_sum(p, s, n + j) + h_sum(p, n + j, h));
        reset[j] = r[j] * h[j];
    }
    for (int j = 0; j < n; j++) {
        hidden[j] = h_sum(p, 2 * n + j, before ? reset : h);
        c[j] = tanh(x_sum(p, s, 2 * n + j) + (before ? hidden[j] : r[j] * hidden[j]));
        h_at(p, s + 1)[j] = (1 - z[j]) * c[j] + z[j] * h[j];
    }
    free(reset);
}

static int coupled(const part *p) { return p->config->cell == FRNN_LSTM_COUPLED; }

/* The row block of i f g o in the weights; f of a coupled cell is sigmoid(-i). */
static int lstm_block(const part *p, int gate)
{
    static const int coupled_block[MOST_GATES] = {0, 0, 1, 2};
    return coupled(p) ? coupled_block[gate] : gate;
}

static void forward_lstm(const part *p, size_t s)
{
    const int n = p->hidden;
    double *full = doubles((size_t)n);
    for (int g = 0; g < MOST_GATES; g++)
        for (int j = 0; j < n; j++) {
            const int row = lstm_block(p, g) * n + j;
            const double pre = x_sum(p, s, row) + h_sum(p, row, h_at(p, s));
            gate_at(p, s, g)[j] = g == 2 ? tanh(pre) : sigmoid(coupled(p) && g == 1 ? -pre : pre);
        }
    for (int j = 0; j < n; j++) {
        c_at(p, s + 1)[j] = gate_at(p, s, 1)[j] * c_at(p, s)[j] +
                            gate_at(p, s, 0)[j] * gate_at(p, s, 2)[j];
        full[j] = gate_at(p, s, 3)[j] * tanh(c_at(p, s + 1)[j]);
    }
    for (int j = 0; j < p->outputs; j++)
        h_at(p, s + 1)[j] = p->w->weight_hr ? dot(p->w->weight_hr, NULL, j, full, n) : full[j];
    free(full);
}

/* ---- Backward -------------------------------------------------------------------------------- */

static void add_outer(double *tensor, int row, double d, const double *values, int depth)
{
    for (int k = 0; tensor && k < depth; k++)
        tensor[(size_t)row * (size_t)depth + (size_t)k] += d * values[k];
}

static void add_transposed(double *into, const float *matrix, int row, double d, int depth)
{
    for (int k = 0; into && k < depth; k++)
        into[k] += d * (double)matrix[(size_t)row * (size_t)depth + (size_t)k];
}

/* Propagates gradient d of the x part of pre-activation `row`, and d_h of its h part. */
static void back_row(const part *p, size_t s, int row, double d, double d_h, const double *h,
                     double *dx, double *dh)
{
    add_outer(p->tensor[0], row, d, p->x + s * (size_t)p->inputs, p->inputs);
    add_outer(p->tensor[1], row, d_h, h, p->outputs);
    if (p->tensor[2])
        p->tensor[2][row] += d, p->tensor[3][row] += d_h;
    add_transposed(dx, p->w->weight_ih, row, d, p->inputs);
    add_transposed(dh, p->w->weight_hh, row, d_h, p->outputs);
}

/* The step functions turn the gradient of h[s + 1] in dh into that of h[s], and add to dx. */
static void backward_rnn(const part *p, size_t s, double *dh, double *dx)
{
    double *before = doubles((size_t)p->outputs);
    for (int j = 0; j < p->hidden; j++) {
        const double h = h_at(p, s + 1)[j];
        const double d = p->config->cell == FRNN_RNN_TANH ? dh[j] * (1 - h * h) : h > 0 ? dh[j] : 0;
        back_row(p, s, j, d, d, h_at(p, s), dx, before);
    }
    memcpy(dh, before, (size_t)p->outputs * sizeof *dh);
    free(before);
}

static void backward_gru(const part *p, size_t s, double *dh, double *dx)
{
    const int n = p->hidden, reset_before = p->config->cell == FRNN_GRU_RESET_BEFORE;
    const double *r = gate_at(p, s, 0), *z = gate_at(p, s, 1), *c = gate_at(p, s, 2);
    const double *h = h_at(p, s), *hidden = gate_at(p, s, 3);
    double *before = doubles((size_t)n), *dr = doubles((size_t)n), *reset = doubles((size_t)n);
    double *dreset = doubles((size_t)n);
    for (int j = 0; j < n; j++) reset[j] = r[j] * h[j];
    for (int j = 0; j < n; j++) {
        const double dn = dh[j] * (1 - z[j]) * (1 - c[j] * c[j]);
        const double dz = dh[j] * (h[j] - c[j]) * z[j] * (1 - z[j]);
        before[j] += dh[j] * z[j];
        back_row(p, s, n + j, dz, dz, h, dx, before);
        if (reset_before)
            back_row(p, s, 2 * n + j, dn, dn, reset, dx, dreset);
        else
            back_row(p, s, 2 * n + j, dn, dn * r[j], h, dx, before);
        dr[j] = dn * hidden[j];
    }
    for (int j = 0; j < n; j++) {
        if (reset_before) {
            dr[j] = dreset[j] * h[j];
            before[j] += dreset[j] * r[j];
        }
        back_row(p, s, j, dr[j] * r[j] * (1 - r[j]), dr[j] * r[j] * (1 - r[j]), h, dx, before);
    }
    memcpy(dh, before, (size_t)n * sizeof *dh);
    free(before), free(dr), free(reset), free(dreset);
}

static void backward_lstm(const part *p, size_t s, double *dh, double *dc, double *dx)
{
    const int n = p->hidden;
    double *full = doubles((size_t)n), *dfull = doubles((size_t)n), *before = doubles((size_t)n);
    for (int j = 0; j < n; j++) full[j] = gate_at(p, s, 3)[j] * tanh(c_at(p, s + 1)[j]);
    for (int j = 0; j < p->outputs; j++) {
        if (!p->w->weight_hr)
            dfull[j] = dh[j];
        else
            add_transposed(dfull, p->w->weight_hr, j, dh[j], n);
        add_outer(p->w->weight_hr ? p->tensor[4] : NULL, j, dh[j], full, n);
    }
    for (int j = 0; j < n; j++) {
        const double i = gate_at(p, s, 0)[j], f = gate_at(p, s, 1)[j], g = gate_at(p, s, 2)[j];
        const double o = gate_at(p, s, 3)[j], t = tanh(c_at(p, s + 1)[j]);
        const double whole = dc[j] + dfull[j] * o * (1 - t * t);
        const double df = whole * c_at(p, s)[j] * f * (1 - f);
        const double d[MOST_GATES] = {whole * g * i * (1 - i), coupled(p) ? -df : df,
                                      whole * i * (1 - g * g), dfull[j] * t * o * (1 - o)};
        for (int k = 0; k < MOST_GATES; k++)
            back_row(p, s, lstm_block(p, k) * n + j, d[k], d[k], h_at(p, s), dx, before);
        dc[j] = whole * f;
    }
    memcpy(dh, before, (size_t)p->outputs * sizeof *dh);
    free(full), free(dfull), free(before);
}

/* ---- One row --------------------------------------------------------------------------------- */

/* One row in all layers and directions. */
typedef struct {
    const frnn_config *config;
    const frnn_call *call;
    const frnn_gradients *given;
    const float *masks;
    size_t row, length;
    int directions, outputs;
    part parts[MOST_PARTS];
} journey;

static size_t state_index(const journey *j, int number, size_t size)
{
    return ((size_t)number * j->call->batch + j->row) * size;
}

static size_t time_of(const journey *j, int number, size_t s)
{
    return number % j->directions ? j->length - 1 - s : s;
}

/* The dropout factor of a unit between a layer and the one above. */
static double mask_at(const journey *j, int layer, size_t time, size_t unit)
{
    const size_t width = (size_t)(j->directions * j->outputs);
    const size_t row = ((size_t)layer * j->call->steps + time) * j->call->batch + j->row;
    return j->masks ? (double)j->masks[row * width + unit] : 1.0;
}

/* Input k of a layer at a step. */
static double input_at(const journey *j, int layer, size_t time, size_t k)
{
    if (layer == 0)
        return (double)j->call->x[(ptrdiff_t)time * j->call->x_step +
                                  (ptrdiff_t)j->row * j->call->x_row + (ptrdiff_t)k];
    const int direction = (int)k / j->outputs, number = (layer - 1) * j->directions + direction;
    const size_t s = direction ? j->length - 1 - time : time;
    return h_at(&j->parts[number], s + 1)[(int)k % j->outputs] * mask_at(j, layer - 1, time, k);
}

static void forward_part(journey *j, int number)
{
    part *p = &j->parts[number];
    const size_t outputs = (size_t)p->outputs, hidden = (size_t)p->hidden;
    for (size_t k = 0; j->call->h0 && k < outputs; k++)
        p->h[k] = (double)j->call->h0[state_index(j, number, outputs) + k];
    for (size_t k = 0; j->call->c0 && k < hidden; k++)
        p->c[k] = (double)j->call->c0[state_index(j, number, hidden) + k];
    for (size_t s = 0; s < j->length; s++) {
        for (size_t k = 0; k < (size_t)p->inputs; k++)
            p->x[s * (size_t)p->inputs + k] =
                input_at(j, number / j->directions, time_of(j, number, s), k);
        switch (p->config->cell) {
        case FRNN_RNN_TANH:
        case FRNN_RNN_RELU: forward_rnn(p, s); break;
        case FRNN_GRU:
        case FRNN_GRU_RESET_BEFORE: forward_gru(p, s); break;
        case FRNN_LSTM:
        case FRNN_LSTM_COUPLED: forward_lstm(p, s); break;
        }
    }
}

/* The gradient of y that the caller passes, or 0. */
static double given_dy(const journey *j, size_t time, size_t unit)
{
    const frnn_gradients *g = j->given;
    return g->dy ? (double)g->dy[(ptrdiff_t)time * g->dy_step + (ptrdiff_t)j->row * g->dy_row +
                                 (ptrdiff_t)unit]
                 : 0.0;
}

static double loss_of(const journey *j)
{
    const int parts = j->config->num_layers * j->directions;
    double loss = 0.0;
    for (int number = 0; number < parts; number++) {
        const part *p = &j->parts[number];
        const size_t outputs = (size_t)p->outputs, hidden = (size_t)p->hidden;
        const size_t first = (size_t)(number % j->directions) * outputs;
        for (size_t s = 0; number >= parts - j->directions && s < j->length; s++)
            for (size_t k = 0; k < outputs; k++)
                loss += h_at(p, s + 1)[k] * given_dy(j, time_of(j, number, s), first + k);
        for (size_t k = 0; j->given->dhn && k < outputs; k++)
            loss += h_at(p, j->length)[k] *
                    (double)j->given->dhn[state_index(j, number, outputs) + k];
        for (size_t k = 0; j->given->dcn && k < hidden; k++)
            loss += c_at(p, j->length)[k] *
                    (double)j->given->dcn[state_index(j, number, hidden) + k];
    }
    return loss;
}

/* dy: [steps][directions * R], gradients of the layer's outputs. Adds to dx: [steps][inputs]. */
static void backward_part(journey *j, int number, const double *dy, double *dx,
                          const oracle_gradients *result)
{
    const part *p = &j->parts[number];
    const size_t outputs = (size_t)p->outputs, hidden = (size_t)p->hidden;
    const size_t h_index = state_index(j, number, outputs);
    const size_t c_index = state_index(j, number, hidden);
    const float *dhn = j->given->dhn, *dcn = j->given->dcn;
    double *dh = doubles(hidden), *dc = doubles(hidden);
    for (size_t k = 0; dhn && k < outputs; k++) dh[k] = (double)dhn[h_index + k];
    for (size_t k = 0; dcn && k < hidden; k++) dc[k] = (double)dcn[c_index + k];
    for (size_t s = j->length; s-- > 0;) {
        const size_t time = time_of(j, number, s), width = (size_t)j->directions * outputs;
        for (size_t k = 0; k < outputs; k++)
            dh[k] += dy[time * width + (size_t)(number % j->directions) * outputs + k];
        double *dx_row = dx + time * (size_t)p->inputs;
        if (oracle_cells[p->config->cell].has_c)
            backward_lstm(p, s, dh, dc, dx_row);
        else if (p->config->cell == FRNN_RNN_TANH || p->config->cell == FRNN_RNN_RELU)
            backward_rnn(p, s, dh, dx_row);
        else
            backward_gru(p, s, dh, dx_row);
    }
    memcpy(result->dh0 + h_index, dh, outputs * sizeof *dh);
    memcpy(result->dc0 + c_index, dc, hidden * sizeof *dc);
    free(dh), free(dc);
}

static void backward_row(journey *j, const oracle_gradients *result)
{
    const size_t width = (size_t)(j->directions * j->outputs), steps = j->call->steps;
    double *dy = doubles(steps * width);
    for (size_t t = 0; t < j->length; t++)
        for (size_t k = 0; k < width; k++) dy[t * width + k] = given_dy(j, t, k);
    for (int layer = j->config->num_layers; layer-- > 0;) {
        const size_t inputs = (size_t)oracle_input_size(j->config, layer);
        double *dx = doubles(steps * inputs);
        for (int d = 0; d < j->directions; d++)
            backward_part(j, layer * j->directions + d, dy, dx, result);
        for (size_t t = 0; layer > 0 && t < j->length; t++)
            for (size_t k = 0; k < inputs; k++)
                dx[t * inputs + k] *= mask_at(j, layer - 1, t, k);
        free(dy);
        dy = dx;
    }
    const size_t inputs = (size_t)j->config->input_size;
    for (size_t t = 0; t < steps; t++)
        memcpy(result->dx + (t * j->call->batch + j->row) * inputs, dy + t * inputs,
               inputs * sizeof *dy);
    free(dy);
}

double oracle_backward(const frnn_config *config, const frnn_weights *weights,
                       const frnn_call *call, const frnn_gradients *given, const float *masks,
                       const oracle_gradients *result)
{
    const int directions = 1 + config->bidirectional, parts = config->num_layers * directions;
    journey j = {.config = config, .call = call, .given = given, .masks = masks,
                 .directions = directions, .outputs = oracle_output_size(config)};
    double loss = 0.0, kink = 1.0, *tensors = result ? result->weights : NULL;
    if (result)
        memset(tensors, 0, oracle_weights_size(config) * sizeof *tensors);
    for (int number = 0; number < parts; number++) {
        part *p = &j.parts[number];
        *p = (part){.config = config, .w = &weights[number], .gates = oracle_cells[config->cell].gates,
                    .inputs = oracle_input_size(config, number / directions),
                    .hidden = config->hidden_size, .outputs = j.outputs, .kink = &kink};
        const size_t hidden = (size_t)p->hidden, states = call->steps + 1;
        p->x = doubles(call->steps * (size_t)p->inputs);
        p->h = doubles(states * (size_t)p->outputs);
        p->c = doubles(states * hidden), p->gate = doubles(call->steps * MOST_GATES * hidden);
        for (int i = 0; result && i < ORACLE_TENSORS; i++) {
            p->tensor[i] = tensors;
            tensors += oracle_tensor_size(config, number / directions, i);
        }
    }
    for (j.row = 0; j.row < call->batch; j.row++) {
        j.length = call->lengths ? call->lengths[j.row] : call->steps;
        for (int number = 0; number < parts; number++) {
            part *p = &j.parts[number];
            memset(p->h, 0, (size_t)p->outputs * sizeof *p->h);
            memset(p->c, 0, (size_t)p->hidden * sizeof *p->c);
            forward_part(&j, number);
        }
        loss += loss_of(&j);
        if (result)
            backward_row(&j, result);
    }
    if (result)
        *result->kink = kink;
    for (int number = 0; number < parts; number++)
        free(j.parts[number].x), free(j.parts[number].h), free(j.parts[number].c),
            free(j.parts[number].gate);
    return loss;
}
