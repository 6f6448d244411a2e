/* SPDX-License-Identifier: MIT */
/* Models: from the records of a file to layers with packed weights, and what they take and give. */
#include "model.h"

#include <string.h>

/* ---- Layers ---------------------------------------------------------------------------------- */

static frnn_config config_of(const file_layer *layer)
{
    const unsigned flags = layer->flags;
    frnn_cell cell = FRNN_LSTM;
    if (layer->kind == KIND_GRU)
        cell = flags & FLAG_RESET_AFTER ? FRNN_GRU : FRNN_GRU_RESET_BEFORE;
    else if (layer->kind == KIND_RNN)
        cell = flags & FLAG_RELU ? FRNN_RNN_RELU : FRNN_RNN_TANH;
    return (frnn_config){
        .cell = cell,
        .input_size = layer->integers[0],
        .hidden_size = layer->integers[1],
        .num_layers = layer->integers[2],
        .bidirectional = layer_directions(layer) == 2,
        .proj_size = layer->integers[3],
    };
}

/* The arrays of one layer and direction of a stack. */
static frnn_status read_weights(model_file *file, const frnn_config *config, int gates, int bias,
                                int layer, int direction, frnn_weights *w)
{
    const uint32_t rows = (uint32_t)gates * (uint32_t)config->hidden_size;
    const uint32_t state =
        (uint32_t)(config->proj_size > 0 ? config->proj_size : config->hidden_size);
    const uint32_t inputs =
        layer > 0 ? state * (config->bidirectional ? 2 : 1) : (uint32_t)config->input_size;
    const uint32_t ih[] = {rows, inputs}, hh[] = {rows, state},
                   hr[] = {state, (uint32_t)config->hidden_size};
    *w = (frnn_weights){0};
    frnn_status status =
        frnn_file_array(file, ROLE_WEIGHT_IH, layer, direction, ih, 2, &w->weight_ih);
    if (status == FRNN_OK)
        status = frnn_file_array(file, ROLE_WEIGHT_HH, layer, direction, hh, 2, &w->weight_hh);
    if (status == FRNN_OK && bias)
        status = frnn_file_array(file, ROLE_BIAS_IH, layer, direction, &rows, 1, &w->bias_ih);
    if (status == FRNN_OK && bias)
        status = frnn_file_array(file, ROLE_BIAS_HH, layer, direction, &rows, 1, &w->bias_hh);
    if (status == FRNN_OK && config->proj_size > 0)
        status = frnn_file_array(file, ROLE_WEIGHT_HR, layer, direction, hr, 2, &w->weight_hr);
    return status;
}

/* h_0, and c_0 of an LSTM, where the file has as many arrays more. */
static frnn_status read_states(model_file *file, model_layer *layer, int64_t arrays)
{
    const int with_c = layer->file.kind == KIND_LSTM;
    if (layer->file.arrays == arrays)
        return FRNN_OK;
    if (layer->file.arrays != arrays + 1 + with_c)
        return FRNN_BAD_FILE;
    const uint32_t states = (uint32_t)layer_states(&layer->file);
    const uint32_t h[] = {states, (uint32_t)layer_state_size(&layer->file)},
                   c[] = {states, (uint32_t)layer->file.integers[1]};
    const frnn_status status = frnn_file_array(file, ROLE_H_0, 0, 0, h, 2, &layer->h_0);
    return status == FRNN_OK && with_c ? frnn_file_array(file, ROLE_C_0, 0, 0, c, 2, &layer->c_0)
                                       : status;
}

