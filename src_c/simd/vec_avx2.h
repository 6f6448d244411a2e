/* SPDX-License-Identifier: MIT */
/* The vector layer on AVX2 and FMA: 8 floats. vec_scalar.h says what each operation means. */
#ifndef FRNN_VEC_H
#define FRNN_VEC_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

#include "thread.h"

enum { LANES = 8, ACCUMULATORS = 12 };
typedef __m256 vec;

ALWAYS_INLINE vec vec_zero(void) { return _mm256_setzero_ps(); }
ALWAYS_INLINE vec vec_set(float x) { return _mm256_set1_ps(x); }
ALWAYS_INLINE vec vec_broadcast(const float *p) { return _mm256_broadcast_ss(p); }
ALWAYS_INLINE vec vec_load(const float *p) { return _mm256_loadu_ps(p); }
ALWAYS_INLINE void vec_store(float *p, vec a) { _mm256_storeu_ps(p, a); }

ALWAYS_INLINE vec vec_keep(vec a)
{
    __asm__("" : "+x"(a));
    return a;
}

ALWAYS_INLINE vec vec_load_part(const float *p, int n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane));
}

/* Stores halves. A masked store would be microcode on AMD cores before Zen 5. */
ALWAYS_INLINE void vec_store_part(float *p, vec a, int n)
{
    __m128 low = _mm256_castps256_ps128(a);
    if (n & 4) {
        _mm_storeu_ps(p, low);
        low = _mm256_extractf128_ps(a, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)(void *)p, low);
        low = _mm_movehl_ps(low, low);
        p += 2;
    }
    if (n & 1)
        _mm_store_ss(p, low);
}

ALWAYS_INLINE vec vec_add(vec a, vec b) { return _mm256_add_ps(a, b); }
ALWAYS_INLINE vec vec_sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
ALWAYS_INLINE vec vec_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
ALWAYS_INLINE vec vec_div(vec a, vec b) { return _mm256_div_ps(a, b); }
ALWAYS_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
ALWAYS_INLINE vec vec_fnma(vec a, vec b, vec c) { return _mm256_fnmadd_ps(a, b, c); }
ALWAYS_INLINE vec vec_min(vec a, vec b) { return _mm256_min_ps(a, b); }
ALWAYS_INLINE vec vec_max(vec a, vec b) { return _mm256_max_ps(a, b); }

ALWAYS_INLINE vec vec_if_positive(vec test, vec value)
{
    return _mm256_and_ps(value, _mm256_cmp_ps(test, _mm256_setzero_ps(), _CMP_GT_OQ));
}

ALWAYS_INLINE vec vec_abs(vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }

ALWAYS_INLINE vec vec_copysign(vec a, vec sign)
{
    return _mm256_or_ps(a, _mm256_and_ps(_mm256_set1_ps(-0.0f), sign));
}

ALWAYS_INLINE vec vec_exponent(vec a)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), 23));
}

#endif
