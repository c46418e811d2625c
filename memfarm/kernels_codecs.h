// The laws' closed form, and the codecs of the storage dtypes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <variant>
#include <vector>

#define MEMFARM_INLINE inline __attribute__((always_inline))

namespace memfarm {

// Asks for a line before its turn comes: into the second cache, which can wait for more lines at once than the first.
static MEMFARM_INLINE void ask_for(const void* line) { __builtin_prefetch(line, 0, 2); }

enum class Storage { f16, f32, f64, u8, i32 };

struct Store;

struct Lane {
    double alpha = 1, beta = 0, floor = 0, capacity = 1, low = 0, high = 1, fill = 0, outside = 0;
    bool fixed = true;           // Static
    const Store* source = nullptr;  // the grid that holds the capacity cell by cell
    int source_lane = 0;
};

inline int64_t modulo(int64_t a, int64_t n) {
    const int64_t r = a % n;
    return r < 0 ? r + n : r;
}

// v -> a * v + b * k after n ticks.
struct Affine {
    double a = 1, b = 0;
};

inline Affine compose(double alpha, double beta, int64_t ticks) {
    Affine map;
    for (; ticks > 0; ticks >>= 1) {
        if (ticks & 1) map = {map.a * alpha, alpha * map.b + beta};
        beta = alpha * beta + beta;
        alpha = alpha * alpha;
    }
    if (std::fabs(map.a) < 1e-37) map.a = 0;
    return map;
}

// On a tie, and for NaN, the bound itself: as the SIMD instructions do it.
template <class Real>
inline Real bound(Real v, Real low, Real high) {
    v = v > low ? v : low;
    return v < high ? v : high;
}

// One lane's decoding at one age, its constants rounded once.
template <class Real>
struct Map {
    Real a, b;  // b: B * k where k is a number, else B
    Real low, high, floor;
    Real unit, base;  // uint8: value = q * unit + base

