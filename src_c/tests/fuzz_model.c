/* SPDX-License-Identifier: MIT */
/* The reader of .frnn files and the run of a model, for libFuzzer: `make fuzz-model`.
 *
 * A file is taken apart into layers and arrays (docs/file_format.md), changed there, and put
 * together again, so that its offsets and sizes still fit. Changes of single bytes and numbers do
 * the rest. No checksum is looked at. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "model_trial.h"

enum { RECORD = 64, LAYER = 1, ARRAY = 2, MOST_PARTS = 64, NAME = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
                                 uint8_t *out, size_t most, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most); /* of libFuzzer */

/* A failed check ends the program, as libFuzzer expects it. */
int check_that(int holds, const char *what, const char *file, int line)
{
    if (holds)
        return 1;
    fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    trial_bytes(data, size, &frnn_isa_scalar);
    return 0;
}

/* ---- A file in parts ------------------------------------------------------------------------- */

static uint32_t get(const uint8_t *at, int bytes)
{
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint32_t)at[i] << 8 * i;
    return value;
}

static void put(uint8_t *at, int bytes, uint64_t value)
{
    for (int i = 0; i < bytes; i++) at[i] = (uint8_t)(value >> 8 * i);
}

/* A layer or an array: its record and, of an array, its elements. */
typedef struct {
    uint8_t record[RECORD];
    const uint8_t *data;
    size_t bytes;
} part;

typedef struct {
    part parts[MOST_PARTS];
    size_t count;
} part_list;

/* The parts of a file, as far as it has any. */
static void take_apart(part_list *list, const uint8_t *file, size_t size)
{
    const size_t records = size < RECORD ? 0 : get(file + 24, 4);
    list->count = 0;
    for (size_t i = 1; i <= records && i <= MOST_PARTS && (i + 1) * RECORD <= size; i++) {
        part *const p = &list->parts[list->count++];
        memcpy(p->record, file + i * RECORD, RECORD);
        const size_t at = get(p->record + 16, 4), bytes = get(p->record + 24, 4);
        const int has_data = get(p->record, 2) == ARRAY && at <= size && bytes <= size - at;
        p->data = has_data ? file + at : NULL;
        p->bytes = has_data ? bytes : 0;
    }
}

static size_t aligned(size_t bytes) { return (bytes + RECORD - 1) / RECORD * RECORD; }

/* Writes a file of these parts; its layers have new names. Returns its size, or 0 if it is larger
 * than `most`. */
static size_t put_together(const part_list *list, uint8_t *out, size_t most)
{
    static const uint8_t head[] = {0x89, 'F', 'R', 'N', 'N', '\r', '\n', 0x1a, 1};
    const size_t names = RECORD * (list->count + 1);
    size_t end = aligned(names + NAME * list->count);
    for (size_t i = 0; i < list->count; i++) end += aligned(list->parts[i].bytes);
    if (end > most)
        return 0;
    memset(out, 0, end);
    memcpy(out, head, sizeof head);
    put(out + 16, 8, end);
    put(out + 24, 4, list->count);
    put(out + 28, 4, NAME * list->count);
    size_t at = aligned(names + NAME * list->count), layer = 0;
    for (size_t i = 0; i < list->count; i++) {
        uint8_t *const record = out + RECORD * (i + 1), *const name = out + names + NAME * i;
        memcpy(record, list->parts[i].record, RECORD);
        name[0] = (uint8_t)('A' + i % 26), name[1] = (uint8_t)('a' + i / 26);
        if (get(record, 2) == LAYER) {
            put(record + 4, 4, NAME * i);
            put(record + 8, 4, 2);
            put(record + 12, 2, 0);
            layer = i + 1;
        } else if (get(record, 2) == ARRAY) {
            put(record + 16, 8, at);
            put(record + 24, 8, list->parts[i].bytes);
            if (layer > 0)
                put(out + RECORD * layer + 12, 2, i + 1 - layer);
        }
        if (list->parts[i].data)
            memcpy(out + at, list->parts[i].data, list->parts[i].bytes);
        at += aligned(list->parts[i].bytes);
    }
    return end;
}

/* ---- Changes --------------------------------------------------------------------------------- */

static uint32_t edge(uint64_t *seed)
{
    static const uint32_t edges[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 37, 64, 127, 255, 256,
                                     0x7fff, 0x8000, 0xffff, 1 << 24, 1 << 25, 0x7fffffff,
                                     0x80000000, 0xffffffff, 0xfffffffe};
    return edges[random_below(seed, sizeof edges / sizeof edges[0])];
}

static size_t layer_end(const part_list *list, size_t at)
{
    for (at++; at < list->count && get(list->parts[at].record, 2) != LAYER; at++) {}
    return at;
}

/* The part that begins a layer, at random. */
static size_t any_layer(const part_list *list, uint64_t *seed)
{
    size_t at = random_below(seed, list->count);
    while (at > 0 && get(list->parts[at].record, 2) != LAYER) at--;
    return at;
}

