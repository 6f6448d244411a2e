/* SPDX-License-Identifier: MIT */
/* The forward pass: blocks of rows, chunks of steps, layers, directions, steps. */
#include <string.h>

#include "workspace.h"

/* A batch of sequences somewhere in memory. */
typedef struct {
    const float *base;
    ptrdiff_t step, row;  /* strides in floats */
    size_t first_step;    /* the step that lies at base */
    int callers_rows;     /* rows are numbered as the caller does, not by length */
} sequences;

/* A pass over one block of rows. */
typedef struct {
    const frnn_model *model;
    const frnn_call *call;
    workspace w;
    const size_t *order; /* the caller's row of each row of the block */
    size_t rows;
} block;

/* A chunk of steps [begin, end) of one layer in one direction. */
typedef struct {
    int layer, direction;
    size_t begin, end;
    sequences x, y;
} chunk;

static size_t row_length(const block *b, size_t row)
{
    return b->call->lengths ? b->call->lengths[b->order[row]] : b->call->steps;
}

/* Rows that are not finished at a step, counted down from `rows`. */
static size_t rows_at(const block *b, size_t step, size_t rows)
{
    while (rows > 0 && row_length(b, rows - 1) <= step) rows--;
    return rows;
}

/* Row `row` at `step` of the run: the reverse direction starts at each row's own end. */
static const float *sequence_row(const block *b, const sequences *s, int direction, size_t step,
                                 size_t row)
{
    const size_t time = direction ? row_length(b, row) - 1 - step : step;
    const size_t index = s->callers_rows ? b->order[row] : row;
    return s->base + (ptrdiff_t)(time - s->first_step) * s->step + (ptrdiff_t)index * s->row;
}

static float *state_h(const block *b, int layer, int direction, size_t row)
{
    const size_t index = (size_t)(layer * b->model->directions + direction);
    return b->w.h + (index * b->w.plan.block_rows + row) * (size_t)b->model->output_size;
}

static float *state_c(const block *b, int layer, int direction, size_t row)
{
    const size_t index = (size_t)(layer * b->model->directions + direction);
    return b->w.c + (index * b->w.plan.block_rows + row) * b->model->padded_units;
}

/* ---- One chunk ------------------------------------------------------------------------------ */

/* Points x_rows and y_rows at the running rows of each step. */
static void gather_rows(block *b, const chunk *k)
{
    size_t count = 0, rows = b->rows;
    for (size_t step = k->begin; step < k->end; step++) {
        rows = rows_at(b, step, rows);
        b->w.first_row[step - k->begin] = count;
        for (size_t row = 0; row < rows; row++, count++) {
            b->w.x_rows[count] = sequence_row(b, &k->x, k->direction, step, row);
            b->w.y_rows[count] = (float *)sequence_row(b, &k->y, k->direction, step, row);
        }
    }
    b->w.first_row[k->end - k->begin] = count;
}

static frnn_pass stage_pass(const block *b, const model_stage *s, int stage)
{
    return (frnn_pass){
        .units = s->units,
        .end_panel = s->panels,
        .bias = s->bias,
        .pre = b->w.pre[stage],
        .pre_rows = b->w.plan.block_rows * b->w.plan.chunk_steps,
        .c_stride = b->model->padded_units,
    };
}

/* The input projection of all rows and steps of the chunk. */
static void project_chunk(const block *b, const chunk *k)
{
    const model_layer *layer = model_layer_at(b->model, k->layer, k->direction);
    for (int i = 0; i < b->model->stages; i++) {
        const model_stage *s = &layer->stage[i];
        if (s->inputs == 0)
            continue;
        frnn_pass pass = stage_pass(b, s, i);
        pass.rows = (int)b->w.first_row[k->end - k->begin];
        pass.depth = s->inputs;
        pass.weights = s->x_weights;
        pass.in = b->w.x_rows;
        s->kernel->project(&pass);
    }
}

/* One step of the cell: rows [first, first + rows) of the chunk, from the states h_rows. */
static void run_step(const block *b, const chunk *k, size_t first, size_t rows,
                     const float *const *h_rows)
{
    const model_layer *layer = model_layer_at(b->model, k->layer, k->direction);
    for (int i = 0; i < b->model->stages; i++) {
        const model_stage *s = &layer->stage[i];
        frnn_pass pass = stage_pass(b, s, i);
        pass.rows = (int)rows;
        pass.depth = s->depth;
        pass.weights = s->h_weights;
        pass.pre += first * (size_t)(s->kernel->slots * b->model->isa->lanes);
        pass.in = i == 0 ? h_rows : (const float *const *)b->w.between_rows;
        pass.h = h_rows;
        pass.y = i == b->model->stages - 1 ? b->w.y_rows + first : b->w.between_rows;
        pass.c = b->w.c ? state_c(b, k->layer, k->direction, 0) : NULL;
        s->kernel->step(&pass);
    }
}

