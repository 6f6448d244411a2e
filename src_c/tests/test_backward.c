/* SPDX-License-Identifier: MIT */
/* frnn_backward against the oracle, and the oracle against finite differences: every ISA, cell,
 * option, and sizes around the widths of vectors and tiles.
 *
 * All memory has guard pages, starts as NaN and has exactly the required size. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/table.h"
#include "check.h"
#include "fence.h"
#include "layout.h"
#include "masks.h"
#include "network.h"
#include "oracle.h"
#include "oracle_backward.h"

/* The largest error of a tensor relative to its largest entry, or to SMALL if all entries are
 * smaller: terms of size 1 have then cancelled, as in the weights of a single unit. */
static const double LIMIT = 2e-5, SMALL = 0.05;

enum { TENSORS = ORACLE_TENSORS, MOST_PARTS = NETWORK_MOST_PARTS };

typedef struct {
    frnn_config config;
    size_t batch, steps;
    int bias, ragged, states, cut; /* cut: use a plan of small blocks and chunks */
    float dropout;
    uint64_t drawn; /* random bits that choose optional inputs and results */
} setting;

/* State that is kept from case to case. */
typedef struct {
    const frnn_isa *isa;
    unsigned stride, number; /* of the case */
    unsigned kinked;         /* cases not compared: an input of a ReLU is too near 0 */
    uint64_t seed;
    double worst;
    network net;
    fence x, y, workspace, tape, dy, dx, h0, c0, hn, cn, dhn, dcn, dh0, dc0;
    fence tensor[MOST_PARTS][TENSORS];
} bench;

/* The data of one case. */
typedef struct {
    const setting *s;
    size_t width, parts, h_count, c_count, lengths[256];
    frnn_call call;
    frnn_plan plan;
    frnn_gradients g;
    frnn_weight_gradients weights[MOST_PARTS];
    float *masks;
    oracle_gradients wanted;
} trial;

static float *take(bench *b, fence *f, size_t count)
{
    const size_t gap = random_below(&b->seed, 16) * sizeof(float);
    return fence_take(f, count * sizeof(float), gap, (int)random_below(&b->seed, 2));
}

static float *take_random(bench *b, fence *f, size_t count)
{
    float *values = take(b, f, count);
    random_fill(&b->seed, values, count, 1.0f);
    return values;
}

static void *zeroed(size_t count, size_t size)
{
    void *const memory = calloc(count ? count : 1, size);
    if (!memory)
        abort();
    return memory;
}

/* A sequence that is random within each row's length and NaN beyond it. */
static float *take_sequence(bench *b, fence *f, const trial *t, size_t width, unsigned kinds,
                            ptrdiff_t *step, ptrdiff_t *row)
{
    const setting *s = t->s;
    const unsigned kind = (unsigned)random_below(&b->seed, kinds);
    const layout l = layout_make(kind, s->steps, s->batch, width);
    float *values = take(b, f, l.floats) + l.origin;
    *step = l.step, *row = l.row;
    for (size_t i = 0; i < s->batch; i++)
        for (size_t at = 0; at < (s->ragged && l.row != 0 ? t->lengths[i] : s->steps); at++)
            random_fill(&b->seed, values + (ptrdiff_t)at * l.step + (ptrdiff_t)i * l.row, width,
                        1.0f);
    return values;
}

static void draw_call(bench *b, trial *t)
{
    const setting *s = t->s;
    const int has_c = oracle_cells[s->config.cell].has_c;
    frnn_call *call = &t->call;
    *call = (frnn_call){.steps = s->steps, .batch = s->batch, .dropout = s->dropout, .seed = 99};
    for (size_t i = 0; i < s->batch; i++) t->lengths[i] = random_below(&b->seed, s->steps + 1);
    call->lengths = s->ragged ? t->lengths : NULL;
    call->x = take_sequence(b, &b->x, t, (size_t)s->config.input_size, X_LAYOUTS, &call->x_step,
                            &call->x_row);
    call->y = take_sequence(b, &b->y, t, t->width, LAYOUTS, &call->y_step, &call->y_row);
    if (s->states)
        call->h0 = take_random(b, &b->h0, t->h_count);
    if (s->states && has_c)
        call->c0 = take_random(b, &b->c0, t->c_count);
    call->hn = take(b, &b->hn, t->h_count);
    call->cn = has_c ? take(b, &b->cn, t->c_count) : NULL;
    if (s->cut) {
        t->plan = (frnn_plan){.row_groups = 1 + (int)random_below(&b->seed, 3),
                              .direction_teams = 1, .layer_teams = 1, .unit_workers = 1,
                              .block_rows = 1 + random_below(&b->seed, 3),
                              .chunk_steps = 1 + random_below(&b->seed, 3)};
        call->plan = &t->plan;
    }
}

