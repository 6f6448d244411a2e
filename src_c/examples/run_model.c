/* SPDX-License-Identifier: MIT */
/* Runs a whole model from an array in static memory: no heap, no threads, no files.
 *
 * `fastrnn convert MODEL model.h --c-array model` writes <model.h>. Built from this file, core/ and
 * isa/scalar.c alone. Only printf needs an operating system. */
#include <fastrnn.h>
#include <model.h>
#include <stdio.h>

enum { STEPS = 6, MOST = 64 };

static unsigned char memory[1 << 16], workspace[1 << 16];
static float x[STEPS * MOST], y[STEPS * MOST];
static int64_t tokens[STEPS];

/* Runs one sequence: values of a sensor or, if the model takes them, tokens. */
static frnn_status run(const frnn_model *net, int inputs, int outputs)
{
    for (int i = 0; i < STEPS; i++) tokens[i] = i % 2;
    for (int i = 0; i < STEPS * inputs; i++) x[i] = 0.25f * (float)(i % 5 - 2);
    const frnn_model_call call = {.steps = STEPS, .batch = 1, .x = x, .tokens = tokens,
                                  .x_step = inputs ? inputs : 1, .y = y, .y_step = outputs};
    const frnn_status status = frnn_model_run(net, &call, workspace, sizeof workspace);
    const int values = status == FRNN_OK ? (int)frnn_model_steps(net, STEPS) * outputs : 0;
    for (int i = 0; i < values; i++) printf("%.6f ", (double)y[i]);
    return status;
}

int main(void)
{
    frnn_model *net;
    frnn_status status = frnn_model_read(&net, model, sizeof model, &frnn_isa_scalar, memory,
                                         sizeof memory);
    if (status == FRNN_OK && frnn_model_inputs(net) <= MOST && frnn_model_outputs(net) <= MOST)
        status = run(net, frnn_model_inputs(net), frnn_model_outputs(net));
    printf("%s\n", frnn_status_text(status));
    return status == FRNN_OK ? 0 : 1;
}
