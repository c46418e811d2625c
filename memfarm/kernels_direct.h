// Windows put together straight from the tiles, in 512-bit registers: the common case of what kernels_windows.h does for
// every case. Four cells are a group; a group's lanes of one grid are one register, decoded where it was loaded, and the
// groups of up to four grids are permuted into the order of the columns. Same order of operations, so the same bytes.
//
// Common: the window lies inside the world and meets at most two tiles of a grid along each axis; grids of float32,
// float16 or uint8 with 1, 2 or 4 lanes; at most 16 columns, neither scaled nor hidden.
#pragma once

#include "kernels_windows.h"

#if defined(__x86_64__) && defined(__GNUC__)
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

    int registers(int groups) const { return (groups * lanes + 3) / 4; }

    const Maps* at(size_t slot, int64_t age) {
        if (__builtin_expect(ages[slot] != age, 0)) remember(slot, age);
        return &maps[slot];
    }

    void remember(size_t slot, int64_t age) {
        ages[slot] = age;
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

static MEMFARM_512_INLINE __m512 load_floats(const uint8_t* fill, const uint8_t* left, uint16_t in_left,
                                             const uint8_t* right, uint16_t in_right) {
    const __m512 v = _mm512_mask_loadu_ps(_mm512_load_ps(fill), in_left, left);
    return _mm512_mask_loadu_ps(v, in_right, right);
}

static MEMFARM_512_INLINE __m512 load_halves(const uint8_t* fill, const uint8_t* left, uint16_t in_left,
                                             const uint8_t* right, uint16_t in_right) {
    const __m256i v = _mm256_mask_loadu_epi16(_mm256_load_si256(reinterpret_cast<const __m256i*>(fill)), in_left, left);
    return _mm512_cvtph_ps(_mm256_mask_loadu_epi16(v, in_right, right));
}

static MEMFARM_512_INLINE __m512 load_bytes(const uint8_t* fill, const uint8_t* left, uint16_t in_left,
                                            const uint8_t* right, uint16_t in_right) {
    const __m128i v = _mm_mask_loadu_epi8(_mm_load_si128(reinterpret_cast<const __m128i*>(fill)), in_left, left);
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_mask_loadu_epi8(v, in_right, right)));
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

// The plan of an observation, where it is a common one, and one thread's memory of it.
class Direct {
  public:
    explicit Direct(const Plan& plan) : side_(plan.side), columns_(static_cast<int>(plan.columns.size())) {
        usable_ = here() && arrange(plan);
    }

    static bool here() {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    }

    bool usable() const { return usable_; }

    struct Window {
        Place places[GRIDS];
        bool common;
    };

    // Finds the tiles of a window, and asks for their cells.
    MEMFARM_INLINE void find(int64_t copy, int64_t y, int64_t x, Window& window) {
        const Store& frame = *parts_[0].store;
        const int64_t y0 = y - side_ / 2, x0 = x - side_ / 2;
        window.common = y0 >= 0 && x0 >= 0 && y0 + side_ <= frame.height && x0 + side_ <= frame.width;
        if (!window.common) return;
        for (int p = 0; p < count_; p++) place(parts_[p], copy, y0, x0, window.places[p]);
    }

    // Puts a window together; one whose tiles `find` found.
    void put(const Window& window, float* out) const {
        Frame frame;
        for (int p = 0; p < count_; p++) frame.sources[p].part = &parts_[p];
        frame.stride = side_ * columns_;
        for (int top = 0; top < side_;) {
            int bottom = side_;
            bool even = true;
            for (int p = 0; p < count_; p++) {
                const Place& place = window.places[p];
                if (top < place.row) bottom = std::min(bottom, place.row);
            }
            for (int p = 0; p < count_; p++) {
                const Place& place = window.places[p];
                const int half = top >= place.row;
                even &= place.left_maps[half] == place.right_maps[half];
            }
            frame.rows = bottom - top;
            frame.out = out + static_cast<int64_t>(top) * frame.stride;
            if (even)
                put_groups(window, frame, top, 0, groups_);
            else
                for (int j = 0; j < groups_; j++) put_groups(window, frame, top, j, 1);
            top = bottom;
        }
    }

  private:
    using Assemble = void (*)(const Frame&, const Permutes&);

    const int side_, columns_;
    bool usable_ = false;
    int count_ = 0, groups_ = 0, vectors_ = 0;
    DirectPart parts_[GRIDS];
    Permutes permutes_;

