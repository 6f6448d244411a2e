/* SPDX-License-Identifier: MIT */
/* Dropout between layers: a mask computed from its seed and its place, never stored. */
#ifndef FRNN_CORE_DROPOUT_H
#define FRNN_CORE_DROPOUT_H

#include <fastrnn.h>

/* into = from with units made zero, the others scaled to keep the mean. The row is that of a step
 * and of a row of the caller, in the output of a layer; from and into begin at its unit `first`.
 * into may be from. */
void frnn_dropout(float *into, const float *from, const frnn_call *call, int layer, size_t step,
                  size_t row, int first, int count);

#endif
