/* SPDX-License-Identifier: MIT */
/* Reading the .frnn format in place. Nothing from the file is used before it is checked. */
#include "model_file.h"

#include <string.h>

enum {
    RECORD = 64, /* bytes of the header and of each record; alignment of arrays */
    CHECKSUM_AT = 12,
    MAJOR = 1,
    TYPE_LAYER = 1,
    TYPE_ARRAY = 2,
    TYPE_OPTIONAL = 0x8000,
    FLOAT32 = 1,
    LONGEST_NAME = 1024
};

static const unsigned char MAGIC[8] = {0x89, 'F', 'R', 'N', 'N', '\r', '\n', 0x1a};

static unsigned u2(const unsigned char *at) { return (unsigned)at[0] | (unsigned)at[1] << 8; }

static uint32_t u4(const unsigned char *at) { return u2(at) | (uint32_t)u2(at + 2) << 16; }

static uint64_t u8(const unsigned char *at) { return u4(at) | (uint64_t)u4(at + 4) << 32; }

static int i4(const unsigned char *at)
{
    const uint32_t bits = u4(at);
    return bits <= INT32_MAX ? (int)bits : -(int)(UINT32_MAX - bits) - 1;
}

static double f8(const unsigned char *at)
{
    const uint64_t bits = u8(at);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static int is_zero(const unsigned char *at, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (at[i])
            return 0;
    return 1;
}

static int is_same(const unsigned char *a, const unsigned char *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (a[i] != b[i])
            return 0;
    return 1;
}

static size_t aligned(size_t count) { return (count + RECORD - 1) / RECORD * RECORD; }

/* ---- The header ------------------------------------------------------------------------------ */

/* CRC-32 as in zlib, computed four bits at a time. */
static uint32_t crc32(uint32_t crc, const unsigned char *bytes, size_t count)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    for (size_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return crc;
}

static uint32_t checksum(const unsigned char *bytes, size_t size)
{
    const uint32_t crc = crc32(UINT32_MAX, bytes, CHECKSUM_AT);
    return ~crc32(crc, bytes + CHECKSUM_AT + 4, size - CHECKSUM_AT - 4);
}

/* Arrays are used in place, so the machine has to have the byte order of the file. */
static int is_little_endian(void)
{
    const uint32_t one = 1;
    unsigned char first;
    memcpy(&first, &one, 1);
    return first == 1;
}

frnn_status frnn_file_open(model_file *file, const void *bytes, size_t size, int checked)
{
    const unsigned char *const head = bytes;
    if (!head || (uintptr_t)head % sizeof(float) != 0)
        return FRNN_BAD_ARGUMENT;
    if (size < RECORD || !is_same(head, MAGIC, sizeof MAGIC))
        return FRNN_BAD_FILE;
    if (u2(head + 8) != MAJOR)
        return u2(head + 8) > MAJOR ? FRNN_NEWER_FILE : FRNN_BAD_FILE;
    if (!is_little_endian())
        return FRNN_UNSUPPORTED;
    if (u8(head + 16) > size || u8(head + 16) % RECORD != 0 || u8(head + 16) < RECORD)
        return FRNN_BAD_FILE;
    *file = (model_file){.bytes = head, .size = (size_t)u8(head + 16), .records = u4(head + 24),
                         .names_size = u4(head + 28)};
    if (!is_zero(head + 32, 32) || file->records > file->size / RECORD - 1)
        return FRNN_BAD_FILE;
    file->names_at = RECORD * ((size_t)file->records + 1);
    if (file->names_size > file->size - file->names_at)
        return FRNN_BAD_FILE;
    file->data_at = aligned(file->names_at + file->names_size);
    if (checked && checksum(head, file->size) != u4(head + CHECKSUM_AT))
        return FRNN_BAD_FILE;
    return FRNN_OK;
}

/* ---- Records --------------------------------------------------------------------------------- */

/* The next record that is not optional. NULL after the last record. */
static const unsigned char *next_record(model_file *file)
{
    while (file->next < file->records) {
        const unsigned char *const record = file->bytes + RECORD * ((size_t)file->next + 1);
        file->next++;
        if (!(u2(record) & TYPE_OPTIONAL))
            return record;
    }
    return NULL;
}

size_t frnn_file_layers(const model_file *file)
{
    model_file rest = *file;
    size_t count = 0;
    for (const unsigned char *record; (record = next_record(&rest));)
        count += u2(record) == TYPE_LAYER;
    return count;
}

/* The bytes of the UTF-8 character that begins here, within `left` bytes, or 0 if there is none. As
 * Python: no surrogates, nothing above U+10FFFF, and the shortest form only. */
static size_t utf8_bytes(const unsigned char *at, size_t left)
{
    const unsigned head = at[0];
    const size_t count = head < 0x80 ? 1 : head < 0xc2 ? 0 : head < 0xe0 ? 2 : head < 0xf0 ? 3
                         : head < 0xf5 ? 4 : 0;
    if (count == 0 || count > left)
        return 0;
    for (size_t i = 1; i < count; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    const unsigned next = count > 2 ? at[1] : 0;
    if ((head == 0xe0 && next < 0xa0) || (head == 0xed && next > 0x9f) ||
        (head == 0xf0 && next < 0x90) || (head == 0xf4 && next > 0x8f))
        return 0;
    return count;
}

/* Does no layer before this one have its name? */
static int is_new_name(const model_file *file, const unsigned char *record)
{
    const unsigned char *const names = file->bytes + file->names_at;
    const size_t count = u4(record + 8);
    model_file before = *file;
    before.next = 0;
    for (const unsigned char *other; (other = next_record(&before)) != record;)
        if (u2(other) == TYPE_LAYER && u4(other + 8) == count &&
            is_same(names + u4(other + 4), names + u4(record + 4), count))
            return 0;
    return 1;
}

static int has_name(const model_file *file, const unsigned char *record)
{
    const size_t at = u4(record + 4), count = u4(record + 8);
    if (count < 1 || count > LONGEST_NAME || at >= file->names_size ||
        count >= file->names_size - at)
        return 0;
    const unsigned char *const name = file->bytes + file->names_at + at;
    size_t bytes = 0;
    for (size_t i = 0; i < count; i += bytes) {
        bytes = utf8_bytes(name + i, count - i);
        if (!name[i] || bytes == 0)
            return 0;
    }
    return name[count] == 0 && is_new_name(file, record);
}

frnn_status frnn_file_layer(model_file *file, layer_record *layer, int *found)
{
    const unsigned char *const record = next_record(file);
    *found = record != NULL;
    if (!record)
        return FRNN_OK;
    if (u2(record) != TYPE_LAYER)
        return u2(record) == TYPE_ARRAY ? FRNN_BAD_FILE : FRNN_NEWER_FILE;
    layer->kind = u2(record + 2);
    layer->arrays = (int)u2(record + 12);
    layer->flags = u2(record + 14);
    layer->has_name = has_name(file, record);
    for (int i = 0; i < RECORD_INTEGERS; i++)
        layer->integers[i] = i4(record + 16 + 4 * i);
    for (int i = 0; i < RECORD_NUMBERS; i++)
        layer->numbers[i] = f8(record + 48 + 8 * i);
    return FRNN_OK;
}

/* Does a record have the shape and the number of bytes that follow from a specification? */
static int has_shape(const unsigned char *record, const array_spec *spec)
{
    uint64_t bytes = sizeof(float);
    if (u2(record + 10) != (unsigned)spec->rank)
        return 0;
    for (int i = 0; i < MOST_DIMENSIONS; i++) {
        const uint32_t size = i < spec->rank ? spec->sizes[i] : 0;
        if (u4(record + 32 + 4 * i) != size)
            return 0;
        if (i >= spec->rank)
            continue;
        if (size > UINT64_MAX / bytes)
            return 0;
        bytes *= size;
    }
    return u8(record + 24) == bytes;
}

frnn_status frnn_file_array(model_file *file, const array_spec *spec, const float **values)
{
    const unsigned char *const record = next_record(file);
    if (!record || u2(record) == TYPE_LAYER)
        return FRNN_BAD_FILE;
    if (u2(record) != TYPE_ARRAY || u2(record + 8) != FLOAT32)
        return FRNN_NEWER_FILE;
    if (u2(record + 2) != (unsigned)spec->role || u2(record + 4) != (unsigned)spec->layer ||
        u2(record + 6) != (unsigned)spec->direction || !is_zero(record + 12, 4) ||
        !is_zero(record + 48, 16) || !has_shape(record, spec))
        return FRNN_BAD_FILE;
    const uint64_t at = u8(record + 16), bytes = u8(record + 24);
    if (at % RECORD != 0 || at < file->data_at || at > file->size || bytes > file->size - at)
        return FRNN_BAD_FILE;
    file->data_at = aligned((size_t)(at + bytes));
    *values = (const float *)(const void *)(file->bytes + at);
    return FRNN_OK;
}
