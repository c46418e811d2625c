// Windows of three grids, as most worlds have them: a ground of uint8, resources that grow towards one of its lanes, and
// fields that fade. What kernels_direct.h decides row by row for any grids is decided here by the compiler, and operations
// that change no bit of such cells are left out.
#pragma once

#include "kernels_registers.h"

#if defined(MEMFARM_DIRECT)

namespace memfarm {

constexpr int THREE_VECTORS = 2;  // of a group: 5 to 8 columns

struct Masks {
    uint16_t of[GROUPS];  // a register's cells, or lanes of cells
};

// Some rows of a window. Left and right: of the edge between two tiles.
struct Rows {
    struct Source {
        const uint8_t *left, *right;
        int64_t left_step, right_step;  // bytes from one row to the next
        const Maps *left_maps, *right_maps;
        Masks in_left, in_right;
    } ground, food, field;
    float* out;
    int count, stride;  // floats from one row of the window to the next
};

// Where a row's vectors come from: `near` out of the ground and the resources, `far` out of the fields.
struct Threading {
    Indices near[GROUPS][THREE_VECTORS], far[GROUPS][THREE_VECTORS], capacity;
    uint16_t from_near[THREE_VECTORS]{}, from_far[THREE_VECTORS]{};
    uint16_t last[THREE_VECTORS]{};  // the floats that the last group of a row stores
    int group = 0;                   // floats of a whole group
};

template <bool SPLIT>
static MEMFARM_512_INLINE __m512 ground_of(const Rows::Source& s, int j) {
    __m128i v = _mm_maskz_loadu_epi8(s.in_left.of[j], s.left + 16 * j);
    if constexpr (SPLIT) v = _mm_mask_loadu_epi8(v, s.in_right.of[j], s.right + 16 * j);
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(v));
}

template <Storage TYPE, bool SPLIT>
static MEMFARM_512_INLINE __m512 reals_of(const Rows::Source& s, int j) {
    if constexpr (TYPE == Storage::f32) {
        __m512 v = _mm512_maskz_loadu_ps(s.in_left.of[j], s.left + 64 * j);
        if constexpr (SPLIT) v = _mm512_mask_loadu_ps(v, s.in_right.of[j], s.right + 64 * j);
        return v;
    } else {
        __m256i v = _mm256_maskz_loadu_epi16(s.in_left.of[j], s.left + 32 * j);
        if constexpr (SPLIT) v = _mm256_mask_loadu_epi16(v, s.in_right.of[j], s.right + 32 * j);
        return _mm512_cvtph_ps(v);
    }
}

template <bool SPLIT>
static MEMFARM_512_INLINE __m512 mixed(const float* left, const float* right, uint16_t in_right) {
    const __m512 v = _mm512_load_ps(left);
    return SPLIT ? _mm512_mask_mov_ps(v, in_right, _mm512_load_ps(right)) : v;
}

