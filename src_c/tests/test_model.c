/* SPDX-License-Identifier: MIT */
/* Model files, intact and damaged: test_model [stride [isa]], run in the repository's root.
 *
 * Every file of tests/golden is truncated at each length and changed at each byte. Files that can
 * still be read are run, as are those that `make fuzz-model` has found. test_records has
 * the limits of the format. */
#define _DEFAULT_SOURCE
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fence.h"
#include "model_trial.h"

enum { LARGEST_FILE = 1 << 16, BATCH = 2 };

static const char *const files[] = {
    "tests/golden/v1_0_words.frnn", "tests/golden/v1_0_sound.frnn", "tests/golden/v1_0_series.frnn"};

static size_t load(const char *path, unsigned char *bytes)
{
    FILE *const file = fopen(path, "rb");
    if (!CHECK(file != NULL))
        return 0;
    const size_t size = fread(bytes, 1, LARGEST_FILE, file);
    fclose(file);
    return size;
}

/* Reads with the checksum, into memory that is large enough for any model. */
static frnn_status read_checked(const unsigned char *bytes, size_t size, const frnn_isa *isa)
{
    static unsigned char memory[TRIAL_MEMORY];
    frnn_model *model = NULL;
    const frnn_status status =
        frnn_model_read(&model, trial_place(bytes, size), size, isa, memory, sizeof memory);
    CHECK((status == FRNN_OK) == (model != NULL));
    return status;
}

static void test_cuts(const unsigned char *bytes, size_t size, const frnn_isa *isa)
{
    for (size_t length = 0; length < size; length++) {
        snprintf(check_case, sizeof check_case, "cut at %zu", length);
        CHECK(trial_bytes(bytes, length, isa) == FRNN_BAD_FILE);
    }
}

static void test_flips(unsigned char *bytes, size_t size, const frnn_isa *isa, unsigned stride)
{
    static const unsigned char masks[] = {1, 2, 4, 0x40, 0x80, 0xff};
    for (size_t at = 0; at < size; at += at < 2048 ? 1 : stride)
        for (size_t m = 0; m < sizeof masks; m++) {
            snprintf(check_case, sizeof check_case, "byte %zu ^ %d", at, masks[m]);
            bytes[at] ^= masks[m];
            trial_bytes(bytes, size, isa);
            if (m == at % sizeof masks)
                CHECK(trial_is_of_a_file(read_checked(bytes, size, isa)));
            bytes[at] ^= masks[m];
        }
}

/* Changes several bytes of header and records at once, to values at the edges of their ranges. */
static void test_edges(const unsigned char *bytes, size_t size, const frnn_isa *isa, unsigned stride)
{
    static const unsigned char edges[] = {0, 1, 2, 3, 6, 22, 64, 127, 128, 255};
    static unsigned char changed[LARGEST_FILE];
    uint64_t seed = size;
    const size_t records = 64 + 64 * ((size_t)bytes[24] + 256 * (size_t)bytes[25]);
    for (unsigned round = 0; round < 40000 / stride; round++) {
        memcpy(changed, bytes, size);
        for (size_t i = 0; i < 1 + round % 4; i++) {
            const size_t at = 12 + random_below(&seed, records - 12);
            changed[at] = edges[random_below(&seed, sizeof edges)];
            snprintf(check_case, sizeof check_case, "round %u, byte %zu = %d", round, at,
                     changed[at]);
        }
        trial_bytes(changed, size, isa);
    }
}

