/* SPDX-License-Identifier: MIT */
/* Runs a model in several ways that must give the same bits. */
#include "model_trial.h"

#include <string.h>

#include "check.h"
#include "fence.h"

enum { BATCH = 2, STEPS = 9, MOST_PLANS = 16, WIDTH = 3, MOST_INPUTS = 1 << 14 };

static fence file_block, memory_block, x_block, y_block, state_block, work_block;
static float first_row[TRIAL_MEMORY / 64]; /* of y; [steps][outputs] */

/* How a model is run. */
typedef struct {
    size_t steps, batch;
    const size_t *lengths;  /* that of row 0 is `steps`; NULL: no lengths */
    int with_plans;         /* made beforehand, for several threads */
    int goes_on;            /* from the states of the last run */
} manner;

unsigned char *trial_place(const unsigned char *bytes, size_t size)
{
    unsigned char *const at = fence_take(&file_block, size, 0, size % 4 != 0);
    memcpy(at, bytes, size);
    return at;
}

int trial_is_of_a_file(frnn_status status)
{
    return status == FRNN_BAD_FILE || status == FRNN_NEWER_FILE || status == FRNN_UNSUPPORTED ||
           status == FRNN_TOO_LARGE || status == FRNN_BAD_CONFIG;
}

/* An executor that leaves every pass to the calling thread. */
static int refuse(void *context, int width, int wake, frnn_task *task, void *argument)
{
    (void)context, (void)width, (void)wake, (void)task, (void)argument;
    return 0;
}

static int is_same(float a, float b) { return a == b || (a != a && b != b); }

/* Keeps the first row of y. If one was kept before, it has to be the same. */
static void compare(const float *y, size_t steps, size_t batch, size_t outputs, int is_kept)
{
    int same = 1;
    for (size_t step = 0; step < steps; step++)
        for (size_t i = 0; i < outputs; i++) {
            float *const kept = &first_row[step * outputs + i];
            const float now = y[step * batch * outputs + i];
            same &= !is_kept || is_same(*kept, now);
            *kept = now;
        }
    CHECK(same);
}

static void take_x(frnn_model_call *call, size_t inputs)
{
    const size_t width = inputs > 0 ? inputs : 1; /* 0: tokens, which are 0 */
    const size_t values = call->steps * call->batch * width;
    const size_t bytes = values * (inputs > 0 ? sizeof(float) : sizeof(int64_t));
    void *const at = fence_take(&x_block, bytes, 0, 0);
    memset(at, 0, bytes);
    for (size_t i = 0; i < values && inputs > 0; i++) /* each row has the same values */
        ((float *)at)[i] = 0.25f * (float)((i / (call->batch * width) + i % width) % 7) - 0.75f;
    call->x = inputs > 0 ? at : NULL;
    call->tokens = inputs > 0 ? NULL : at;
    call->x_step = (ptrdiff_t)(call->batch * width);
    call->x_row = (ptrdiff_t)width;
}

/* Runs a model, unless that takes too much memory, and compares the first row of y with the one that
 * was kept, if one was. Returns 1 if this one was kept. */
static int run(const frnn_model *model, const manner *how, int is_kept)
{
    const frnn_machine machine = {.width = how->with_plans ? WIDTH : 1};
    const frnn_executor executor = {.run = refuse};
    frnn_plan plans[MOST_PLANS];
    size_t bytes = 0, floats = 0;
    const size_t out = frnn_model_steps(model, how->steps);
    const size_t inputs = (size_t)frnn_model_inputs(model);
    const size_t outputs = (size_t)frnn_model_outputs(model);
    const frnn_status sized =
        frnn_model_workspace_size(model, how->steps, how->batch, &machine, &bytes);
    CHECK((out == 0) == (sized == FRNN_BAD_ARGUMENT));
    if (sized != FRNN_OK || out > sizeof first_row / sizeof(float) / outputs / BATCH ||
        bytes > TRIAL_MEMORY || inputs > MOST_INPUTS || frnn_model_stacks(model) > MOST_PLANS)
        return is_kept;
    CHECK(frnn_model_state_size(model, how->batch, &floats) == FRNN_OK);
    float *const state = how->goes_on ? (float *)(void *)state_block.block
                                      : fence_take(&state_block, floats * sizeof(float), 0, 0);
    frnn_model_call call = {
        .steps = how->steps,
        .batch = how->batch,
        .lengths = how->lengths,
        .y = fence_take(&y_block, out * how->batch * outputs * sizeof(float), 0, 0),
        .y_step = (ptrdiff_t)(how->batch * outputs),
        .y_row = (ptrdiff_t)outputs,
        .state0 = how->goes_on ? state : NULL,
        .state = state,
        .machine = &machine,
        .executor = &executor,
    };
    take_x(&call, inputs);
    if (how->with_plans) {
        CHECK(frnn_model_plan_make(model, &machine, how->steps, how->batch, plans) == FRNN_OK);
        call.plans = plans;
    }
    void *const workspace = fence_take(&work_block, bytes, 0, 0);
    CHECK(frnn_model_run(model, &call, workspace, bytes - 1) == FRNN_SMALL_MEMORY);
    CHECK(fence_is_unwritten(&work_block) && fence_is_unwritten(&y_block));
    CHECK(frnn_model_run(model, &call, workspace, bytes) == FRNN_OK);
    CHECK(fence_is_whole(&work_block) && fence_is_whole(&y_block) && fence_is_whole(&state_block));
    CHECK(fence_is_whole(&memory_block) && fence_is_whole(&file_block));
    compare(call.y, out, how->batch, outputs, is_kept);
    return 1;
}

frnn_status trial_bytes(const unsigned char *bytes, size_t size, const frnn_isa *isa)
{
    static const size_t ragged[BATCH] = {STEPS, STEPS / 2};
    static const manner sequences[] = {{STEPS, BATCH, NULL, 0, 0},
                                       {STEPS, BATCH, ragged, 0, 0},
                                       {STEPS, 1, NULL, 1, 0}};
    static const manner steps[] = {{1, 1, NULL, 0, 0}, {1, 1, NULL, 1, 1}};
    const unsigned char *const file = trial_place(bytes, size);
    size_t needed = 0;
    frnn_model *model;
    frnn_status status = frnn_model_size(file, size, isa, &needed);
    CHECK(status == FRNN_OK || trial_is_of_a_file(status));
    if (status != FRNN_OK || needed > TRIAL_MEMORY)
        return status;
    void *const memory = fence_take(&memory_block, needed, 0, 0);
    CHECK(frnn_model_read_unchecked(&model, file, size, isa, memory, needed - 1) ==
          FRNN_SMALL_MEMORY);
    status = frnn_model_read_unchecked(&model, file, size, isa, memory, needed);
    if (!CHECK(status == FRNN_OK))
        return status;
    int is_kept = 0;
    for (size_t i = 0; i < sizeof sequences / sizeof sequences[0]; i++)
        is_kept = run(model, &sequences[i], is_kept);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) run(model, &steps[i], 0);
    return FRNN_OK;
}
