"""Windows of seven stored channels from three grids, against copying them and against NumPy."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import dense
from benchmarks.rows import Goal, Row
from benchmarks.sizes import Sizes
from benchmarks.timing import in_turns
from memfarm.config import MemmapConfig
from memfarm.envs.forage_config import ForageConfig
from memfarm.windows import WindowCutter
from memfarm.world import World

CHANNELS: Final = (
    "RESOURCES", "OBSTACLES", "TERRAIN_COST", "VISIBILITY", "DAMAGE_HEAT", "TRAILS", "ALLY_SIGNAL",
)  # fmt: skip
RADIUS: Final = 5
STORED: Final = ForageConfig().memmap
"""Resources of float32, a byte a cell of the ground, fields of float16."""

_SIDE: Final = 2 * RADIUS + 1
_CROWDS: Final = 8  # sets of positions taken in turn, so that no call finds the last one's cells in the cache
_TICKS: Final = 37  # since the cells were written: within an epoch of every law
_AGES: Final = 5_000  # into another epoch of every law
_STALE: Final = f"the same, {_AGES} ticks later: every tile of an old epoch"
_MEMCPY_GOALS: Final = {1024: 3.0, 4096: 4.0}
NARROW: Final = {"float16": np.float16, "bfloat16": np.uint16, "uint8": np.uint8}


def name_of(side: int, agents: int, channels: int = len(CHANNELS), dtype: str | None = None) -> str:
    """What stands in the brackets of a crop's id."""
    return f"{side}-c{channels}-n{agents}" + ("" if dtype is None else f"-{dtype}")


class Crop:
    """A world with every cell written, cut for the next crowd at each call, into a reused buffer.

    channels: so many of CHANNELS. dtype: storage of the resources and the fields; None: as Forage stores them.
    """

    def __init__(self, side: int, agents: int, channels: int = len(CHANNELS), dtype: str | None = None) -> None:
        rng = np.random.default_rng(0)
        self.name: Final = name_of(side, agents, channels, dtype)
        self.channels: Final = CHANNELS[:channels]
        memmap = STORED if dtype is None else MemmapConfig(dtype=dtype)
        self.world: Final = World((side, side), seed=0, memmap=memmap, agents=agents)
        fill(self.world, rng)
        self.world.advance(_TICKS)
        self.crowds: Final = [_crowd(rng, agents, side) for _ in range(_CROWDS)]
        self.cutter: Final = self.world.windows(self.channels, RADIUS)
        self.out: Final = np.empty((agents, _SIDE, _SIDE, channels), np.float32)
        self._turns = itertools.cycle(self.crowds)

    def __call__(self) -> None:
        self.cutter(*next(self._turns), self.out)

    def into(self, dtype: str) -> Callable[[], object]:
        """The same call, into a buffer of another dtype, one of NARROW."""
        out = np.empty(self.out.shape, NARROW[dtype])
        return _over(self.crowds, lambda cells: self.cutter(*cells, out))

    def age(self) -> None:
        """Let so much time pass that every tile was written in an older epoch."""
        self.world.advance(_AGES)

    def close(self) -> None:
        self.world.close()


def rows(sizes: Sizes) -> Iterator[Row]:
    """The crop in each world, every cell of it written."""
    for side in sizes.crop_sides:
        with dense.folder() as folder, closing(Crop(side, sizes.crop_agents)) as crop:
            layers = dict(enumerate(dense.mapped_copy(crop.world, crop.channels, folder).values()))
            _check_same(crop.cutter, layers, crop.crowds[0])
            goal = Goal("ratio", most=_MEMCPY_GOALS.get(side, 4.0))
            yield _against_memcpy(f"crop[{crop.name}]", crop, sizes.seconds, "3 grids into a reused buffer", goal)
            yield from _against_numpy(crop, layers, sizes.seconds)
            yield from _narrow(crop, sizes.seconds)
            crop.age()
            yield _against_memcpy(f"crop-stale[{crop.name}]", crop, sizes.seconds / 2, _STALE)
        with closing(Crop(side, sizes.crop_agents, dtype="float32")) as wide:
            yield _against_memcpy(f"crop[{wide.name}]", wide, sizes.seconds / 2, "the same from fields of float32")


def _against_memcpy(name: str, crop: Crop, seconds: float, what: str, goal: Goal | None = None) -> Row:
    out = crop.out
    source = np.ones_like(out)
    times = in_turns({"ours": crop, "memcpy": lambda: np.copyto(out, source)}, seconds=seconds)
    each = 1e9 / len(out)
    return Row(
        id=name,
        what=what,
        unit="ns/agent",
        ours=times["ours"].median * each,
        versus="memcpy of the same output",
        baseline=times["memcpy"].median * each,
        ratio=times["ours"].over(times["memcpy"]),
        goal=goal,
        spread=times["ours"].spread,
    )


def _against_numpy(crop: Crop, layers: dict[int, dense.Layer], seconds: float) -> Iterator[Row]:
    agents = len(crop.out)
    planes = np.empty((agents, len(layers), _SIDE, _SIDE), np.float32)
    cases = {
        "ours": crop,
        "slices": _over(crop.crowds, lambda cells: dense.slices(layers, cells, RADIUS, planes)),
        "sliding": _over(crop.crowds, lambda cells: dense.sliding(layers, cells, RADIUS, planes)),
    }
    times = in_turns(cases, seconds=seconds, least=7)
    texts = {
        "slices": ("one slice per agent and channel, np.memmap", Goal("ratio", least=20.0)),
        "sliding": ("sliding_window_view[ys, xs], np.memmap", None),
    }
    for case, (versus, goal) in texts.items():
        yield Row(
            id=f"crop-{case}[{crop.name}]",
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


def _narrow(crop: Crop, seconds: float) -> Iterator[Row]:
    cases: dict[str, Callable[[], object]] = {"float32": crop}
    cases |= {name: crop.into(name) for name in NARROW}
    times = in_turns(cases, seconds=seconds)
    each = 1e9 / len(crop.out)
    for name in NARROW:
        yield Row(
            id=f"crop-into-{name}[{crop.name}]",
            what=f"the same windows into {name}, rounded as they are cut",
            unit="ns/agent",
            ours=times[name].median * each,
            versus="into float32",
            baseline=times["float32"].median * each,
            ratio=times["float32"].over(times[name]),
            faster=True,
            spread=times[name].spread,
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
