// The compiled kernels. The contract (layout, laws, order of operations) is docs/design/0001-grids-and-lazy-time.md,
// and memfarm/reference.py is the same in NumPy: read that first.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <atomic>
#include <memory>
#include <optional>
#include <thread>

#include "kernels_foragers.h"
#include "kernels_observe.h"
#include "kernels_points.h"
#include "kernels_store.h"
#include "kernels_walkers.h"
#include "kernels_windows.h"

namespace py = pybind11;

namespace memfarm {

using Ints = py::array_t<int32_t, py::array::c_style>;
using Floats = py::array_t<float, py::array::c_style>;
using Doubles = py::array_t<double, py::array::c_style>;

// ---------------------------------------------------------------------------------------------------------------- Grid

static Storage storage_of(const py::array& tiles) {
    const py::dtype type = tiles.dtype();
    if (type.kind() == 'f' && type.itemsize() == 2) return Storage::f16;
    if (type.kind() == 'f' && type.itemsize() == 4) return Storage::f32;
    if (type.kind() == 'f' && type.itemsize() == 8) return Storage::f64;
    if (type.kind() == 'u' && type.itemsize() == 1) return Storage::u8;
    if (type.kind() == 'i' && type.itemsize() == 4) return Storage::i32;
    throw py::type_error("tiles must be float16, float32, float64, uint8 or int32");
}

static Lane lane_of(const py::dict& d) {
    auto number = [&](const char* key) { return d[key].cast<double>(); };
    Lane lane;
    lane.alpha = number("alpha"), lane.beta = number("beta"), lane.floor = number("floor");
    lane.capacity = number("capacity"), lane.low = number("low"), lane.high = number("high");
    lane.fill = number("fill"), lane.outside = number("outside") + 0.0;  // + 0.0: never -0
    lane.fixed = d["static"].cast<bool>();
    return lane;
}

// A Store over NumPy arrays, which it keeps alive.
class Grid : public std::enable_shared_from_this<Grid> {
  public:
    Store store;

    Grid(py::array tiles, py::array_t<uint64_t, py::array::c_style> stamps,
         py::array_t<int64_t, py::array::c_style> copies, const std::vector<py::dict>& lanes, int64_t height,
         int64_t width, bool wrap, int64_t epoch)
        : tiles_(std::move(tiles)), stamps_(std::move(stamps)), copies_(std::move(copies)) {
        if (tiles_.ndim() != 6 || stamps_.ndim() != 3 || copies_.ndim() != 2 || copies_.shape(1) != 2 ||
            tiles_.shape(3) != tiles_.shape(4) || !(tiles_.flags() & py::array::c_style) ||
            copies_.shape(0) != tiles_.shape(0) || static_cast<ssize_t>(lanes.size()) > tiles_.shape(5))
            throw py::value_error("tiles, stamps and copies must have the shapes of one grid");
        for (int axis = 0; axis < 3; axis++)
            if (stamps_.shape(axis) != tiles_.shape(axis)) throw py::value_error("one stamp a tile");
        store.type = storage_of(tiles_);
        store.item = static_cast<size_t>(tiles_.itemsize());
        store.data = static_cast<uint8_t*>(const_cast<void*>(tiles_.data()));
        store.stamps = const_cast<uint64_t*>(stamps_.data());
        store.resets = const_cast<int64_t*>(copies_.data());
        store.copies = tiles_.shape(0), store.tiles_y = tiles_.shape(1), store.tiles_x = tiles_.shape(2);
        store.side = static_cast<int>(tiles_.shape(3)), store.padded = static_cast<int>(tiles_.shape(5));
        store.bits = 0;
        while ((1 << store.bits) < store.side) store.bits++;
        if ((1 << store.bits) != store.side) throw py::value_error("the side of a tile must be a power of two");
        if (store.tiles_y * store.side < height || store.tiles_x * store.side < width)
            throw py::value_error("the tiles must cover the world");
        store.height = height, store.width = width, store.wrap = wrap, store.epoch = epoch;
        for (const py::dict& lane : lanes) store.add(lane_of(lane));
        store.find_settled();
        store.writable = tiles_.writeable();
        store.set_tick(0);
    }

    void link(int lane, std::shared_ptr<Grid> source, int source_lane) {
        if (!source->store.lanes.at(source_lane).fixed) throw py::value_error("a capacity channel must be static");
        store.lanes.at(lane).source = &source->store;
        store.lanes.at(lane).source_lane = source_lane;
        store.find_settled();
        if (source.get() != this) sources_.push_back(std::move(source));
        store.set_tick(store.tick);
    }

