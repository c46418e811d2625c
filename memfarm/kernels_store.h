// A grid and its cells: where they lie, what time it is, reading and writing them one by one, stamping windows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels_codecs.h"

namespace memfarm {

// A grid: where its bytes lie and what time it is.
struct Store {
    Storage type = Storage::f32;
    size_t item = 4;
    uint8_t* data = nullptr;
    uint64_t* stamps = nullptr;
    int64_t* resets = nullptr;  // (copies, 2): resets, reset tick
    int64_t copies = 1, tiles_y = 0, tiles_x = 0, height = 0, width = 0, epoch = 0, tick = 0, now = 0, settled = 0;
    int side = 0, bits = 0, padded = 1;
    bool wrap = false, writable = true;
    std::vector<Lane> lanes;
    std::vector<Map<float>> fixed32;   // one a lane, for those that are static
    std::vector<Map<double>> fixed64;

    void add(const Lane& lane) {
        lanes.push_back(lane);
        fixed32.push_back(map_of<float>(lane, 0));
        fixed64.push_back(map_of<double>(lane, 0));
    }
    template <class Real>
    const Map<Real>& fixed_map(int lane) const {
        if constexpr (std::is_same_v<Real, float>)
            return fixed32[lane];
        else
            return fixed64[lane];
    }
    void set_tick(int64_t to) {
        tick = to;
        now = epoch ? tick / epoch : 0;
    }
    int64_t tile_bytes() const { return static_cast<int64_t>(side) * side * padded * static_cast<int64_t>(item); }
    int64_t tile_of(int64_t copy, int64_t y, int64_t x) const {
        return (copy * tiles_y + (y >> bits)) * tiles_x + (x >> bits);
    }
    int64_t offset_of(int64_t y, int64_t x) const {
        return (((y & (side - 1)) << bits) + (x & (side - 1))) * padded * static_cast<int64_t>(item);
    }
    // Asks for a cell before its turn comes.
    MEMFARM_INLINE void ask(int64_t copy, int64_t y, int64_t x) const {
        const int64_t tile = tile_of(copies == 1 ? 0 : copy, y, x);
        __builtin_prefetch(stamps + tile);
        __builtin_prefetch(data + tile * tile_bytes() + offset_of(y, x));
    }
    // The same, and for what bounds it in this lane.
    MEMFARM_INLINE void ask(int lane, int64_t copy, int64_t y, int64_t x) const {
        ask(copy, y, x);
        if (lanes[lane].source) lanes[lane].source->ask(copy, y, x);
    }
    bool live(int64_t tile, int64_t copy) const {
        return static_cast<int64_t>(stamps[tile] >> 32) == resets[2 * copy];
    }
    uint64_t fresh_stamp(int64_t copy) const {
        return static_cast<uint64_t>(resets[2 * copy]) << 32 | static_cast<uint64_t>(now + 1);
    }
    // Ticks that have passed over what a tile holds (or, not live, over the fill).
    int64_t age(int64_t tile, int64_t copy, bool is_live) const {
        if (!epoch) return 0;
        if (!is_live) return tick - resets[2 * copy + 1];
        const int64_t since = epochs_since(tile);
        return is_settled(since) ? settled * epoch : since * epoch + tick - now * epoch;
    }
    // Where to remember what belongs to an age: tiles of neighbouring epochs never share a slot, nor do settled ones.
    static constexpr size_t SLOTS = 10;
    size_t slot(int64_t tile, bool is_live) const {
        if (!is_live) return SLOTS - 1;
        const int64_t since = epochs_since(tile);
        return is_settled(since) ? SLOTS - 2 : static_cast<size_t>(since) & 7;
    }
    int64_t epochs_since(int64_t tile) const { return now + 1 - static_cast<int64_t>(stamps[tile] & 0xffffffff); }
    bool is_settled(int64_t epochs) const { return settled != 0 && epochs >= settled; }
    // After so many epochs all has faded to 0 and all is grown, whatever was written: older tiles read as those do, and a
    // world that lives long has not ever more ages. 0: there is no such time.
    void find_settled() {
        settled = 0;
        double longest = 0;
        for (const Lane& lane : lanes) {
            if (lane.fixed) continue;
            double ticks;  // what is stored was written at any tick of its epoch; a hundredth is more than rounding takes
            if (lane.beta == 0 && lane.floor > 0 && lane.high > 0)
                ticks = lane.alpha > 0 ? std::log(0.99 * lane.floor / lane.high) / std::log(lane.alpha) : 1;
            else if (lane.alpha == 1 && lane.beta > 0 && lane.source == nullptr)  // a cell's capacity may be set anew
                ticks = 1.01 / lane.beta;
            else
                return;
            longest = std::max(longest, ticks);
        }
        if (epoch && longest < 1e12) settled = 2 + static_cast<int64_t>(longest / static_cast<double>(epoch));
    }
    float outside_value(int lane) const {
        const bool wide = type == Storage::f64 || type == Storage::i32;
        return wide ? static_cast<float>(static_cast<double>(lanes[lane].outside)) : static_cast<float>(lanes[lane].outside);
    }
    double fixed_value(int lane, int64_t copy, int64_t y, int64_t x) const;  // of a static lane
};

constexpr int64_t CELLS_AHEAD = 8;  // cells asked for before their turn

// Cells of one axis of a window that lie in one tile, or (tile -1) beyond a wall.
struct Run {
    int start, count;  // in the window
    int64_t tile;
    int inside;  // first cell in the tile
};

static MEMFARM_INLINE int cut_runs(int64_t first, int side, int64_t size, int bits, bool wrap, Run* runs) {
    int count = 0;
    for (int at = 0; at < side;) {
        int64_t cell = first + at;
        if (wrap && (cell < 0 || cell >= size)) cell = modulo(cell, size);
        int length;
        if (cell < 0)
            runs[count] = {at, length = static_cast<int>(std::min<int64_t>(side - at, -cell)), -1, 0};
        else if (cell >= size)
            runs[count] = {at, length = side - at, -1, 0};
        else {
            const int inside = static_cast<int>(cell & ((1 << bits) - 1));
            const int64_t room = std::min<int64_t>((int64_t{1} << bits) - inside, size - cell);
            runs[count] = {at, length = static_cast<int>(std::min<int64_t>(side - at, room)), cell >> bits, inside};
        }
        at += length;
        count++;
    }
    return count;
}

// ------------------------------------------------------------------------------------------- tiles never written yet

static void sort_unique(std::vector<int64_t>& tiles) {
    std::sort(tiles.begin(), tiles.end());
    tiles.erase(std::unique(tiles.begin(), tiles.end()), tiles.end());
}

// Of the tiles that these cells lie in, those with stamp 0: sorted, each once. Nearly always none. Of the cells i that are
// `chosen(i)`.
template <class Chosen>
std::vector<int64_t> missing_tiles(const Store& store, int64_t n, const int32_t* copy, const int32_t* y, const int32_t* x,
                                   Chosen&& chosen) {
    std::vector<int64_t> tiles;
    const bool one = store.copies == 1;
    for (int64_t i = 0; i < n; i++) {
        if (!chosen(i)) continue;
        const int64_t tile = store.tile_of(one ? 0 : copy[i], y[i], x[i]);
        if (store.stamps[tile] == 0) tiles.push_back(tile);
    }
    sort_unique(tiles);
    return tiles;
}

static bool any_seen(const bool* seen, int side, const Run& down, const Run& across) {
    if (seen == nullptr) return true;
    for (int r = down.start; r < down.start + down.count; r++)
        for (int c = across.start; c < across.start + across.count; c++)
            if (seen[r * side + c]) return true;
    return false;
}

// The same of the tiles that stamping windows around the cells would write.
static std::vector<int64_t> missing_in_windows(const Store& store, int64_t n, const int32_t* copy, const int32_t* y,
                                               const int32_t* x, int radius, const bool* seen) {
    std::vector<int64_t> tiles;
    const int side = 2 * radius + 1;
    std::vector<Run> rows(side + 2), columns(side + 2);
    for (int64_t i = 0; i < n; i++) {
        const int64_t first = (store.copies == 1 ? 0 : copy[i]) * store.tiles_y;
        const int vertical = cut_runs(y[i] - radius, side, store.height, store.bits, store.wrap, rows.data());
        const int horizontal = cut_runs(x[i] - radius, side, store.width, store.bits, store.wrap, columns.data());
        const bool* shown = seen ? seen + i * side * side : nullptr;
        for (int v = 0; v < vertical; v++)
            for (int h = 0; h < horizontal; h++) {
                if (rows[v].tile < 0 || columns[h].tile < 0) continue;
                const int64_t tile = (first + rows[v].tile) * store.tiles_x + columns[h].tile;
                if (store.stamps[tile] == 0 && any_seen(shown, side, rows[v], columns[h])) tiles.push_back(tile);
            }
    }
    sort_unique(tiles);
    return tiles;
}

// Reads cells of one grid, for one call of one thread. Remembers the maps of the ages that it meets.
template <class Codec>
class Reader {
  public:
    using Real = typename Codec::Real;

