/* SPDX-License-Identifier: MIT */
/* Dense layers and convolutions against sums in double, in guarded memory: test_dense [stride
 * [isa]]. Bits must not depend on the batch, on strides or on threads. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "crew.h"
#include "fence.h"

/* A sum in runs has about 16 roundings of half an ulp each. */
static const double TOLERANCE = 1e-6;

static fence weight_block, bias_block, layer_block, x_block, y_block, work_block;

static float *take(fence *f, size_t floats, size_t kind)
{
    return fence_take(f, floats * sizeof(float), 0, (int)(kind % 2));
}

static float *draw(fence *f, size_t floats, size_t kind, uint64_t *seed)
{
    float *const values = take(f, floats, kind);
    random_fill(seed, values, floats, 1.0f);
    return values;
}

static int same(const float *a, const float *b, size_t count)
{
    return memcmp(a, b, count * sizeof *a) == 0;
}

static int is_poison(const float *values, size_t count)
{
    for (size_t i = 0; i < count * sizeof *values; i++)
        if (((const unsigned char *)values)[i] != 0xff)
            return 0;
    return 1;
}

static void check_fences(void)
{
    CHECK(fence_is_whole(&layer_block) && fence_is_whole(&x_block) && fence_is_whole(&y_block) &&
          fence_is_whole(&work_block));
}

/* ---- Dense ----------------------------------------------------------------------------------- */

typedef struct {
    int inputs, outputs;
    size_t rows;
    const float *weight, *bias;
} dense_case;

static frnn_dense *make_dense(const frnn_isa *isa, const dense_case *c)
{
    size_t bytes = 0;
    frnn_dense *dense = NULL;
    CHECK(frnn_dense_size(c->inputs, c->outputs, isa, &bytes) == FRNN_OK);
    void *const memory = fence_take(&layer_block, bytes, 0, 0);
    CHECK(frnn_dense_init(&dense, c->inputs, c->outputs, isa, memory, bytes - 1) ==
          FRNN_SMALL_MEMORY);
    CHECK(frnn_dense_init(&dense, c->inputs, c->outputs, isa, memory, bytes) == FRNN_OK);
    CHECK(frnn_dense_set_weights(dense, c->weight, c->bias) == FRNN_OK);
    return dense;
}

static void check_dense_row(const dense_case *c, const float *x, const float *y)
{
    for (int unit = 0; unit < c->outputs; unit++) {
        const float *w = c->weight + (size_t)unit * (size_t)c->inputs;
        double sum = c->bias ? (double)c->bias[unit] : 0.0, size = 1.0;
        for (int k = 0; k < c->inputs; k++) {
            sum += (double)w[k] * (double)x[k];
            size += fabs((double)w[k] * (double)x[k]);
        }
        CHECK(fabs((double)y[unit] - sum) <= TOLERANCE * size);
    }
}

