/* SPDX-License-Identifier: MIT */
/* The seam between the core and the kernels: what one instruction set offers, as one table.
 *
 * A cell is one or two stages run in turn at each step; a stage is a matrix product and what
 * follows it while the sums are still in registers. The units of a stage are cut into panels of
 * `lanes` units. For a panel and a row, the pre-activations (`pre`) are `slots` vectors of lanes:
 * a stage has an input part (x, projected ahead of time by `project`) that fills the first
 * x_gates slots, and a recurrent part (h, added by `step`) that adds to the last h_gates slots.
 *
 * Every sum is taken in one order: bias, then x, then h, each in ascending order in runs of a fixed
 * length. This is why bits depend neither on the tile, the batch nor on where a sequence is cut. */
#ifndef FRNN_KERNELS_TABLE_H
#define FRNN_KERNELS_TABLE_H

#include <stddef.h>

#include <fastrnn.h>

enum { FRNN_MAX_SLOTS = 4, FRNN_ALIGNMENT = 64 };

/* Weight types; training and all kernels so far are float32. */
typedef enum { FRNN_F32, FRNN_DTYPE_COUNT } frnn_dtype;

typedef enum {
    FRNN_STAGE_RNN_TANH,
    FRNN_STAGE_RNN_RELU,
    FRNN_STAGE_GRU,
    FRNN_STAGE_GRU_RESET,     /* reset_after = false, first: r and z, leaves r * h and z */
    FRNN_STAGE_GRU_CANDIDATE, /* reset_after = false, second: n from r * h, then h */
    FRNN_STAGE_LSTM,
    FRNN_STAGE_LINEAR, /* y = W h: the projection of an LSTM */
    FRNN_STAGE_COUNT
} frnn_stage_id;

/* One product over rows and panels. Rows are given by pointers; padding lanes of the last panel
 * are computed, but never stored outside pre and c. */
typedef struct frnn_pass {
    int rows;                   /* rows of this pass */
    int depth;                  /* length of an input row */
    int units;                  /* units of the stage, over all panels */
    int first_panel, end_panel; /* the panels to compute */
    const float *weights;       /* [panels][depth][gates][lanes], see pack */
    const float *bias;          /* [panels][slots][lanes] */
    float *pre;                 /* [panels][pre_rows][slots][lanes], the sums */
    size_t pre_rows;
    const float *const *in;     /* [rows] -> [depth], input of the product */
    const float *const *h;      /* [rows] -> [units], previous state; step of a GRU only */
    float *const *y;            /* [rows] -> [units], result of step */
    float *c;                   /* [rows][c_stride], cell state (LSTM) or update gate (GRU) */
    const float *c_before;      /* [rows][c_stride], previous cell state; may be c */
    size_t c_stride;            /* a multiple of lanes, at least units */
} frnn_pass;

/* Gradients of one stage at one step, from those of its output to those of its pre-activations
 * (`dpre`). Vectors of lanes are whole everywhere but in h, h_before and dy. */
typedef struct frnn_gradient_pass {
    int rows, units;
    int first_panel, end_panel;   /* the panels to compute */
    const float *gates;           /* [panels][gate_rows][slots][lanes], as record left them */
    const float *partner_gates;   /* of the other stage of a GRU that resets before */
    size_t gate_rows;
    const float *c, *c_before;    /* [rows][stride], cell states after and before the step */
    const float *const *h;        /* [rows] -> [units], the stage's output; RNN */
    const float *const *h_before; /* [rows] -> [units], previous state; GRU */
    const float *const *dy;       /* [rows] -> [units], added to output_gradient; or NULL */
    const float *dh_in;           /* [rows][stride], gradient of the stage's output */
    float *dh;                    /* [rows][stride], of the previous state but through the product;
                                   * may be dh_in */
    float *dc;                    /* [rows][stride], of c, turned into that of c_before */
    size_t stride;                /* a multiple of lanes, at least units */
    float *dpre;                  /* a row: [slots][stride]; from row to row: dpre_row */
    size_t dpre_row;
    /* The same as [panels][panel_rows][slots][lanes], and what the stage's recurrent product took
     * where that is not h_before, as [panels][panel_rows][lanes]; NULL: not wanted. A row is
     * panel_step of panel_rows from the one before. */
    float *panels, *in_panels;
    size_t panel_rows, panel_step;
} frnn_gradient_pass;

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

