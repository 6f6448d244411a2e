/* SPDX-License-Identifier: MIT */
/* The bits of a row do not depend on the batch, on how a sequence is split into calls, on NaN in
 * other rows or on the caller's denormal mode. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/table.h"
#include "check.h"
#include "network.h"
#include "oracle.h"

#if defined(__SSE__)
#include <xmmintrin.h>
static unsigned float_mode(void) { return _mm_getcsr() & ~0x3fu; } /* not the status flags */
static void set_float_mode(unsigned mode) { _mm_setcsr(mode); }
enum { FLUSHING = 0x8040 };
#else
static unsigned float_mode(void) { return 0; }
static void set_float_mode(unsigned mode) { (void)mode; }
enum { FLUSHING = 0 };
#endif

enum { BATCH = 13, STEPS = 7, INPUTS = 5, PARTS = 4 }; /* two layers, two directions */

/* Inputs and results of one pass over the whole batch. */
typedef struct {
    network net;
    size_t outputs, hidden, directions;
    float *x, *y, *h, *c; /* h, c: [PARTS][BATCH][outputs or hidden], initial, then final states */
    void *workspace;
    size_t bytes;
} pass;

static float *floats(size_t count)
{
    float *values = calloc(count, sizeof *values);
    if (!values)
        abort();
    return values;
}

static void pass_make(pass *p, const frnn_isa *isa, const frnn_config *config, uint64_t *seed)
{
    network_name_case(isa, config, BATCH, STEPS);
    network_build(&p->net, isa, config, 1, 0, seed);
    p->outputs = (size_t)oracle_output_size(config), p->hidden = (size_t)config->hidden_size;
    p->directions = (size_t)(1 + config->bidirectional);
    p->x = floats(STEPS * BATCH * INPUTS);
    random_fill(seed, p->x, STEPS * BATCH * INPUTS, 1.0f);
    p->y = floats(STEPS * BATCH * p->directions * p->outputs);
    p->h = floats(PARTS * BATCH * p->outputs);
    p->c = floats(PARTS * BATCH * p->hidden);
    CHECK(frnn_workspace_size(p->net.stack, STEPS, BATCH, NULL, &p->bytes) == FRNN_OK);
    p->workspace = malloc(p->bytes);
}

static void pass_free(pass *p)
{
    free(p->x), free(p->y), free(p->h), free(p->c), free(p->workspace);
}

/* Runs steps [begin, end) of rows [row, row + rows), from zero states or from h and c. */
static void run(const pass *p, size_t begin, size_t end, size_t row, size_t rows, float *h,
                float *c, int from_state, float *y)
{
    const size_t width = p->directions * p->outputs;
    const frnn_call call = {.steps = end - begin,
                            .batch = rows,
                            .x = p->x + (begin * BATCH + row) * INPUTS,
                            .x_step = BATCH * INPUTS,
                            .x_row = INPUTS,
                            .y = y + (begin * BATCH + row) * width,
                            .y_step = (ptrdiff_t)(BATCH * width),
                            .y_row = (ptrdiff_t)width,
                            .h0 = from_state ? h : NULL,
                            .c0 = from_state ? c : NULL,
                            .hn = h,
                            .cn = c};
    CHECK(frnn_forward(p->net.stack, &call, p->workspace, p->bytes) == FRNN_OK);
}

static int same(const float *a, const float *b, size_t count)
{
    return memcmp(a, b, count * sizeof *a) == 0;
}

/* Returns 1 if row `row` of y has the bits of the whole batch. */
static int same_row(const pass *p, const float *y, size_t row)
{
    const size_t width = p->directions * p->outputs;
    int equal = 1;
    for (size_t t = 0; t < STEPS; t++)
        equal &= same(y + (t * BATCH + row) * width, p->y + (t * BATCH + row) * width, width);
    return equal;
}

static void check_rows(const pass *p, float *y, float *h, float *c)
{
    for (size_t row = 0; row < BATCH; row++)
        for (size_t rows = 1; rows <= BATCH - row; rows += 3) {
            run(p, 0, STEPS, row, rows, h, c, 0, y);
            for (size_t i = row; i < row + rows; i++) CHECK(same_row(p, y, i));
        }
}

