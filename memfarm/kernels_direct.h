// Windows put together straight from the tiles (kernels_registers.h): the common case of what kernels_windows.h does for
// every case.
//
// Common: the window lies inside the world and meets at most two tiles of a grid along each axis; grids of float32,
// float16 or uint8 with 1, 2 or 4 lanes; at most 16 columns, neither scaled nor hidden.
#pragma once

#include "kernels_three.h"

#if defined(MEMFARM_DIRECT)

#include <optional>

namespace memfarm {

constexpr int64_t MANY_PAGES = 16384;  // hints cost 2 % of a window where there are 6,000, and save 6 % where there are 100,000

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

    // Whether the tiles lie on more pages than the processor remembers the places of.
    bool many_pages() const {
        int64_t tiles = 0;
        for (int p = 0; p < count_; p++) tiles += parts_[p].store->copies * parts_[p].store->tiles_y * parts_[p].store->tiles_x;
        return tiles > MANY_PAGES;
    }

    struct Window {
        Place places[GRIDS];
        int64_t changes;  // of maps, by when its places were found
        bool common;
    };

    // Finds the tiles of a window, and asks for their cells.
    MEMFARM_INLINE void find(int64_t copy, int64_t y, int64_t x, Window& window) {
        const Store& frame = *parts_[0].store;
        const int64_t y0 = y - side_ / 2, x0 = x - side_ / 2;
        window.common = y0 >= 0 && x0 >= 0 && y0 + side_ <= frame.height && x0 + side_ <= frame.width;
        if (!window.common) return;
        window.changes = changes();
        for (int p = 0; p < count_; p++) place(parts_[p], copy, y0, x0, window.places[p]);
    }

    // Asks for a line of each of the window's tiles, so that their pages are known when its rows are asked for.
    MEMFARM_INLINE void hint(int64_t copy, int64_t y, int64_t x) const {
        const int64_t y0 = y - side_ / 2, x0 = x - side_ / 2;
        const Store& frame = *parts_[0].store;
        if (y0 < 0 || x0 < 0 || y0 + side_ > frame.height || x0 + side_ > frame.width) return;
        for (int p = 0; p < count_; p++) {
            const Store& store = *parts_[p].store;
            const int64_t own = store.copies == 1 ? 0 : copy, mask = store.side - 1;
            const int64_t cell = parts_[p].lanes * parts_[p].item, bytes = store.tile_bytes();
            for (int64_t ty = y0 >> store.bits, row = y0 & mask; ty <= (y0 + side_ - 1) >> store.bits; ty++, row = 0)
                for (int64_t tx = x0 >> store.bits, column = x0 & mask; tx <= (x0 + side_ - 1) >> store.bits; tx++, column = 0) {
                    const int64_t tile = (own * store.tiles_y + ty) * store.tiles_x + tx;
                    ask_for(store.stamps + tile);
                    ask_for(store.data + tile * bytes + ((row << store.bits) + column) * cell);
                }
        }
    }

    // Whether the maps of a window are still there: one slot serves many ages, of other windows, and of tiles that are 8
    // epochs apart. Where they are not it is found anew; false where it wants one slot for two ages itself.
    MEMFARM_INLINE bool hold(int64_t copy, int64_t y, int64_t x, Window& window) {
        for (int found = 0; __builtin_expect(window.changes != changes(), 0); found++) {
            if (found == 2) return false;
            find(copy, y, x, window);
        }
        return true;
    }

    // Puts a window together; one that `hold` holds.
    void put(const Window& window, float* out) const {
        if (three_ && three_->put(parts_, window.places, side_ * columns_, out)) return;
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
    std::optional<Three> three_;

    int64_t changes() const {
        int64_t sum = 0;
        for (int p = 0; p < count_; p++) sum += parts_[p].changes;
        return sum;
    }

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
        if (count_ == 3 && source >= 0) three_.emplace(plan, parts_, turn);
        if (three_ && !three_->usable()) three_.reset();
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
        const size_t bytes = 16 * store.item;  // of a register
        for (int r = 1; r < GROUPS; r++) std::memcpy(part.fill + r * bytes, part.fill, bytes);
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
            for (int at = 0; at < bytes; at += 64) ask_for(from + at);
            ask_for(from + bytes - 1);
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
