/* SPDX-License-Identifier: MIT */
/* What this CPU can run, including what the operating system has enabled. */
#ifndef FRNN_ISA_CPU_H
#define FRNN_ISA_CPU_H

int frnn_cpu_has_avx2_fma(void);
int frnn_cpu_has_avx512f(void);

#endif
