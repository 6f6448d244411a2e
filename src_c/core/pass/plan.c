/* SPDX-License-Identifier: MIT */
/* How a pass is partitioned: of all plans that the width allows, the one of lowest cost. */
#include "plan.h"

#include <limits.h>

/* ---- What decides: each figure with the benchmark case that it was measured on ---------------- */

enum {
    /* Pre-activations of a chunk stay in L2 beside the weights in use; text_lstm_32: longer chunks
     * go through memory. */
    PRE_BYTES = 256 * 1024,
    /* Rows enough to hide the latency of weights from L3; translate_lstm_1024. */
    LEAST_BLOCK_ROWS = 96,
    /* Rows of the projection enough for full tiles to pay for reading its weights;
     * enhance_gru_256x2. */
    LEAST_CHUNK_ROWS = 192,
    /* Chunks of a wavefront: enough for the layers to run side by side most of the time;
     * amp_lstm_8x2. */
    WAVE_CHUNKS = 4,
    /* Caches of a machine that does not tell. */
    L1_BYTES = 32 << 10,
    L2_BYTES = 512 << 10,
    L3_BYTES = 8 << 20
};

/* Cycles of a core. */
static const double
    /* One vector through a slot of a cell's formula; text_lstm_32. */
    SLOT_CYCLES = 14,
    /* Loading and storing a tile's sums; text_rnn_32. */
    TILE_CYCLES = 30,
    /* A step's own work beside rows and panels; amp_lstm_40. */
    STEP_CYCLES = 60,
    /* For each worker of a team: all wait for the last one; vad_lstm_128. */
    BARRIER_CYCLES = 150,
    /* For each worker: handing it a task while it is awake, and its end; amp_lstm_40. */
    START_CYCLES = 750,
    /* Waking one that sleeps; denoise_gru_384x3. */
    WAKE_CYCLES = 150000,
    /* A plan with more workers has to be better by this factor; amp_lstm_40. */
    WORTH_IT = 0.95;

/* Bytes of weights that one core takes in a cycle; from memory, all cores together. */
static const double L1_SPEED = 60, /* amp_lstm_40 */
    L2_SPEED = 24,                 /* enhance_gru_256x2 */
    L3_SPEED = 17,                 /* speech_bigru_800 */
    MEMORY_SPEED = 9;              /* transducer_lstmp_1024x2 */

/* ---- Blocks and chunks ------------------------------------------------------------------------ */

static void set_blocks(const frnn_stack *stack, size_t steps, size_t batch, frnn_plan *plan)
{
    size_t row_bytes = 0;
    for (int i = 0; i < stack->stages; i++)
        row_bytes += stack_pre_floats(stack, &stack->layers->stage[i]) * sizeof(float);
    const size_t fitting = PRE_BYTES / size_pieces(row_bytes, (size_t)plan->unit_workers);
    const size_t rows = plan_group_rows(plan, batch, 0);
    const size_t most_rows = size_max(fitting, LEAST_BLOCK_ROWS);
    plan->block_rows = size_max(1, size_min(rows, most_rows));
    size_t most_steps = size_max(1, size_max(fitting, LEAST_CHUNK_ROWS) / plan->block_rows);
    if (plan->layer_teams > 1)
        most_steps =
            size_min(most_steps, size_pieces(steps, WAVE_CHUNKS * (size_t)plan->layer_teams));
    /* Chunks of equal length: a short last one would read the input weights for a few rows. */
    plan->chunk_steps = size_pieces(steps, size_pieces(steps, most_steps));
}

/* ---- What a plan costs ------------------------------------------------------------------------ */

/* Cycles of products, by what bounds them. */
typedef struct {
    double by_bound[FRNN_BOUND_MEMORY + 1], other;
} cost;

/* A plan on a machine, for passes of a size. */
typedef struct {
    const frnn_stack *stack;
    const frnn_machine *machine;
    const frnn_plan *plan;
    size_t steps, rows; /* rows of a block */
    double whole;       /* bytes of the weights of all layers and directions */
} estimate;

static size_t stage_bytes(const estimate *e, const stack_stage *s, int of_x)
{
    const int depth = of_x ? s->inputs : s->depth;
    const int gates = of_x ? s->kernel->x_gates : s->kernel->h_gates;
    return (size_t)s->panels * (size_t)e->stack->isa->lanes * sizeof(float) * (size_t)depth *
           (size_t)gates;
}

static size_t layer_bytes(const estimate *e, int layer, int of_x)
{
    size_t bytes = 0;
    for (int i = 0; i < e->stack->stages; i++)
        bytes += stage_bytes(e, &stack_layer_at(e->stack, layer, 0)->stage[i], of_x);
    return bytes;
}

/* Of all layers and directions. Layers above the first are alike. */
static double stack_bytes(const estimate *e)
{
    const int layers = e->stack->config.num_layers, upper = layers > 1;
    const double first = (double)layer_bytes(e, 0, 0) + (double)layer_bytes(e, 0, 1);
    const double other = (double)layer_bytes(e, upper, 0) + (double)layer_bytes(e, upper, 1);
    return (first + other * (layers - 1)) * e->stack->directions;
}

