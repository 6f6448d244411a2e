/* SPDX-License-Identifier: MIT */
/* The interface between products and cells: another weight type, a product that converts its rows, and a
 * cell with two states beside h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/table.h"
#include "check.h"
#include "crew.h"
#include "fence.h"
#include "network.h"
#include "oracle.h"

enum { STEPS = 5, BATCH = 7, MOST_ROWS = STEPS * BATCH, STATES = 2 };

static float *floats(size_t count)
{
    float *values = calloc(count > 0 ? count : 1, sizeof *values);
    if (!values)
        abort();
    return values;
}

/* ---- One pass -------------------------------------------------------------------------------- */

/* Arrays of a pass in one direction, with up to STATES states beside h. */
typedef struct {
    float *x, *y, *hn, *c0, *cn;
    size_t y_floats, h_floats, c_floats;
    frnn_call call;
} pass;

static pass pass_make(const frnn_config *config, uint64_t seed)
{
    const size_t outputs = (size_t)oracle_output_size(config), inputs = (size_t)config->input_size;
    const size_t rows = (size_t)config->num_layers * BATCH, hidden = (size_t)config->hidden_size;
    pass p = {.y_floats = STEPS * BATCH * outputs, .h_floats = rows * outputs,
              .c_floats = rows * STATES * hidden};
    p.x = floats(STEPS * BATCH * inputs);
    p.y = floats(p.y_floats), p.hn = floats(p.h_floats);
    p.c0 = floats(p.c_floats), p.cn = floats(p.c_floats);
    random_fill(&seed, p.x, STEPS * BATCH * inputs, 1.0f);
    random_fill(&seed, p.c0, p.c_floats, 1.0f);
    p.call = (frnn_call){.steps = STEPS, .batch = BATCH, .executor = &crew_executor,
                         .x = p.x, .x_step = (ptrdiff_t)(BATCH * inputs), .x_row = (ptrdiff_t)inputs,
                         .y = p.y, .y_step = (ptrdiff_t)(BATCH * outputs),
                         .y_row = (ptrdiff_t)outputs, .hn = p.hn, .c0 = p.c0, .cn = p.cn};
    return p;
}

static void pass_free(pass *p) { free(p->x), free(p->y), free(p->hn), free(p->c0), free(p->cn); }

/* Runs a pass alone (units 1) or on workers that share the hidden units. */
static void run(const frnn_stack *stack, pass *p, int units)
{
    static fence workspace;
    size_t bytes = 0;
    frnn_plan plan;
    CHECK(frnn_plan_make(stack, NULL, STEPS, BATCH, &plan) == FRNN_OK);
    plan.unit_workers = units;
    p->call.plan = &plan;
    CHECK(frnn_workspace_size(stack, STEPS, BATCH, &plan, &bytes) == FRNN_OK);
    void *const memory = fence_take(&workspace, bytes, 0, 0);
    CHECK(frnn_forward(stack, &p->call, memory, bytes) == FRNN_OK);
    CHECK(fence_is_whole(&workspace));
}

static void check_same(const pass *a, const pass *b)
{
    CHECK(memcmp(a->y, b->y, a->y_floats * sizeof(float)) == 0);
    CHECK(memcmp(a->hn, b->hn, a->h_floats * sizeof(float)) == 0);
    CHECK(memcmp(a->cn, b->cn, a->c_floats * sizeof(float)) == 0);
}

/* Two stacks give the same bits, under one worker and two. */
static void compare(const frnn_config *config, const frnn_stack *one, const frnn_stack *other)
{
    pass expected = pass_make(config, 3), got = pass_make(config, 3);
    run(one, &expected, 1);
    for (int units = 1; units <= 2; units++) {
        run(other, &got, units);
        check_same(&expected, &got);
    }
    pass_free(&expected), pass_free(&got);
}

