/* SPDX-License-Identifier: MIT */
/* Convolutions over time: windows of x are the rows of dense layers, one for each group.
 *
 * A window is [kernel_size][channels of the group]. The weights have the same layout. Windows are
 * read in place if x has this layout, too; otherwise the steps of a block are copied. */
#include <string.h>

#include "../pass/sync.h"
#include "dense.h"

enum {
    BLOCK_ROWS = 64,    /* windows of one product */
    TRANSPOSE_STEPS = 8 /* steps of a channel copied together: both sides stay in L1 */
};

struct frnn_conv1d {
    frnn_conv1d_config config;
    const frnn_isa *isa;
    int channels, outputs; /* of a group */
    size_t reach;          /* steps that a window spans */
    frnn_dense *groups;    /* [config.groups] */
    float *scratch;        /* [lanes][kernel_size * channels], for packing */
};

/* ---- Weights --------------------------------------------------------------------------------- */

static frnn_status check_config(const frnn_conv1d_config *c)
{
    if (c->in_channels < 1 || c->out_channels < 1 || c->kernel_size < 1 || c->stride < 1 ||
        c->dilation < 1 || c->groups < 1 || c->padding_left < 0 || c->padding_right < 0 ||
        c->in_channels % c->groups != 0 || c->out_channels % c->groups != 0)
        return FRNN_BAD_CONFIG;
    const int most = MOST_SIZE;
    if (c->in_channels > most || c->out_channels > most || c->stride > most ||
        c->padding_left > most || c->padding_right > most ||
        c->kernel_size > most / (c->in_channels / c->groups) ||
        c->dilation > most / c->kernel_size)
        return FRNN_TOO_LARGE;
    return FRNN_OK;
}

static frnn_conv1d *lay_out(const frnn_conv1d_config *config, const frnn_isa *isa, arena *memory)
{
    frnn_conv1d conv = {
        .config = *config,
        .isa = isa,
        .channels = config->in_channels / config->groups,
        .outputs = config->out_channels / config->groups,
        .reach = (size_t)(config->kernel_size - 1) * (size_t)config->dilation + 1,
    };
    const int depth = config->kernel_size * conv.channels;
    frnn_conv1d *const placed = arena_take(memory, 1, sizeof conv);
    conv.groups = arena_take(memory, (size_t)config->groups, sizeof(frnn_dense));
    for (int g = 0; g < config->groups && !memory->overflow; g++) {
        frnn_dense counted;
        frnn_dense_lay_out(conv.groups ? &conv.groups[g] : &counted, depth, conv.outputs, isa,
                           memory);
    }
    conv.scratch = arena_take(memory, (size_t)isa->lanes * (size_t)depth, sizeof(float));
    if (placed)
        *placed = conv;
    return placed;
}

frnn_status frnn_conv1d_size(const frnn_conv1d_config *config, const frnn_isa *isa, size_t *bytes)
{
    if (!config || !isa || !bytes)
        return FRNN_BAD_ARGUMENT;
    const frnn_status status = check_config(config);
    if (status != FRNN_OK)
        return status;
    arena count = {NULL, 0, 0};
    lay_out(config, isa, &count);
    return arena_total(&count, bytes);
}

frnn_status frnn_conv1d_init(frnn_conv1d **conv, const frnn_conv1d_config *config,
                             const frnn_isa *isa, void *memory, size_t bytes)
{
    size_t needed = 0;
    arena placed;
    frnn_status status = frnn_conv1d_size(config, isa, &needed);
    if (status == FRNN_OK)
        status = conv ? arena_begin_zeroed(&placed, memory, bytes, needed) : FRNN_BAD_ARGUMENT;
    if (status == FRNN_OK)
        *conv = lay_out(config, isa, &placed);
    return status;
}

/* Transposes from [channels][kernel_size] to into [kernel_size][channels]. */
static void transpose_filter(const frnn_conv1d *conv, float *into, const float *from)
{
    const size_t channels = (size_t)conv->channels, taps = (size_t)conv->config.kernel_size;
    for (size_t channel = 0; channel < channels; channel++)
        for (size_t tap = 0; tap < taps; tap++) into[tap * channels + channel] = *from++;
}

frnn_status frnn_conv1d_set_weights(frnn_conv1d *conv, const float *weight, const float *bias)
{
    if (!conv || !weight)
        return FRNN_BAD_ARGUMENT;
    const int lanes = conv->isa->lanes;
    for (int g = 0; g < conv->config.groups; g++) {
        const frnn_dense *dense = &conv->groups[g];
        for (int unit = 0; unit < dense->outputs; unit += lanes) {
            for (int i = 0; i < lanes && unit + i < dense->outputs; i++, weight += dense->inputs)
                transpose_filter(conv, conv->scratch + (size_t)i * (size_t)dense->inputs, weight);
            frnn_dense_pack_panel(dense, unit / lanes, conv->scratch);
        }
        frnn_dense_set_bias(dense, bias ? bias + (size_t)g * (size_t)conv->outputs : NULL);
    }
    return FRNN_OK;
}