/* Panels of the worker that has most of them. */
static double most_panels(const estimate *e, const stack_stage *s)
{
    const unit_range first = panel_range(e->stack->product, s->panels, s->kernel->h_gates, 0,
                                         e->plan->unit_workers);
    return first.end - first.begin;
}

/* Where weights are read from again when `mine` bytes lie between two uses on one core and `all`
 * on all cores; sets the bytes per cycle of a core. */
static frnn_bound level(const estimate *e, double mine, double all, double *speed)
{
    const size_t l2 = e->machine->l2_bytes, l3 = e->machine->l3_bytes;
    *speed = mine <= L1_BYTES ? L1_SPEED : L2_SPEED;
    if (mine <= (double)(l2 ? l2 : L2_BYTES))
        return FRNN_BOUND_L2;
    *speed = L3_SPEED;
    if (all <= (double)(l3 ? l3 : L3_BYTES))
        return FRNN_BOUND_L3;
    *speed = MEMORY_SPEED / plan_width(e->plan);
    return FRNN_BOUND_MEMORY;
}

/* A worker's share of a stage's product of so many rows, `times` over. */
static void add_product(cost *into, const estimate *e, const stack_stage *s, int of_x, size_t rows,
                        frnn_bound bound, double speed, double times)
{
    const int gates = of_x ? s->kernel->x_gates : s->kernel->h_gates;
    const int depth = of_x ? s->inputs : s->depth;
    const double panels = most_panels(e, s);
    const double sums = (double)rows * panels * gates, bytes =
        panels * gates * depth * e->stack->isa->lanes * (double)sizeof(float);
    const double fma = sums * depth / 2, read = bytes / speed;
    into->by_bound[fma > read ? FRNN_BOUND_FMA : bound] += times * (fma > read ? fma : read);
    into->other += times * sums / 12 * TILE_CYCLES;
}

/* Layers like this one in one direction over a block. */
static void add_layers(cost *into, const estimate *e, int layer, int count)
{
    const frnn_plan *plan = e->plan;
    const stack_layer *l = stack_layer_at(e->stack, layer, 0);
    const double steps = (double)e->steps * count;
    const double chunks = (double)size_pieces(e->steps, plan->chunk_steps) * count;
    const double teams = plan_teams(plan), units = plan->unit_workers;
    const double whole = e->whole, once = whole / (teams * units);
    double x_speed, h_speed;
    const frnn_bound x_bound = level(e, once, whole, &x_speed);
    const double h_bytes = (double)layer_bytes(e, layer, 0);
    const frnn_bound h_bound = e->steps == 1 ? level(e, once, whole, &h_speed)
                                             : level(e, h_bytes / units, h_bytes * teams, &h_speed);
    for (int i = 0; i < e->stack->stages; i++) {
        const stack_stage *s = &l->stage[i];
        const double panels = most_panels(e, s);
        if (s->inputs > 0)
            add_product(into, e, s, 1, size_min(e->steps, plan->chunk_steps) * e->rows, x_bound,
                        x_speed, chunks);
        add_product(into, e, s, 0, e->rows, h_bound, h_speed, steps);
        into->other += steps * (STEP_CYCLES + panels * (double)e->rows * s->kernel->slots *
                                                  SLOT_CYCLES);
        into->other += plan->unit_workers > 1 ? steps * units * BARRIER_CYCLES : 0;
    }
    into->other += teams > 1 ? chunks * teams * units * BARRIER_CYCLES : 0;
}

static double sum(const cost *c)
{
    double cycles = c->other;
    for (int i = 0; i <= FRNN_BOUND_MEMORY; i++) cycles += c->by_bound[i];
    return cycles;
}

/* Cycles of the FMA units for one row and step of a layer in one direction, without padding. */
static double fma_cycles(const frnn_stack *stack, int layer)
{
    double products = 0;
    for (int i = 0; i < stack->stages; i++) {
        const stack_stage *s = &stack_layer_at(stack, layer, 0)->stage[i];
        products += s->units * ((double)s->inputs * s->kernel->x_gates +
                                (double)s->depth * s->kernel->h_gates);
    }
    return products / stack->isa->lanes / 2;
}

/* Fills in cycles, fma_cycles and bound. */
static void predict(const frnn_stack *stack, const frnn_machine *machine, size_t steps,
                    size_t batch, frnn_plan *plan)
{
    const size_t group_rows = size_max(1, plan_group_rows(plan, batch, 0));
    const size_t blocks = size_pieces(group_rows, plan->block_rows);
    estimate e = {stack, machine, plan, steps, size_pieces(group_rows, blocks), 0};
    e.whole = stack_bytes(&e);
    const int layers = stack->config.num_layers;
    cost total = {{0}, 0};
    add_layers(&total, &e, 0, 1);
    double fma = fma_cycles(stack, 0);
    if (layers > 1) { /* the upper ones are alike */
        add_layers(&total, &e, 1, layers - 1);
        fma += fma_cycles(stack, 1) * (layers - 1);
    }
    /* The slowest team's share of the layers, and what it waits for the first of them. */
    const size_t teams = (size_t)plan->layer_teams;
    const double share = (double)size_pieces((size_t)layers, teams) / layers;
    const double fill = 1 + (double)(teams - 1) / (double)size_pieces(steps, plan->chunk_steps);
    const double turns = (double)blocks * share * fill * stack->directions / plan->direction_teams;
    plan->cycles = sum(&total) * turns + (plan_width(plan) > 1 ? plan_width(plan) * START_CYCLES : 0);
    plan->fma_cycles = fma * (double)steps * (double)batch * stack->directions /
                       plan_width(plan);
    for (int i = 0; i <= FRNN_BOUND_MEMORY; i++)
        if (total.by_bound[i] > total.by_bound[plan->bound])
            plan->bound = (frnn_bound)i;
}

