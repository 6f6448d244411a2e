/* SPDX-License-Identifier: MIT */
/* Which axis is which: the layers of a file see PyTorch's orders, the core knows one. */
#include "model.h"

void frnn_axes_begin(model_axes orders[MODEL_ORDERS])
{
    enum { T = AXIS_TIME, B = AXIS_BATCH, F = AXIS_FEATURES };
    static const struct {
        unsigned char axes[3], rank, tokens;
    } known[MODEL_ORDERS] = {
        {{T, B, F}, 3, 0}, {{B, T, F}, 3, 0}, {{B, F, T}, 3, 0}, {{B, F}, 2, 0},
        {{B, T}, 2, 0}, {{T, B}, 2, 0}, {{T, B}, 2, 1}, {{B, T}, 2, 1},
    };
    for (int i = 0; i < MODEL_ORDERS; i++) {
        model_axes *const value = &orders[i];
        *value = (model_axes){.fits = 1, .one_step = 1, .features = 1, .tokens = known[i].tokens};
        value->rank = value->first_rank = known[i].rank;
        for (int k = 0; k < value->rank; k++) {
            value->axes[k] = value->first[k] = (axis)known[i].axes[k];
            if (value->axes[k] == AXIS_FEATURES)
                value->features = 0;
            if (value->axes[k] == AXIS_TIME)
                value->one_step = 0;
        }
        value->inputs = value->features;
    }
}

/* Where an axis is; -1 where it is not. */
static int find(const model_axes *value, axis wanted)
{
    for (int i = 0; i < value->rank; i++)
        if (value->axes[i] == wanted)
            return i;
    return -1;
}

/* An index of PyTorch's, which may count from the end, among `count`; -1 where out of range. */
static int place(int index, int count)
{
    const int at = index < 0 ? index + count : index;
    return at >= 0 && at < count ? at : -1;
}

static int is_order(const model_axes *value, axis first, axis second, axis third)
{
    return value->rank == 3 && value->axes[0] == first && value->axes[1] == second &&
           value->axes[2] == third;
}

/* Is it a sequence as a layer with batch_first takes it? */
static int is_sequence(const model_axes *value, unsigned flags)
{
    return flags & FLAG_BATCH_FIRST ? is_order(value, AXIS_BATCH, AXIS_TIME, AXIS_FEATURES)
                                    : is_order(value, AXIS_TIME, AXIS_BATCH, AXIS_FEATURES);
}

static void remove_axis(model_axes *value, int at)
{
    value->rank--;
    for (int i = at; i < value->rank; i++)
        value->axes[i] = value->axes[i + 1];
}

/* Has the value so many features? The first layer that asks tells how many the input has. */
static int has_features(model_axes *value, int features)
{
    value->asked = 1;
    if (value->features == 0)
        value->features = value->inputs = features;
    return value->features == features;
}

static int has_features_last(model_axes *value, int features)
{
    return value->rank > 0 && value->axes[value->rank - 1] == AXIS_FEATURES &&
           has_features(value, features);
}

static int unsqueeze(model_axes *value, int index)
{
    const int at = place(index, value->rank + 1);
    if (at < 0 || value->rank == 3)
        return 0;
    const axis added = find(value, AXIS_FEATURES) < 0 ? AXIS_FEATURES : AXIS_TIME;
    if (find(value, added) >= 0)
        return 0;
    for (int i = value->rank++; i > at; i--)
        value->axes[i] = value->axes[i - 1];
    value->axes[at] = added;
    return 1;
}

/* Takes an axis of size 1 away. */
static int squeeze(model_axes *value, int at)
{
    if (at < 0 || value->axes[at] == AXIS_BATCH ||
        (value->axes[at] == AXIS_FEATURES ? value->features != 1 : !value->one_step))
        return 0;
    remove_axis(value, at);
    return 1;
}

/* Joins neighbours of which all but one are of size 1. */
static int flatten(model_axes *value, const int *ends)
{
    const int start = place(ends[0], value->rank), end = place(ends[1], value->rank);
    if (start < 0 || end < start)
        return 0;
    for (int left = end - start; left > 0; left--) {
        int at = start;
        while (at <= start + left && !squeeze(value, at))
            at++;
        if (at > start + left)
            return 0;
    }
    return 1;
}

