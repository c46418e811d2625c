// Agents on the ground: which cells they can step on, who wins a contested one, where newcomers find a place.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels_points.h"
#include "kernels_store.h"

namespace memfarm {

// Cells by key (0 or more), each taken, or claimed by the best of its contenders: a hash table, and before it a bit for
// every sixteenth of a slot, so that nearly all who ask for a free cell need not look.
class Claims {
  public:
    static constexpr int32_t TAKEN = -1;

    // most: keys that there may come to be.
    explicit Claims(int64_t most)
        : mask_(power_of_two_above(static_cast<size_t>(most) + static_cast<size_t>(most) / 2) - 1),
          keys_(mask_ + 1, FREE), best_(new int32_t[mask_ + 1]), known_((mask_ + 1) * 16 / 64) {
        while ((size_t{1} << bits_) <= mask_) bits_++;
    }

    void take(int64_t key) {
        const size_t slot = slot_of(key), bit = bit_of(key);
        known_[bit / 64] |= uint64_t{1} << bit % 64;
        keys_[slot] = key, best_[slot] = TAKEN;
    }

    bool is_taken(int64_t key) const {
        const size_t bit = bit_of(key);
        return (known_[bit / 64] >> bit % 64 & 1) && keys_[slot_of(key)] != FREE;
    }

    // Enters contender i, unless the cell is taken or its best so far is at least as good: `better(i, best)`.
    template <class Better>
    size_t claim(int64_t key, int32_t i, Better&& better) {
        const size_t slot = slot_of(key);
        if (keys_[slot] == FREE)
            keys_[slot] = key, best_[slot] = i;
        else if (best_[slot] != TAKEN && better(i, best_[slot]))
            best_[slot] = i;
        return slot;
    }

    int32_t best(size_t slot) const { return best_[slot]; }
    void settle(size_t slot) { best_[slot] = TAKEN; }

  private:
    static constexpr int64_t FREE = -1;
    size_t mask_;
    std::vector<int64_t> keys_;
    std::unique_ptr<int32_t[]> best_;
    std::vector<uint64_t> known_;  // bits of the cells that were taken
    int bits_ = 0;

    size_t bit_of(int64_t key) const { return static_cast<uint64_t>(key) * GOLDEN >> (60 - bits_); }

    size_t slot_of(int64_t key) const {
        size_t slot = static_cast<uint64_t>(key) * GOLDEN >> (64 - bits_);
        while (keys_[slot] != FREE && keys_[slot] != key) slot = (slot + 1) & mask_;
        return slot;
    }
};

// One lane of a grid, cell by cell; a static one without looking at the clock.
template <class Codec>
class Layer {
  public:
    using Value = typename Codec::Value;

    Layer(const Store& store, int lane)
        : store_(&store), lane_(lane), plain_(store.lanes[lane].fixed && store.lanes[lane].source == nullptr), reader_(store),
          map_(store.fixed_map<typename Codec::Real>(lane)) {}

    Value at(int64_t copy, int64_t y, int64_t x) {
        if (!plain_) return Codec::hand_out(reader_.value(lane_, copy, y, x));
        if (store_->copies == 1) copy = 0;
        const int64_t tile = store_->tile_of(copy, y, x);
        const uint8_t* cell = store_->data + tile * store_->tile_bytes() + store_->offset_of(y, x);
        const auto s = store_->live(tile, copy) ? Codec::load(cell + lane_ * sizeof(typename Codec::Cell), map_)
                                                : reader_.fill(lane_);
        return Codec::hand_out(map_.decode(s));
    }

    bool below(int64_t copy, int64_t y, int64_t x, double limit) { return static_cast<double>(at(copy, y, x)) < limit; }

    // Whether the cells north, south, west and east read less than the limit, where all of them are in the cell's own tile
    // and need no clock; else false, and nothing is written.
    bool below_around(int64_t copy, int64_t y, int64_t x, double limit, bool* out) const {
        const Store& store = *store_;
        const int64_t last = store.side - 1, v = y & last, u = x & last;
        if (!plain_ || v == 0 || v == last || u == 0 || u == last || y + 1 >= store.height || x + 1 >= store.width) return false;
        if (store.copies == 1) copy = 0;
        const int64_t tile = store.tile_of(copy, y, x), cell = store.padded * static_cast<int64_t>(store.item);
        const auto is_below = [&](auto s) { return static_cast<double>(Codec::hand_out(map_.decode(s))) < limit; };
        if (!store.live(tile, copy)) {
            std::fill(out, out + 4, is_below(reader_.fill(lane_)));
            return true;
        }
        const uint8_t* const at = store.data + tile * store.tile_bytes() + store.offset_of(y, x) + lane_ * sizeof(typename Codec::Cell);
        const int64_t beside[] = {-(cell << store.bits), cell << store.bits, -cell, cell};
        for (int way = 0; way < 4; way++) out[way] = is_below(Codec::load(at + beside[way], map_));
        return true;
    }

