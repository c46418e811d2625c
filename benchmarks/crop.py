"""Windows of seven stored channels from three grids, against copying them and against NumPy."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import dense
from benchmarks.rows import Goal, Row
from benchmarks.sizes import Sizes
from benchmarks.timing import in_turns
from memfarm.windows import WindowCutter
from memfarm.world import World

CHANNELS: Final = (
    "RESOURCES", "OBSTACLES", "TERRAIN_COST", "VISIBILITY", "DAMAGE_HEAT", "TRAILS", "ALLY_SIGNAL",
)  # fmt: skip
RADIUS: Final = 5
_SIDE: Final = 2 * RADIUS + 1
_CROWDS: Final = 8  # sets of positions taken in turn, so that no call finds the last one's cells in the cache
_TICKS: Final = 37  # since the cells were written: within an epoch of every law
_AGES: Final = 5_000  # into another epoch of every law
_MEMCPY_GOALS: Final = {1024: 3.0, 4096: 4.0}


def rows(sizes: Sizes) -> Iterator[Row]:
    """The crop in each world, every cell of it written."""
    for side in sizes.crop_sides:
        with dense.folder() as folder:
            yield from _of_one_world(sizes, side, folder)


def _of_one_world(sizes: Sizes, side: int, folder: Path) -> Iterator[Row]:
    agents = sizes.crop_agents
    name = f"{side}-c{len(CHANNELS)}-n{agents}"
    rng = np.random.default_rng(0)
    world = World((side, side), seed=0)
    fill(world, rng)
    world.advance(_TICKS)
    layers = dict(enumerate(dense.mapped_copy(world, CHANNELS, folder).values()))
    crowds = [_crowd(rng, agents, side) for _ in range(_CROWDS)]
    cutter = world.windows(CHANNELS, RADIUS)
    _check_same(cutter, layers, crowds[0])
    out = np.empty((agents, _SIDE, _SIDE, len(CHANNELS)), np.float32)
    crop = _over(crowds, lambda cells: cutter(*cells, out))
    yield _against_memcpy(f"crop[{name}]", crop, out, sizes.seconds, _MEMCPY_GOALS.get(side, 4.0))
    yield from _against_numpy(name, crop, layers, crowds, sizes.seconds)
    world.advance(_AGES)
    yield _against_memcpy(f"crop-stale[{name}]", crop, out, sizes.seconds / 2, None)
    world.close()


def _against_memcpy(
    name: str, crop: Callable[[], object], out: NDArray[np.float32], seconds: float, most: float | None
) -> Row:
    source = np.ones_like(out)
    times = in_turns({"ours": crop, "memcpy": lambda: np.copyto(out, source)}, seconds=seconds)
    each = 1e9 / len(out)
    return Row(
        id=name,
        what="3 grids into a reused buffer" if most else f"the same, {_AGES} ticks later: every tile of an old epoch",
        unit="ns/agent",
        ours=times["ours"].median * each,
        versus="memcpy of the same output",
        baseline=times["memcpy"].median * each,
        ratio=times["ours"].over(times["memcpy"]),
        goal=Goal("ratio", most=most) if most else None,
        spread=times["ours"].spread,
    )


def _against_numpy(
    name: str, crop: Callable[[], object], layers: dict[int, dense.Layer], crowds: list[dense.Cells], seconds: float
) -> Iterator[Row]:
    agents = len(crowds[0][0])
    planes = np.empty((agents, len(layers), _SIDE, _SIDE), np.float32)
    cases = {
        "ours": crop,
        "slices": _over(crowds, lambda cells: dense.slices(layers, cells, RADIUS, planes)),
        "sliding": _over(crowds, lambda cells: dense.sliding(layers, cells, RADIUS, planes)),
    }
    times = in_turns(cases, seconds=seconds, least=7)
    texts = {
        "slices": ("one slice per agent and channel, np.memmap", Goal("ratio", least=20.0)),
        "sliding": ("sliding_window_view[ys, xs], np.memmap", None),
    }
    for case, (versus, goal) in texts.items():
        yield Row(
            id=f"crop-{case}[{name}]",
            what="the same windows",
            unit="ns/agent",
            ours=times["ours"].median * 1e9 / agents,
            versus=versus,
            baseline=times[case].median * 1e9 / agents,
            ratio=times[case].over(times["ours"]),
            faster=True,
            goal=goal,
            spread=times["ours"].spread,
        )


def fill(world: World, rng: np.random.Generator) -> None:
    """Write every cell of every stored channel; capacities first, which bound what the resources hold."""
    height, width = world.shape
    for group in ("environmental", "resources", "temporal"):
        grid = world.grids[group]
        for name in grid.names:
            for y0 in range(0, height, dense.BAND):
                band = rng.random((min(dense.BAND, height - y0), width), dtype=np.float32)
                grid.write(name, band, y0, 0)


def _crowd(rng: np.random.Generator, agents: int, side: int) -> dense.Cells:
    """Cells anywhere but at the edge, which the sliding view cannot serve."""
    y, x = rng.integers(RADIUS, side - RADIUS, (2, agents), dtype=np.int32)
    return np.zeros(agents, np.int32), y, x


def _over(crowds: list[dense.Cells], cut: Callable[[dense.Cells], object]) -> Callable[[], object]:
    """A call that serves the next crowd each time."""
    turns = itertools.cycle(crowds)
    return lambda: cut(next(turns))


def _check_same(cutter: WindowCutter, layers: dict[int, dense.Layer], cells: dense.Cells) -> None:
    """Raise unless ours and the baseline's windows hold the same values: what is compared must be the same work."""
    few = (cells[0][:100], cells[1][:100], cells[2][:100])
    planes: NDArray[np.float32] = np.empty((len(few[0]), len(layers), _SIDE, _SIDE), np.float32)
    for baseline in (dense.slices, dense.sliding):
        baseline(layers, few, RADIUS, planes)
        np.testing.assert_allclose(cutter(*few), planes.transpose(0, 2, 3, 1), atol=1e-6)