static frnn_status read_stack(model_file *file, const frnn_isa *isa, arena *memory,
                              model_layer *layer)
{
    const frnn_config config = config_of(&layer->file);
    const int gates = layer->file.kind == KIND_LSTM ? 4 : layer->file.kind == KIND_GRU ? 3 : 1;
    const int bias = (layer->file.flags & FLAG_BIAS) != 0;
    const int64_t arrays = (int64_t)layer_states(&layer->file) *
                           (2 + 2 * bias + (config.proj_size > 0));
    if (config.input_size > MOST_SIZE || config.hidden_size > MOST_SIZE)
        return FRNN_TOO_LARGE;
    if (layer->file.arrays < arrays)
        return FRNN_BAD_FILE;
    size_t bytes = 0;
    frnn_status status = frnn_stack_size(&config, isa, &bytes);
    void *const block = status == FRNN_OK ? arena_take(memory, 1, bytes) : NULL;
    if (status == FRNN_OK && block)
        status = frnn_stack_init(&layer->stack, &config, isa, block, bytes);
    for (int i = 0; i < config.num_layers && status == FRNN_OK; i++)
        for (int direction = 0; direction <= config.bidirectional && status == FRNN_OK;
             direction++) {
            frnn_weights weights;
            status = read_weights(file, &config, gates, bias, i, direction, &weights);
            if (status == FRNN_OK && block)
                status = frnn_stack_set_weights(layer->stack, i, direction, &weights);
        }
    layer->outputs = layer_state_size(&layer->file) * layer_directions(&layer->file);
    return status == FRNN_OK ? read_states(file, layer, arrays) : status;
}

/* weight, and bias of its first size where it is there. */
static frnn_status read_pair(model_file *file, const file_layer *layer, const uint32_t *sizes,
                             int rank, const float **weight, const float **bias)
{
    const int with_bias = (layer->flags & FLAG_BIAS) != 0;
    if (layer->arrays != 1 + with_bias)
        return FRNN_BAD_FILE;
    const frnn_status status = frnn_file_array(file, ROLE_WEIGHT, 0, 0, sizes, rank, weight);
    return status == FRNN_OK && with_bias
               ? frnn_file_array(file, ROLE_BIAS, 0, 0, sizes, 1, bias)
               : status;
}

static frnn_status read_linear(model_file *file, const frnn_isa *isa, arena *memory,
                               model_layer *layer)
{
    const int inputs = layer->file.integers[0], outputs = layer->file.integers[1];
    const uint32_t sizes[] = {(uint32_t)outputs, (uint32_t)inputs};
    const float *weight, *bias = NULL;
    size_t bytes = 0;
    frnn_status status = read_pair(file, &layer->file, sizes, 2, &weight, &bias);
    if (status == FRNN_OK)
        status = frnn_dense_size(inputs, outputs, isa, &bytes);
    void *const block = status == FRNN_OK ? arena_take(memory, 1, bytes) : NULL;
    layer->outputs = outputs;
    if (!block)
        return status;
    status = frnn_dense_init(&layer->dense, inputs, outputs, isa, block, bytes);
    return status == FRNN_OK ? frnn_dense_set_weights(layer->dense, weight, bias) : status;
}

static frnn_status read_conv1d(model_file *file, const frnn_isa *isa, arena *memory,
                               model_layer *layer)
{
    const int *const n = layer->file.integers;
    const uint32_t sizes[] = {(uint32_t)n[1], (uint32_t)(n[0] / n[6]), (uint32_t)n[2]};
    const float *weight, *bias = NULL;
    frnn_status status = read_pair(file, &layer->file, sizes, 3, &weight, &bias);
    if (status != FRNN_OK)
        return status;
    const int64_t reach = (int64_t)n[5] * (n[2] - 1);
    if (reach > MOST_SIZE)
        return FRNN_TOO_LARGE;
    const int same = n[4] == PADDING_SAME, left = same ? (int)reach / 2 : n[4];
    const frnn_conv1d_config config = {
        .in_channels = n[0],
        .out_channels = n[1],
        .kernel_size = n[2],
        .stride = n[3],
        .padding_left = left,
        .padding_right = same ? (int)reach - left : left,
        .dilation = n[5],
        .groups = n[6],
    };
    size_t bytes = 0;
    status = frnn_conv1d_size(&config, isa, &bytes);
    void *const block = status == FRNN_OK ? arena_take(memory, 1, bytes) : NULL;
    layer->outputs = n[1];
    if (!block)
        return status;
    status = frnn_conv1d_init(&layer->conv, &config, isa, block, bytes);
    return status == FRNN_OK ? frnn_conv1d_set_weights(layer->conv, weight, bias) : status;
}