/* Inserts a layer of one list before a layer, or at the end, of another, which may be the same. */
static void insert_layer(part_list *list, const part_list *from, uint64_t *seed)
{
    const size_t begin = any_layer(from, seed), count = layer_end(from, begin) - begin;
    const size_t at =
        list->count == 0 || random_below(seed, 2) ? list->count : any_layer(list, seed);
    part layer[MOST_PARTS];
    if (list->count + count > MOST_PARTS)
        return;
    memcpy(layer, &from->parts[begin], count * sizeof(part));
    memmove(&list->parts[at + count], &list->parts[at], (list->count - at) * sizeof(part));
    memcpy(&list->parts[at], layer, count * sizeof(part));
    list->count += count;
}

static void remove_layer(part_list *list, uint64_t *seed)
{
    const size_t at = any_layer(list, seed), end = layer_end(list, at);
    memmove(&list->parts[at], &list->parts[end], (list->count - end) * sizeof(part));
    list->count -= end - at;
}

/* Sets a number of the record of a layer: its kind, flags, integers or numbers. */
static void change_layer(part_list *list, uint64_t *seed)
{
    static const double numbers[] = {0, 0.5, 1, -1, 1e-3, 1e30, 1e300, -1e300};
    uint8_t *const record = list->parts[any_layer(list, seed)].record;
    const size_t pick = random_below(seed, 6);
    if (pick == 0)
        put(record + 2, 2, random_below(seed, 64)); /* some of them do not exist */
    else if (pick == 1)
        record[14] ^= (uint8_t)(1 << random_below(seed, 4));
    else if (pick < 5)
        put(record + 16 + 4 * random_below(seed, 8), 4, edge(seed));
    else
        memcpy(record + 48 + 8 * random_below(seed, 2),
               &numbers[random_below(seed, sizeof numbers / sizeof numbers[0])], 8);
}

/* Replaces a size wherever it occurs in layers and in shapes, also as a factor. */
static void change_size(part_list *list, uint64_t *seed)
{
    static const uint8_t zeros[1 << 16];
    const part *const some = &list->parts[any_layer(list, seed)];
    const uint32_t old = get(some->record + 16 + 4 * random_below(seed, 3), 4);
    const uint32_t new = 1 + (uint32_t)random_below(seed, 9);
    if (old < 1 || old > 1024)
        return;
    for (size_t i = 0; i < list->count; i++) {
        part *const p = &list->parts[i];
        const int is_array = get(p->record, 2) == ARRAY;
        size_t bytes = sizeof(float);
        for (size_t k = 0; k < (is_array ? 4 : 8); k++) {
            uint8_t *const at = p->record + (is_array ? 32 : 16) + 4 * k;
            const uint32_t size = get(at, 4);
            if (size == old || (is_array && old > 1 && size % old == 0))
                put(at, 4, size / old * new);
            bytes *= is_array && k < get(p->record + 10, 2) ? get(at, 4) % 4096 : 1;
        }
        if (is_array && bytes != p->bytes && bytes < sizeof zeros)
            p->data = zeros, p->bytes = bytes;
    }
}

/* Sets a number of the header or of a record, so that offsets and sizes may not fit. */
static void damage(uint8_t *file, size_t size, uint64_t *seed)
{
    const size_t words = (size < 16 * RECORD ? size : 16 * RECORD) / 2;
    const size_t at = 2 * random_below(seed, words);
    put(file + at, 2, random_below(seed, 2) ? edge(seed) : edge(seed) >> 16);
}

static size_t mutate(part_list *list, uint8_t *data, size_t size, size_t most, uint64_t *seed)
{
    uint8_t *const out = malloc(most);
    for (size_t i = random_below(seed, 3) + 1; i > 0 && list->count > 0; i--) {
        const size_t pick = random_below(seed, 10);
        if (pick < 4)
            change_layer(list, seed);
        else if (pick < 7)
            change_size(list, seed);
        else if (pick < 9)
            insert_layer(list, list, seed);
        else
            remove_layer(list, seed);
    }
    const size_t made = out ? put_together(list, out, most) : 0;
    if (made > 0)
        memcpy(data, out, made);
    free(out);
    return made > 0 ? made : size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    uint64_t random = seed;
    part_list list;
    const size_t pick = random_below(&random, 10);
    if (pick < 2 || size < RECORD)
        return LLVMFuzzerMutate(data, size, most);
    take_apart(&list, data, size);
    if (pick < 8 && list.count > 0)
        return mutate(&list, data, size, most, &random);
    damage(data, size, &random);
    return size;
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
                                 uint8_t *out, size_t most, unsigned seed)
{
    uint64_t random = seed;
    part_list into, from;
    take_apart(&into, a, a_size);
    take_apart(&from, b, b_size);
    if (from.count > 0)
        insert_layer(&into, &from, &random);
    return put_together(&into, out, most);
}
