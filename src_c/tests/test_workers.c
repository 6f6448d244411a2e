/* SPDX-License-Identifier: MIT */
/* Workers of a pass: all flush denormals, rows are distributed evenly, sleeping ones are woken when
 * it pays, plans have no more workers than the limit or than there is work for, and all return when
 * a pass is stopped. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/pass/order.h"
#include "../kernels/table.h"
#include "check.h"
#include "crew.h"

/* A stack in memory from malloc. */
static frnn_stack *new_stack(const frnn_isa *isa, const frnn_config *config, void **memory)
{
    frnn_stack *stack = NULL;
    size_t bytes = 0;
    CHECK(frnn_stack_size(config, isa, &bytes) == FRNN_OK);
    *memory = malloc(bytes);
    if (!*memory || !CHECK(frnn_stack_init(&stack, config, isa, *memory, bytes) == FRNN_OK))
        abort();
    return stack;
}

/* Runs a pass in a new workspace. */
static void run(const frnn_stack *stack, const frnn_call *call)
{
    size_t bytes = 0;
    CHECK(frnn_workspace_size(stack, call->steps, call->batch, call->plan, &bytes) == FRNN_OK);
    void *const workspace = malloc(bytes);
    if (!workspace)
        abort();
    CHECK(frnn_forward(stack, call, workspace, bytes) == FRNN_OK);
    free(workspace);
}

/* ---- Denormals -------------------------------------------------------------------------------- */

enum { UNITS = 8 * 16, ROWS = 4 }; /* several panels and rows for each of two workers */

/* Outputs that would be denormal are flushed to zero by every worker. */
static void check_denormals(const frnn_isa *isa)
{
    const frnn_config config = {FRNN_RNN_RELU, 1, UNITS, 1, 0, 0, 0, FRNN_FLOAT32};
    static float weight_ih[UNITS], weight_hh[UNITS * UNITS], x[ROWS], y[ROWS * UNITS];
    void *memory;
    frnn_stack *const stack = new_stack(isa, &config, &memory);
    for (int i = 0; i < UNITS; i++) weight_ih[i] = 1e-30f;
    for (int i = 0; i < ROWS; i++) x[i] = 1e-10f;
    const frnn_weights weights = {.weight_ih = weight_ih, .weight_hh = weight_hh};
    CHECK(frnn_stack_set_weights(stack, 0, 0, &weights) == FRNN_OK);
    for (int split = 0; split < 3; split++) {
        const frnn_plan plan = {.row_groups = 1 + (split == 1), .direction_teams = 1,
                                .layer_teams = 1, .unit_workers = 1 + (split == 2),
                                .block_rows = 1, .chunk_steps = 1};
        const frnn_call call = {.steps = 1, .batch = ROWS, .x = x, .x_step = ROWS, .x_row = 1,
                                .y = y, .y_step = ROWS * UNITS, .y_row = UNITS, .plan = &plan,
                                .executor = &crew_executor};
        memset(y, 0xff, sizeof y);
        run(stack, &call);
        snprintf(check_case, sizeof check_case, "%s denormals %d", frnn_isa_name(isa), split);
        int same = 1;
        for (int i = 0; i < ROWS * UNITS; i++) same &= y[i] == y[0];
        CHECK(same);
#if defined(__SSE__)
        CHECK(y[0] == 0.0f);
#endif
    }
    free(memory);
}

/* ---- Rows ------------------------------------------------------------------------------------- */

/* The steps of two groups differ by at most those of one row. */
static void check_dealing(void)
{
    enum { MOST = 40, MOST_LENGTH = 30 };
    size_t lengths[MOST], ranked[MOST], order[MOST];
    uint64_t seed = 5;
    for (int round = 0; round < 200; round++) {
        const size_t batch = 1 + random_below(&seed, MOST);
        const frnn_plan plan = {.row_groups = 1 + (int)random_below(&seed, 8)};
        const frnn_call call = {.steps = MOST_LENGTH, .batch = batch, .lengths = lengths};
        snprintf(check_case, sizeof check_case, "%zu rows in %d groups", batch, plan.row_groups);
        for (size_t i = 0; i < batch; i++) lengths[i] = random_below(&seed, MOST_LENGTH + 1);
        frnn_order_rows(&call, &plan, ranked, order);
        const size_t longest = lengths[ranked[0]];
        size_t first = 0, least = SIZE_MAX, most = 0;
        for (int group = 0; group < plan.row_groups; group++) {
            const size_t rows = plan_group_rows(&plan, batch, group);
            const size_t steps = steps_of_rows(&call, order + first, rows);
            for (size_t i = 1; i < rows; i++)
                CHECK(lengths[order[first + i - 1]] >= lengths[order[first + i]]);
            first += rows;
            least = steps < least ? steps : least;
            most = steps > most ? steps : most;
        }
        CHECK(most - least <= longest);
    }
}

