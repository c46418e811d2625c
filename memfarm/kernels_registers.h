// Rows of cells in 512-bit registers. Four cells are a group; a group's lanes of one grid are one register, decoded where
// it was loaded, and the groups of up to four grids are permuted into the order of the columns. The order of operations
// is that of kernels_rows.h, so that the bytes are the same.
#pragma once

#include "kernels_windows.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(MEMFARM_NO_DIRECT)
#define MEMFARM_DIRECT 1
#include <immintrin.h>

#define MEMFARM_512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#define MEMFARM_512_INLINE inline __attribute__((always_inline, target("avx512f,avx512bw,avx512vl,avx512dq")))

namespace memfarm {

constexpr int GROUPS = 4;  // of four cells: rows of up to 16 cells
constexpr int GRIDS = 4;

inline uint32_t ones(int n) { return n <= 0 ? 0 : n >= 16 ? 0xffff : (1u << n) - 1; }

// The maps of a grid's lanes at one age, repeated over 16 floats. uint8: v = q * a + b, then the bounds.
struct alignas(64) Maps {
    float a[16], b[16], low[16], high[16], floor[16];
    bool simple;  // what kernels_three.h leaves out changes no bit under them
};

struct alignas(64) Indices {
    int32_t at[16];
};

// A grid in the plan, and what is remembered of its maps.
struct DirectPart {
    const Store* store = nullptr;
    int lanes = 1, item = 4;
    Storage type = Storage::f32;
    bool linked = false;    // grows towards lanes of part 0
    uint16_t grows = 0;     // the floats of a register that do
    bool same_fill = true;  // a tile that was never written reads the same under any age
    bool fill_fits = true;  // the fills can be stored as they are
    Indices capacity{};     // where in the groups of part 0 a float's capacity lies
    alignas(64) uint8_t fill[256]{};  // four registers of what a cell that was never written holds, as stored
    Maps maps[Store::SLOTS];
    int64_t ages[Store::SLOTS];
    int64_t changes = 0;  // of maps

    int registers(int groups) const { return (groups * lanes + 3) / 4; }

    const Maps* at(size_t slot, int64_t age) {
        if (__builtin_expect(ages[slot] != age, 0)) remember(slot, age);
        return &maps[slot];
    }

    void remember(size_t slot, int64_t age) {
        ages[slot] = age, changes++;
        const bool never = slot == Store::SLOTS - 1;
        for (int i = 0; i < 16; i++) {
            const Lane& lane = store->lanes[std::min<size_t>(i % lanes, store->lanes.size() - 1)];
            const Map<float> m = map_of<float>(lane, age);
            Maps& to = maps[slot];
            to.a[i] = m.a, to.b[i] = m.b, to.low[i] = m.low, to.high[i] = m.high, to.floor[i] = m.floor;
            if (never && !fill_fits)
                to.a[i] = 0.0f, to.b[i] = m.decode(static_cast<float>(lane.fill));
            else if (type == Storage::u8)
                to.a[i] = m.unit, to.b[i] = m.base;
        }
        maps[slot].simple = simple(maps[slot]);
    }