    // Parts with the one that capacities come from first; false where the plan is not a common one.
    bool arrange(const Plan& plan) {
        groups_ = (side_ + 3) / 4, vectors_ = (columns_ + 3) / 4;
        if (groups_ > GROUPS || vectors_ > GROUPS || plan.parts.empty() || plan.parts.size() > GRIDS) return false;
        if (plan.visibility.part >= 0) return false;
        for (const Column& column : plan.columns)
            if (column.pick.part >= 0 && (column.scale != 1.0f || column.shift != 0.0f)) return false;
        int source = -1;
        for (const Part& part : plan.parts)
            for (int from : part.source)
                if (from >= 0) {
                    if (source >= 0 && source != from) return false;
                    source = from;
                }
        std::vector<int> turn(plan.parts.size());
        if (source >= 0) turn[source] = count_++;
        for (int p = 0; p < static_cast<int>(plan.parts.size()); p++)
            if (p != source) turn[p] = count_++;
        for (size_t p = 0; p < plan.parts.size(); p++)
            if (!read_part(plan.parts[p], parts_[turn[p]], source)) return false;
        if (source >= 0 && parts_[0].lanes != 4) return false;
        for (const Part& part : plan.parts)
            for (const Lane& lane : part.store->lanes)
                if (lane.source == part.store) return false;
        permute(plan, turn);
        return true;
    }

    bool read_part(const Part& from, DirectPart& part, int source) const {
        const Store& store = *from.store;
        const bool plain = store.type == Storage::f32 || store.type == Storage::f16 || store.type == Storage::u8;
        if (!plain || store.padded > 4 || store.padded == 3 || side_ > store.side + 1) return false;
        part.store = &store, part.lanes = store.padded, part.item = static_cast<int>(store.item), part.type = store.type;
        std::fill(part.ages, part.ages + Store::SLOTS, -1);
        for (int i = 0; i < 16; i++) {
            const size_t l = std::min<size_t>(i % part.lanes, store.lanes.size() - 1);
            const Lane& lane = store.lanes[l];
            if (source >= 0 && from.source[l] >= 0) {
                part.linked = true, part.grows |= 1u << i;
                part.capacity.at[i] = part.lanes == 4 ? i / 4 * 4 + lane.source_lane : i * 4 % 32 + lane.source_lane;
            }
            const bool fits = keep_fill(part, lane, i);
            part.fill_fits &= fits;
            part.same_fill &= fits && (lane.fixed || (lane.source == nullptr && lane.fill == 0 && lane.beta == 0));
        }
        return !part.linked || (part.lanes != 2 && part.type != Storage::u8 && part.fill_fits);
    }

    // Writes what a cell of a tile that was never written holds; whether that is exactly the fill.
    static bool keep_fill(DirectPart& part, const Lane& lane, int i) {  // i: of one register; the others are the same
        const float fill = static_cast<float>(lane.fill);
        if (part.type == Storage::f32) std::memcpy(part.fill + 4 * i, &fill, 4);
        if (part.type == Storage::f16) {
            const uint16_t half = float_to_half(fill);
            std::memcpy(part.fill + 2 * i, &half, 2);
            return half_to_float(half) == fill;
        }
        if (part.type != Storage::u8) return true;
        const Map<float> m = map_of<float>(lane, 0);
        for (int q = 0; q < 256; q++) {
            const float v = m.decode(static_cast<float>(q) * m.unit + m.base), wanted = m.decode(fill);
            part.fill[i] = static_cast<uint8_t>(q);
            if (std::memcmp(&v, &wanted, 4) == 0) return true;
        }
        return false;
    }

    void permute(const Plan& plan, const std::vector<int>& turn) {
        permutes_.group = 4 * columns_;
        permutes_.whole = static_cast<uint16_t>(ones(4 * columns_ - 16 * (vectors_ - 1)));
        for (int v = 0; v < vectors_; v++)
            for (int i = 0; i < 16; i++) {
                permutes_.near[v].at[i] = permutes_.far[v].at[i] = 0;
                const int cell = (16 * v + i) / columns_;
                const Pick& pick = plan.columns[(16 * v + i) % columns_].pick;
                if (cell > 3 || pick.part < 0) continue;
                const int part = turn[pick.part], at = (part & 1) * 16 + cell * parts_[part].lanes + pick.lane;
                (part < 2 ? permutes_.near : permutes_.far)[v].at[i] = at;
                (part < 2 ? permutes_.from_near : permutes_.from_far)[v] |= static_cast<uint16_t>(1u << i);
            }
    }