    struct Tile {
        const uint8_t* data;
        bool live;
        const Map<Real>* maps;  // one a lane
    };

    explicit Reader(const Store& store)
        : store_(&store), ages_(Store::SLOTS, -1), maps_(Store::SLOTS * store.lanes.size()) {
        for (const Lane& lane : store.lanes) fill_.push_back(static_cast<Real>(lane.fill));
    }

    const Map<Real>* maps(size_t slot, int64_t age) {
        const size_t count = store_->lanes.size();
        if (ages_[slot] != age) {
            ages_[slot] = age;
            for (size_t l = 0; l < count; l++) maps_[slot * count + l] = map_of<Real>(store_->lanes[l], age);
        }
        return &maps_[slot * count];
    }

    Tile tile(int64_t copy, int64_t ty, int64_t tx) {
        const int64_t index = (copy * store_->tiles_y + ty) * store_->tiles_x + tx;
        const bool live = store_->live(index, copy);
        return {store_->data + index * store_->tile_bytes(), live,
                maps(store_->slot(index, live), store_->age(index, copy, live))};
    }

    Real capacity(int lane, int64_t copy, int64_t y, int64_t x) const {
        const Lane& l = store_->lanes[lane];
        return static_cast<Real>(l.source->fixed_value(l.source_lane, l.source->copies == 1 ? 0 : copy, y, x));
    }

