/* SPDX-License-Identifier: MIT */
/* frnn_forward against the oracle: every ISA, cell, option, and sizes around the widths of vectors
 * and tiles.
 *
 * All memory has guard pages, starts as NaN and has exactly the required size. Strides and
 * alignment change from case to case. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/table.h"
#include "check.h"
#include "fence.h"
#include "layout.h"
#include "network.h"
#include "oracle.h"

/* Largest |found - wanted| / max(1, |wanted|): the rounding of float sums of up to 650 terms. */
static const double LIMIT = 5e-6;
/* Inputs of up to 20 multiply the rounding error of gates that are not saturated by 20. */
static const double WIDE_LIMIT = 1e-4;

enum { STATES_NONE, STATES_APART, STATES_IN_PLACE, STATES_LAST_ONLY, STATES_H0_ONLY, STATE_KINDS };

typedef struct {
    frnn_config config;
    size_t batch, steps;
    int bias, ragged, states, wide;
} setting;

/* State that is kept from case to case. */
typedef struct {
    const frnn_isa *isa;
    unsigned stride, number; /* of the case */
    uint64_t seed;
    double worst;
    network net;
    fence x, y, workspace, lengths, state[4]; /* h0 c0 hn cn */
} bench;

static float *take_floats(bench *b, fence *f, size_t count)
{
    const size_t gap = random_below(&b->seed, 16) * sizeof(float);
    return fence_take(f, count * sizeof(float), gap, (int)random_below(&b->seed, 2));
}

static const size_t *draw_lengths(bench *b, const setting *s)
{
    size_t *lengths = fence_take(&b->lengths, s->batch * sizeof *lengths, 0, 0);
    for (size_t i = 0; i < s->batch; i++) lengths[i] = random_below(&b->seed, s->steps + 1);
    return lengths;
}

/* x is random within each row's length and NaN beyond it. */
static void draw_x(bench *b, const setting *s, frnn_call *call)
{
    const size_t width = (size_t)s->config.input_size;
    const unsigned kind = (unsigned)random_below(&b->seed, X_LAYOUTS);
    const layout l = layout_make(kind, s->steps, s->batch, width);
    float *x = take_floats(b, &b->x, l.floats);
    x += l.origin;
    for (size_t row = 0; row < s->batch; row++) {
        const size_t length = call->lengths && l.row != 0 ? call->lengths[row] : s->steps;
        for (size_t t = 0; t < length; t++)
            random_fill(&b->seed, x + (ptrdiff_t)t * l.step + (ptrdiff_t)row * l.row, width,
                        s->wide ? 20.0f : 1.0f);
    }
    call->x = x, call->x_step = l.step, call->x_row = l.row;
}

static void take_states(bench *b, const setting *s, frnn_call *call)
{
    const size_t rows = (size_t)(s->config.num_layers * (1 + s->config.bidirectional)) * s->batch;
    const size_t sizes[] = {rows * (size_t)oracle_output_size(&s->config),
                            rows * (size_t)s->config.hidden_size};
    float *state[4] = {NULL, NULL, NULL, NULL};
    for (int i = 0; i < (oracle_cells[s->config.cell].has_c ? 2 : 1); i++) {
        if (s->states == STATES_NONE)
            continue;
        if (s->states != STATES_LAST_ONLY && !(s->states == STATES_H0_ONLY && i == 1)) {
            state[i] = take_floats(b, &b->state[i], sizes[i]);
            random_fill(&b->seed, state[i], sizes[i], 1.0f);
        }
        const int in_place = s->states == STATES_IN_PLACE;
        state[2 + i] = in_place ? state[i] : take_floats(b, &b->state[2 + i], sizes[i]);
    }
    call->h0 = state[0], call->c0 = state[1], call->hn = state[2], call->cn = state[3];
}

