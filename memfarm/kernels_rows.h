// One grid's part of a window, decoded into rows of floats, 16 at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels_points.h"
#include "kernels_store.h"

// A build for tests names its one clone (benchmarks/variants.py).
#if defined(MEMFARM_CLONES)
#elif defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define MEMFARM_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define MEMFARM_CLONES
#endif

namespace memfarm {

typedef float v16 __attribute__((vector_size(64)));
typedef int32_t i16 __attribute__((vector_size(64)));
typedef uint32_t u16 __attribute__((vector_size(64)));
typedef uint16_t h16 __attribute__((vector_size(32)));
typedef uint8_t b16 __attribute__((vector_size(16)));

constexpr int WIDE = 16;

// A float in the rows of a part: which part, which lane; part -1: nothing stored.
struct Pick {
    int part, lane;
};

struct Column {
    Pick pick;
    float scale, shift;
    bool hidden;
};

// One grid in the plan of an observation.
struct Part {
    const Store* store;
    std::vector<int> source;  // per lane: the part that holds its capacity, -1 for a number
    bool linked = false;
    bool wide = false;  // decoded 16 floats at a time
};

struct Plan {
    int radius = 0, side = 1;
    std::vector<Part> parts;  // capacities before what grows towards them
    std::vector<Column> columns;
    Pick visibility{-1, 0};  // where something is hidden