    void check_writable() const {
        if (!store.writable) throw py::value_error("this grid was mapped read-only");
    }

  private:
    py::array tiles_;
    py::array_t<uint64_t, py::array::c_style> stamps_;
    py::array_t<int64_t, py::array::c_style> copies_;
    std::vector<std::shared_ptr<Grid>> sources_;
};

// Calls `f` with the codec of the grid's storage.
template <class F>
static void with_codec(const Store& store, F&& f) {
    switch (store.type) {
        case Storage::f16: return f(F16{});
        case Storage::f32: return f(F32{});
        case Storage::f64: return f(F64{});
        case Storage::u8: return f(U8{});
        case Storage::i32: return f(I32{});
    }
}

template <class Codec>
static typename Codec::Value* values_of(py::array& array) {
    if (!array.dtype().equal(py::dtype::of<typename Codec::Value>()) || !(array.flags() & py::array::c_style))
        throw py::type_error("values must be C-contiguous and of the grid's value dtype");
    return static_cast<typename Codec::Value*>(const_cast<void*>(array.data()));
}

static void gather(const Grid& grid, int lane, const Ints& copy, const Ints& y, const Ints& x, py::array out) {
    const int64_t n = copy.size();
    if (out.size() != n || !out.writeable()) throw py::value_error("out must be (N,)");
    with_codec(grid.store, [&](auto codec) {
        using C = decltype(codec);
        auto* to = values_of<C>(out);
        const int32_t *c = copy.data(), *v = y.data(), *u = x.data();
        py::gil_scoped_release free;
        Reader<C> reader(grid.store);
        for (int64_t i = 0; i < n; i++) {
            if (i + CELLS_AHEAD < n) grid.store.ask(lane, c[i + CELLS_AHEAD], v[i + CELLS_AHEAD], u[i + CELLS_AHEAD]);
            to[i] = C::hand_out(reader.value(lane, c[i], v[i], u[i]));
        }
    });
}

static void scatter(Grid& grid, int lane, const Ints& copy, const Ints& y, const Ints& x, const Doubles& values, int how,
                    double low, double high) {
    grid.check_writable();
    with_codec(grid.store, [&](auto codec) {
        using C = decltype(codec);
        const int32_t *c = copy.data(), *v = y.data(), *u = x.data();
        const double* given = values.data();
        const int64_t n = copy.size();
        py::gil_scoped_release free;
        Writer<C> writer(grid.store);
        for (int64_t i = 0; i < n; i++) {
            if (i + CELLS_AHEAD < n) grid.store.ask(lane, c[i + CELLS_AHEAD], v[i + CELLS_AHEAD], u[i + CELLS_AHEAD]);
            writer.combine(lane, c[i], v[i], u[i], given[i], how, low, high);
        }
    });
}

static void take(Grid& grid, int lane, const Ints& copy, const Ints& y, const Ints& x, const Doubles& amount, Doubles out) {
    grid.check_writable();
    with_codec(grid.store, [&](auto codec) {
        using C = decltype(codec);
        const int32_t *c = copy.data(), *v = y.data(), *u = x.data();
        const double* asked = amount.data();
        double* taken = out.mutable_data();
        const int64_t n = copy.size();
        py::gil_scoped_release free;
        Writer<C> writer(grid.store);
        for (int64_t i = 0; i < n; i++) {
            if (i + CELLS_AHEAD < n) grid.store.ask(lane, c[i + CELLS_AHEAD], v[i + CELLS_AHEAD], u[i + CELLS_AHEAD]);
            taken[i] = writer.take(lane, c[i], v[i], u[i], asked[i]);
        }
    });
}

static int64_t largest(const int32_t* numbers, int64_t count, int64_t least) {
    int32_t most = 0;
    for (int64_t i = 0; i < count; i++) most = std::max(most, numbers[i]);
    return std::max<int64_t>(most, least);
}

using Flags = py::array_t<bool, py::array::c_style>;

static void neighbours(const Grid& grid, int lane, const Ints& copy, const Ints& y, const Ints& x, const Flags& alive,
                       double below, py::array_t<bool> out) {
    const int64_t n = copy.size();
    if (alive.size() != n || y.size() != n || x.size() != n) throw py::value_error("one flag a cell");
    if (out.ndim() != 2 || out.shape(0) != n || out.shape(1) != 4 || (n && out.strides(1) != 1))
        throw py::value_error("out must be (N, 4), its rows without gaps");
    with_codec(grid.store, [&](auto codec) {
        const int32_t *c = copy.data(), *v = y.data(), *u = x.data();
        const bool* here = alive.data();
        bool* to = out.mutable_data();
        const int64_t step = out.strides(0);
        py::gil_scoped_release free;
        open_neighbours<decltype(codec)>(grid.store, lane, n, c, v, u, here, below, to, step);
    });
}

static py::array walk_on(const Grid& grid, int blocked, int price, double below, const Ints& copy, Ints y, Ints x,
                         const py::array_t<int64_t, py::array::c_style>& heading, const Flags& live, const Flags& alive,
                         const py::array_t<uint64_t, py::array::c_style>& keys) {
    const int64_t n = copy.size();
    if (y.size() != n || x.size() != n || heading.size() != n || live.size() != n || alive.size() != n)
        throw py::value_error("one heading and one flag an agent");
    if (largest(copy.data(), n, 0) >= std::max<int64_t>(keys.size(), 1)) throw py::value_error("one key a copy");
    py::array out;
    with_codec(grid.store, [&](auto codec) {
        using C = decltype(codec);
        py::array_t<typename C::Value> paid(n);
        const int32_t* c = copy.data();
        int32_t *v = y.mutable_data(), *u = x.mutable_data();
        const int64_t* way = heading.data();
        const bool *acts = live.data(), *stands = alive.data();
        const uint64_t* key = keys.data();
        auto* to = paid.mutable_data();
        {
            py::gil_scoped_release free;
            walk<C>(grid.store, blocked, price, below, n, c, v, u, way, acts, stands, key, to);
        }
        out = std::move(paid);
    });
    return out;
}

static py::tuple place_on(const Grid& grid, int lane, double below, const Ints& copy,
                          const py::array_t<uint64_t, py::array::c_style>& draws, const Ints& their_copy,
                          const Ints& their_y, const Ints& their_x, const Flags& alive, int rounds) {
    const int64_t n = copy.size(), others = alive.size();
    if (draws.size() != n) throw py::value_error("one draw a newcomer");
    if (their_copy.size() != others || their_y.size() != others || their_x.size() != others)
        throw py::value_error("one cell and one flag for each of the others");
    Ints y(n), x(n);
    Flags placed(n);
    with_codec(grid.store, [&](auto codec) {
        const int32_t* c = copy.data();
        const uint64_t* draw = draws.data();
        const Standing standing{others, their_copy.data(), their_y.data(), their_x.data(), alive.data()};
        int32_t *v = y.mutable_data(), *u = x.mutable_data();
        bool* found = placed.mutable_data();
        py::gil_scoped_release free;
        place<decltype(codec)>(grid.store, lane, below, n, c, draw, standing, rounds, v, u, found);
    });
    return py::make_tuple(y, x, placed);
}

static void check_rectangle(const Store& store, int64_t copy, int64_t y0, int64_t x0, const py::array& array,
                            const Ints& lanes) {
    if (array.ndim() != 3 || array.shape(2) != lanes.size() || copy < 0 || copy >= store.copies || y0 < 0 || x0 < 0 ||
        y0 + array.shape(0) > store.height || x0 + array.shape(1) > store.width)
        throw py::value_error("a rectangle (h, w, L) must lie inside the world");
    for (ssize_t i = 0; i < lanes.size(); i++) static_cast<void>(store.lanes.at(lanes.at(i)));
}

static void read_rectangle(const Grid& grid, int64_t copy, int64_t y0, int64_t x0, const Ints& lanes, py::array out) {
    check_rectangle(grid.store, copy, y0, x0, out, lanes);
    if (!out.writeable()) throw py::value_error("out must be writable");
    with_codec(grid.store, [&](auto codec) {
        using C = decltype(codec);
        auto* to = values_of<C>(out);
        const int64_t h = out.shape(0), w = out.shape(1), count = lanes.size();
        const int32_t* lane = lanes.data();
        py::gil_scoped_release free;
        Reader<C> reader(grid.store);
        for (int64_t i = 0; i < h; i++)
            for (int64_t j = 0; j < w; j++)
                for (int64_t l = 0; l < count; l++)
                    *to++ = C::hand_out(reader.value(lane[l], copy, y0 + i, x0 + j));
    });
}

static void write_rectangle(Grid& grid, int64_t copy, int64_t y0, int64_t x0, const Ints& lanes, py::array values) {
    grid.check_writable();
    check_rectangle(grid.store, copy, y0, x0, values, lanes);
    with_codec(grid.store, [&](auto codec) {
        using C = decltype(codec);
        const auto* from = values_of<C>(values);
        const int64_t h = values.shape(0), w = values.shape(1), count = lanes.size();
        const int32_t* lane = lanes.data();
        py::gil_scoped_release free;
        Writer<C> writer(grid.store);
        for (int64_t i = 0; i < h; i++)
            for (int64_t j = 0; j < w; j++)
                for (int64_t l = 0; l < count; l++)
                    writer.set(lane[l], copy, y0 + i, x0 + j, static_cast<typename C::Real>(*from++));
    });
}

static void stamp_windows(Grid& grid, const Ints& lanes, const Ints& copy, const Ints& y, const Ints& x, int64_t radius,
                          const Floats& values, int how, const Doubles& low, const Doubles& high,
                          const std::optional<py::array_t<bool, py::array::c_style>>& seen) {
    grid.check_writable();
    with_codec(grid.store, [&](auto codec) {
        using C = decltype(codec);
        const int32_t *c = copy.data(), *v = y.data(), *u = x.data(), *lane = lanes.data();
        const float* from = values.data();
        const double *lows = low.data(), *highs = high.data();
        const int64_t n = copy.size(), count = lanes.size();
        const bool* shown = seen ? seen->data() : nullptr;
        py::gil_scoped_release free;
        Writer<C> writer(grid.store);
        const int side = static_cast<int>(2 * radius + 1);
        const int64_t cells = static_cast<int64_t>(side) * side;
        for (int64_t i = 0; i < n; i++) {
            if (i + AHEAD < n && radius <= MOST_PREFETCHED)
                prefetch_window(grid.store, c[i + AHEAD], v[i + AHEAD], u[i + AHEAD], static_cast<int>(radius));
            writer.stamp(lane, count, c[i], v[i] - radius, u[i] - radius, side, from + i * cells * count,
                         shown ? shown + i * cells : nullptr, how, lows, highs);
        }
    });
}

static int64_t settle(Grid& grid) {
    grid.check_writable();
    int64_t stale = 0;
    with_codec(grid.store, [&](auto codec) {
        py::gil_scoped_release free;
        stale = Writer<decltype(codec)>(grid.store).settle();
    });
    return stale;
}

static py::array_t<int64_t> as_array(const std::vector<int64_t>& numbers) {
    return py::array_t<int64_t>(static_cast<ssize_t>(numbers.size()), numbers.data());
}

static py::array_t<int64_t> missing(const Grid& grid, const Ints& copy, const Ints& y, const Ints& x) {
    std::vector<int64_t> tiles;
    {
        const int32_t *c = copy.data(), *v = y.data(), *u = x.data();
        const int64_t n = copy.size();
        py::gil_scoped_release free;
        tiles = missing_tiles(grid.store, n, c, v, u, [](int64_t) { return true; });
    }
    return as_array(tiles);
}

static py::array_t<int64_t> missing_windows(const Grid& grid, const Ints& copy, const Ints& y, const Ints& x, int radius,
                                            const std::optional<py::array_t<bool, py::array::c_style>>& seen) {
    std::vector<int64_t> tiles;
    {
        const int32_t *c = copy.data(), *v = y.data(), *u = x.data();
        const bool* shown = seen ? seen->data() : nullptr;
        const int64_t n = copy.size();
        py::gil_scoped_release free;
        tiles = missing_in_windows(grid.store, n, c, v, u, radius, shown);
    }
    return as_array(tiles);
}

// ----------------------------------------------------------------------------------------------------------- Foragers

using Actions = py::array_t<int64_t, py::array::c_style>;

static Crowd crowd_of(const Ints& copy, const Ints& y, const Ints& x, const Actions& actions, const Flags& live) {
    const int64_t n = copy.size();
    if (y.size() != n || x.size() != n || actions.size() != n || live.size() != n)
        throw py::value_error("one cell, one action and one flag an agent");
    return {n, copy.data(), y.data(), x.data(), actions.data(), live.data()};
}

static py::tuple forage_walk(const Grid& ground, int blocked, int price, double below, const Grid& food, const Grid* fields,
                             int trails, const Ints& copy, const Ints& y, const Ints& x, const Actions& actions,
                             const Flags& live, const Flags& alive, const Floats& energy,
                             const py::array_t<uint64_t, py::array::c_style>& keys, float living, float effort, Ints to_y,
                             Ints to_x, Floats spent) {
    const Crowd before = crowd_of(copy, y, x, actions, live);
    const int64_t n = before.count;
    if (alive.size() != n || to_y.size() != n || to_x.size() != n || spent.size() != n || energy.size() != n)
        throw py::value_error("one flag, one cell and two numbers an agent");
    if (largest(before.copy, n, 0) >= std::max<int64_t>(keys.size(), 1)) throw py::value_error("one key a copy");
    const bool* stands = alive.data();
    const uint64_t* key = keys.data();
    const float* has = energy.data();
    int32_t *v = to_y.mutable_data(), *u = to_x.mutable_data();
    float* cost = spent.mutable_data();
    const Crowd after{n, before.copy, v, u, before.actions, before.live};
    std::vector<int64_t> eaten_from, left_on;
    {
        py::gil_scoped_release free;
        std::copy(before.y, before.y + n, v);
        std::copy(before.x, before.x + n, u);
        with_codec(ground.store, [&](auto codec) {
            using C = decltype(codec);
            std::vector<typename C::Value> paid(static_cast<size_t>(n));
            walk<C>(ground.store, blocked, price, below, n, before.copy, v, u, before.actions, before.live, stands, key, paid.data());
            for (int64_t i = 0; i < n; i++) {
                const float more = effort * static_cast<float>(paid[i]);
                cost[i] = (before.live[i] ? living : 0.0f) + more;
            }
        });
        eaten_from = missing_tiles(food.store, n, after.copy, v, u, [&](int64_t i) { return after.eats(i); });
        if (fields)
            left_on = missing_tiles(fields->store, n, after.copy, v, u,
                                    [&](int64_t i) { return after.live[i] && (trails >= 0 || has[i] <= cost[i]); });
    }
    return py::make_tuple(as_array(eaten_from), as_array(left_on));
}

static void forage_eat(Grid& food, int lane, Grid* fields, int trails, const Ints& copy, const Ints& y, const Ints& x,
                       const Actions& actions, const Flags& live, double bite, double energy, Floats eaten) {
    food.check_writable();
    if (fields) fields->check_writable();
    const Crowd crowd = crowd_of(copy, y, x, actions, live);
    if (eaten.size() != crowd.count) throw py::value_error("one number an agent");
    float* found = eaten.mutable_data();
    py::gil_scoped_release free;
    with_codec(food.store, [&](auto codec) { eat<decltype(codec)>(food.store, lane, crowd, bite, energy, found); });
    if (fields && trails >= 0)
        with_codec(fields->store, [&](auto codec) { leave<decltype(codec)>(fields->store, trails, crowd, crowd.live, MAX); });
}

static py::tuple forage_settle(Grid* fields, int heat, const Ints& copy, const Ints& y, const Ints& x, const Flags& live,
                               const Floats& eaten, const Floats& spent, Floats energy, Floats hp, float most, float weight,
                               float penalty) {
    if (fields) fields->check_writable();
    const int64_t n = live.size();
    if (copy.size() != n || y.size() != n || x.size() != n || eaten.size() != n || spent.size() != n || energy.size() != n ||
        hp.size() != n)
        throw py::value_error("one cell and four numbers an agent");
    py::array_t<float> reward(n);
    Flags died(n);
    const bool* acts = live.data();
    const float *gain = eaten.data(), *loss = spent.data();
    float *has = energy.mutable_data(), *shown = hp.mutable_data(), *paid = reward.mutable_data();
    bool* dead = died.mutable_data();
    int64_t deaths = 0;
    for (int64_t i = 0; i < n; i++) {
        const float change = gain[i] - loss[i], after = std::min(has[i] + change, most);
        dead[i] = acts[i] && !(after > 0.0f);
        if (acts[i]) has[i] = dead[i] ? 0.0f : after;
        paid[i] = weight * change;
        if (dead[i]) paid[i] -= penalty, deaths++;
        shown[i] = has[i] / most;
    }
    if (fields && heat >= 0 && deaths) {
        const Crowd crowd{n, copy.data(), y.data(), x.data(), nullptr, acts};
        py::gil_scoped_release free;
        with_codec(fields->store, [&](auto codec) { leave<decltype(codec)>(fields->store, heat, crowd, dead, ADD); });
    }
    return py::make_tuple(reward, died, deaths);
}

static void forage_look(const Grid& ground, int blocked, double below, const Grid& food, int lane, const Ints& copy,
                        const Ints& y, const Ints& x, const Flags& alive, Flags masks) {
    const int64_t n = copy.size();
    if (y.size() != n || x.size() != n || alive.size() != n || masks.size() != n * CHOICES)
        throw py::value_error("one cell, one flag and one mask an agent");
    const int32_t *c = copy.data(), *v = y.data(), *u = x.data();
    const bool* here = alive.data();
    bool* out = masks.mutable_data();
    py::gil_scoped_release free;
    with_codec(ground.store, [&](auto codec) {
        with_codec(food.store, [&](auto other) {
            look<decltype(codec), decltype(other)>(ground.store, blocked, below, food.store, lane, n, c, v, u, here, out);
        });
    });
}

static int64_t first_beyond(const Actions& actions, const Flags& live, int64_t choices) {
    const int64_t n = actions.size();
    if (live.size() != n) throw py::value_error("one flag an agent");
    const int64_t* chosen = actions.data();
    const bool* acts = live.data();
    const auto beyond = [&](int64_t i) {
        return static_cast<uint64_t>(chosen[i]) >= static_cast<uint64_t>(choices) && acts[i];
    };
    bool any = false;
    for (int64_t i = 0; i < n; i++) any |= beyond(i);
    for (int64_t i = 0; any && i < n; i++)
        if (beyond(i)) return i;
    return -1;
}

// ------------------------------------------------------------------------------------------------------------- Windows

static Out out_of(const py::array& out) {
    const py::dtype type = out.dtype();
    if (type.equal(py::dtype::of<float>())) return Out::f32;
    if (type.equal(py::dtype("float16"))) return Out::f16;
    if (type.equal(py::dtype::of<uint16_t>())) return Out::bf16;
    if (type.equal(py::dtype::of<uint8_t>())) return Out::u8;
    throw py::type_error("out must be float32, float16, uint16 (bfloat16's bits) or uint8");
}

static void narrow_array(const Floats& values, py::array out) {
    const Out type = out_of(out);
    if (out.size() != values.size() || !(out.flags() & py::array::c_style))
        throw py::value_error("out must be C-contiguous and as large as values");
    const float* from = values.data();
    auto* to = static_cast<uint8_t*>(out.mutable_data());
    const int64_t count = values.size();
    py::gil_scoped_release free;
    narrow(type, from, to, count);
}

class Windows {
  public:
    Windows(std::vector<std::shared_ptr<Grid>> grids, const std::vector<std::pair<int, int>>& columns, int radius,
            const Floats& scale, const Floats& shift, std::optional<std::pair<int, int>> visibility,
            const std::vector<bool>& hidden)
        : grids_(std::move(grids)) {
        if (grids_.empty() || radius < 0) throw py::value_error("windows need a grid and a radius of at least 0");
        const size_t count = columns.size();
        if (static_cast<size_t>(scale.size()) != count || static_cast<size_t>(shift.size()) != count ||
            hidden.size() != count)
            throw py::value_error("scale, shift and hidden must be one a column");
        plan_.radius = radius, plan_.side = 2 * radius + 1;
        for (const auto& grid : grids_) part_of_.push_back(plan_.part_for(&grid->store));
        for (size_t c = 0; c < count; c++) {
            const bool stored = columns[c].first >= 0;
            plan_.columns.push_back({stored ? pick_of(columns[c]) : Pick{-1, 0}, scale.at(c), shift.at(c), hidden[c]});
        }
        plan_.visibility = visibility ? pick_of(*visibility) : Pick{-1, 0};
    }