// G groups a row; fields of TYPE with LANES lanes, 1 or 4; SPLIT: some grid has an edge between two tiles here.
template <Storage TYPE, int LANES, int G, bool SPLIT>
MEMFARM_512 void put_rows(const Rows& rows, const Threading& threading) {
    constexpr int FIELDS = LANES == 4 ? G : 1;  // registers
    Rows::Source ground = rows.ground, food = rows.food, field = rows.field;
    const __m512 unit = _mm512_load_ps(ground.left_maps->a), none = _mm512_setzero_ps();
    const __m512 grown = mixed<SPLIT>(food.left_maps->a, food.right_maps->a, food.in_right.of[0]);
    const __m512 growth = mixed<SPLIT>(food.left_maps->b, food.right_maps->b, food.in_right.of[0]);
    const __m512 high = _mm512_load_ps(field.left_maps->high), floor = _mm512_load_ps(field.left_maps->floor);
    const __m512i capacity = _mm512_load_si512(threading.capacity.at);
    __m512 faded[FIELDS];
#pragma GCC unroll 4
    for (int j = 0; j < FIELDS; j++) faded[j] = mixed<SPLIT>(field.left_maps->a, field.right_maps->a, field.in_right.of[j]);
    __m512i near[G][THREE_VECTORS], far[FIELDS == 1 ? G : 1][THREE_VECTORS];
#pragma GCC unroll 4
    for (int j = 0; j < G; j++)
        for (int v = 0; v < THREE_VECTORS; v++) {
            near[j][v] = _mm512_load_si512(threading.near[j][v].at);
            if (FIELDS == 1 || j == 0) far[j][v] = _mm512_load_si512(threading.far[j][v].at);
        }
    float* out = rows.out;
    for (int r = 0; r < rows.count; r++, out += rows.stride) {
        __m512 cells[G], fields[FIELDS];
#pragma GCC unroll 4
        for (int j = 0; j < G; j++) cells[j] = _mm512_mul_ps(ground_of<SPLIT>(ground, j), unit);
        const __m512 k = capacities_of_cells<G>(cells, capacity);
        __m512 eaten = reals_of<Storage::f32, SPLIT>(food, 0);
        eaten = _mm512_add_ps(_mm512_mul_ps(eaten, grown), _mm512_mul_ps(growth, k));
        eaten = _mm512_min_ps(_mm512_max_ps(eaten, none), k);
#pragma GCC unroll 4
        for (int j = 0; j < FIELDS; j++) {
            const __m512 v = _mm512_mul_ps(reals_of<TYPE, SPLIT>(field, j), faded[j]);
            fields[j] = _mm512_maskz_min_ps(_mm512_cmp_ps_mask(v, floor, _CMP_GE_OQ), v, high);
        }
#pragma GCC unroll 4
        for (int j = 0; j < G; j++) {
#pragma GCC unroll 2
            for (int v = 0; v < THREE_VECTORS; v++) {
                __m512 to = _mm512_maskz_permutex2var_ps(threading.from_near[v], cells[j], near[j][v], eaten);
                to = _mm512_mask_permutexvar_ps(to, threading.from_far[v], far[FIELDS == 1 ? j : 0][v],
                                                fields[FIELDS == 1 ? 0 : j]);
                float* const there = out + j * threading.group + 16 * v;
                if (j + 1 < G)
                    _mm512_storeu_ps(there, to);  // what lies beyond the group is overwritten by the next one
                else
                    _mm512_mask_storeu_ps(there, threading.last[v], to);
            }
        }
        ground.left += ground.left_step, food.left += food.left_step, field.left += field.left_step;
        if constexpr (SPLIT)
            ground.right += ground.right_step, food.right += food.right_step, field.right += field.right_step;
    }
}

// A plan of three such grids.
class Three {
  public:
    // parts: the ground first, as the source of capacities. turn: where in them each grid of the plan lies.
    Three(const Plan& plan, const DirectPart* parts, const std::vector<int>& turn) : side_(plan.side) {
        const int columns = static_cast<int>(plan.columns.size()), groups = (side_ + 3) / 4;
        food_ = parts[1].linked ? 1 : 2, field_ = 3 - food_;
        const DirectPart &ground = parts[0], &food = parts[food_], &field = parts[field_];
        if (ground.type != Storage::u8 || ground.lanes != 4 || food.type != Storage::f32 || food.lanes != 1) return;
        if (food.grows != 0xffff || field.linked || field.lanes == 2 || field.type == Storage::u8) return;
        if ((columns + 3) / 4 != THREE_VECTORS || groups < 2 || groups > GROUPS) return;
        const int last = (side_ - 4 * (groups - 1)) * columns, beyond = 16 * THREE_VECTORS - 4 * columns;
        if (beyond > last) return;  // what a group stores beyond itself must be overwritten
        for (int p = 0; p < 3; p++)
            for (int column = 0; column <= side_; column++)
                for (int r = 0; r < GROUPS; r++) {
                    const uint32_t left = ones(column * parts[p].lanes - 16 * r), all = ones(side_ * parts[p].lanes - 16 * r);
                    in_left_[p][column].of[r] = static_cast<uint16_t>(left);
                    in_right_[p][column].of[r] = static_cast<uint16_t>(all & ~left);
                }
        threading_.capacity = food.capacity;
        threading_.group = 4 * columns;
        for (int v = 0; v < THREE_VECTORS; v++) {
            threading_.last[v] = static_cast<uint16_t>(ones(last - 16 * v));
            for (int i = 0; i < 16; i++) thread(plan.columns[(16 * v + i) % columns].pick, turn, field.lanes, v, i, (16 * v + i) / columns);
        }
        put_ = TABLE[field.type == Storage::f16][field.lanes == 4][groups - 2];
    }

