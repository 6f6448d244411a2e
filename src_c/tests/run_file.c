/* SPDX-License-Identifier: MIT */
/* Runs a .frnn file: run_file ISA MODEL X Y STEPS BATCH CUT [LENGTH...]. X and Y are raw arrays.
 *
 * The steps are split into calls of CUT steps that pass the state on. Prints the shape of Y:
 * steps, batch, outputs. */
#include <fastrnn.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_ROWS = 64 };

static void *check(void *memory)
{
    if (!memory)
        exit(2);
    return memory;
}

static void *slurp(const char *path, size_t *size)
{
    FILE *const file = check(fopen(path, "rb"));
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    void *const bytes = check(malloc(*size + 1));
    if (fread(bytes, 1, *size, file) != *size)
        exit(2);
    fclose(file);
    return bytes;
}

static void need(frnn_status status, const char *what)
{
    if (status == FRNN_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, frnn_status_text(status));
    exit(1);
}

int main(int argc, char **argv)
{
    if (argc < 8 || argc > 8 + MOST_ROWS)
        return 2;
    const frnn_isa *const isa = frnn_isa_find(argv[1]);
    const size_t steps = strtoul(argv[5], NULL, 10), batch = strtoul(argv[6], NULL, 10);
    const size_t cut = strtoul(argv[7], NULL, 10);
    size_t size, x_size, bytes, floats, lengths[MOST_ROWS];
    const void *const file = slurp(argv[2], &size);
    unsigned char *const x = slurp(argv[3], &x_size);
    for (int i = 8; i < argc; i++) lengths[i - 8] = strtoul(argv[i], NULL, 10);

    frnn_model *model;
    need(frnn_model_size(file, size, isa, &bytes), "size");
    need(frnn_model_read(&model, file, size, isa, check(malloc(bytes)), bytes), "read");
    const size_t inputs = (size_t)frnn_model_inputs(model);
    const size_t outputs = (size_t)frnn_model_outputs(model);
    const size_t width = inputs > 0 ? inputs : 1;
    const size_t step_bytes = batch * width * (inputs > 0 ? sizeof(float) : sizeof(int64_t));
    if (steps == 0 || cut == 0 || x_size != steps * step_bytes)
        return 2;
    need(frnn_model_state_size(model, batch, &floats), "state");
    float *const state = check(malloc(floats * sizeof(float) + 1));
    need(frnn_model_workspace_size(model, cut, batch, NULL, &bytes), "workspace");
    void *const workspace = check(malloc(bytes));
    const size_t out = frnn_model_steps(model, cut);
    float *const y = check(calloc(out * batch * outputs, sizeof(float)));

    FILE *const result = check(fopen(argv[4], "wb"));
    size_t written = 0;
    for (size_t from = 0; from + cut <= steps; from += cut) {
        const unsigned char *const part = x + from * step_bytes;
        const frnn_model_call call = {
            .steps = cut,
            .batch = batch,
            .x = inputs > 0 ? (const float *)(const void *)part : NULL,
            .tokens = (const int64_t *)(const void *)part,
            .x_step = (ptrdiff_t)(batch * width),
            .x_row = (ptrdiff_t)width,
            .lengths = argc > 8 ? lengths : NULL,
            .y = y,
            .y_step = (ptrdiff_t)(batch * outputs),
            .y_row = (ptrdiff_t)outputs,
            .state0 = from > 0 ? state : NULL,
            .state = state,
        };
        need(frnn_model_run(model, &call, workspace, bytes), "run");
        fwrite(y, sizeof(float), out * batch * outputs, result);
        written += out;
    }
    fclose(result);
    printf("%zu %zu %zu\n", written, batch, outputs);
    return 0;
}
