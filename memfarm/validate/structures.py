"""What is kept in files or in memory, each with the work that a step does on it."""

import itertools
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from memfarm.config import MemmapConfig
from memfarm.envs import forage_v0
from memfarm.memory import AgentMemory
from memfarm.validate.scale import Scale
from memfarm.world import World

RADIUS: Final = 5
_SINGLE: Final = 32  # windows read one by one, as the managers hand them out
CROWDS: Final = 8  # places of all agents, taken in turn

Cells = NDArray[np.int32]


class Structure(ABC):
    """One structure of a world, in files below `folder`, or in memory where that is None.

    Calling it does one step's work. Two that were made and called alike hold the same bytes.
    """

    name: str

    @abstractmethod
    def __init__(self, folder: Path | None, scale: Scale) -> None: ...

    @abstractmethod
    def __call__(self) -> object: ...

    @abstractmethod
    def windows(self) -> NDArray[np.float32]:
        """What the agents see of it: float32 `(N, S, S, C)`."""

    @abstractmethod
    def close(self) -> None: ...


class _Layers(Structure):
    """A group of a world's layers, every cell of them written."""

    channels: tuple[str, ...]

    def __init__(self, folder: Path | None, scale: Scale) -> None:
        self._world = World((scale.side, scale.side), memmap=stored(folder))
        rng = np.random.default_rng(1)
        for name in self.channels:
            self._world.grid_of(name).write(name, rng.random(self._world.shape))
        self._crowds = itertools.cycle(crowds(scale.agents, scale.side))
        self._out = np.empty((scale.agents, 2 * RADIUS + 1, 2 * RADIUS + 1, len(self.channels)), np.float32)

    def __call__(self) -> None:
        y, x = next(self._crowds)
        self._change(y, x)
        self._world.advance()
        self._look(y, x)
        for row, column in zip(y[:_SINGLE].tolist(), x[:_SINGLE].tolist(), strict=True):
            self._single(row - RADIUS, row + RADIUS + 1, column - RADIUS, column + RADIUS + 1)

    def _look(self, y: Cells, x: Cells) -> NDArray[np.float32]:
        return self._world.observe(np.zeros_like(y), y, x, RADIUS, self.channels, self._out)

    def _change(self, y: Cells, x: Cells) -> None:
        """What agents at the cells do to it; nothing, where it stays as it is."""

    @abstractmethod
    def _single(self, y0: int, y1: int, x0: int, x1: int) -> object: ...

    def windows(self) -> NDArray[np.float32]:
        return self._look(*next(self._crowds))

    def close(self) -> None:
        self._world.close()


class Resources(_Layers):
    """RESOURCES: windows, bites, regrowth."""

    name = "resources"
    channels = ("RESOURCES",)

    def _change(self, y: Cells, x: Cells) -> None:
        self._world.resources.take(0, y, x, np.full(len(y), 0.1))

    def _single(self, y0: int, y1: int, x0: int, x1: int) -> object:
        return self._world.resources.get_resource_window(y0, y1, x0, x1)


class Environmental(_Layers):
    """OBSTACLES, TERRAIN_COST and VISIBILITY: windows."""

    name = "environmental"
    channels = ("OBSTACLES", "TERRAIN_COST", "VISIBILITY")

    def _single(self, y0: int, y1: int, x0: int, x1: int) -> object:
        return self._world.environmental.get_window("TERRAIN_COST", y0, y1, x0, x1)


class Temporal(_Layers):
    """DAMAGE_HEAT, TRAILS and ALLY_SIGNAL: events, decay, windows."""

    name = "temporal"
    channels = ("DAMAGE_HEAT", "TRAILS", "ALLY_SIGNAL")

    def _change(self, y: Cells, x: Cells) -> None:
        for name in self.channels:
            self._world.deposit_temporal_events(name, (y, x, np.full(len(y), 0.3)))

    def _single(self, y0: int, y1: int, x0: int, x1: int) -> object:
        return self._world.temporal.get_window("TRAILS", y0, y1, x0, x1)


class Memory(Structure):
    """What agents remember: windows seen, windows remembered. The world itself is in memory."""

    name = "memory"

    def __init__(self, folder: Path | None, scale: Scale) -> None:
        self._world = World((scale.side, scale.side), memmap=stored(None))
        rng = np.random.default_rng(2)
        self._world.set_environmental_layer("OBSTACLES", rng.random(self._world.shape) < 0.2)
        self._memory = AgentMemory(self._world, scale.remembering, memmap=stored(folder))
        self._agents = np.arange(scale.remembering, dtype=np.int32)
        columns = self._columns = ("RESOURCES", "OBSTACLES", "TERRAIN_COST")
        self._crowds = itertools.cycle(
            [
                (y, x, self._world.observe(0 * y, y, x, RADIUS, columns, normalize=True))
                for y, x in crowds(scale.remembering, scale.side)
            ]
        )
        side = 4 * RADIUS + 1
        self._out = np.empty((scale.remembering, side, side, len(self._memory.channels)), np.float32)

    def __call__(self) -> None:
        y, x, windows = next(self._crowds)
        self._world.advance()
        self._memory.see(self._agents, y, x, windows, self._columns)
        self._memory.observe(self._agents, y, x, 2 * RADIUS, out=self._out)

    def windows(self) -> NDArray[np.float32]:
        y, x, _ = next(self._crowds)
        return self._memory.observe(self._agents, y, x, 2 * RADIUS, out=self._out)

    def close(self) -> None:
        self._memory.close()
        self._world.close()


class Observe(Structure):
    """A whole step of Forage, end to end: actions, food, trails, and the windows of all agents as one tensor."""

    name = "observe()"

    def __init__(self, folder: Path | None, scale: Scale) -> None:
        self.env = forage_v0.batched(
            num_envs=scale.agents,
            agents_per_world=scale.agents,
            shape=(scale.side, scale.side),
            max_cycles=10**9,
            tensor="torch",
            config={"memmap": stored(folder).to_dict()},
        )
        self._last, _ = self.env.reset(seed=3)
        rng = np.random.default_rng(4)
        self._actions = itertools.cycle([rng.integers(0, 6, scale.agents) for _ in range(64)])

    def __call__(self) -> None:
        self._last = self.env.step(next(self._actions))[0]

    def tensor(self) -> Any:
        """What the last step handed out: a tensor `(N, C, S, S)`."""
        return self._last

    def windows(self) -> NDArray[np.float32]:
        array: NDArray[np.float32] = self._last.permute(0, 2, 3, 1).numpy()
        return array

    def close(self) -> None:
        self.env.close()


STRUCTURES: Final[tuple[type[Structure], ...]] = (Resources, Environmental, Temporal, Memory, Observe)


def stored(folder: Path | None) -> MemmapConfig:
    """Everything in files in a folder of its own below `folder`, deleted on close; None: everything in memory."""
    if folder is not None:
        return MemmapConfig(directory=str(folder), delete_on_close=True)
    return MemmapConfig(
        use_for_resources=False, use_for_environmental=False, use_for_temporal=False, use_for_memory=False
    )


def crowds(agents: int, side: int) -> list[tuple[Cells, Cells]]:
    """Cells `(y, x)`, int32 `(agents,)` each, anywhere in a world of `side`², edges included; several such crowds."""
    rng = np.random.default_rng(5)
    places = rng.integers(0, side, (CROWDS, 2, agents), np.int32)
    return [(y, x) for y, x in places]
