/* SPDX-License-Identifier: MIT */
/* The instruction sets of this build, best first, and the choice of one at run time. */
#include <string.h>

#include "../kernels/table.h"
#include "cpu.h"

static int always(void) { return 1; }

static const struct {
    const frnn_isa *isa;
    int (*usable)(void);
} known[] = {
#if defined(__x86_64__)
    {&frnn_isa_avx512, frnn_cpu_has_avx512f},
    {&frnn_isa_avx2, frnn_cpu_has_avx2_fma},
#endif
    {&frnn_isa_scalar, always},
};

const frnn_isa *frnn_isa_at(int index)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].usable() && index >= 0 && index-- == 0)
            return known[i].isa;
    return NULL;
}

const frnn_isa *frnn_isa_find(const char *name)
{
    for (size_t i = 0; name && i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].isa->name, name) == 0)
            return known[i].usable() ? known[i].isa : NULL;
    return NULL;
}