    bool simple(const Maps& m) const {
        const auto zero = [](float v) { return v == 0.0f && !std::signbit(v); };
        for (int i = 0; i < 16; i++) {
            if (!zero(m.low[i])) return false;
            if (linked ? m.floor[i] > 0.0f : !zero(m.b[i])) return false;
            if (type == Storage::u8 ? m.a[i] < 0.0f || 255.0f * m.a[i] > m.high[i]
                                    : !linked && !(m.floor[i] > 0.0f && m.floor[i] <= m.high[i]))
                return false;
        }
        return true;
    }
};

// Where a window lies in one grid. Halves: the rows above and below the edge between two tiles; left and right of it.
struct Place {
    const uint8_t *left[2], *right[2];  // of the window's first cell, as if the tile went on that far
    const Maps *left_maps[2], *right_maps[2];
    int row = 0, column = 0;  // the first row of the lower half, the first cell of the right one; side where there is none
    bool left_live[2], right_live[2];
};

// One rectangle of cells, of one set of maps a grid: `GROUPS` groups of some rows.
struct Frame {
    struct Source {
        const uint8_t *left, *right;
        const Maps* maps;
        int64_t left_step, right_step;                   // bytes from one row to the next
        uint16_t left_mask[GROUPS], right_mask[GROUPS];  // per register
        const DirectPart* part;
    } sources[GRIDS];
    float* out;
    int rows, stride;       // floats from one row of the window to the next
    uint16_t last[GROUPS];  // the floats that the last group's vectors store
};

struct Permutes {
    int group = 0;        // floats of a whole group
    uint16_t whole = 0;   // those of its last vector
    Indices near[GROUPS], far[GROUPS];  // per vector of a group: out of parts 0 and 1, out of parts 2 and 3
    uint16_t from_near[GROUPS]{}, from_far[GROUPS]{};
};

// What a mask leaves out is not asked of memory either: a masked load waits for all of its 64 bytes.
static MEMFARM_512_INLINE __m512 load_floats(const uint8_t* fill, const uint8_t* left, uint16_t in_left,
                                             const uint8_t* right, uint16_t in_right) {
    __m512 v = _mm512_load_ps(fill);
    if (in_left) v = _mm512_mask_loadu_ps(v, in_left, left);
    if (in_right) v = _mm512_mask_loadu_ps(v, in_right, right);
    return v;
}

static MEMFARM_512_INLINE __m512 load_halves(const uint8_t* fill, const uint8_t* left, uint16_t in_left,
                                             const uint8_t* right, uint16_t in_right) {
    __m256i v = _mm256_load_si256(reinterpret_cast<const __m256i*>(fill));
    if (in_left) v = _mm256_mask_loadu_epi16(v, in_left, left);
    if (in_right) v = _mm256_mask_loadu_epi16(v, in_right, right);
    return _mm512_cvtph_ps(v);
}

static MEMFARM_512_INLINE __m512 load_bytes(const uint8_t* fill, const uint8_t* left, uint16_t in_left,
                                            const uint8_t* right, uint16_t in_right) {
    __m128i v = _mm_load_si128(reinterpret_cast<const __m128i*>(fill));
    if (in_left) v = _mm_mask_loadu_epi8(v, in_left, left);
    if (in_right) v = _mm_mask_loadu_epi8(v, in_right, right);
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(v));
}

struct Registers {
    __m512 a, b, low, high, floor;
};

template <Storage TYPE>
static MEMFARM_512_INLINE __m512 load_register(const Frame::Source& s, int r) {
    constexpr int BYTES = TYPE == Storage::f32 ? 64 : TYPE == Storage::f16 ? 32 : 16;
    const uint8_t *left = s.left + r * BYTES, *right = s.right + r * BYTES;
    if constexpr (TYPE == Storage::f32) return load_floats(s.part->fill, left, s.left_mask[r], right, s.right_mask[r]);
    if constexpr (TYPE == Storage::f16) return load_halves(s.part->fill, left, s.left_mask[r], right, s.right_mask[r]);
    return load_bytes(s.part->fill, left, s.left_mask[r], right, s.right_mask[r]);
}

template <Storage TYPE>
static MEMFARM_512_INLINE __m512 decode(__m512 v, const Registers& m) {
    v = _mm512_add_ps(_mm512_mul_ps(v, m.a), m.b);
    v = _mm512_min_ps(_mm512_max_ps(v, m.low), m.high);
    if constexpr (TYPE == Storage::u8) return v;
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(v, m.floor, _CMP_NLT_UQ), v);
}

static MEMFARM_512_INLINE __m512 decode_towards(__m512 v, const Registers& m, uint16_t grows, __m512 k) {
    const __m512 factor = _mm512_mask_mov_ps(_mm512_set1_ps(1.0f), grows, k);
    v = _mm512_add_ps(_mm512_mul_ps(v, m.a), _mm512_mul_ps(m.b, factor));
    v = _mm512_min_ps(_mm512_max_ps(v, m.low), _mm512_mask_mov_ps(m.high, grows, k));
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(v, m.floor, _CMP_NLT_UQ), v);
}

// The capacities of 16 cells of one lane each, out of the groups of part 0.
template <int G>
static MEMFARM_512_INLINE __m512 capacities_of_cells(const __m512* groups, __m512i at) {
    __m512 k;
    if constexpr (G == 1)
        k = _mm512_permutexvar_ps(at, groups[0]);
    else
        k = _mm512_permutex2var_ps(groups[0], at, groups[1]);
    if constexpr (G > 2) k = _mm512_mask_permutexvar_ps(k, 0x0f00, at, groups[2]);
    if constexpr (G > 3) k = _mm512_mask_permutexvar_ps(k, 0xf000, at, groups[3]);
    return k;
}