/* With one direction only: the reverse direction starts at the end of a call. */
static void check_cuts(const pass *p, float *y, float *h, float *c)
{
    for (size_t cut = 1; cut <= 3 && p->directions == 1; cut++) {
        for (size_t begin = 0; begin < STEPS; begin += cut)
            run(p, begin, begin + cut < STEPS ? begin + cut : STEPS, 0, BATCH, h, c, begin > 0, y);
        for (size_t row = 0; row < BATCH; row++) CHECK(same_row(p, y, row));
        const size_t parts = (size_t)p->net.config.num_layers;
        CHECK(same(h, p->h, parts * BATCH * p->outputs));
        if (oracle_cells[p->net.config.cell].has_c)
            CHECK(same(c, p->c, parts * BATCH * p->hidden));
    }
}

static void check_beside_nan(const pass *p, float *y, float *h, float *c)
{
    for (size_t bad = 0; bad < BATCH; bad += 5) {
        float kept[STEPS];
        for (size_t t = 0; t < STEPS; t++) {
            float *x = p->x + (t * BATCH + bad) * INPUTS;
            kept[t] = *x, *x = NAN;
        }
        run(p, 0, STEPS, 0, BATCH, h, c, 0, y);
        for (size_t row = 0; row < BATCH; row++) CHECK(row == bad || same_row(p, y, row));
        CHECK(isnan(y[bad * p->directions * p->outputs]));
        for (size_t t = 0; t < STEPS; t++) p->x[(t * BATCH + bad) * INPUTS] = kept[t];
    }
}

static void check_float_mode(const pass *p, float *y, float *h, float *c)
{
    const unsigned before = float_mode();
    run(p, 0, STEPS, 0, BATCH, h, c, 0, y);
    CHECK(float_mode() == before);
    set_float_mode(before | FLUSHING);
    run(p, 0, STEPS, 0, BATCH, h, c, 0, y);
    CHECK(float_mode() == (before | FLUSHING));
    set_float_mode(before);
    for (size_t row = 0; row < BATCH; row++) CHECK(same_row(p, y, row));
}

static void check_config(const frnn_isa *isa, const frnn_config *config)
{
    uint64_t seed = 7;
    static pass p;
    pass_make(&p, isa, config, &seed);
    float *y = floats(STEPS * BATCH * p.directions * p.outputs);
    float *h = floats(PARTS * BATCH * p.outputs), *c = floats(PARTS * BATCH * p.hidden);
    run(&p, 0, STEPS, 0, BATCH, p.h, p.c, 0, p.y);
    check_rows(&p, y, h, c);
    check_cuts(&p, y, h, c);
    check_beside_nan(&p, y, h, c);
    check_float_mode(&p, y, h, c);
    free(y), free(h), free(c);
    pass_free(&p);
}

int main(int argc, char **argv)
{
    const check_options options = check_parse(argc, argv);
    unsigned number = 0;
    for (int i = 0; check_isa_at(&options, i); i++) {
        const frnn_isa *isa = check_isa_at(&options, i);
        const int hiddens[] = {2, isa->lanes + 1, 3 * isa->lanes, 4 * isa->lanes + 3, 130};
        for (int cell = 0; cell < FRNN_CELL_COUNT; cell++)
            for (int variant = 0; variant < 4; variant++)
                for (int j = 0; j < 5; j++) {
                    const int projected = variant & 1;
                    const frnn_config config = {.cell = (frnn_cell)cell,
                                                .input_size = INPUTS,
                                                .hidden_size = hiddens[j],
                                                .num_layers = 2,
                                                .bidirectional = variant >> 1,
                                                .proj_size = projected ? hiddens[j] / 2 : 0};
                    if ((projected && !oracle_cells[cell].has_projection) || number++ % options.stride != 0)
                        continue;
                    check_config(isa, &config);
                }
    }
    return check_summary("test_bits");
}