/* Runs the batch, the batch on threads, each row alone, and the batch with a NaN in one row. */
static void run_dense(const frnn_isa *isa, const dense_case *c, size_t gap, uint64_t *seed)
{
    const size_t inputs = (size_t)c->inputs, outputs = (size_t)c->outputs;
    const size_t x_row = inputs + gap, y_row = outputs + gap;
    frnn_dense *const dense = make_dense(isa, c);
    float *const x = take(&x_block, c->rows * x_row, gap);
    float *y = take(&y_block, c->rows * y_row, gap);
    for (size_t row = 0; row < c->rows; row++) random_fill(seed, x + row * x_row, inputs, 1.0f);
    CHECK(frnn_dense_run(dense, c->rows, x, (ptrdiff_t)x_row, y, (ptrdiff_t)y_row, NULL, 1) ==
          FRNN_OK);
    check_fences();
    float *const kept = malloc((c->rows * y_row + 1) * sizeof *kept);
    if (!kept)
        abort();
    memcpy(kept, y, c->rows * y_row * sizeof *kept);
    for (size_t row = 0; row < c->rows; row++) {
        check_dense_row(c, x + row * x_row, y + row * y_row);
        CHECK(is_poison(y + row * y_row + outputs, gap));
    }
    for (int width = 2; width <= 5; width++) {
        y = take(&y_block, c->rows * y_row, gap);
        CHECK(frnn_dense_run(dense, c->rows, x, (ptrdiff_t)x_row, y, (ptrdiff_t)y_row,
                             width == 5 ? &crew_absent : &crew_executor, width) == FRNN_OK);
        CHECK(same(y, kept, c->rows * y_row));
    }
    if (c->rows > 0)
        x[c->rows / 2 * x_row + inputs / 2] = c->rows % 2 ? NAN : INFINITY;
    y = take(&y_block, outputs, gap);
    for (size_t row = 0; row < c->rows; row++) {
        CHECK(frnn_dense_run(dense, 1, x + row * x_row, 0, y, 0, NULL, 1) == FRNN_OK);
        CHECK(row == c->rows / 2 || same(y, kept + row * y_row, outputs));
        for (size_t i = 0; i < outputs && row == c->rows / 2; i++) CHECK(!isfinite(y[i]));
    }
    y = take(&y_block, c->rows * y_row, gap);
    frnn_dense_run(dense, c->rows, x, (ptrdiff_t)x_row, y, (ptrdiff_t)y_row, NULL, 1);
    for (size_t row = 0; row < c->rows; row++)
        CHECK(row == c->rows / 2 || same(y + row * y_row, kept + row * y_row, outputs));
    check_fences();
    free(kept);
}

static void check_dense(const frnn_isa *isa, const check_options *options)
{
    static const int inputs[] = {1, 2, 7, 16, 33, 95, 97, 192, 193, 300};
    static const int outputs[] = {1, 2, 7, 8, 9, 16, 17, 31, 33, 64, 65, 150};
    static const size_t rows[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 257};
    unsigned number = 0;
    uint64_t seed = 1;
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        for (size_t o = 0; o < sizeof outputs / sizeof *outputs; o++)
            for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
                if (number++ % (3 * options->stride + 4) != 0)
                    continue;
                dense_case c = {.inputs = inputs[i], .outputs = outputs[o], .rows = rows[r]};
                snprintf(check_case, sizeof check_case, "%s dense %d -> %d, %zu rows",
                         frnn_isa_name(isa), c.inputs, c.outputs, c.rows);
                c.weight = draw(&weight_block, (size_t)(c.inputs * c.outputs), number, &seed);
                if (number % 3)
                    c.bias = draw(&bias_block, (size_t)c.outputs, number, &seed);
                run_dense(isa, &c, number % 2 * 3, &seed);
            }
}

/* ---- Convolutions ---------------------------------------------------------------------------- */

/* Where the elements of [steps][batch][channels] are. */
typedef struct {
    ptrdiff_t step, row, channel;
    size_t floats;
} place;

enum { PLACES = 4 };
static place place_make(unsigned kind, size_t steps, size_t batch, size_t channels)
{
    const ptrdiff_t t = (ptrdiff_t)steps, b = (ptrdiff_t)batch, c = (ptrdiff_t)channels;
    const size_t floats = steps * batch * channels;
    switch (kind) {
    case 0: return (place){1, c * t, t, floats}; /* PyTorch's order */
    case 1: return (place){b * c, c, 1, floats};
    case 2: return (place){c, t * c, 1, floats};
    default: return (place){3, c * 3 * t, 3 * t, 3 * floats};
    }
}

static ptrdiff_t place_at(const place *p, size_t step, size_t row, size_t channel)
{
    return (ptrdiff_t)step * p->step + (ptrdiff_t)row * p->row + (ptrdiff_t)channel * p->channel;
}

/* Copies values [batch][channels][steps] to their places. */
static void lay(float *into, const place *p, const float *values, size_t steps, size_t batch,
                size_t channels)
{
    for (size_t row = 0; row < batch; row++)
        for (size_t channel = 0; channel < channels; channel++)
            for (size_t step = 0; step < steps; step++)
                into[place_at(p, step, row, channel)] = *values++;
}

