"""ChannelGrid against plain NumPy: every primitive, storage dtype, boundary and backend."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memfarm import layout
from memfarm.channels import Channel, Decay, Recover, Regrow, Static
from memfarm.eager import Eager
from memfarm.errors import ChannelError, ClosedError, ConfigError, ReadOnlyError
from memfarm.grid import ChannelGrid

DTYPES = list(layout.VALUES)
TOLERANCE = {"float16": 2e-2, "float32": 2e-5, "float64": 1e-9, "uint8": 0.5 / 255 * 2.001, "int32": 0.5}
LAWS = (Static(), Decay(0.9, floor=0.0), Regrow(0.05, 0.8), Recover(0.1, 0.7))
SEEDS = st.integers(0, 2**32)

Array = np.ndarray[Any, Any]


def channels_for(dtype: str, count: int = 3) -> list[Channel]:
    if dtype == "int32":
        return [Channel(f"C{i}", low=-5 - i, high=90, fill=i, outside=-i) for i in range(count)]
    if dtype == "uint8":
        return [Channel(f"C{i}", low=-float(i % 2), high=1.0, fill=0.5 * (i % 2), outside=0.25) for i in range(count)]
    return [Channel(f"C{i}", LAWS[i % 4], fill=0.1 * i, outside=0.25) for i in range(count)]


def drawn(rng: np.random.Generator, channel: Channel, size: Any, dtype: str) -> Array:
    values = rng.uniform(channel.low, channel.high, size)
    return np.rint(values) if dtype == "int32" else values


def cells(rng: np.random.Generator, grid: ChannelGrid, count: int) -> tuple[Array, Array, Array]:
    """Coordinates, many of them twice."""
    copy, y, x = (rng.integers(0, size, count, dtype=np.int32) for size in (grid.copies, *grid.shape))
    return copy, y, x % 3 + (x > 3) * (grid.shape[1] - 3) if grid.shape[1] > 6 else x


def play(grid: ChannelGrid, twin: Eager, rng: np.random.Generator, steps: int) -> None:
    """Random calls on a grid and on its eager twin."""
    for _ in range(steps):
        lane = int(rng.integers(len(grid.channels)))
        channel = grid.channels[lane]
        copy, y, x = cells(rng, grid, 12)
        values = drawn(rng, channel, 12, grid.dtype)
        match rng.integers(7):
            case 0:
                grid.scatter(channel.name, copy, y, x, values)
                twin.set(lane, copy, y, x, values, channel.low, channel.high)
            case 1:
                grid.scatter(channel.name, copy, y, x, values, how="add", high=channel.high / 2)
                twin.add(lane, copy, y, x, values, channel.low, channel.high / 2)
            case 2:
                grid.scatter(channel.name, copy, y, x, values, how="max")
                twin.max(lane, copy, y, x, values, channel.low, channel.high)
            case 3:
                at = int(rng.integers(grid.copies))
                patch = drawn(rng, channel, (2, 3), grid.dtype)
                grid.write(channel.name, patch, 1, 2, at)
                where = (np.repeat([1, 2], 3), np.tile([2, 3, 4], 2))
                twin.set(lane, np.full(6, at), *where, patch.ravel(), channel.low, channel.high)
            case 4:
                ticks = int(rng.integers(1, 9))
                grid.advance(ticks)
                twin.advance(ticks)
            case 5:
                chosen = rng.integers(0, grid.copies, 1)
                grid.reset(chosen)
                twin.reset(chosen.tolist())
            case _ if channel.low >= 0:
                taken = grid.take(channel.name, copy, y, x, np.abs(values))
                close(taken, twin.take(lane, copy, y, x, np.abs(values)), grid, lane)


def close(got: Array, wanted: Array, grid: ChannelGrid, lane: int, rounds: float = 3.0) -> None:
    channel = grid.channels[lane]
    scale = 1.0 if grid.dtype == "int32" else channel.high - channel.low
    np.testing.assert_allclose(got, wanted, rtol=0, atol=rounds * TOLERANCE[grid.dtype] * scale + 1e-12)


@pytest.mark.parametrize("backend", ["memmap", "ram"])
@pytest.mark.parametrize("boundary", ["wall", "wrap"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32"])
@settings(max_examples=8)
@given(seed=SEEDS, height=st.integers(4, 20), width=st.integers(5, 37), copies=st.integers(1, 3))
def test_like_an_eager_array(
    dtype: str, boundary: Any, backend: Any, seed: int, height: int, width: int, copies: int
) -> None:
    rng = np.random.default_rng(seed)
    channels = channels_for(dtype)
    grid = ChannelGrid((height, width), channels, copies=copies, dtype=dtype, boundary=boundary, backend=backend)
    twin = Eager(channels, (height, width), copies)
    play(grid, twin, rng, 12)
    for lane, name in enumerate(grid.names):
        for copy in range(copies):
            close(grid.read(name, 0, height, 0, width, copy), twin.read(lane)[copy], grid, lane)
    grid.close()


@pytest.mark.parametrize("how", ["set", "add", "max"])
def test_uint8_keeps_a_255th(how: Any) -> None:
    grid = ChannelGrid((5, 5), [Channel("A", low=-1.0, high=2.0, fill=0.5)], dtype="uint8", backend="ram")
    assert grid.gather("A", 0, 0, 0)[0] == 0.5, "a never-written cell reads its fill exactly"
    values = np.linspace(-1, 2, 25)
    y, x = np.divmod(np.arange(25), 5)
    before = grid.read("A", 0, 5, 0, 5).ravel()
    grid.scatter("A", 0, y, x, values, how=how)
    wanted = {"set": values, "add": np.clip(before + values, -1, 2), "max": np.maximum(before, values)}[how]
    np.testing.assert_allclose(grid.gather("A", 0, y, x), wanted, atol=3.01 / 255)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("boundary", ["wall", "wrap"])
def test_both_backends_and_a_file_hold_the_same_bytes(tmp_path: Path, dtype: str, boundary: Any) -> None:
    makers = {
        "named": {"folder": tmp_path},
        "scratch": {"backend": "memmap"},
        "ram": {"backend": "ram"},
    }
    grids = {}
    for key, arguments in makers.items():
        grid: Any = ChannelGrid((21, 35), channels_for(dtype, 3), copies=2, dtype=dtype, boundary=boundary, **arguments)
        play(grid, Eager(grid.channels, grid.shape, 2), np.random.default_rng(4), 25)
        grid.stamp_windows(["C0"], [0, 1], [0, 20], [34, 1], np.full((2, 3, 3, 1), 0.5))
        grid.settle()
        grid.flush()
        grids[key] = grid
    for segment, suffix in enumerate(("", ".stamps", ".copies")):
        raw = [list(grid._segments.arrays.values())[segment].tobytes() for grid in grids.values()]
        assert raw[0] == raw[1] == raw[2]
        assert np.load(tmp_path / f"grid{suffix}.npy").tobytes() == raw[0]
    for grid in grids.values():
        grid.close()


@pytest.mark.parametrize("boundary", ["wall", "wrap"])
@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=20)
@given(data=st.data())
def test_window_is_a_padded_slice(dtype: str, boundary: Any, data: st.DataObject) -> None:
    height, width = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    y0, x0 = data.draw(st.tuples(st.integers(-12, 12), st.integers(-12, 12)))
    h, w = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    normalize = data.draw(st.booleans())
    grid = ChannelGrid((height, width), channels_for(dtype, 2), copies=2, dtype=dtype, boundary=boundary, backend="ram")
    rng = np.random.default_rng(data.draw(SEEDS))
    channel = grid.channels[1]
    grid.write("C1", drawn(rng, channel, (height, width), dtype), copy=1)
    grid.advance(3)
    whole = grid.read("C1", 0, height, 0, width, copy=1)
    shown = (whole - channel.low) / (channel.high - channel.low) if normalize else whole
    if boundary == "wrap":
        wanted = shown[np.ix_(np.arange(y0, y0 + h) % height, np.arange(x0, x0 + w) % width)]
    else:
        wanted = np.pad(shown, 40)[40 + y0 : 40 + y0 + h, 40 + x0 : 40 + x0 + w]
    got = grid.window("C1", y0, y0 + h, x0, x0 + w, copy=1, normalize=normalize)
    assert got.dtype == wanted.dtype
    np.testing.assert_array_equal(got, wanted)


def test_slices_and_ints() -> None:
    grid = ChannelGrid((6, 7), [Channel("A")], copies=2, backend="ram")
    plain = np.zeros((2, 6, 7), np.float32)
    for key, value in [
        ((slice(None), slice(None)), 0.25),
        ((slice(1, 3), slice(-2, None)), 0.5),
        ((-1, slice(0, 2)), [0.75, 1.0]),
        ((2, 3), 1.0),
    ]:
        grid["A", *key] = value
        plain[0][key] = value
        grid["A", 1, *key] = np.asarray(value) / 2
        plain[1][key] = np.asarray(value) / 2
    for copy in range(2):
        np.testing.assert_array_equal(grid["A", copy, :, :], plain[copy])
        np.testing.assert_array_equal(grid["A", copy, 1:4, 2], plain[copy][1:4, 2:3])
    grid["A", 0:2, 0:2][:] = 9
    assert grid["A", 0, 0][0, 0] == plain[0, 0, 0], "what is read is a copy"


def test_reads_are_copies() -> None:
    grid = ChannelGrid((4, 4), [Channel("A", fill=0.5)], backend="ram")
    for got in (
        grid.read("A", 0, 4, 0, 4),
        grid.window("A", 0, 4, 0, 4),
        grid.gather("A", 0, [1], [1]),
        grid.observe(0, [1], [1], 1),
    ):
        got[:] = 7
    assert (grid["A", :, :] == 0.5).all()


@pytest.mark.parametrize("boundary", ["wall", "wrap"])
@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=10)
@given(seed=SEEDS, radius=st.integers(0, 4))
def test_observe_is_a_window_a_cell(dtype: str, boundary: Any, seed: int, radius: int) -> None:
    rng = np.random.default_rng(seed)
    grid = ChannelGrid((9, 6), channels_for(dtype, 3), copies=2, dtype=dtype, boundary=boundary, backend="ram")
    play(grid, Eager(grid.channels, grid.shape, 2), rng, 6)
    copy, y, x = cells(rng, grid, 5)
    names = ["C2", "C0"]
    out = np.empty((5, 2 * radius + 1, 2 * radius + 1, 2), np.float32)
    assert grid.observe(copy, y, x, radius, names, out) is out
    for n in range(5):
        bounds = (y[n] - radius, y[n] + radius + 1, x[n] - radius, x[n] + radius + 1)
        for c, name in enumerate(names):
            wanted = grid.window(name, *bounds, copy=copy[n]).astype(np.float32)
            if boundary == "wall":
                inside = np.pad(np.ones(grid.shape, bool), 9)[
                    9 + bounds[0] : 9 + bounds[1], 9 + bounds[2] : 9 + bounds[3]
                ]
                wanted[~inside] = grid.channels[int(name[1])].outside
            np.testing.assert_array_equal(out[n, ..., c], wanted)


@pytest.mark.parametrize("boundary", ["wall", "wrap"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_stamping_what_was_observed_changes_nothing(dtype: str, boundary: Any) -> None:
    rng = np.random.default_rng(5)
    channels = [Channel(f"C{i}", high=100.0 if dtype == "int32" else 1.0) for i in range(3)]
    grid = ChannelGrid((11, 13), channels, copies=2, dtype=dtype, boundary=boundary, backend="ram")
    for name in grid.names:
        for copy in range(2):
            grid.write(name, rng.uniform(0, 90 if dtype == "int32" else 1, (11, 13)), copy=copy)
    before = {name: grid.read(name, 0, 11, 0, 13, 1) for name in grid.names}
    windows = grid.observe([1, 1], [0, 9], [12, 4], 2, ["C2", "C0"])
    grid.stamp_windows(["C2", "C0"], [1, 1], [0, 9], [12, 4], windows)
    for name in grid.names:
        tolerance = 2e-7 if dtype in ("float64", "uint8") else 0
        np.testing.assert_allclose(grid.read(name, 0, 11, 0, 13, 1), before[name], rtol=0, atol=tolerance)


@pytest.mark.parametrize("boundary", ["wall", "wrap"])
def test_stamps_are_written_where_observe_looks(boundary: Any) -> None:
    rng = np.random.default_rng(6)
    grid = ChannelGrid((12, 15), [Channel("A", fill=0.5), Channel("B")], backend="ram", boundary=boundary)
    values = rng.random((3, 5, 5, 2), np.float32)
    y, x = [0, 6, 11], [14, 6, 7]  # they do not overlap, wrapped or not
    grid.stamp_windows(["B", "A"], 0, y, x, values)
    got = grid.observe(0, y, x, 2, ["B", "A"])
    inside = np.ones((3, 5, 5), bool)
    if boundary == "wall":
        inside[0, :2], inside[0, :, 3:], inside[2, 3:] = False, False, False
    np.testing.assert_array_equal(got[inside], values[inside])
    assert (got[~inside] == 0).all()
    assert (grid["A", :, :] == 0.5).sum() == 12 * 15 - inside.sum()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_settle_changes_no_value(dtype: str) -> None:
    grid = ChannelGrid((40, 40), channels_for(dtype, 4), dtype=dtype, backend="ram")
    rng = np.random.default_rng(1)
    for name in grid.names:
        grid.write(name, rng.random((20, 40)), 7)
    grid.advance(3 * grid.epoch + 1)
    before = grid.observe(0, [20], [20], 20)
    stats = grid.stats()
    assert 0 < stats.stale == stats.live
    assert grid.settle() == stats.stale
    assert grid.stats().stale == 0
    assert grid.settle() == 0
    np.testing.assert_allclose(grid.observe(0, [20], [20], 20), before, rtol=0, atol=TOLERANCE[dtype])


def test_stats_count_what_was_written() -> None:
    grid = ChannelGrid((33, 70), [Channel("A")], copies=2, backend="ram")  # tiles of 32 x 32: 2 x 3 a copy
    stats = grid.stats()
    assert (stats.tiles, stats.live, stats.stale, stats.written_share) == (12, 0, 0, 0.0)
    assert stats.logical_bytes == 12 * 4096 + 12 * 8 + 2 * 16
    grid.scatter("A", [1, 1, 1], [0, 32, 5], [0, 69, 5], [1, 1, 1])
    assert (grid.stats().live, grid.stats().written_share) == (2, 2 / 12)
    assert grid.info()["live"] == 2
    grid.gather("A", 0, 5, 5)
    grid.reset([1])
    assert grid.stats().live == 0


def raw(grid: ChannelGrid) -> tuple[bytes, bytes]:
    tiles, stamps, _ = grid._segments.arrays.values()
    return tiles.tobytes(), stamps.tobytes()


def test_reset_and_advance_touch_no_tile() -> None:
    grid = ChannelGrid((20, 20), channels_for("float32"), copies=3, backend="ram")
    rng = np.random.default_rng(0)
    for copy in range(3):
        grid.write("C0", rng.random((20, 20)), copy=copy)
    before = raw(grid)
    kept = grid.read("C0", 0, 20, 0, 20, copy=0)
    grid.reset([1])
    grid.reset(np.array([False, False, True]))
    assert raw(grid) == before
    np.testing.assert_array_equal(grid.read("C0", 0, 20, 0, 20, copy=0), kept)
    for copy in (1, 2):
        assert (grid.read("C0", 0, 20, 0, 20, copy=copy) == np.float32(grid.channels[0].fill)).all()
    grid.advance(10_000)
    grid.reset([])
    assert raw(grid) == before
    grid.reset()
    assert raw(grid) == before
    assert grid.stats().live == 0


def test_the_clock_writes_no_page_of_a_huge_world(tmp_path: Path) -> None:
    channels = [Channel(f"T{i}", Decay(0.9), fill=1.0) for i in range(3)]
    grid = ChannelGrid((1 << 14, 1 << 14), channels, folder=tmp_path)
    paths = sorted(tmp_path.iterdir())
    grid.flush()
    before = [path.stat().st_blocks for path in paths]
    assert sum(before) * 512 < 1 << 17
    grid.advance(3)
    grid.reset()
    grid.advance(100_000)
    assert grid.gather("T0", 0, 9000, 9000)[0] == 0
    grid.flush()
    assert [path.stat().st_blocks for path in paths] == before
    grid.close()


def test_the_clock_runs_forward_only() -> None:
    grid = ChannelGrid((4, 4), [Channel("A", Decay(0.5))], backend="ram")
    for ticks in (-1, 1.5, True, None, "1", 2**80):
        with pytest.raises(ConfigError):
            grid.advance(ticks)  # type: ignore[arg-type]
    grid.advance(np.int64(3))  # type: ignore[arg-type]
    assert grid.tick == 3
    assert type(grid.tick) is int


def test_modes(tmp_path: Path) -> None:
    channels = [Channel("A", Decay(0.9)), Channel("B")]
    made = ChannelGrid((5, 6), channels, folder=tmp_path, name="g")
    made.scatter("A", 0, 1, 2, 1.0)
    made.close()
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    private = ChannelGrid((5, 6), channels, folder=tmp_path, name="g", mode="c")
    private.scatter("A", 0, 1, 2, 0.25)
    private.reset()
    private.flush()
    reader = ChannelGrid((5, 6), channels, folder=tmp_path, name="g", mode="r")
    assert reader.gather("A", 0, 1, 2)[0] == 1
    for call in (
        lambda: reader.scatter("A", 0, 1, 2, 0.5),
        lambda: reader.take("A", 0, 1, 2, 0.5),
        lambda: reader.write("A", [[0.5]]),
        lambda: reader.__setitem__(("A", 0, 0), 0.5),
        lambda: reader.stamp_windows(["A"], 0, 1, 2, np.zeros((1, 1, 1, 1))),
        lambda: reader.reset(),
        lambda: reader.settle(),
    ):
        with pytest.raises(ReadOnlyError, match="mode='r'"):
            call()
    reader.flush()
    private.close()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files
    writer = ChannelGrid((5, 6), channels, folder=tmp_path, name="g", mode="r+")
    writer.scatter("A", 0, 1, 2, 0.5)
    assert reader.gather("A", 0, 1, 2)[0] == 0.5
    writer.close()
    reader.close()


def test_after_close_everything_raises() -> None:
    grid = ChannelGrid((4, 4), [Channel("A", Decay(0.5))], copies=2)
    other = ChannelGrid((4, 4), [Channel("A", Decay(0.5))], copies=2)
    grid.observe(0, 1, 1, 1)
    grid.close()
    grid.close()
    calls: list[Any] = [
        lambda: grid.advance(),
        lambda: grid.reset(),
        lambda: grid.gather("A", 0, 1, 1),
        lambda: grid.scatter("A", 0, 1, 1, 1.0),
        lambda: grid.take("A", 0, 1, 1, 1.0),
        lambda: grid.stamp_windows(["A"], 0, 1, 1, np.zeros((1, 1, 1, 1))),
        lambda: grid.read("A", 0, 1, 0, 1),
        lambda: grid.write("A", [[1.0]]),
        lambda: grid.window("A", -5, -4, 0, 1),
        lambda: grid["A", :, :],
        lambda: grid.observe(0, 1, 1, 1),
        lambda: grid.settle(),
        lambda: grid.stats(),
        lambda: grid.info(),
        lambda: grid.flush(),
        lambda: grid.link("A", other),
        lambda: grid.has_past(0),
        lambda: grid.has_live_tiles(0),
        lambda: grid.check_open(),
    ]
    for call in calls:
        with pytest.raises(ClosedError, match="closed"):
            call()
    assert grid.closed
    other.scatter("A", 0, 1, 1, 1.0)
    assert other.gather("A", 0, 1, 1)[0] == 1


def test_what_cannot_be_pickled_says_so() -> None:
    grid = ChannelGrid((4, 4), [Channel("A")])
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(grid)


@pytest.mark.parametrize("backend", ["memmap", "ram"])
def test_a_forked_child_never_writes_here(backend: Any) -> None:
    grid = ChannelGrid((4, 4), [Channel("A")], backend=backend)
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        try:
            grid.scatter("A", 0, 1, 1, 1.0)
            os._exit(0)
        except ClosedError:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == (1 if backend == "memmap" else 0)
    assert not grid["A", :, :].any()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"shape": (0, 4)}, ConfigError),
        ({"shape": (-3, 4)}, ConfigError),
        ({"shape": (4.0, 4)}, ConfigError),
        ({"shape": (True, 4)}, ConfigError),
        ({"shape": 4}, ConfigError),
        ({"shape": (4, 4, 4)}, ConfigError),
        ({"channels": []}, ConfigError),
        ({"channels": [Channel("A"), Channel("A")]}, ChannelError),
        ({"copies": 0}, ConfigError),
        ({"copies": 1.5}, ConfigError),
        ({"copies": True}, ConfigError),
        ({"dtype": "float128"}, ConfigError),
        ({"dtype": "uint8", "channels": [Channel("A", Decay(0.5))]}, ConfigError),
        ({"dtype": "int32", "channels": [Channel("A", high=1e10)]}, ConfigError),
        ({"dtype": "float16", "channels": [Channel("A", high=1e5)]}, ConfigError),
        ({"boundary": "torus"}, ConfigError),
        ({"tick": -1}, ConfigError),
        ({"tick": 0.5}, ConfigError),
    ],
    ids=str,
)
def test_grids_that_cannot_be(tmp_path: Path, arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"got|different"):
        ChannelGrid(**{"shape": (4, 4), "channels": [Channel("A")], "folder": tmp_path, **arguments})
    assert list(tmp_path.iterdir()) == []