/* Checks that forward has the same bits with and without a tape. */
static void run_forward(bench *b, trial *t)
{
    const setting *s = t->s;
    size_t bytes = 0, tape_bytes = 0;
    CHECK(frnn_workspace_size(b->net.stack, s->steps, s->batch, t->call.plan, &bytes) == FRNN_OK);
    CHECK(frnn_tape_size(b->net.stack, s->steps, s->batch, &tape_bytes) == FRNN_OK);
    void *workspace = fence_take(&b->workspace, bytes, random_below(&b->seed, 64), 0);
    if (s->dropout == 0.0f)
        CHECK(frnn_forward(b->net.stack, &t->call, workspace, bytes) == FRNN_OK);
    float *const y = zeroed(b->y.bytes + b->hn.bytes, 1);
    memcpy(y, b->y.block, b->y.bytes), memcpy((char *)y + b->y.bytes, b->hn.block, b->hn.bytes);
    memset(b->y.block, 0xff, b->y.bytes), memset(b->hn.block, 0xff, b->hn.bytes);
    t->call.tape = fence_take(&b->tape, tape_bytes, random_below(&b->seed, 64), 0);
    t->call.tape_bytes = tape_bytes;
    CHECK(frnn_forward(b->net.stack, &t->call, workspace, bytes) == FRNN_OK);
    for (size_t i = 0; s->dropout == 0.0f && i < s->batch; i++)
        for (size_t at = 0; at < s->steps; at++) {
            const float *row = t->call.y + (ptrdiff_t)at * t->call.y_step +
                               (ptrdiff_t)i * t->call.y_row;
            const size_t offset = (size_t)((const unsigned char *)row - b->y.block);
            CHECK(memcmp(row, (char *)y + offset, t->width * sizeof *row) == 0);
        }
    if (s->dropout == 0.0f)
        CHECK(memcmp(t->call.hn, (char *)y + b->y.bytes, b->hn.bytes) == 0);
    free(y);
}

static void draw_gradients(bench *b, trial *t)
{
    const setting *s = t->s;
    const int has_c = oracle_cells[s->config.cell].has_c;
    const size_t inputs = (size_t)s->config.input_size;
    frnn_gradients *g = &t->g;
    *g = (frnn_gradients){.accumulate = (int)(s->drawn >> 8 & 1), .weights = t->weights};
    if (s->drawn % 4 != 0)
        g->dy = take_sequence(b, &b->dy, t, t->width, X_LAYOUTS, &g->dy_step, &g->dy_row);
    if (s->drawn % 4 != 1)
        g->dhn = take_random(b, &b->dhn, t->h_count);
    if (s->drawn % 4 != 2 && has_c)
        g->dcn = take_random(b, &b->dcn, t->c_count);
    const layout l = layout_make((unsigned)random_below(&b->seed, LAYOUTS), s->steps, s->batch,
                                 inputs);
    g->dx = take(b, &b->dx, l.floats) + l.origin, g->dx_step = l.step, g->dx_row = l.row;
    g->dh0 = take(b, &b->dh0, t->h_count);
    g->dc0 = has_c ? take(b, &b->dc0, t->c_count) : NULL;
    for (size_t part = 0; part < t->parts; part++) {
        float *tensor[TENSORS] = {NULL};
        for (int i = 0; i < TENSORS; i++) {
            const size_t count = oracle_tensor_size(
                &s->config, (int)part / (1 + s->config.bidirectional), i);
            if (count == 0 || (s->drawn >> 16 & 7) == (uint64_t)i || (!s->bias && i >= 2 && i < 4))
                continue;
            tensor[i] = take(b, &b->tensor[part][i], count);
            if (g->accumulate)
                random_fill(&b->seed, tensor[i], count, 0.0f);
        }
        t->weights[part] = (frnn_weight_gradients){tensor[0], tensor[1], tensor[2], tensor[3],
                                                   tensor[4]};
    }
    if ((s->drawn >> 19 & 15) == 0)
        g->dx = NULL;
    if ((s->drawn >> 19 & 15) == 1)
        g->dh0 = NULL;
    if ((s->drawn >> 19 & 15) == 2)
        g->weights = NULL;
}