    Real decode(Real s) const {
        Real v = a * s;
        v = v + b;
        v = bound(v, low, high);
        return v < floor ? Real(0) : v;
    }
    Real decode_towards(Real s, Real k) const {
        Real v = a * s;
        v = v + b * k;
        v = bound(v, Real(0), k);
        return v < floor ? Real(0) : v;
    }
    Real encode(Real v) const {
        v = bound(v, low, high);
        return (v - b) / a;
    }
    Real encode_towards(Real v, Real k) const {
        v = bound(v, Real(0), k);
        return (v - b * k) / a;
    }
};

inline float half_to_float(uint16_t half) {
    // Exponent and mantissa moved into place, then rescaled by 2^112; stored halves are always finite.
    uint32_t bits = static_cast<uint32_t>(half & 0x7fff) << 13;
    float value;
    std::memcpy(&value, &bits, 4);
    value *= 0x1p112f;
    return half & 0x8000 ? -value : value;
}

inline uint16_t float_to_half(float value) {
    // Round to nearest even; |value| is at most 65504.
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
    bits &= 0x7fffffff;
    if (bits < 0x38800000) {  // below the smallest normal half: let the adder round at 2^-24
        float small;
        std::memcpy(&small, &bits, 4);
        small += 0.5f;
        std::memcpy(&bits, &small, 4);
        return static_cast<uint16_t>(sign | (bits - 0x3f000000));
    }
    bits += 0xfff + ((bits >> 13) & 1);
    return static_cast<uint16_t>(sign | ((bits >> 13) - (112 << 10)));
}

typedef float f4 __attribute__((vector_size(16)));
typedef int32_t i4 __attribute__((vector_size(16)));
typedef uint16_t h4 __attribute__((vector_size(8)));

// float_to_half of four at a time, after the clamp to what halves hold.
inline h4 halves_of(f4 v) {
    const f4 most = f4{} + 65504.0f;
    v = v > -most ? v : -most;
    v = v < most ? v : most;
    i4 bits;
    std::memcpy(&bits, &v, 16);
    const i4 sign = (bits >> 16) & 0x8000;
    bits &= 0x7fffffff;
    f4 small;
    std::memcpy(&small, &bits, 16);
    small = small + 0.5f;
    i4 subnormal;
    std::memcpy(&subnormal, &small, 16);
    subnormal = subnormal - 0x3f000000;
    const i4 normal = ((bits + 0xfff + ((bits >> 13) & 1)) >> 13) - (112 << 10);
    const i4 half = sign | (bits < 0x38800000 ? subnormal : normal);
    return __builtin_convertvector(half, h4);
}

struct F32 {
    using Cell = float;
    using Real = float;
    using Value = float;
    static Real load(const uint8_t* from, const Map<Real>&) {
        Cell s;
        std::memcpy(&s, from, sizeof s);
        return s;
    }
    static void store(uint8_t* to, Real s, const Lane&) {
        const Cell cell = s;
        std::memcpy(to, &cell, sizeof cell);
    }
    static Value hand_out(Real v) { return v; }
};

struct F64 {
    using Cell = double;
    using Real = double;
    using Value = double;
    static Real load(const uint8_t* from, const Map<Real>&) {
        Cell s;
        std::memcpy(&s, from, sizeof s);
        return s;
    }
    static void store(uint8_t* to, Real s, const Lane&) { std::memcpy(to, &s, sizeof s); }
    static Value hand_out(Real v) { return v; }
};

struct F16 {
    using Cell = uint16_t;
    using Real = float;
    using Value = float;
    static Real load(const uint8_t* from, const Map<Real>&) {
        Cell s;
        std::memcpy(&s, from, sizeof s);
        return half_to_float(s);
    }
    static void store(uint8_t* to, Real s, const Lane&) {
        const Cell cell = float_to_half(bound(s, -65504.0f, 65504.0f));
        std::memcpy(to, &cell, sizeof cell);
    }
    static Value hand_out(Real v) { return v; }
};

struct U8 {
    using Cell = uint8_t;
    using Real = float;
    using Value = float;
    static Real load(const uint8_t* from, const Map<Real>& m) {
        Real v = static_cast<Real>(*from) * m.unit;
        v = v + m.base;
        return v;
    }
    static void store(uint8_t* to, Real v, const Lane& lane) {
        const Real q = (v - static_cast<Real>(lane.low)) * static_cast<Real>(255 / (lane.high - lane.low));
        *to = static_cast<uint8_t>(bound(std::nearbyint(q), Real(0), Real(255)));
    }
    static Value hand_out(Real v) { return v; }
};

struct I32 {
    using Cell = int32_t;
    using Real = double;
    using Value = int32_t;
    static Real load(const uint8_t* from, const Map<Real>&) {
        Cell s;
        std::memcpy(&s, from, sizeof s);
        return s;
    }
    static void store(uint8_t* to, Real s, const Lane&) {
        const Cell cell = static_cast<Cell>(std::nearbyint(s));
        std::memcpy(to, &cell, sizeof cell);
    }
    static Value hand_out(Real v) { return static_cast<Value>(std::nearbyint(v)); }
};

template <class Real>
inline Map<Real> map_of(const Lane& lane, int64_t age) {
    Map<Real> m;
    const Affine affine = lane.fixed ? Affine{} : compose(lane.alpha, lane.beta, age);
    m.a = static_cast<Real>(affine.a);
    m.b = static_cast<Real>(lane.fixed ? 0.0 : lane.source ? affine.b : affine.b * lane.capacity);
    m.low = static_cast<Real>(lane.fixed ? lane.low : 0.0);
    m.high = static_cast<Real>(lane.fixed ? lane.high : lane.capacity);
    m.floor = lane.fixed ? -std::numeric_limits<Real>::infinity() : static_cast<Real>(lane.floor);
    m.unit = static_cast<Real>((lane.high - lane.low) / 255);
    m.base = static_cast<Real>(lane.low);
    return m;
}

}  // namespace memfarm
