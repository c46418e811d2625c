"""States of a world in memory: plain arrays and numbers, of all copies or of a run of them, taken and put back."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from memfarm.errors import WorldFormatError
from memfarm.grid import ChannelGrid
from memfarm.live_tiles import Tiles
from memfarm.world import World

State = dict[str, Any]
"""A dict of plain arrays, numbers, strings, and dicts of these; every array is its own memory."""

_MOVING: Final = ("resources", "temporal")
_GROUND: Final = "environmental"


def take(world: World, copies: NDArray[np.int64] | None = None) -> State:
    """What `copies` of the world (None: all) hold now; a ground that is a map's own is not among it."""
    chosen = np.arange(world.copies) if copies is None else copies
    state: State = {
        "shape": list(world.shape),
        "tick": world.tick,
        "sparse": world.sparse.state(chosen),
        **{group: world.grids[group].tiles(chosen).to_dict() for group in _MOVING},
    }
    if not world.ground_is_shared:
        state[_GROUND] = world.grids[_GROUND].tiles().to_dict()
    return state


def join(states: Sequence[State], world: World) -> State:
    """The copies of all states, of worlds like `world`, one after the other. WorldFormatError: of different ticks."""
    ticks = {state["tick"] for state in states}
    if len(ticks) > 1:
        raise WorldFormatError(f"worlds that go on together stand at one tick, got {sorted(ticks)}; load them apart")
    joined = {**states[0]}
    for group in _MOVING:
        joined[group] = join_tiles([state[group] for state in states], world.grids[group])
    cells = world.shape[0] * world.shape[1]
    starts = np.cumsum([0, *(len(state["resources"]["resets"]) for state in states)])[:-1] * cells
    joined["sparse"] = {
        name: np.concatenate(
            [
                state["sparse"][name] + (start if name.endswith("keys") else 0)
                for state, start in zip(states, starts, strict=True)
            ]
        )
        for name in states[0]["sparse"]
    }
    return joined


def join_tiles(parts: Sequence[State], grid: ChannelGrid) -> State:
    """The copies of all parts, states of grids like `grid`, one after the other."""
    return Tiles.join([Tiles.from_dict(part) for part in parts], grid.tiles_of_a_copy).to_dict()


def check(world: World, state: Mapping[str, Any]) -> None:
    """Raise WorldFormatError unless `put` can make the world what `state` says."""
    if tuple(state["shape"]) != world.shape:
        raise WorldFormatError(f"a state must be of a world {world.shape}, got {tuple(state['shape'])}")
    if {state["tick"], *(state[group]["tick"] for group in _MOVING)} != {state["tick"]}:
        raise WorldFormatError(f"a state is of one tick, got {[state[group]['tick'] for group in _MOVING]}")
    if _GROUND in state and not world.ground_is_writable:
        raise WorldFormatError("a state with its own ground needs such a world, got one on a map; leave the map out")
    if _GROUND not in state and not world.ground_is_shared:
        raise WorldFormatError("a state on a map needs a world whose ground is that map's, got another; make it anew")
    for group in _groups(state):
        world.grids[group].check_tiles(tiles_of(state[group]))
    world.sparse.check_state(state["sparse"], world.copies)


def put(world: World, state: Mapping[str, Any]) -> None:
    """Make the world what `state` says, its clock too. Raises WorldFormatError, and nothing has changed then."""
    world.check_open()
    check(world, state)
    with world.writing():
        for group in _groups(state):
            world.grids[group].put_tiles(tiles_of(state[group]))
        world.sparse.set_state(state["sparse"])
        world.set_tick(state["tick"])


def _groups(state: Mapping[str, Any]) -> tuple[str, ...]:
    """The grids that a state has."""
    return (*_MOVING, _GROUND) if _GROUND in state else _MOVING


def tiles_of(state: Mapping[str, Any]) -> Tiles:
    """The tiles of one grid in a state. Raises WorldFormatError."""
    try:
        return Tiles.from_dict(dict(state))
    except KeyError as error:
        raise WorldFormatError(f"the state of a grid needs {error}, got {sorted(state)}") from None
