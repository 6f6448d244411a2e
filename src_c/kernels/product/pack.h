/* SPDX-License-Identifier: MIT */
/* The packed weight layout of products with float32 rows, known to this folder alone. */
#ifndef FRNN_KERNELS_PACK_H
#define FRNN_KERNELS_PACK_H

/* Stores one weight of a packed matrix at its place. A constant in every call, as weight_type. */
typedef void store_weight(void *packed, size_t place, float value);

/* packed[p][k][g][lane] = matrix[gate[g] * units + p * LANES + lane][k], or zero beyond units. */
ALWAYS_INLINE void pack_weights(void *packed, frnn_matrix matrix, const signed char *gate, int gates,
                                store_weight *store)
{
    enum { LINE = 16 }; /* floats of a cache line: rows are read by lines, however long they are */
    const size_t units = (size_t)matrix.units, depth = (size_t)matrix.depth;
    const size_t step = (size_t)gates * LANES;
    size_t panel = 0;
    for (size_t first = 0; first < units; first += LANES, panel += depth * step)
        for (size_t k = 0; k < depth; k += LINE)
            for (size_t i = 0; i < step; i++) {
                const size_t unit = first + i % LANES, end = depth - k < LINE ? depth : k + LINE;
                const size_t row = (size_t)gate[i / LANES] * units + unit;
                for (size_t j = k; j < end; j++)
                    store(packed, panel + j * step + i,
                          unit < units ? matrix.values[row * depth + j] : 0.0f);
            }
}

enum { PACK_SIDE = 4 }; /* vectors of a row packed together: whole cache lines */

/* Copies vectors [k, end) of a row to panels of panel_floats each. */
ALWAYS_INLINE void pack_vectors(float *into, size_t panel_floats, const float *row, int k, int end)
{
    for (; k < end; k += LANES, into += panel_floats)
        vec_store(into, end - k >= LANES ? vec_load(row + k) : vec_load_part(row + k, end - k));
}

/* panels[p][g][unit][lane] = matrix[gate[g] * units + unit][p * LANES + lane]; zeros beyond. */
static void pack_transposed(float *panels, frnn_matrix matrix, const signed char *gate, int gates)
{
    const size_t units = (size_t)matrix.units, padded = (units + LANES - 1) / LANES * LANES;
    const size_t panel_floats = (size_t)gates * padded * LANES;
    for (int k = 0; k < matrix.depth; k += PACK_SIDE * LANES) {
        const int end = matrix.depth - k < PACK_SIDE * LANES ? matrix.depth : k + PACK_SIDE * LANES;
        float *into = panels + (size_t)(k / LANES) * panel_floats;
        for (int g = 0; g < gates; g++) {
            const float *row = matrix.values + (size_t)gate[g] * units * (size_t)matrix.depth;
            for (size_t unit = 0; unit < padded; unit++, into += LANES)
                if (unit < units)
                    pack_vectors(into, panel_floats, row + unit * (size_t)matrix.depth, k, end);
                else
                    for (int j = k; j < end; j += LANES)
                        vec_store(into + (size_t)((j - k) / LANES) * panel_floats, vec_zero());
        }
    }
}

/* panels[p][row][lane] = rows[row][p * LANES + lane]; zeros beyond the width. */
static void pack_rows(float *panels, size_t panel_rows, const float *const *rows, size_t count,
                      int width)
{
    const size_t panel_floats = panel_rows * LANES;
    for (int k = 0; k < width; k += PACK_SIDE * LANES) {
        const int end = width - k < PACK_SIDE * LANES ? width : k + PACK_SIDE * LANES;
        float *into = panels + (size_t)(k / LANES) * panel_floats;
        for (size_t row = 0; row < count; row++, into += LANES)
            pack_vectors(into, panel_floats, rows[row], k, end);
    }
}

/* bias[p][slot][lane]: the sum of the biases of the matrices that feed the slot; NULL is zero. */
static void pack_bias(float *bias, const frnn_stage *stage, int units, const float *bias_ih,
                      const float *bias_hh)
{
    const size_t count = (size_t)units;
    for (size_t first = 0; first < count; first += LANES)
        for (int slot = 0; slot < stage->slots; slot++)
            for (size_t unit = first; unit < first + LANES; unit++) {
                const int x_gate = stage->x_gate[slot], h_gate = stage->h_gate[slot];
                float sum = 0.0f;
                if (bias_ih && x_gate >= 0 && unit < count)
                    sum += bias_ih[(size_t)x_gate * count + unit];
                if (bias_hh && h_gate >= 0 && unit < count)
                    sum += bias_hh[(size_t)h_gate * count + unit];
                *bias++ = sum;
            }
}

#endif