/* Keeps each row's last output of the chunk as its state. */
static void keep_states(const block *b, const chunk *k)
{
    const size_t bytes = (size_t)b->model->output_size * sizeof(float);
    for (size_t row = 0; row < rows_at(b, k->begin, b->rows); row++) {
        const size_t length = row_length(b, row), last = (length < k->end ? length : k->end) - 1;
        const float *y = b->w.y_rows[b->w.first_row[last - k->begin] + row];
        memcpy(state_h(b, k->layer, k->direction, row), y, bytes);
    }
}

static void run_chunk(block *b, const chunk *k)
{
    gather_rows(b, k);
    project_chunk(b, k);
    for (size_t row = 0; row < b->rows; row++)
        b->w.h_rows[row] = state_h(b, k->layer, k->direction, row);
    const float *const *h_rows = b->w.h_rows;
    for (size_t step = 0; step < k->end - k->begin; step++) {
        const size_t first = b->w.first_row[step], rows = b->w.first_row[step + 1] - first;
        if (rows == 0)
            break;
        run_step(b, k, first, rows, h_rows);
        h_rows = (const float *const *)b->w.y_rows + first;
    }
    keep_states(b, k);
}

/* ---- One block ------------------------------------------------------------------------------ */

/* Copies one state between the caller's [layers * directions][batch][size] and the block's rows. */
static void load_state(const block *b, float *into, const float *from, size_t index, size_t row,
                       size_t size)
{
    if (from)
        memcpy(into, from + (index * b->call->batch + b->order[row]) * size, size * sizeof(float));
    else
        memset(into, 0, size * sizeof(float));
}

static void store_state(const block *b, float *into, const float *from, size_t index, size_t row,
                        size_t size)
{
    if (into)
        memcpy(into + (index * b->call->batch + b->order[row]) * size, from, size * sizeof(float));
}

static void load_states(block *b)
{
    const frnn_model *m = b->model;
    for (int layer = 0; layer < m->config.num_layers; layer++)
        for (int direction = 0; direction < m->directions; direction++)
            for (size_t row = 0; row < b->rows; row++) {
                const size_t index = (size_t)(layer * m->directions + direction);
                load_state(b, state_h(b, layer, direction, row), b->call->h0, index, row,
                           (size_t)m->output_size);
                if (b->w.c) {
                    float *c = state_c(b, layer, direction, row);
                    memset(c, 0, m->padded_units * sizeof(float));
                    load_state(b, c, b->call->c0, index, row, (size_t)m->config.hidden_size);
                }
            }
}

static void store_states(const block *b)
{
    const frnn_model *m = b->model;
    for (int layer = 0; layer < m->config.num_layers; layer++)
        for (int direction = 0; direction < m->directions; direction++)
            for (size_t row = 0; row < b->rows; row++) {
                const size_t index = (size_t)(layer * m->directions + direction);
                store_state(b, b->call->hn, state_h(b, layer, direction, row), index, row,
                            (size_t)m->output_size);
                if (model_has_cell_state(m))
                    store_state(b, b->call->cn, state_c(b, layer, direction, row), index, row,
                                (size_t)m->config.hidden_size);
            }
}

/* Zeroes y beyond each row's length. */
static void clear_padding(const block *b)
{
    const frnn_call *call = b->call;
    const size_t width = (size_t)(b->model->directions * b->model->output_size);
    for (size_t row = 0; row < b->rows; row++) {
        float *const y = call->y + (ptrdiff_t)b->order[row] * call->y_row;
        for (size_t step = row_length(b, row); step < call->steps; step++)
            memset(y + (ptrdiff_t)step * call->y_step, 0, width * sizeof(float));
    }
}

/* Where a layer reads (from_below) or writes; lower layers meet in the workspace, where the steps
 * from first_step on are kept. */
static sequences layer_sequences(const block *b, int layer, size_t first_step, int from_below)
{
    const frnn_call *call = b->call;
    const int source = from_below ? layer - 1 : layer;
    if (source < 0)
        return (sequences){call->x, call->x_step, call->x_row, 0, 1};
    if (source == b->model->config.num_layers - 1)
        return (sequences){call->y, call->y_step, call->y_row, 0, 1};
    const ptrdiff_t width = b->model->directions * b->model->output_size;
    return (sequences){b->w.layer_y[source % 2], width * (ptrdiff_t)b->w.plan.block_rows, width,
                       first_step, 0};
}