  private:
    const Store* store_;
    int lane_;
    bool plain_;
    Reader<Codec> reader_;
    Map<typename Codec::Real> map_;
};

// Steps from one cell to the next in a world of this size.
struct Ways {
    int64_t height, width;
    bool wrap;

    int64_t key(int64_t copy, int64_t y, int64_t x) const { return (copy * height + y) * width + x; }

    // North, south, west, east for 0 to 3; false where there is nothing.
    bool go(int way, int64_t& y, int64_t& x) const {
        constexpr int DY[] = {-1, 1, 0, 0}, DX[] = {0, 0, -1, 1};
        y += DY[way], x += DX[way];
        if (!wrap) return y >= 0 && y < height && x >= 0 && x < width;
        y = y < 0 ? height - 1 : y >= height ? 0 : y, x = x < 0 ? width - 1 : x >= width ? 0 : x;
        return true;
    }
};

// out[n][d]: whether the cell north, south, west, east of agent n is there, reads less than `below`, and is not taken by an
// agent of the batch; never for an agent that is not alive. `step`: bytes from one row of out to the next.
template <class Codec>
class Neighbours {
  public:
    Neighbours(const Store& store, int lane, int64_t count, const int32_t* copy, const int32_t* y, const int32_t* x,
               const bool* alive, double below, bool* out, int64_t step)
        : store_(store), copy_(copy), y_(y), x_(x), alive_(alive), below_(below), out_(out), step_(step),
          ways_{store.height, store.width, store.wrap}, taken_(count), ground_(store, lane) {
        for (int64_t i = 0; i < count; i++)
            if (alive[i]) taken_.take(ways_.key(copy[i], y[i], x[i]));
    }

    MEMFARM_INLINE void ask(int64_t i) const {
        for (int64_t v = std::max<int64_t>(y_[i] - 1, 0); v <= std::min<int64_t>(y_[i] + 1, store_.height - 1); v++)
            store_.ask(copy_[i], v, x_[i]);
    }

    MEMFARM_INLINE void look(int64_t i) {
        bool* const out = out_ + i * step_;
        if (alive_[i] && ground_.below_around(copy_[i], y_[i], x_[i], below_, out)) {
            const int64_t key = ways_.key(copy_[i], y_[i], x_[i]), beside[] = {-ways_.width, ways_.width, -1, 1};
            for (int way = 0; way < 4; way++) out[way] &= !taken_.is_taken(key + beside[way]);
            return;
        }
        for (int way = 0; way < 4; way++) {
            int64_t v = y_[i], u = x_[i];
            out[way] = ways_.go(way, v, u) && alive_[i] && !taken_.is_taken(ways_.key(copy_[i], v, u)) &&
                       ground_.below(copy_[i], v, u, below_);
        }
    }