typedef struct {
    frnn_conv1d_config config;
    size_t steps, batch, out_steps;
    const float *weight, *bias, *x; /* x [batch][in_channels][steps] */
} conv_case;

static void check_sum(const conv_case *c, size_t row, size_t unit, size_t step, float found)
{
    const frnn_conv1d_config *f = &c->config;
    const size_t channels = (size_t)(f->in_channels / f->groups);
    const size_t group = unit / (size_t)(f->out_channels / f->groups);
    double sum = c->bias ? (double)c->bias[unit] : 0.0, size = 1.0;
    for (size_t channel = 0; channel < channels; channel++)
        for (int tap = 0; tap < f->kernel_size; tap++) {
            const ptrdiff_t time = (ptrdiff_t)step * f->stride - f->padding_left +
                                   (ptrdiff_t)tap * f->dilation;
            if (time < 0 || time >= (ptrdiff_t)c->steps)
                continue;
            const size_t in = row * (size_t)f->in_channels + group * channels + channel;
            const double w = (double)c->weight[(unit * channels + channel) *
                                                   (size_t)f->kernel_size + (size_t)tap];
            sum += w * (double)c->x[in * c->steps + (size_t)time];
            size += fabs(w * (double)c->x[in * c->steps + (size_t)time]);
        }
    CHECK(fabs((double)found - sum) <= TOLERANCE * size);
}

/* Runs with one layout of x and one of y. Returns y; *at: where its elements are. */
static const float *run_conv(const frnn_conv1d *conv, const conv_case *c, unsigned x_kind,
                             unsigned y_kind, int width, place *at)
{
    const size_t in = (size_t)c->config.in_channels, out = (size_t)c->config.out_channels;
    const place from = place_make(x_kind, c->steps, c->batch, in);
    *at = place_make(y_kind, c->out_steps, c->batch, out);
    float *const x = take(&x_block, from.floats, x_kind / 2);
    float *const y = take(&y_block, at->floats, y_kind / 2);
    size_t bytes = 0;
    lay(x, &from, c->x, c->steps, c->batch, in);
    CHECK(frnn_conv1d_workspace_size(conv, width, &bytes) == FRNN_OK);
    const frnn_conv1d_call call = {c->steps, c->batch, x, from.step, from.row, from.channel, y,
                                   at->step, at->row, at->channel, &crew_executor, width, NULL,
                                   NULL};
    void *const workspace = fence_take(&work_block, bytes, 0, (int)(y_kind % 2));
    CHECK(frnn_conv1d_run(conv, &call, workspace, bytes) == FRNN_OK);
    check_fences();
    return y;
}

static void run_conv_case(const frnn_isa *isa, conv_case *c)
{
    const size_t out = (size_t)c->config.out_channels;
    size_t bytes = 0;
    frnn_conv1d *conv = NULL;
    CHECK(frnn_conv1d_size(&c->config, isa, &bytes) == FRNN_OK);
    void *const memory = fence_take(&layer_block, bytes, 0, 0);
    CHECK(frnn_conv1d_init(&conv, &c->config, isa, memory, bytes) == FRNN_OK);
    CHECK(frnn_conv1d_set_weights(conv, c->weight, c->bias) == FRNN_OK);
    c->out_steps = frnn_conv1d_steps(conv, c->steps);
    float *const first = malloc((c->out_steps * c->batch * out + 1) * sizeof *first);
    if (!first)
        abort();
    for (unsigned kind = 0; kind < 2 * PLACES; kind++) {
        place at;
        const float *y = run_conv(conv, c, kind % PLACES, (kind + kind / PLACES) % PLACES,
                                  (int)(kind % 3) + 1, &at);
        float *kept = first;
        for (size_t row = 0; row < c->batch; row++)
            for (size_t unit = 0; unit < out; unit++)
                for (size_t step = 0; step < c->out_steps; step++, kept++) {
                    const float found = y[place_at(&at, step, row, unit)];
                    if (kind == 0)
                        check_sum(c, row, unit, step, *kept = found);
                    CHECK(same(&found, kept, 1));
                }
    }
    free(first);
}