    Real value(int lane, int64_t copy, int64_t y, int64_t x) {
        if (store_->copies == 1) copy = 0;
        const Tile at = tile(copy, y >> store_->bits, x >> store_->bits);
        const uint8_t* cell = at.data + store_->offset_of(y, x) + lane * sizeof(typename Codec::Cell);
        const Map<Real>& m = at.maps[lane];
        const Real s = at.live ? Codec::load(cell, m) : fill_[lane];
        return store_->lanes[lane].source ? m.decode_towards(s, capacity(lane, copy, y, x)) : m.decode(s);
    }

    Real fill(int lane) const { return fill_[lane]; }

  private:
    const Store* store_;
    std::vector<int64_t> ages_;
    std::vector<Map<Real>> maps_;
    std::vector<Real> fill_;
};

inline double Store::fixed_value(int lane, int64_t copy, int64_t y, int64_t x) const {
    const int64_t index = tile_of(copy, y, x);
    const Lane& l = lanes[lane];
    auto decode = [&](auto codec) {
        using C = decltype(codec);
        using Real = typename C::Real;
        if (!live(index, copy)) return static_cast<double>(static_cast<Real>(l.fill));
        const Map<Real>& m = fixed_map<Real>(lane);
        const uint8_t* cell = data + index * tile_bytes() + offset_of(y, x) + lane * sizeof(typename C::Cell);
        return static_cast<double>(m.decode(C::load(cell, m)));
    };
    switch (type) {
        case Storage::f16: return decode(F16{});
        case Storage::f32: return decode(F32{});
        case Storage::f64: return decode(F64{});
        case Storage::u8: return decode(U8{});
        default: return decode(I32{});
    }
}

// Writes cells of one grid, for one call.
template <class Codec>
class Writer {
  public:
    using Real = typename Codec::Real;