static void run_backward(bench *b, trial *t)
{
    const setting *s = t->s;
    size_t bytes = 0;
    CHECK(frnn_backward_size(b->net.stack, s->steps, s->batch, t->call.plan, &bytes) == FRNN_OK);
    void *workspace = fence_take(&b->workspace, bytes, random_below(&b->seed, 64), 0);
    unsigned char *const tape = zeroed(b->tape.bytes, 1);
    memcpy(tape, b->tape.block, b->tape.bytes);
    CHECK(frnn_backward(b->net.stack, &t->call, &t->g, workspace, bytes) == FRNN_OK);
    CHECK(memcmp(tape, b->tape.block, b->tape.bytes) == 0);
    free(tape);
}

static void compare(bench *b, const float *found, const double *wanted, size_t count)
{
    double worst = 0.0, largest = SMALL;
    for (size_t i = 0; i < count; i++) {
        const double error = fabs((double)found[i] - wanted[i]);
        if (!(error <= worst))
            worst = error; /* also if it is NaN */
        largest = fmax(largest, fabs(wanted[i]));
    }
    b->worst = fmax(b->worst, worst / largest);
    CHECK(worst / largest <= LIMIT);
}

static void compare_dx(bench *b, const trial *t)
{
    const setting *s = t->s;
    const size_t inputs = (size_t)s->config.input_size;
    float *const dx = zeroed(s->steps * s->batch * inputs, sizeof *dx);
    for (size_t at = 0; at < s->steps; at++)
        for (size_t i = 0; i < s->batch; i++) {
            float *row = t->g.dx + (ptrdiff_t)at * t->g.dx_step + (ptrdiff_t)i * t->g.dx_row;
            memcpy(dx + (at * s->batch + i) * inputs, row, inputs * sizeof *row);
            memset(row, 0xff, inputs * sizeof *row);
        }
    CHECK(fence_is_unwritten(&b->dx));
    compare(b, dx, t->wanted.dx, s->steps * s->batch * inputs);
    free(dx);
}

static void compare_all(bench *b, const trial *t)
{
    const frnn_config *c = &t->s->config;
    const double *wanted = t->wanted.weights;
    if (t->g.dx)
        compare_dx(b, t);
    if (t->g.dh0)
        compare(b, t->g.dh0, t->wanted.dh0, t->h_count);
    if (t->g.dc0)
        compare(b, t->g.dc0, t->wanted.dc0, t->c_count);
    for (size_t part = 0; part < t->parts; part++) {
        const frnn_weight_gradients *w = &t->weights[part];
        const float *const tensor[TENSORS] = {w->weight_ih, w->weight_hh, w->bias_ih, w->bias_hh,
                                              w->weight_hr};
        for (int i = 0; i < TENSORS; i++) {
            const size_t count = oracle_tensor_size(c, (int)part / (1 + c->bidirectional), i);
            if (tensor[i] && t->g.weights)
                compare(b, tensor[i], wanted, count);
            wanted += count;
        }
    }
}

static void check_fences(bench *b)
{
    const fence *all[] = {&b->x, &b->y, &b->workspace, &b->tape, &b->dy, &b->dx, &b->h0, &b->c0,
                          &b->hn, &b->cn, &b->dhn, &b->dcn, &b->dh0, &b->dc0, &b->net.memory};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        CHECK(!all[i]->block || fence_is_whole(all[i]));
    for (int part = 0; part < MOST_PARTS; part++)
        for (int i = 0; i < TENSORS; i++)
            CHECK(!b->tensor[part][i].block || fence_is_whole(&b->tensor[part][i]));
}