/* ---- The choice ------------------------------------------------------------------------------- */

static frnn_plan one_thread(const frnn_stack *stack, size_t steps, size_t batch)
{
    frnn_plan plan = {.row_groups = 1, .direction_teams = 1, .layer_teams = 1, .unit_workers = 1};
    set_blocks(stack, steps, batch, &plan);
    return plan;
}

/* Takes a plan where it is better than the best one so far. */
static void consider(const frnn_stack *stack, const frnn_machine *machine, size_t steps,
                     size_t batch, frnn_plan candidate, frnn_plan *best)
{
    set_blocks(stack, steps, batch, &candidate);
    predict(stack, machine, steps, batch, &candidate);
    const int wider = plan_width(&candidate) > plan_width(best);
    if (candidate.cycles < best->cycles * (wider ? WORTH_IT : 1))
        *best = candidate;
}

/* Every split of the units and rows for teams of one kind. */
static void consider_splits(const frnn_stack *stack, const frnn_machine *machine, size_t steps,
                            size_t batch, frnn_plan candidate, frnn_plan *best)
{
    const int width = machine->width / plan_teams(&candidate);
    int tiles = 1; /* more workers than these would have nothing to do */
    for (int i = 0; i < stack->stages; i++) {
        const stack_stage *s = &stack->layers->stage[i];
        const int panels = panels_per_tile(stack->product, s->kernel->h_gates);
        tiles = (int)size_max((size_t)tiles, size_pieces((size_t)s->panels, (size_t)panels));
    }
    for (int units = 1; units <= width && units <= tiles; units++)
        for (int rows = 1; rows <= width / units && (rows == 1 || (size_t)rows <= batch); rows++) {
            candidate.unit_workers = units, candidate.row_groups = rows;
            consider(stack, machine, steps, batch, candidate, best);
        }
}

frnn_status frnn_plan_make(const frnn_stack *stack, const frnn_machine *machine, size_t steps,
                           size_t batch, frnn_plan *plan)
{
    if (!stack || !plan || steps == 0)
        return FRNN_BAD_ARGUMENT;
    const frnn_machine usual = {.width = 1};
    frnn_machine clamped = machine ? *machine : usual;
    if (clamped.width > FRNN_MOST_WORKERS)
        clamped.width = FRNN_MOST_WORKERS;
    const frnn_machine *const on = &clamped;
    const frnn_plan alone = one_thread(stack, steps, batch);
    *plan = alone;
    predict(stack, on, steps, batch, plan);
    const double alone_cycles = plan->cycles;
    const int most_layers = stack->directions > 1 ? 1 : stack->config.num_layers;
    for (int directions = 1; directions <= stack->directions && directions <= on->width; directions++)
        for (int layers = 1; layers <= most_layers && layers <= on->width / directions; layers++) {
            frnn_plan candidate = alone;
            candidate.direction_teams = directions, candidate.layer_teams = layers;
            consider_splits(stack, on, steps, batch, candidate, plan);
        }
    plan->wake = alone_cycles - plan->cycles > WAKE_CYCLES;
    return FRNN_OK;
}

/* A caller's plan must fit the stack, and its width and chunks what the core can count. */
static int fits(const frnn_stack *stack, const frnn_plan *plan)
{
    const int most = FRNN_MOST_WORKERS;
    if (plan->row_groups < 1 || plan->row_groups > most || plan->unit_workers < 1 ||
        plan->unit_workers > most || plan->direction_teams < 1 ||
        plan->direction_teams > stack->directions || plan->layer_teams < 1 ||
        plan->layer_teams > stack->config.num_layers || plan->block_rows < 1 ||
        plan->chunk_steps < 1 || (plan->layer_teams > 1 && stack->directions > 1))
        return 0;
    if (plan->row_groups * plan->unit_workers > most / plan_teams(plan))
        return 0;
    return plan->block_rows <= INT_MAX && plan->chunk_steps <= INT_MAX / plan->block_rows;
}

frnn_status frnn_plan_of(const frnn_stack *stack, size_t steps, size_t batch,
                         const frnn_plan *given, frnn_plan *plan)
{
    if (given && !fits(stack, given))
        return FRNN_BAD_ARGUMENT;
    *plan = given ? *given : one_thread(stack, steps, batch);
    return FRNN_OK;
}