/* Calls check for each cell, around the sizes of runs and tiles of a product. */
static void each_config(const frnn_isa *isa, void (*check)(const frnn_isa *, const frnn_config *))
{
    const frnn_product *const product = isa->product[FRNN_FLOAT32];
    const int run = product->run, group = product->depth_group, lanes = isa->lanes;
    const int sizes[][2] = {{1, 1}, {group + 2, lanes + 1}, {run + 1, 4 * lanes},
                            {2 * run, 5 * lanes - 1}};
    for (int cell = 0; cell < FRNN_CELL_COUNT; cell++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            for (int proj = 0; proj <= isa->cell[cell].has_projection && proj < sizes[i][1]; proj++) {
                const frnn_config config = {.cell = (frnn_cell)cell, .input_size = sizes[i][0],
                                            .hidden_size = sizes[i][1], .num_layers = 2,
                                            .proj_size = proj};
                network_name_case(isa, &config, BATCH, STEPS);
                check(isa, &config);
            }
}

/* ---- Weights in bfloat16 --------------------------------------------------------------------- */

/* A float rounded to bfloat16 by arithmetic: to a multiple of 2^(e - 7), ties to even. */
static float rounded(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits &= 0x7f800000u; /* the power of two below |value| */
    float power;
    memcpy(&power, &bits, sizeof power);
    const float big = 1.5f * power * 65536.0f; /* its unit in the last place is 2^(e - 7) */
    const volatile float sum = value + big;
    return sum - big;
}

static void round_all(float *values, size_t count)
{
    for (size_t i = 0; i < count && values; i++) values[i] = rounded(values[i]);
}

/* Rounds a network's matrices and packs them again. */
static void round_weights(network *n)
{
    for (int layer = 0; layer < n->config.num_layers; layer++) {
        const frnn_weights *w = &n->weights[layer];
        const size_t gates = (size_t)oracle_cells[n->config.cell].gates;
        const size_t hidden = (size_t)n->config.hidden_size, rows = gates * hidden;
        round_all((float *)w->weight_ih, rows * (size_t)oracle_input_size(&n->config, layer));
        round_all((float *)w->weight_hh, rows * (size_t)oracle_output_size(&n->config));
        round_all((float *)w->weight_hr, (size_t)n->config.proj_size * hidden);
        CHECK(frnn_stack_set_weights(n->stack, layer, 0, w) == FRNN_OK);
    }
}

/* The bits of float32 with rounded weights. */
static void check_bfloat16(const frnn_isa *isa, const frnn_config *config)
{
    frnn_config halved = *config;
    halved.dtype = FRNN_BFLOAT16_WEIGHTS;
    size_t bytes = 0;
    if (!isa->product[FRNN_BFLOAT16_WEIGHTS]) {
        CHECK(frnn_stack_size(&halved, isa, &bytes) == FRNN_UNSUPPORTED);
        return;
    }
    network plain = {0}, half = {0};
    uint64_t seed = 17, same_seed = 17;
    network_build(&plain, isa, config, 1, 0, &seed);
    network_build(&half, isa, &halved, 1, 0, &same_seed);
    round_weights(&plain);
    compare(config, plain.stack, half.stack);
    network_free(&plain), network_free(&half);
    halved.training = 1;
    CHECK(frnn_stack_size(&halved, isa, &bytes) == FRNN_BAD_CONFIG);
}

/* ---- A product that converts its rows -------------------------------------------------------- */

static const frnn_product *inner; /* the product whose sums the converting one takes */

/* A converted row is the row backwards, behind a gap. */
enum { GAP = 3 };

static size_t row_bytes(int depth) { return (size_t)(GAP + depth) * sizeof(float); }

static void convert_rows(void *into, const float *const *rows, int count, int depth)
{
    float *to = into;
    for (int r = 0; r < count; r++, to += GAP + depth)
        for (int k = 0; k < depth; k++) to[GAP + k] = rows[r][depth - 1 - k];
}

/* Converts the rows back, whatever `in` points to, and calls the inner product. */
static void sweep_converted(const frnn_pass *a, const frnn_sums *sums, int gates)
{
    const float *from = a->converted, *rows[MOST_ROWS];
    float *const back = floats((size_t)a->rows * (size_t)a->depth);
    for (int r = 0; r < a->rows; r++, from += GAP + a->depth) {
        float *const row = back + (size_t)r * (size_t)a->depth;
        for (int k = 0; k < a->depth; k++) row[k] = from[GAP + a->depth - 1 - k];
        rows[r] = row;
    }
    frnn_pass plain = *a;
    plain.in = rows;
    inner->sweep[gates](&plain, sums);
    free(back);
}
static void sweep_1(const frnn_pass *a, const frnn_sums *s) { sweep_converted(a, s, 1); }
static void sweep_2(const frnn_pass *a, const frnn_sums *s) { sweep_converted(a, s, 2); }
static void sweep_3(const frnn_pass *a, const frnn_sums *s) { sweep_converted(a, s, 3); }
static void sweep_4(const frnn_pass *a, const frnn_sums *s) { sweep_converted(a, s, 4); }

static void check_conversion(const frnn_isa *isa, const frnn_config *config)
{
    frnn_product converting = *isa->product[FRNN_FLOAT32];
    frnn_isa table = *isa;
    inner = isa->product[FRNN_FLOAT32];
    converting.row_bytes = row_bytes, converting.convert_rows = convert_rows;
    converting.sweep[1] = sweep_1, converting.sweep[2] = sweep_2;
    converting.sweep[3] = sweep_3, converting.sweep[4] = sweep_4;
    table.product[FRNN_FLOAT32] = &converting;
    network plain = {0}, converted = {0};
    uint64_t seed = 5, same_seed = 5;
    network_build(&plain, isa, config, 1, 0, &seed);
    network_build(&converted, &table, config, 1, 0, &same_seed);
    compare(config, plain.stack, converted.stack);
    network_free(&plain), network_free(&converted);
}

/* ---- A cell with two states beside h --------------------------------------------------------- */

static int test_lanes; /* of the table that runs */

/* h = pre, s = s + pre, t = t + 2 s_before. */
static void finish_sums(const frnn_pass *a, int panel, int end)
{
    for (int p = panel; p < end; p++)
        for (int r = 0; r < a->rows; r++)
            for (int lane = 0; lane < test_lanes; lane++) {
                const size_t unit = (size_t)(p * test_lanes + lane);
                const size_t s = (size_t)r * a->state_floats + unit, t = s + a->stride;
                const float pre = a->pre[((size_t)p * a->pre_rows + (size_t)r) * (size_t)test_lanes +
                                         (size_t)lane];
                a->state[t] = a->state_before[t] + 2 * a->state_before[s];
                a->state[s] = a->state_before[s] + pre;
                if (unit < (size_t)a->units)
                    a->y[r][unit] = pre;
            }
}

static void no_finish(const frnn_pass *a, int panel, int end) { (void)a, (void)panel, (void)end; }

static void gradient_of_sums(const frnn_gradient_pass *a)
{
    for (int p = a->first_panel; p < a->end_panel; p++)
        for (int r = 0; r < a->rows; r++)
            for (int lane = 0; lane < test_lanes; lane++) {
                const size_t unit = (size_t)(p * test_lanes + lane);
                const size_t s = (size_t)r * a->state_floats + unit, t = s + a->stride;
                const float dy = a->dy && unit < (size_t)a->units ? a->dy[r][unit] : 0.0f;
                const float dpre = a->dh_in[(size_t)r * a->stride + unit] + dy + a->dstate[s];
                a->dpre[(size_t)r * a->dpre_row + unit] = dpre;
                a->panels[((size_t)p * a->panel_rows + (size_t)r * a->panel_step) *
                              (size_t)test_lanes + (size_t)lane] = dpre;
                a->dstate[s] += 2 * a->dstate[t];
            }
}

static frnn_isa table_of_sums(const frnn_isa *isa)
{
    frnn_isa table = *isa;
    table.cell[FRNN_RNN_TANH] = (frnn_cell_kernels){
        .gates = 1, .states = 1 + STATES, .stages = 1,
        .stage = {{.slots = 1, .x_gates = 1, .h_gates = 1, .finish_input = no_finish,
                   .finish = finish_sums, .gradient = gradient_of_sums}}};
    test_lanes = isa->lanes;
    return table;
}

/* Follows the states of each row and unit from y, which is pre. */
static void check_states(const frnn_config *config, const pass *p)
{
    const size_t hidden = (size_t)config->hidden_size;
    for (size_t row = 0; row < BATCH; row++)
        for (size_t unit = 0; unit < hidden; unit++) {
            const size_t at = row * STATES * hidden + unit;
            float s = p->c0[at], t = p->c0[at + hidden];
            for (size_t step = 0; step < STEPS; step++) {
                t = t + 2 * s;
                s = s + p->y[(step * BATCH + row) * hidden + unit];
            }
            CHECK(p->cn[at] == s && p->cn[at + hidden] == t);
        }
}

/* With dcn alone: ds at a step is ds_n + 2 (STEPS - 1 - step) dt_n, which is what dpre is where
 * weight_hh is zero, and the gradients of the first states follow. */
static void check_state_gradients(const frnn_stack *stack, const frnn_config *config, pass *p)
{
    const size_t hidden = (size_t)config->hidden_size;
    size_t tape_bytes = 0, bytes = 0;
    CHECK(frnn_tape_size(stack, STEPS, BATCH, &tape_bytes) == FRNN_OK);
    p->call.tape = malloc(tape_bytes), p->call.tape_bytes = tape_bytes;
    run(stack, p, 1);
    check_states(config, p);
    float *const dc0 = floats(p->c_floats), *const bias = floats(hidden);
    frnn_weight_gradients weights = {.bias_ih = bias};
    const frnn_gradients gradients = {.dcn = p->cn, .dc0 = dc0, .weights = &weights};
    p->call.plan = NULL;
    CHECK(frnn_backward_size(stack, STEPS, BATCH, NULL, &bytes) == FRNN_OK);
    void *const memory = malloc(bytes);
    CHECK(frnn_backward(stack, &p->call, &gradients, memory, bytes) == FRNN_OK);
    for (size_t unit = 0; unit < hidden; unit++) {
        double sum = 0, size = 0;
        for (size_t row = 0; row < BATCH; row++) {
            const size_t at = row * STATES * hidden + unit;
            const float ds = p->cn[at], dt = p->cn[at + hidden];
            float expected = ds;
            for (size_t step = 0; step < STEPS; step++) {
                sum += expected, size += expected < 0 ? -expected : expected;
                expected += 2 * dt;
            }
            CHECK(dc0[at] == expected && dc0[at + hidden] == dt);
        }
        CHECK(bias[unit] - sum < 1e-5 * size && sum - bias[unit] < 1e-5 * size);
    }
    free(p->call.tape), free(dc0), free(bias), free(memory);
}

static void check_two_states(const frnn_isa *isa)
{
    const frnn_isa table = table_of_sums(isa);
    for (int hidden = 1; hidden <= 2 * isa->lanes + 1; hidden += isa->lanes) {
        const frnn_config config = {.cell = FRNN_RNN_TANH, .input_size = 3, .hidden_size = hidden,
                                    .num_layers = 1, .training = 1};
        network_name_case(isa, &config, BATCH, STEPS);
        network n = {0};
        uint64_t seed = 23;
        network_build(&n, &table, &config, 1, 0, &seed);
        float *const zeros = floats((size_t)(hidden * hidden));
        frnn_weights weights = n.weights[0];
        weights.weight_hh = zeros;
        CHECK(frnn_stack_set_weights(n.stack, 0, 0, &weights) == FRNN_OK);
        pass p = pass_make(&config, 29);
        for (int units = 1; units <= 2; units++) {
            run(n.stack, &p, units);
            check_states(&config, &p);
        }
        check_state_gradients(n.stack, &config, &p);
        pass_free(&p), free(zeros), network_free(&n);
    }
}

int main(int argc, char **argv)
{
    const check_options options = check_parse(argc, argv);
    fence_report_traps(check_case);
    const frnn_isa *isa;
    for (int i = 0; (isa = check_isa_at(&options, i)); i++) {
        each_config(isa, check_bfloat16);
        each_config(isa, check_conversion);
        check_two_states(isa);
    }
    return check_summary("test_products");
}
