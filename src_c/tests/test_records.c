/* SPDX-License-Identifier: MIT */
/* Model files of a few layers, made here, at each limit of the format: test_records [stride [isa]].
 *
 * docs/file_format.md has the layout. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "fence.h"
#include "model_trial.h"

/* Kinds of docs/file_format.md, and limits of the format. */
enum {
    LAYER_NORM = 7, TANH = 9, LAST = 14, FLIP = 16, ZERO_PAD = 18, ADD_INPUT = 19, TRANSPOSE = 21,
    PERMUTE = 22, SQUEEZE = 23, UNSQUEEZE = 24, MAX_POOL = 35, MERGE_DIRECTIONS = 37,
    REPEAT_VECTOR = 38, RESIDUAL = 39, ATTENTION_POOL = 40, SCALE_FEATURES = 44,
    RECORD = 64, MOST_LAYERS = 1024, DEEPEST = 8, OPTIONAL = 0x8000
};

/* A layer without arrays. */
typedef struct {
    int kind, integers[4];
} plain_layer;

static void put(unsigned char *at, int bytes, uint64_t value)
{
    for (int i = 0; i < bytes; i++) at[i] = (unsigned char)(value >> 8 * i);
}

/* Writes the header and what is common to the records of all layers; the names are "0000", "0001"
 * and so on. Returns the size of the file. */
static size_t begin_file(unsigned char *bytes, size_t layers)
{
    const size_t names_at = RECORD * (layers + 1), names = 5 * layers;
    const size_t size = (names_at + names + RECORD - 1) / RECORD * RECORD;
    memset(bytes, 0, size);
    memcpy(bytes, "\x89" "FRNN\r\n\x1a\1", 9);
    put(bytes + 16, 8, size), put(bytes + 24, 4, layers), put(bytes + 28, 4, names);
    for (size_t i = 0; i < layers; i++) {
        unsigned char *const record = bytes + RECORD * (i + 1);
        char name[8];
        snprintf(name, sizeof name, "%04u", (unsigned)i % 10000);
        put(record, 2, 1), put(record + 4, 4, 5 * i), put(record + 8, 4, 4);
        memcpy(bytes + names_at + 5 * i, name, 5);
    }
    return size;
}

static size_t make_file(unsigned char *bytes, const plain_layer *layers, size_t count)
{
    const size_t size = begin_file(bytes, count);
    for (size_t i = 0; i < count; i++) {
        put(bytes + RECORD * (i + 1) + 2, 2, (uint64_t)layers[i].kind);
        for (int k = 0; k < 4; k++)
            put(bytes + RECORD * (i + 1) + 16 + 4 * k, 4, (uint32_t)layers[i].integers[k]);
    }
    return size;
}

/* The layers that hold each other may be 8, and have to hold as many as they say. */
static void test_nesting(unsigned char *bytes, const frnn_isa *isa)
{
    static unsigned char memory[TRIAL_MEMORY], work[1 << 14];
    plain_layer layers[DEEPEST + 2];
    for (int i = 0; i < DEEPEST + 2; i++) layers[i] = (plain_layer){RESIDUAL, {1}};
    layers[DEEPEST] = (plain_layer){ADD_INPUT, {3}};
    strcpy(check_case, "layers that hold each other");
    const size_t size = make_file(bytes, layers, DEEPEST + 1);
    CHECK(trial_bytes(bytes, size, isa) == FRNN_OK);
    frnn_model *model;
    CHECK(frnn_model_read_unchecked(&model, bytes, size, isa, memory, sizeof memory) == FRNN_OK);
    const float x[3] = {1.0f, -2.0f, 0.5f};
    float y[3];
    const frnn_model_call call = {.steps = 1, .batch = 1, .x = x, .x_step = 3, .x_row = 3, .y = y,
                                  .y_step = 3, .y_row = 3};
    CHECK(frnn_model_run(model, &call, work, sizeof work) == FRNN_OK);
    for (int i = 0; i < 3; i++) CHECK(y[i] == (2 + DEEPEST) * x[i]);

    layers[DEEPEST] = layers[0], layers[DEEPEST + 1] = (plain_layer){ADD_INPUT, {3}};
    CHECK(trial_bytes(bytes, make_file(bytes, layers, DEEPEST + 2), isa) == FRNN_BAD_FILE);
    const int held[] = {-1, 0, 2, INT32_MAX};
    for (size_t i = 0; i < sizeof held / sizeof held[0]; i++) {
        const plain_layer wrong[] = {{RESIDUAL, {held[i]}}, {ADD_INPUT, {3}}};
        CHECK(trial_bytes(bytes, make_file(bytes, wrong, 2), isa) == FRNN_BAD_FILE);
    }
}

