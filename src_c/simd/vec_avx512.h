/* SPDX-License-Identifier: MIT */
/* The vector layer on AVX-512F: 16 floats. vec_scalar.h says what each operation means. */
#ifndef FRNN_VEC_H
#define FRNN_VEC_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

#include "thread.h"

enum { LANES = 16, ACCUMULATORS = 24 };
typedef __m512 vec;

ALWAYS_INLINE __mmask16 vec_first(int n) { return (__mmask16)((1u << n) - 1u); }

ALWAYS_INLINE vec vec_zero(void) { return _mm512_setzero_ps(); }
ALWAYS_INLINE vec vec_set(float x) { return _mm512_set1_ps(x); }
ALWAYS_INLINE vec vec_broadcast(const float *p) { return _mm512_set1_ps(*p); }
ALWAYS_INLINE vec vec_load(const float *p) { return _mm512_loadu_ps(p); }
ALWAYS_INLINE void vec_store(float *p, vec a) { _mm512_storeu_ps(p, a); }
ALWAYS_INLINE vec vec_keep(vec a)
{
    __asm__("" : "+v"(a));
    return a;
}

ALWAYS_INLINE vec vec_load_part(const float *p, int n)
{
    return _mm512_maskz_loadu_ps(vec_first(n), p);
}

ALWAYS_INLINE void vec_store_part(float *p, vec a, int n)
{
    _mm512_mask_storeu_ps(p, vec_first(n), a);
}

ALWAYS_INLINE vec vec_add(vec a, vec b) { return _mm512_add_ps(a, b); }
ALWAYS_INLINE vec vec_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
ALWAYS_INLINE vec vec_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
ALWAYS_INLINE vec vec_div(vec a, vec b) { return _mm512_div_ps(a, b); }
ALWAYS_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
ALWAYS_INLINE vec vec_fnma(vec a, vec b, vec c) { return _mm512_fnmadd_ps(a, b, c); }
ALWAYS_INLINE vec vec_min(vec a, vec b) { return _mm512_min_ps(a, b); }
ALWAYS_INLINE vec vec_max(vec a, vec b) { return _mm512_max_ps(a, b); }

ALWAYS_INLINE vec vec_if_positive(vec test, vec value)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(test, _mm512_setzero_ps(), _CMP_GT_OQ), value);
}

ALWAYS_INLINE vec vec_abs(vec a) { return _mm512_abs_ps(a); }

ALWAYS_INLINE vec vec_copysign(vec a, vec sign)
{
    const __m512i bit = _mm512_set1_epi32((int)0x80000000u);
    const __m512i taken = _mm512_and_epi32(bit, _mm512_castps_si512(sign));
    return _mm512_castsi512_ps(_mm512_or_epi32(_mm512_castps_si512(a), taken));
}

ALWAYS_INLINE vec vec_exponent(vec a)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a), 23));
}

#endif
