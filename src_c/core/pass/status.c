/* SPDX-License-Identifier: MIT */
/* The text of each status code. */
#include <fastrnn.h>

const char *frnn_status_text(frnn_status status)
{
    switch (status) {
    case FRNN_OK: return "no error";
    case FRNN_BAD_CONFIG: return "a size of the configuration is out of range";
    case FRNN_BAD_ARGUMENT: return "an argument is null or out of range";
    case FRNN_TOO_LARGE: return "a size is too large for this machine";
    case FRNN_SMALL_MEMORY: return "the memory handed over is too small";
    case FRNN_BAD_FILE: return "not a .frnn file, or a damaged one";
    case FRNN_NEWER_FILE: return "the file is of a version or holds a layer that is not known";
    case FRNN_UNSUPPORTED: return "a layer, the order of its axes or the weight type does not run in C";
    case FRNN_STOPPED: return "the caller ended the pass early";
    }
    return "unknown status";
}
