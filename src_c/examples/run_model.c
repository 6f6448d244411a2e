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

int main(void)
{
    frnn_model *net;
    frnn_status status = frnn_model_read(&net, model, sizeof model, &frnn_isa_scalar, memory,
                                         sizeof memory);
    if (status == FRNN_OK && frnn_model_inputs(net) <= MOST && frnn_model_outputs(net) <= MOST) {
        const int inputs = frnn_model_inputs(net), outputs = frnn_model_outputs(net);
        for (int i = 0; i < STEPS * inputs; i++) x[i] = 0.25f * (float)(i % 5 - 2); /* a sensor */
        status = frnn_model_run(net, &(frnn_model_call){.steps = STEPS, .batch = 1, .x = x,
                                                        .x_step = inputs, .y = y,
                                                        .y_step = outputs},
                                workspace, sizeof workspace);
        for (int i = 0; i < (int)frnn_model_steps(net, STEPS) * outputs; i++)
            printf("%.6f ", (double)y[i]);
    }
    printf("%s\n", frnn_status_text(status));
    return status == FRNN_OK ? 0 : 1;
}