static void test_arguments(const unsigned char *bytes, size_t size, const frnn_isa *isa)
{
    static unsigned char moved[LARGEST_FILE + 1], memory[TRIAL_MEMORY], longer[LARGEST_FILE];
    size_t needed;
    frnn_model *model;
    strcpy(check_case, "arguments");
    CHECK(frnn_model_size(NULL, size, isa, &needed) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_model_size(bytes, size, NULL, &needed) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_model_size(bytes, size, isa, NULL) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_model_read(NULL, bytes, size, isa, memory, sizeof memory) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_model_read(&model, bytes, size, isa, NULL, 1) == FRNN_BAD_ARGUMENT);
    unsigned char *const odd = moved + 1 - (uintptr_t)moved % 2;
    memcpy(odd, bytes, size);
    CHECK(frnn_model_size(odd, size, isa, &needed) == FRNN_BAD_ARGUMENT);
    memcpy(longer, bytes, size); /* a file followed by other bytes, as in flash memory */
    CHECK(frnn_model_read(&model, longer, sizeof longer, isa, memory, sizeof memory) == FRNN_OK);
    const size_t steps = 3, inputs = (size_t)frnn_model_inputs(model);
    const size_t lengths[] = {steps + 1};
    float x[64] = {0}, y[64];
    unsigned char work[1 << 15];
    const int64_t tokens[3] = {0, -1, 0};
    frnn_model_call call = {.steps = steps, .batch = 1, .x = x, .tokens = tokens, .y = y,
                            .x_step = (ptrdiff_t)(inputs > 0 ? inputs : 1), .y_step = 12};
    if (inputs == 0)
        CHECK(frnn_model_run(model, &call, work, sizeof work) == FRNN_BAD_ARGUMENT);
    call.lengths = lengths;
    CHECK(frnn_model_run(model, &call, work, sizeof work) == FRNN_BAD_ARGUMENT);
    call.lengths = NULL;
    call.y = NULL;
    CHECK(frnn_model_run(model, &call, work, sizeof work) == FRNN_BAD_ARGUMENT);
    call.y = y;
    call.x = NULL;
    call.tokens = NULL;
    CHECK(frnn_model_run(model, &call, work, sizeof work) == FRNN_BAD_ARGUMENT);
    call.batch = 0;
    CHECK(frnn_model_run(model, &call, NULL, 0) == FRNN_OK);
    CHECK(frnn_model_run(NULL, &call, work, sizeof work) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_model_run(model, NULL, work, sizeof work) == FRNN_BAD_ARGUMENT);
    const frnn_executor nobody = {0};
    call.executor = &nobody;
    CHECK(frnn_model_run(model, &call, work, sizeof work) == FRNN_BAD_ARGUMENT);
    call.executor = NULL, call.steps = 0;
    CHECK(frnn_model_run(model, &call, work, sizeof work) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_model_workspace_size(NULL, steps, 1, NULL, &needed) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_model_workspace_size(model, steps, 1, NULL, NULL) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_model_workspace_size(model, 0, 1, NULL, &needed) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_model_workspace_size(model, steps, SIZE_MAX / 2, NULL, &needed) == FRNN_TOO_LARGE);
    CHECK(frnn_model_state_size(NULL, 1, &needed) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_model_state_size(model, 1, NULL) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_model_state_size(model, SIZE_MAX / 2, &needed) == FRNN_TOO_LARGE);
}

/* An executor that has no workers and remembers the width of the last plan. */
static int refuse(void *context, int width, int wake, frnn_task *task, void *argument)
{
    (void)wake, (void)task, (void)argument;
    *(int *)context = width;
    return 0;
}

/* Stops a pass when it has been asked so many times. */
static int count_down(void *context)
{
    int *const left = context;
    return (*left)-- <= 0;
}

enum { STEPS = 8, MOST_VALUES = 4096 };

/* Rows and steps of x and y that are farther from each other than they have to be: the same bits. */
static void test_strides(const frnn_model *model, const frnn_model_call *dense, const float *wanted)
{
    static unsigned char work[TRIAL_MEMORY];
    static float x[2 * MOST_VALUES], y[2 * MOST_VALUES];
    static int64_t tokens[2 * MOST_VALUES];
    const int inputs = frnn_model_inputs(model), outputs = frnn_model_outputs(model);
    const int floats = inputs > 0 ? inputs : 1;
    const size_t steps = frnn_model_steps(model, STEPS);
    for (int gap = 1; gap <= 3; gap++) { /* of rows, of steps, of both */
        const int row_gap = gap & 1, step_gap = gap & 2;
        frnn_model_call call = *dense;
        call.x = x, call.tokens = tokens, call.y = y;
        call.x_row = floats + row_gap, call.x_step = BATCH * call.x_row + step_gap;
        call.y_row = outputs + row_gap, call.y_step = BATCH * call.y_row + step_gap;
        for (ptrdiff_t i = 0; i < STEPS * BATCH * floats; i++)
            x[i / floats / BATCH * call.x_step + i / floats % BATCH * call.x_row + i % floats] =
                dense->x[i];
        memset(y, 0xff, sizeof y);
        CHECK(frnn_model_run(model, &call, work, sizeof work) == FRNN_OK);
        size_t written = 0;
        for (size_t i = 0; i < sizeof y / sizeof y[0]; i++) written += y[i] == y[i];
        CHECK(written == steps * BATCH * (size_t)outputs);
        for (ptrdiff_t i = 0; i < (ptrdiff_t)steps * BATCH; i++)
            CHECK(memcmp(y + i / BATCH * call.y_step + i % BATCH * call.y_row, wanted + i * outputs,
                         (size_t)outputs * sizeof(float)) == 0);
    }
}

