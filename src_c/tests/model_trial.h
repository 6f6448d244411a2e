/* SPDX-License-Identifier: MIT */
/* Reads and runs bytes that may be no model, in guarded memory; for test_model and fuzz_model. */
#ifndef FRNN_TESTS_MODEL_TRIAL_H
#define FRNN_TESTS_MODEL_TRIAL_H

#include <fastrnn.h>

enum { TRIAL_MEMORY = 1 << 24 }; /* bytes; models that need more are not read */

/* Copies bytes to guarded memory: to its end, if they are aligned there. */
unsigned char *trial_place(const unsigned char *bytes, size_t size);

/* Is this one of the results that fastrnn.h names for the content of a file? */
int trial_is_of_a_file(frnn_status status);

/* Reads bytes as a model without the checksum. If that succeeds, runs it on sequences and on single
 * steps, with lengths, plans and states: the bits of a row must always be the same. All memory has
 * exactly the required size. Failures are counted by CHECK. Returns the status of the reading. */
frnn_status trial_bytes(const unsigned char *bytes, size_t size, const frnn_isa *isa);

#endif
