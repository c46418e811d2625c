// What windows are handed out in: float32, or rounded from it to float16, bfloat16 or uint8, 16 at a time.
//
// float16, bfloat16: the nearest, of two the even one; beyond the range infinity; NaN stays a quiet NaN of its own bits.
// uint8: 255 times the value, within 0 and 255 (NaN: 0), then the nearest whole number, of two the even one.
#pragma once

#include "kernels_direct.h"

namespace memfarm {

inline int64_t bytes_of(Out type) { return type == Out::f32 ? 4 : type == Out::u8 ? 1 : 2; }

static MEMFARM_INLINE u16 bits_of(v16 v) {
    u16 bits;
    __builtin_memcpy(&bits, &v, 64);
    return bits;
}

static MEMFARM_INLINE h16 half_of(v16 v) {
    const u16 bits = bits_of(v), sign = (bits >> 16) & 0x8000, size = bits & 0x7fffffff;
    v16 small;  // below the smallest normal half: let the adder round at 2^-24
    __builtin_memcpy(&small, &size, 64);
    const u16 subnormal = bits_of(small + 0.5f) - 0x3f000000;
    const u16 normal = ((size + 0xfff + ((size >> 13) & 1)) >> 13) - (112 << 10);
    u16 half = size < 0x38800000 ? subnormal : normal;
    half = size < 0x47800000 ? half : u16{} + 0x7c00;
    half = size > 0x7f800000 ? (size >> 13 & 0x3ff) | 0x7e00 : half;
    return __builtin_convertvector(half | sign, h16);
}

static MEMFARM_INLINE h16 bfloat_of(v16 v) {
    const u16 bits = bits_of(v), high = bits >> 16;
    const u16 nearest = (bits + 0x7fff + (high & 1)) >> 16;
    return __builtin_convertvector((bits & 0x7fffffff) > 0x7f800000 ? high | 0x40 : nearest, h16);
}

static MEMFARM_INLINE b16 byte_of(v16 v) {
    v = v * 255.0f;
    v = v > 0.0f ? v : v16{};
    v = v < 255.0f ? v : v16{} + 255.0f;
    const u16 whole = bits_of(v + 0x1p23f) & 0xff;  // the adder rounds
    return __builtin_convertvector(__builtin_convertvector(whole, h16), b16);
}

template <Out TYPE>
static MEMFARM_INLINE void narrow_some(const float* from, uint8_t* to, int64_t count) {
    constexpr int SIZE = TYPE == Out::u8 ? 1 : 2;
    const auto round = [](v16 v) __attribute__((always_inline)) {
        if constexpr (TYPE == Out::f16)
            return half_of(v);
        else if constexpr (TYPE == Out::bf16)
            return bfloat_of(v);
        else
            return byte_of(v);
    };
    v16 v;
    for (; count >= WIDE; count -= WIDE, from += WIDE, to += WIDE * SIZE) {
        __builtin_memcpy(&v, from, 64);
        const auto narrow = round(v);
        __builtin_memcpy(to, &narrow, WIDE * SIZE);
    }
    if (count == 0) return;
    v = v16{};
    std::memcpy(&v, from, static_cast<size_t>(count) * 4);
    const auto narrow = round(v);
    std::memcpy(to, &narrow, static_cast<size_t>(count) * SIZE);
}

MEMFARM_CLONES
void narrow_any(Out type, const float* from, uint8_t* to, int64_t count) {
    switch (type) {
        case Out::f32: std::memcpy(to, from, static_cast<size_t>(count) * 4); break;
        case Out::f16: narrow_some<Out::f16>(from, to, count); break;
        case Out::bf16: narrow_some<Out::bf16>(from, to, count); break;
        case Out::u8: narrow_some<Out::u8>(from, to, count); break;
    }
}

#if defined(MEMFARM_DIRECT)

template <Out TYPE>
static MEMFARM_512_INLINE auto rounded(__m512 v) {
    if constexpr (TYPE == Out::f16) {
        return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    } else if constexpr (TYPE == Out::bf16) {  // not VCVTNEPS2BF16: it reads subnormals as 0
        const __m512i bits = _mm512_castps_si512(v), high = _mm512_srli_epi32(bits, 16), one = _mm512_set1_epi32(1);
        const __m512i half = _mm512_add_epi32(_mm512_set1_epi32(0x7fff), _mm512_and_si512(high, one));
        const __m512i nearest = _mm512_srli_epi32(_mm512_add_epi32(bits, half), 16);
        const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
        return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(nearest, nan, high, _mm512_set1_epi32(0x40)));
    } else {
        v = _mm512_max_ps(_mm512_mul_ps(v, _mm512_set1_ps(255.0f)), _mm512_setzero_ps());  // in this order: NaN gives 0
        return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_min_ps(v, _mm512_set1_ps(255.0f))));
    }
}

template <Out TYPE>
static MEMFARM_512_INLINE void narrow_masked(const float* from, uint8_t* to, int64_t count) {
    const auto mask = static_cast<__mmask16>(ones(static_cast<int>(count)));
    const auto narrow = rounded<TYPE>(_mm512_maskz_loadu_ps(mask, from));
    if constexpr (TYPE == Out::u8)
        _mm_mask_storeu_epi8(to, mask, narrow);
    else
        _mm256_mask_storeu_epi16(to, mask, narrow);
}

template <Out TYPE>
MEMFARM_512 void narrow_512(const float* from, uint8_t* to, int64_t count) {
    constexpr int STEP = WIDE * (TYPE == Out::u8 ? 1 : 2);
    for (; count >= WIDE; count -= WIDE, from += WIDE, to += STEP) {
        const auto narrow = rounded<TYPE>(_mm512_loadu_ps(from));
        __builtin_memcpy(to, &narrow, STEP);
    }
    if (count > 0) narrow_masked<TYPE>(from, to, count);
}

#endif

// Rounds `count` floats to `type`.
inline void narrow(Out type, const float* from, uint8_t* to, int64_t count) {
#if defined(MEMFARM_DIRECT)
    if (Direct::here()) switch (type) {
            case Out::f32: break;
            case Out::f16: return narrow_512<Out::f16>(from, to, count);
            case Out::bf16: return narrow_512<Out::bf16>(from, to, count);
            case Out::u8: return narrow_512<Out::u8>(from, to, count);
        }
#endif
    narrow_any(type, from, to, count);
}

}  // namespace memfarm