static frnn_status read_layer_norm(model_file *file, model_layer *layer)
{
    const int rank = layer->file.integers[0];
    const int arrays = !(layer->file.flags & FLAG_AFFINE) ? 0 : layer->file.flags & FLAG_BIAS ? 2 : 1;
    uint32_t sizes[4] = {0};
    for (int i = 0; i < rank; i++) sizes[i] = (uint32_t)layer->file.integers[1 + i];
    frnn_status status = layer->file.arrays == arrays ? FRNN_OK : FRNN_BAD_FILE;
    if (status == FRNN_OK && arrays > 0)
        status = frnn_file_array(file, ROLE_WEIGHT, 0, 0, sizes, rank, &layer->weight);
    if (status == FRNN_OK && arrays > 1)
        status = frnn_file_array(file, ROLE_BIAS, 0, 0, sizes, rank, &layer->bias);
    return status;
}

static frnn_status read_embedding(model_file *file, model_layer *layer)
{
    const uint32_t sizes[] = {(uint32_t)layer->file.integers[0],
                              (uint32_t)layer->file.integers[1]};
    layer->outputs = layer->file.integers[1];
    return read_pair(file, &layer->file, sizes, 2, &layer->weight, &layer->bias);
}

/* The arrays of a layer whose record is read, packed into memory where there is some. */
static frnn_status read_layer(model_file *file, const frnn_isa *isa, arena *memory,
                              model_layer *layer)
{
    switch (layer->file.kind) {
    case KIND_LSTM:
    case KIND_GRU:
    case KIND_RNN: return read_stack(file, isa, memory, layer);
    case KIND_LINEAR: return read_linear(file, isa, memory, layer);
    case KIND_CONV1D: return read_conv1d(file, isa, memory, layer);
    case KIND_LAYER_NORM: return read_layer_norm(file, layer);
    case KIND_EMBEDDING: return read_embedding(file, layer);
    default: return layer->file.arrays == 0 ? FRNN_OK : FRNN_BAD_FILE;
    }
}

/* Does the layer change numbers, or only what the axes are called? */
static int computes(layer_kind kind)
{
    return kind != KIND_DROPOUT && kind < KIND_FLATTEN;
}

/* ---- The model ------------------------------------------------------------------------------- */

/* Takes the first order of axes that all layers agree on. */
static frnn_status settle(frnn_model *model, const model_axes *orders)
{
    for (int i = 0; i < MODEL_ORDERS; i++)
        if (orders[i].fits && orders[i].asked) {
            model->inputs = orders[i].inputs;
            model->outputs = orders[i].features;
            model->one_step = 1;
            for (int k = 0; k < orders[i].first_rank; k++)
                if (orders[i].first[k] == AXIS_TIME)
                    model->one_step = 0;
            return FRNN_OK;
        }
    return FRNN_UNSUPPORTED;
}

/* Reads the file into memory, or counts what that takes and checks the file in passing. */
static frnn_status build(model_file file, const frnn_isa *isa, arena *memory, frnn_model **placed)
{
    frnn_model model = {.isa = isa};
    model_axes orders[MODEL_ORDERS];
    frnn_axes_begin(orders);
    *placed = arena_take(memory, 1, sizeof model);
    model.layers = arena_take(memory, frnn_file_layers(&file), sizeof(model_layer));
    for (;;) {
        model_layer layer = {0};
        int found;
        frnn_status status = frnn_file_layer(&file, &layer.file, &found);
        if (status == FRNN_OK && !found)
            break;
        if (status == FRNN_OK)
            status = read_layer(&file, isa, memory, &layer);
        if (status != FRNN_OK)
            return status;
        for (int i = 0; i < MODEL_ORDERS; i++)
            if (orders[i].fits)
                frnn_axes_apply(&orders[i], &layer.file, layer.outputs);
        if (computes(layer.file.kind) && model.layers)
            model.layers[model.count++] = layer;
    }
    const frnn_status status = settle(&model, orders);
    if (status != FRNN_OK)
        return status;
    if (*placed)
        **placed = model;
    return memory->overflow ? FRNN_TOO_LARGE : FRNN_OK;
}

