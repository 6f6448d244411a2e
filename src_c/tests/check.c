/* SPDX-License-Identifier: MIT */
/* Counts failures and parses the options of the test programs. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST_PRINTED = 20 };

char check_case[256];
static int failures;

int check_that(int holds, const char *what, const char *file, int line)
{
    if (!holds && failures++ < MOST_PRINTED)
        fprintf(stderr, "%s:%d: %s: failed: %s\n", file, line, check_case, what);
    return holds;
}

int check_summary(const char *program)
{
    printf("%s: %s\n", program, failures ? "FAILED" : "ok");
    return failures ? 1 : 0;
}

check_options check_parse(int argc, char **argv)
{
    const int stride = argc > 1 ? atoi(argv[1]) : 1;
    const check_options options = {stride > 0 ? (unsigned)stride : 1, argc > 2 ? argv[2] : NULL};
    if (options.isa && !frnn_isa_find(options.isa)) {
        fprintf(stderr, "isa: expected one that this machine can run, got %s\n", options.isa);
        exit(2);
    }
    return options;
}

const frnn_isa *check_isa_at(const check_options *options, int index)
{
    if (options->isa)
        return index == 0 ? frnn_isa_find(options->isa) : NULL;
    return frnn_isa_at(index);
}
