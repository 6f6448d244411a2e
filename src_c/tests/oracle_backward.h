/* SPDX-License-Identifier: MIT */
/* The expected gradients: plain loops in double, no code of the kernels. */
#ifndef FRNN_TESTS_ORACLE_BACKWARD_H
#define FRNN_TESTS_ORACLE_BACKWARD_H

#include <fastrnn.h>

enum { ORACLE_TENSORS = 5 };

/* The gradients of frnn_gradients: all of them, contiguous, not accumulated. */
typedef struct {
    double *dx, *dh0, *dc0;
    double *kink;    /* the smallest |pre-activation| of a ReLU, whose gradient jumps at 0 */
    double *weights; /* layer by layer, direction by direction: weight_ih, weight_hh, bias_ih,
                      * bias_hh, weight_hr */
} oracle_gradients;

/* Doubles of one tensor in oracle_gradients.weights; biases always count. */
size_t oracle_tensor_size(const frnn_config *config, int layer, int tensor);
/* Doubles of all tensors of all layers and directions. */
size_t oracle_weights_size(const frnn_config *config);

/* Returns the loss, the sum of y * dy + hn * dhn + cn * dcn over the results of the call, and
 * writes its gradients to result if that is not NULL. masks: [num_layers - 1][steps][batch]
 * [directions * R], the dropout factors of the outputs of lower layers; or NULL. */
double oracle_backward(const frnn_config *config, const frnn_weights *weights,
                       const frnn_call *call, const frnn_gradients *given, const float *masks,
                       const oracle_gradients *result);

#endif
