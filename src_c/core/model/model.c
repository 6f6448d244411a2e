/* SPDX-License-Identifier: MIT */
/* Models: from the layers of a file to packed weights, and the sizes of input and output. */
#include "model.h"

/* ---- Reading --------------------------------------------------------------------------------- */

/* Whether a layer has something to do in a run. */
static int does_run(const layer_kind *kind) { return kind->run || kind->run_rows; }

/* Reads a layer with its arrays. *found is 0 after the last layer. */
static frnn_status read_layer(layer_source *from, model_layer *layer, int *found)
{
    layer_record record;
    frnn_status status = frnn_file_layer(from->file, &record, found);
    if (status != FRNN_OK || !*found)
        return status;
    *layer = (model_layer){0};
    status = frnn_kind_read(&record, &layer->kind, &layer->options);
    if (status != FRNN_OK)
        return status;
    from->arrays = record.arrays;
    if (layer->kind->read)
        return layer->kind->read(from, layer);
    return record.arrays == 0 ? FRNN_OK : FRNN_BAD_FILE;
}

/* Follows the axes of a value through a layer. */
static void follow_axes(model_axes *value, const model_layer *layer)
{
    const layer_kind *const kind = layer->kind;
    const int is_accepted = kind->axes && (kind->accepts_tokens || !value->is_tokens);
    value->fits = is_accepted && kind->axes(value, &layer->options);
    if (layer->outputs > 0)
        value->features = layer->outputs;
}

/* Takes the first order of the input's axes that fits all layers. */
static frnn_status choose_order(frnn_model *model, const model_axes *orders)
{
    for (int i = 0; i < MODEL_ORDERS; i++)
        if (orders[i].fits && orders[i].is_known) {
            model->inputs = orders[i].inputs;
            model->outputs = orders[i].features;
            model->is_one_step = 1;
            for (int k = 0; k < orders[i].first_rank; k++)
                if (orders[i].first[k] == AXIS_TIME)
                    model->is_one_step = 0;
            return FRNN_OK;
        }
    return FRNN_UNSUPPORTED;
}

/* A model while its file is read. Without memory, sizes are counted and the file is checked. */
typedef struct {
    layer_source from;
    frnn_model model;
    model_axes orders[MODEL_ORDERS];
    int keeps; /* layers that hold others and begin with the next one that runs */
} builder;

static void add_layer(builder *b, model_layer *layer)
{
    b->model.stacks += layer->stack != NULL;
    if (!does_run(layer->kind) || !b->model.layers)
        return;
    layer->keeps = b->keeps;
    b->keeps = 0;
    b->model.layers[b->model.count++] = *layer;
}

static frnn_status read_container(builder *b, model_layer *layer, int depth);

/* Reads the next layer, with those that it holds. */
static frnn_status read_next(builder *b, int depth, int *found)
{
    model_layer layer;
    const frnn_status status = read_layer(&b->from, &layer, found);
    if (status != FRNN_OK || !*found)
        return status;
    if (layer.kind->join)
        return read_container(b, &layer, depth);
    for (int i = 0; i < MODEL_ORDERS; i++)
        if (b->orders[i].fits)
            follow_axes(&b->orders[i], &layer);
    add_layer(b, &layer);
    return FRNN_OK;
}

/* Reads the layers that a layer holds, behind which it comes in the model. */
static frnn_status read_container(builder *b, model_layer *layer, int depth)
{
    model_axes kept[MODEL_ORDERS];
    if (depth == MOST_DEPTH)
        return FRNN_BAD_FILE;
    for (int i = 0; i < MODEL_ORDERS; i++) kept[i] = b->orders[i];
    b->keeps++;
    for (int i = 0; i < layer->options.container.layers; i++) {
        int found;
        const frnn_status status = read_next(b, depth + 1, &found);
        if (status != FRNN_OK || !found)
            return status != FRNN_OK ? status : FRNN_BAD_FILE;
    }
    for (int i = 0; i < MODEL_ORDERS; i++)
        b->orders[i].fits = b->orders[i].fits && layer->kind->join(&b->orders[i], &kept[i],
                                                                   &layer->options);
    add_layer(b, layer);
    return FRNN_OK;
}