    // The index of a store in parts; added, after the sources of its capacities, where it is new.
    int part_for(const Store* store) {
        for (size_t p = 0; p < parts.size(); p++)
            if (parts[p].store == store) return static_cast<int>(p);
        Part part{store, std::vector<int>(store->lanes.size(), -1)};
        for (size_t l = 0; l < store->lanes.size(); l++) {
            const Store* source = store->lanes[l].source;
            if (source == nullptr) continue;
            part.linked = true;
            if (source != store) part.source[l] = part_for(source);
        }
        const bool real32 = store->type == Storage::f32 || store->type == Storage::f16 || store->type == Storage::u8;
        part.wide = real32 && store->padded <= WIDE;
        const Store* only = nullptr;  // the one grid that all capacities lie in
        for (const Lane& lane : store->lanes) {
            if (lane.source == nullptr) continue;
            part.wide &= lane.source != store && (only == nullptr || only == lane.source);
            only = lane.source;
        }
        parts.push_back(part);
        return static_cast<int>(parts.size()) - 1;
    }
};

struct PointLayer {
    int column;
    bool skip_centre;
    const int32_t* seen;  // per window: the copy that it looks for among these points; null: its own
    PointIndex index;
};

struct CentreLayer {
    int column;
    const float* values;  // one a window
};

// What windows are handed out in; bf16: bfloat16, as bits.
enum class Out { f32, f16, bf16, u8 };

// One call.
struct Job {
    const Plan* plan;
    int64_t count;
    const int32_t *copy, *y, *x;
    void* out;
    std::vector<CentreLayer> centres;
    std::vector<PointLayer> points;
    std::vector<int32_t> order;  // the turn of each window
    Out type = Out::f32;         // of out
};

// The windows in the order in which their tiles lie: neighbours share pages, cache lines and address translations.
// One pass of a counting sort, about as many buckets as windows.
inline std::vector<int32_t> order_by_tile(const Plan& plan, const int32_t* copy, const int32_t* y, const int32_t* x,
                                          int64_t count) {
    std::vector<int32_t> order(static_cast<size_t>(count));
    const auto larger = [](const Part& a, const Part& b) {
        return a.store->copies * a.store->tiles_y * a.store->tiles_x < b.store->copies * b.store->tiles_y * b.store->tiles_x;
    };
    const Store& store = *std::max_element(plan.parts.begin(), plan.parts.end(), larger)->store;
    int shift = 0;
    while ((store.copies * store.tiles_y * store.tiles_x) >> shift > 2 * count) shift++;
    std::vector<int32_t> next(static_cast<size_t>((store.copies * store.tiles_y * store.tiles_x) >> shift) + 2);
    const auto bucket = [&](int64_t n) { return store.tile_of(store.copies == 1 ? 0 : copy[n], y[n], x[n]) >> shift; };
    for (int64_t n = 0; n < count; n++) next[bucket(n) + 1]++;
    for (size_t b = 1; b < next.size(); b++) next[b] += next[b - 1];
    for (int64_t n = 0; n < count; n++) order[next[bucket(n)]++] = static_cast<int32_t>(n);
    return order;
}

// ------------------------------------------------------------------------------------------- decoding 16 floats at a time

// The maps of a part's lanes at one age, repeated over 16 floats.
struct WideMap {
    v16 a, b, low, high, floor, unit, base;
};

inline WideMap wide_map(const Map<float>* maps, int lanes, int padded) {
    WideMap wide;
    for (int i = 0; i < WIDE; i++) {
        const Map<float>& m = maps[std::min(i % padded, lanes - 1)];
        wide.a[i] = m.a, wide.b[i] = m.b, wide.low[i] = m.low, wide.high[i] = m.high, wide.floor[i] = m.floor;
        wide.unit[i] = m.unit, wide.base[i] = m.base;
    }
    return wide;
}

template <class Codec>
static MEMFARM_INLINE v16 load16(const uint8_t* from) {
    if constexpr (std::is_same_v<Codec, U8>) {
        b16 bytes;
        __builtin_memcpy(&bytes, from, 16);
        // twice as wide a step: g++ takes larger steps apart into single bytes
        return __builtin_convertvector(__builtin_convertvector(__builtin_convertvector(bytes, h16), i16), v16);
    } else if constexpr (std::is_same_v<Codec, F16>) {
        h16 halves;
        __builtin_memcpy(&halves, from, 32);
        const u16 bits = __builtin_convertvector(halves, u16);
        const u16 magnitude = (bits & 0x7fff) << 13, sign = (bits & 0x8000) << 16;
        v16 v;
        __builtin_memcpy(&v, &magnitude, 64);
        v = v * 0x1p112f;
        u16 whole;
        __builtin_memcpy(&whole, &v, 64);
        whole = whole | sign;
        __builtin_memcpy(&v, &whole, 64);
        return v;
    } else {
        v16 v;
        __builtin_memcpy(&v, from, 64);
        return v;
    }
}

template <class Codec>
static MEMFARM_INLINE v16 decode16(v16 v, const WideMap& m) {
    if constexpr (std::is_same_v<Codec, U8>) {  // static lanes: no law, no floor
        v = v * m.unit;
        v = v + m.base;
        v = v > m.low ? v : m.low;
        return v < m.high ? v : m.high;
    } else {
        v = v * m.a;
        v = v + m.b;
        v = v > m.low ? v : m.low;
        v = v < m.high ? v : m.high;
        return v < m.floor ? v16{} : v;
    }
}

// Where the capacities of 16 floats lie in the rows of another part.
struct Capacities {
    i16 linked{};    // -1 where the lane has a capacity channel
    i16 offset{};    // in floats, from the first of the 16 cells' row
    i16 far{};       // -1 where the offset is 32 or more
    int step = 0;    // floats from one 16 to the next
    bool table = true;  // all within 64 floats
};

static MEMFARM_INLINE v16 capacities16(const Capacities& c, const float* from, bool registers) {
    v16 k;
    if (registers && c.table) {
        v16 table[4];
        __builtin_memcpy(table, from, 256);
        const v16 near = __builtin_shuffle(table[0], table[1], c.offset), far = __builtin_shuffle(table[2], table[3], c.offset);
        k = c.far ? far : near;
    } else
        for (int i = 0; i < WIDE; i++) k[i] = from[c.offset[i]];
    return k;
}

static MEMFARM_INLINE v16 decode16_towards(v16 v, const WideMap& m, const Capacities& c, v16 k) {
    const v16 factor = c.linked ? k : v16{} + 1.0f;
    const v16 high = c.linked ? k : m.high;
    v = v * m.a;
    v = v + m.b * factor;
    v = v > m.low ? v : m.low;
    v = v < high ? v : high;
    return v < m.floor ? v16{} : v;
}

// --------------------------------------------------------------------------------------------------- a part of a window

struct AnyPart {
    virtual ~AnyPart() = default;
    float* rows = nullptr;  // [row of the band][cell of the row][lane], decoded
    int lanes = 1;          // padded: floats from one cell to the next
    int stride = 0;         // floats from one row to the next; there is room for 16 more behind each
    bool registers = false;  // whether a shuffle of 16 floats is one instruction here
};

// Decodes one grid's part of the windows of one thread.
template <class Codec>
class PartRows : public AnyPart {
  public:
    using Real = typename Codec::Real;

