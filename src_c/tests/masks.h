/* SPDX-License-Identifier: MIT */
/* The dropout masks of a pass, found through the public interface alone. */
#ifndef FRNN_TESTS_MASKS_H
#define FRNN_TESTS_MASKS_H

#include <fastrnn.h>

/* Fills masks [num_layers - 1][steps][batch][directions * R] with the factors that forward passes
 * of a stack of this configuration apply to outputs of lower layers, for call's sizes, dropout and
 * seed; lengths count as full. */
void masks_find(const frnn_config *config, const frnn_isa *isa, const frnn_call *call,
                float *masks);

#endif