/* A Residual whose layers return other steps, or other lengths of rows, cannot add. */
static void test_residual_of_other_steps(unsigned char *bytes, const frnn_isa *isa)
{
    static unsigned char memory[TRIAL_MEMORY], work[1 << 14];
    const plain_layer pool = {MAX_POOL, {2, 2, 0, 1}}, turn = {TRANSPOSE, {1, 2}};
    const plain_layer steps[] = {{ADD_INPUT, {3}}, turn, {RESIDUAL, {1}}, pool, turn};
    const plain_layer lengths[] = {{ADD_INPUT, {3}}, turn, {RESIDUAL, {2}}, pool,
                                   {ZERO_PAD, {2, 0}}};
    const plain_layer none[] = {{ADD_INPUT, {3}}, {RESIDUAL, {2}}, {LAST, {0}},
                                {REPEAT_VECTOR, {4}}};
    const size_t of_rows[2] = {4, 2};
    float x[4 * 2 * 3] = {0.0f}, y[4 * 2 * 3];
    frnn_model_call call = {.steps = 4, .batch = 2, .x = x, .x_step = 6, .x_row = 3, .y = y,
                            .y_step = 6, .y_row = 3};
    frnn_model *model;
    strcpy(check_case, "a Residual of other steps");
    size_t size = make_file(bytes, steps, 5);
    CHECK(frnn_model_read_unchecked(&model, bytes, size, isa, memory, sizeof memory) == FRNN_OK);
    CHECK(frnn_model_steps(model, 1) == 0 && frnn_model_steps(model, 4) == 0);
    CHECK(frnn_model_run(model, &call, work, sizeof work) == FRNN_BAD_ARGUMENT);
    for (int i = 0; i < 2; i++) {
        size = i == 0 ? make_file(bytes, lengths, 5) : make_file(bytes, none, 4);
        if (i == 1)
            bytes[3 * RECORD + 14] = 2; /* Last takes [batch][steps][features] */
        CHECK(trial_bytes(bytes, size, isa) == FRNN_OK);
        CHECK(frnn_model_read_unchecked(&model, bytes, size, isa, memory, sizeof memory) ==
              FRNN_OK);
        CHECK(frnn_model_steps(model, 4) == 4);
        call.lengths = NULL;
        CHECK(frnn_model_run(model, &call, work, sizeof work) == FRNN_OK);
        call.lengths = of_rows;
        CHECK(frnn_model_run(model, &call, work, sizeof work) == FRNN_BAD_ARGUMENT);
    }
}

