/* SPDX-License-Identifier: MIT */
/* Which axis is which: the layers of a file see PyTorch's orders of axes, the core has only one. */
#include "model_axes.h"

void frnn_axes_begin(model_axes orders[MODEL_ORDERS])
{
    enum { T = AXIS_TIME, B = AXIS_BATCH, F = AXIS_FEATURES };
    static const struct {
        unsigned char axes[3], rank, is_tokens;
    } known[MODEL_ORDERS] = {
        {{T, B, F}, 3, 0}, {{B, T, F}, 3, 0}, {{B, F, T}, 3, 0}, {{B, F}, 2, 0},
        {{B, T}, 2, 0}, {{T, B}, 2, 0}, {{T, B}, 2, 1}, {{B, T}, 2, 1},
    };
    for (int i = 0; i < MODEL_ORDERS; i++) {
        model_axes *const value = &orders[i];
        *value = (model_axes){
            .fits = 1, .is_one_step = 1, .features = 1, .is_tokens = known[i].is_tokens};
        value->rank = value->first_rank = known[i].rank;
        for (int k = 0; k < value->rank; k++) {
            value->axes[k] = value->first[k] = (axis)known[i].axes[k];
            if (value->axes[k] == AXIS_FEATURES)
                value->features = 0;
            if (value->axes[k] == AXIS_TIME)
                value->is_one_step = 0;
        }
        value->inputs = value->features;
    }
}

int frnn_axes_place(int index, int count)
{
    const int at = index < 0 ? index + count : index;
    return at >= 0 && at < count ? at : -1;
}

int frnn_axes_find(const model_axes *value, axis wanted)
{
    for (int i = 0; i < value->rank; i++)
        if (value->axes[i] == wanted)
            return i;
    return -1;
}

void frnn_axes_remove(model_axes *value, int at)
{
    value->rank--;
    for (int i = at; i < value->rank; i++)
        value->axes[i] = value->axes[i + 1];
}

int frnn_axes_are(const model_axes *value, axis first, axis second, axis third)
{
    return value->rank == 3 && value->axes[0] == first && value->axes[1] == second &&
           value->axes[2] == third;
}

int frnn_axes_are_sequence(const model_axes *value, int batch_first)
{
    return batch_first ? frnn_axes_are(value, AXIS_BATCH, AXIS_TIME, AXIS_FEATURES)
                       : frnn_axes_are(value, AXIS_TIME, AXIS_BATCH, AXIS_FEATURES);
}

int frnn_axes_have_features(model_axes *value, int features)
{
    value->is_known = 1;
    if (value->features == 0)
        value->features = value->inputs = features;
    return value->features == features;
}

int frnn_axes_end_in_features(model_axes *value, int features)
{
    return value->rank > 0 && value->axes[value->rank - 1] == AXIS_FEATURES &&
           frnn_axes_have_features(value, features);
}
