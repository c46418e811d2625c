"""KNOWN_EMPTY and LANDMARKS in a window: what its agent remembers there, of what it has seen so far."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from memfarm.channels import REMEMBERED
from memfarm.config import MemmapConfig
from memfarm.errors import ConfigError
from memfarm.memory import KNOWN_EMPTY, AgentMemory, check_columns
from memfarm.world import World

Rows = NDArray[np.integer[Any]]

_TOGETHER: Final = 1 << 21  # numbers of windows that are worked on at a time


class Recollection:
    """Keeps the agents' own memories up with their windows, and fills the columns that come from them.

    A memory holds what its agent has seen in this life: it is empty where `agents.life` counts another one.

    channels: those of the windows; KNOWN_EMPTY and LANDMARKS among them are filled in. agents: the environment's, with
        a `life`. radius: the windows'. also: what is remembered besides. overview: as for `AgentMemory`.
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
        also: Sequence[str] = (),
        overview: tuple[int, int] | None = None,
        masked: bool = False,
        gamma_known: float = 0.98,
        memmap: MemmapConfig | None = None,
    ) -> None:
        shown = tuple(name for name in channels if name in REMEMBERED)
        names = (*also, *(name for name in shown if name not in also))
        if not hasattr(agents, "life"):
            raise ConfigError(
                f"{', '.join(names)} need agents with a life, got {type(agents).__name__}; leave them out"
            )
        for name in set(shown) - {KNOWN_EMPTY}:
            world.grid_of(name)  # raises: nothing could be seen of it
        check_columns(names, channels)
        if masked and "VISIBILITY" not in channels:
            raise ConfigError(f"under mask_by_visibility {', '.join(names)} need VISIBILITY among channels, got none")
        self._columns: Final = tuple(channels)
        self._shown: Final = shown
        self._visibility: Final = self._columns.index("VISIBILITY") if masked else None
        self._radius: Final = radius
        self.life: Final = np.array(agents.life)
        self.anew = False  # whether a seed has just begun everything: it then rounds as in a new environment
        self.memory: Final = AgentMemory(
            world, len(agents.life), names, gamma_known=gamma_known, overview=overview, memmap=memmap
        )

    def fill(self, windows: NDArray[np.float32], agents: Any, rows: Rows | None = None) -> None:
        """Have all agents, or those at index `rows` `(M,)`, see their windows, and fill in what they remember there.

        windows: `(N or M, S, S, C)` as they were just cut, with what there is to see of LANDMARKS; written in place.
        """
        reborn = agents.life != self.life
        if reborn.any():
            self.memory.forget(None if self.anew and reborn.all() else reborn)
            self.life[reborn] = agents.life[reborn]
        self.anew = False
        index = np.arange(len(self.life), dtype=np.int32) if rows is None else rows.astype(np.int32)
        y, x = agents.y[index], agents.x[index]
        seen = None if self._visibility is None else windows[..., self._visibility] > 0.0
        self.memory.see(index, y, x, windows, self._columns, seen)
        self.show(windows, index, y, x)

    def show(
        self, windows: NDArray[np.float32], index: NDArray[np.int32], y: NDArray[np.int32], x: NDArray[np.int32]
    ) -> None:
        """Fill in what the agents at `index`, who stand at (y, x), remember; nobody sees anything new."""
        if not self._shown:
            return
        step = max(1, _TOGETHER // (self._radius * 2 + 1) ** 2)
        for part in (slice(start, start + step) for start in range(0, len(windows), step)):
            known = self.memory.observe(index[part], y[part], x[part], self._radius, self._shown)
            for lane, name in enumerate(self._shown):
                windows[part, ..., self._columns.index(name)] = known[..., lane]

    def close(self) -> None:
        """Let go of the memories; twice is fine."""
        self.memory.close()
