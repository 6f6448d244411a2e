/* SPDX-License-Identifier: MIT */
/* The table of kinds by their numbers in the file, and the reading of records by their fields. */
#include "kinds.h"

static const layer_kind *const kinds[] = {
    [1] = &frnn_kind_lstm,
    [2] = &frnn_kind_gru,
    [3] = &frnn_kind_rnn,
    [4] = &frnn_kind_embedding,
    [5] = &frnn_kind_linear,
    [6] = &frnn_kind_conv1d,
    [7] = &frnn_kind_layer_norm,
    [8] = &frnn_kind_relu,
    [9] = &frnn_kind_tanh,
    [10] = &frnn_kind_sigmoid,
    [11] = &frnn_kind_softmax,
    [12] = &frnn_kind_log_softmax,
    [13] = &frnn_kind_dropout,
    [14] = &frnn_kind_last,
    [15] = &frnn_kind_pool,
    [16] = &frnn_kind_flip,
    [17] = &frnn_kind_mask,
    [18] = &frnn_kind_zero_pad,
    [19] = &frnn_kind_add_input,
    [20] = &frnn_kind_flatten,
    [21] = &frnn_kind_transpose,
    [22] = &frnn_kind_permute,
    [23] = &frnn_kind_squeeze,
    [24] = &frnn_kind_unsqueeze,
    [25] = &frnn_kind_unmask,
    [26] = &frnn_kind_elu,
    [27] = &frnn_kind_leaky_relu,
    [28] = &frnn_kind_silu,
    [29] = &frnn_kind_gelu,
    [30] = &frnn_kind_softplus,
    [31] = &frnn_kind_hardtanh,
    [32] = &frnn_kind_hardsigmoid,
    [33] = &frnn_kind_scale,
    [34] = &frnn_kind_batch_norm,
    [35] = &frnn_kind_max_pool,
    [36] = &frnn_kind_prelu,
    [37] = &frnn_kind_merge_directions,
    [38] = &frnn_kind_repeat_vector,
    [39] = &frnn_kind_residual,
    [40] = &frnn_kind_attention_pool,
    [41] = &frnn_kind_mish,
    [42] = &frnn_kind_softsign,
    [43] = &frnn_kind_hardswish,
    [44] = &frnn_kind_scale_features,
    [45] = &frnn_kind_unflatten,
    [46] = &frnn_kind_avg_pool,
};

static int is_in_range(const layer_field *field, double value)
{
    return value >= field->low && value <= field->high; /* not a NaN */
}

/* Takes an integer out of a record. */
static int take_integer(const layer_field *field, layer_record *record, int place, int *value)
{
    *value = record->integers[place];
    record->integers[place] = 0;
    return is_in_range(field, *value);
}

static int take_integers(const layer_field *field, layer_record *record, int_list *list)
{
    *list = (int_list){.count = record->integers[field->place]};
    record->integers[field->place] = 0;
    if (list->count < 1 || list->count > field->most)
        return 0;
    for (int i = 0; i < list->count; i++)
        if (!take_integer(field, record, field->place + 1 + i, &list->values[i]))
            return 0;
    return 1;
}

/* Takes a field out of a record and stores it in the options. */
static int take_field(const layer_field *field, layer_record *record, layer_options *options)
{
    void *const into = (char *)options + field->offset;
    switch (field->type) {
    case FIELD_FLAG:
        *(int *)into = record->flags >> field->place & 1;
        record->flags &= ~(1U << field->place);
        return 1;
    case FIELD_INTEGER: return take_integer(field, record, field->place, into);
    case FIELD_INTEGERS: return take_integers(field, record, into);
    case FIELD_NUMBER:
        *(double *)into = record->numbers[field->place];
        record->numbers[field->place] = 0;
        return is_in_range(field, *(double *)into);
    }
    return 0;
}

/* Is everything that no field has taken 0? */
static int is_empty(const layer_record *record)
{
    for (int i = 0; i < RECORD_INTEGERS; i++)
        if (record->integers[i] != 0)
            return 0;
    for (int i = 0; i < RECORD_NUMBERS; i++)
        if (!(record->numbers[i] == 0))
            return 0;
    return record->flags == 0;
}

frnn_status frnn_kind_read(const layer_record *record, const layer_kind **kind,
                           layer_options *options)
{
    if (record->kind >= sizeof kinds / sizeof kinds[0] || !kinds[record->kind])
        return FRNN_NEWER_FILE;
    const layer_kind *const row = kinds[record->kind];
    layer_record left = *record;
    *options = (layer_options){0};
    for (int i = 0; i < row->field_count; i++)
        if (!take_field(&row->fields[i], &left, options))
            return FRNN_BAD_FILE;
    if (!record->has_name || !is_empty(&left) || (row->check && !row->check(options)))
        return FRNN_BAD_FILE;
    *kind = row;
    return FRNN_OK;
}

frnn_status frnn_read_weight_and_bias(const layer_source *from, const uint32_t *sizes, int rank,
                                      int with_bias, const float **weight, const float **bias)
{
    array_spec spec = {.role = ROLE_WEIGHT, .rank = rank};
    if (from->arrays != 1 + with_bias)
        return FRNN_BAD_FILE;
    for (int i = 0; i < rank; i++) spec.sizes[i] = sizes[i];
    const frnn_status status = frnn_file_array(from->file, &spec, weight);
    if (status != FRNN_OK || !with_bias)
        return status;
    const array_spec of_bias = {.role = ROLE_BIAS, .rank = 1, .sizes = {sizes[0]}};
    return frnn_file_array(from->file, &of_bias, bias);
}
