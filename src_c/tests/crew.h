/* SPDX-License-Identifier: MIT */
/* An executor as a user would bring it: a thread for every worker of every run. */
#ifndef FRNN_TESTS_CREW_H
#define FRNN_TESTS_CREW_H

#include <fastrnn.h>

extern const frnn_executor crew_executor;
/* Never at hand: passes run alone under plans made for many. */
extern const frnn_executor crew_absent;

#endif
