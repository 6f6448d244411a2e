/* SPDX-License-Identifier: MIT */
/* The interface between the core and the kernels: what one instruction set offers, as one table.
 *
 * A step of a cell is one or two stages, run in turn. A stage is a matrix product and what follows
 * it while the sums are still in the cache. The table lists the two separately:
 *
 *   - products, one for each weight type: packing, the sums of a stage, plain matrix products;
 *   - cells: a declaration of sizes, and the functions that turn sums into states and gradients.
 *
 * They meet in `sweep`, which computes the sums of a group of panels and then calls the stage's
 * function on them. So a table with D weight types and S cells has D + S entries.
 *
 * The units of a stage are split into panels of `lanes` units. For a panel and a row, the
 * pre-activations (`pre`) are `slots` vectors of lanes. The input product fills the first x_gates
 * slots, ahead of time for many steps; the recurrent product adds to the last h_gates slots.
 *
 * Every sum is taken in one order: bias, then x, then h, each in ascending order in runs of a fixed
 * length. This is why bits depend neither on the tile, the batch nor on where a sequence is split. */
#ifndef FRNN_KERNELS_TABLE_H
#define FRNN_KERNELS_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include <fastrnn.h>

enum { FRNN_MAX_SLOTS = 4, FRNN_MAX_STAGES = 2, FRNN_ALIGNMENT = 64 };

/* ---- Sizes ----------------------------------------------------------------------------------- */

/* a * b, or SIZE_MAX, which no memory has, where that does not fit. */
static inline size_t checked_product(size_t a, size_t b)
{
    return b > 0 && a > SIZE_MAX / b ? SIZE_MAX : a * b;
}

/* ---- Products -------------------------------------------------------------------------------- */

/* One product over rows and panels, and what the stage behind it reads and writes: the smallest unit
 * of a forward pass. Rows are given by pointers. Padding lanes of the last panel are computed, but stored to pre and state only. */
typedef struct frnn_pass {
    int rows;                   /* rows of this pass */
    int depth;                  /* length of an input row */
    int units;                  /* units of the stage, over all panels */
    int first_panel, end_panel; /* the panels to compute */
    const void *weights;        /* as the product packs them */
    const float *bias;          /* [panels][slots][lanes] */
    float *pre;                 /* [panels][pre_rows][slots][lanes], the sums */
    size_t pre_rows;
    const float *const *in;       /* [rows] -> [depth] */
    const void *converted;        /* [rows][row_bytes], where the product converts its rows */
    const float *const *h_before; /* [rows] -> [units], previous state */
    float *const *y;              /* [rows] -> [units], result of the stage */
    /* The cell's states beside h: those after and before the step; they may be the same memory. */
    float *state;              /* [rows][states - 1][stride] */
    const float *state_before; /* [rows][states - 1][stride] */
    size_t state_floats;       /* (states - 1) * stride: from row to row */
    float *carried;            /* [rows][stride], from the first stage of a cell to the second */
    size_t stride;             /* a multiple of lanes, at least units */
} frnn_pass;

/* What follows the sums of panels [panel, end) of all rows. */
typedef void frnn_finish(const frnn_pass *pass, int panel, int end);

/* Which sums a sweep computes: slots [first, first + gates) of a stage with so many slots. */
typedef struct frnn_sums {
    int slots, first;
    int from_bias;       /* the sums start at the bias instead of at what pre holds */
    frnn_finish *finish; /* called for each group of panels when its sums are complete */
} frnn_sums;

typedef void frnn_sweep(const frnn_pass *pass, const frnn_sums *sums);

/* What a sum of `multiply` starts from. */
typedef enum { FRNN_FROM_ZERO, FRNN_FROM_Y, FRNN_FROM_BIAS } frnn_start;

/* A matrix in PyTorch's layout, [gates * units][depth] with contiguous rows. */
typedef struct frnn_matrix {
    const float *values;
    int units, depth;
} frnn_matrix;

