/* SPDX-License-Identifier: MIT */
/* The masks are what arrives at the last layer of a network whose lower layers output ones. */
#include "masks.h"

#include <stdlib.h>

#include "check.h"
#include "oracle.h"

static void *zeroed(size_t count, size_t size)
{
    void *const memory = calloc(count ? count : 1, size);
    if (!memory)
        abort();
    return memory;
}

/* h = relu(1). In the last layer, h = relu of the inputs that come from this direction. */
static void set_layer(frnn_stack *stack, const frnn_config *c, int layer, int direction)
{
    const int outputs = c->hidden_size, last = layer == c->num_layers - 1;
    const int inputs = oracle_input_size(c, layer);
    float *ih = zeroed((size_t)(outputs * inputs), sizeof *ih);
    float *hh = zeroed((size_t)(outputs * outputs), sizeof *hh);
    float *bias = zeroed((size_t)outputs, sizeof *bias);
    for (int j = 0; j < outputs; j++)
        if (last)
            ih[j * inputs + direction * outputs + j] = 1.0f;
        else
            bias[j] = 1.0f;
    const frnn_weights weights = {ih, hh, bias, NULL, NULL};
    CHECK(frnn_stack_set_weights(stack, layer, direction, &weights) == FRNN_OK);
    free(ih), free(hh), free(bias);
}

static void find_layer(const frnn_config *relu, const frnn_isa *isa, const frnn_call *like,
                       float *mask)
{
    const size_t width = (size_t)((1 + relu->bidirectional) * relu->hidden_size);
    frnn_call call = {.steps = like->steps, .batch = like->batch, .x_row = 1, .y = mask,
                      .x_step = (ptrdiff_t)like->batch, .y_row = (ptrdiff_t)width,
                      .y_step = (ptrdiff_t)(like->batch * width), .dropout = like->dropout,
                      .seed = like->seed};
    size_t stack_bytes = 0, bytes = 0;
    frnn_stack *stack = NULL;
    CHECK(frnn_stack_size(relu, isa, &stack_bytes) == FRNN_OK);
    void *memory = zeroed(stack_bytes, 1);
    CHECK(frnn_stack_init(&stack, relu, isa, memory, stack_bytes) == FRNN_OK);
    for (int layer = 0; layer < relu->num_layers; layer++)
        for (int direction = 0; direction <= relu->bidirectional; direction++)
            set_layer(stack, relu, layer, direction);
    CHECK(frnn_workspace_size(stack, call.steps, call.batch, NULL, &bytes) == FRNN_OK);
    CHECK(frnn_tape_size(stack, call.steps, call.batch, &call.tape_bytes) == FRNN_OK);
    void *workspace = zeroed(bytes, 1);
    float *x = zeroed(call.steps * call.batch, sizeof *x);
    call.x = x, call.tape = zeroed(call.tape_bytes, 1);
    CHECK(frnn_forward(stack, &call, workspace, bytes) == FRNN_OK);
    free(memory), free(workspace), free(x), free(call.tape);
}

void masks_find(const frnn_config *config, const frnn_isa *isa, const frnn_call *call, float *masks)
{
    frnn_config relu = {.cell = FRNN_RNN_RELU, .input_size = 1,
                        .hidden_size = oracle_output_size(config),
                        .bidirectional = config->bidirectional, .training = 1};
    const size_t floats = call->steps * call->batch *
                          (size_t)((1 + config->bidirectional) * relu.hidden_size);
    for (int layer = 0; layer < config->num_layers - 1; layer++) {
        relu.num_layers = layer + 2;
        find_layer(&relu, isa, call, masks + (size_t)layer * floats);
    }
}
