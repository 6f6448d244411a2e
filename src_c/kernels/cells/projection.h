/* SPDX-License-Identifier: MIT */
/* The projection behind a cell (Sak et al. 2014): y = W_hr h, a stage of its own. */
#ifndef FRNN_KERNELS_PROJECTION_H
#define FRNN_KERNELS_PROJECTION_H

enum { PROJECTION_SLOTS = 1 };

ALWAYS_INLINE void projected(const frnn_pass *a, const unit_place *at, const int part,
                             const int record)
{
    (void)part, (void)record;
    store_y(a, at, vec_load(at->pre));
}

ALWAYS_INLINE void projected_gradient(const frnn_gradient_pass *a, const gradient_place *at,
                                      vec dh)
{
    store_dpre(a, at, PROJECTION_SLOTS, 0, dh);
}

static void finish_projection(const frnn_pass *a, int panel, int end)
{
    finish_units(a, panel, end, PROJECTION_SLOTS, projected, 1, 0);
}
GRADIENT(projection, PROJECTION_SLOTS, projected_gradient)

#define PROJECTION_STAGE                                                              \
    {                                                                                 \
        .slots = PROJECTION_SLOTS, .h_gates = 1, .x_gate = {-1},                      \
        .matrix = FRNN_WEIGHT_HR, .finish = finish_projection,                        \
        .gradient = gradient_projection,                                              \
    }

#endif
