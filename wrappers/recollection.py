"""KNOWN_EMPTY and LANDMARKS in a window: what its agent remembers there, of what it has seen so far."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from memfarm.channels import REMEMBERED
from memfarm.config import MemmapConfig
from memfarm.errors import ChannelError, ConfigError
from memfarm.memory import EMPTY_BELOW, KNOWN_EMPTY, AgentMemory
from memfarm.world import World

Rows = NDArray[np.integer[Any]]


class Recollection:
    """Fills the columns of windows that come from the agents' own memories, which it keeps.

    A memory holds what its agent has seen in this life: it is empty where `agents.life` counts another one.

    channels: those of the windows, KNOWN_EMPTY or LANDMARKS among them. agents: how many. radius: the windows'.
    masked: whether VISIBILITY hides; what it hides wholly is not seen. gamma_known, memmap: as for `AgentMemory`.
    Raises ConfigError or ChannelError.
    """

    def __init__(
        self,
        world: World,
        agents: Any,
        channels: Sequence[str],
        radius: int,
        *,
        masked: bool = False,
        gamma_known: float = 0.98,
        memmap: MemmapConfig | None = None,
    ) -> None:
        names = tuple(name for name in channels if name in REMEMBERED)
        if not hasattr(agents, "life"):
            raise ConfigError(
                f"{', '.join(names)} need agents with a life, got {type(agents).__name__}; leave them out"
            )
        for name in set(names) - {KNOWN_EMPTY}:
            world.grid_of(name)  # raises: nothing could be seen of it
        if KNOWN_EMPTY in names and EMPTY_BELOW.keys().isdisjoint(channels):
            raise ChannelError(f"KNOWN_EMPTY needs one of {', '.join(EMPTY_BELOW)} beside it, got {list(channels)}")
        if masked and "VISIBILITY" not in channels:
            raise ConfigError(f"under mask_by_visibility {', '.join(names)} need VISIBILITY among channels, got none")
        self._world: Final = world
        self._columns: Final = tuple(channels)
        self._filled: Final = [self._columns.index(name) for name in names]
        self._visibility: Final = self._columns.index("VISIBILITY") if masked else None
        self._radius: Final = radius
        self._life: Final = np.array(agents.life)
        self.memory: Final = AgentMemory(world, len(agents.life), names, gamma_known=gamma_known, memmap=memmap)

    def serves(self, world: World) -> bool:
        """Whether these are memories of `world`."""
        return world is self._world

    def fill(self, windows: NDArray[np.float32], agents: Any, rows: Rows | None = None) -> None:
        """Have all agents, or those at index `rows` `(M,)`, see their windows, and fill in what they remember there.

        windows: `(N or M, S, S, C)` as they were just cut, with what there is to see of LANDMARKS; written in place.
        """
        reborn = agents.life != self._life
        if reborn.any():
            self.memory.forget(reborn)
            self._life[reborn] = agents.life[reborn]
        index = np.arange(len(self._life), dtype=np.int32) if rows is None else rows.astype(np.int32)
        y, x = agents.y[index], agents.x[index]
        seen = None if self._visibility is None else windows[..., self._visibility] > 0.0
        self.memory.see(index, y, x, windows, self._columns, seen)
        known = self.memory.observe(index, y, x, self._radius)
        for lane, column in enumerate(self._filled):
            windows[..., column] = known[..., lane]

    def close(self) -> None:
        """Let go of the memories; twice is fine."""
        self.memory.close()
