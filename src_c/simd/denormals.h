/* SPDX-License-Identifier: MIT */
/* This thread's floating-point mode inside a pass, for every vec_*.h of a machine. */
#ifndef FRNN_SIMD_DENORMALS_H
#define FRNN_SIMD_DENORMALS_H

/* Makes denormals zero, rounding to nearest and exceptions silent, whatever the caller's mode;
 * returns what vec_denormals_restore takes to undo it. */
#if defined(__SSE__) && defined(__GNUC__)
ALWAYS_INLINE unsigned vec_denormals_off(void)
{
    const unsigned saved = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(0x9fc0u);
    return saved;
}
ALWAYS_INLINE void vec_denormals_restore(unsigned saved) { __builtin_ia32_ldmxcsr(saved); }
#else
ALWAYS_INLINE unsigned vec_denormals_off(void) { return 0; }
ALWAYS_INLINE void vec_denormals_restore(unsigned saved) { (void)saved; }
#endif

#endif
