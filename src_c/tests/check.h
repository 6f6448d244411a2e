/* SPDX-License-Identifier: MIT */
/* Shared by the test programs: checks that name their case, random values, the ISAs to test. */
#ifndef FRNN_TESTS_CHECK_H
#define FRNN_TESTS_CHECK_H

#include <fastrnn.h>
#include <stddef.h>
#include <stdint.h>

/* Describes the case that is running; printed with every failure. */
extern char check_case[256];

/* Prints and counts the failure if condition is 0. Returns condition. */
#define CHECK(condition) check_that(condition, #condition, __FILE__, __LINE__)
int check_that(int holds, const char *what, const char *file, int line);

/* Prints the result and returns the program's exit status. */
int check_summary(const char *program);

/* Options of every program: [stride [isa]]. A stride of n runs every n-th case. */
typedef struct {
    unsigned stride;
    const char *isa; /* NULL: all that are usable */
} check_options;
check_options check_parse(int argc, char **argv);

/* The index-th ISA to test; NULL past the last. */
const frnn_isa *check_isa_at(const check_options *options, int index);

/* Random bits, the same on every machine and in every run (splitmix64, Steele et al. 2014). */
static inline uint64_t random_bits(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* In [0, below). */
static inline size_t random_below(uint64_t *seed, size_t below)
{
    return (size_t)(random_bits(seed) % below);
}

/* In [-scale, scale]. */
static inline float random_float(uint64_t *seed, float scale)
{
    return scale * ((float)(random_bits(seed) >> 40) * 0x1p-23f - 1.0f);
}

static inline void random_fill(uint64_t *seed, float *values, size_t count, float scale)
{
    for (size_t i = 0; i < count; i++) values[i] = random_float(seed, scale);
}

#endif