/* ---- Waking and width ------------------------------------------------------------------------- */

/* Records its arguments and refuses. */
static int note(void *context, int width, int wake, frnn_task *task, void *argument)
{
    int *const asked = context;
    (void)task, (void)argument;
    asked[0] = width, asked[1] = wake;
    return 0;
}

static frnn_plan made(const frnn_stack *stack, int width, size_t steps, size_t batch)
{
    const frnn_machine machine = {.width = width, .l2_bytes = 1 << 20, .l3_bytes = 32 << 20};
    frnn_plan plan = {0};
    CHECK(frnn_plan_make(stack, &machine, steps, batch, &plan) == FRNN_OK);
    return plan;
}

/* Sleeping workers are woken for passes that gain much by it, and for no others. */
static void check_waking(const frnn_isa *isa)
{
    const frnn_config config = {FRNN_GRU, 64, 64, 1, 0, 0, 0, FRNN_FLOAT32};
    enum { ROWS_OF_X = 64, STEPS = 200 };
    void *memory;
    frnn_stack *const stack = new_stack(isa, &config, &memory);
    float *const x = calloc(STEPS * ROWS_OF_X * 64, sizeof *x);
    float *const y = calloc(STEPS * ROWS_OF_X * 64, sizeof *y);
    if (!x || !y)
        abort();
    const size_t steps[] = {1, STEPS};
    for (int longer = 0; longer < 2; longer++) {
        snprintf(check_case, sizeof check_case, "%s waking %d", frnn_isa_name(isa), longer);
        frnn_plan plan = made(stack, 2, steps[longer], longer ? ROWS_OF_X : 1);
        CHECK(plan.wake == longer);
        plan = made(stack, 1, STEPS, ROWS_OF_X); /* no worker to wake */
        CHECK(plan.wake == 0);
        int asked[2] = {0, -1};
        const frnn_executor executor = {asked, note, NULL};
        plan.row_groups = 2, plan.wake = longer;
        run(stack, &(frnn_call){.steps = 1, .batch = ROWS_OF_X, .x = x, .x_step = ROWS_OF_X * 64,
                                .x_row = 64, .y = y, .y_step = ROWS_OF_X * 64, .y_row = 64,
                                .plan = &plan, .executor = &executor});
        CHECK(asked[0] == 2 && asked[1] == longer);
    }
    free(x), free(y), free(memory);
}

static void check_width(const frnn_isa *isa)
{
    /* With one gate, panels are assigned to workers in groups of four. */
    const frnn_config config = {FRNN_RNN_TANH, 8192, 8 * isa->lanes, 1, 0, 0, 0, FRNN_FLOAT32};
    void *memory;
    frnn_stack *const stack = new_stack(isa, &config, &memory);
    snprintf(check_case, sizeof check_case, "%s width", frnn_isa_name(isa));
    CHECK(made(stack, 8, 1, 1).unit_workers <= 2);
    size_t bytes = 0;
    const frnn_plan plan = made(stack, 1 << 20, 1000, 1 << 20);
    CHECK(plan.row_groups * plan.unit_workers <= FRNN_MOST_WORKERS);
    CHECK(plan.row_groups * plan.unit_workers > FRNN_MOST_WORKERS / 2);
    CHECK(frnn_workspace_size(stack, 1000, 1 << 20, &plan, &bytes) == FRNN_OK);
    free(memory);
}

/* ---- Stopping --------------------------------------------------------------------------------- */

/* Stops a pass when it has been asked so many times. */
static int count_down(void *context)
{
    int *const left = context;
    return (*left)-- <= 0;
}

enum { STOP_STEPS = 12, STOP_ROWS = 6, STOP_UNITS = 40, STOP_INPUTS = 3 };

typedef struct {
    frnn_stack *stack;
    frnn_call call;
    frnn_gradients gradients;
    void *workspace;
    size_t bytes;
    float x[STOP_STEPS * STOP_ROWS * STOP_INPUTS], y[STOP_STEPS * STOP_ROWS * STOP_UNITS * 2];
    float dx[STOP_STEPS * STOP_ROWS * STOP_INPUTS];
} stop_case;