/* Chains of layers that fit each other, or do not. AddInput tells how many features x has. */
static void test_chains(unsigned char *bytes, const frnn_isa *isa)
{
    static const struct {
        plain_layer layers[4];
        frnn_status status;
    } chains[] = {
        {{{ADD_INPUT, {4}}, {RESIDUAL, {1}}, {TANH, {0}}}, FRNN_OK},
        {{{RESIDUAL, {1}}, {TANH, {0}}, {ADD_INPUT, {4}}}, FRNN_OK},
        {{{RESIDUAL, {1}}, {TANH, {0}}, {TANH, {0}}}, FRNN_UNSUPPORTED}, /* how many features? */
        {{{ADD_INPUT, {4}}, {RESIDUAL, {1}}, {MERGE_DIRECTIONS, {0}}}, FRNN_UNSUPPORTED},
        {{{ADD_INPUT, {4}}, {RESIDUAL, {1}}, {TRANSPOSE, {0, 1}}}, FRNN_UNSUPPORTED},
        {{{ADD_INPUT, {4}}, {RESIDUAL, {1}}, {LAST, {0}}}, FRNN_UNSUPPORTED},
        {{{ADD_INPUT, {1}}, {RESIDUAL, {1}}, {SQUEEZE, {-1}}}, FRNN_UNSUPPORTED},
        {{{ADD_INPUT, {1}}, {ATTENTION_POOL, {1}}, {TANH, {0}}}, FRNN_OK},
        {{{ADD_INPUT, {2}}, {ATTENTION_POOL, {1}}, {MERGE_DIRECTIONS, {0}}}, FRNN_OK},
        {{{ADD_INPUT, {2}}, {ATTENTION_POOL, {1}}, {TANH, {0}}}, FRNN_UNSUPPORTED},
        {{{ADD_INPUT, {1}}, {LAST, {0}}, {ATTENTION_POOL, {1}}, {TANH, {0}}}, FRNN_UNSUPPORTED},
        {{{ADD_INPUT, {1}}, {ATTENTION_POOL, {1}}, {LAST, {0}}}, FRNN_UNSUPPORTED},
        {{{ADD_INPUT, {3}}, {MERGE_DIRECTIONS, {0}}}, FRNN_UNSUPPORTED},
        {{{MERGE_DIRECTIONS, {0}}, {ADD_INPUT, {4}}}, FRNN_UNSUPPORTED},
        {{{ADD_INPUT, {4}}, {ADD_INPUT, {3}}}, FRNN_UNSUPPORTED},
        {{{ADD_INPUT, {4}}, {TRANSPOSE, {0, 1}}, {ADD_INPUT, {4}}}, FRNN_UNSUPPORTED},
        {{{LAST, {0}}, {ADD_INPUT, {4}}}, FRNN_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof chains / sizeof chains[0]; i++) {
        size_t count = 0;
        while (count < 4 && chains[i].layers[count].kind > 0) count++;
        snprintf(check_case, sizeof check_case, "chain %zu", i);
        const size_t size = make_file(bytes, chains[i].layers, count);
        CHECK(trial_bytes(bytes, size, isa) == chains[i].status);
    }
}

/* AttentionPool by its formula: the score of a step is the sum of its two features. */
static void test_attention(unsigned char *bytes, const frnn_isa *isa)
{
    enum { T = 5, B = 2 };
    static unsigned char memory[TRIAL_MEMORY], work[1 << 14];
    static const plain_layer layers[] = {{ATTENTION_POOL, {1}}, {MERGE_DIRECTIONS, {0}}};
    static const plain_layer known[] = {{ADD_INPUT, {2}}, {ATTENTION_POOL, {1}},
                                        {MERGE_DIRECTIONS, {0}}};
    const size_t lengths[B] = {3, T};
    float x[T][B][2], y[B][2];
    frnn_model *model;
    strcpy(check_case, "attention");
    CHECK(trial_bytes(bytes, make_file(bytes, layers, 2), isa) == FRNN_UNSUPPORTED);
    const size_t size = make_file(bytes, known, 3);
    CHECK(frnn_model_read_unchecked(&model, bytes, size, isa, memory, sizeof memory) == FRNN_OK);
    for (int i = 0; i < T * B * 2; i++)
        x[i / (B * 2)][i / 2 % B][i % 2] = (float)(i * 7 % 11) / 4.0f - 1.0f;
    const frnn_model_call call = {.steps = T, .batch = B, .x = x[0][0], .x_step = B * 2, .x_row = 2,
                                  .y = y[0], .y_step = B * 2, .y_row = 2, .lengths = lengths};
    CHECK(frnn_model_run(model, &call, work, sizeof work) == FRNN_OK);
    for (int b = 0; b < B; b++) { /* AddInput has doubled x */
        double total = 0.0, wanted[2] = {0.0, 0.0};
        for (size_t t = 0; t < lengths[b]; t++) {
            const double first = 2.0 * (double)x[t][b][0], second = 2.0 * (double)x[t][b][1];
            total += exp(first + second);
            wanted[0] += exp(first + second) * first, wanted[1] += exp(first + second) * second;
        }
        for (int i = 0; i < 2; i++) CHECK(fabs((double)y[b][i] - wanted[i] / total) < 2e-6);
    }
}

static void test_counts(unsigned char *bytes, const frnn_isa *isa)
{
    static plain_layer many[MOST_LAYERS + 1] = {{ADD_INPUT, {3}}};
    strcpy(check_case, "counts");
    for (int i = 1; i <= MOST_LAYERS; i++) many[i].kind = TANH;
    CHECK(trial_bytes(bytes, make_file(bytes, many, 0), isa) == FRNN_BAD_FILE);
    CHECK(trial_bytes(bytes, make_file(bytes, many, MOST_LAYERS), isa) == FRNN_OK);
    CHECK(trial_bytes(bytes, make_file(bytes, many, MOST_LAYERS + 1), isa) == FRNN_BAD_FILE);
    const size_t size = make_file(bytes, many, 2);
    const int versions[] = {0, 1, 2}, types[] = {1, 2, 3, OPTIONAL + 3};
    const frnn_status of_version[] = {FRNN_BAD_FILE, FRNN_OK, FRNN_NEWER_FILE};
    const frnn_status of_type[] = {FRNN_OK, FRNN_BAD_FILE, FRNN_NEWER_FILE, FRNN_OK};
    for (int i = 0; i < 3; i++) {
        bytes[8] = (unsigned char)versions[i];
        CHECK(trial_bytes(bytes, size, isa) == of_version[i]);
    }
    bytes[8] = 1;
    for (int i = 0; i < 4; i++) {
        put(bytes + 2 * RECORD, 2, (uint64_t)types[i]);
        CHECK(trial_bytes(bytes, size, isa) == of_type[i]);
    }
    put(bytes + 2 * RECORD, 2, 1), put(bytes + 2 * RECORD + 2, 2, 9999);
    CHECK(trial_bytes(bytes, size, isa) == FRNN_NEWER_FILE);
}

/* The length of a list and each of its elements have limits. No number of a kind leads outside
 * of the table of kinds. */
static void test_fields(unsigned char *bytes, const frnn_isa *isa)
{
    static const plain_layer lists[] = {
        {LAYER_NORM, {0}}, {LAYER_NORM, {-1}}, {LAYER_NORM, {5, 1, 1, 1}},
        {LAYER_NORM, {INT32_MAX, 1}}, {LAYER_NORM, {1, 0}}, {LAYER_NORM, {2, 3, -1}},
        {PERMUTE, {0}}, {PERMUTE, {4, 0, 1, 2}}, {PERMUTE, {2, 1, 1}}, {PERMUTE, {2, 0, 2}},
        {LAYER_NORM, {1, 3, 3}}};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        const plain_layer layers[] = {{ADD_INPUT, {3}}, lists[i]};
        snprintf(check_case, sizeof check_case, "list %zu", i);
        CHECK(trial_bytes(bytes, make_file(bytes, layers, 2), isa) == FRNN_BAD_FILE);
    }
    for (int kind = 0; kind < 300; kind++) {
        const plain_layer layers[] = {{ADD_INPUT, {3}}, {kind, {0}}};
        snprintf(check_case, sizeof check_case, "kind %d", kind);
        const frnn_status status = trial_bytes(bytes, make_file(bytes, layers, 2), isa);
        CHECK(status == FRNN_OK || trial_is_of_a_file(status));
        CHECK((kind > 0 && kind < 200) || status == FRNN_NEWER_FILE);
    }
}