static void compare(bench *b, const setting *s, const float *found, const double *wanted,
                    size_t count)
{
    double worst = 0.0;
    for (size_t i = 0; i < count; i++) {
        const double error = fabs((double)found[i] - wanted[i]) / fmax(1.0, fabs(wanted[i]));
        if (!(error <= worst))
            worst = error; /* also if it is NaN */
    }
    CHECK(worst <= (s->wide ? WIDE_LIMIT : LIMIT));
    if (!s->wide)
        b->worst = fmax(b->worst, worst);
}

/* Compares y, then overwrites its rows with poison, so that the whole block can be checked for
 * writes between the rows. */
static void compare_y(bench *b, const setting *s, const frnn_call *call, const double *wanted)
{
    const size_t width = (size_t)((1 + s->config.bidirectional) * oracle_output_size(&s->config));
    for (size_t t = 0; t < s->steps; t++)
        for (size_t row = 0; row < s->batch; row++) {
            float *y = call->y + (ptrdiff_t)t * call->y_step + (ptrdiff_t)row * call->y_row;
            compare(b, s, y, wanted + (t * s->batch + row) * width, width);
            memset(y, 0xff, width * sizeof *y);
        }
    CHECK(fence_is_unwritten(&b->y));
}

static void check_fences(bench *b)
{
    const fence *all[] = {&b->x, &b->y, &b->workspace, &b->state[0], &b->state[1], &b->state[2],
                          &b->state[3], &b->net.memory};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i]->block)
            CHECK(fence_is_whole(all[i]));
}

static void run(bench *b, const setting *s)
{
    if (b->number++ % b->stride != 0)
        return;
    const int parts = s->config.num_layers * (1 + s->config.bidirectional);
    const size_t outputs = (size_t)oracle_output_size(&s->config);
    const size_t width = outputs * (size_t)(1 + s->config.bidirectional);
    const size_t state_rows = (size_t)parts * s->batch, hidden = (size_t)s->config.hidden_size;
    network_name_case(b->isa, &s->config, s->batch, s->steps);
    network_build(&b->net, b->isa, &s->config, s->bias, random_below(&b->seed, 64), &b->seed);

    frnn_call call = {.steps = s->steps, .batch = s->batch};
    call.lengths = s->ragged ? draw_lengths(b, s) : NULL;
    draw_x(b, s, &call);
    take_states(b, s, &call);
    const unsigned kind = (unsigned)random_below(&b->seed, LAYOUTS);
    const layout l = layout_make(kind, s->steps, s->batch, width);
    call.y = take_floats(b, &b->y, l.floats) + l.origin;
    call.y_step = l.step, call.y_row = l.row;

    double *const y = malloc((s->steps * s->batch * width + state_rows * (outputs + hidden)) *
                             sizeof *y);
    if (!y)
        abort();
    double *const hn = y + s->steps * s->batch * width, *const cn = hn + state_rows * outputs;
    oracle_forward(&s->config, b->net.weights, &call, y, hn, cn);

    size_t bytes = 0;
    CHECK(frnn_workspace_size(b->net.stack, s->steps, s->batch, NULL, &bytes) == FRNN_OK);
    const size_t gap = random_below(&b->seed, 64);
    void *const workspace = fence_take(&b->workspace, bytes, gap, (int)random_below(&b->seed, 2));
    CHECK(frnn_forward(b->net.stack, &call, workspace, bytes) == FRNN_OK);
    compare_y(b, s, &call, y);
    if (call.hn)
        compare(b, s, call.hn, hn, state_rows * outputs);
    if (call.cn)
        compare(b, s, call.cn, cn, state_rows * hidden);
    check_fences(b);
    free(y);
}

/* ---- Which cases ---------------------------------------------------------------------------- */