/* Reads the file into memory. Without memory, counts what that takes and checks the file. */
static frnn_status build(model_file file, const frnn_isa *isa, arena *memory, frnn_model **placed)
{
    builder b = {.from = {.file = &file, .isa = isa, .memory = memory}, .model = {.isa = isa}};
    const size_t layers = frnn_file_layers(&file);
    if (layers < 1 || layers > MOST_MODEL_LAYERS)
        return FRNN_BAD_FILE;
    frnn_axes_begin(b.orders);
    *placed = arena_take(memory, 1, sizeof b.model);
    b.model.layers = arena_take(memory, layers, sizeof(model_layer));
    for (int found = 1; found;) {
        const frnn_status status = read_next(&b, 0, &found);
        if (status != FRNN_OK)
            return status;
    }
    const frnn_status status = choose_order(&b.model, b.orders);
    if (status != FRNN_OK)
        return status;
    if (*placed)
        **placed = b.model;
    return FRNN_OK;
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
    return status == FRNN_OK ? arena_total(&count, bytes) : status;
}

static frnn_status read_model(frnn_model **model, const void *file, size_t file_bytes,
                              const frnn_isa *isa, void *memory, size_t bytes, int checked)
{
    model_file opened;
    frnn_model *placed = NULL;
    arena over;
    size_t needed = 0;
    frnn_status status = frnn_model_size(file, file_bytes, isa, &needed);
    if (status == FRNN_OK)
        status = frnn_file_open(&opened, file, file_bytes, checked);
    if (status == FRNN_OK)
        status = model ? arena_begin(&over, memory, bytes, needed) : FRNN_BAD_ARGUMENT;
    if (status == FRNN_OK)
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

/* ---- Sizes ----------------------------------------------------------------------------------- */

int frnn_model_inputs(const frnn_model *model) { return model->inputs; }

int frnn_model_outputs(const frnn_model *model) { return model->outputs; }

int frnn_model_stacks(const frnn_model *model) { return model->stacks; }

model_walk frnn_walk_begin(const frnn_model *model, size_t steps)
{
    const size_t taken = model->is_one_step && steps != 1 ? 0 : steps;
    return (model_walk){.input_steps = steps, .now = {taken, (size_t)model->inputs}};
}

void frnn_walk_layer(model_walk *walk, const model_layer *layer)
{
    const layer_kind *const kind = layer->kind;
    for (int i = 0; i < layer->keeps; i++) walk->kept[walk->depth++] = walk->now;
    value_size *const now = &walk->now;
    if (kind->join) {
        const value_size kept = walk->kept[--walk->depth];
        *now = (value_size){kept.steps == now->steps ? now->steps : 0, kept.features};
    }
    if (layer->outputs > 0)
        now->features = (size_t)layer->outputs;
    else if (kind->halves_features)
        now->features /= 2;
    if (kind->ends_time)
        now->steps = now->steps > 0;
    else if (kind->steps && now->steps > 0)
        now->steps = kind->steps(layer, now->steps, walk->input_steps);
}

size_t frnn_model_steps(const frnn_model *model, size_t steps)
{
    model_walk walk = frnn_walk_begin(model, steps);
    for (int i = 0; i < model->count && walk.now.steps > 0; i++)
        frnn_walk_layer(&walk, &model->layers[i]);
    return walk.now.steps;
}

frnn_status frnn_model_state_size(const frnn_model *model, size_t batch, size_t *floats)
{
    if (!model || !floats)
        return FRNN_BAD_ARGUMENT;
    size_t sum = 0;
    for (int i = 0; i < model->count; i++) {
        const size_t more = checked_product(model->layers[i].state_floats, batch);
        if (more > SIZE_MAX / sizeof(float) - sum)
            return FRNN_TOO_LARGE;
        sum += more;
    }
    *floats = sum;
    return FRNN_OK;
}

frnn_status frnn_model_plan_make(const frnn_model *model, const frnn_machine *machine, size_t steps,
                                 size_t batch, frnn_plan *plans)
{
    if (!model || !plans || frnn_model_steps(model, steps) == 0)
        return FRNN_BAD_ARGUMENT;
    model_walk walk = frnn_walk_begin(model, steps);
    for (int i = 0; i < model->count; i++) {
        const frnn_stack *const stack = model->layers[i].stack;
        const frnn_status status =
            stack ? frnn_plan_make(stack, machine, walk.now.steps, batch, plans++) : FRNN_OK;
        if (status != FRNN_OK)
            return status;
        frnn_walk_layer(&walk, &model->layers[i]);
    }
    return FRNN_OK;
}
