// One thread's share of an observation: the windows of a batch in the order in which their tiles lie.
#pragma once

#include <memory>

#include "kernels_narrow.h"

namespace memfarm {

static std::unique_ptr<AnyPart> rows_of(const Part& part, int side, int band, const std::vector<AnyPart*>& before) {
    switch (part.store->type) {
        case Storage::f16: return std::make_unique<PartRows<F16>>(part, side, band, before);
        case Storage::f32: return std::make_unique<PartRows<F32>>(part, side, band, before);
        case Storage::f64: return std::make_unique<PartRows<F64>>(part, side, band, before);
        case Storage::u8: return std::make_unique<PartRows<U8>>(part, side, band, before);
        default: return std::make_unique<PartRows<I32>>(part, side, band, before);
    }
}

static bool wide_registers() {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(MEMFARM_NO_512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
#else
    return false;
#endif
}

// Looks at the windows before their turn comes: asks for their cells, and puts the common ones together.
class Ahead {
  public:
    Ahead(const Job& job, int64_t begin, int64_t end)
        : job_(job), end_(end), window_bytes_(job.plan->side * job.plan->side * bytes_of(job.type) *
                                              static_cast<int64_t>(job.plan->columns.size()))
#if defined(MEMFARM_DIRECT)
          , direct_(*job.plan)
#endif
    {
#if defined(MEMFARM_DIRECT)
        hints_ = direct_.usable() && direct_.many_pages();
#endif
        for (int64_t turn = begin; turn < begin + AHEAD; turn++) look(turn);
    }

    // Whether the window of this turn has been put into `out`.
    bool put(int64_t turn, float* out) {
        look(turn + AHEAD);
        make_room(turn + OUT_AHEAD);
#if defined(MEMFARM_DIRECT)
        if (hints_ && turn + HINTED_AHEAD < end_) {
            const int64_t later = job_.order[turn + HINTED_AHEAD];
            direct_.hint(job_.copy[later], job_.y[later], job_.x[later]);
        }
        Direct::Window& window = windows_[turn % (AHEAD + 1)];
        const int64_t n = job_.order[turn];
        if (!direct_.usable() || !window.common || !direct_.hold(job_.copy[n], job_.y[n], job_.x[n], window)) return false;
        direct_.put(window, out);
        return true;
#else
        static_cast<void>(out);
        return false;
#endif
    }

  private:
    const Job& job_;
    const int64_t end_, window_bytes_;
#if defined(MEMFARM_DIRECT)
    Direct direct_;
    Direct::Window windows_[AHEAD + 1];
    bool hints_ = false;
#endif

    // Inline always, as whatever does nothing but ask: g++ takes it for a function without effect and leaves out the call.
    MEMFARM_INLINE void make_room(int64_t turn) const {
        if (turn >= end_ || job_.plan->radius > MOST_PREFETCHED) return;
        const uint8_t* const out = static_cast<const uint8_t*>(job_.out) + job_.order[turn] * window_bytes_;
        for (int64_t at = 0; at < window_bytes_; at += 64) ask_for(out + at);
    }

    void look(int64_t turn) {
        if (turn >= end_) return;
        const int64_t n = job_.order[turn];
#if defined(MEMFARM_DIRECT)
        if (direct_.usable()) return direct_.find(job_.copy[n], job_.y[n], job_.x[n], windows_[turn % (AHEAD + 1)]);
#endif
        if (job_.plan->radius > MOST_PREFETCHED) return;
        for (const Part& part : job_.plan->parts)
            prefetch_window(*part.store, job_.copy[n], job_.y[n], job_.x[n], job_.plan->radius);
    }
};

MEMFARM_CLONES
void observe_range(const Job& job, int64_t begin, int64_t end) {
    const Plan& plan = *job.plan;
    const int side = plan.side, radius = plan.radius, columns = static_cast<int>(plan.columns.size());
    int floats = 0;
    bool wide = wide_registers() && columns <= WIDE && plan.parts.size() <= 4;
    for (const Part& part : plan.parts) floats += part.store->padded, wide &= part.store->padded <= 4;
    const int band = std::max(1, std::min(side, 4096 / (floats * side)));  // rows at a time: what the L1 cache holds
    std::vector<std::unique_ptr<AnyPart>> owned;
    std::vector<AnyPart*> parts;
    for (const Part& part : plan.parts) {
        owned.push_back(rows_of(part, side, band, parts));
        parts.push_back(owned.back().get());
        parts.back()->registers = wide_registers();
    }
    const WidePick pick(plan);
    const int careful = (columns <= 8 ? 8 : WIDE) / columns + 1;  // cells whose 16 floats would leave the window
    const float nothing[4 * WIDE] = {};
    RowPointers from;
    for (int p = 0; p < 4; p++) {
        const bool there = p < static_cast<int>(parts.size());
        from.row[p] = there ? parts[p]->rows : nothing;
        from.lanes[p] = there ? parts[p]->lanes : 0;
        from.stride[p] = there ? parts[p]->stride : 0;
    }
    if (plan.visibility.part >= 0) {
        const AnyPart& vision = *parts[plan.visibility.part];
        from.seen = vision.rows + plan.visibility.lane;
        from.seen_lanes = vision.lanes, from.seen_stride = vision.stride;
    }
    const int64_t whole = static_cast<int64_t>(side) * side;
    const bool dim_points = plan.visibility.part >= 0 && !job.points.empty();
    std::vector<float> seen(dim_points ? static_cast<size_t>(whole) : 0);
    const int64_t floats_out = whole * columns, bytes = floats_out * bytes_of(job.type);
    const bool rounded = job.type != Out::f32;
    std::vector<float> aside(rounded ? static_cast<size_t>(floats_out) : 0);
    Ahead ahead(job, begin, end);
    for (int64_t turn = begin; turn < end; turn++) {
        const int64_t n = job.order[turn];
        float* const window = rounded ? aside.data() : static_cast<float*>(job.out) + n * floats_out;
        const bool put = ahead.put(turn, window);
        for (int top = put ? side : 0; top < side; top += band) {
            const int bottom = std::min(side, top + band);
            for (size_t p = 0; p < parts.size(); p++) {
                const int64_t copy = job.copy[n], y = job.y[n] - radius, x = job.x[n] - radius;
                switch (plan.parts[p].store->type) {
                    case Storage::f16: static_cast<PartRows<F16>*>(parts[p])->decode(copy, y, x, top, bottom); break;
                    case Storage::f32: static_cast<PartRows<F32>*>(parts[p])->decode(copy, y, x, top, bottom); break;
                    case Storage::f64: static_cast<PartRows<F64>*>(parts[p])->decode(copy, y, x, top, bottom); break;
                    case Storage::u8: static_cast<PartRows<U8>*>(parts[p])->decode(copy, y, x, top, bottom); break;
                    case Storage::i32: static_cast<PartRows<I32>*>(parts[p])->decode(copy, y, x, top, bottom); break;
                }
            }
            const int64_t before = static_cast<int64_t>(top) * side, cells = static_cast<int64_t>(bottom - top) * side;
            int64_t done = 0;
            if (wide) {
                done = std::max<int64_t>(0, std::min(cells, whole - before - careful));
                if (columns <= 8)
                    pick_band<v8>(pick, static_cast<int>(parts.size()), from, side, done, window + before * columns, columns);
                else
                    pick_band<v16>(pick, static_cast<int>(parts.size()), from, side, done, window + before * columns, columns);
            }
            pick_narrow(plan, parts, done, cells, window + (before + done) * columns);
            if (dim_points)
                for (int64_t i = 0; i < cells; i++)
                    seen[before + i] = from.seen[i / side * from.seen_stride + i % side * from.seen_lanes];
        }
        for (const PointLayer& layer : job.points) paint(job, layer, n, dim_points ? seen.data() : nullptr, window);
        for (const CentreLayer& centre : job.centres)
            window[(static_cast<int64_t>(radius) * side + radius) * columns + centre.column] = centre.values[n];
        if (rounded) narrow(job.type, window, static_cast<uint8_t*>(job.out) + n * bytes, floats_out);
    }
}

}  // namespace memfarm
