/* SPDX-License-Identifier: MIT */
/* Times one case without Python: forward, or forward and backward. */
#define _POSIX_C_SOURCE 200809L
#include <fastrnn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../platform/memory.h"
#include "../platform/pool.h"

static const char *const cells[FRNN_CELL_COUNT] = {"rnn",  "rnn_relu", "gru", "gru_reset_before",
                                                  "lstm", "lstm_coupled"};
static const int gates[FRNN_CELL_COUNT] = {1, 1, 3, 3, 4, 3};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *random_floats(size_t count, float scale)
{
    float *values = malloc(count * sizeof *values);
    for (size_t i = 0; values && i < count; i++)
        values[i] = scale * (2.0f * (float)rand() / (float)RAND_MAX - 1.0f);
    return values;
}

static void set_random_weights(frnn_stack *stack, const frnn_config *c)
{
    const int directions = 1 + c->bidirectional, gate_rows = gates[c->cell] * c->hidden_size;
    const int r = c->proj_size ? c->proj_size : c->hidden_size;
    for (int layer = 0; layer < c->num_layers; layer++)
        for (int d = 0; d < directions; d++) {
            const int inputs = layer ? directions * r : c->input_size;
            float *ih = random_floats((size_t)gate_rows * (size_t)inputs, 0.1f);
            float *hh = random_floats((size_t)gate_rows * (size_t)r, 0.1f);
            float *hr = NULL;
            if (c->proj_size)
                hr = random_floats((size_t)r * (size_t)c->hidden_size, 0.1f);
            float *bias = random_floats((size_t)gate_rows, 0.1f);
            frnn_stack_set_weights(stack, layer, d, &(frnn_weights){ih, hh, bias, bias, hr});
            free(ih), free(hh), free(hr), free(bias);
        }
}

static double flops(const frnn_config *c, size_t steps, size_t batch)
{
    const int directions = 1 + c->bidirectional, r = c->proj_size ? c->proj_size : c->hidden_size;
    double total = 0;
    for (int layer = 0; layer < c->num_layers; layer++)
        total += directions * (2.0 * gates[c->cell] * c->hidden_size *
                                   ((layer ? directions * r : c->input_size) + r) +
                               2.0 * c->proj_size * c->hidden_size);
    return total * (double)steps * (double)batch;
}

/* The memory and arguments of a backward pass. */
typedef struct {
    frnn_gradients gradients;
    frnn_weight_gradients *weights;
    void *workspace;
    size_t bytes;
} training;

static int prepare_training(training *t, const frnn_stack *stack, const frnn_config *c,
                            frnn_call *call)
{
    const int directions = 1 + c->bidirectional, parts = c->num_layers * directions;
    const size_t rows = (size_t)(gates[c->cell] * c->hidden_size);
    const int r = c->proj_size ? c->proj_size : c->hidden_size, width = directions * r;
    if (frnn_tape_size(stack, call->steps, call->batch, &call->tape_bytes) != FRNN_OK ||
        frnn_backward_size(stack, call->steps, call->batch, call->plan, &t->bytes) != FRNN_OK)
        return 0;
    call->tape = frnn_memory_allocate(call->tape_bytes);
    t->workspace = frnn_memory_allocate(t->bytes);
    t->weights = calloc((size_t)parts, sizeof *t->weights);
    for (int part = 0; t->weights && part < parts; part++) {
        const int inputs = part < directions ? c->input_size : width;
        t->weights[part] = (frnn_weight_gradients){
            random_floats(rows * (size_t)inputs, 0), random_floats(rows * (size_t)r, 0),
            random_floats(rows, 0), random_floats(rows, 0),
            c->proj_size ? random_floats((size_t)(r * c->hidden_size), 0) : NULL};
    }
    const size_t count = call->steps * call->batch;
    t->gradients = (frnn_gradients){
        .dy = random_floats(count * (size_t)width, 1), .dy_step = call->y_step,
        .dy_row = call->y_row, .dx = random_floats(count * (size_t)c->input_size, 0),
        .dx_step = call->x_step, .dx_row = call->x_row, .weights = t->weights};
    return call->tape && t->workspace && t->weights && t->gradients.dy && t->gradients.dx;
}

/* Repeats training steps for 1.5 s and prints the best times. */
static int run_training(const frnn_stack *stack, const frnn_config *c, frnn_call *call,
                        void *workspace, size_t bytes, double work)
{
    training t = {.bytes = 0};
    if (!prepare_training(&t, stack, c, call))
        return 1;
    double both = 1e30, forward = 1e30;
    for (double begin = seconds(); seconds() - begin < 1.5;) {
        const double start = seconds();
        frnn_forward(stack, call, workspace, bytes);
        const double middle = seconds();
        frnn_backward(stack, call, &t.gradients, t.workspace, t.bytes);
        const double end = seconds();
        forward = middle - start < forward ? middle - start : forward;
        both = end - start < both ? end - start : both;
    }
    printf("forward %.3f ms, forward and backward %.3f ms, %.1f GFLOP/s; tape %zu KiB, workspace "
           "%zu KiB; plan: rows %d directions %d layers %d units %d block %zu\n",
           forward * 1e3, both * 1e3, 3 * work / both * 1e-9, call->tape_bytes >> 10,
           t.bytes >> 10, call->plan->row_groups, call->plan->direction_teams,
           call->plan->layer_teams, call->plan->unit_workers, call->plan->block_rows);
    return 0;
}

