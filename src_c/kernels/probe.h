/* SPDX-License-Identifier: MIT */
/* The machine's limits as this instruction set meets them: what benchmarks are measured against. */
#ifndef FRNN_KERNELS_PROBE_H
#define FRNN_KERNELS_PROBE_H

/* Floating-point operations of `rounds` rounds of independent FMAs; *result keeps them alive. */
static double probe_fma(size_t rounds, float *result)
{
    const vec factor = vec_set(0.999f), term = vec_set(1e-3f);
    vec acc[ACCUMULATORS], sum = vec_zero();
    UNROLL for (int i = 0; i < ACCUMULATORS; i++) acc[i] = vec_set((float)i);
    for (size_t k = 0; k < rounds; k++)
        UNROLL for (int i = 0; i < ACCUMULATORS; i++) acc[i] = vec_fma(acc[i], factor, term);
    UNROLL for (int i = 0; i < ACCUMULATORS; i++) sum = vec_add(sum, acc[i]);
    float lane[LANES];
    vec_store(lane, sum);
    *result = lane[0];
    return 2.0 * (double)rounds * ACCUMULATORS * LANES;
}

/* Reads count floats once, as a step reads its weights; *result keeps the reads alive. */
static void probe_read(const float *values, size_t count, float *result)
{
    enum { SUMS = 8 }; /* enough for two additions a cycle, each of which takes four */
    vec acc[SUMS], sum = vec_zero();
    UNROLL for (int j = 0; j < SUMS; j++) acc[j] = vec_zero();
    for (size_t i = 0; i + SUMS * LANES <= count; i += SUMS * LANES)
        UNROLL for (int j = 0; j < SUMS; j++)
            acc[j] = vec_add(acc[j], vec_load(values + i + (size_t)(j * LANES)));
    UNROLL for (int j = 0; j < SUMS; j++) sum = vec_add(sum, acc[j]);
    float lane[LANES];
    vec_store(lane, sum);
    *result = lane[0];
}

#endif
