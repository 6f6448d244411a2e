/* SPDX-License-Identifier: MIT */
/* AVX-512 intrinsics in portable C, from SIMDe. Tests include this file instead of the compiler's
 * <immintrin.h>, so that any machine can run isa/avx512.c. */
#ifndef FRNN_TESTS_IMMINTRIN_H
#define FRNN_TESTS_IMMINTRIN_H

/* Undoes the target that isa/avx512.c has just set: this machine may not support it. */
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((annotate("emulated"))), apply_to = function)
#else
#pragma GCC reset_options
#endif

#define SIMDE_NO_NATIVE
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <string.h>

/* The assembly of vec_keep needs a ZMM register, which this machine may not have. */
#define __asm__(...) ((void)0)

/* Functions that Debian's SIMDe lacks, and two multiply-adds that it rounds twice. */
#undef _mm512_fmadd_ps
#undef _mm512_fnmadd_ps
#undef _mm_getcsr
#undef _mm_setcsr
#define _mm512_fmadd_ps(a, b, c) shim_fmadd(a, b, c)
#define _mm512_fnmadd_ps(a, b, c) shim_fmadd(_mm512_sub_ps(_mm512_set1_ps(-0.0f), a), b, c)
#define _mm512_maskz_loadu_ps(mask, p) shim_maskz_loadu(mask, p)
#define _mm512_mask_storeu_ps(p, mask, a) shim_mask_storeu(p, mask, a)
#define _mm_getcsr() shim_getcsr()
#define _mm_setcsr(mode) shim_setcsr(mode)
typedef simde__mmask16 __mmask16;

static inline __m512 shim_fmadd(__m512 a, __m512 b, __m512 c)
{
    const simde__m512_private x = simde__m512_to_private(a), y = simde__m512_to_private(b);
    simde__m512_private z = simde__m512_to_private(c);
    for (int i = 0; i < 16; i++) z.f32[i] = __builtin_fmaf(x.f32[i], y.f32[i], z.f32[i]);
    return simde__m512_from_private(z);
}

/* Does not access the memory of lanes outside the mask. */
static inline __m512 shim_maskz_loadu(__mmask16 mask, const float *p)
{
    simde__m512_private a = simde__m512_to_private(_mm512_setzero_ps());
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1)
            a.f32[i] = p[i];
    return simde__m512_from_private(a);
}

static inline void shim_mask_storeu(float *p, __mmask16 mask, __m512 v)
{
    const simde__m512_private a = simde__m512_to_private(v);
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1)
            p[i] = a.f32[i];
}

#if defined(__SSE__)
static inline unsigned shim_getcsr(void) { return __builtin_ia32_stmxcsr(); }
static inline void shim_setcsr(unsigned mode) { __builtin_ia32_ldmxcsr(mode); }
#else
static inline unsigned shim_getcsr(void) { return 0; }
static inline void shim_setcsr(unsigned mode) { (void)mode; }
#endif

#endif
