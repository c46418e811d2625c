"""What a door's agents perceive: windows, or windows and memories, as the configuration asks for them."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from memfarm.envs.base import GridEnv
from memfarm.errors import ConfigError
from memfarm.wrappers import MemoryObservation, WindowObservation
from memfarm.wrappers.mapped_buffers import MAPPED_ABOVE

Perception = WindowObservation | MemoryObservation
Observation = NDArray[np.float32] | dict[str, NDArray[np.float32]]
"""What one agent gets: a window, or with `memory=True` a dict of "window", "memory" and "overview"."""


def perceive(
    env: GridEnv,
    *,
    tensor: Literal["numpy", "torch"] = "numpy",
    device: str = "cpu",
    dtype: str = "float32",
    copy: bool = True,
    threads: int = 1,
) -> Perception:
    """The environment in the wrappers that its configuration asks for; the arguments are `WindowObservation`'s."""
    seen, memmap = env.config.observation, env.config.memmap
    windows = WindowObservation(
        env,
        seen.radius,
        seen.channels,
        tensor=tensor,
        device=device,
        dtype=dtype,
        mask_by_visibility=seen.mask_by_visibility,
        gamma_known=seen.gamma_known,
        memmap=memmap,
        copy=copy,
        threads=threads,
        mapped_above=MAPPED_ABOVE if memmap.use_for_observations else None,
    )
    if not seen.memory:
        return windows
    return MemoryObservation(windows, seen.memory_radius, seen.memory_channels, overview=seen.overview)


def core_of(perception: Perception) -> GridEnv:
    """The environment inside its wrappers."""
    core = perception.unwrapped
    if not isinstance(core, GridEnv):
        raise ConfigError(f"a door opens on a GridEnv, got {type(core).__name__}")
    return core


def each(observations: Any, rows: Sequence[int] | None = None) -> Sequence[Any]:
    """The observation of every agent, or of those at index `rows`: views of those of all, `(N, ...)`.

    An array's rows, or where it is a dict of arrays, a new dict of rows for each agent.
    """
    if not isinstance(observations, dict):
        array: Sequence[Any] = observations
        if rows is None:
            return array
        return itemgetter(*rows)(array) if len(rows) > 1 else [array[row] for row in rows]  # of one it gives no tuple
    parts = {name: each(part, rows) for name, part in observations.items()}
    dealt: list[dict[str, Any]] = [{} for _ in range(len(parts["window"]))]
    for name, part in parts.items():  # a part after the other: half the time of making each dict whole
        for one, row in zip(dealt, part, strict=True):
            one[name] = row
    return dealt
