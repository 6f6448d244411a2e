/* SPDX-License-Identifier: MIT */
/* Draws random weights and packs them from guarded memory. */
#include "network.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"

enum { TENSORS = 5 };

/* The sizes of a layer's tensors in the order of frnn_weights; 0: NULL. */
static void tensor_sizes(const frnn_config *config, int layer, int bias, size_t *sizes)
{
    const size_t rows = (size_t)(oracle_cells[config->cell].gates * config->hidden_size);
    sizes[0] = rows * (size_t)oracle_input_size(config, layer);
    sizes[1] = rows * (size_t)oracle_output_size(config);
    sizes[2] = sizes[3] = bias ? rows : 0;
    sizes[4] = (size_t)config->proj_size * (size_t)config->hidden_size;
}

static frnn_weights as_weights(float *const *tensor)
{
    return (frnn_weights){tensor[0], tensor[1], tensor[2], tensor[3], tensor[4]};
}

/* Draws the weights of all parts into n->values. */
static void draw(network *n, int bias, uint64_t *seed)
{
    const int directions = 1 + n->config.bidirectional;
    const float scale = 1.0f / sqrtf((float)n->config.hidden_size);
    size_t sizes[TENSORS], total = 0;
    for (int part = 0; part < n->config.num_layers * directions; part++) {
        tensor_sizes(&n->config, part / directions, bias, sizes);
        for (int i = 0; i < TENSORS; i++) total += sizes[i];
    }
    free(n->values);
    float *next = n->values = malloc(total * sizeof *n->values);
    if (!next)
        abort();
    random_fill(seed, next, total, scale);
    for (int part = 0; part < n->config.num_layers * directions; part++) {
        float *tensor[TENSORS];
        tensor_sizes(&n->config, part / directions, bias, sizes);
        for (int i = 0; i < TENSORS; next += sizes[i++]) tensor[i] = sizes[i] ? next : NULL;
        n->weights[part] = as_weights(tensor);
    }
}

/* Packs one layer and direction from copies that end, or begin, at a guard page. */
static void set_part(network *n, int layer, int direction, int bias, int from_start)
{
    const frnn_weights *part = &n->weights[layer * (1 + n->config.bidirectional) + direction];
    const float *const from[TENSORS] = {part->weight_ih, part->weight_hh, part->bias_ih,
                                        part->bias_hh, part->weight_hr};
    float *guarded[TENSORS];
    size_t sizes[TENSORS];
    tensor_sizes(&n->config, layer, bias, sizes);
    for (int i = 0; i < TENSORS; i++) {
        const size_t bytes = sizes[i] * sizeof(float);
        guarded[i] = sizes[i] ? fence_take(&n->guarded[i], bytes, 0, from_start) : NULL;
        if (sizes[i])
            memcpy(guarded[i], from[i], bytes);
    }
    const frnn_weights copies = as_weights(guarded);
    CHECK(frnn_stack_set_weights(n->stack, layer, direction, &copies) == FRNN_OK);
    for (int i = 0; i < TENSORS; i++)
        if (sizes[i])
            fence_take(&n->guarded[i], sizes[i] * sizeof(float), 0, from_start);
}

void network_build(network *n, const frnn_isa *isa, const frnn_config *config, int bias, size_t gap,
                   uint64_t *seed)
{
    size_t bytes = 0;
    n->config = *config;
    draw(n, bias, seed);
    if (!CHECK(frnn_stack_size(config, isa, &bytes) == FRNN_OK))
        exit(1);
    void *const memory = fence_take(&n->memory, bytes, gap, (int)(gap % 2));
    if (!CHECK(frnn_stack_init(&n->stack, config, isa, memory, bytes) == FRNN_OK))
        exit(1);
    for (int layer = 0; layer < config->num_layers; layer++)
        for (int direction = 0; direction <= config->bidirectional; direction++)
            set_part(n, layer, direction, bias, (int)(gap % 2));
    CHECK(fence_is_whole(&n->memory));
}

void network_free(network *n)
{
    free(n->values);
    fence_free(&n->memory);
    for (int i = 0; i < TENSORS; i++) fence_free(&n->guarded[i]);
}

void network_name_case(const frnn_isa *isa, const frnn_config *config, size_t batch, size_t steps)
{
    snprintf(check_case, sizeof check_case, "%s %s i%d h%d p%d l%d d%d b%zu t%zu",
             frnn_isa_name(isa), oracle_cells[config->cell].name, config->input_size, config->hidden_size,
             config->proj_size, config->num_layers, 1 + config->bidirectional, batch, steps);
}
