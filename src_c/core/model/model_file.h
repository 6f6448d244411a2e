/* SPDX-License-Identifier: MIT */
/* The .frnn format (docs/file_format.md): layers and arrays, one after another, all checked. */
#ifndef FRNN_CORE_MODEL_FILE_H
#define FRNN_CORE_MODEL_FILE_H

#include <fastrnn.h>

/* Numbers of kinds in the file. */
typedef enum {
    KIND_LSTM = 1, KIND_GRU, KIND_RNN, KIND_EMBEDDING, KIND_LINEAR, KIND_CONV1D, KIND_LAYER_NORM,
    KIND_RELU, KIND_TANH, KIND_SIGMOID, KIND_SOFTMAX, KIND_LOG_SOFTMAX, KIND_DROPOUT, KIND_LAST,
    KIND_POOL, KIND_FLIP, KIND_MASK, KIND_ZERO_PAD, KIND_ADD_INPUT, KIND_FLATTEN, KIND_TRANSPOSE,
    KIND_PERMUTE, KIND_SQUEEZE, KIND_UNSQUEEZE, KIND_END
} layer_kind;

enum {
    FLAG_BIAS = 1, FLAG_BATCH_FIRST = 2, FLAG_BIDIRECTIONAL = 4,
    FLAG_RESET_AFTER = 8, FLAG_RELU = 8, /* of GRU and RNN */
    FLAG_AFFINE = 4,                     /* of LayerNorm */
    FLAG_OF_STATE = 4, FLAG_MAX = 4,     /* of Last and Pool */
    PADDING_SAME = -1,                   /* of Conv1d */
    MOST_AXES = 7
};

typedef enum {
    ROLE_WEIGHT = 1, ROLE_BIAS, ROLE_WEIGHT_IH, ROLE_WEIGHT_HH, ROLE_BIAS_IH, ROLE_BIAS_HH,
    ROLE_WEIGHT_HR, ROLE_H_0, ROLE_C_0
} array_role;

/* The bytes of a file, and how far they are read. */
typedef struct {
    const unsigned char *bytes;
    size_t size, names_at, names_size, data_at;
    uint32_t records, next;
} model_file;

/* The record of a layer: all values within the bounds of its kind. */
typedef struct {
    layer_kind kind;
    int arrays; /* that follow */
    unsigned flags;
    int integers[8];
    double numbers[2];
} file_layer;

/* Looks at the header, and at the checksum if asked to. */
frnn_status frnn_file_open(model_file *file, const void *bytes, size_t size, int checked);
/* How many layers it has. */
size_t frnn_file_layers(const model_file *file);
/* The next layer; *found is 0 behind the last one. All arrays of the one before have been taken. */
frnn_status frnn_file_layer(model_file *file, file_layer *layer, int *found);
/* The next array, which must be this one, of `rank` sizes. */
frnn_status frnn_file_array(model_file *file, array_role role, int layer, int direction,
                            const uint32_t *sizes, int rank, const float **values);

#endif
