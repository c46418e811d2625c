"""What lies where in the shared memory; both sides lay it out by the same function of the same numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from memfarm.envs.shards.memory import round_up
from memfarm.errors import ConfigError

_ALIGN: Final = 64  # bytes; a line of the cache

Parts = dict[str, NDArray[Any]]
PLAIN: Final = ""
"""The name of the only part of observations that are arrays."""


@dataclass(frozen=True, slots=True)
class Part:
    """One array of a batch of observations: that of `name` in the dict, or the whole observation."""

    name: str
    shape: tuple[int, ...]  # of one agent
    dtype: str


def parts_of(space: spaces.Space[Any]) -> tuple[Part, ...]:
    """The arrays that an observation in `space`, of one agent, is made of. Raises ConfigError."""
    named = dict(space.spaces) if isinstance(space, spaces.Dict) else {PLAIN: space}
    for name, one in named.items():
        if not isinstance(one, spaces.Box):
            where = f" at {name!r}" if name else ""
            raise ConfigError(f"a sharded observation must be a Box or a Dict of Boxes, got {one}{where}")
    return tuple(Part(name, tuple(one.shape or ()), np.dtype(one.dtype).str) for name, one in named.items())


def size_of(parts: Sequence[Part], rows: int) -> int:
    """Bytes that the parts of `rows` agents take, in whole pages."""
    return round_up(sum(_aligned(part, rows) for part in parts))


def views(raw: NDArray[np.uint8], parts: Sequence[Part], rows: int) -> Parts:
    """The parts of `rows` agents in the bytes `raw`: `(rows, *shape)` each, by name; views."""
    found, start = {}, 0
    for part in parts:
        length = rows * math.prod(part.shape) * np.dtype(part.dtype).itemsize
        found[part.name] = raw[start : start + length].view(part.dtype).reshape(rows, *part.shape)
        start += _aligned(part, rows)
    return found


def _aligned(part: Part, rows: int) -> int:
    size = rows * math.prod(part.shape) * np.dtype(part.dtype).itemsize
    return -(-size // _ALIGN) * _ALIGN


def observation(parts: Mapping[str, NDArray[Any]]) -> Any:
    """The parts as an environment returns them: the array, or the dict."""
    return parts[PLAIN] if PLAIN in parts else dict(parts)


def by_name(observation: Any) -> Mapping[str, Any]:
    """An environment's observation by the names of its parts."""
    return observation if isinstance(observation, dict) else {PLAIN: observation}


@dataclass(frozen=True, slots=True)
class Board:
    """What parent and workers tell each other in a step, besides observations; N agents, K shards, A actions.

    A shard's worker writes the rows of its own agents only.
    """

    words: NDArray[np.int64]  # (K, 8), see Word
    actions: NDArray[np.int64]  # (N,)
    chosen: NDArray[np.bool_]  # (N,), who is to be reset
    rewards: NDArray[np.float64]  # (N,)
    terminated: NDArray[np.bool_]  # (N,)
    truncated: NDArray[np.bool_]  # (N,)
    action_mask: NDArray[np.int8]  # (N, A)
    masked: NDArray[np.bool_]  # (N,), infos["_action_mask"]

    @staticmethod
    def size(agents: int, shards: int, actions: int) -> int:
        """Bytes, in whole pages."""
        return size_of(_board(agents, shards, actions), 1)

    @classmethod
    def on(cls, raw: NDArray[np.uint8], agents: int, shards: int, actions: int) -> "Board":
        """The board in the bytes `raw`; views."""
        return cls(**{name: array[0] for name, array in views(raw, _board(agents, shards, actions), 1).items()})


def _board(agents: int, shards: int, actions: int) -> tuple[Part, ...]:
    return (
        Part("words", (shards, len(Word.ORDER)), "<i8"),
        Part("actions", (agents,), "<i8"),
        Part("chosen", (agents,), "|b1"),
        Part("rewards", (agents,), "<f8"),
        Part("terminated", (agents,), "|b1"),
        Part("truncated", (agents,), "|b1"),
        Part("action_mask", (agents, actions), "|i1"),
        Part("masked", (agents,), "|b1"),
    )


class Word:
    """The columns of `Board.words`: where a shard's next observation goes, and how it is to be reset."""

    ORDER: Final = ("extent", "length", "offset", "rows", "first", "seeded", "seed", "keep")
    PLACE: Final = slice(
        0, 5
    )  # extent, its length, offset of the batch, rows of the batch, the shard's first row in it
    RESET: Final = slice(5, 8)  # whether there is a seed, the seed as its 64 bits, keep_world
