// Points and keys: which points a window sees, who wins a contested cell, draws from keys.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels_store.h"

namespace memfarm {

constexpr uint64_t GOLDEN = 0x9E3779B97F4A7C15ull;

inline uint64_t splitmix64(uint64_t key) {
    key += GOLDEN;
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9ull;
    key = (key ^ (key >> 27)) * 0x94D049BB133111EBull;
    return key ^ (key >> 31);
}

inline size_t power_of_two_above(size_t n) {
    size_t power = 16;
    while (power < n) power *= 2;
    return power;
}

// Points by square block of the world, in buckets made by a counting sort: a bucket a block, in the order in which the
// blocks lie, where the points' layers are the copies of the world; else a hash table.
class PointIndex {
  public:
    // layers: the copies of the world, or 0 for keys of any size.
    PointIndex(const int32_t* copy, const int32_t* y, const int32_t* x, const float* value, int64_t count, int side,
               int64_t layers, int64_t height, int64_t width)
        : copy_(copy), y_(y), x_(x), value_(value), count_(count), bits_(4) {
        while ((1 << bits_) < side) bits_++;
        if (layers == 0) {
            buckets_ = power_of_two_above(2 * static_cast<size_t>(count_));
            return;
        }
        const auto blocks = [&](int64_t length) { return (length + (int64_t{1} << bits_) - 1) >> bits_; };
        const int64_t most = std::max<int64_t>(16384, 4 * count_);
        while (bits_ < 31 && layers * blocks(height) * blocks(width) > most && blocks(height) * blocks(width) > 1) bits_++;
        down_ = blocks(height), across_ = blocks(width);
        buckets_ = static_cast<size_t>(layers * down_ * across_);
    }

    void build() {
        starts_.assign(buckets_ + 1, 0);
        std::vector<uint32_t> bucket(static_cast<size_t>(count_));
        for (int64_t i = 0; i < count_; i++) {
            bucket[i] = static_cast<uint32_t>(bucket_of(copy_[i], y_[i] >> bits_, x_[i] >> bits_));
            starts_[bucket[i] + 1]++;
        }
        for (size_t b = 0; b < buckets_; b++) starts_[b + 1] += starts_[b];
        points_.resize(static_cast<size_t>(count_));
        std::vector<uint32_t> next(starts_.begin(), starts_.end() - 1);
        for (int64_t i = 0; i < count_; i++) points_[next[bucket[i]]++] = {copy_[i], y_[i], x_[i], value_[i]};
    }

    // Calls `paint(i, j, value)` for each point of `copy` that lies in the window whose first cell is (y0, x0).
    template <class Paint>
    void visit(int32_t copy, int64_t y0, int64_t x0, int side, int64_t height, int64_t width, bool wrap,
               Paint&& paint) const {
        if (count_ == 0) return;
        if (!wrap) return visit_image(copy, y0, x0, side, height, width, paint);
        // A wrapped world is seen once for each of its images that the window meets.
        for (int64_t a = floor_div(y0, height); a <= floor_div(y0 + side - 1, height); a++)
            for (int64_t b = floor_div(x0, width); b <= floor_div(x0 + side - 1, width); b++)
                visit_image(copy, y0 - a * height, x0 - b * width, side, height, width, paint);
    }

  private:
    struct Point {
        int32_t copy, y, x;
        float value;
    };
    const int32_t *copy_, *y_, *x_;
    const float* value_;
    int64_t count_;
    int bits_;
    int64_t down_ = 0, across_ = 0;  // blocks; 0: a hash table
    size_t buckets_ = 0;
    std::vector<uint32_t> starts_;
    std::vector<Point> points_;

    static int64_t floor_div(int64_t a, int64_t n) { return (a - modulo(a, n)) / n; }

    size_t bucket_of(int64_t copy, int64_t by, int64_t bx) const {
        if (across_) return static_cast<size_t>((copy * down_ + by) * across_ + bx);
        const uint64_t key = static_cast<uint64_t>(copy) * 0xD6E8FEB86659FD93ull ^
                             static_cast<uint64_t>(by) * 0xA24BAED4963EE407ull ^
                             static_cast<uint64_t>(bx) * 0x9FB21C651E98DF25ull;
        return static_cast<size_t>((key ^ (key >> 32)) * GOLDEN >> 32) & (buckets_ - 1);
    }

