/* SPDX-License-Identifier: MIT */
/* The dropout mask: a counter through a mixing function (splitmix64, Steele et al. 2014). */
#include "dropout.h"

static uint64_t mixed(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Another counter's start for every place and seed. */
static uint64_t stream_of(uint64_t seed, size_t layer, size_t step, size_t row)
{
    const uint64_t golden = 0x9e3779b97f4a7c15u;
    uint64_t key = mixed(seed + golden);
    key = mixed(key + golden * (1 + (uint64_t)layer));
    key = mixed(key + golden * (1 + (uint64_t)step));
    return mixed(key + golden * (1 + (uint64_t)row));
}

void frnn_dropout(float *into, const float *from, const frnn_call *call, int layer, size_t step,
                  size_t row, int first, int count)
{
    const uint64_t stream = stream_of(call->seed, (size_t)layer, step, row);
    const float kept = 1.0f - call->dropout, scale = kept > 0.0f ? 1.0f / kept : 0.0f;
    const uint32_t limit = (uint32_t)(call->dropout * 0x1p24f);
    for (int i = 0; i < count; i++) {
        const uint64_t counter = stream + (uint64_t)(first + i) * 0x9e3779b97f4a7c15u;
        const uint32_t drawn = (uint32_t)(mixed(counter) >> 40);
        into[i] = drawn < limit ? 0.0f : from[i] * scale;
    }
}