    explicit Writer(Store& store) : store_(&store), reader_(store) {
        const int64_t age = store.epoch ? store.tick % store.epoch : 0;
        for (const Lane& lane : store.lanes) now_.push_back(map_of<Real>(lane, age));
    }

    void set(int lane, int64_t copy, int64_t y, int64_t x, Real value) {
        if (store_->copies == 1) copy = 0;
        make_current(copy, y, x);
        encode(lane, copy, y, x, value);
    }

    void combine(int lane, int64_t copy, int64_t y, int64_t x, double value, int how, double low, double high) {
        if (store_->copies == 1) copy = 0;
        make_current(copy, y, x);
        if (how != 0) {
            const double old = static_cast<double>(reader_.value(lane, copy, y, x));
            value = how == 1 ? old + value : value > old ? value : old;
        }
        encode(lane, copy, y, x, static_cast<Real>(bound(value, low, high)));
    }

    double take(int lane, int64_t copy, int64_t y, int64_t x, double amount) {
        if (store_->copies == 1) copy = 0;
        make_current(copy, y, x);
        const double old = static_cast<double>(reader_.value(lane, copy, y, x));
        const double taken = amount < old ? amount : old;
        encode(lane, copy, y, x, static_cast<Real>(old - taken));
        return taken;
    }

    // One window, whose first cell is (y0, x0): `values` [side][side][count of lanes]; `seen` [side][side] or null: only
    // these cells are written.
    void stamp(const int32_t* lanes, int64_t count, int64_t copy, int64_t y0, int64_t x0, int side, const float* values,
               const bool* seen, int how, const double* low, const double* high) {
        if (store_->copies == 1) copy = 0;
        const bool whole = how == 0 && whole_cells(lanes, count);
        if (whole) set_bounds(low, high);
        rows_.resize(side + 2), columns_.resize(side + 2);
        const int vertical = cut_runs(y0, side, store_->height, store_->bits, store_->wrap, rows_.data());
        const int horizontal = cut_runs(x0, side, store_->width, store_->bits, store_->wrap, columns_.data());
        for (int i = 0; i < vertical; i++)
            for (int j = 0; j < horizontal; j++) {
                const Run &down = rows_[i], &across = columns_[j];
                if (down.tile < 0 || across.tile < 0 || !any_seen(seen, side, down, across)) continue;
                const int64_t y = (down.tile << store_->bits) + down.inside, x = (across.tile << store_->bits) + across.inside;
                make_current(copy, y, x);
                for (int r = 0; r < down.count; r++) {
                    const float* from = values + (static_cast<int64_t>(down.start + r) * side + across.start) * count;
                    uint8_t* cell = store_->data + store_->tile_of(copy, y, x) * store_->tile_bytes() +
                                    store_->offset_of(y + r, x);
                    const bool* shown = seen ? seen + (down.start + r) * side + across.start : nullptr;
                    if (whole) {
                        set_cells(cell, from, across.count, static_cast<int>(count), shown);
                        continue;
                    }
                    for (int c = 0; c < across.count; c++, from += count, cell += store_->padded * store_->item) {
                        if (shown && !shown[c]) continue;
                        for (int64_t l = 0; l < count; l++) {
                            const Lane& lane = store_->lanes[lanes[l]];
                            const Map<Real>& m = now_[lanes[l]];
                            uint8_t* to = cell + lanes[l] * sizeof(typename Codec::Cell);
                            const Real k = lane.source ? reader_.capacity(lanes[l], copy, y + r, x + c) : Real(0);
                            double value = from[l];
                            if (how != 0) {
                                const Real s = Codec::load(to, m);
                                const double old = lane.source ? m.decode_towards(s, k) : m.decode(s);
                                value = how == 1 ? old + value : value > old ? value : old;
                            }
                            const Real v = static_cast<Real>(bound(value, low[l], high[l]));
                            Codec::store(to, lane.source ? m.encode_towards(v, k) : m.encode(v), lane);
                        }
                    }
                }
            }
    }

