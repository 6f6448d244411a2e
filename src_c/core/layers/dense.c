/* SPDX-License-Identifier: MIT */
/* Dense layers: packing of the weights, and products of blocks of rows. */
#include "dense.h"

enum {
    BLOCK_ROWS = 256 /* rows that share one read of the weights; their pointers are local arrays */
};

/* In multiply-adds of vectors, which take a cycle each or less. A worker gets ten times the cost of
 * its start; a sleeping worker is woken for twice the cost of waking it. plan.c has both costs. */
static const double WORKER_COST = 8000, WAKE_COST = 300000;

static const signed char ONE_GATE[1] = {0};

static const frnn_product *float_product(const frnn_isa *isa) { return isa->product[FRNN_FLOAT32]; }

static frnn_status check_sizes(int inputs, int outputs, const frnn_isa *isa)
{
    if (!isa)
        return FRNN_BAD_ARGUMENT;
    if (inputs < 1 || outputs < 1)
        return FRNN_BAD_CONFIG;
    return inputs > MOST_SIZE || outputs > MOST_SIZE ? FRNN_TOO_LARGE : FRNN_OK;
}

void frnn_dense_lay_out(frnn_dense *dense, int inputs, int outputs, const frnn_isa *isa,
                        arena *memory)
{
    const int panels = panels_of(isa, outputs);
    const size_t padded = (size_t)panels * (size_t)isa->lanes;
    *dense = (frnn_dense){
        .isa = isa,
        .inputs = inputs,
        .outputs = outputs,
        .panels = panels,
        .weights = arena_take(memory, float_product(isa)->packed_bytes(panels, inputs, 1), 1),
        .bias = arena_take(memory, padded, sizeof(float)),
    };
}

static frnn_dense *lay_out(int inputs, int outputs, const frnn_isa *isa, arena *memory)
{
    frnn_dense counted;
    frnn_dense *const placed = arena_take(memory, 1, sizeof counted);
    frnn_dense_lay_out(placed ? placed : &counted, inputs, outputs, isa, memory);
    return placed;
}

frnn_status frnn_dense_size(int inputs, int outputs, const frnn_isa *isa, size_t *bytes)
{
    const frnn_status status = bytes ? check_sizes(inputs, outputs, isa) : FRNN_BAD_ARGUMENT;
    if (status != FRNN_OK)
        return status;
    arena count = {NULL, 0, 0};
    lay_out(inputs, outputs, isa, &count);
    return arena_total(&count, bytes);
}

frnn_status frnn_dense_init(frnn_dense **dense, int inputs, int outputs, const frnn_isa *isa,
                            void *memory, size_t bytes)
{
    size_t needed = 0;
    arena placed;
    frnn_status status = frnn_dense_size(inputs, outputs, isa, &needed);
    if (status == FRNN_OK)
        status = dense ? arena_begin_zeroed(&placed, memory, bytes, needed) : FRNN_BAD_ARGUMENT;
    if (status == FRNN_OK)
        *dense = lay_out(inputs, outputs, isa, &placed);
    return status;
}

void frnn_dense_pack_panel(const frnn_dense *dense, int panel, const float *weight)
{
    const int lanes = dense->isa->lanes, left = dense->outputs - panel * lanes;
    const frnn_matrix matrix = {weight, left < lanes ? left : lanes, dense->inputs};
    const frnn_product *const product = float_product(dense->isa);
    char *const packed = (char *)dense->weights + product->packed_bytes(panel, dense->inputs, 1);
    product->pack(packed, matrix, ONE_GATE, 1);
}

void frnn_dense_set_bias(const frnn_dense *dense, const float *bias)
{
    dense->isa->pack_bias(dense->bias, &dense->isa->projection, dense->outputs, NULL, bias);
}

frnn_status frnn_dense_set_weights(frnn_dense *dense, const float *weight, const float *bias)
{
    if (!dense || !weight)
        return FRNN_BAD_ARGUMENT;
    const frnn_matrix matrix = {weight, dense->outputs, dense->inputs};
    float_product(dense->isa)->pack(dense->weights, matrix, ONE_GATE, 1);
    frnn_dense_set_bias(dense, bias);
    return FRNN_OK;
}

void frnn_dense_product(const frnn_dense *dense, int rows, int first_panel, int end_panel,
                        const float *const *in, float *const *y)
{
    const frnn_pass pass = {
        .rows = rows,
        .depth = dense->inputs,
        .units = dense->outputs,
        .first_panel = first_panel,
        .end_panel = end_panel,
        .weights = dense->weights,
        .bias = dense->bias,
        .in = in,
        .y = y,
    };
    float_product(dense->isa)->multiply(&pass, FRNN_FROM_BIAS);
}

/* ---- Running --------------------------------------------------------------------------------- */

void frnn_run_shares(const frnn_executor *executor, int most, double cost, int *width,
                     frnn_task *task, void *argument)
{
    *width = cost / WORKER_COST < most ? (int)(cost / WORKER_COST) : most;
    if (*width > 1 && executor &&
        executor->run(executor->context, *width, cost > WAKE_COST, task, argument))
        return;
    *width = 1;
    task(argument, 0);
}

typedef struct {
    const frnn_dense *dense;
    size_t rows;
    const float *x;
    ptrdiff_t x_row;
    float *y;
    ptrdiff_t y_row;
    int width;
} job;

/* Workers split the panels, and so the weights, if there are enough for all. Otherwise they split
 * the rows. */
static void run_worker(void *argument, int worker)
{
    const job *j = argument;
    const frnn_product *const product = float_product(j->dense->isa);
    const int panels = j->dense->panels;
    const int by_panels = panels / j->width >= panels_per_tile(product, 1);
    const int of_rows = by_panels ? 1 : j->width, row_worker = by_panels ? 0 : worker;
    const int of_panels = by_panels ? j->width : 1, panel_worker = by_panels ? worker : 0;
    const size_t end = share_begin(j->rows, 1, row_worker + 1, of_rows);
    const unit_range share = panel_range(product, panels, 1, panel_worker, of_panels);
    const unsigned saved = j->dense->isa->denormals_off();
    for (size_t row = share_begin(j->rows, 1, row_worker, of_rows); row < end;) {
        const float *in[BLOCK_ROWS];
        float *out[BLOCK_ROWS];
        int rows = 0;
        for (; rows < BLOCK_ROWS && row < end; rows++, row++) {
            in[rows] = j->x + (ptrdiff_t)row * j->x_row;
            out[rows] = j->y + (ptrdiff_t)row * j->y_row;
        }
        frnn_dense_product(j->dense, rows, share.begin, share.end, in, out);
    }
    j->dense->isa->denormals_restore(saved);
}

frnn_status frnn_dense_run(const frnn_dense *dense, size_t rows, const float *x, ptrdiff_t x_row,
                           float *y, ptrdiff_t y_row, const frnn_executor *executor, int width)
{
    if (!dense || (rows > 0 && (!x || !y)) || !executor_is_valid(executor))
        return FRNN_BAD_ARGUMENT;
    job j = {.dense = dense, .rows = rows, .x = x, .x_row = x_row, .y = y, .y_row = y_row};
    const double cost = (double)rows * dense->panels * dense->inputs;
    if (rows > 0)
        frnn_run_shares(executor, width, cost, &j.width, run_worker, &j);
    return FRNN_OK;
}
