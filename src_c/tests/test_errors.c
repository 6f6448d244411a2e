/* SPDX-License-Identifier: MIT */
/* Every status code, sizes near overflow, and that a failed call changes nothing. */
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "oracle.h"
#include "fence.h"

static const frnn_config LSTM = {.cell = FRNN_LSTM, .input_size = 3, .hidden_size = 5,
                                 .num_layers = 2, .bidirectional = 1, .proj_size = 2};

static void check_texts(void)
{
    for (int a = FRNN_STOPPED - 1; a <= FRNN_OK; a++) /* with one that does not exist */
        for (int b = a + 1; b <= FRNN_OK; b++)
            CHECK(strcmp(frnn_status_text((frnn_status)a), frnn_status_text((frnn_status)b)) != 0);
    CHECK(strcmp(frnn_status_text((frnn_status)1), frnn_status_text((frnn_status)-99)) == 0);
}

static void check_isas(void)
{
    int count = 0;
    for (; frnn_isa_at(count); count++)
        CHECK(frnn_isa_find(frnn_isa_name(frnn_isa_at(count))) == frnn_isa_at(count));
    CHECK(count >= 1 && strcmp(frnn_isa_name(frnn_isa_at(count - 1)), "scalar") == 0);
    CHECK(!frnn_isa_at(count + 100) && !frnn_isa_at(-1) && !frnn_isa_at(INT_MIN));
    CHECK(!frnn_isa_find(NULL) && !frnn_isa_find("") && !frnn_isa_find("avx") &&
          !frnn_isa_find("scalar "));
}

/* ---- Configurations ------------------------------------------------------------------------- */