    void observe(const Ints& copy, const Ints& y, const Ints& x, py::array out,
                 const std::vector<std::pair<int, Floats>>& centres,
                 const std::vector<std::tuple<int, Ints, Ints, Ints, Floats, bool, std::optional<Ints>>>& points, int threads) {
        const int64_t n = copy.size(), side = plan_.side, columns = static_cast<int64_t>(plan_.columns.size());
        if (out.ndim() != 4 || out.shape(0) != n || out.shape(1) != side || out.shape(2) != side ||
            out.shape(3) != columns || y.size() != n || x.size() != n || !(out.flags() & py::array::c_style))
            throw py::value_error("out must be (N, S, S, C), C-contiguous");
        Job job{&plan_, n, copy.data(), y.data(), x.data(), out.mutable_data(), {}, {}, {}, out_of(out)};
        for (const auto& [column, values] : centres) job.centres.push_back({column, values.data()});
        const Store& frame = grids_[0]->store;
        for (const auto& [column, pc, py_, px, values, skip, seen] : points) {
            const int64_t layers = seen ? 0 : 1 + largest(pc.data(), pc.size(), largest(copy.data(), n, 0));
            job.points.push_back({column, skip, seen ? seen->data() : nullptr,
                                  PointIndex(pc.data(), py_.data(), px.data(), values.data(), pc.size(),
                                             static_cast<int>(side), layers, frame.height, frame.width)});
        }
        py::gil_scoped_release free;
        for (PointLayer& layer : job.points) layer.index.build();
        job.order = order_by_tile(plan_, job.copy, job.y, job.x, n);
        const int64_t workers = std::max<int64_t>(1, std::min<int64_t>(threads, n / 64));
        std::vector<std::thread> pool;
        for (int64_t w = 1; w < workers; w++)
            pool.emplace_back([&, w] { observe_range(job, n * w / workers, n * (w + 1) / workers); });
        observe_range(job, 0, n / workers);
        for (std::thread& thread : pool) thread.join();
    }