static frnn_status run_once(stop_case *c, int back, int asks)
{
    c->call.stop = count_down, c->call.stop_context = &asks;
    return back ? frnn_backward(c->stack, &c->call, &c->gradients, c->workspace, c->bytes)
                : frnn_forward(c->stack, &c->call, c->workspace, c->bytes);
}

/* Stops a pass at each question in turn, then lets it finish: the result has its usual bits. */
static void stop_everywhere(stop_case *c, int back)
{
    float *const result = back ? c->dx : c->y;
    const size_t size = back ? sizeof c->dx : sizeof c->y;
    static float wanted[sizeof c->y / sizeof(float)];
    c->call.stop = NULL;
    CHECK((back ? frnn_backward(c->stack, &c->call, &c->gradients, c->workspace, c->bytes)
                : frnn_forward(c->stack, &c->call, c->workspace, c->bytes)) == FRNN_OK);
    memcpy(wanted, result, size);
    int asks = 0;
    while (run_once(c, back, asks) == FRNN_STOPPED) asks = asks < 8 ? asks + 1 : asks * 2;
    CHECK(asks > 4);
    CHECK(memcmp(wanted, result, size) == 0);
}

static void check_stopping(const frnn_isa *isa)
{
    static stop_case c;
    static const int plans[][4] = {{1, 1, 1, 1}, {2, 1, 1, 1}, {1, 1, 1, 2}, {1, 1, 2, 2},
                                   {2, 2, 1, 1}, {1, 2, 1, 2}};
    static float values[3 * STOP_UNITS * 2 * STOP_UNITS];
    const frnn_weights weights = {.weight_ih = values, .weight_hh = values};
    uint64_t seed = 7;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        values[i] = (float)random_below(&seed, 1000) / 2000 - 0.25f;
    for (int i = 0; i < 6; i++) {
        const int directions = plans[i][1];
        const frnn_config config = {FRNN_GRU_RESET_BEFORE, STOP_INPUTS, STOP_UNITS, 3,
                                    directions - 1, 0, 1, FRNN_FLOAT32};
        const ptrdiff_t width = directions * STOP_UNITS;
        frnn_plan plan = {plans[i][0], directions, plans[i][2], plans[i][3], 2, 2, 1, 0, 0, 0};
        void *memory;
        size_t tape = 0, back = 0;
        memset(&c, 0, sizeof c);
        c.stack = new_stack(isa, &config, &memory);
        for (int part = 0; part < 3 * directions; part++)
            CHECK(frnn_stack_set_weights(c.stack, part / directions, part % directions, &weights) ==
                  FRNN_OK);
        memcpy(c.x, values, sizeof c.x);
        CHECK(frnn_tape_size(c.stack, STOP_STEPS, STOP_ROWS, &tape) == FRNN_OK);
        CHECK(frnn_workspace_size(c.stack, STOP_STEPS, STOP_ROWS, &plan, &c.bytes) == FRNN_OK);
        CHECK(frnn_backward_size(c.stack, STOP_STEPS, STOP_ROWS, &plan, &back) == FRNN_OK);
        c.bytes = c.bytes > back ? c.bytes : back;
        c.workspace = malloc(c.bytes);
        c.call = (frnn_call){.steps = STOP_STEPS, .batch = STOP_ROWS, .x = c.x, .y = c.y,
                             .x_step = STOP_ROWS * STOP_INPUTS, .x_row = STOP_INPUTS,
                             .y_step = STOP_ROWS * width, .y_row = width, .plan = &plan,
                             .executor = &crew_executor, .tape = malloc(tape), .tape_bytes = tape,
                             .dropout = 0.5f};
        c.gradients = (frnn_gradients){.dy = c.y, .dy_step = STOP_ROWS * width, .dy_row = width,
                                       .dx = c.dx, .dx_step = STOP_ROWS * STOP_INPUTS,
                                       .dx_row = STOP_INPUTS};
        if (!c.workspace || !c.call.tape)
            abort();
        snprintf(check_case, sizeof check_case, "%s stopping plan %d", frnn_isa_name(isa), i);
        stop_everywhere(&c, 0);
        stop_everywhere(&c, 1);
        free(c.workspace), free(c.call.tape), free(memory);
    }
}

int main(int argc, char **argv)
{
    const check_options options = check_parse(argc, argv);
    check_dealing();
    for (int i = 0; check_isa_at(&options, i); i++) {
        const frnn_isa *isa = check_isa_at(&options, i);
        check_denormals(isa);
        check_waking(isa);
        check_width(isa);
        check_stopping(isa);
    }
    return check_summary("test_workers");
}