/* Multiplies weights of one type. Whatever the type, the sums are float32 and are stored in pre. */
typedef struct frnn_product {
    int depth_group; /* so many elements of a row are multiplied together; weights are padded to it */
    int run;         /* a sum is split into runs of this depth, see the product's file */
    int tile_vectors; /* a tile is so many vectors of weights wide: panels times gates */
    /* Bytes of a row of `depth` elements in the product's row format. NULL with convert_rows: the
     * product reads float32 rows in place. */
    size_t (*row_bytes)(int depth);
    /* into [rows][row_bytes(depth)] = the rows in the product's format. */
    void (*convert_rows)(void *into, const float *const *rows, int count, int depth);
    /* Bytes of packed weights, or SIZE_MAX where that does not fit; a multiple of the lanes. */
    size_t (*packed_bytes)(int panels, int depth, int gates);
    /* Packs the row blocks gate[] of a matrix. A panel follows the one before. */
    void (*pack)(void *packed, frnn_matrix matrix, const signed char *gate, int gates);
    frnn_sweep *sweep[FRNN_MAX_SLOTS + 1]; /* by number of gates, from 1 */
    /* y = start + weights * in, of one gate; pre and states are not used. */
    void (*multiply)(const frnn_pass *pass, frnn_start start);
} frnn_product;

/* ---- Cells ----------------------------------------------------------------------------------- */

/* Gradients of one stage at one step, from those of its output to those of its pre-activations
 * (`dpre`). Vectors of lanes are whole everywhere but in h, h_before and dy. */
typedef struct frnn_gradient_pass {
    int rows, units;
    int first_panel, end_panel; /* the panels to compute */
    const float *gates;         /* [panels][gate_rows][slots][lanes], as finish_recorded left them */
    const float *partner_gates; /* of the other stage of a cell with two */
    size_t gate_rows;
    const float *state, *state_before; /* [rows][states - 1][stride], after and before the step */
    const float *const *h;             /* [rows] -> [units], the stage's output */
    const float *const *h_before;      /* [rows] -> [units], previous state */
    const float *const *dy; /* [rows] -> [units], added to dh_in; NULL: none */
    const float *dh_in;     /* [rows][stride], gradient of the stage's output */
    float *dh;              /* [rows][stride], gradient of the previous state, excluding the part that
                             * flows through the recurrent product; may be dh_in */
    float *dstate;          /* [rows][states - 1][stride], of state, turned into that of state_before */
    size_t stride;          /* a multiple of lanes, at least units */
    size_t state_floats;    /* (states - 1) * stride: from row to row */
    float *dpre;            /* a row: [slots][stride]; from row to row: dpre_row */
    size_t dpre_row;
    /* The same as [panels][panel_rows][slots][lanes], and what the product of the next stage took, as
     * [panels][panel_rows][lanes]; NULL: not wanted. A row is panel_step of panel_rows from the one
     * before. */
    float *panels, *in_panels;
    size_t panel_rows, panel_step;
} frnn_gradient_pass;

/* The matrix that the recurrent product of a stage takes. */
typedef enum { FRNN_WEIGHT_HH, FRNN_WEIGHT_HR } frnn_recurrent_matrix;

typedef struct frnn_stage {
    int slots, x_gates, h_gates; /* x_gates 0: the stage takes no input */
    /* Per slot: its row block in weight_ih and in the recurrent matrix, or -1 where it has none. */
    signed char x_gate[FRNN_MAX_SLOTS], h_gate[FRNN_MAX_SLOTS];
    frnn_recurrent_matrix matrix;
    frnn_finish *finish_input;    /* after the input product */
    frnn_finish *finish;          /* after the recurrent product: the cell's formula */
    frnn_finish *finish_recorded; /* the same bits, leaves the gates in pre; NULL: the gradient needs
                                   * none */
    void (*gradient)(const frnn_gradient_pass *pass);
} frnn_stage;

/* A cell: all that the core needs to know of it. */
typedef struct frnn_cell_kernels {
    int gates;         /* row blocks of weight_ih and weight_hh */
    int states;        /* 1: h alone; 2: h and c; more: others beside c */
    int has_projection; /* may have a weight_hr, whose product is one more stage */
    int uses_h_before; /* the formula reads h of the step before, beside its product: so the gradient
                        * of h has a part that does not flow through the product */
    int stages;
    frnn_stage stage[FRNN_MAX_STAGES];
} frnn_cell_kernels;