  private:
    std::vector<std::shared_ptr<Grid>> grids_;
    std::vector<int> part_of_;  // grid index -> index into plan_.parts
    Plan plan_;

    Pick pick_of(const std::pair<int, int>& column) const {
        static_cast<void>(grids_.at(column.first)->store.lanes.at(column.second));
        return {part_of_[column.first], column.second};
    }
};

// ---------------------------------------------------------------------------------------------------------- the module

static int64_t first_outside(const Ints& copy, const Ints& y, const Ints& x, int64_t copies, int64_t height,
                             int64_t width) {
    const int64_t n = copy.size();
    if (y.size() != n || x.size() != n) throw py::value_error("copy, y and x must have one length");
    const int32_t *c = copy.data(), *v = y.data(), *u = x.data();
    py::gil_scoped_release free;
    const auto outside = [](int32_t at, int64_t size) { return static_cast<uint32_t>(at) >= static_cast<uint64_t>(size); };
    constexpr int64_t BLOCK = 256;
    for (int64_t first = 0; first < n; first += BLOCK) {
        const int64_t end = std::min(n, first + BLOCK);
        bool any = false;
        for (int64_t i = first; i < end; i++)
            any |= outside(c[i], copies) | outside(v[i], height) | outside(u[i], width);
        for (int64_t i = first; any && i < end; i++)
            if (outside(c[i], copies) || outside(v[i], height) || outside(u[i], width)) return i;
    }
    return -1;
}

static py::array_t<uint64_t> hash_draws(const py::array_t<uint64_t, py::array::c_style>& keys, int64_t stream) {
    py::array_t<uint64_t> draws(keys.size());
    const uint64_t* from = keys.data();
    uint64_t* to = draws.mutable_data();
    const uint64_t salt = static_cast<uint64_t>(stream) * GOLDEN;
    const int64_t n = keys.size();
    py::gil_scoped_release free;
    for (int64_t i = 0; i < n; i++) to[i] = splitmix64(splitmix64(from[i]) ^ salt);
    return draws;
}

}  // namespace memfarm

