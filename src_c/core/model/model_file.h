/* SPDX-License-Identifier: MIT */
/* The .frnn format (docs/file_format.md): header, records and arrays. kinds.h has the layers. */
#ifndef FRNN_CORE_MODEL_FILE_H
#define FRNN_CORE_MODEL_FILE_H

#include <fastrnn.h>

enum {
    RECORD_INTEGERS = 8,
    RECORD_NUMBERS = 2,
    MOST_DIMENSIONS = 4,
    MOST_MODEL_LAYERS = 1024, /* each name is compared with those before */
    MOST_DEPTH = 8            /* of layers that hold layers */
};

typedef enum {
    ROLE_WEIGHT = 1, ROLE_BIAS, ROLE_WEIGHT_IH, ROLE_WEIGHT_HH, ROLE_BIAS_IH, ROLE_BIAS_HH,
    ROLE_WEIGHT_HR, ROLE_H_0, ROLE_C_0, ROLE_RUNNING_MEAN, ROLE_RUNNING_VAR
} array_role;

/* The bytes of a file, and the position of the reader. */
typedef struct {
    const unsigned char *bytes;
    size_t size, names_at, names_size, data_at;
    uint32_t records, next;
} model_file;

/* The record of a layer as it is stored. No value has been checked against the layer's kind. */
typedef struct {
    unsigned kind, flags;
    int arrays;   /* that follow */
    int has_name; /* a valid one that no other layer has */
    int integers[RECORD_INTEGERS];
    double numbers[RECORD_NUMBERS];
} layer_record;

/* What an array has to be. */
typedef struct {
    array_role role;
    int layer, direction; /* of a stack */
    int rank;
    uint32_t sizes[MOST_DIMENSIONS];
} array_spec;

/* Checks the header and, if `checked`, the checksum. */
frnn_status frnn_file_open(model_file *file, const void *bytes, size_t size, int checked);
/* The number of layers. */
size_t frnn_file_layers(const model_file *file);
/* Reads the next layer, after all arrays of the one before. *found is 0 after the last layer. */
frnn_status frnn_file_layer(model_file *file, layer_record *record, int *found);
/* Reads the next array, which has to be as specified. Its values stay in the bytes of the file. */
frnn_status frnn_file_array(model_file *file, const array_spec *spec, const float **values);

#endif
