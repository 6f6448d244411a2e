/* SPDX-License-Identifier: MIT */
/* The vector layer in portable C: one float. This file is also the reference for the others.
 *
 * Every vec_*.h defines the same names. A vec holds LANES floats. An inner loop may keep
 * ACCUMULATORS of them in registers besides its operands. Pointers need no alignment. */
#ifndef FRNN_VEC_H
#define FRNN_VEC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#else
#define ALWAYS_INLINE static inline
#endif

#include "thread.h"

enum { LANES = 1, ACCUMULATORS = 12 };
typedef float vec;

ALWAYS_INLINE vec vec_zero(void) { return 0.0f; }
ALWAYS_INLINE vec vec_set(float x) { return x; }
ALWAYS_INLINE vec vec_broadcast(const float *p) { return *p; }
ALWAYS_INLINE vec vec_load(const float *p) { return *p; }
ALWAYS_INLINE void vec_store(float *p, vec a) { *p = a; }

/* Keeps a in a register. Without it a compiler may load the value again for each use. */
ALWAYS_INLINE vec vec_keep(vec a) { return a; }

/* Loads the first n < LANES floats of p. The other lanes are zero and their memory is not read. */
ALWAYS_INLINE vec vec_load_part(const float *p, int n) { return n > 0 ? *p : 0.0f; }

/* Stores the first n < LANES floats of a. Memory after them is not written. */
ALWAYS_INLINE void vec_store_part(float *p, vec a, int n)
{
    if (n > 0)
        *p = a;
}

ALWAYS_INLINE vec vec_add(vec a, vec b) { return a + b; }
ALWAYS_INLINE vec vec_sub(vec a, vec b) { return a - b; }
ALWAYS_INLINE vec vec_mul(vec a, vec b) { return a * b; }
ALWAYS_INLINE vec vec_div(vec a, vec b) { return a / b; }

/* a * b + c and c - a * b, with a single rounding if the machine has the instruction. */
#if defined(__FP_FAST_FMAF)
ALWAYS_INLINE vec vec_fma(vec a, vec b, vec c) { return __builtin_fmaf(a, b, c); }
ALWAYS_INLINE vec vec_fnma(vec a, vec b, vec c) { return __builtin_fmaf(-a, b, c); }
#else
ALWAYS_INLINE vec vec_fma(vec a, vec b, vec c) { return a * b + c; }
ALWAYS_INLINE vec vec_fnma(vec a, vec b, vec c) { return c - a * b; }
#endif

/* If either operand is NaN, the result is b. Pass a bound as a, and a NaN in b is kept. */
ALWAYS_INLINE vec vec_min(vec a, vec b) { return a < b ? a : b; }
ALWAYS_INLINE vec vec_max(vec a, vec b) { return a > b ? a : b; }

/* value where test > 0, otherwise 0. */
ALWAYS_INLINE vec vec_if_positive(vec test, vec value) { return test > 0.0f ? value : 0.0f; }

ALWAYS_INLINE vec vec_abs(vec a) { return __builtin_fabsf(a); }
/* a with the sign of `sign`; a must be >= 0. */
ALWAYS_INLINE vec vec_copysign(vec a, vec sign) { return __builtin_copysignf(a, sign); }

/* Shifts the lowest 9 bits of a's representation into its sign and exponent: 2^(bits - 127). */
ALWAYS_INLINE vec vec_exponent(vec a)
{
    uint32_t bits;
    memcpy(&bits, &a, sizeof bits);
    bits <<= 23;
    memcpy(&a, &bits, sizeof bits);
    return a;
}

#endif