static void test_plans(const unsigned char *bytes, size_t size, const frnn_isa *isa)
{
    enum { MOST_PLANS = 4 };
    static unsigned char memory[TRIAL_MEMORY], work[TRIAL_MEMORY];
    static float x[MOST_VALUES], y[MOST_VALUES], wanted[MOST_VALUES];
    frnn_plan plans[MOST_PLANS];
    frnn_model *model;
    int width = 0;
    const frnn_machine machine = {.width = 4};
    const frnn_executor executor = {.context = &width, .run = refuse};
    strcpy(check_case, "plans");
    CHECK(frnn_model_read(&model, bytes, size, isa, memory, sizeof memory) == FRNN_OK);
    const int stacks = frnn_model_stacks(model), inputs = frnn_model_inputs(model);
    if (!CHECK(stacks > 0 && stacks <= MOST_PLANS))
        return;
    CHECK(frnn_model_plan_make(NULL, &machine, STEPS, BATCH, plans) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_model_plan_make(model, &machine, STEPS, BATCH, NULL) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_model_plan_make(model, &machine, 0, BATCH, plans) == FRNN_BAD_ARGUMENT);
    for (int i = 0; i < MOST_VALUES; i++) x[i] = inputs > 0 ? 0.1f * (float)(i % 9 - 4) : 0.0f;
    const int floats = inputs > 0 ? inputs : 1;
    const size_t outputs = (size_t)frnn_model_outputs(model);
    const size_t values = frnn_model_steps(model, STEPS) * BATCH * outputs;
    frnn_model_call call = {.steps = STEPS, .batch = BATCH, .x = x,
                            .tokens = (const int64_t *)(const void *)x, .x_step = BATCH * floats,
                            .x_row = floats, .y = wanted, .y_step = (ptrdiff_t)(BATCH * outputs),
                            .y_row = (ptrdiff_t)outputs, .machine = &machine,
                            .executor = &executor};
    CHECK(frnn_model_run(model, &call, work, sizeof work) == FRNN_OK);
    CHECK(frnn_model_plan_make(model, &machine, STEPS, BATCH, plans) == FRNN_OK);
    call.y = y, call.plans = plans;
    CHECK(frnn_model_run(model, &call, work, sizeof work) == FRNN_OK);
    CHECK(memcmp(y, wanted, values * sizeof(float)) == 0);
    for (int i = 0; i < stacks; i++) /* the same rows by four workers: the bits of one */
        plans[i].row_groups = 2, plans[i].unit_workers = 2, plans[i].direction_teams = 1,
        plans[i].layer_teams = 1;
    test_strides(model, &call, wanted);
    memset(y, 0, sizeof y);
    call.machine = NULL;
    CHECK(frnn_model_run(model, &call, work, sizeof work) == FRNN_OK && width == 4);
    CHECK(memcmp(y, wanted, values * sizeof(float)) == 0);
    int questions = 1;
    call.stop = count_down, call.stop_context = &questions;
    CHECK(frnn_model_run(model, &call, work, sizeof work) == FRNN_STOPPED && questions == -1);
    questions = 1000;
    CHECK(frnn_model_run(model, &call, work, sizeof work) == FRNN_OK);
    plans[stacks - 1].row_groups = 0;
    memset(y, 0, sizeof y);
    CHECK(frnn_model_run(model, &call, work, sizeof work) == FRNN_BAD_ARGUMENT && y[0] == 0);
}

/* Files at which the fuzzer came to new code. */
static void test_found(unsigned char *bytes, const frnn_isa *isa)
{
    static const char folder[] = "tests/fuzz/models";
    char path[512];
    DIR *const entries = opendir(folder);
    size_t count = 0;
    if (!CHECK(entries != NULL))
        return;
    for (const struct dirent *entry; (entry = readdir(entries));) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        snprintf(check_case, sizeof check_case, "%s", entry->d_name);
        trial_bytes(bytes, load(path, bytes), isa);
        count++;
    }
    closedir(entries);
    CHECK(count > 0);
}

int main(int argc, char **argv)
{
    const check_options options = check_parse(argc, argv);
    static unsigned char bytes[LARGEST_FILE];
    fence_report_traps(check_case);
    const frnn_isa *isa = check_isa_at(&options, 0);
    for (size_t i = 0; i < sizeof files / sizeof files[0] && isa; i++) {
        const size_t size = load(files[i], bytes);
        strcpy(check_case, files[i]);
        if (size == 0 || !CHECK(trial_bytes(bytes, size, isa) == FRNN_OK))
            continue;
        CHECK(read_checked(bytes, size, isa) == FRNN_OK);
        test_arguments(bytes, size, isa);
        test_plans(bytes, size, isa);
        test_cuts(bytes, size, isa);
        test_flips(bytes, size, isa, 8 * options.stride);
        test_edges(bytes, size, isa, options.stride);
    }
    if (isa)
        test_found(bytes, isa);
    return check_summary("test_model");
}
