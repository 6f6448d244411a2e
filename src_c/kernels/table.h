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
    size_t c_stride;            /* a multiple of lanes, at least units */
} frnn_pass;

typedef struct frnn_stage {
    int slots, x_gates, h_gates;
    /* Per slot: its block of rows in PyTorch's weight_ih and weight_hh, or -1 where it has none. */
    signed char x_gate[FRNN_MAX_SLOTS], h_gate[FRNN_MAX_SLOTS];
    void (*project)(const frnn_pass *pass); /* pre = bias + W_ih in */
    void (*step)(const frnn_pass *pass);    /* pre + W_hh in, then the cell's formula */
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
    void (*sigmoid)(float *y, const float *x, size_t count);
    void (*tanh)(float *y, const float *x, size_t count);
    double (*probe_fma)(size_t rounds, float *result);
    void (*probe_read)(const float *values, size_t count, float *result);
    unsigned (*denormals_off)(void);
    void (*denormals_restore)(unsigned saved);
    void (*pause)(void); /* between two looks at what another thread is to change */
    frnn_stage stages[FRNN_DTYPE_COUNT][FRNN_STAGE_COUNT];
};

#endif