template <int SHIFT>
static MEMFARM_512_INLINE __m512 shifted(__m512 v) {
    const __m512i bits = _mm512_castps_si512(v);
    return _mm512_castsi512_ps(_mm512_alignr_epi32(bits, bits, SHIFT));
}

// One row of one grid, decoded: a register a group.
template <int G, Storage TYPE>
static MEMFARM_512_INLINE void row_of(const Frame::Source& s, const Registers& m, const __m512* first, __m512* z) {
    const DirectPart& part = *s.part;
    if (part.lanes == 4) {
        if (!part.linked) {
#pragma GCC unroll 4
            for (int j = 0; j < G; j++) z[j] = decode<TYPE>(load_register<TYPE>(s, j), m);
            return;
        }
        const __m512i at = _mm512_load_si512(part.capacity.at);
#pragma GCC unroll 4
        for (int j = 0; j < G; j++)
            z[j] = decode_towards(load_register<TYPE>(s, j), m, part.grows, _mm512_permutexvar_ps(at, first[j]));
    } else if (part.lanes == 1) {
        __m512 v = load_register<TYPE>(s, 0);
        v = part.linked
                ? decode_towards(v, m, part.grows, capacities_of_cells<G>(first, _mm512_load_si512(part.capacity.at)))
                : decode<TYPE>(v, m);
        z[0] = v;
        if constexpr (G > 1) z[1] = shifted<4>(v);
        if constexpr (G > 2) z[2] = shifted<8>(v);
        if constexpr (G > 3) z[3] = shifted<12>(v);
    } else {
        z[0] = decode<TYPE>(load_register<TYPE>(s, 0), m);
        if constexpr (G > 1) z[1] = shifted<8>(z[0]);
        if constexpr (G > 2) z[2] = decode<TYPE>(load_register<TYPE>(s, 1), m);
        if constexpr (G > 3) z[3] = shifted<8>(z[2]);
    }
}

// P grids, G groups a row, V vectors of 16 floats a group.
template <int P, int G, int V>
MEMFARM_512 void assemble(const Frame& frame, const Permutes& permutes) {
    Frame::Source sources[P];
    Registers maps[P];
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) {
        sources[p] = frame.sources[p];
        const Maps& m = *sources[p].maps;
        maps[p] = {_mm512_load_ps(m.a), _mm512_load_ps(m.b), _mm512_load_ps(m.low), _mm512_load_ps(m.high),
                   _mm512_load_ps(m.floor)};
    }
    __m512i near[V], far[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) {
        near[v] = _mm512_load_si512(permutes.near[v].at);
        far[v] = _mm512_load_si512(permutes.far[v].at);
    }
    float* out = frame.out;
    for (int r = 0; r < frame.rows; r++, out += frame.stride) {
        __m512 z[P][G];
#pragma GCC unroll 4
        for (int p = 0; p < P; p++) {
            switch (sources[p].part->type) {
                case Storage::f32: row_of<G, Storage::f32>(sources[p], maps[p], z[0], z[p]); break;
                case Storage::f16: row_of<G, Storage::f16>(sources[p], maps[p], z[0], z[p]); break;
                default: row_of<G, Storage::u8>(sources[p], maps[p], z[0], z[p]); break;
            }
            sources[p].left += sources[p].left_step, sources[p].right += sources[p].right_step;
        }
#pragma GCC unroll 4
        for (int j = 0; j < G; j++) {
#pragma GCC unroll 4
            for (int v = 0; v < V; v++) {
                __m512 cells;
                if constexpr (P == 1)
                    cells = _mm512_maskz_permutexvar_ps(permutes.from_near[v], near[v], z[0][j]);
                else
                    cells = _mm512_maskz_permutex2var_ps(permutes.from_near[v], z[0][j], near[v], z[1][j]);
                if constexpr (P == 3) cells = _mm512_mask_permutexvar_ps(cells, permutes.from_far[v], far[v], z[2][j]);
                if constexpr (P == 4)
                    cells = _mm512_mask_mov_ps(cells, permutes.from_far[v], _mm512_permutex2var_ps(z[2][j], far[v], z[3][j]));
                float* to = out + j * permutes.group + v * 16;
                if (j + 1 == G)
                    _mm512_mask_storeu_ps(to, frame.last[v], cells);
                else if (v + 1 == V)
                    _mm512_mask_storeu_ps(to, permutes.whole, cells);
                else
                    _mm512_storeu_ps(to, cells);
            }
        }
    }
}

}  // namespace memfarm
#endif
