/* SPDX-License-Identifier: MIT */
/* RNN (Elman 1990): h = tanh(pre) or relu(pre). */
#ifndef FRNN_KERNELS_CELL_RNN_H
#define FRNN_KERNELS_CELL_RNN_H

enum { RNN_SLOTS = 1 };

ALWAYS_INLINE void rnn_tanh(const frnn_pass *a, const unit_place *at, const int part,
                            const int record)
{
    (void)part, (void)record;
    store_y(a, at, vec_tanh(vec_load(at->pre)));
}

ALWAYS_INLINE void rnn_relu(const frnn_pass *a, const unit_place *at, const int part,
                            const int record)
{
    (void)part, (void)record;
    store_y(a, at, vec_relu(vec_load(at->pre)));
}

ALWAYS_INLINE void rnn_tanh_gradient(const frnn_gradient_pass *a, const gradient_place *at, vec dh)
{
    const vec h = load_units(a, a->h[at->row], at->unit);
    store_dpre(a, at, RNN_SLOTS, 0, vec_tanh_gradient(dh, h));
}

ALWAYS_INLINE void rnn_relu_gradient(const frnn_gradient_pass *a, const gradient_place *at, vec dh)
{
    store_dpre(a, at, RNN_SLOTS, 0, vec_if_positive(load_units(a, a->h[at->row], at->unit), dh));
}

static void finish_rnn_tanh(const frnn_pass *a, int panel, int end)
{
    finish_units(a, panel, end, RNN_SLOTS, rnn_tanh, 1, 0);
}
static void finish_rnn_relu(const frnn_pass *a, int panel, int end)
{
    finish_units(a, panel, end, RNN_SLOTS, rnn_relu, 1, 0);
}
GRADIENT(rnn_tanh, RNN_SLOTS, rnn_tanh_gradient)
GRADIENT(rnn_relu, RNN_SLOTS, rnn_relu_gradient)

/* The gradient takes h alone: nothing is recorded. */
#define RNN_CELL(nonlinearity)                                                 \
    {                                                                          \
        .gates = 1, .states = 1, .stages = 1,                                  \
        .stage = {{.slots = RNN_SLOTS, .x_gates = 1, .h_gates = 1,             \
                   .finish_input = finish_nothing,                             \
                   .finish = finish_rnn_##nonlinearity,                        \
                   .gradient = gradient_rnn_##nonlinearity}},                  \
    }

#endif