/* ---- Sizes ----------------------------------------------------------------------------------- */

size_t frnn_conv1d_steps(const frnn_conv1d *conv, size_t steps)
{
    const frnn_conv1d_config *c = &conv->config;
    const size_t padding = (size_t)c->padding_left + (size_t)c->padding_right;
    if (steps > SIZE_MAX - padding || steps + padding < conv->reach)
        return 0;
    return (steps + padding - conv->reach) / (size_t)c->stride + 1;
}

/* Floats of one worker's block: the windows, then the sums of a group. */
static size_t worker_floats(const frnn_conv1d *conv)
{
    const size_t depth = (size_t)conv->groups->inputs, outputs = (size_t)conv->outputs;
    return checked_product(depth + outputs, BLOCK_ROWS);
}

frnn_status frnn_conv1d_workspace_size(const frnn_conv1d *conv, int width, size_t *bytes)
{
    if (!conv || !bytes)
        return FRNN_BAD_ARGUMENT;
    arena count = {NULL, 0, 0};
    arena_take(&count, checked_product(worker_floats(conv), width > 1 ? (size_t)width : 1),
               sizeof(float));
    return arena_total(&count, bytes);
}

/* ---- Windows --------------------------------------------------------------------------------- */

/* Windows [step, step + count) of one sequence and group. */
typedef struct {
    const float *x;
    size_t step, count;
} window_range;

/* Copies count steps of x, whose addresses are `stride` apart, to [count][channels]. */
static void transpose_steps(const frnn_conv1d_call *call, const float *x, float *into,
                            size_t channels, size_t count, ptrdiff_t stride)
{
    for (size_t channel = 0; channel < channels; channel++, x += call->x_channel)
        for (size_t i = 0; i < count; i++) into[i * channels + channel] = x[(ptrdiff_t)i * stride];
}

/* Copies count steps of x, each `every` steps after the last, from step `first` on, to
 * [count][channels]. Steps before or after x are zeros. */
static void copy_steps(const frnn_conv1d *conv, const frnn_conv1d_call *call, const float *x,
                       float *into, ptrdiff_t first, size_t count, size_t every)
{
    const size_t channels = (size_t)conv->channels;
    const ptrdiff_t stride = (ptrdiff_t)every * call->x_step;
    for (size_t i = 0, n; i < count; i += n, into += n * channels) {
        const ptrdiff_t time = first + (ptrdiff_t)(i * every);
        n = 1;
        if (time < 0 || (size_t)time >= call->steps) {
            memset(into, 0, channels * sizeof(float));
        } else if (call->x_channel == 1) {
            memcpy(into, x + time * call->x_step, channels * sizeof(float));
        } else {
            const size_t left = (call->steps - 1 - (size_t)time) / every + 1;
            n = size_min(size_min(count - i, left), TRANSPOSE_STEPS);
            transpose_steps(call, x + time * call->x_step, into, channels, n, stride);
        }
    }
}

/* Does x have the layout of the weights? */
static int is_in_place(const frnn_conv1d *conv, const frnn_conv1d_call *call)
{
    return (conv->channels == 1 || call->x_channel == 1) &&
           (conv->config.kernel_size == 1 ||
            call->x_step * conv->config.dilation == conv->channels);
}

/* Sets pointers to a range of windows. Windows that cannot be read in place are copied to space.
 * Returns the end of what it used of space. */
static float *gather(const frnn_conv1d *conv, const frnn_conv1d_call *call, const window_range *p,
                     const float **windows, float *space)
{
    const frnn_conv1d_config *c = &conv->config;
    const size_t taps = (size_t)c->kernel_size, stride = (size_t)c->stride;
    const size_t channels = (size_t)conv->channels, every = (size_t)c->dilation;
    const ptrdiff_t first = (ptrdiff_t)(p->step * stride) - c->padding_left;
    const size_t span = (p->count - 1) * stride + conv->reach;
    if (is_in_place(conv, call) && first >= 0 && (size_t)first + span <= call->steps) {
        for (size_t i = 0; i < p->count; i++)
            windows[i] = p->x + (first + (ptrdiff_t)(i * stride)) * call->x_step;
        return space;
    }
    if (every == 1 && stride < taps) { /* they overlap in one copy */
        copy_steps(conv, call, p->x, space, first, span, 1);
        for (size_t i = 0; i < p->count; i++) windows[i] = space + i * stride * channels;
        return space + span * channels;
    }
    for (size_t i = 0; i < p->count; i++, space += taps * channels) {
        copy_steps(conv, call, p->x, space, first + (ptrdiff_t)(i * stride), taps, every);
        windows[i] = space;
    }
    return space;
}