static void check_bad_configs(const frnn_isa *isa)
{
    size_t bytes = 42;
    CHECK(frnn_stack_size(NULL, isa, &bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_stack_size(&LSTM, NULL, &bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_stack_size(&LSTM, isa, NULL) == FRNN_BAD_ARGUMENT);
    frnn_config bad[17];
    for (int i = 0; i < 17; i++) bad[i] = LSTM;
    bad[0].cell = (frnn_cell)FRNN_CELL_COUNT, bad[1].cell = (frnn_cell)-1;
    bad[2].input_size = 0, bad[3].input_size = -1;
    bad[4].hidden_size = 0, bad[5].hidden_size = INT_MIN;
    bad[6].num_layers = 0, bad[7].num_layers = -5;
    bad[8].bidirectional = 2, bad[9].bidirectional = -1;
    bad[10].proj_size = -1, bad[11].proj_size = 5, bad[12].proj_size = INT_MAX;
    bad[13].cell = FRNN_GRU; /* with a projection */
    bad[14].training = 2, bad[15].training = -1;
    bad[16].dtype = (frnn_dtype)FRNN_DTYPE_COUNT;
    for (int i = 0; i < 17; i++) {
        snprintf(check_case, sizeof check_case, "bad config %d", i);
        CHECK(frnn_stack_size(&bad[i], isa, &bytes) == FRNN_BAD_CONFIG);
    }
    CHECK(bytes == 42);
    frnn_config most = LSTM;
    most.num_layers = 1 << 15;
    CHECK(frnn_stack_size(&most, isa, &bytes) == FRNN_OK);
    most.num_layers++;
    CHECK(frnn_stack_size(&most, isa, &bytes) == FRNN_TOO_LARGE);
}

/* Bytes of the weights alone, in double: they may exceed every integer type. */
static double weight_bytes(const frnn_config *c)
{
    const double directions = 1 + c->bidirectional, hidden = c->hidden_size;
    const double outputs = c->proj_size ? c->proj_size : c->hidden_size;
    const double gates = oracle_cells[c->cell].gates;
    const double first = gates * hidden * (c->input_size + outputs);
    const double above = gates * hidden * (directions + 1) * outputs * (c->num_layers - 1);
    return 4.0 * directions * (first + above + (double)c->num_layers * c->proj_size * hidden);
}

/* For any sizes, the status is FRNN_TOO_LARGE or the bytes are sufficient. */
static void check_huge_configs(const frnn_isa *isa)
{
    static const int sizes[] = {1, 17, 1 << 15, 1 << 20, INT_MAX / 64, INT_MAX / 64 + 1, 1 << 30,
                                INT_MAX};
    enum { SIZES = sizeof sizes / sizeof sizes[0] };
    int too_large = 0;
    for (int cell = 0; cell < FRNN_CELL_COUNT; cell++)
        for (int i = 0; i < SIZES * SIZES * 3 * 2 * 2; i++) {
            static const int layers[] = {1, 3, 5000};
            frnn_config c = {.cell = (frnn_cell)cell,
                             .input_size = sizes[i % SIZES],
                             .hidden_size = sizes[i / SIZES % SIZES],
                             .num_layers = layers[i / SIZES / SIZES % 3],
                             .bidirectional = i / SIZES / SIZES / 3 % 2};
            if (i / SIZES / SIZES / 3 / 2 == 1 && oracle_cells[cell].has_projection && c.hidden_size > 1)
                c.proj_size = c.hidden_size - 1;
            size_t bytes = 0;
            snprintf(check_case, sizeof check_case, "huge config: cell %d i%d h%d l%d p%d", cell,
                     c.input_size, c.hidden_size, c.num_layers, c.proj_size);
            const frnn_status status = frnn_stack_size(&c, isa, &bytes);
            CHECK(status == FRNN_OK || status == FRNN_TOO_LARGE);
            CHECK(status != FRNN_OK || ((double)bytes >= weight_bytes(&c) && bytes < PTRDIFF_MAX));
            CHECK(status != FRNN_TOO_LARGE || bytes == 0);
            too_large += status == FRNN_TOO_LARGE;
        }
    CHECK(too_large > 0);
    const frnn_config most = {.cell = FRNN_RNN_TANH, .input_size = 1, .hidden_size = 1,
                              .num_layers = INT_MAX};
    size_t bytes = 0;
    CHECK(frnn_stack_size(&most, isa, &bytes) == FRNN_TOO_LARGE);
}

/* ---- Stacks --------------------------------------------------------------------------------- */

static void check_init(const frnn_isa *isa, fence *memory)
{
    size_t bytes = 0;
    frnn_stack *stack = NULL;
    snprintf(check_case, sizeof check_case, "%s stack", frnn_isa_name(isa));
    CHECK(frnn_stack_size(&LSTM, isa, &bytes) == FRNN_OK);
    void *at = fence_take(memory, bytes, 0, 0);
    CHECK(frnn_stack_init(&stack, &LSTM, isa, at, bytes - 1) == FRNN_SMALL_MEMORY);
    CHECK(frnn_stack_init(&stack, &LSTM, isa, at, 0) == FRNN_SMALL_MEMORY);
    CHECK(frnn_stack_init(&stack, &LSTM, isa, NULL, bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_stack_init(NULL, &LSTM, isa, at, bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_stack_init(&stack, NULL, isa, at, bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_stack_init(&stack, &LSTM, NULL, at, bytes) == FRNN_BAD_ARGUMENT);
    CHECK(!stack && fence_is_unwritten(memory) && fence_is_whole(memory));
    CHECK(frnn_stack_init(&stack, &LSTM, isa, at, bytes) == FRNN_OK && stack);
}

/* A stack in guarded memory with weights of 0.1. */
static frnn_stack *make_stack(const frnn_isa *isa, fence *memory)
{
    static float tenth[4 * 5 * 5];
    size_t bytes = 0;
    frnn_stack *stack = NULL;
    for (size_t i = 0; i < sizeof tenth / sizeof *tenth; i++) tenth[i] = 0.1f;
    frnn_stack_size(&LSTM, isa, &bytes);
    frnn_stack_init(&stack, &LSTM, isa, fence_take(memory, bytes, 0, 0), bytes);
    const frnn_weights good = {tenth, tenth, NULL, tenth, tenth};
    for (int part = 0; part < 4; part++)
        CHECK(frnn_stack_set_weights(stack, part / 2, part % 2, &good) == FRNN_OK);
    return stack;
}

static void check_weights(const frnn_isa *isa, fence *memory)
{
    const float value[4 * 5 * 5] = {0.0f};
    const frnn_weights good = {value, value, value, value, value};
    frnn_weights bad[3] = {good, good, good};
    frnn_stack *stack = make_stack(isa, memory);
    bad[0].weight_ih = NULL, bad[1].weight_hh = NULL, bad[2].weight_hr = NULL;
    for (int i = 0; i < 3; i++)
        CHECK(frnn_stack_set_weights(stack, 0, 0, &bad[i]) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_stack_set_weights(NULL, 0, 0, &good) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_stack_gates(stack) == 4 && frnn_stack_states(stack) == 2);
    CHECK(frnn_stack_gates(NULL) == 0 && frnn_stack_states(NULL) == 0);
    CHECK(frnn_stack_set_weights(stack, 0, 0, NULL) == FRNN_BAD_ARGUMENT);
    static const int places[][2] = {{-1, 0}, {2, 0}, {0, -1}, {0, 2}, {INT_MAX, 0}, {0, INT_MIN}};
    for (int i = 0; i < 6; i++)
        CHECK(frnn_stack_set_weights(stack, places[i][0], places[i][1], &good) ==
              FRNN_BAD_ARGUMENT);

    frnn_config plain = LSTM;
    size_t bytes = 0;
    plain.proj_size = 0;
    frnn_stack_size(&plain, isa, &bytes);
    CHECK(frnn_stack_init(&stack, &plain, isa, fence_take(memory, bytes, 0, 0), bytes) == FRNN_OK);
    CHECK(frnn_stack_set_weights(stack, 0, 0, &good) == FRNN_BAD_ARGUMENT); /* no projection */
}

/* ---- Passes --------------------------------------------------------------------------------- */

static void check_workspace(const frnn_isa *isa, fence *memory)
{
    const frnn_stack *stack = make_stack(isa, memory);
    size_t bytes = 42;
    CHECK(frnn_workspace_size(NULL, 1, 1, NULL, &bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_workspace_size(stack, 1, 1, NULL, NULL) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_workspace_size(stack, 0, 1, NULL, &bytes) == FRNN_BAD_ARGUMENT);
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 16, SIZE_MAX / 16 + 1};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        snprintf(check_case, sizeof check_case, "%s workspace of %zu", frnn_isa_name(isa),
                 sizes[i]);
        CHECK(frnn_workspace_size(stack, 1, sizes[i], NULL, &bytes) == FRNN_TOO_LARGE);
        CHECK(frnn_workspace_size(stack, sizes[i], 1, NULL, &bytes) == FRNN_TOO_LARGE);
        CHECK(frnn_workspace_size(stack, sizes[i], sizes[i], NULL, &bytes) == FRNN_TOO_LARGE);
    }
    CHECK(bytes == 42);
    CHECK(frnn_workspace_size(stack, 1, 0, NULL, &bytes) == FRNN_OK && bytes != 42);
}

/* The caller's plan is checked like any argument. The stack of make_stack has two directions. */
static void check_plans(const frnn_isa *isa, fence *memory)
{
    const frnn_stack *stack = make_stack(isa, memory);
    const frnn_machine two = {.width = 2};
    frnn_plan plan = {.row_groups = 42};
    CHECK(frnn_plan_make(NULL, &two, 1, 1, &plan) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_plan_make(stack, &two, 0, 1, &plan) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_plan_make(stack, &two, 1, 1, NULL) == FRNN_BAD_ARGUMENT && plan.row_groups == 42);
    CHECK(frnn_plan_make(stack, &(frnn_machine){.width = -1}, 3, 2, &plan) == FRNN_OK);
    CHECK(plan.row_groups * plan.direction_teams * plan.layer_teams * plan.unit_workers == 1);
    const size_t sizes[] = {0, 1, SIZE_MAX / 2, SIZE_MAX};
    for (int i = 0; i < 16; i++)
        if (sizes[i / 4] > 0)
            CHECK(frnn_plan_make(stack, &two, sizes[i / 4], sizes[i % 4], &plan) == FRNN_OK &&
                  plan.block_rows > 0 && plan.chunk_steps > 0);
    CHECK(frnn_plan_make(stack, NULL, 3, 2, &plan) == FRNN_OK);
    frnn_plan bad[] = {plan, plan, plan, plan, plan, plan, plan,
                       plan, plan, plan, plan, plan, plan, plan};
    size_t bytes = 42;
    bad[0].row_groups = 0, bad[1].unit_workers = -1, bad[2].direction_teams = 3;
    bad[3].layer_teams = 3, bad[4].layer_teams = 2, bad[5].block_rows = 0, bad[6].chunk_steps = 0;
    bad[7].block_rows = SIZE_MAX / 2, bad[8].row_groups = bad[8].unit_workers = 4096;
    bad[9].row_groups = INT_MAX, bad[10].unit_workers = INT_MAX, bad[11].direction_teams = 0;
    bad[12].layer_teams = 0, bad[13].chunk_steps = SIZE_MAX / 2;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK(frnn_workspace_size(stack, 3, 2, &bad[i], &bytes) == FRNN_BAD_ARGUMENT);
    CHECK(bytes == 42);
}

/* A pass that fails does not change y or the states. */
static void check_forward(const frnn_isa *isa, fence *memory, fence *out, fence *workspace)
{
    enum { STEPS = 3, BATCH = 2, Y = STEPS * BATCH * 4, H = 4 * BATCH * 2, C = 4 * BATCH * 5 };
    const frnn_stack *stack = make_stack(isa, memory);
    const float x[STEPS * BATCH * 3] = {0.0f};
    const size_t too_long[BATCH] = {1, STEPS + 1};
    float *const y = fence_take(out, (Y + H + C) * sizeof(float), 0, 0);
    const frnn_call good = {.steps = STEPS, .batch = BATCH, .x = x, .x_step = 6, .x_row = 3, .y = y,
                            .y_step = BATCH * 4, .y_row = 4, .hn = y + Y, .cn = y + Y + H};
    const frnn_executor nobody = {0};
    const frnn_plan no_plan = {0};
    frnn_call bad[7] = {good, good, good, good, good, good, good};
    size_t bytes = 0;
    bad[0].x = NULL, bad[1].y = NULL, bad[2].steps = 0, bad[3].lengths = too_long;
    bad[4].executor = &nobody, bad[5].plan = &no_plan;
    bad[6].x = y; /* in place, with two directions */
    CHECK(frnn_workspace_size(stack, STEPS, BATCH, NULL, &bytes) == FRNN_OK);
    void *const at = fence_take(workspace, bytes, 0, 0);
    snprintf(check_case, sizeof check_case, "%s forward", frnn_isa_name(isa));
    for (int i = 0; i < 7; i++)
        CHECK(frnn_forward(stack, &bad[i], at, bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_forward(NULL, &good, at, bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_forward(stack, NULL, at, bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_forward(stack, &good, NULL, bytes) == FRNN_SMALL_MEMORY);
    CHECK(frnn_forward(stack, &good, at, bytes - 1) == FRNN_SMALL_MEMORY);
    frnn_call huge = good;
    huge.batch = SIZE_MAX / 2, huge.steps = SIZE_MAX / 2;
    CHECK(frnn_forward(stack, &huge, at, bytes) == FRNN_TOO_LARGE);
    CHECK(fence_is_unwritten(out) && fence_is_unwritten(workspace) && fence_is_whole(out));

    frnn_call none = good;
    none.batch = 0, none.x = NULL, none.y = NULL, none.lengths = too_long;
    CHECK(frnn_forward(stack, &none, at, bytes) == FRNN_OK);
    CHECK(fence_is_unwritten(out));
    const size_t nothing[BATCH] = {0, 0};
    frnn_call empty = good;
    empty.lengths = nothing;
    CHECK(frnn_forward(stack, &empty, at, bytes) == FRNN_OK);
    for (int i = 0; i < Y + H + C; i++) CHECK(y[i] == 0.0f);
}

/* ---- Training ------------------------------------------------------------------------------- */

enum { T_STEPS = 3, T_BATCH = 2, T_X = T_STEPS * T_BATCH * 3, T_Y = T_STEPS * T_BATCH * 4 };

static frnn_stack *make_training(const frnn_isa *isa, fence *memory)
{
    frnn_config config = LSTM;
    size_t bytes = 0;
    frnn_stack *stack = NULL;
    config.training = 1;
    CHECK(frnn_stack_size(&config, isa, &bytes) == FRNN_OK);
    CHECK(frnn_stack_init(&stack, &config, isa, fence_take(memory, bytes, 0, 0), bytes) == FRNN_OK);
    return stack;
}

static void check_training_sizes(const frnn_isa *isa, fence *memory)
{
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 16, SIZE_MAX / 16 + 1};
    size_t bytes = 42;
    const frnn_stack *plain = make_stack(isa, memory);
    CHECK(frnn_tape_size(plain, 1, 1, &bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_backward_size(plain, 1, 1, NULL, &bytes) == FRNN_BAD_ARGUMENT);
    const frnn_stack *stack = make_training(isa, memory);
    CHECK(frnn_tape_size(NULL, 1, 1, &bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_tape_size(stack, 0, 1, &bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_tape_size(stack, 1, 1, NULL) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_backward_size(NULL, 1, 1, NULL, &bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_backward_size(stack, 0, 1, NULL, &bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_backward_size(stack, 1, 1, NULL, NULL) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_backward_size(stack, 1, 1, &(frnn_plan){0}, &bytes) == FRNN_BAD_ARGUMENT);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t j = 0; j < 3; j++) {
            const size_t steps = j == 1 ? 1 : sizes[i], batch = j == 0 ? 1 : sizes[i];
            CHECK(frnn_tape_size(stack, steps, batch, &bytes) == FRNN_TOO_LARGE);
            CHECK(frnn_backward_size(stack, steps, batch, NULL, &bytes) == FRNN_TOO_LARGE);
        }
    CHECK(bytes == 42);
}

/* Gradients of weights are zeros if there is no row, or none with a step. */
static void check_no_rows(const frnn_stack *stack, const frnn_call *like, void *at, size_t bytes)
{
    static fence back;
    const size_t nothing[T_BATCH] = {0, 0};
    float weight[4 * 5 * 5], hr[2 * 5];
    const frnn_weight_gradients parts[4] = {{.weight_ih = weight}, {.weight_hr = hr}};
    const frnn_gradients g = {.weights = parts};
    size_t back_bytes = 0;
    CHECK(frnn_backward_size(stack, T_STEPS, T_BATCH, NULL, &back_bytes) == FRNN_OK);
    void *const space = fence_take(&back, back_bytes, 0, 0);
    frnn_call none = *like;
    none.lengths = nothing;
    for (int batch = 0; batch <= T_BATCH; batch += T_BATCH) {
        none.batch = (size_t)batch;
        memset(weight, 0xff, sizeof weight), memset(hr, 0xff, sizeof hr);
        CHECK(frnn_forward(stack, &none, at, bytes) == FRNN_OK);
        CHECK(frnn_backward(stack, &none, &g, space, back_bytes) == FRNN_OK);
        for (int i = 0; i < 4 * 5 * 3; i++) CHECK(weight[i] == 0.0f);
        for (int i = 0; i < 2 * 5; i++) CHECK(hr[i] == 0.0f);
    }
}

/* A recorded pass or a backward pass that fails changes nothing. Then both run. */
static void check_training(const frnn_isa *isa, fence *memory, fence *out, fence *workspace)
{
    static fence tape, back;
    const frnn_stack *stack = make_training(isa, memory);
    const float x[T_X] = {0.0f};
    const size_t too_long[T_BATCH] = {1, T_STEPS + 1};
    float *const y = fence_take(out, (T_Y + T_X) * sizeof(float), 0, 0), *const dx = y + T_Y;
    size_t bytes = 0, tape_bytes = 0, back_bytes = 0;
    CHECK(frnn_workspace_size(stack, T_STEPS, T_BATCH, NULL, &bytes) == FRNN_OK);
    CHECK(frnn_tape_size(stack, T_STEPS, T_BATCH, &tape_bytes) == FRNN_OK);
    CHECK(frnn_backward_size(stack, T_STEPS, T_BATCH, NULL, &back_bytes) == FRNN_OK);
    void *const at = fence_take(workspace, bytes, 0, 0);
    frnn_call good = {.steps = T_STEPS, .batch = T_BATCH, .x = x, .x_step = 6, .x_row = 3, .y = y,
                      .y_step = 8, .y_row = 4, .tape = fence_take(&tape, tape_bytes, 0, 0),
                      .tape_bytes = tape_bytes};
    frnn_call bad = good;
    bad.tape_bytes--;
    snprintf(check_case, sizeof check_case, "%s training", frnn_isa_name(isa));
    CHECK(frnn_forward(stack, &bad, at, bytes) == FRNN_SMALL_MEMORY);
    bad.tape_bytes++, bad.dropout = 1.5f;
    CHECK(frnn_forward(stack, &bad, at, bytes) == FRNN_BAD_ARGUMENT);
    bad.dropout = -0.1f;
    CHECK(frnn_forward(stack, &bad, at, bytes) == FRNN_BAD_ARGUMENT);
    CHECK(fence_is_unwritten(out) && fence_is_unwritten(workspace) && fence_is_unwritten(&tape));
    CHECK(frnn_forward(stack, &good, at, bytes) == FRNN_OK);
    memset(out->block, 0xff, out->bytes);

    float weight[4 * 5 * 5], hr[2 * 5];
    const frnn_weight_gradients parts[4] = {{.weight_ih = weight}, {.weight_hr = hr}};
    const frnn_gradients g = {.dx = dx, .dx_step = 6, .dx_row = 3, .weights = parts};
    void *const space = fence_take(&back, back_bytes, 0, 0);
    CHECK(frnn_backward(NULL, &good, &g, space, back_bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_backward(stack, NULL, &g, space, back_bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_backward(stack, &good, NULL, space, back_bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_backward(stack, &good, &g, NULL, back_bytes) == FRNN_SMALL_MEMORY);
    CHECK(frnn_backward(stack, &good, &g, space, back_bytes - 1) == FRNN_SMALL_MEMORY);
    frnn_call wrong[8] = {good, good, good, good, good, good, good, good};
    const frnn_executor nobody = {0};
    frnn_plan other;
    CHECK(frnn_plan_make(stack, NULL, T_STEPS, T_BATCH, &other) == FRNN_OK);
    other.block_rows = 0;
    wrong[0].tape = NULL, wrong[1].x = NULL, wrong[2].lengths = too_long, wrong[3].plan = &other;
    wrong[4].executor = &nobody, wrong[5].steps = 0;
    wrong[6].steps--, wrong[7].batch--; /* not those of the tape */
    for (int i = 0; i < 8; i++)
        CHECK(frnn_backward(stack, &wrong[i], &g, space, back_bytes) == FRNN_BAD_ARGUMENT);
    CHECK(fence_is_unwritten(out) && fence_is_unwritten(&back));
    CHECK(frnn_backward(stack, &good, &g, space, back_bytes) == FRNN_OK);
    for (int i = 0; i < T_X; i++) CHECK(dx[i] == 0.0f);
    check_no_rows(stack, &good, at, bytes);
}

int main(int argc, char **argv)
{
    const check_options options = check_parse(argc, argv);
    static fence memory, out, workspace;
    fence_report_traps(check_case);
    check_texts();
    check_isas();
    for (int i = 0; check_isa_at(&options, i); i++) {
        const frnn_isa *isa = check_isa_at(&options, i);
        check_bad_configs(isa);
        check_huge_configs(isa);
        check_init(isa, &memory);
        check_weights(isa, &memory);
        check_workspace(isa, &memory);
        check_plans(isa, &memory);
        check_forward(isa, &memory, &out, &workspace);
        check_training_sizes(isa, &memory);
        check_training(isa, &memory, &out, &workspace);
    }
    return check_summary("test_errors");
}
