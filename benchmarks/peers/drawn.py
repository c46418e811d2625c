"""Actions at random, drawn before the clock runs and taken in turn."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_BATCHES: Final = 64


def batches(agents: int, choices: int) -> Iterator[NDArray[np.int32]]:
    """For ever: an action below `choices` for each of `agents`, int32 `(agents,)`."""
    return itertools.cycle(_drawn(agents, choices))


def lists(agents: int, choices: int) -> Iterator[list[int]]:
    """The same as lists."""
    return itertools.cycle(_drawn(agents, choices).tolist())


def dicts(names: Sequence[str], choices: int) -> Iterator[dict[str, int]]:
    """The same by the agents' names."""
    rows = _drawn(len(names), choices).tolist()
    return itertools.cycle([dict(zip(names, row, strict=True)) for row in rows])


def _drawn(agents: int, choices: int) -> NDArray[np.int32]:
    return np.random.default_rng(0).integers(0, choices, (_BATCHES, agents), dtype=np.int32)
