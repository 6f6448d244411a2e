/* SPDX-License-Identifier: MIT */
/* In place of isa/cpu.c: a machine that has AVX-512, by the functions of immintrin.h here. */
#include "../../isa/cpu.h"

int frnn_cpu_has_avx2_fma(void) { return 0; }
int frnn_cpu_has_avx512f(void) { return 1; }
