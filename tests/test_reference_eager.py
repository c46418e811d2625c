"""Lazy time equals eager time: a kernel's Grid against `Eager`, which steps every cell every tick."""

import importlib
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from memfarm import layout
from memfarm.channels import Channel, Decay, Recover, Regrow, Static
from memfarm.eager import Eager

pytestmark = pytest.mark.once

TOLERANCE = {"float32": 2e-5, "float64": 1e-9, "float16": 2e-2}
"""Of the capacity. float16 keeps 11 bits: 2.5e-4 a write, and a scenario writes a cell a few dozen times at most."""

HOW = {"set": 0, "add": 1, "max": 2}


@pytest.fixture(scope="module", params=["memfarm.reference", "memfarm._kernels"])
def kernels(request: pytest.FixtureRequest) -> ModuleType:
    if request.param == "memfarm._kernels":
        pytest.importorskip("memfarm._kernels")
    return importlib.import_module(request.param)


class Lazy:
    """A Grid of a kernel module over arrays of its own."""

    def __init__(
        self,
        kernels: ModuleType,
        channels: list[Channel],
        shape: tuple[int, int],
        copies: int = 1,
        dtype: str = "float32",
        wrap: bool = False,
        tick: int = 0,
    ) -> None:
        parts = layout.segments("grid", shape, len(channels), copies, dtype).values()
        self.tiles, self.stamps, self.copies = (np.zeros(size, kind) for size, kind in parts)
        self.copies[:] = (1, tick)
        self.shape, self.lanes, self.dtype = shape, np.arange(len(channels), dtype=np.int32), dtype
        self.epoch = layout.epoch_length(channels, dtype)
        lanes = [layout.lane(channel) for channel in channels]
        self.grid = kernels.Grid(self.tiles, self.stamps, self.copies, lanes, *shape, wrap, self.epoch)
        self.tick = tick
        self.advance(0)

    def advance(self, ticks: int) -> None:
        self.tick += ticks
        self.grid.set_tick(self.tick)

    def reset(self, copies: list[int]) -> None:
        for copy in copies:
            self.copies[copy] = (self.copies[copy, 0] + 1, self.tick)

    def read(self) -> np.ndarray[Any, Any]:
        out = np.empty((len(self.copies), *self.shape, len(self.lanes)), layout.VALUES[self.dtype])
        for copy in range(len(out)):
            self.grid.read(copy, 0, 0, self.lanes, out[copy])
        return out


def shares(low: float = 0.01) -> st.SearchStrategy[float]:
    return st.one_of(st.sampled_from([0.01, 0.1, 0.5, 1.0]), st.floats(low, 1.0))


@st.composite
def channels_of(draw: st.DrawFn, index: int) -> Channel:
    high = draw(st.sampled_from([1.0, 0.5, 3.0, 40.0]))
    kind = draw(st.sampled_from(["static", "decay", "regrow", "recover"]))
    law: Static | Decay | Regrow | Recover = Static()
    low = 0.0
    if kind == "static":
        low = draw(st.sampled_from([0.0, -1.0, 0.25]))
    elif kind == "decay":
        gamma = draw(st.one_of(st.sampled_from([0.0, 0.3, 0.85, 0.9, 0.92, 0.98]), st.floats(0.0, 0.98)))
        floors = [1e-4, 1e-2 * high] + [0.0] * (gamma <= 0.85)
        law = Decay(gamma, draw(st.sampled_from(floors)))
    else:
        capacity: float | str = draw(st.one_of(st.just("CAP"), st.sampled_from([high, high / 3, high / 16])))
        law = (Regrow if kind == "regrow" else Recover)(draw(shares()), capacity)
    fill = draw(st.sampled_from([low, high, low + 0.3 * (high - low), low + 0.625 * (high - low)]))
    return Channel(f"C{index}", law, low, high, fill, outside=draw(st.sampled_from([low, high])))


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    channels = [draw(channels_of(i)) for i in range(draw(st.integers(1, 5)))]
    dtype = draw(st.sampled_from(["float32", "float32", "float64", "float16"]))
    epoch = layout.epoch_length(channels, dtype)
    gap = st.one_of(
        st.integers(0, 12),
        st.integers(0, 12),
        st.sampled_from([max(0, epoch - 1), epoch, epoch + 1, 2 * epoch + 3]),
        st.integers(13, 100),
        st.integers(0, 1000),
        st.just(100_000),
    )
    verbs = ["set", "add", "max", "take", "write", "stamp", "reset", "settle", "read"]
    seed = st.integers(0, 2**32 - 1)
    return {
        "channels": channels,
        "dtype": dtype,
        "shape": (draw(st.integers(1, 37)), draw(st.integers(1, 37))),
        "copies": draw(st.integers(1, 3)),
        "wrap": draw(st.booleans()),
        "tick": draw(st.sampled_from([0, 7, 123_456])),
        "seed": draw(seed),
        "ops": draw(st.lists(st.tuples(st.sampled_from(verbs), seed, gap), min_size=1, max_size=7)),
    }