static setting setting_of(int kind, int input_size, int hidden_size, size_t batch, size_t steps)
{
    const oracle_kind of = oracle_kind_at(kind);
    const int projected = of.projected;
    const frnn_config config = {.cell = of.cell,
                                .input_size = input_size,
                                .hidden_size = projected && hidden_size < 2 ? 2 : hidden_size,
                                .num_layers = 1,
                                .proj_size = projected ? (hidden_size + 1) / 2 : 0};
    return (setting){.config = config, .batch = batch, .steps = steps, .bias = 1,
                     .states = STATES_APART};
}

/* Every option with every hidden size and batch; steps, inputs and states vary at random. */
static void run_small(bench *b)
{
    const int lanes = b->isa->lanes;
    const int hiddens[] = {1, lanes - 1, lanes, lanes + 1, 2 * lanes + 3};
    const int inputs[] = {1, 3, lanes + 1, 2 * lanes};
    static const size_t batches[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 17}, steps[] = {1, 2, 7};
    for (int kind = 0; kind < oracle_kinds(); kind++)
        for (int options = 0; options < 16; options++)
            for (size_t i = 0; i < sizeof hiddens / sizeof hiddens[0]; i++)
                for (size_t j = 0; j < sizeof batches / sizeof batches[0]; j++) {
                    uint64_t number = (uint64_t)b->number + 1;
                    const uint64_t drawn = random_bits(&number);
                    if (hiddens[i] < 1 || (i > 0 && hiddens[i] == hiddens[0]))
                        continue; /* the same size twice, as lanes is 1 */
                    setting s = setting_of(kind, inputs[drawn % 4], hiddens[i], batches[j],
                                           steps[(drawn >> 8) % 3]);
                    s.config.num_layers = 1 + (options & 1);
                    s.config.bidirectional = options >> 1 & 1;
                    s.bias = options >> 2 & 1;
                    s.ragged = options >> 3 & 1;
                    s.states = (int)((drawn >> 16) % STATE_KINDS);
                    s.wide = (drawn >> 24) % 8 == 0;
                    run(b, &s);
                }
}

/* Depths around the lengths of the runs that a sum is divided into. */
static void run_deep(bench *b)
{
    static const int depths[] = {63, 64, 65, 95, 96, 97, 127, 128, 129, 191, 192, 193, 300};
    static const size_t batches[] = {1, 7};
    for (int kind = 0; kind < oracle_kinds(); kind++)
        for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++)
            for (size_t j = 0; j < sizeof batches / sizeof batches[0]; j++) {
                setting deep_x = setting_of(kind, depths[i], 20, batches[j], 2);
                setting deep_h = setting_of(kind, 3, depths[i], batches[j], 2);
                run(b, &deep_x);
                run(b, &deep_h);
            }
}

/* More steps than a chunk of the plan has, and more rows than a block. */
static void run_long(bench *b)
{
    static const struct {
        int hidden;
        size_t batch, steps;
    } sizes[] = {{65, 1, 300}, {33, 5, 150}, {20, 130, 6}, {70, 210, 5}};
    for (int kind = 0; kind < oracle_kinds(); kind++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            for (int options = 0; options < 4; options++) {
                setting s = setting_of(kind, 5, sizes[i].hidden, sizes[i].batch, sizes[i].steps);
                s.config.num_layers = 1 + (options & 1);
                s.config.bidirectional = options >> 1 & 1;
                s.ragged = (options + (int)i) & 1;
                run(b, &s);
            }
}

int main(int argc, char **argv)
{
    const check_options options = check_parse(argc, argv);
    static bench b;
    fence_report_traps(check_case);
    for (int i = 0; check_isa_at(&options, i); i++) {
        b.isa = check_isa_at(&options, i), b.stride = options.stride;
        b.number = 0, b.seed = 1, b.worst = 0.0;
        run_small(&b);
        run_deep(&b);
        run_long(&b);
        printf("%s: %u cases, largest error %.2g\n", frnn_isa_name(b.isa),
               (b.number + b.stride - 1) / b.stride, b.worst);
    }
    return check_summary("test_forward");
}
