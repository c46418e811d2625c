"""Windows, contests and draws against the plainest loops that say what they mean."""

import importlib
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memfarm import layout, reference_walkers
from memfarm.channels import Channel

pytestmark = pytest.mark.once

SEEDS = st.integers(0, 2**63)
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module", params=["memfarm.reference", "memfarm._kernels"])
def kernels(request: pytest.FixtureRequest) -> ModuleType:
    if request.param == "memfarm._kernels":
        pytest.importorskip("memfarm._kernels")
    return importlib.import_module(request.param)


def static_grid(
    kernels: ModuleType,
    rng: np.random.Generator,
    outsides: list[float],
    shape: tuple[int, int],
    copies: int,
    wrap: bool,
) -> tuple[Any, Array]:
    """A grid of Static channels filled at random, and its values as float32 `(copies, H, W, C)`."""
    channels = [Channel(f"C{i}", outside=outside) for i, outside in enumerate(outsides)]
    parts = layout.segments("grid", shape, len(channels), copies, "float32").values()
    tiles, stamps, resets = (np.zeros(size, kind) for size, kind in parts)
    resets[:, 0] = 1
    lanes = [layout.lane(channel) for channel in channels]
    grid = kernels.Grid(tiles, stamps, resets, lanes, *shape, wrap, 0)
    values = rng.random((copies, *shape, len(channels)), np.float32)
    for copy in range(copies):
        grid.write(copy, 0, 0, np.arange(len(channels), dtype=np.int32), values[copy])
    return grid, values


def looked_up(values: Array, outside: float, copy: int, y: int, x: int, wrap: bool) -> Any:
    height, width = values.shape[1:]
    if wrap:
        y, x = y % height, x % width
    inside = 0 <= y < height and 0 <= x < width
    return np.float32(values[copy % len(values), y, x] if inside else outside)


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, shape=st.tuples(st.integers(1, 9), st.integers(1, 9)), radius=st.integers(0, 6), wrap=st.booleans())
def test_windows_hold_cells_points_and_centres(
    kernels: ModuleType, seed: int, shape: tuple[int, int], radius: int, wrap: bool
) -> None:
    rng = np.random.default_rng(seed)
    copies, count, side = 2, 4, 2 * radius + 1
    ground, dim = static_grid(kernels, rng, [0.25], shape, 1, wrap)
    layers, data = static_grid(kernels, rng, [0.5, 1.0], shape, copies, wrap)
    stored = {(0, 0): (dim[..., 0], 0.25), (1, 0): (data[..., 0], 0.5), (1, 1): (data[..., 1], 1.0)}
    columns = [(1, 1), (-1, 0), (0, 0), (1, 0), (-1, 0)]
    hidden = (rng.random(5) < 0.5).tolist()
    scale, shift = (rng.uniform(-1, 2, 5).astype(np.float32) for _ in range(2))
    copy, y, x = (rng.integers(0, bound, count, dtype=np.int32) for bound in (copies, *shape))
    points: list[Any] = []
    for column in (1, 4, 1):
        where = (rng.integers(0, bound, 6, dtype=np.int32) for bound in (copies, *shape))
        sought = rng.integers(0, 3, count, dtype=np.int32) if rng.random() < 0.5 else None
        points.append((column, *where, rng.random(6, np.float32), bool(rng.random() < 0.5), sought))
    energy = rng.random(count, np.float32)
    out = np.full((count, side, side, 5), np.nan, np.float32)
    windows = kernels.Windows([ground, layers], columns, radius, scale, shift, (0, 0), hidden)
    windows.observe(copy, y, x, out, [(4, energy)], points, 1)

    for n, i, j, c in np.ndindex(out.shape):
        at = (int(copy[n]), int(y[n]) - radius + i, int(x[n]) - radius + j, wrap)
        light = looked_up(*stored[0, 0], *at) if hidden[c] else np.float32(1)
        value: Any = np.float32(0)
        if columns[c][0] >= 0:
            value = (looked_up(*stored[columns[c]], *at) * scale[c] + shift[c]) * light
        centre = i == radius and j == radius
        for column, p_copy, p_y, p_x, p_values, skip_centre, sought in points:
            key = at[0] if sought is None else sought[n]
            for k in range(6):
                dy, dx = at[1] - p_y[k], at[2] - p_x[k]
                here = dy % shape[0] == 0 and dx % shape[1] == 0 if wrap else dy == 0 and dx == 0
                if column == c and p_copy[k] == key and here and not (centre and skip_centre):
                    value = max(value, p_values[k] * light)
        if c == 4 and centre:
            value = energy[n]
        assert out[n, i, j, c] == value, (n, i, j, c)


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, count=st.integers(0, 30))
def test_contest_lets_the_best_contender_of_a_free_cell_win(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    wanted = rng.integers(-2, 8, count)
    priority = rng.integers(0, 4, count, dtype=np.uint64) + np.uint64(2**63)
    occupied = rng.integers(-2, 8, 2)
    expected = [False] * count
    for key in set(wanted.tolist()) - set(occupied.tolist()):
        if key >= 0:
            contenders = [n for n in range(count) if wanted[n] == key]
            expected[max(contenders, key=lambda n: (int(priority[n]), -n))] = True
    assert reference_walkers.contest(wanted, priority, occupied).tolist() == expected


def test_contest_with_nothing_occupied() -> None:
    wanted, priority = np.array([5, 5, -1]), np.array([1, 2**64 - 1, 7], np.uint64)
    assert reference_walkers.contest(wanted, priority, np.empty(0, np.int64)).tolist() == [False, True, False]


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, count=st.integers(0, 30))
def test_first_outside_is_the_first_bad_cell(kernels: ModuleType, seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    bounds = (2, 5, 7)
    slack = int(rng.random() < 0.5)
    where = [rng.integers(-slack, bound + slack, count, dtype=np.int32) for bound in bounds]
    bad = [n for n in range(count) if any(not 0 <= axis[n] < b for axis, b in zip(where, bounds, strict=True))]
    assert kernels.first_outside(*where, *bounds) == (bad[0] if bad else -1)


def splitmix64(key: int) -> int:
    key = (key + 0x9E3779B97F4A7C15) % 2**64
    key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) % 2**64
    return key ^ (key >> 31)


@settings(deadline=None, max_examples=60)
@given(keys=st.lists(st.integers(0, 2**64 - 1), max_size=8), stream=st.integers(0, 2**63 - 1))
def test_hash_draws_are_splitmix64(kernels: ModuleType, keys: list[int], stream: int) -> None:
    assert splitmix64(1234567) == 6457827717110365317  # the published first draw of that seed
    expected = [splitmix64(splitmix64(key) ^ (stream * 0x9E3779B97F4A7C15 % 2**64)) for key in keys]
    assert kernels.hash_draws(np.array(keys, np.uint64), stream).tolist() == expected