class Pair:
    """The same world twice, lazy and eager, and what is done to both."""

    def __init__(self, kernels: ModuleType, scenario: dict[str, Any]) -> None:
        self.kernels = kernels
        self.channels: list[Channel] = scenario["channels"]
        self.shape, self.wrap, self.count = scenario["shape"], scenario["wrap"], scenario["copies"]
        self.dtype: str = scenario["dtype"]
        self.lazy = Lazy(kernels, self.channels, self.shape, self.count, self.dtype, self.wrap, scenario["tick"])
        self.eager = Eager(self.channels, self.shape, self.count)
        self.link(np.random.default_rng(scenario["seed"]))

    def link(self, rng: np.random.Generator) -> None:
        for lane, channel in enumerate(self.channels):
            if isinstance(channel.capacity, str):
                limits = [Channel("OTHER"), Channel("CAP", high=channel.high, fill=channel.high)]
                dtype = str(rng.choice(["float32", "uint8", "float64", self.dtype]))
                source = Lazy(self.kernels, limits, self.shape, dtype=dtype, wrap=self.wrap, tick=self.lazy.tick)
                height = rng.integers(1, self.shape[0] + 1)
                values = rng.choice([0.0, 0.5, 1.0, 0.3], (height, self.shape[1], 1)) * channel.high
                source.grid.write(0, 0, 0, np.array([1], np.int32), values.astype(layout.VALUES[dtype]))
                self.lazy.grid.link(lane, source.grid, 1)
                self.eager.link(lane, source.read()[0, ..., 1].astype(np.float64))

    def check(self) -> None:
        assume(not self.eager.ambiguous)
        for lane, channel in enumerate(self.channels):
            capacity = channel.high if isinstance(channel.capacity, str) else channel.capacity
            error = np.abs(self.lazy.read()[..., lane] - self.eager.read(lane)).max()
            assert error <= TOLERANCE[self.dtype] * capacity, f"{channel} differs by {error} at tick {self.lazy.tick}"

    def cells(self, rng: np.random.Generator, count: int) -> tuple[Any, Any, Any]:
        """Coordinates with duplicates."""
        bounds = (self.count, *self.shape)
        copy, y, x = (rng.integers(0, rng.integers(1, bound + 1), count, dtype=np.int32) for bound in bounds)
        return copy, y, x

    def values(self, rng: np.random.Generator, lane: int, size: Any) -> Any:
        """float32 numbers (as float64) about the channel's range, its ends among them."""
        channel = self.channels[lane]
        drawn = rng.uniform(channel.low - 0.2 * channel.high, 1.2 * channel.high, size)
        ends = rng.choice([channel.low, channel.high, 0.5 * channel.high, 0.004 * channel.high], size)
        return np.where(rng.random(size) < 0.3, ends, drawn).astype(np.float32).astype(np.float64)

    def limits(self, rng: np.random.Generator, lane: int) -> tuple[float, float]:
        channel = self.channels[lane]
        if rng.random() < 0.7:
            return channel.low, channel.high
        low, high = np.sort(rng.uniform(channel.low, channel.high, 2))
        return float(low), float(high)

    def do(self, verb: str, seed: int) -> None:
        rng = np.random.default_rng(seed)
        lane = int(rng.integers(len(self.channels)))
        if verb in HOW:
            where = self.cells(rng, 12)
            values, limits = self.values(rng, lane, 12), self.limits(rng, lane)
            self.lazy.grid.scatter(lane, *where, values, HOW[verb], *limits)
            getattr(self.eager, verb)(lane, *where, values, *limits)
        elif verb == "take":
            self.take(rng)
        elif verb == "write":
            self.write(rng)
        elif verb == "stamp":
            self.stamp(rng)
        elif verb == "reset":
            copies = np.flatnonzero(rng.random(self.count) < 0.6).tolist()
            self.lazy.reset(copies)
            self.eager.reset(copies)
        elif verb == "settle":
            self.lazy.grid.settle()
            assert self.lazy.grid.settle() == 0

    def take(self, rng: np.random.Generator) -> None:
        lanes = [lane for lane, channel in enumerate(self.channels) if channel.low >= 0]
        if lanes:
            lane = int(rng.choice(lanes))
            where, taken = self.cells(rng, 12), np.empty(12)
            amount = np.abs(self.values(rng, lane, 12))
            self.lazy.grid.take(lane, *where, amount, taken)
            expected = self.eager.take(lane, *where, amount)
            assume(not self.eager.ambiguous)
            np.testing.assert_allclose(taken, expected, 0, TOLERANCE[self.dtype] * self.channels[lane].high)

    def write(self, rng: np.random.Generator) -> None:
        copy, y0, x0 = (int(axis[0]) for axis in self.cells(rng, 1))
        height, width = (int(rng.integers(1, size - at + 1)) for size, at in zip(self.shape, (y0, x0), strict=True))
        lanes = rng.permutation(len(self.channels))[: rng.integers(1, 6)].astype(np.int32)
        values = np.stack([self.values(rng, lane, (height, width)) for lane in lanes], axis=-1)
        self.lazy.grid.write(copy, y0, x0, lanes, values.astype(layout.VALUES[self.dtype]))
        y, x = (axis.ravel() for axis in np.mgrid[y0 : y0 + height, x0 : x0 + width])
        for column, lane in enumerate(lanes):
            flat = values[..., column].ravel()
            self.eager.set(int(lane), np.full(flat.size, copy), y, x, flat, -np.inf, np.inf)

    def stamp(self, rng: np.random.Generator) -> None:
        radius, verb = int(rng.integers(0, 4)), str(rng.choice(list(HOW)))
        copy, y, x = self.cells(rng, 3)
        lanes = rng.permutation(len(self.channels))[: rng.integers(1, 3)].astype(np.int32)
        values = np.stack([self.values(rng, lane, (3, 2 * radius + 1, 2 * radius + 1)) for lane in lanes], axis=-1)
        low, high = np.array([self.limits(rng, lane) for lane in lanes]).T.copy()
        self.lazy.grid.stamp_windows(
            lanes, copy, y, x, radius, values.astype(np.float32), HOW[verb], low.copy(), high.copy()
        )
        for n, i, j, column in np.ndindex(values.shape):
            cy, cx = y[n] - radius + i, x[n] - radius + j
            if self.wrap:
                cy, cx = cy % self.shape[0], cx % self.shape[1]
            elif not (0 <= cy < self.shape[0] and 0 <= cx < self.shape[1]):
                continue
            where = ([copy[n]], [cy], [cx], [values[n, i, j, column]])
            getattr(self.eager, verb)(int(lanes[column]), *where, low[column], high[column])

    def check_windows(self, rng: np.random.Generator) -> None:
        """Windows cut by the kernel against windows sliced from the padded eager world."""
        radius = int(rng.integers(0, 5))
        copy, y, x = self.cells(rng, 5)
        columns = [(0, int(lane)) for lane in rng.permutation(len(self.channels))]
        one, zero = np.ones(len(columns), np.float32), np.zeros(len(columns), np.float32)
        out = np.full((5, 2 * radius + 1, 2 * radius + 1, len(columns)), np.nan, np.float32)
        cut = self.kernels.Windows([self.lazy.grid], columns, radius, one, zero, None, [False] * len(columns))
        cut.observe(copy, y, x, out, [], [], 1)
        for column, (_, lane) in enumerate(columns):
            padding: dict[str, Any] = (
                {"mode": "wrap"} if self.wrap else {"constant_values": self.channels[lane].outside}
            )
            world = np.pad(self.eager.read(lane), ((0, 0), (radius, radius), (radius, radius)), **padding)
            side = 2 * radius + 1
            expected = [world[c, i : i + side, j : j + side] for c, i, j in zip(copy, y, x, strict=True)]
            bound = TOLERANCE[self.dtype] * self.channels[lane].high
            if self.dtype == "float64":
                bound = 1e-7 * self.channels[lane].high  # windows are float32 whatever is stored
            np.testing.assert_allclose(out[..., column], expected, 0, bound)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(scenario=scenarios())
