// Cutting windows: each grid's part of a window is decoded into rows of floats (kernels_rows.h), and the cells are then
// put together from those rows, one permute a cell into the order of the columns.
#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <cstdint>
#include <vector>

#include "kernels_rows.h"

namespace memfarm {

// --------------------------------------------------------------------------------------------------- putting cells together

typedef float v8 __attribute__((vector_size(32)));

// Where the floats of each part lie, and those of VISIBILITY where something is hidden.
struct RowPointers {
    const float* row[4];
    int lanes[4], stride[4];
    const float* seen = nullptr;
    int seen_lanes = 0, seen_stride = 0;
};

// Four cells side by side: up to four parts of at most four lanes are four registers, and each cell's up to 16 columns
// are picked out of them.
constexpr int GROUP = 4;

struct WidePick {
    i16 near[GROUP]{}, far[GROUP]{};  // per cell of the group: positions in parts 0 and 1, in parts 2 and 3
    i16 from_far{}, present{}, hidden{};
    v16 scale{}, shift{};
    bool scaled = false;  // whether scale and shift change anything

    explicit WidePick(const Plan& plan) {
        for (size_t c = 0; c < plan.columns.size() && c < WIDE; c++) {
            const Column& column = plan.columns[c];
            const int part = column.pick.part;
            scale[c] = column.scale, shift[c] = column.shift;
            if (part < 0 || part > 3) continue;
            hidden[c] = column.hidden && plan.visibility.part >= 0 ? -1 : 0;
            present[c] = -1;
            from_far[c] = part > 1 ? -1 : 0;
            for (int i = 0; i < GROUP; i++)
                (part > 1 ? far : near)[i][c] = (part & 1) * WIDE + i * plan.parts[part].store->padded + column.pick.lane;
            scaled |= column.scale != 1.0f || column.shift != 0.0f;
        }
    }
};

// Puts `cells` cells together, `side` of them in each row. A cell's 8 or 16 floats are stored whole: what reaches into the
// next cells is overwritten by them, so that the last cells of a window must be left to pick_narrow.
template <int PARTS, bool PLAIN, class Out>
static MEMFARM_INLINE void pick_wide(const WidePick& pick, RowPointers from, int side, int64_t cells, float* to,
                                     int columns) {
    const i16 near[GROUP] = {pick.near[0], pick.near[1], pick.near[2], pick.near[3]};
    const i16 far[GROUP] = {pick.far[0], pick.far[1], pick.far[2], pick.far[3]};
    const i16 from_far = pick.from_far, present = pick.present, hidden = pick.hidden;
    const v16 scale = pick.scale, shift = pick.shift;
    for (; cells > 0; cells -= side) {
        const float* seen = from.seen;
        const int count = static_cast<int>(std::min<int64_t>(cells, side));
        for (int x = 0; x < count; x += GROUP) {
            v16 z[4] = {};
            for (int p = 0; p < PARTS; p++) __builtin_memcpy(&z[p], from.row[p] + x * from.lanes[p], 64);
            const auto put = [&](int i) __attribute__((always_inline)) {
                v16 v = __builtin_shuffle(z[0], z[1], near[i]);
                if constexpr (PARTS > 2) {
                    const v16 w = PARTS > 3 ? __builtin_shuffle(z[2], z[3], far[i]) : __builtin_shuffle(z[2], far[i]);
                    v = from_far ? w : v;
                }
                if constexpr (!PLAIN) {
                    v = v * scale;
                    v = v + shift;
                }
                v = present ? v : v16{};
                if (!PLAIN && seen != nullptr) {
                    v = hidden ? v * *seen : v;
                    seen += from.seen_lanes;
                }
                if constexpr (sizeof(Out) == 32) {
                    const v8 half = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
                    __builtin_memcpy(to, &half, 32);
                } else
                    __builtin_memcpy(to, &v, 64);
                to += columns;
            };
            put(0);
            if (x + 1 < count) put(1);
            if (x + 2 < count) put(2);
            if (x + 3 < count) put(3);
        }
        for (int p = 0; p < PARTS; p++) from.row[p] += from.stride[p];
        if (!PLAIN && seen != nullptr) from.seen += from.seen_stride;
    }
}

template <class Out>
static MEMFARM_INLINE void pick_band(const WidePick& pick, int parts, const RowPointers& from, int side, int64_t cells,
                                     float* to, int columns) {
    if (pick.scaled || from.seen != nullptr)
        pick_wide<4, false, Out>(pick, from, side, cells, to, columns);
    else if (parts == 1)
        pick_wide<1, true, Out>(pick, from, side, cells, to, columns);
    else if (parts == 2)
        pick_wide<2, true, Out>(pick, from, side, cells, to, columns);
    else if (parts == 3)
        pick_wide<3, true, Out>(pick, from, side, cells, to, columns);
    else
        pick_wide<4, true, Out>(pick, from, side, cells, to, columns);
}

// Any cells first … last of a band, `side` of them in each row.
static MEMFARM_INLINE void pick_narrow(const Plan& plan, const std::vector<AnyPart*>& parts, int64_t first, int64_t last,
                                       float* to) {
    const Pick& vision = plan.visibility;
    for (int64_t i = first; i < last; i++) {
        const int64_t row = i / plan.side, x = i % plan.side;
        const auto at = [&](const Pick& pick) __attribute__((always_inline)) {
            const AnyPart& part = *parts[pick.part];
            return part.rows[row * part.stride + x * part.lanes + pick.lane];
        };
        for (const Column& column : plan.columns) {
            float v = 0.0f;
            if (column.pick.part >= 0) {
                v = at(column.pick) * column.scale;
                v = v + column.shift;
                if (column.hidden && vision.part >= 0) v = v * at(vision);
            }
            *to++ = v;
        }
    }
}

inline void paint(const Job& job, const PointLayer& layer, int64_t n, const float* visible, float* window) {
    const Plan& plan = *job.plan;
    const Store& frame = *plan.parts[0].store;
    const int side = plan.side, columns = static_cast<int>(plan.columns.size());
    const bool dim = plan.columns[layer.column].hidden && visible != nullptr;
    layer.index.visit((layer.seen ? layer.seen : job.copy)[n], job.y[n] - plan.radius, job.x[n] - plan.radius, side, frame.height, frame.width,
                      frame.wrap, [&](int i, int j, float value) {
                          if (layer.skip_centre && i == plan.radius && j == plan.radius) return;
                          const int64_t cell = static_cast<int64_t>(i) * side + j;
                          if (dim) value = value * visible[cell];
                          float& there = window[cell * columns + layer.column];
                          if (value > there) there = value;
                      });
}

// Asks for the tile rows of a window before its turn comes.
static MEMFARM_INLINE void prefetch_window(const Store& store, int64_t copy, int64_t y, int64_t x, int radius) {
    if (store.copies == 1) copy = 0;
    const int64_t y0 = std::max<int64_t>(y - radius, 0), y1 = std::min<int64_t>(y + radius, store.height - 1);
    const int64_t x0 = std::max<int64_t>(x - radius, 0), x1 = std::min<int64_t>(x + radius, store.width - 1);
    const int64_t cell_bytes = static_cast<int64_t>(store.padded * store.item);
    for (int64_t tx = x0 >> store.bits; tx <= x1 >> store.bits; tx++) {
        const int64_t left = std::max(x0, tx << store.bits) & (store.side - 1);
        const int64_t right = std::min(x1, ((tx + 1) << store.bits) - 1) & (store.side - 1);
        for (int64_t ty = y0 >> store.bits; ty <= y1 >> store.bits; ty++) {
            const int64_t tile = (copy * store.tiles_y + ty) * store.tiles_x + tx;
            if (!store.live(tile, copy)) continue;
            const int64_t top = std::max(y0, ty << store.bits) & (store.side - 1);
            const int64_t bottom = std::min(y1, ((ty + 1) << store.bits) - 1) & (store.side - 1);
            const uint8_t* data = store.data + tile * store.tile_bytes();
            for (int64_t row = top; row <= bottom; row++) {
                const uint8_t* from = data + (row * store.side + left) * cell_bytes;
                const uint8_t* last = data + (row * store.side + right + 1) * cell_bytes - 1;
                for (; from <= last; from += 64) ask_for(from);
                ask_for(last);
            }
        }
    }
}

constexpr int AHEAD = 4;             // windows whose cells are asked for before their turn
constexpr int OUT_AHEAD = 2;         // and the place that they are put into
constexpr int HINTED_AHEAD = 6;      // and whose pages
constexpr int MOST_PREFETCHED = 16;  // radius up to which that pays

}  // namespace memfarm
