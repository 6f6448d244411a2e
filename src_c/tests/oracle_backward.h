/* SPDX-License-Identifier: MIT */
/* What a backward pass should give: plain loops in double, sharing nothing with the kernels. */
#ifndef FRNN_TESTS_ORACLE_BACKWARD_H
#define FRNN_TESTS_ORACLE_BACKWARD_H

#include <fastrnn.h>

enum { ORACLE_TENSORS = 5 };

/* Gradients as frnn_gradients has them, all there, contiguous, without accumulating. */
typedef struct {
    double *dx, *dh0, *dc0;
    double *kink;    /* the least |pre-activation| of a relu: near it, gradients jump */
    double *weights; /* of all parts, each: weight_ih, weight_hh, bias_ih, bias_hh, weight_hr */
} oracle_gradients;

/* Doubles that a tensor of a part has in oracle_gradients.weights; biases are always there. */
size_t oracle_tensor_size(const frnn_config *config, int layer, int tensor);
/* ... and of all parts together. */
size_t oracle_weights_size(const frnn_config *config);

/* The sum of y * dy + hn * dhn + cn * dcn over all that frnn_forward leaves for the call, the loss
 * that the gradients are of; and, where result is not NULL, the gradients.
 * masks: [num_layers - 1][steps][batch][directions * R], factors of lower outputs; or NULL. */
double oracle_backward(const frnn_config *config, const frnn_weights *weights,
                       const frnn_call *call, const frnn_gradients *given, const float *masks,
                       const oracle_gradients *result);

#endif