    template <class Paint>
    void visit_image(int32_t copy, int64_t y0, int64_t x0, int side, int64_t height, int64_t width,
                     Paint&& paint) const {
        const int64_t top = std::max<int64_t>(y0, 0), bottom = std::min(y0 + side, height) - 1;
        const int64_t left = std::max<int64_t>(x0, 0), right = std::min(x0 + side, width) - 1;
        const uint32_t rows = static_cast<uint32_t>(bottom - top), columns = static_cast<uint32_t>(right - left);
        const int32_t first_y = static_cast<int32_t>(top), first_x = static_cast<int32_t>(left);
        const auto look = [&](size_t first, size_t last) __attribute__((always_inline)) {
            const Point* const end = points_.data() + starts_[last + 1];
            for (const Point* point = points_.data() + starts_[first]; point < end; point++) {
                const bool inside = (point->copy == copy) & (static_cast<uint32_t>(point->y - first_y) <= rows) &
                                    (static_cast<uint32_t>(point->x - first_x) <= columns);
                if (inside) paint(static_cast<int>(point->y - y0), static_cast<int>(point->x - x0), point->value);
            }
        };
        for (int64_t by = top >> bits_; by <= bottom >> bits_; by++) {
            if (across_) {  // blocks side by side are one run of points
                look(bucket_of(copy, by, left >> bits_), bucket_of(copy, by, right >> bits_));
                continue;
            }
            for (int64_t bx = left >> bits_; bx <= right >> bits_; bx++) {
                const size_t bucket = bucket_of(copy, by, bx);
                look(bucket, bucket);
            }
        }
    }
};

// Sets won[i] for the entry of highest priority (lowest index on a tie) of each wanted key that is not occupied.
inline void win(const int64_t* wanted, const uint64_t* priority, int64_t count, const int64_t* occupied,
                int64_t occupied_count, bool* won) {
    constexpr int64_t EMPTY = -1;
    constexpr int64_t TAKEN = -1;
    const size_t slots = power_of_two_above(2 * static_cast<size_t>(count + occupied_count));
    std::vector<int64_t> keys(slots, EMPTY), best(slots);
    auto slot_of = [&](int64_t key) {
        size_t slot = static_cast<size_t>(splitmix64(static_cast<uint64_t>(key))) & (slots - 1);
        while (keys[slot] != EMPTY && keys[slot] != key) slot = (slot + 1) & (slots - 1);
        return slot;
    };
    std::fill(won, won + count, false);
    for (int64_t i = 0; i < occupied_count; i++) {
        if (occupied[i] < 0) continue;
        const size_t slot = slot_of(occupied[i]);
        keys[slot] = occupied[i], best[slot] = TAKEN;
    }
    for (int64_t i = 0; i < count; i++) {
        if (wanted[i] < 0) continue;
        const size_t slot = slot_of(wanted[i]);
        if (keys[slot] == EMPTY)
            keys[slot] = wanted[i], best[slot] = i;
        else if (best[slot] != TAKEN && priority[i] > priority[best[slot]])
            best[slot] = i;
    }
    for (size_t slot = 0; slot < slots; slot++)
        if (keys[slot] != EMPTY && best[slot] != TAKEN) won[best[slot]] = true;
}

// The cells that somebody stands on.
class Taken {
  public:
    explicit Taken(int64_t most) : keys_(power_of_two_above(2 * static_cast<size_t>(most)), -1) {
        while ((size_t{1} << bits_) < keys_.size()) bits_++;
    }

    void add(int64_t key) {
        size_t slot = home(key);
        while (keys_[slot] != -1 && keys_[slot] != key) slot = (slot + 1) & (keys_.size() - 1);
        keys_[slot] = key;
    }

    bool has(int64_t key) const {
        size_t slot = home(key);
        while (keys_[slot] != -1 && keys_[slot] != key) slot = (slot + 1) & (keys_.size() - 1);
        return keys_[slot] == key;
    }

  private:
    std::vector<int64_t> keys_;
    int bits_ = 0;

    size_t home(int64_t key) const { return static_cast<uint64_t>(key) * GOLDEN >> (64 - bits_); }
};

// out[n][d]: whether the cell north, south, west, east of agent n is there, reads less than `below`, and is not taken by an
// agent of the batch; never for an agent that is not alive.
template <class Codec>
void open_neighbours(const Store& store, int lane, int64_t count, const int32_t* copy, const int32_t* y, const int32_t* x,
                     const bool* alive, double below, bool* out) {
    const int64_t height = store.height, width = store.width;
    const auto key = [&](int64_t c, int64_t v, int64_t u) { return (c * height + v) * width + u; };
    Taken taken(count);
    for (int64_t i = 0; i < count; i++)
        if (alive[i]) taken.add(key(copy[i], y[i], x[i]));
    Reader<Codec> reader(store);
    constexpr int DY[] = {-1, 1, 0, 0}, DX[] = {0, 0, -1, 1};
    for (int64_t i = 0; i < count; i++, out += 4) {
        if (i + CELLS_AHEAD < count) store.ask(copy[i + CELLS_AHEAD], y[i + CELLS_AHEAD], x[i + CELLS_AHEAD]);
        for (int d = 0; d < 4; d++) {
            int64_t v = int64_t{y[i]} + DY[d], u = int64_t{x[i]} + DX[d];
            bool open = alive[i];
            if (store.wrap)
                v = v < 0 ? height - 1 : v >= height ? 0 : v, u = u < 0 ? width - 1 : u >= width ? 0 : u;
            else
                open &= v >= 0 && v < height && u >= 0 && u < width;
            out[d] = open && !taken.has(key(copy[i], v, u)) &&
                     static_cast<double>(Codec::hand_out(reader.value(lane, copy[i], v, u))) < below;
        }
    }
}

}  // namespace memfarm
