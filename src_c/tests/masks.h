/* SPDX-License-Identifier: MIT */
/* The dropout masks of a pass, obtained through the public interface alone. */
#ifndef FRNN_TESTS_MASKS_H
#define FRNN_TESTS_MASKS_H

#include <fastrnn.h>

/* Fills masks [num_layers - 1][steps][batch][directions * R] with the factors that a forward pass
 * of such a stack applies to the outputs of lower layers, for the sizes, dropout and seed of call.
 * All rows count as full length. */
void masks_find(const frnn_config *config, const frnn_isa *isa, const frnn_call *call,
                float *masks);

#endif