/* ---- Weight gradients ------------------------------------------------------------------------ */

/* sums[gate[slot] * units + unit][k] = or += sum over rows of left[row][slot][unit] right[row][k],
 * for the slots [first_slot, first_slot + gates). */
typedef struct frnn_outer {
    size_t rows, panel_rows;
    const float *left;  /* [panels][panel_rows][slots][lanes] */
    const float *right; /* [width in panels][panel_rows][lanes] */
    int slots, first_slot, gates;
    const signed char *gate; /* [slots] */
    int units, width;
    int first_panel, end_panel; /* of left, to compute */
    float *sums;                /* [..][width], or [..] of sum_columns, which needs no right */
    int add;
} frnn_outer;

/* ---- Elementwise functions -------------------------------------------------------------------- */

/* y [count] from x, and dx from dy and x, as frnn_apply and frnn_apply_backward. */
typedef struct frnn_function_kernels {
    const char *name; /* in lower case, as in torch.nn.functional */
    void (*map)(float *y, const float *x, size_t count, frnn_parameters p);
    void (*back)(float *dx, const float *dy, const float *x, size_t count, frnn_parameters p);
} frnn_function_kernels;

/* ---- The table ------------------------------------------------------------------------------- */

struct frnn_isa {
    const char *name;
    int lanes;
    const frnn_product *product[FRNN_DTYPE_COUNT]; /* NULL: the table has no such weight type */
    frnn_cell_kernels cell[FRNN_CELL_COUNT];
    frnn_stage projection; /* y = W_hr h: the stage behind a cell with a projection */
    /* Fills bias [panels][slots][lanes] from PyTorch's two bias vectors, either of them NULL. */
    void (*pack_bias)(float *bias, const frnn_stage *stage, int units, const float *bias_ih,
                      const float *bias_hh);
    /* Fills panels [depth / lanes, rounded up][gates][units, padded to lanes][lanes] with row
     * blocks gate[]: float32 weights of multiply, from gradients of pre to those of the input. */
    void (*pack_transposed)(float *panels, frnn_matrix matrix, const signed char *gate, int gates);
    /* Fills panels [width / lanes, rounded up][panel_rows][lanes] with `count` rows of width. */
    void (*pack_rows)(float *panels, size_t panel_rows, const float *const *rows, size_t count,
                      int width);
    void (*outer)(const frnn_outer *job);       /* weight gradients */
    void (*sum_columns)(const frnn_outer *job); /* bias gradients: as if right were 1 */
    frnn_function_kernels function[FRNN_FUNCTION_COUNT];
    /* Of one row; y may be x. weight and bias [size], or NULL for ones and zeros. */
    void (*softmax)(float *y, const float *x, size_t size);
    void (*log_softmax)(float *y, const float *x, size_t size);
    void (*layer_norm)(float *y, const float *x, const float *weight, const float *bias,
                       size_t size, float eps);
    void (*batch_norm)(const frnn_rows *rows, const frnn_batch_norm_call *call);
    /* y = the sum over steps of rows of x, which are x_step apart, divided by a number. */
    void (*sum_steps)(float *y, const float *x, ptrdiff_t x_step, size_t steps, size_t size,
                      float divisor);
    /* y = the sum over steps of weights[step] times that row of x. */
    void (*weighted_sum)(float *y, const float *x, ptrdiff_t x_step, const float *weights,
                         size_t steps, size_t size);
    double (*probe_fma)(size_t rounds, float *result);
    void (*probe_read)(const float *values, size_t count, float *result);
    unsigned (*denormals_off)(void);
    void (*denormals_restore)(unsigned saved);
    void (*pause)(void); /* between two reads of what another thread is to change */
    unsigned long long (*ticks)(void); /* a clock of 2 to 4 GHz; always 0 where there is none */
};

#endif