  private:
    const Store& store_;
    const int32_t *copy_, *y_, *x_;
    const bool* alive_;
    double below_;
    bool* out_;
    int64_t step_;
    Ways ways_;
    Claims taken_;
    Layer<Codec> ground_;
};

template <class Codec>
void open_neighbours(const Store& store, int lane, int64_t count, const int32_t* copy, const int32_t* y, const int32_t* x,
                     const bool* alive, double below, bool* out, int64_t step) {
    Neighbours<Codec> neighbours(store, lane, count, copy, y, x, alive, below, out, step);
    for (int64_t i = 0; i < count; i++) {
        if (i + 2 * CELLS_AHEAD < count) neighbours.ask(i + 2 * CELLS_AHEAD);
        neighbours.look(i);
    }
}

// Agents that walk: `heading` 1 to 4 is north, south, west, east; who is not `live`, and any other heading, stays. A
// step needs a cell that is there, reads less than `below` in the lane `blocked`, and on which nobody `alive` stands; of
// several who want it the highest draw goes, the first of equals. Draws come from the keys of the worlds and the cell left.
// Writes y and x of those who went, and what the cell they came to reads in the lane `price` (0 for the others).
template <class Codec>
void walk(const Store& store, int blocked, int price, double below, int64_t count, const int32_t* copy, int32_t* y,
          int32_t* x, const int64_t* heading, const bool* live, const bool* alive, const uint64_t* keys,
          typename Codec::Value* paid) {
    const Ways ways{store.height, store.width, store.wrap};
    struct Step {
        int32_t agent, y, x;
        uint32_t slot;
    };
    int64_t standing = 0, going = 0;
    for (int64_t i = 0; i < count; i++) {
        paid[i] = 0;
        standing += alive[i], going += live[i] && heading[i] >= 1 && heading[i] <= 4;
    }
    Claims claims(standing + going);
    for (int64_t i = 0; i < count; i++)
        if (alive[i]) claims.take(ways.key(copy[i], y[i], x[i]));
    const auto draw = [&](int32_t i) {
        return splitmix64(splitmix64(keys[copy[i]] ^ static_cast<uint64_t>(y[i] * store.width + x[i])));
    };
    const auto better = [&](int32_t i, int32_t best) { return draw(i) > draw(best); };
    Layer<Codec> ground(store, blocked), prices(store, price);
    std::vector<Step> steps;
    steps.reserve(static_cast<size_t>(going));
    for (int64_t i = 0; i < count; i++) {
        if (const int64_t next = i + CELLS_AHEAD; next < count && heading[next] >= 1 && heading[next] <= 4) {
            int64_t v = y[next], u = x[next];
            if (ways.go(static_cast<int>(heading[next]) - 1, v, u)) store.ask(copy[next], v, u);
        }
        if (!live[i] || heading[i] < 1 || heading[i] > 4) continue;
        int64_t v = y[i], u = x[i];
        if (!ways.go(static_cast<int>(heading[i]) - 1, v, u) || !ground.below(copy[i], v, u, below)) continue;
        const int32_t agent = static_cast<int32_t>(i);
        const size_t slot = claims.claim(ways.key(copy[i], v, u), agent, better);
        steps.push_back({agent, static_cast<int32_t>(v), static_cast<int32_t>(u), static_cast<uint32_t>(slot)});
    }
    for (const Step& step : steps) {
        if (claims.best(step.slot) != step.agent) continue;
        y[step.agent] = step.y, x[step.agent] = step.x;
        paid[step.agent] = prices.at(copy[step.agent], step.y, step.x);
    }
}

// Agents whose cells are taken, where they are alive.
struct Standing {
    int64_t count;
    const int32_t *copy, *y, *x;
    const bool* alive;
};

// Newcomers, each with its own draw: in every round those who have no cell draw one, and get it if it reads less than
// `below` and nobody stands there; of several who want it the highest draw, the first of equals.
template <class Codec>
void place(const Store& store, int lane, double below, int64_t count, const int32_t* copy, const uint64_t* draws,
           const Standing& others, int rounds, int32_t* y, int32_t* x, bool* placed) {
    const Ways ways{store.height, store.width, store.wrap};
    Claims claims(count + others.count);
    for (int64_t i = 0; i < others.count; i++)
        if (others.alive[i]) claims.take(ways.key(others.copy[i], others.y[i], others.x[i]));
    const auto better = [&](int32_t i, int32_t best) { return draws[i] > draws[best]; };
    Layer<Codec> ground(store, lane);
    constexpr size_t NONE = ~size_t{0};
    std::vector<int32_t> left(static_cast<size_t>(count)), still;
    for (int64_t i = 0; i < count; i++) left[i] = static_cast<int32_t>(i), y[i] = x[i] = 0, placed[i] = false;
    std::vector<size_t> slots(static_cast<size_t>(count));
    for (int round = 1; round <= rounds && !left.empty(); round++) {
        for (const int32_t i : left) {
            const uint64_t drawn = splitmix64(splitmix64(draws[i]) ^ static_cast<uint64_t>(round) * GOLDEN);
            const int64_t v = static_cast<int64_t>((drawn >> 32) % static_cast<uint64_t>(store.height));
            const int64_t u = static_cast<int64_t>((drawn & 0xffffffff) % static_cast<uint64_t>(store.width));
            const bool free = ground.below(copy[i], v, u, below);
            slots[i] = free ? claims.claim(ways.key(copy[i], v, u), i, better) : NONE;
            y[i] = static_cast<int32_t>(v), x[i] = static_cast<int32_t>(u);
        }
        still.clear();
        for (const int32_t i : left) {
            placed[i] = slots[i] != NONE && claims.best(slots[i]) == i;
            if (!placed[i]) still.push_back(i), y[i] = x[i] = 0;
        }
        for (const int32_t i : left)
            if (placed[i]) claims.settle(slots[i]);
        left.swap(still);
    }
}

}  // namespace memfarm