PYBIND11_MODULE(_kernels, m) {
    using namespace memfarm;
    m.doc() = "Compiled kernels of memfarm; memfarm.reference is the same in NumPy.";
    py::class_<Grid, std::shared_ptr<Grid>>(m, "Grid")
        .def(py::init<py::array, py::array_t<uint64_t, py::array::c_style>, py::array_t<int64_t, py::array::c_style>,
                      const std::vector<py::dict>&, int64_t, int64_t, bool, int64_t>(),
             py::arg("tiles").noconvert(), py::arg("stamps").noconvert(), py::arg("copies").noconvert(),
             py::arg("lanes"), py::arg("height"), py::arg("width"), py::arg("wrap"), py::arg("epoch"))
        .def("link", &Grid::link)
        .def("set_tick", [](Grid& grid, int64_t tick) { grid.store.set_tick(tick); })
        .def("gather", &gather, py::arg("lane"), py::arg("copy").noconvert(), py::arg("y").noconvert(),
             py::arg("x").noconvert(), py::arg("out").noconvert())
        .def("scatter", &scatter, py::arg("lane"), py::arg("copy").noconvert(), py::arg("y").noconvert(),
             py::arg("x").noconvert(), py::arg("values").noconvert(), py::arg("how"), py::arg("low"), py::arg("high"))
        .def("take", &take, py::arg("lane"), py::arg("copy").noconvert(), py::arg("y").noconvert(),
             py::arg("x").noconvert(), py::arg("amount").noconvert(), py::arg("out").noconvert())
        .def("neighbours", &neighbours, py::arg("lane"), py::arg("copy").noconvert(), py::arg("y").noconvert(),
             py::arg("x").noconvert(), py::arg("alive").noconvert(), py::arg("below"), py::arg("out").noconvert())
        .def("walk", &walk_on, py::arg("blocked"), py::arg("price"), py::arg("below"), py::arg("copy").noconvert(),
             py::arg("y").noconvert(), py::arg("x").noconvert(), py::arg("heading").noconvert(),
             py::arg("live").noconvert(), py::arg("alive").noconvert(), py::arg("keys").noconvert())
        .def("place", &place_on, py::arg("lane"), py::arg("below"), py::arg("copy").noconvert(),
             py::arg("draws").noconvert(), py::arg("their_copy").noconvert(), py::arg("their_y").noconvert(),
             py::arg("their_x").noconvert(), py::arg("alive").noconvert(), py::arg("rounds"))
        .def("read", &read_rectangle, py::arg("copy"), py::arg("y0"), py::arg("x0"), py::arg("lanes").noconvert(),
             py::arg("out").noconvert())
        .def("write", &write_rectangle, py::arg("copy"), py::arg("y0"), py::arg("x0"), py::arg("lanes").noconvert(),
             py::arg("values").noconvert())
        .def("stamp_windows", &stamp_windows, py::arg("lanes").noconvert(), py::arg("copy").noconvert(),
             py::arg("y").noconvert(), py::arg("x").noconvert(), py::arg("radius"), py::arg("values").noconvert(),
             py::arg("how"), py::arg("low"), py::arg("high"), py::arg("seen") = py::none())
        .def("settle", &settle)
        .def("missing", &missing, py::arg("copy").noconvert(), py::arg("y").noconvert(), py::arg("x").noconvert())
        .def("missing_windows", &missing_windows, py::arg("copy").noconvert(), py::arg("y").noconvert(),
             py::arg("x").noconvert(), py::arg("radius"), py::arg("seen") = py::none());
    py::class_<Windows>(m, "Windows")
        .def(py::init<std::vector<std::shared_ptr<Grid>>, const std::vector<std::pair<int, int>>&, int, const Floats&,
                      const Floats&, std::optional<std::pair<int, int>>, const std::vector<bool>&>(),
             py::arg("grids"), py::arg("columns"), py::arg("radius"), py::arg("scale").noconvert(),
             py::arg("shift").noconvert(), py::arg("visibility"), py::arg("hidden"))
        .def("observe", &Windows::observe, py::arg("copy").noconvert(), py::arg("y").noconvert(),
             py::arg("x").noconvert(), py::arg("out").noconvert(), py::arg("centres"), py::arg("points"),
             py::arg("threads"));
    m.def("narrow", &narrow_array, py::arg("values").noconvert(), py::arg("out").noconvert());
    m.def("first_outside", &first_outside, py::arg("copy").noconvert(), py::arg("y").noconvert(),
          py::arg("x").noconvert(), py::arg("copies"), py::arg("height"), py::arg("width"));
    m.def("forage_walk", &forage_walk, py::arg("ground"), py::arg("blocked"), py::arg("price"), py::arg("below"),
          py::arg("food"), py::arg("fields").none(true), py::arg("trails"), py::arg("copy").noconvert(),
          py::arg("y").noconvert(), py::arg("x").noconvert(), py::arg("actions").noconvert(), py::arg("live").noconvert(),
          py::arg("alive").noconvert(), py::arg("energy").noconvert(), py::arg("keys").noconvert(), py::arg("living"),
          py::arg("effort"), py::arg("to_y").noconvert(), py::arg("to_x").noconvert(), py::arg("spent").noconvert());
    m.def("forage_eat", &forage_eat, py::arg("food"), py::arg("lane"), py::arg("fields").none(true), py::arg("trails"),
          py::arg("copy").noconvert(), py::arg("y").noconvert(), py::arg("x").noconvert(), py::arg("actions").noconvert(),
          py::arg("live").noconvert(), py::arg("bite"), py::arg("energy"), py::arg("eaten").noconvert());
    m.def("forage_settle", &forage_settle, py::arg("fields").none(true), py::arg("heat"), py::arg("copy").noconvert(),
          py::arg("y").noconvert(), py::arg("x").noconvert(), py::arg("live").noconvert(), py::arg("eaten").noconvert(),
          py::arg("spent").noconvert(), py::arg("energy").noconvert(), py::arg("hp").noconvert(), py::arg("most"),
          py::arg("weight"), py::arg("penalty"));
    m.def("forage_look", &forage_look, py::arg("ground"), py::arg("blocked"), py::arg("below"), py::arg("food"),
          py::arg("lane"), py::arg("copy").noconvert(), py::arg("y").noconvert(), py::arg("x").noconvert(),
          py::arg("alive").noconvert(), py::arg("masks").noconvert());
    m.def("first_beyond", &first_beyond, py::arg("actions").noconvert(), py::arg("live").noconvert(), py::arg("choices"));
    m.def("hash_draws", &hash_draws, py::arg("keys").noconvert(), py::arg("stream"));
    m.def("fence", [] { std::atomic_thread_fence(std::memory_order_seq_cst); });
}