static int pick(uint64_t *seed, const int *values, size_t count)
{
    return values[random_below(seed, count)];
}

static void check_conv(const frnn_isa *isa, const check_options *options)
{
    static const int channels[] = {1, 1, 2, 3, 8, 17}, outputs[] = {1, 3, 8, 17, 33};
    static const size_t steps[] = {0, 1, 2, 3, 5, 9, 64, 70, 200};
    for (uint64_t number = 0; number < 300; number += options->stride) {
        uint64_t seed = number;
        const int groups = (int)random_below(&seed, 3) + 1;
        conv_case c = {.config = {.in_channels = groups * pick(&seed, channels, 6),
                                  .out_channels = groups * pick(&seed, outputs, 5),
                                  .kernel_size = (int)random_below(&seed, 6) + 1,
                                  .stride = (int)random_below(&seed, 4) + 1,
                                  .padding_left = (int)random_below(&seed, 5),
                                  .padding_right = (int)random_below(&seed, 5),
                                  .dilation = (int)random_below(&seed, 3) + 1,
                                  .groups = groups},
                       .steps = steps[random_below(&seed, 9)],
                       .batch = random_below(&seed, 4)};
        if (number == 0) /* large enough for several threads, and with copied windows */
            c = (conv_case){.config = {17 * groups, 33 * groups, 5, 1, 2, 2, 1, groups},
                            .steps = 350, .batch = 3};
        const frnn_conv1d_config *f = &c.config;
        snprintf(check_case, sizeof check_case, "%s conv %d -> %d, kernel %d, case %d",
                 frnn_isa_name(isa), f->in_channels, f->out_channels, f->kernel_size, (int)number);
        const size_t filters = (size_t)(f->in_channels / groups * f->kernel_size);
        float *const x = malloc((c.steps * c.batch * (size_t)f->in_channels + 1) * sizeof *x);
        if (!x)
            abort();
        random_fill(&seed, x, c.steps * c.batch * (size_t)f->in_channels, 1.0f);
        c.x = x;
        c.weight = draw(&weight_block, filters * (size_t)f->out_channels, number, &seed);
        if (number % 3)
            c.bias = draw(&bias_block, (size_t)f->out_channels, number, &seed);
        run_conv_case(isa, &c);
        free(x);
    }
}

/* ---- Errors ---------------------------------------------------------------------------------- */