    PartRows(const Part& part, int side, int band, const std::vector<AnyPart*>& before)
        : part_(part), store_(*part.store), side_(side), reader_(store_), row_runs_(side + 2), column_runs_(side + 2) {
        lanes = store_.padded;
        stride = side * lanes + WIDE;
        const int ahead = WIDE * std::max(4, lanes);  // 64 floats, and 16 cells, are read from any cell on
        room_.assign(static_cast<size_t>(band) * stride + ahead + 2 * WIDE, 0.0f);
        rows = room_.data() + (-(reinterpret_cast<uintptr_t>(room_.data()) / 4) & 15);
        const int count = static_cast<int>(store_.lanes.size());
        for (int i = 0; i < WIDE; i++) {
            const int lane = std::min(i % lanes, count - 1);
            outside_[i] = store_.outside_value(lane);
            fill_[i] = static_cast<float>(store_.lanes[lane].fill);
            const int source = part.wide ? part.source[lane] : -1;
            if (source < 0) continue;
            source_ = before[source];
            const int offset = i / lanes * source_->lanes + store_.lanes[lane].source_lane;
            capacities_.linked[i] = -1;
            capacities_.offset[i] = offset;
            capacities_.far[i] = offset >= 2 * WIDE ? -1 : 0;
            capacities_.table &= offset < 4 * WIDE;
        }
        std::fill(wide_age_, wide_age_ + Store::SLOTS, -1);
        capacities_.step = source_ ? WIDE / lanes * source_->lanes : 0;
        end_ = store_.data + store_.copies * store_.tiles_y * store_.tiles_x * store_.tile_bytes();
    }

    MEMFARM_INLINE void decode(int64_t copy, int64_t y, int64_t x, int band0, int band1) {
        if (store_.copies == 1) copy = 0;
        const int vertical = cut_runs(y, side_, store_.height, store_.bits, store_.wrap, row_runs_.data());
        const int horizontal = cut_runs(x, side_, store_.width, store_.bits, store_.wrap, column_runs_.data());
        for (int i = 0; i < vertical; i++) {
            const Run& down = row_runs_[i];
            const int top = std::max(down.start, band0), bottom = std::min(down.start + down.count, band1);
            for (int j = 0; j < horizontal && top < bottom; j++) {
                const Run& across = column_runs_[j];
                float* to = rows + (top - band0) * stride + across.start * lanes;
                if (down.tile < 0 || across.tile < 0)
                    repeat(outside_, to, bottom - top, across.count);
                else if constexpr (std::is_same_v<Real, float>) {
                    if (!part_.wide)
                        narrow(copy, down, across, top, bottom - top, to);
                    else if (source_ == nullptr)
                        wide<false>(copy, down, across, top, top - band0, bottom - top, to);
                    else
                        wide<true>(copy, down, across, top, top - band0, bottom - top, to);
                } else
                    narrow(copy, down, across, top, bottom - top, to);
            }
        }
    }

  private:
    const Part& part_;
    const Store& store_;
    const int side_;
    Reader<Codec> reader_;
    std::vector<Run> row_runs_, column_runs_;
    std::vector<float> room_;
    v16 outside_{}, fill_{};
    Capacities capacities_;
    const AnyPart* source_ = nullptr;
    const uint8_t* end_;
    int64_t wide_age_[Store::SLOTS];
    WideMap wide_[Store::SLOTS];