typedef struct frnn_stage {
    int slots, x_gates, h_gates;
    /* Per slot: its block of rows in PyTorch's weight_ih and weight_hh, or -1 where it has none. */
    signed char x_gate[FRNN_MAX_SLOTS], h_gate[FRNN_MAX_SLOTS];
    void (*project)(const frnn_pass *pass); /* pre = bias + W_ih in */
    void (*step)(const frnn_pass *pass);    /* pre + W_hh in, then the cell's formula */
    void (*record)(const frnn_pass *pass);  /* step that leaves gates in pre; NULL: it has none */
    void (*gradient)(const frnn_gradient_pass *pass);
} frnn_stage;

/* A matrix in PyTorch's layout, [gates * units][depth] with contiguous rows. */
typedef struct frnn_matrix {
    const float *values;
    int units, depth;
} frnn_matrix;

struct frnn_isa {
    const char *name;
    int lanes;
    /* Fills panels [units / lanes, rounded up][depth][gates][lanes] with the row blocks gate[]. */
    void (*pack)(float *panels, frnn_matrix matrix, const signed char *gate, int gates);
    /* Fills bias [panels][slots][lanes] from PyTorch's two bias vectors, either of them NULL. */
    void (*pack_bias)(float *bias, const frnn_stage *stage, int units, const float *bias_ih,
                      const float *bias_hh);
    /* Fills panels [depth / lanes, rounded up][gates][units, padded to lanes][lanes] with row
     * blocks gate[]: weights of multiply, from gradients of pre to those of the input. */
    void (*pack_transposed)(float *panels, frnn_matrix matrix, const signed char *gate, int gates);
    /* Fills panels [width / lanes, rounded up][panel_rows][lanes] with `count` rows of width. */
    void (*pack_rows)(float *panels, size_t panel_rows, const float *const *rows, size_t count,
                      int width);
    /* y = or += weights * in, or = bias + weights * in, of one gate; pre is not used. */
    void (*multiply)(const frnn_pass *pass);
    void (*multiply_add)(const frnn_pass *pass);
    void (*multiply_bias)(const frnn_pass *pass);
    void (*outer)(const frnn_outer *job);       /* weight gradients */
    void (*sum_columns)(const frnn_outer *job); /* bias gradients: as if right were 1 */
    void (*sigmoid)(float *y, const float *x, size_t count);
    void (*tanh)(float *y, const float *x, size_t count);
    void (*relu)(float *y, const float *x, size_t count);
    /* Of one row; y may be x. weight and bias [size], or NULL for ones and zeros. */
    void (*softmax)(float *y, const float *x, size_t size);
    void (*log_softmax)(float *y, const float *x, size_t size);
    void (*layer_norm)(float *y, const float *x, const float *weight, const float *bias,
                       size_t size, float eps);
    /* y = the mean over steps >= 1 of rows of x, which are x_step apart. */
    void (*mean)(float *y, const float *x, ptrdiff_t x_step, size_t steps, size_t size);
    double (*probe_fma)(size_t rounds, float *result);
    void (*probe_read)(const float *values, size_t count, float *result);
    unsigned (*denormals_off)(void);
    void (*denormals_restore)(unsigned saved);
    void (*pause)(void); /* between two looks at what another thread is to change */
    unsigned long long (*ticks)(void); /* a clock of 2 to 4 GHz; always 0 where there is none */
    frnn_stage stages[FRNN_DTYPE_COUNT][FRNN_STAGE_COUNT];
};

#endif
