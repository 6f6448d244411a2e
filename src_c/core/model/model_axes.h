/* SPDX-License-Identifier: MIT */
/* The axes of the values between layers, in the order that the layers of a file see. */
#ifndef FRNN_CORE_MODEL_AXES_H
#define FRNN_CORE_MODEL_AXES_H

typedef enum { AXIS_TIME, AXIS_BATCH, AXIS_FEATURES } axis;

/* The axes of a value, followed through the layers from one order that the input may have. An axis of
 * features or steps that is absent has size 1. */
typedef struct {
    axis axes[3], first[3]; /* of the value, and of the input */
    int rank, first_rank;
    int features;           /* of the value; 0: not known yet */
    int inputs;             /* features of the input; 0: not known yet */
    int is_known;           /* a layer has told the number of features */
    int is_tokens;          /* the value is token ids */
    int is_one_step;        /* there is one step */
    int fits;               /* all layers so far accept the value */
} model_axes;

enum { MODEL_ORDERS = 8 };

/* The orders of axes that an input may have, the likeliest first. */
void frnn_axes_begin(model_axes orders[MODEL_ORDERS]);

/* What the kinds of layers ask and do. Indices count from the end where they are negative. */

/* The position of an index among `count` axes; -1 if it is out of range. */
int frnn_axes_place(int index, int count);
/* The position of an axis; -1 if the value has none. */
int frnn_axes_find(const model_axes *value, axis wanted);
void frnn_axes_remove(model_axes *value, int at);
int frnn_axes_are(const model_axes *value, axis first, axis second, axis third);
/* Does the value have steps, rows and features in the order that batch_first asks for? */
int frnn_axes_are_sequence(const model_axes *value, int batch_first);
/* Does the value have so many features? The first layer that asks sets those of the input. */
int frnn_axes_have_features(model_axes *value, int features);
/* The same, on the last axis. */
int frnn_axes_end_in_features(model_axes *value, int features);

#endif