/* A model of x [batch][features] takes one step, and one that takes the last step any number. */
static void test_steps(unsigned char *bytes, const frnn_isa *isa)
{
    static unsigned char memory[TRIAL_MEMORY];
    static const plain_layer one[] = {{ADD_INPUT, {3}}, {UNSQUEEZE, {1}}, {FLIP, {0}}};
    static const plain_layer last[] = {{ADD_INPUT, {3}}, {LAST, {0}}};
    frnn_model *model;
    strcpy(check_case, "steps");
    size_t size = make_file(bytes, one, 3);
    bytes[3 * RECORD + 14] = 2; /* Flip takes [batch][steps][features] */
    CHECK(frnn_model_read_unchecked(&model, bytes, size, isa, memory, sizeof memory) == FRNN_OK);
    CHECK(frnn_model_steps(model, 1) == 1 && frnn_model_steps(model, 2) == 0);
    size = make_file(bytes, last, 2);
    CHECK(frnn_model_read_unchecked(&model, bytes, size, isa, memory, sizeof memory) == FRNN_OK);
    for (size_t steps = 0; steps < 4; steps++) CHECK(frnn_model_steps(model, steps) == (steps > 0));
}

/* A layer with this name, of which the zero byte behind it may lie outside of the names. */
static frnn_status status_of_name(unsigned char *bytes, const char *name, size_t count, int ends,
                                  const frnn_isa *isa)
{
    static const plain_layer add = {ADD_INPUT, {3}};
    make_file(bytes, &add, 1);
    const size_t size = (2 * RECORD + count + 1 + RECORD - 1) / RECORD * RECORD;
    memset(bytes + 2 * RECORD, 0, size - 2 * RECORD);
    memcpy(bytes + 2 * RECORD, name, count);
    put(bytes + 16, 8, size), put(bytes + 28, 4, count + (size_t)ends);
    put(bytes + RECORD + 8, 4, count);
    return trial_bytes(bytes, size, isa);
}

