/* SPDX-License-Identifier: MIT */
/* The options of each kind of layer, with the names and meanings of docs/file_format.md. */
#ifndef FRNN_CORE_LAYER_OPTIONS_H
#define FRNN_CORE_LAYER_OPTIONS_H

enum {
    MOST_AXES = 7,    /* of a value between two layers */
    PADDING_SAME = -1 /* of Conv1d */
};

typedef struct {
    int count, values[MOST_AXES];
} int_list;

/* LSTM, GRU, RNN. */
typedef struct {
    int input_size, hidden_size, num_layers, proj_size;
    int bias, batch_first, bidirectional;
    int reset_after; /* GRU */
    int coupled;     /* LSTM */
    int relu;        /* RNN */
    double dropout;
} recurrent_options;

typedef struct {
    int num_embeddings, embedding_dim, padding_idx;
} embedding_options;

typedef struct {
    int in_features, out_features, bias;
} linear_options;

typedef struct {
    int in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias;
} conv1d_options;

typedef struct {
    int_list normalized_shape;
    int elementwise_affine, bias;
    double eps;
} layer_norm_options;

/* Last, Pool, Flip. */
typedef struct {
    int batch_first;
    int of_state; /* Last */
    int max, sum; /* Pool */
} sequence_options;

/* Softmax, LogSoftmax, Squeeze, Unsqueeze. */
typedef struct {
    int dim;
} axis_options;

typedef struct {
    int start_dim, end_dim;
} flatten_options;

typedef struct {
    int_list unflattened_size;
    int dim;
} unflatten_options;

typedef struct {
    int dim0, dim1;
} transpose_options;

typedef struct {
    int_list dims;
} permute_options;

typedef struct {
    int left, right;
} zero_pad_options;

typedef struct {
    int features;
} add_input_options;

typedef struct {
    double p;
} dropout_options;

typedef struct {
    double value;
} mask_options;

typedef struct {
    int repeat, backwards;
} unmask_options;

/* BatchNorm1d; of ScaleFeatures num_features alone. */
typedef struct {
    int num_features, affine;
    double eps;
} batch_norm_options;

/* MaxPool1d, AvgPool1d. */
typedef struct {
    int kernel_size, stride, padding, ceil_mode;
    int dilation;          /* MaxPool1d */
    int count_include_pad; /* AvgPool1d */
} windows_options;

typedef struct {
    int num_parameters;
} prelu_options;

typedef struct {
    int mode; /* a frnn_merging */
} merge_options;

/* ELU, LeakyReLU, Softplus, Hardtanh, Scale: the parameters a and b of the function. GELU. */
typedef struct {
    double a, b;
    int tanh; /* GELU */
} function_options;

typedef struct {
    int n;
} repeat_options;

/* Residual, AttentionPool: the layers inside. */
typedef struct {
    int layers;
    int batch_first; /* AttentionPool */
} container_options;

typedef union {
    recurrent_options recurrent;
    embedding_options embedding;
    linear_options linear;
    conv1d_options conv1d;
    layer_norm_options layer_norm;
    sequence_options sequence;
    axis_options axis;
    flatten_options flatten;
    unflatten_options unflatten;
    transpose_options transpose;
    permute_options permute;
    zero_pad_options zero_pad;
    add_input_options add_input;
    dropout_options dropout;
    mask_options mask;
    unmask_options unmask;
    function_options function;
    batch_norm_options batch_norm;
    windows_options windows;
    prelu_options prelu;
    merge_options merge;
    repeat_options repeat;
    container_options container;
} layer_options;

#endif
