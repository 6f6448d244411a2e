/* SPDX-License-Identifier: MIT */
/* Runs a small LSTM step by step in static memory: no heap, no threads, one instruction set.
 *
 * Built from this file, core/ and isa/scalar.c alone. Only printf needs an operating system. */
#include <fastrnn.h>
#include <stdio.h>

enum { INPUTS = 2, HIDDEN = 8, GATES = 4, STEPS = 20 };

static unsigned char stack_memory[4096], workspace[4096];
static float weight_ih[GATES * HIDDEN][INPUTS], weight_hh[GATES * HIDDEN][HIDDEN];
static float h[HIDDEN], c[HIDDEN];

int main(void)
{
    const frnn_config config = {.cell = FRNN_LSTM, .input_size = INPUTS, .hidden_size = HIDDEN,
                                .num_layers = 1};
    for (int row = 0; row < GATES * HIDDEN; row++) { /* in practice: trained weights in flash */
        for (int k = 0; k < INPUTS; k++) weight_ih[row][k] = 0.1f * (float)((row + k) % 5 - 2);
        for (int k = 0; k < HIDDEN; k++) weight_hh[row][k] = 0.1f * (float)((row * k) % 5 - 2);
    }
    const frnn_weights weights = {.weight_ih = weight_ih[0], .weight_hh = weight_hh[0]};
    frnn_stack *stack;
    frnn_status status = frnn_stack_init(&stack, &config, &frnn_isa_scalar, stack_memory,
                                         sizeof stack_memory);
    if (status == FRNN_OK)
        status = frnn_stack_set_weights(stack, 0, 0, &weights);
    for (int t = 0; t < STEPS && status == FRNN_OK; t++) {
        const float x[INPUTS] = {(float)(t % 3), 1.0f}; /* in practice: a sensor */
        float y[HIDDEN];
        status = frnn_forward(stack, &(frnn_call){.steps = 1, .batch = 1, .x = x, .y = y,
                                                  .h0 = h, .c0 = c, .hn = h, .cn = c},
                              workspace, sizeof workspace);
    }
    printf("%s; h after %d steps:", frnn_status_text(status), STEPS);
    for (int i = 0; i < HIDDEN; i++) printf(" %.4f", (double)h[i]);
    printf("\n");
    return status == FRNN_OK ? 0 : 1;
}