    bool usable() const { return put_ != nullptr; }

    // Puts a window together, unless some of its maps are out of the ordinary.
    bool put(const DirectPart* parts, const Place* places, int stride, float* out) const {
        bool split = false;
        for (int p = 0; p < 3; p++) {
            const Place& place = places[p];
            for (int half = 0; half <= (place.row < side_); half++)
                if (!place.left_maps[half]->simple || !place.right_maps[half]->simple) return false;
            split |= place.column < side_;
        }
        Rows rows;
        Rows::Source* const sources[3] = {&rows.ground, food_ == 1 ? &rows.food : &rows.field,
                                          food_ == 1 ? &rows.field : &rows.food};
        for (int p = 0; p < 3; p++) {
            sources[p]->in_left = in_left_[p][places[p].column];
            sources[p]->in_right = in_right_[p][places[p].column];
        }
        rows.stride = stride;
        for (int top = 0; top < side_; top += rows.count) {
            int bottom = side_;
            for (int p = 0; p < 3; p++) {
                const Place& place = places[p];
                const bool half = top >= place.row;
                if (!half) bottom = std::min(bottom, place.row);
                Rows::Source& source = *sources[p];
                const int64_t row = static_cast<int64_t>(parts[p].lanes * parts[p].item) << parts[p].store->bits;
                const bool left = place.left_live[half], right = place.right_live[half];
                source.left = left ? place.left[half] + top * row : parts[p].fill;
                source.right = right ? place.right[half] + top * row : parts[p].fill;
                source.left_step = left ? row : 0, source.right_step = right ? row : 0;
                source.left_maps = place.left_maps[half], source.right_maps = place.right_maps[half];
            }
            rows.count = bottom - top;
            rows.out = out + static_cast<int64_t>(top) * stride;
            put_[split](rows, threading_);
        }
        return true;
    }

  private:
    using Put = void (*)(const Rows&, const Threading&);

    const int side_;
    int food_ = 1, field_ = 2;
    Masks in_left_[3][4 * GROUPS + 1], in_right_[3][4 * GROUPS + 1];  // by the first cell of the right tile
    Threading threading_;
    const Put* put_ = nullptr;

    // Float i of vector v of every group: the group's cell `cell`.
    void thread(const Pick& pick, const std::vector<int>& turn, int lanes, int v, int i, int cell) {
        const int part = pick.part < 0 ? -1 : turn[pick.part];
        for (int j = 0; j < GROUPS; j++) {
            threading_.near[j][v].at[i] = part == food_ ? 16 + 4 * j + cell : 4 * cell + pick.lane;
            threading_.far[j][v].at[i] = lanes == 4 ? 4 * cell + pick.lane : 4 * j + cell;
        }
        if (part < 0 || cell > 3) return;
        (part == field_ ? threading_.from_far : threading_.from_near)[v] |= static_cast<uint16_t>(1u << i);
    }

#define MEMFARM_SPLITS(TYPE, LANES, G) {put_rows<TYPE, LANES, G, false>, put_rows<TYPE, LANES, G, true>}
#define MEMFARM_WIDTHS(TYPE, LANES) \
    {MEMFARM_SPLITS(TYPE, LANES, 2), MEMFARM_SPLITS(TYPE, LANES, 3), MEMFARM_SPLITS(TYPE, LANES, 4)}
#define MEMFARM_LANES(TYPE) {MEMFARM_WIDTHS(TYPE, 1), MEMFARM_WIDTHS(TYPE, 4)}
    static constexpr Put TABLE[2][2][3][2] = {MEMFARM_LANES(Storage::f32), MEMFARM_LANES(Storage::f16)};
#undef MEMFARM_LANES
#undef MEMFARM_WIDTHS
#undef MEMFARM_SPLITS
};

}  // namespace memfarm
#endif