    MEMFARM_INLINE void place(DirectPart& part, int64_t copy, int64_t y0, int64_t x0, Place& to) {
        const Store& store = *part.store;
        if (store.copies == 1) copy = 0;
        const int64_t ty = y0 >> store.bits, tx = x0 >> store.bits;
        const int iy = static_cast<int>(y0) & (store.side - 1), ix = static_cast<int>(x0) & (store.side - 1);
        const int64_t cell = part.lanes * part.item, row = cell << store.bits, bytes = store.tile_bytes();
        to.row = std::min(side_, store.side - iy), to.column = std::min(side_, store.side - ix);
        const bool two_columns = to.column < side_;
        const int halves = to.row < side_ ? 2 : 1;
        const Maps* never = nullptr;
        for (int half = 0; half < halves; half++) {
            const int64_t tile = (copy * store.tiles_y + ty + half) * store.tiles_x + tx;
            const uint8_t* left = store.data + tile * bytes + (iy - half * store.side) * row + ix * cell;
            const int first = half ? to.row : 0, last = half || halves == 1 ? side_ : to.row;
            const bool live = to.left_live[half] = store.live(tile, copy);
            const Maps* maps = live || !part.same_fill ? part.at(store.slot(tile, live), store.age(tile, copy, live)) : never;
            to.left[half] = to.right[half] = left;
            to.left_maps[half] = to.right_maps[half] = maps;
            to.right_live[half] = false;
            if (live) ask(left + first * row, last - first, row, static_cast<int>(to.column * cell));
            if (two_columns) {
                const bool there = to.right_live[half] = store.live(tile + 1, copy);
                const uint8_t* right = left + bytes - (cell << store.bits);
                to.right[half] = right;
                to.right_maps[half] = there || !part.same_fill
                                          ? part.at(store.slot(tile + 1, there), store.age(tile + 1, copy, there))
                                          : never;
                if (there) ask(right + first * row + to.column * cell, last - first, row,
                               static_cast<int>((side_ - to.column) * cell));
                if (to.left_maps[half] == nullptr) to.left_maps[half] = to.right_maps[half];
                if (to.right_maps[half] == nullptr) to.right_maps[half] = to.left_maps[half];
            }
            if (to.left_maps[half] == nullptr)
                to.left_maps[half] = to.right_maps[half] = part.at(Store::SLOTS - 1, store.age(tile, copy, false));
        }
    }

    // Rows of `bytes` bytes, before their turn comes.
    static MEMFARM_INLINE void ask(const uint8_t* from, int rows, int64_t row, int bytes) {
        for (int r = 0; r < rows; r++, from += row) {
            for (int at = 0; at < bytes; at += 64) __builtin_prefetch(from + at);
            __builtin_prefetch(from + bytes - 1);
        }
    }

    // The groups from `first` on, in the rows of `frame`; with one set of maps a grid, or one group.
    MEMFARM_INLINE void put_groups(const Window& window, Frame frame, int top, int first, int count) const {
        Maps mixed[GRIDS];
        for (int p = 0; p < count_; p++) {
            const DirectPart& part = parts_[p];
            const Place& place = window.places[p];
            Frame::Source& source = frame.sources[p];
            const int half = top >= place.row, cell = part.lanes * part.item;
            const int64_t row = static_cast<int64_t>(part.store->side) * cell, ahead = top * row + 4 * first * cell;
            // Where nothing lies, nothing is loaded, but from memory that is there: a masked load of a page that is not
            // costs as much as a whole window.
            source.left = place.left_live[half] ? place.left[half] + ahead : part.fill;
            source.right = place.right_live[half] ? place.right[half] + ahead : part.fill;
            source.left_step = place.left_live[half] ? row : 0, source.right_step = place.right_live[half] ? row : 0;
            const int split = (place.column - 4 * first) * part.lanes, end = (side_ - 4 * first) * part.lanes;
            for (int r = 0; r < part.registers(count); r++) {
                const uint32_t left = ones(split - 16 * r), all = ones(end - 16 * r);
                source.left_mask[r] = place.left_live[half] ? static_cast<uint16_t>(left) : 0;
                source.right_mask[r] = place.right_live[half] ? static_cast<uint16_t>(all & ~left) : 0;
            }
            source.maps = split > 0 ? place.left_maps[half] : place.right_maps[half];
            if (place.left_maps[half] != place.right_maps[half] && split > 0 && split < 4 * part.lanes) {
                mix(*place.left_maps[half], *place.right_maps[half], split, mixed[p]);
                source.maps = &mixed[p];
            }
        }
        frame.out += 4 * first * columns_;
        const int floats = std::min(4, side_ - 4 * (first + count - 1)) * columns_;
        for (int v = 0; v < vectors_; v++) frame.last[v] = static_cast<uint16_t>(ones(floats - 16 * v));
        TABLE[count_ - 1][count - 1][vectors_ - 1](frame, permutes_);
    }

    static void mix(const Maps& left, const Maps& right, int split, Maps& to) {
        for (int i = 0; i < 16; i++) {
            const Maps& from = i < split ? left : right;
            to.a[i] = from.a[i], to.b[i] = from.b[i], to.low[i] = from.low[i], to.high[i] = from.high[i];
            to.floor[i] = from.floor[i];
        }
    }

#define MEMFARM_VECTORS(P, G) {assemble<P, G, 1>, assemble<P, G, 2>, assemble<P, G, 3>, assemble<P, G, 4>}
#define MEMFARM_GROUPS(P) {MEMFARM_VECTORS(P, 1), MEMFARM_VECTORS(P, 2), MEMFARM_VECTORS(P, 3), MEMFARM_VECTORS(P, 4)}
    static constexpr Assemble TABLE[GRIDS][GROUPS][GROUPS] = {MEMFARM_GROUPS(1), MEMFARM_GROUPS(2), MEMFARM_GROUPS(3),
                                                              MEMFARM_GROUPS(4)};
#undef MEMFARM_GROUPS
#undef MEMFARM_VECTORS
};

}  // namespace memfarm
#endif
