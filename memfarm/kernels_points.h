// Points: which points a window sees; draws from keys.
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
            // First who is inside, without a branch, then painting: in a crowd a tenth of these are, and no two alike.
            for (const Point* point = points_.data() + starts_[first]; point < end;) {
                const Point* found[32];
                int count = 0;
                for (const Point* const stop = point + std::min<int64_t>(end - point, 32); point < stop; point++) {
                    found[count] = point;
                    count += (point->copy == copy) & (static_cast<uint32_t>(point->y - first_y) <= rows) &
                             (static_cast<uint32_t>(point->x - first_x) <= columns);
                }
                for (int i = 0; i < count; i++)
                    paint(static_cast<int>(found[i]->y - y0), static_cast<int>(found[i]->x - x0), found[i]->value);
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

}  // namespace memfarm
