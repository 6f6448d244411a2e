/* SPDX-License-Identifier: MIT */
/* The bits are the same under every plan, forward and backward: any division of rows, directions,
 * layers and units among threads, any block and chunk, with and without workers, the backward pass
 * under the same plan or another one, and the plans of frnn_plan_make. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../kernels/table.h"
#include "check.h"
#include "crew.h"
#include "fence.h"
#include "network.h"
#include "oracle.h"
#include "oracle_backward.h"

enum { BATCH = 7, STEPS = 9, INPUTS = 5, PARTS = 6, MOST_WIDTH = 12 };
enum { HANGS = 1200 }; /* seconds after which a configuration counts as deadlocked */

/* A stack, its inputs, and the results of one thread. */
typedef struct {
    network net;
    fence memory, tape;
    size_t outputs, width, lengths[BATCH];
    int ragged;
    uint64_t noise;
    frnn_plan before;        /* the plan that ran last */
    unsigned number, stride; /* plans so far, in all configurations; every stride-th one runs */
    float *x, *states, *dy; /* states: h0 c0 dhn dcn */
    float *wanted, *found;  /* y hn cn, then dx dh0 dc0 and the gradients of all weights */
    size_t forward, results;
} setting;

static float *floats(size_t count)
{
    float *values = calloc(count, sizeof *values);
    if (!values)
        abort();
    return values;
}

/* A workspace full of random bytes, so that a pass that relies on its contents fails. */
static void *take_workspace(setting *s, size_t bytes)
{
    unsigned char *const memory = fence_take(&s->memory, bytes, 0, 0);
    for (size_t i = 0; i < bytes; i += sizeof(uint64_t)) {
        const uint64_t bits = random_bits(&s->noise);
        memcpy(memory + i, &bits, bytes - i < sizeof bits ? bytes - i : sizeof bits);
    }
    return memory;
}

/* The backward pass of a call that has just run with a tape; into: where dx goes. */
static void run_backward(setting *s, const frnn_call *call, float *into)
{
    const frnn_config *c = &s->net.config;
    const size_t states = PARTS * BATCH * (size_t)c->hidden_size;
    frnn_weight_gradients weights[PARTS];
    float *next = into + STEPS * BATCH * INPUTS + 2 * states;
    for (int part = 0; part < c->num_layers * (1 + c->bidirectional); part++) {
        float *tensor[ORACLE_TENSORS];
        for (int i = 0; i < ORACLE_TENSORS; i++) {
            const size_t size = oracle_tensor_size(c, part / (1 + c->bidirectional), i);
            tensor[i] = size ? next : NULL;
            next += size;
        }
        weights[part] = (frnn_weight_gradients){tensor[0], tensor[1], tensor[2], tensor[3],
                                                tensor[4]};
    }
    const frnn_gradients gradients = {
        .dy = s->dy, .dy_step = (ptrdiff_t)(BATCH * s->width), .dy_row = (ptrdiff_t)s->width,
        .dhn = s->states + 2 * states, .dcn = s->states + 3 * states,
        .dx = into, .dx_step = BATCH * INPUTS, .dx_row = INPUTS,
        .dh0 = into + STEPS * BATCH * INPUTS, .dc0 = into + STEPS * BATCH * INPUTS + states,
        .weights = weights};
    size_t bytes = 0;
    CHECK(frnn_backward_size(s->net.stack, STEPS, BATCH, call->plan, &bytes) == FRNN_OK);
    void *const workspace = take_workspace(s, bytes);
    CHECK(frnn_backward(s->net.stack, call, &gradients, workspace, bytes) == FRNN_OK);
}

/* Runs both passes, the backward pass under plan `back`. */
static void run(setting *s, const frnn_plan *plan, const frnn_plan *back,
                const frnn_executor *executor, float *into)
{
    const size_t y = STEPS * BATCH * s->width, hidden = (size_t)s->net.config.hidden_size;
    frnn_call call = {.steps = STEPS, .batch = BATCH, .x = s->x, .x_step = BATCH * INPUTS,
                            .x_row = INPUTS, .y = into, .y_step = (ptrdiff_t)(BATCH * s->width),
                            .y_row = (ptrdiff_t)s->width,
                            .lengths = s->ragged ? s->lengths : NULL,
                            .h0 = s->states, .c0 = s->states + PARTS * BATCH * hidden,
                            .hn = into + y, .cn = into + y + PARTS * BATCH * s->outputs,
                            .plan = plan, .executor = executor, .dropout = 0.3f, .seed = 7};
    size_t bytes = 0;
    if (s->net.config.training) {
        CHECK(frnn_tape_size(s->net.stack, STEPS, BATCH, &call.tape_bytes) == FRNN_OK);
        call.tape = fence_take(&s->tape, call.tape_bytes, 0, 0);
    }
    CHECK(frnn_workspace_size(s->net.stack, STEPS, BATCH, plan, &bytes) == FRNN_OK);
    void *const workspace = take_workspace(s, bytes);
    CHECK(frnn_forward(s->net.stack, &call, workspace, bytes) == FRNN_OK);
    call.plan = back;
    if (s->net.config.training)
        run_backward(s, &call, into + s->forward);
}

/* Runs every stride-th pair of a configuration and a plan: every configuration and every split is
 * tested, if not each with each. */
