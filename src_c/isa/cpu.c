/* SPDX-License-Identifier: MIT */
/* CPU features from CPUID and XGETBV. A feature counts only if the operating system saves its
 * registers. */
#include "cpu.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

enum {
    XCR0_AVX = 0x6,     /* XMM and YMM state */
    XCR0_AVX512 = 0xe6, /* the same, opmask, upper halves of ZMM0-15, and ZMM16-31 */
    LEAF1_ECX_FMA = 1 << 12,
    LEAF1_ECX_OSXSAVE = 1 << 27,
    LEAF7_EBX_AVX2 = 1 << 5,
    LEAF7_EBX_AVX512F = 1 << 16
};

/* Returns 1 if the system saves all of `state` and the CPU reports FMA and the bits of leaf 7. */
static int has(unsigned state, unsigned leaf7_ebx)
{
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & LEAF1_ECX_OSXSAVE) || !(c & LEAF1_ECX_FMA))
        return 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    (void)high;
    if ((low & state) != state || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return 0;
    return (b & leaf7_ebx) == leaf7_ebx;
}

int frnn_cpu_has_avx2_fma(void) { return has(XCR0_AVX, LEAF7_EBX_AVX2); }
int frnn_cpu_has_avx512f(void) { return has(XCR0_AVX512, LEAF7_EBX_AVX2 | LEAF7_EBX_AVX512F); }
#endif