static int permute(model_axes *value, const int *dims, int count)
{
    axis moved[3];
    if (count != value->rank)
        return 0;
    for (int i = 0; i < count; i++)
        moved[i] = value->axes[place(dims[i], count)];
    for (int i = 0; i < count; i++)
        value->axes[i] = moved[i];
    return 1;
}

static int transpose(model_axes *value, const int *dims)
{
    const int a = place(dims[0], value->rank), b = place(dims[1], value->rank);
    if (a < 0 || b < 0)
        return 0;
    const axis kept = value->axes[a];
    value->axes[a] = value->axes[b];
    value->axes[b] = kept;
    return 1;
}

/* Sums go over the features; where these are one left out, there is nothing to take them over. */
static int is_over_features(const model_axes *value, int dim)
{
    const int at = place(dim, value->rank);
    return at >= 0 && value->axes[at] == AXIS_FEATURES;
}

static int is_as_at_first(const model_axes *value)
{
    for (int i = 0; i < value->rank; i++)
        if (value->axes[i] != value->first[i])
            return 0;
    return value->rank == value->first_rank;
}

static int take_steps_away(model_axes *value, unsigned flags)
{
    if (!is_sequence(value, flags))
        return 0;
    remove_axis(value, find(value, AXIS_TIME));
    value->one_step = 1;
    return 1;
}

static int embed(model_axes *value)
{
    if (!value->tokens)
        return 0;
    value->axes[value->rank++] = AXIS_FEATURES;
    value->tokens = value->inputs = 0;
    value->asked = 1;
    return 1;
}

/* Kinds that compute. */
static int fits_numbers(model_axes *value, const file_layer *layer)
{
    const int *const integers = layer->integers;
    switch (layer->kind) {
    case KIND_LSTM:
    case KIND_GRU:
    case KIND_RNN: return is_sequence(value, layer->flags) && has_features(value, integers[0]);
    case KIND_LINEAR: return has_features_last(value, integers[0]);
    case KIND_LAYER_NORM: return integers[0] == 1 && has_features_last(value, integers[1]);
    case KIND_CONV1D:
        value->one_step = 0;
        return is_order(value, AXIS_BATCH, AXIS_FEATURES, AXIS_TIME) &&
               has_features(value, integers[0]);
    case KIND_ZERO_PAD:
        value->one_step = 0;
        return value->rank > 0 && value->axes[value->rank - 1] == AXIS_TIME;
    case KIND_SOFTMAX:
    case KIND_LOG_SOFTMAX: return is_over_features(value, integers[0]);
    case KIND_LAST:
    case KIND_POOL: return take_steps_away(value, layer->flags);
    case KIND_FLIP: return is_sequence(value, layer->flags);
    case KIND_ADD_INPUT: 
        return is_as_at_first(value) && has_features(value, integers[0]) &&
               value->inputs >= integers[0];
    case KIND_RELU:
    case KIND_TANH:
    case KIND_SIGMOID: return 1;
    default: return 0;
    }
}

void frnn_axes_apply(model_axes *value, const file_layer *layer, int outputs)
{
    const int *const integers = layer->integers;
    int fits;
    switch (layer->kind) {
    case KIND_DROPOUT: fits = 1; break;
    case KIND_EMBEDDING: fits = embed(value); break;
    case KIND_TRANSPOSE: fits = transpose(value, integers); break;
    case KIND_PERMUTE: fits = permute(value, integers + 1, integers[0]); break;
    case KIND_UNSQUEEZE: fits = !value->tokens && unsqueeze(value, integers[0]); break;
    case KIND_SQUEEZE:
        fits = !value->tokens && squeeze(value, place(integers[0], value->rank));
        break;
    case KIND_FLATTEN: fits = !value->tokens && flatten(value, integers); break;
    default: fits = !value->tokens && fits_numbers(value, layer); break;
    }
    if (outputs > 0)
        value->features = outputs;
    value->fits = value->fits && fits;
}