frnn_status frnn_model_size(const void *file, size_t file_bytes, const frnn_isa *isa,
                            size_t *bytes)
{
    model_file opened;
    frnn_model *placed;
    arena count = {NULL, 0, 0};
    frnn_status status =
        isa && bytes ? frnn_file_open(&opened, file, file_bytes, 0) : FRNN_BAD_ARGUMENT;
    if (status == FRNN_OK)
        status = build(opened, isa, &count, &placed);
    if (status == FRNN_OK)
        *bytes = arena_footprint(&count);
    return status;
}

static frnn_status read_model(frnn_model **model, const void *file, size_t file_bytes,
                              const frnn_isa *isa, void *memory, size_t bytes, int checked)
{
    model_file opened;
    frnn_model *placed;
    size_t needed = 0;
    frnn_status status = frnn_model_size(file, file_bytes, isa, &needed);
    if (status == FRNN_OK)
        status = frnn_file_open(&opened, file, file_bytes, checked);
    if (status != FRNN_OK)
        return status;
    if (!model || !memory)
        return FRNN_BAD_ARGUMENT;
    if (bytes < needed)
        return FRNN_SMALL_MEMORY;
    arena over = arena_over(memory);
    status = build(opened, isa, &over, &placed);
    if (status == FRNN_OK)
        *model = placed;
    return status;
}

frnn_status frnn_model_read(frnn_model **model, const void *file, size_t file_bytes,
                            const frnn_isa *isa, void *memory, size_t bytes)
{
    return read_model(model, file, file_bytes, isa, memory, bytes, 1);
}

frnn_status frnn_model_read_unchecked(frnn_model **model, const void *file, size_t file_bytes,
                                      const frnn_isa *isa, void *memory, size_t bytes)
{
    return read_model(model, file, file_bytes, isa, memory, bytes, 0);
}

int frnn_model_inputs(const frnn_model *model) { return model->inputs; }

int frnn_model_outputs(const frnn_model *model) { return model->outputs; }

size_t frnn_layer_steps(const model_layer *layer, size_t steps)
{
    const int *const n = layer->file.integers;
    const size_t added = (size_t)n[0] + (size_t)n[1];
    switch (layer->file.kind) {
    case KIND_CONV1D: return frnn_conv1d_steps(layer->conv, steps);
    case KIND_ZERO_PAD: return steps > SIZE_MAX / 2 - added ? 0 : steps + added;
    case KIND_LAST:
    case KIND_POOL: return 1;
    default: return steps;
    }
}

size_t frnn_model_steps(const frnn_model *model, size_t steps)
{
    size_t now = model->one_step && steps != 1 ? 0 : steps;
    for (int i = 0; i < model->count && now > 0; i++) {
        if (model->layers[i].file.kind == KIND_ADD_INPUT && now != steps)
            return 0;
        now = frnn_layer_steps(&model->layers[i], now);
    }
    return now;
}

frnn_status frnn_model_state_size(const frnn_model *model, size_t batch, size_t *floats)
{
    if (!model || !floats)
        return FRNN_BAD_ARGUMENT;
    size_t sum = 0;
    for (int i = 0; i < model->count; i++) {
        const size_t more = checked_product(frnn_layer_state(&model->layers[i].file), batch);
        if (more > SIZE_MAX / sizeof(float) - sum)
            return FRNN_TOO_LARGE;
        sum += more;
    }
    *floats = sum;
    return FRNN_OK;
}