static void run(bench *b, const setting *s)
{
    if (b->number++ % b->stride != 0)
        return;
    trial t = {.s = s};
    const size_t directions = (size_t)(1 + s->config.bidirectional);
    t.width = directions * (size_t)oracle_output_size(&s->config);
    t.parts = directions * (size_t)s->config.num_layers;
    t.h_count = t.parts * s->batch * (size_t)oracle_output_size(&s->config);
    t.c_count = t.parts * s->batch * (size_t)s->config.hidden_size;
    network_name_case(b->isa, &s->config, s->batch, s->steps);
    network_build(&b->net, b->isa, &s->config, s->bias, random_below(&b->seed, 64), &b->seed);
    draw_call(b, &t);
    run_forward(b, &t);
    draw_gradients(b, &t);
    run_backward(b, &t);
    const size_t x_count = s->steps * s->batch * (size_t)s->config.input_size;
    t.wanted.dx = zeroed(x_count, sizeof(double));
    t.wanted.dh0 = zeroed(t.h_count, sizeof(double));
    t.wanted.dc0 = zeroed(t.c_count, sizeof(double));
    t.wanted.weights = zeroed(oracle_weights_size(&s->config), sizeof(double));
    if (s->dropout > 0.0f) {
        t.masks = zeroed((size_t)s->config.num_layers * s->steps * s->batch * t.width,
                         sizeof *t.masks);
        masks_find(&s->config, b->isa, &t.call, t.masks);
    }
    double kink = 0.0;
    t.wanted.kink = &kink;
    oracle_backward(&s->config, b->net.weights, &t.call, &t.g, t.masks, &t.wanted);
    if (kink > 1e-6)
        compare_all(b, &t);
    else /* rounding decides on which side of 0 the ReLU is */
        b->kinked++;
    check_fences(b);
    free(t.wanted.dx), free(t.wanted.dh0), free(t.wanted.dc0), free(t.wanted.weights);
    free(t.masks);
}

/* ---- Which cases ----------------------------------------------------------------------------- */

static setting setting_of(int kind, int input_size, int hidden_size, size_t batch, size_t steps)
{
    const oracle_kind of = oracle_kind_at(kind);
    const int projected = of.projected;
    const frnn_config config = {.cell = of.cell,
                                .input_size = input_size,
                                .hidden_size = projected && hidden_size < 2 ? 2 : hidden_size,
                                .num_layers = 1,
                                .proj_size = projected ? (hidden_size + 1) / 2 : 0,
                                .training = 1};
    return (setting){.config = config, .batch = batch, .steps = steps, .bias = 1, .states = 1,
                     .drawn = 0xff0007};
}

static void run_small(bench *b)
{
    const int lanes = b->isa->lanes;
    const int hiddens[] = {1, lanes - 1, lanes, lanes + 1, 2 * lanes + 3};
    const int inputs[] = {1, 3, lanes + 1, 2 * lanes};
    static const size_t batches[] = {1, 2, 3, 5, 8, 9}, steps[] = {1, 2, 7};
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
                    s.config.num_layers = 1 + (options & 1) * (1 + (int)(drawn >> 40 & 1));
                    s.config.bidirectional = options >> 1 & 1;
                    s.bias = options >> 2 & 1;
                    s.ragged = options >> 3 & 1;
                    s.states = (int)(drawn >> 16 & 1);
                    s.cut = (int)(drawn >> 17 & 1);
                    s.dropout = (drawn >> 18 & 3) == 0 ? 0.4f : 0.0f;
                    s.drawn = drawn >> 20;
                    run(b, &s);
                }
}