def test_lazy_grid_equals_eager_grid(kernels: ModuleType, scenario: dict[str, Any]) -> None:
    pair = Pair(kernels, scenario)
    pair.check()
    for verb, seed, gap in scenario["ops"]:
        pair.do(verb, seed)
        pair.check()
        pair.lazy.advance(gap)
        pair.eager.advance(gap)
        pair.check()
    pair.check_windows(np.random.default_rng(scenario["seed"]))


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("high", [1.0, 1000.0])
@pytest.mark.parametrize(
    "law", [Decay(0.85), Recover(0.05, 0.5), Regrow(0.01, 0.5)], ids=lambda law: type(law).__name__
)
def test_a_value_written_on_any_tick_of_an_epoch_reads_back(
    kernels: ModuleType, law: Decay | Recover | Regrow, high: float, dtype: str
) -> None:
    channel = Channel("C", law, high=high)
    capacity = channel.high if isinstance(law, Decay) else 0.5
    lazy, zero, out = (
        Lazy(kernels, [channel], (1, 1), dtype=dtype),
        np.zeros(1, np.int32),
        np.empty(1, layout.VALUES[dtype]),
    )
    for tick in range(lazy.epoch + 2):
        value = np.array([0.9 if tick % 2 else 0.01]) * capacity
        lazy.grid.scatter(0, zero, zero, zero, value, 0, 0.0, high)
        lazy.grid.gather(0, zero, zero, zero, out)
        assert abs(out[0] - value[0]) <= TOLERANCE[dtype] * capacity, tick
        lazy.advance(1)
