/* SPDX-License-Identifier: MIT */
/* Which instruction sets the CPU supports and the operating system has enabled. */
#ifndef FRNN_ISA_CPU_H
#define FRNN_ISA_CPU_H

int frnn_cpu_has_avx2_fma(void);
int frnn_cpu_has_avx512f(void);

#endif
