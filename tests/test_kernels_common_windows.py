"""Windows just inside and just outside of what the kernels cut on their fast path, against the NumPy twin.

Fast are windows inside the world that meet at most two tiles an axis, rows of up to 16 cells, up to 4 grids of float32,
float16 or uint8 with 1, 2 or 4 lanes, up to 16 columns that are neither scaled nor hidden, and capacities from one grid
of 4 lanes; of these, what most worlds are has kernels of its own. On a processor without AVX-512 no window is fast;
the bytes are the same everywhere.
"""

import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kernels_twins import DTYPES, MODULES, SEEDS, Array, Twins, random_channel, same

from memfarm.channels import Channel, Decay, Regrow

pytestmark = pytest.mark.once  # both kernels in every test, whichever are in use
FULL = os.environ.get("MEMFARM_DOSE") == "full"
RADII = range(10)
TICK = 1_000_003
CASES = list(itertools.product(DTYPES, range(1, 6)))


def mixed_tiles(grid: Twins, rng: np.random.Generator) -> None:
    """Leave tiles of every kind: never written, written now and in each of the last epochs, of a copy since reset."""
    for _ in range(12):
        grid.write(rng)
        grid.advance(int(rng.choice([1, 7, grid.epoch // 2, grid.epoch, 3 * grid.epoch + 1])))
    grid.reset(rng)
    for _ in range(4):
        grid.write(rng)
        grid.advance(1)
    unwritten = rng.random(grid.arrays[0][1].shape) < 0.3
    for _, stamps, _ in grid.arrays:
        stamps[unwritten] = 0


def ground(shape: tuple[int, int], dtype: str, wrap: bool, channels: int = 4, fill: float = 0.55) -> Twins:
    named = [Channel(f"G{i}", fill=fill, outside=0.6) for i in range(channels - 1)]
    return Twins([*named, Channel("LIMIT", high=0.7, fill=fill, outside=0.25)], shape, 1, dtype, wrap, TICK)


def together(grids: Sequence[Twins], rng: np.random.Generator) -> None:
    """One clock for all, and tiles of every kind in each."""
    for grid in grids:
        mixed_tiles(grid, rng)
    latest = max(grid.tick for grid in grids)
    for grid in grids:
        grid.advance(latest - grid.tick)


def cells(shape: tuple[int, int], copies: int, radius: int, count: int, rng: np.random.Generator) -> Any:
    """int32 coordinates: every edge of the world by a cell more and a cell less, every edge of tiles, and anywhere."""
    found = []
    for size in shape:
        edges = [
            radius - 1,
            radius,
            size - radius - 1,
            size - radius,
            0,
            size - 1,
            15 - radius,
            16 - radius,
            32 + radius,
        ]
        drawn = np.concatenate([rng.permutation(edges), rng.integers(0, size, count)])[:count]
        found.append(rng.permutation(np.clip(drawn, 0, size - 1)).astype(np.int32))
    return rng.integers(0, copies, count, dtype=np.int32), *found


def columns_of(grids: Sequence[Twins], count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """So many columns out of any grids, each grid at least once where there is room, some stored nowhere."""
    every = [(i, lane) for i, grid in enumerate(grids) for lane in range(len(grid.channels))]
    first = [(i, int(rng.integers(len(grid.channels)))) for i, grid in enumerate(grids)]
    more = [every[i] if i < len(every) else (-1, 0) for i in rng.integers(0, len(every) + 1, count)]
    chosen = [*first, *more][:count]
    return [chosen[i] for i in rng.permutation(count)]


def check(
    grids: Sequence[Twins],
    columns: list[tuple[int, int]],
    radius: int,
    where: Any,
    *,
    threads: Sequence[int] = (1,),
    scale: Array | None = None,
    shift: Array | None = None,
    visibility: tuple[int, int] | None = None,
    painted: Any = (),
    outputs: Sequence[Any] = (np.float32,),
) -> None:
    """Cut the windows on both kernels, into arrays of each of `outputs`."""
    count, side = len(columns), 2 * radius + 1
    scale = np.ones(count, np.float32) if scale is None else scale
    shift = np.zeros(count, np.float32) if shift is None else shift
    hidden = [visibility is not None] * count
    twin, compiled = (
        module.Windows([grid.grids[kind] for grid in grids], columns, radius, scale, shift, visibility, hidden)
        for kind, module in enumerate(MODULES)
    )
    shape = (len(where[0]), side, side, count)
    for output in outputs:
        wanted = np.full(shape, 77, output)
        twin.observe(*where, wanted, [], painted, 1)
        for number in threads:
            out = np.full(shape, 77, output)
            compiled.observe(*where, out, [], painted, number)
            same(f"{columns}, radius {radius}, {number} threads, {out.dtype}", [wanted, out])


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize(("dtype", "lanes"), CASES)
def test_every_dtype_and_lane_count_at_every_radius(dtype: str, lanes: int, wrap: bool) -> None:
    turn = CASES.index((dtype, lanes)) + 7 * wrap
    rng = np.random.default_rng(turn)
    shape = (70, 83)
    own = Twins([random_channel(rng, i, dtype) for i in range(lanes)], shape, 2, dtype, wrap, TICK)
    other = DTYPES[turn % len(DTYPES)]
    beside = Twins([random_channel(rng, i, other) for i in range(1 + turn % 4)], shape, 2, other, wrap, TICK)
    limits = ground(shape, ("float32", "float16", "uint8")[turn % 3], wrap)
    own.link(limits, 3)
    beside.link(limits, 3)
    together([own, beside, limits], rng)
    for radius in RADII if FULL else RADII[turn % 2 :: 2]:
        grids = ([own], [own, beside], [limits, own], [own, beside, limits])[(turn + radius) % 4]
        for count in range(1, 18) if FULL else (1 + (turn + 3 * radius) % 16, 1 + (5 * turn + radius) % 16):
            check(grids, columns_of(grids, count, rng), radius, cells(shape, 2, radius, 40, rng))


@pytest.mark.parametrize("fields", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("high", "floor"), [(1.0, 1e-4), (1.0, 0.0), (0.7, 1e-4)])
def test_ground_food_and_fields_as_most_worlds_have_them(high: float, floor: float, dtype: str, fields: int) -> None:
    """What has kernels of its own (kernels_three.h), and what is not quite that: without a floor, 255 * (0.7 / 255)."""
    rng = np.random.default_rng(fields)
    shape = (83, 102)
    bounds = ("OBSTACLES", "TERRAIN_COST", "VISIBILITY")
    limits = Twins(
        [*(Channel(name) for name in bounds), Channel("LIMIT", high=high, fill=0.6)], shape, 1, "uint8", False, TICK
    )
    food = Twins([Channel("FOOD", Regrow(0.01, "LIMIT"), fill=0.3)], shape, 2, "float32", False, TICK)
    faded = [Channel(f"T{i}", Decay(0.85 + 0.03 * i, floor)) for i in range(fields)]
    trails = Twins(faded, shape, 2, dtype, False, TICK)
    food.link(limits, 3)
    together([food, trails, limits], rng)
    orders = ([food, limits, trails], [limits, trails, food], [trails, food, limits])
    for radius in range(3, 9):
        for count in range(4, 10):
            grids = orders[(radius + count) % 3]
            check(grids, columns_of(grids, count, rng), radius, cells(shape, 2, radius, 60, rng))


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("radius", [1, 5])
def test_one_to_four_threads_cut_the_same_bytes(dtype: str, radius: int, wrap: bool) -> None:
    rng = np.random.default_rng(radius)
    shape = (70, 83)
    layers = [Twins([random_channel(rng, i, dtype) for i in range(n)], shape, 3, dtype, wrap, TICK) for n in (1, 3)]
    limits = ground(shape, "float32", wrap)
    for grid in layers:
        grid.link(limits, 3)
    together([*layers, limits], rng)
    where = cells(shape, 3, radius, 300, rng)  # 64 windows or more for each thread
    painted = [(4, *cells(shape, 3, radius, 50, rng), rng.random(50, np.float32), True, None)]
    columns = [(0, 0), (1, 0), (2, 0), (1, 2), (-1, 0), (1, 1)]
    check([*layers, limits], columns, radius, where, threads=(1, 2, 3, 4), painted=painted)


@pytest.mark.parametrize("count", [15, 16, 17])
@pytest.mark.parametrize("radius", [7, 8])  # rows of 15 cells, and of 17
def test_the_most_columns_and_cells_and_one_more(radius: int, count: int) -> None:
    rng = np.random.default_rng(count)
    shape = (70, 83)
    grids = [
        Twins([random_channel(rng, i, d) for i in range(4)], shape, 1, d, False, TICK) for d in ("float32", "uint8")
    ]
    together(grids, rng)
    limits = ground(shape, "float32", False)
    grids[0].link(limits, 3)
    limits.advance(grids[0].tick - limits.tick)
    check(grids, columns_of(grids, count, rng), radius, cells(shape, 1, radius, 60, rng))


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_up_to_four_grids_and_one_more(number: int, lanes: int) -> None:
    rng = np.random.default_rng(10 * number + lanes)
    shape = (70, 83)
    kinds = ("float32", "float16", "uint8", "float32", "uint8")[:number]
    grids = [Twins([random_channel(rng, i, d) for i in range(lanes)], shape, 1, d, False, TICK) for d in kinds]
    limits = ground(shape, "float32", False)
    for grid in grids:
        grid.link(limits, 3)
    together([*grids, limits], rng)
    for radius in (0, 2, 5):
        check(grids, columns_of(grids, 9, rng), radius, cells(shape, 1, radius, 60, rng))


@pytest.mark.parametrize("source_dtype", ["float32", "float16", "uint8", "float64"])
@pytest.mark.parametrize("source_channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_what_grows_towards_each_lane_of_another_grid(source_dtype: str, source_channels: int, lanes: int) -> None:
    rng = np.random.default_rng(source_channels)
    shape = (50, 61)
    limits = ground(shape, source_dtype, False, source_channels)
    food = [Channel(f"F{i}", Regrow(0.01 + i / 50, "LIMIT"), fill=0.3) for i in range(lanes)]
    grids = [Twins(food, shape, 2, dtype, False, TICK) for dtype in ("float32", "float16")]
    for grid in grids:
        grid.link(limits, source_channels - 1)
    together([*grids, limits], rng)
    columns = [(i, lane) for i in range(2) for lane in range(lanes)] + [(2, 0)]
    for radius, order in ((2, columns), (5, columns[::-1]), (6, columns[: 2 * lanes])):
        check([*grids, limits], order, radius, cells(shape, 2, radius, 40, rng))


def test_capacities_from_two_grids() -> None:
    rng = np.random.default_rng(0)
    shape = (50, 61)
    limits = [ground(shape, "float32", False), ground(shape, "float32", False)]
    food = [Twins([Channel("F", Regrow(0.01, "LIMIT"), fill=0.3)], shape, 1, "float32", False, TICK) for _ in limits]
    for grid, source in zip(food, limits, strict=True):
        grid.link(source, 3)
    together([*food, *limits], rng)
    check([*food, *limits], [(0, 0), (1, 0), (2, 0), (3, 1)], 5, cells(shape, 1, 5, 60, rng))


@pytest.mark.parametrize("case", ["plain", "scale", "shift", "hidden", "points"])
@settings(deadline=None, max_examples=4 if not FULL else 50)
@given(seed=SEEDS, radius=st.integers(0, 9), count=st.integers(1, 17))
def test_scaled_hidden_and_painted_columns(case: str, seed: int, radius: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(20, 70)), int(rng.integers(20, 70)))
    grids = [
        Twins([random_channel(rng, i, d) for i in range(n)], shape, copies, d, False, TICK)
        for d, n, copies in (("float32", 3, 2), ("uint8", 4, 1), ("float16", 1, 2))
    ]
    limits = ground(shape, "float32", False)
    for grid in grids:
        grid.link(limits, 3)
    grids.append(limits)
    together(grids, rng)
    columns = columns_of(grids, count, rng)
    where = cells(shape, 2, radius, 40, rng)
    drawn = rng.uniform(-2, 2, count).astype(np.float32)
    changed: dict[str, Any] = {
        "plain": {},
        "scale": {"scale": drawn},
        "shift": {"shift": drawn},
        "hidden": {"visibility": (3, 0)},  # in [0, 1], as VISIBILITY is
        "points": {"painted": [(0, *cells(shape, 2, radius, 30, rng), rng.random(30, np.float32), False, None)]},
    }[case]
    check(grids, columns, radius, where, **changed)


def test_a_hidden_column_that_no_grid_stores_is_0_where_visibility_is_below_0() -> None:
    dark = Twins([Channel("DARK", low=-1.0, fill=-0.5, outside=-0.25)], (20, 20), 1, "float32", False, TICK)
    where = cells((20, 20), 1, 2, 40, np.random.default_rng(0))
    check([dark], [(0, 0), (-1, 0)], 2, where, visibility=(0, 0))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="pages are fenced with mprotect as Linux has it")
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_nothing_is_touched_beyond_the_arrays(dtype: str) -> None:
    """Arrays that end, or begin, at a page that must not be touched: a byte too far ends the process."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "fenced_windows.py"), dtype],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert done.stdout.strip() == "same bytes"
