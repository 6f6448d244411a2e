/* SPDX-License-Identifier: MIT */
/* What every vec_*.h shares: floating-point mode, pause, clock and prefetch. */
#ifndef FRNN_SIMD_THREAD_H
#define FRNN_SIMD_THREAD_H

/* Sets the floating-point mode of a pass: denormals are zero, rounding is to nearest, exceptions
 * are masked. Returns the caller's mode, for vec_denormals_restore. */
#if defined(__SSE__) && defined(__GNUC__)
ALWAYS_INLINE unsigned vec_denormals_off(void)
{
    const unsigned saved = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(0x9fc0u);
    return saved;
}
ALWAYS_INLINE void vec_denormals_restore(unsigned saved) { __builtin_ia32_ldmxcsr(saved); }
ALWAYS_INLINE void vec_pause(void) { __builtin_ia32_pause(); }
ALWAYS_INLINE unsigned long long vec_ticks(void) { return __builtin_ia32_rdtsc(); }
#else
ALWAYS_INLINE unsigned vec_denormals_off(void) { return 0; }
ALWAYS_INLINE void vec_denormals_restore(unsigned saved) { (void)saved; }
ALWAYS_INLINE void vec_pause(void) {}
ALWAYS_INLINE unsigned long long vec_ticks(void) { return 0; }
#endif

/* Prefetches a cache line that will be written soon. */
#if defined(__GNUC__)
ALWAYS_INLINE void vec_prefetch(const float *p) { __builtin_prefetch(p, 1); }
#else
ALWAYS_INLINE void vec_prefetch(const float *p) { (void)p; }
#endif

#endif