static void run_layer(block *b, int layer, int direction, size_t begin, size_t first_step)
{
    const size_t longest = row_length(b, 0), end = begin + b->w.plan.chunk_steps;
    chunk k = {.layer = layer,
               .direction = direction,
               .begin = begin,
               .end = end < longest ? end : longest,
               .x = layer_sequences(b, layer, first_step, 1),
               .y = layer_sequences(b, layer, first_step, 0)};
    k.y.base += direction * b->model->output_size;
    run_chunk(b, &k);
}

/* One direction: all layers follow each other chunk by chunk. Two: a layer needs the whole
 * sequence of the one below. */
static void run_layers(block *b)
{
    const frnn_model *m = b->model;
    const size_t longest = row_length(b, 0), steps = b->w.plan.chunk_steps;
    if (m->directions == 1)
        for (size_t begin = 0; begin < longest; begin += steps)
            for (int layer = 0; layer < m->config.num_layers; layer++)
                run_layer(b, layer, 0, begin, begin);
    else
        for (int layer = 0; layer < m->config.num_layers; layer++)
            for (int direction = 0; direction < m->directions; direction++)
                for (size_t begin = 0; begin < longest; begin += steps)
                    run_layer(b, layer, direction, begin, 0);
}

static void run_block(block *b)
{
    load_states(b);
    for (size_t row = 0; b->w.between && row < b->rows; row++)
        b->w.between_rows[row] = b->w.between + row * b->model->padded_units;
    run_layers(b);
    store_states(b);
    if (b->call->lengths)
        clear_padding(b);
}

/* ---- The call ------------------------------------------------------------------------------- */

/* order = rows by falling length, equal ones as they came: a bottom-up merge sort. */
static void sort_by_length(size_t *order, size_t *merged, const size_t *lengths, size_t batch)
{
    for (size_t i = 0; i < batch; i++) order[i] = i;
    for (size_t run = 1; lengths && run < batch; run *= 2) {
        for (size_t begin = 0; begin < batch; begin += 2 * run) {
            const size_t middle = begin + run < batch ? begin + run : batch;
            const size_t end = middle + run < batch ? middle + run : batch;
            size_t left = begin, right = middle;
            for (size_t i = begin; i < end; i++) {
                const int take_right =
                    right < end && (left == middle || lengths[order[right]] > lengths[order[left]]);
                merged[i] = take_right ? order[right++] : order[left++];
            }
        }
        memcpy(order, merged, batch * sizeof *order);
    }
}

static frnn_status check_call(const frnn_model *model, const frnn_call *call)
{
    if (!model || !call || call->steps == 0 || (call->batch > 0 && (!call->x || !call->y)))
        return FRNN_BAD_ARGUMENT;
    for (size_t i = 0; call->lengths && i < call->batch; i++)
        if (call->lengths[i] > call->steps)
            return FRNN_BAD_ARGUMENT;
    return FRNN_OK;
}

frnn_status frnn_workspace_size(const frnn_model *model, size_t steps, size_t batch, size_t *bytes)
{
    if (!model || !bytes || steps == 0)
        return FRNN_BAD_ARGUMENT;
    arena count = {NULL, 0, 0};
    frnn_workspace_lay_out(model, steps, batch, &count);
    if (count.overflow)
        return FRNN_TOO_LARGE;
    *bytes = arena_footprint(&count);
    return FRNN_OK;
}

frnn_status frnn_forward(const frnn_model *model, const frnn_call *call, void *workspace_memory,
                         size_t bytes)
{
    size_t needed = 0;
    frnn_status status = check_call(model, call);
    if (status == FRNN_OK)
        status = frnn_workspace_size(model, call->steps, call->batch, &needed);
    if (status != FRNN_OK)
        return status;
    if (!workspace_memory || bytes < needed)
        return FRNN_SMALL_MEMORY;
    arena placed = arena_over(workspace_memory);
    block b = {.model = model, .call = call};
    b.w = frnn_workspace_lay_out(model, call->steps, call->batch, &placed);
    sort_by_length(b.w.order, b.w.merged, call->lengths, call->batch);
    const unsigned saved = model->isa->denormals_off();
    for (size_t row = 0; row < call->batch; row += b.rows) {
        const size_t left = call->batch - row;
        b.order = b.w.order + row;
        b.rows = left < b.w.plan.block_rows ? left : b.w.plan.block_rows;
        run_block(&b);
    }
    model->isa->denormals_restore(saved);
    return FRNN_OK;
}