/* Products deeper than a run, and more rows than a run of the weight gradients. */
static void run_large(bench *b)
{
    static const struct {
        int inputs, hidden;
        size_t batch, steps;
    } sizes[] = {{70, 100, 3, 2}, {3, 130, 2, 3}, {40, 33, 7, 40}, {5, 20, 130, 6}, {9, 8, 2, 150},
                 {25, 17, 200, 2}};
    for (int kind = 0; kind < oracle_kinds(); kind++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            for (int options = 0; options < 4; options++) {
                setting s = setting_of(kind, sizes[i].inputs, sizes[i].hidden, sizes[i].batch,
                                       sizes[i].steps);
                s.config.num_layers = 1 + (options & 1);
                s.config.bidirectional = options >> 1 & 1;
                s.ragged = (options + (int)i) & 1;
                s.drawn = 0xff0007 + (uint64_t)options * 0x100;
                run(b, &s);
            }
}

/* ---- The oracle against finite differences --------------------------------------------------- */

typedef struct {
    network net;
    frnn_call call;
    frnn_gradients given;
} difference;

/* Compares a gradient with (loss(+eps) - loss(-eps)) / (2 eps), where values[i] changes by eps. */
static void check_difference(const difference *d, float *values, size_t i, double wanted)
{
    const float kept = values[i];
    const frnn_config *c = &d->net.config;
    values[i] = kept + 0x1p-9f;
    const double above = (double)values[i];
    const double up = oracle_backward(c, d->net.weights, &d->call, &d->given, NULL, NULL);
    values[i] = kept - 0x1p-9f;
    const double step = above - (double)values[i];
    const double down = oracle_backward(c, d->net.weights, &d->call, &d->given, NULL, NULL);
    values[i] = kept;
    CHECK(fabs((up - down) / step - wanted) <= 2e-5 * fmax(1.0, fabs(wanted)));
}

static void check_oracle(int kind, int options)
{
    enum { BATCH = 2, STEPS = 4, INPUTS = 3, HIDDEN = 4 };
    setting s = setting_of(kind, INPUTS, HIDDEN, BATCH, STEPS);
    s.config.num_layers = 2, s.config.bidirectional = options & 1;
    static difference d;
    static float x[STEPS * BATCH * INPUTS], y[STEPS * BATCH * 2 * HIDDEN], state[4][64];
    static const size_t lengths[BATCH] = {STEPS - 1, STEPS};
    double dx[STEPS * BATCH * INPUTS], dh0[64], dc0[64], kink;
    double *const weights = zeroed(oracle_weights_size(&s.config), sizeof *weights);
    double *next = weights;
    const oracle_gradients result = {dx, dh0, dc0, &kink, weights};
    uint64_t seed = 5;
    const size_t outputs = (size_t)oracle_output_size(&s.config);
    const size_t width = outputs * (size_t)(1 + s.config.bidirectional);
    const size_t rows = 2 * (size_t)(1 + s.config.bidirectional) * BATCH;
    network_name_case(frnn_isa_find("scalar"), &s.config, BATCH, STEPS);
    network_build(&d.net, frnn_isa_find("scalar"), &s.config, 1, 0, &seed);
    random_fill(&seed, x, sizeof x / sizeof *x, 1.0f);
    random_fill(&seed, y, sizeof y / sizeof *y, 1.0f);
    for (int i = 0; i < 4; i++) random_fill(&seed, state[i], 64, 1.0f);
    d.call = (frnn_call){.steps = STEPS, .batch = BATCH, .x = x, .x_step = BATCH * INPUTS,
                         .x_row = INPUTS, .h0 = state[0], .c0 = state[1],
                         .lengths = options & 2 ? lengths : NULL};
    d.given = (frnn_gradients){.dy = y, .dy_step = (ptrdiff_t)(BATCH * width),
                               .dy_row = (ptrdiff_t)width, .dhn = state[2], .dcn = state[3]};
    oracle_backward(&s.config, d.net.weights, &d.call, &d.given, NULL, &result);
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) check_difference(&d, x, i, dx[i]);
    for (size_t i = 0; i < rows * outputs; i++) check_difference(&d, state[0], i, dh0[i]);
    for (size_t i = 0; oracle_cells[s.config.cell].has_c && i < rows * HIDDEN; i++)
        check_difference(&d, state[1], i, dc0[i]);
    for (int part = 0; part < 2 * (1 + s.config.bidirectional); part++) {
        const frnn_weights *w = &d.net.weights[part];
        const float *const tensor[TENSORS] = {w->weight_ih, w->weight_hh, w->bias_ih, w->bias_hh,
                                              w->weight_hr};
        for (int i = 0; i < TENSORS; i++) {
            const int layer = part / (1 + s.config.bidirectional);
            const size_t count = oracle_tensor_size(&s.config, layer, i);
            for (size_t j = 0; j < count; j++)
                check_difference(&d, (float *)tensor[i], j, next[j]);
            next += count;
        }
    }
    free(weights);
}

int main(int argc, char **argv)
{
    const check_options options = check_parse(argc, argv);
    static bench b;
    fence_report_traps(check_case);
    for (int kind = 0; kind < oracle_kinds(); kind++)
        for (int variant = 0; variant < 4; variant++) check_oracle(kind, variant);
    for (int i = 0; check_isa_at(&options, i); i++) {
        b.isa = check_isa_at(&options, i), b.stride = options.stride;
        b.number = 0, b.kinked = 0, b.seed = 1, b.worst = 0.0;
        run_small(&b);
        run_large(&b);
        const unsigned cases = (b.number + b.stride - 1) / b.stride;
        printf("%s: %u cases, largest error %.2g; %u not compared\n", frnn_isa_name(b.isa), cases,
               b.worst, b.kinked);
        CHECK(b.kinked <= cases / 20);
    }
    return check_summary("test_backward");
}