    int64_t settle() {
        int64_t stale = 0;
        for (int64_t copy = 0; copy < store_->copies; copy++)
            for (int64_t ty = 0; ty < store_->tiles_y; ty++)
                for (int64_t tx = 0; tx < store_->tiles_x; tx++) {
                    const int64_t index = (copy * store_->tiles_y + ty) * store_->tiles_x + tx;
                    if (!store_->live(index, copy) || store_->stamps[index] == store_->fresh_stamp(copy)) continue;
                    rebase(index, copy, ty, tx);
                    stale++;
                }
        return stale;
    }

  private:
    Store* store_;
    Reader<Codec> reader_;
    std::vector<Map<Real>> now_;
    std::vector<uint8_t> cleared_;
    std::vector<Run> rows_, columns_;
    struct Four {
        f4 low, high, least, most, b, a;
    };
    std::vector<Four> fours_;

    // Whether `lanes` are all of a cell's, in their order, in floats that can be set four at a time.
    bool whole_cells(const int32_t* lanes, int64_t count) const {
        if constexpr (std::is_same_v<Codec, F32> || std::is_same_v<Codec, F16>) {
            if (count != static_cast<int64_t>(store_->lanes.size()) || store_->padded % 4 != 0) return false;
            for (int64_t l = 0; l < count; l++)
                if (lanes[l] != l || store_->lanes[l].source) return false;
            return true;
        } else {
            return false;
        }
    }

    // The call's bounds beside the lanes' own, repeated over the pad lanes: float, which rounds as double and then float.
    void set_bounds(const double* low, const double* high) {
        const int count = static_cast<int>(store_->lanes.size());
        fours_.assign(store_->padded / 4, Four{});
        for (int l = 0; l < store_->padded; l++) {
            Four& four = fours_[l / 4];
            const int i = l % 4, of = std::min(l, count - 1);
            const Map<Real>& m = now_[of];
            four.low[i] = static_cast<float>(low[of]), four.high[i] = static_cast<float>(high[of]);
            four.least[i] = m.low, four.most[i] = m.high, four.b[i] = m.b, four.a[i] = m.a;
        }
    }

    void set_cells(uint8_t* cell, const float* from, int cells, int count, const bool* shown) const {
        const int groups = store_->padded / 4;
        for (int c = 0; c < cells; c++, from += count, cell += store_->padded * store_->item) {
            if (shown && !shown[c]) continue;
            for (int g = 0; g < groups; g++) {
                const Four& four = fours_[g];
                const int here = std::min(4, count - 4 * g);
                f4 v{};
                if (here == 4)
                    std::memcpy(&v, from + 4 * g, 16);
                else
                    for (int i = 0; i < here; i++) v[i] = from[4 * g + i];
                v = v > four.low ? v : four.low;
                v = v < four.high ? v : four.high;
                v = v > four.least ? v : four.least;
                v = v < four.most ? v : four.most;
                v = (v - four.b) / four.a;
                for (int i = here; i < 4; i++) v[i] = 0.0f;  // pad lanes stay 0
                if constexpr (std::is_same_v<Codec, F16>) {
                    const h4 halves = halves_of(v);
                    std::memcpy(cell + 8 * g, &halves, 8);
                } else {
                    std::memcpy(cell + 16 * g, &v, 16);
                }
            }
        }
    }

    void encode(int lane, int64_t copy, int64_t y, int64_t x, Real value) {
        const Lane& l = store_->lanes[lane];
        const Map<Real>& m = now_[lane];
        const Real s = l.source ? m.encode_towards(value, reader_.capacity(lane, copy, y, x)) : m.encode(value);
        uint8_t* cell = store_->data + store_->tile_of(copy, y, x) * store_->tile_bytes() + store_->offset_of(y, x);
        Codec::store(cell + lane * sizeof(typename Codec::Cell), s, l);
    }

    void make_current(int64_t copy, int64_t y, int64_t x) {
        const int64_t index = store_->tile_of(copy, y, x);
        if (store_->stamps[index] != store_->fresh_stamp(copy))
            rebase(index, copy, y >> store_->bits, x >> store_->bits);
    }