/* ---- Running --------------------------------------------------------------------------------- */

typedef struct {
    const frnn_conv1d *conv;
    const frnn_conv1d_call *call;
    size_t steps; /* of y */
    float *memory;
    int width;
    stop_flag stop;
} job;

/* Copies sums [count][outputs] to steps of y whose channels are not contiguous. */
static void scatter(const frnn_conv1d_call *call, float *y, const float *sums, size_t count,
                    size_t outputs)
{
    for (size_t begin = 0; begin < count; begin += TRANSPOSE_STEPS) {
        const size_t end = size_min(count, begin + TRANSPOSE_STEPS);
        for (size_t channel = 0; channel < outputs; channel++)
            for (size_t i = begin; i < end; i++)
                y[(ptrdiff_t)i * call->y_step + (ptrdiff_t)channel * call->y_channel] =
                    sums[i * outputs + channel];
    }
}

/* Rows [first, first + rows) of all sequences' steps, for one group. */
static void run_block(const job *j, int group, size_t first, size_t rows, float *space)
{
    const frnn_conv1d_call *call = j->call;
    const size_t outputs = (size_t)j->conv->outputs;
    const int is_contiguous = outputs == 1 || call->y_channel == 1;
    const float *const x = call->x + (ptrdiff_t)(group * j->conv->channels) * call->x_channel;
    float *const y = call->y + (ptrdiff_t)(group * j->conv->outputs) * call->y_channel;
    float *const sums = space;
    const float *windows[BLOCK_ROWS] = {NULL};
    float *out[BLOCK_ROWS] = {NULL};
    space += BLOCK_ROWS * outputs;
    for (size_t i = 0, count; i < rows; i += count) {
        const size_t row = (first + i) / j->steps, step = (first + i) % j->steps;
        count = size_min(rows - i, j->steps - step);
        const window_range p = {x + (ptrdiff_t)row * call->x_row, step, count};
        space = gather(j->conv, call, &p, windows + i, space);
        for (size_t n = 0; n < count; n++)
            out[i + n] = is_contiguous ? y + (ptrdiff_t)row * call->y_row +
                                             (ptrdiff_t)(step + n) * call->y_step
                                       : sums + (i + n) * outputs;
    }
    const frnn_dense *dense = &j->conv->groups[group];
    frnn_dense_product(dense, (int)rows, 0, dense->panels, windows, out);
    for (size_t i = 0, count; i < rows && !is_contiguous; i += count) {
        const size_t row = (first + i) / j->steps, step = (first + i) % j->steps;
        count = size_min(rows - i, j->steps - step);
        scatter(call, y + (ptrdiff_t)row * call->y_row + (ptrdiff_t)step * call->y_step,
                sums + i * outputs, count, outputs);
    }
}

static void run_worker(void *argument, int worker)
{
    job *j = argument;
    const waiter wait = {.stop = &j->stop, .asks = worker == 0};
    const size_t rows = j->call->batch * j->steps;
    const size_t end = share_begin(rows, 1, worker + 1, j->width);
    const unsigned saved = j->conv->isa->denormals_off();
    for (size_t row = share_begin(rows, 1, worker, j->width), count;
         row < end && !is_stopped(&wait); row += count) {
        count = size_min(end - row, BLOCK_ROWS);
        for (int group = 0; group < j->conv->config.groups; group++)
            run_block(j, group, row, count, j->memory + (size_t)worker * worker_floats(j->conv));
    }
    j->conv->isa->denormals_restore(saved);
}

frnn_status frnn_conv1d_run(const frnn_conv1d *conv, const frnn_conv1d_call *call, void *workspace,
                            size_t bytes)
{
    size_t needed = 0;
    if (!conv || !call || !executor_is_valid(call->executor))
        return FRNN_BAD_ARGUMENT;
    job j = {.conv = conv, .call = call, .steps = frnn_conv1d_steps(conv, call->steps)};
    const size_t rows = checked_product(call->batch, j.steps);
    if (rows > 0 && (!call->x || !call->y))
        return FRNN_BAD_ARGUMENT;
    const frnn_status status = frnn_conv1d_workspace_size(conv, call->width, &needed);
    if (status != FRNN_OK || rows == SIZE_MAX)
        return status != FRNN_OK ? status : FRNN_TOO_LARGE;
    if (!workspace || bytes < needed)
        return FRNN_SMALL_MEMORY;
    const frnn_dense *group = conv->groups;
    const double cost = (double)rows * conv->config.groups * group->panels * group->inputs;
    j.memory = (float *)(void *)arena_over(workspace).base;
    stop_begin(&j.stop, call->stop, call->stop_context);
    if (rows > 0)
        frnn_run_shares(call->executor, call->width, cost, &j.width, run_worker, &j);
    return stop_status(&j.stop);
}
