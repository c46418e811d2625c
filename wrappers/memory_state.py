"""The state of what agents remember: taken, checked, put back, and kept beside their worlds in a snapshot."""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from memfarm import plain_npz, snapshot_files, states
from memfarm.errors import WorldFormatError
from memfarm.files import read_text
from memfarm.grid import ChannelGrid
from memfarm.pace import at_once
from memfarm.snapshot_files import Later, Written
from memfarm.stateful import Part, Worlds
from memfarm.states import State
from memfarm.wrappers.recollection import Recollection

_FOLDER: Final = "memory"
_ABOUT: Final = "memory.json"
_ARRAYS: Final = "memory.npz"
_LARGEST: Final = 1 << 20


class MemoryState:
    """What a Recollection's agents remember, as a `Stateful`; `worlds` have equally many of them."""

    def __init__(self, recollection: Recollection) -> None:
        self._recollection = recollection
        self._memory = recollection.memory

    def take(self) -> State:
        grids = {grid.name: grid.tiles().to_dict() for grid in self._memory.grids}
        return {**self._about(), "life": self._recollection.life.copy(), "grids": grids}

    def _about(self) -> State:
        grid, *_ = self._memory.grids
        return {
            "channels": [channel.to_dict() for channel in grid.channels],
            "shapes": {grid.name: list(grid.shape) for grid in self._memory.grids},
            "dtype": grid.dtype,
            "ahead": self._memory.ahead,
            "tick": grid.tick,
        }

    def check(self, state: State) -> None:
        mine = self._about()
        for key in ("channels", "shapes", "dtype"):
            if state.get(key) != mine[key]:
                raise WorldFormatError(
                    f"a memory's {key} must be as saved, {state.get(key)!r:.300}, got {mine[key]!r:.300}"
                )
        life = self._recollection.life
        if (state["life"].shape, state["life"].dtype) != (life.shape, life.dtype):
            raise WorldFormatError(f"a memory needs one life an agent, {life.shape}, got {state['life'].shape}")
        for grid in self._memory.grids:
            grid.check_tiles(states.tiles_of(state["grids"][grid.name]))

    def put(self, state: State) -> None:
        for grid in self._memory.grids:
            grid.put_tiles(states.tiles_of(state["grids"][grid.name]))
        self._memory.ahead = state["ahead"]
        self._recollection.life[:] = state["life"]

    def write(self, folder: Path) -> Written:
        inside = folder / _FOLDER
        inside.mkdir(mode=0o700)
        written = self._frame().write(folder, at_once)
        for grid in self._memory.grids:
            found = snapshot_files.write_grid(inside, grid.stock())
            written |= {f"{_FOLDER}/{name}": runs for name, runs in found.items()}
        return written

    def later(self) -> Later:
        copied = (functools.partial(Later.of, grid, _FOLDER) for grid in self._memory.grids)
        return Later.join([self._frame, *copied])

    def _frame(self) -> Later:
        """All but the grids, as it is now."""
        about = json.dumps(self._about(), indent=2) + "\n"
        life = self._recollection.life.copy()

        def write_frame(folder: Path) -> Written:
            written = snapshot_files.write_plain(folder, _ABOUT, about.encode())
            return written | snapshot_files.write_arrays(folder, _ARRAYS, {"life": life})

        return Later((write_frame,))

    def read(self, part: Part, worlds: Worlds) -> State:
        path = part.folder / _ABOUT
        try:
            about = json.loads(read_text(path, _LARGEST))
            if set(about) != set(self._about()) or type(about["ahead"]) is not int:
                raise ValueError(f"{sorted(about)} in place of {sorted(self._about())}")
            tick = about["tick"]
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise WorldFormatError(f"{str(path)!r} must say what is remembered, got: {error!r:.200}") from error
        lives = plain_npz.read(part.folder / _ARRAYS).get("life", np.zeros(0, np.int64))
        group = len(lives) // part.world.copies
        agents = np.arange(worlds[0] * group, (worlds[-1] + 1) * group)
        state = {**about, "life": lives[agents], "grids": {}}
        for own in self._memory.grids:
            grid = ChannelGrid(
                own.shape,
                own.channels,
                copies=len(lives),
                dtype=own.dtype,
                boundary=own.boundary,
                name=own.name,
                folder=part.folder / _FOLDER,
                mode="r",
                tick=tick,
            )
            try:
                state["grids"][own.name] = grid.tiles(agents).to_dict()
            finally:
                grid.close()
        return state

    def join(self, parts: Sequence[State]) -> State:
        clocks = {(part["tick"], part["ahead"]) for part in parts}
        if len(clocks) > 1:
            raise WorldFormatError(f"memories of one load stand at one tick, got {sorted(clocks)}; load them apart")
        grids = {
            grid.name: states.join_tiles([part["grids"][grid.name] for part in parts], grid)
            for grid in self._memory.grids
        }
        return {**parts[0], "life": np.concatenate([part["life"] for part in parts]), "grids": grids}