static void check_dense_errors(const frnn_isa *isa)
{
    const float values[6] = {0.0f};
    const frnn_executor nobody = {0};
    size_t bytes = 42;
    snprintf(check_case, sizeof check_case, "%s dense errors", frnn_isa_name(isa));
    CHECK(frnn_dense_size(2, 3, NULL, &bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_dense_size(2, 3, isa, NULL) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_dense_size(0, 3, isa, &bytes) == FRNN_BAD_CONFIG);
    CHECK(frnn_dense_size(2, -1, isa, &bytes) == FRNN_BAD_CONFIG);
    CHECK(frnn_dense_size(INT32_MAX, 3, isa, &bytes) == FRNN_TOO_LARGE);
    CHECK(frnn_dense_size(2, INT32_MAX, isa, &bytes) == FRNN_TOO_LARGE && bytes == 42);
    frnn_dense *none = NULL;
    CHECK(frnn_dense_size(2, 3, isa, &bytes) == FRNN_OK);
    void *const memory = fence_take(&layer_block, bytes, 0, 0);
    CHECK(frnn_dense_init(&none, 0, 3, isa, memory, bytes) == FRNN_BAD_CONFIG && !none);
    CHECK(frnn_dense_init(NULL, 2, 3, isa, memory, bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_dense_init(&none, 2, 3, isa, memory, bytes - 1) == FRNN_SMALL_MEMORY && !none);
    CHECK(fence_is_unwritten(&layer_block));
    frnn_dense *const dense = make_dense(isa, &(dense_case){2, 3, 0, values, NULL});
    float y[3];
    CHECK(frnn_dense_set_weights(NULL, values, NULL) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_dense_set_weights(dense, NULL, NULL) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_dense_run(NULL, 1, values, 0, y, 0, NULL, 1) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_dense_run(dense, 1, NULL, 0, y, 0, NULL, 1) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_dense_run(dense, 1, values, 0, NULL, 0, NULL, 1) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_dense_run(dense, 1, values, 0, y, 0, &nobody, 1) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_dense_run(dense, 0, NULL, 0, NULL, 0, NULL, -3) == FRNN_OK);
}

static void check_conv_errors(const frnn_isa *isa)
{
    const frnn_conv1d_config good = {4, 6, 3, 1, 1, 1, 1, 2};
    const float values[36] = {0.0f};
    size_t bytes = 42;
    snprintf(check_case, sizeof check_case, "%s conv errors", frnn_isa_name(isa));
    frnn_conv1d_config bad[11];
    for (int i = 0; i < 11; i++) bad[i] = good;
    bad[0].in_channels = 0, bad[1].out_channels = 0, bad[2].kernel_size = 0, bad[3].stride = 0;
    bad[4].padding_left = -1, bad[5].padding_right = -1, bad[6].dilation = 0, bad[7].groups = 0;
    bad[8].groups = 3, bad[9].groups = 4, bad[10].in_channels = -4;
    for (int i = 0; i < 11; i++)
        CHECK(frnn_conv1d_size(&bad[i], isa, &bytes) == FRNN_BAD_CONFIG);
    frnn_conv1d_config huge[7] = {good, good, good, good, good, good, good};
    huge[0].in_channels = INT32_MAX - 1, huge[1].kernel_size = INT32_MAX;
    huge[2].dilation = INT32_MAX, huge[3].stride = INT32_MAX, huge[4].padding_left = INT32_MAX;
    huge[5].padding_right = INT32_MAX, huge[6].out_channels = INT32_MAX - 1;
    for (int i = 0; i < 7; i++)
        CHECK(frnn_conv1d_size(&huge[i], isa, &bytes) == FRNN_TOO_LARGE && bytes == 42);
    CHECK(frnn_conv1d_size(NULL, isa, &bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_conv1d_size(&good, NULL, &bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_conv1d_size(&good, isa, NULL) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_conv1d_size(&good, isa, &bytes) == FRNN_OK);
    frnn_conv1d *conv = NULL;
    void *const memory = fence_take(&layer_block, bytes, 0, 0);
    CHECK(frnn_conv1d_init(&conv, &good, isa, memory, bytes - 1) == FRNN_SMALL_MEMORY);
    CHECK(frnn_conv1d_init(&conv, &good, isa, NULL, bytes) == FRNN_BAD_ARGUMENT && !conv);
    CHECK(frnn_conv1d_init(&conv, &bad[0], isa, memory, bytes) == FRNN_BAD_CONFIG && !conv);
    CHECK(frnn_conv1d_init(NULL, &good, isa, memory, bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_conv1d_init(&conv, &good, isa, memory, bytes) == FRNN_OK);
    CHECK(frnn_conv1d_steps(conv, 0) == 0 && frnn_conv1d_steps(conv, 1) == 1);
    CHECK(frnn_conv1d_steps(conv, SIZE_MAX) == 0 && frnn_conv1d_steps(conv, 10) == 10);
    CHECK(frnn_conv1d_set_weights(conv, NULL, NULL) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_conv1d_set_weights(NULL, values, NULL) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_conv1d_workspace_size(conv, 1, NULL) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_conv1d_workspace_size(NULL, 1, &bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_conv1d_workspace_size(conv, 1, &bytes) == FRNN_OK);
    void *const work = fence_take(&work_block, bytes, 0, 0);
    float x[4] = {0.0f}, y[6];
    const frnn_executor nobody = {0};
    frnn_conv1d_call call = {1, 1, x, 1, 4, 1, y, 1, 6, 1, NULL, 1, NULL, NULL};
    CHECK(frnn_conv1d_run(conv, &call, work, bytes - 1) == FRNN_SMALL_MEMORY);
    CHECK(frnn_conv1d_run(conv, &call, NULL, bytes) == FRNN_SMALL_MEMORY);
    CHECK(frnn_conv1d_run(NULL, &call, work, bytes) == FRNN_BAD_ARGUMENT);
    CHECK(frnn_conv1d_run(conv, NULL, work, bytes) == FRNN_BAD_ARGUMENT);
    frnn_conv1d_call wrong[3] = {call, call, call};
    wrong[0].x = NULL, wrong[1].y = NULL, wrong[2].executor = &nobody;
    for (int i = 0; i < 3; i++)
        CHECK(frnn_conv1d_run(conv, &wrong[i], work, bytes) == FRNN_BAD_ARGUMENT);
    call.batch = 0;
    CHECK(frnn_conv1d_run(conv, &call, work, bytes) == FRNN_OK);
    call.batch = SIZE_MAX, call.steps = 1000, call.x = x;
    CHECK(frnn_conv1d_run(conv, &call, work, bytes) == FRNN_TOO_LARGE);
}

/* Stops a pass when it has been asked so many times. */
static int count_down(void *context)
{
    int *const left = context;
    return (*left)-- <= 0;
}

/* A pass that is stopped leaves the blocks of rows that were not begun as they were. */
static void check_conv_stop(const frnn_isa *isa)
{
    enum { STEPS = 1000 };
    const frnn_conv1d_config config = {1, 1, 1, 1, 0, 0, 1, 1};
    static float x[STEPS], y[STEPS];
    const float bias = 1.0f;
    size_t bytes = 0;
    frnn_conv1d *conv = NULL;
    snprintf(check_case, sizeof check_case, "%s conv stopped", frnn_isa_name(isa));
    CHECK(frnn_conv1d_size(&config, isa, &bytes) == FRNN_OK);
    void *const memory = fence_take(&layer_block, bytes, 0, 0);
    CHECK(frnn_conv1d_init(&conv, &config, isa, memory, bytes) == FRNN_OK);
    CHECK(frnn_conv1d_set_weights(conv, x, &bias) == FRNN_OK); /* y = 1 */
    CHECK(frnn_conv1d_workspace_size(conv, 1, &bytes) == FRNN_OK);
    void *const work = fence_take(&work_block, bytes, 0, 0);
    size_t written[3] = {0};
    for (int asked = 0; asked < 3; asked++) {
        int left = asked;
        const frnn_conv1d_call call = {STEPS, 1, x, 1, STEPS, 1, y, 1, STEPS, 1, NULL, 1,
                                       count_down, &left};
        memset(y, 0, sizeof y);
        CHECK(frnn_conv1d_run(conv, &call, work, bytes) == FRNN_STOPPED && left == -1);
        for (size_t i = 0; i < STEPS; i++) written[asked] += y[i] == 1.0f;
    }
    CHECK(written[0] == 0 && written[1] > 0 && written[2] == 2 * written[1] && written[2] < STEPS);
}

int main(int argc, char **argv)
{
    const check_options options = check_parse(argc, argv);
    fence_report_traps(check_case);
    for (int i = 0; check_isa_at(&options, i); i++) {
        take(&work_block, 1, 0);
        check_dense_errors(check_isa_at(&options, i));
        check_conv_errors(check_isa_at(&options, i));
        check_conv_stop(check_isa_at(&options, i));
        check_dense(check_isa_at(&options, i), &options);
        check_conv(check_isa_at(&options, i), &options);
    }
    return check_summary("test_dense");
}