    // Whether a cell whose bytes are all 0 reads 0 in every lane, at the age of `maps`, and is written as 0 again.
    bool stays_empty(const Map<Real>* maps) const {
        const typename Codec::Cell none{};
        for (size_t l = 0; l < store_->lanes.size(); l++) {
            const Lane& lane = store_->lanes[l];
            if (lane.source) return false;
            typename Codec::Cell again{};
            const Real s = Codec::load(reinterpret_cast<const uint8_t*>(&none), maps[l]);
            Codec::store(reinterpret_cast<uint8_t*>(&again), now_[l].encode(maps[l].decode(s)), lane);
            if (std::memcmp(&again, &none, sizeof none) != 0) return false;
        }
        return true;
    }

    static bool is_empty(const uint8_t* cell, int64_t bytes) {
        uint64_t any = 0, word = 0;
        for (int64_t at = 0; at < bytes; at += 8, word = 0) {
            std::memcpy(&word, cell + at, bytes < 8 ? (bytes < 4 ? (bytes < 2 ? 1 : 2) : 4) : 8);
            any |= word;
        }
        return any == 0;
    }

    // Reads the whole tile, writes it again at the current tick, and stamps it.
    void rebase(int64_t index, int64_t copy, int64_t ty, int64_t tx) {
        const int64_t y0 = ty << store_->bits, x0 = tx << store_->bits;
        const int64_t rows = std::min<int64_t>(store_->side, store_->height - y0);
        const int64_t columns = std::min<int64_t>(store_->side, store_->width - x0);
        const int lanes = static_cast<int>(store_->lanes.size());
        const auto tile = reader_.tile(copy, ty, tx);
        uint8_t* const data = store_->data + index * store_->tile_bytes();
        const int64_t cell_bytes = store_->padded * static_cast<int64_t>(store_->item);
        const bool whole = rows == store_->side && columns == store_->side;
        if (!tile.live || !whole) cleared_.assign(static_cast<size_t>(store_->tile_bytes()), 0);
        uint8_t* const fresh = tile.live && whole ? data : cleared_.data();
        const bool alike = !tile.live && std::all_of(store_->lanes.begin(), store_->lanes.end(),
                                                     [](const Lane& lane) { return lane.source == nullptr; });
        const bool empty_stays = tile.live && stays_empty(tile.maps);
        for (int l = 0; l < lanes; l++) {  // each lane reads only itself and capacities, which are static
            const Lane& lane = store_->lanes[l];
            const Map<Real>& m = now_[l];
            const int64_t at = l * static_cast<int64_t>(sizeof(typename Codec::Cell));
            if (alike) {
                Codec::store(fresh + at, m.encode(tile.maps[l].decode(reader_.fill(l))), lane);
                continue;
            }
            for (int64_t y = 0; y < rows; y++)
                for (int64_t x = 0; x < columns; x++) {
                    const int64_t cell = ((y << store_->bits) + x) * cell_bytes, offset = cell + at;
                    if (empty_stays && is_empty(data + cell, cell_bytes)) continue;  // there is 0 in `fresh` already
                    const Real k = lane.source ? reader_.capacity(l, copy, y0 + y, x0 + x) : Real(0);
                    Real s = tile.live ? Codec::load(data + offset, tile.maps[l]) : reader_.fill(l);
                    s = lane.source ? m.encode_towards(tile.maps[l].decode_towards(s, k), k)
                                    : m.encode(tile.maps[l].decode(s));
                    Codec::store(fresh + offset, s, lane);
                }
        }
        if (alike) {  // one cell, repeated
            for (int64_t x = 1; x < columns; x++) std::memcpy(fresh + x * cell_bytes, fresh, static_cast<size_t>(cell_bytes));
            for (int64_t y = 1; y < rows; y++)
                std::memcpy(fresh + (y << store_->bits) * cell_bytes, fresh, static_cast<size_t>(columns * cell_bytes));
        }
        if (fresh != data) std::memcpy(data, fresh, static_cast<size_t>(store_->tile_bytes()));
        store_->stamps[index] = store_->fresh_stamp(copy);
    }
};

}  // namespace memfarm
