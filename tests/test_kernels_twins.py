"""The compiled kernels equal their NumPy twins bit for bit: what they hand out, and what they leave in the files."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memfarm import layout, reference
from memfarm.channels import Channel, Decay, Recover, Regrow, Static

pytestmark = pytest.mark.once

kernels = pytest.importorskip("memfarm._kernels")

DTYPES = sorted(layout.VALUES)
SEEDS = st.integers(0, 2**63)
MODULES: tuple[Any, Any] = (reference, kernels)

Array = np.ndarray[Any, Any]


def same(label: str, arrays: list[Array]) -> None:
    twin, compiled = arrays
    assert twin.dtype == compiled.dtype
    assert twin.shape == compiled.shape
    if twin.tobytes() != compiled.tobytes():
        where = np.argwhere((twin != compiled) & ((twin == twin) | (compiled == compiled)))[:4].tolist()
        got = [(twin[tuple(at)], compiled[tuple(at)]) for at in where]
        raise AssertionError(f"{label}: reference and _kernels differ at {where}: {got}; or a zero's sign differs")


def random_channel(rng: np.random.Generator, index: int, dtype: str) -> Channel:
    if dtype == "int32":
        base = int(rng.integers(-5, 1))
        return Channel(f"C{index}", low=base, high=base + 7, fill=base + int(rng.integers(0, 8)), outside=base + 3)
    high = float(rng.choice([1.0, 0.7, 5.0]))
    kind = "static" if dtype == "uint8" else str(rng.choice(["static", "decay", "regrow", "recover"]))
    low = float(rng.choice([0.0, -0.9, 0.1])) if kind == "static" else 0.0
    share = float(rng.choice([0.01, 0.3, 1.0, rng.uniform(0.01, 1)]))
    capacity: float | str = "LIMIT" if rng.random() < 0.5 else high * float(rng.uniform(0.1, 1))
    laws: dict[str, Static | Decay | Regrow | Recover] = {
        "static": Static(),
        "decay": Decay(1 - share, float(rng.choice([0.0, 1e-4, 0.05]))),
        "regrow": Regrow(share, capacity),
        "recover": Recover(share, capacity),
    }
    fill, outside = rng.uniform(low, high, 2)
    return Channel(f"C{index}", laws[kind], low, high, float(rng.choice([low, fill, high])), float(outside))


class Twins:
    """One grid twice, each with arrays of its own, and every call made on both."""

    def __init__(
        self, channels: list[Channel], shape: tuple[int, int], copies: int, dtype: str, wrap: bool, tick: int
    ) -> None:
        self.channels, self.shape, self.count, self.dtype, self.wrap = channels, shape, copies, dtype, wrap
        self.value = layout.VALUES[dtype]
        self.epoch = layout.epoch_length(channels, dtype)
        parts = layout.segments("grid", shape, len(channels), copies, dtype).values()
        self.arrays = [[np.zeros(size, kind) for size, kind in parts] for _ in MODULES]
        for tiles, _, resets in self.arrays:
            tiles[:] = 3  # what lies in a tile that is not live says nothing
            resets[:] = (1, tick)
        lanes = [layout.lane(channel) for channel in channels]
        self.grids = [
            module.Grid(*arrays, lanes, *shape, wrap, self.epoch)
            for module, arrays in zip(MODULES, self.arrays, strict=True)
        ]
        self.tick = tick
        self.advance(0)

    def advance(self, ticks: int) -> None:
        self.tick += ticks
        for grid in self.grids:
            grid.set_tick(self.tick)

    def link(self, source: "Twins", source_lane: int) -> None:
        for lane, channel in enumerate(self.channels):
            if isinstance(channel.capacity, str):
                for grid, other in zip(self.grids, source.grids, strict=True):
                    grid.link(lane, other, source_lane)

    def check(self, label: str) -> None:
        for index, part in enumerate(("tiles", "stamps", "copies")):
            same(f"{part} after {label}", [arrays[index] for arrays in self.arrays])

    def cells(self, rng: np.random.Generator, count: int) -> tuple[Array, Array, Array]:
        """int32 coordinates, many of them twice."""
        bounds = (self.count, *self.shape)
        copy, y, x = (rng.integers(0, rng.integers(1, bound + 1), count, dtype=np.int32) for bound in bounds)
        return copy, y, x

    def values(self, rng: np.random.Generator, lane: int, size: Any, dtype: Any) -> Array:
        low, high = self.channels[lane].low, self.channels[lane].high
        ends, drawn = rng.choice([low, high, 0.0, -0.0], size), rng.uniform(low - 1, high + 1, size)
        mixed: Array = np.where(rng.random(size) < 0.3, ends, drawn)
        return mixed.astype(dtype)

    def limits(self, rng: np.random.Generator, lane: int) -> tuple[float, float]:
        low, high = self.channels[lane].low, self.channels[lane].high
        if self.dtype == "int32" or rng.random() < 0.5:
            return low, high
        narrow = np.sort(rng.uniform(low, high, 2))
        return float(narrow[0]), float(narrow[1])

    def some_lanes(self, rng: np.random.Generator) -> Array:
        return rng.permutation(len(self.channels))[: rng.integers(1, 9)].astype(np.int32)

    def scatter(self, rng: np.random.Generator) -> None:
        lane, how, count = int(rng.integers(len(self.channels))), int(rng.integers(3)), int(rng.integers(0, 40))
        where, values, limits = (
            self.cells(rng, count),
            self.values(rng, lane, count, np.float64),
            self.limits(rng, lane),
        )
        for grid in self.grids:
            grid.scatter(lane, *where, values, how, *limits)

    def take(self, rng: np.random.Generator) -> None:
        lane, count = int(rng.integers(len(self.channels))), int(rng.integers(0, 40))
        where, amount = self.cells(rng, count), np.abs(self.values(rng, lane, count, np.float64))
        outs = [np.full(count, np.nan) for _ in MODULES]
        for grid, out in zip(self.grids, outs, strict=True):
            grid.take(lane, *where, amount, out)
        same("take", outs)

    def gather(self, rng: np.random.Generator) -> None:
        lane, where = int(rng.integers(len(self.channels))), self.cells(rng, 30)
        outs = [np.full(30, 77, self.value) for _ in MODULES]
        for grid, out in zip(self.grids, outs, strict=True):
            grid.gather(lane, *where, out)
        same("gather", outs)

    def rectangle(self, rng: np.random.Generator) -> tuple[int, int, int, int, int]:
        copy, y0, x0 = (int(axis[0]) for axis in self.cells(rng, 1))
        return copy, y0, x0, int(rng.integers(1, self.shape[0] - y0 + 1)), int(rng.integers(1, self.shape[1] - x0 + 1))

    def read(self, rng: np.random.Generator) -> None:
        copy, y0, x0, height, width = self.rectangle(rng)
        lanes = self.some_lanes(rng)
        outs = [np.full((height, width, len(lanes)), 77, self.value) for _ in MODULES]
        for grid, out in zip(self.grids, outs, strict=True):
            grid.read(copy, y0, x0, lanes, out)
        same("read", outs)

    def write(self, rng: np.random.Generator) -> None:
        copy, y0, x0, height, width = self.rectangle(rng)
        lanes = self.some_lanes(rng)
        values = np.stack([self.values(rng, lane, (height, width), self.value) for lane in lanes], axis=-1)
        for grid in self.grids:
            grid.write(copy, y0, x0, lanes, values)

    def stamp(self, rng: np.random.Generator) -> None:
        lanes, how, count = self.some_lanes(rng), int(rng.integers(3)), int(rng.integers(0, 5))
        radius = int(rng.choice([0, 1, 3, max(self.shape) // 2 + 2]))
        side, where = 2 * radius + 1, self.cells(rng, count)
        values = np.stack([self.values(rng, lane, (count, side, side), np.float32) for lane in lanes], axis=-1)
        limits = np.array([self.limits(rng, lane) for lane in lanes])
        seen = rng.random((count, side, side)) < rng.choice([0.02, 0.5]) if rng.random() < 0.5 else None
        for grid in self.grids:
            grid.stamp_windows(lanes, *where, radius, values, how, limits[:, 0].copy(), limits[:, 1].copy(), seen)

    def settle(self, rng: np.random.Generator) -> None:
        counts = [grid.settle() for grid in self.grids]
        assert counts[0] == counts[1]

    def reset(self, rng: np.random.Generator) -> None:
        chosen = rng.random(self.count) < 0.5
        for _, _, resets in self.arrays:
            resets[chosen, 0] += 1
            resets[chosen, 1] = self.tick

    def do(self, rng: np.random.Generator) -> None:
        verbs = (self.scatter, self.take, self.gather, self.read, self.write, self.stamp, self.settle, self.reset)
        verb = verbs[rng.integers(len(verbs))]
        verb(rng)
        self.check(verb.__name__)


def random_world(rng: np.random.Generator, dtype: str, lanes: int) -> tuple[Twins, Twins, Twins]:
    """A grid of `dtype`, a one-copy grid of capacities and VISIBILITY, and a third one, after the same history."""
    shape, wrap, copies = (int(rng.integers(1, 41)), int(rng.integers(1, 41))), bool(rng.random() < 0.5), 3
    tick = int(rng.choice([0, 5, 1_000_003]))
    static_dtype, third_dtype = str(rng.choice(["float32", "float16", "float64", "uint8"])), str(rng.choice(DTYPES))
    ground = [Channel("VIS", fill=0.3, outside=0.6), Channel("LIMIT", high=0.7, fill=0.55), Channel("ELSE", low=-1.0)]
    first = Twins([random_channel(rng, i, dtype) for i in range(lanes)], shape, copies, dtype, wrap, tick)
    second = Twins(ground, shape, 1, static_dtype, wrap, tick)
    third = Twins([random_channel(rng, i, third_dtype) for i in range(3)], shape, copies, third_dtype, wrap, tick)
    for grid in (first, third):
        grid.link(second, 1)
    second.write(rng)
    return first, second, third


def random_gap(rng: np.random.Generator, epoch: int) -> int:
    return int(rng.choice([0, 1, 2, 7, max(0, epoch - 1), epoch, 3 * epoch + 1, 100_000]))


@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("dtype", DTYPES)
@settings(deadline=None, max_examples=6)
@given(seed=SEEDS)
def test_every_primitive_leaves_the_same_bytes(dtype: str, lanes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    grids = random_world(rng, dtype, lanes)
    for _ in range(8):
        gap = random_gap(rng, grids[0].epoch)
        for grid in grids:
            grid.advance(gap)
        grids[rng.choice(3, p=[0.8, 0.1, 0.1])].do(rng)
        grids[0].read(rng)
        grids[0].gather(rng)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@settings(deadline=None, max_examples=25)
@given(seed=SEEDS, lanes=st.sampled_from([1, 2, 3, 4, 5, 8]))
def test_observe_hands_out_the_same_bytes(dtype: str, threads: int, seed: int, lanes: int) -> None:
    rng = np.random.default_rng(seed)
    grids = random_world(rng, dtype, lanes)
    for _ in range(3):
        for grid in grids:
            grid.advance(random_gap(np.random.default_rng(seed), grids[0].epoch))
        for grid in grids:
            grid.do(rng)
    everything = [(i, lane) for i, grid in enumerate(grids) for lane in range(len(grid.channels))] + [(-1, 0)] * 3
    order = rng.permutation(len(everything))[: rng.integers(1, len(everything) + 1)]
    columns = [everything[i] for i in order]
    radius = int(rng.choice([0, 1, 2, 5, max(grids[0].shape) // 2 + 3]))
    scale, shift = (rng.uniform(-2, 2, len(columns)).astype(np.float32) for _ in range(2))
    visibility = (1, 0) if rng.random() < 0.6 else None
    hidden = [visibility is not None and bool(rng.random() < 0.5) for _ in columns]
    count = 300 if radius < 3 else int(rng.integers(0, 14))  # few agents are never shared among threads
    painted = int(rng.integers(0, 20))
    where = grids[0].cells(rng, count)
    stored_nowhere = [column for column, (index, _) in enumerate(columns) if index < 0]
    centres = [(c, rng.random(count, np.float32)) for c in stored_nowhere if rng.random() < 0.5]
    points = [
        (
            c,
            *grids[0].cells(rng, painted),
            rng.uniform(-0.5, 1, painted).astype(np.float32),
            bool(rng.random() < 0.5),
            rng.integers(0, 3, count, dtype=np.int32) if rng.random() < 0.5 else None,
        )
        for c in rng.permutation(np.repeat(np.arange(len(columns)), 2)).tolist()[: rng.integers(0, 4)]
    ]
    side, outs = 2 * radius + 1, []
    for kind, module in enumerate(MODULES):
        windows = module.Windows(
            [grid.grids[kind] for grid in grids], columns, radius, scale, shift, visibility, hidden
        )
        outs.append(np.full((count, side, side, len(columns)), np.nan, np.float32))
        windows.observe(*where, outs[-1], centres, points, threads)
    same(f"observe of {columns}, radius {radius}", outs)
    for grid in grids:
        grid.check("observe")


@pytest.mark.parametrize("epoch_gap", [0, 1, 5])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_forage_like_windows_of_many_agents(dtype: str, epoch_gap: int) -> None:
    rng = np.random.default_rng(3)
    shape, copies, count = (150, 131), 2, 700
    ground = Twins([Channel(n, fill=0.4, outside=0.9) for n in ("VIS", "LIMIT", "A", "B")], shape, 1, dtype, False, 0)
    food = Twins([Channel("FOOD", Regrow(0.01, "LIMIT"), fill=0.8)], shape, copies, dtype, False, 0)
    fields = Twins([Channel(f"F{g}", Decay(g / 100)) for g in (85, 90, 92)], shape, copies, dtype, False, 0)
    food.link(ground, 1)
    grids = [ground, food, fields]
    for _ in range(4):
        for grid in grids:
            grid.scatter(rng)
            grid.write(rng)
            grid.advance(37 + epoch_gap * fields.epoch)
    columns = [(-1, 0), (-1, 0), (1, 0), (0, 2), (0, 3), (0, 0), (2, 1)]
    one, zero = np.ones(7, np.float32), np.zeros(7, np.float32)
    where, energy = fields.cells(rng, count), rng.random(count, np.float32)
    for threads in (1, 3):
        outs = []
        for kind, module in enumerate(MODULES):
            windows = module.Windows([g.grids[kind] for g in grids], columns, 5, one, zero, (0, 0), [True] * 7)
            outs.append(np.full((count, 11, 11, 7), np.nan, np.float32))
            windows.observe(*where, outs[-1], [(0, energy)], [(1, *where, energy, True, None)], threads)
        same("observe", outs)


@settings(deadline=None, max_examples=50)
@given(seed=SEEDS, count=st.integers(0, 60))
def test_first_outside_is_the_same(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    where = [rng.integers(-1 if rng.random() < 0.3 else 0, 40, count, dtype=np.int32) for _ in range(3)]
    bounds = rng.integers(30, 42, 3).tolist()
    twin, compiled = (module.first_outside(*where, *bounds) for module in MODULES)
    assert twin == compiled


@settings(deadline=None, max_examples=50)
@given(seed=SEEDS, stream=st.integers(0, 2**63 - 1))
def test_hash_draws_are_the_same(seed: int, stream: int) -> None:
    keys = np.random.default_rng(seed).integers(0, 2**64, 50, dtype=np.uint64)
    same("hash_draws", [module.hash_draws(keys.copy(), stream) for module in MODULES])
