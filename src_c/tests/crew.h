/* SPDX-License-Identifier: MIT */
/* An executor like a user's own: it starts a thread for every worker of every run. */
#ifndef FRNN_TESTS_CREW_H
#define FRNN_TESTS_CREW_H

#include <fastrnn.h>

extern const frnn_executor crew_executor;
/* Its run always returns 0, so that one thread runs plans made for several. */
extern const frnn_executor crew_absent;

#endif