    MEMFARM_INLINE const WideMap& wide_at(int64_t tile, int64_t copy, bool live) {
        const size_t slot = store_.slot(tile, live);
        const int64_t age = store_.age(tile, copy, live);
        if (__builtin_expect(wide_age_[slot] != age, 0)) {
            if constexpr (std::is_same_v<Real, float>)
                wide_[slot] = wide_map(reader_.maps(slot, age), static_cast<int>(store_.lanes.size()), lanes);
            wide_age_[slot] = age;
        }
        return wide_[slot];
    }

    MEMFARM_INLINE void repeat(const v16& pattern, float* to, int count, int cells) {
        if (lanes > WIDE) return repeat_narrow(to, count, cells);
        for (int r = 0; r < count; r++, to += stride)
            for (int i = 0; i < cells * lanes; i += WIDE) __builtin_memcpy(to + i, &pattern, 64);
    }

    void repeat_narrow(float* to, int count, int cells) {
        for (int r = 0; r < count; r++, to += stride)
            for (int x = 0; x < cells; x++)
                for (size_t l = 0; l < store_.lanes.size(); l++)
                    to[x * lanes + static_cast<int>(l)] = store_.outside_value(static_cast<int>(l));
    }

    // Reads up to 15 floats more than it needs, and writes as many behind: the next run, or the room behind a row.
    template <bool LINKED>
    MEMFARM_INLINE void wide(int64_t copy, const Run& down, const Run& across, int top, int row, int count, float* to) {
        const int64_t index = (copy * store_.tiles_y + down.tile) * store_.tiles_x + across.tile;
        const bool live = store_.live(index, copy);
        const WideMap m = wide_at(index, copy, live);  // a copy: it stays in registers
        const int floats = across.count * lanes;
        const float* capacities = LINKED ? source_->rows + row * source_->stride + across.start * source_->lanes : nullptr;
        const Capacities where = capacities_;
        const bool in_registers = registers;
        const auto decode = [&](v16 v, int i) __attribute__((always_inline)) {
            if constexpr (LINKED)
                return decode16_towards(v, m, where, capacities16(where, capacities + i / WIDE * where.step, in_registers));
            else
                return decode16<Codec>(v, m);
        };
        if (!live) {
            if constexpr (!LINKED) return repeat(decode16<F32>(fill_, m), to, count, across.count);
            for (int r = 0; r < count; r++, to += stride, capacities += source_->stride)
                for (int i = 0; i < floats; i += WIDE) {
                    const v16 v = decode(fill_, i);
                    __builtin_memcpy(to + i, &v, 64);
                }
            return;
        }
        constexpr int ITEM = sizeof(typename Codec::Cell);
        const int row_bytes = store_.side * lanes * ITEM;
        const uint8_t* from =
            store_.data + index * store_.tile_bytes() +
            ((down.inside + top - down.start) * store_.side + across.inside) * static_cast<int64_t>(lanes * ITEM);
        if (__builtin_expect(from + (count - 1) * row_bytes + (floats + WIDE) * ITEM > end_, 0))
            return narrow(copy, down, across, top, count, to);
        for (int r = 0; r < count; r++, to += stride, from += row_bytes) {
            for (int i = 0; i < floats; i += WIDE) {
                const v16 v = decode(load16<Codec>(from + i * ITEM), i);
                __builtin_memcpy(to + i, &v, 64);
            }
            if constexpr (LINKED) capacities += source_->stride;
        }
    }

    // Any storage, cell by cell.
    void narrow(int64_t copy, const Run& down, const Run& across, int top, int count, float* to) {
        const int64_t x0 = (across.tile << store_.bits) + across.inside;
        int64_t y = (down.tile << store_.bits) + down.inside + top - down.start;
        for (int r = 0; r < count; r++, y++, to += stride)
            for (int x = 0; x < across.count; x++)
                for (size_t l = 0; l < store_.lanes.size(); l++)
                    to[x * lanes + static_cast<int>(l)] =
                        static_cast<float>(reader_.value(static_cast<int>(l), copy, y, x0 + x));
    }
};

}  // namespace memfarm