/* Repeats calls for 0.4 s, each time beside the FMA peak, and prints the best time. */
static void run_inference(const char *cell, const frnn_isa *isa, const frnn_stack *stack,
                          const frnn_config *c, const frnn_call *call, void *workspace,
                          size_t bytes, double work)
{
    const int calls = (int)(2e8 / work) + 1;
    const frnn_plan *const plan = call->plan;
    double best = 1e30, peak = 0, begin = seconds();
    float sink = 0;
    do {
        const double p = seconds(), fma = frnn_probe_fma(isa, 200000, &sink);
        const double t = seconds(), rate = fma / (t - p);
        peak = rate > peak ? rate : peak;
        for (int i = 0; i < calls; i++) frnn_forward(stack, call, workspace, bytes);
        const double each = (seconds() - t) / calls;
        best = each < best ? each : best;
    } while (seconds() - begin < 0.4);
    printf("%-6s T %zu B %zu I %d H %d L %d D %d P %d %s: %.4f ms  %.1f GFLOP/s  %.0f %% of FMA "
           "peak of a core; plan: rows %d directions %d layers %d units %d block %zu chunk %zu; "
           "workspace %zu KiB\n",
           cell, call->steps, call->batch, c->input_size, c->hidden_size, c->num_layers,
           1 + c->bidirectional, c->proj_size, frnn_isa_name(isa), best * 1e3, work / best * 1e-9,
           100 * work / best / peak, plan->row_groups, plan->direction_teams, plan->layer_teams,
           plan->unit_workers, plan->block_rows, plan->chunk_steps, bytes >> 10);
}

/* ---- The command line ------------------------------------------------------------------------- */

static frnn_config parse_config(int argc, char **argv)
{
    int cell = 0;
    while (cell < FRNN_CELL_COUNT && strcmp(argv[1], cells[cell]) != 0) cell++;
    return (frnn_config){.cell = (frnn_cell)cell,
                         .input_size = atoi(argv[4]),
                         .hidden_size = atoi(argv[5]),
                         .num_layers = argc > 6 ? atoi(argv[6]) : 1,
                         .bidirectional = argc > 7 && atoi(argv[7]) == 2,
                         .proj_size = argc > 8 ? atoi(argv[8]) : 0,
                         .training = argc > 11};
}

/* The plan of frnn_plan_make for this width, or the one that the command line spells out. */
static frnn_plan parse_plan(int argc, char **argv, const frnn_stack *stack, size_t steps,
                            size_t batch)
{
    const frnn_machine machine = {.width = argc > 10 ? atoi(argv[10]) : 1};
    frnn_plan plan;
    frnn_plan_make(stack, &machine, steps, batch, &plan);
    if (argc > 14) {
        plan.row_groups = atoi(argv[12]), plan.direction_teams = atoi(argv[13]);
        plan.unit_workers = atoi(argv[14]), plan.wake = 1;
        const size_t groups = (size_t)plan.row_groups;
        plan.block_rows = (batch + groups - 1) / groups;
    }
    return plan;
}

int main(int argc, char **argv)
{
    if (argc < 6)
        return fprintf(stderr, "usage: %s CELL T B I H [layers [directions [proj [isa [width "
                       "[train [rows directions units]]]]]]]\n",
                       argv[0]), 2;
    const size_t steps = strtoul(argv[2], NULL, 10), batch = strtoul(argv[3], NULL, 10);
    const frnn_config config = parse_config(argc, argv);
    const frnn_isa *isa = argc > 9 ? frnn_isa_find(argv[9]) : frnn_isa_at(0);
    size_t stack_bytes = 0, workspace_bytes = 0;
    frnn_stack *stack = NULL;
    if (!isa || frnn_stack_size(&config, isa, &stack_bytes) != FRNN_OK)
        return fprintf(stderr, "bad case\n"), 2;
    void *const memory = frnn_memory_allocate(stack_bytes);
    if (!memory)
        return 1;
    frnn_stack_init(&stack, &config, isa, memory, stack_bytes);
    set_random_weights(stack, &config);
    const frnn_plan plan = parse_plan(argc, argv, stack, steps, batch);
    frnn_workspace_size(stack, steps, batch, &plan, &workspace_bytes);
    void *const workspace = frnn_memory_allocate(workspace_bytes);
    const int width = (1 + config.bidirectional) *
                      (config.proj_size ? config.proj_size : config.hidden_size);
    float *x = random_floats(steps * batch * (size_t)config.input_size, 1.0f);
    float *y = random_floats(steps * batch * (size_t)width, 0.0f);
    if (!workspace || !x || !y)
        return 1;
    frnn_call call = {.steps = steps, .batch = batch, .x = x,
                      .x_step = (ptrdiff_t)batch * config.input_size, .x_row = config.input_size,
                      .y = y, .y_step = (ptrdiff_t)batch * width, .y_row = width, .plan = &plan,
                      .executor = frnn_pool_executor()};
    const double work = flops(&config, steps, batch);
    if (config.training)
        return run_training(stack, &config, &call, workspace, workspace_bytes, work);
    run_inference(argv[1], isa, stack, &config, &call, workspace, workspace_bytes, work);
    frnn_memory_free(memory), frnn_memory_free(workspace), free(x), free(y);
    return 0;
}