static void check_plan(setting *s, const frnn_plan *plan)
{
    enum { SAME, ABSENT, OTHER, WAYS };
    if (s->number++ % s->stride != 0)
        return;
    const int ways = s->net.config.training ? WAYS : OTHER;
    for (int way = 0; way < ways; way++) {
        memset(s->found, 0xff, s->results * sizeof *s->found);
        run(s, plan, way == OTHER ? &s->before : plan, way == ABSENT ? &crew_absent : &crew_executor,
            s->found);
        if (!CHECK(memcmp(s->found, s->wanted, s->results * sizeof *s->found) == 0))
            printf("plan: rows %d directions %d layers %d units %d block %zu chunk %zu way %d\n",
                   plan->row_groups, plan->direction_teams, plan->layer_teams, plan->unit_workers,
                   plan->block_rows, plan->chunk_steps, way);
    }
    s->before = *plan;
}

/* All divisions up to a width, each with one of the blocks and chunks. */
static void check_splits(setting *s)
{
    const int directions = 1 + s->net.config.bidirectional;
    const int most_layers = directions > 1 ? 1 : s->net.config.num_layers;
    const size_t blocks[] = {1, 2, 3, BATCH}, chunks[] = {1, 2, 4, STEPS};
    unsigned turn = 0;
    for (int rows = 1; rows <= 8; rows += 1 + rows / 3)
        for (int teams = 1; teams <= directions; teams++)
            for (int layers = 1; layers <= most_layers; layers++)
                for (int units = 1; units <= 4 && rows * teams * layers * units <= MOST_WIDTH;
                     units++, turn++)
                    check_plan(s, &(frnn_plan){.row_groups = rows, .direction_teams = teams,
                                               .layer_teams = layers, .unit_workers = units,
                                               .block_rows = blocks[turn % 4],
                                               .chunk_steps = chunks[turn / 4 % 4]});
}

static void check_made(setting *s)
{
    for (int width = 1; width <= MOST_WIDTH; width += 1 + width / 4) {
        frnn_plan plan;
        const frnn_machine machine = {.width = width};
        CHECK(frnn_plan_make(s->net.stack, &machine, STEPS, BATCH, &plan) == FRNN_OK);
        CHECK(plan.row_groups * plan.direction_teams * plan.layer_teams * plan.unit_workers <=
              width);
        check_plan(s, &plan);
    }
}

static void check_config(const frnn_isa *isa, const frnn_config *config, int ragged,
                         unsigned stride)
{
    static setting s;
    uint64_t seed = 11;
    s.stride = stride;
    alarm(HANGS);
    network_name_case(isa, config, BATCH, STEPS);
    network_build(&s.net, isa, config, 1, 0, &seed);
    s.ragged = ragged;
    s.outputs = (size_t)oracle_output_size(config);
    s.width = (size_t)(1 + config->bidirectional) * s.outputs;
    const size_t states = PARTS * BATCH * (size_t)config->hidden_size;
    s.results = s.forward = STEPS * BATCH * s.width + 2 * states;
    if (config->training)
        s.results += STEPS * BATCH * INPUTS + 2 * states + oracle_weights_size(config);
    s.x = floats(STEPS * BATCH * INPUTS), s.states = floats(4 * states);
    s.dy = floats(STEPS * BATCH * s.width);
    s.wanted = floats(s.results), s.found = floats(s.results);
    random_fill(&seed, s.x, STEPS * BATCH * INPUTS, 1.0f);
    random_fill(&seed, s.states, 4 * states, 1.0f);
    random_fill(&seed, s.dy, STEPS * BATCH * s.width, 1.0f);
    for (size_t i = 0; i < BATCH; i++) s.lengths[i] = random_below(&seed, STEPS + 1);
    memset(s.wanted, 0xff, s.results * sizeof *s.wanted);
    run(&s, NULL, NULL, NULL, s.wanted);
    CHECK(frnn_plan_make(s.net.stack, NULL, STEPS, BATCH, &s.before) == FRNN_OK);
    check_splits(&s);
    check_made(&s);
    free(s.x), free(s.states), free(s.dy), free(s.wanted), free(s.found);
}

int main(int argc, char **argv)
{
    const check_options options = check_parse(argc, argv);
    for (int i = 0; check_isa_at(&options, i); i++) {
        const frnn_isa *isa = check_isa_at(&options, i);
        for (int cell = 0; cell < FRNN_CELL_COUNT; cell++)
            for (int variant = 0; variant < 18; variant++) {
                const int projected = variant & 1, ragged = variant >> 1 & 1 || variant == 17;
                const int wide = variant >= 16; /* several chunks of a backward pass */
                const frnn_config config = {.cell = (frnn_cell)cell,
                                            .input_size = INPUTS,
                                            .hidden_size = wide ? 163 : 2 * isa->lanes + 3,
                                            .num_layers = wide ? 2 : 3,
                                            .bidirectional = wide ? variant & 1 : variant >> 2 & 1,
                                            .training = variant >= 8,
                                            .proj_size = projected && oracle_cells[cell].has_projection
                                                             ? isa->lanes + 1
                                                             : 0};
                if ((projected && !wide && !oracle_cells[cell].has_projection) ||
                    (wide && oracle_cells[cell].gates < 3))
                    continue;
                check_config(isa, &config, ragged, options.stride);
            }
    }
    return check_summary("test_plans");
}
