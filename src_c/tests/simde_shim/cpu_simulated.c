/* SPDX-License-Identifier: MIT */
/* Replaces isa/cpu.c: a machine with AVX-512, whose instructions immintrin.h emulates. */
#include "../../isa/cpu.h"

int frnn_cpu_has_avx2_fma(void) { return 0; }
int frnn_cpu_has_avx512f(void) { return 1; }