static void test_file_names(unsigned char *bytes, const frnn_isa *isa)
{
    static const char *const good[] = {
        "a", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xec\x80\x80", "\xed\x9f\xbf",
        "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf1\x80\x80\x80", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {
        "", "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2" "a", "\xc2\xc0", "\xe0\x9f\xbf",
        "\xe2\x82", "\xe2\x82" "a", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf",
        "\xf1\x80\x80", "\xf1\x80\x80" "a", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        snprintf(check_case, sizeof check_case, "good name %zu", i);
        CHECK(status_of_name(bytes, good[i], strlen(good[i]), 1, isa) == FRNN_OK);
        CHECK(status_of_name(bytes, good[i], strlen(good[i]), 0, isa) == FRNN_BAD_FILE);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(check_case, sizeof check_case, "bad name %zu", i);
        CHECK(status_of_name(bytes, bad[i], strlen(bad[i]), 1, isa) == FRNN_BAD_FILE);
    }
    char longest[1025];
    memset(longest, 'x', sizeof longest);
    strcpy(check_case, "long names");
    CHECK(status_of_name(bytes, "a\0b", 3, 1, isa) == FRNN_BAD_FILE);
    CHECK(status_of_name(bytes, longest, RECORD - 1, 1, isa) == FRNN_OK); /* to the file's end */
    memcpy(bytes + 3 * RECORD - 3, "\xf0\x90\x80", 3); /* a character that would go on there */
    CHECK(trial_bytes(bytes, 3 * RECORD, isa) == FRNN_BAD_FILE);
    CHECK(status_of_name(bytes, longest, 1024, 1, isa) == FRNN_OK);
    CHECK(status_of_name(bytes, longest, 1025, 1, isa) == FRNN_BAD_FILE);
    static const plain_layer two[] = {{ADD_INPUT, {3}}, {TANH, {0}}};
    const size_t size = make_file(bytes, two, 2);
    put(bytes + 28, 4, 9); /* the zero byte of the second one is outside of the names */
    CHECK(trial_bytes(bytes, size, isa) == FRNN_BAD_FILE);
    put(bytes + 28, 4, 10);
    CHECK(trial_bytes(bytes, size, isa) == FRNN_OK);
    bytes[3 * RECORD + 8] = '0'; /* the second name becomes the first one */
    CHECK(trial_bytes(bytes, size, isa) == FRNN_BAD_FILE);
}

/* The record of an array of one float, or of the shape that is set afterwards. */
static void put_array(unsigned char *record, unsigned role, unsigned rank, uint64_t at)
{
    memset(record, 0, RECORD);
    put(record, 2, 2), put(record + 2, 2, role), put(record + 8, 2, 1), put(record + 10, 2, rank);
    put(record + 16, 8, at), put(record + 24, 8, 4), put(record + 32, 4, 1);
}

/* ScaleFeatures of one feature, whose two arrays may only be behind the names and each other. The
 * names end one byte after a multiple of 64. */
static void test_places_of_arrays(unsigned char *bytes, const frnn_isa *isa)
{
    enum { RECORDS = 13, FIRST = RECORD * (RECORDS + 3), SIZE = FIRST + 3 * RECORD };
    static const struct {
        uint64_t weight, bias;
        frnn_status status;
    } places[] = {{FIRST, FIRST + RECORD, FRNN_OK},
                  {FIRST + RECORD, FIRST + 2 * RECORD, FRNN_OK},
                  {FIRST, FIRST, FRNN_BAD_FILE},
                  {FIRST + RECORD, FIRST, FRNN_BAD_FILE},
                  {FIRST - RECORD, FIRST + RECORD, FRNN_BAD_FILE},
                  {3 * RECORD, FIRST + RECORD, FRNN_BAD_FILE},
                  {0, FIRST + RECORD, FRNN_BAD_FILE},
                  {FIRST, FIRST + RECORD + 4, FRNN_BAD_FILE},
                  {FIRST, SIZE, FRNN_BAD_FILE},
                  {FIRST, 1ULL << 63, FRNN_BAD_FILE},
                  {FIRST, UINT64_MAX - 63, FRNN_BAD_FILE}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        begin_file(bytes, RECORDS);
        memset(bytes + FIRST, 0, SIZE - FIRST);
        put(bytes + 16, 8, SIZE);
        for (int k = 1; k <= RECORDS; k++) put(bytes + k * RECORD + 2, 2, TANH);
        put(bytes + RECORD + 2, 2, SCALE_FEATURES), put(bytes + RECORD + 12, 2, 2);
        put(bytes + RECORD + 16, 4, 1);
        put_array(bytes + 2 * RECORD, 1, 1, places[i].weight);
        put_array(bytes + 3 * RECORD, 2, 1, places[i].bias);
        snprintf(check_case, sizeof check_case, "place of an array %zu", i);
        CHECK(trial_bytes(bytes, SIZE, isa) == places[i].status);
    }
}

/* A shape whose bytes are a multiple of 2^64 is not one of no bytes. */
static void test_huge_shape(unsigned char *bytes, const frnn_isa *isa)
{
    static const uint32_t sizes[] = {1 << 16, 1 << 16, 1 << 16, 1 << 14};
    const size_t size = begin_file(bytes, 2);
    unsigned char *const layer = bytes + RECORD, *const array = bytes + 2 * RECORD;
    strcpy(check_case, "huge shape");
    put(layer + 2, 2, LAYER_NORM), put(layer + 12, 2, 1), put(layer + 14, 2, 4); /* no bias */
    put(layer + 16, 4, 4);
    put_array(array, 1, 4, size);
    for (int i = 0; i < 4; i++) put(layer + 20 + 4 * i, 4, sizes[i]);
    for (int i = 0; i < 4; i++) put(array + 32 + 4 * i, 4, sizes[i]);
    put(array + 24, 8, 0);
    CHECK(trial_bytes(bytes, size, isa) == FRNN_BAD_FILE);
}

int main(int argc, char **argv)
{
    static unsigned char bytes[2 * RECORD * MOST_LAYERS];
    const check_options options = check_parse(argc, argv);
    fence_report_traps(check_case);
    const frnn_isa *const isa = check_isa_at(&options, 0);
    if (isa) {
        test_nesting(bytes, isa);
        test_residual_of_other_steps(bytes, isa);
        test_chains(bytes, isa);
        test_attention(bytes, isa);
        test_counts(bytes, isa);
        test_fields(bytes, isa);
        test_steps(bytes, isa);
        test_file_names(bytes, isa);
        test_places_of_arrays(bytes, isa);
        test_huge_shape(bytes, isa);
    }
    return check_summary("test_records");
}
