"""Observations of hundreds of megabytes: in mapped files, against anonymous memory."""

import gc
from collections.abc import Iterator
from typing import Final

import gymnasium
import numpy as np

from benchmarks import resident
from benchmarks.foraging import ID
from benchmarks.rows import Goal, Row

AGENTS: Final = 256
RADIUS: Final = 128
_MB: Final = 1e6


def rows(agents: int = AGENTS, radius: int = RADIUS, steps: int = 4) -> Iterator[Row]:
    """Anonymous memory that a few steps add, two observations alive at a time, with `use_for_observations` and not."""
    mapped, plain = _grown(agents, radius, steps, on=True), _grown(agents, radius, steps, on=False)
    size = agents * (2 * radius + 1) ** 2 * 7 * 4
    yield Row(
        id=f"large-windows[r{radius}-n{agents}]",
        what=f"anonymous RAM that {steps} steps add; a batch is {size / _MB:,.0f} MB, two are alive at a time",
        unit="MB",
        ours=mapped / _MB,
        versus="without use_for_observations",
        baseline=plain / _MB,
        ratio=mapped / plain,
        goal=Goal("ours", most=64.0),
    )


def _grown(agents: int, radius: int, steps: int, on: bool) -> int:
    env = gymnasium.make_vec(
        ID,
        num_envs=agents,
        agents_per_world=agents,
        shape=(1024, 1024),
        radius=radius,
        tensor="torch",
        config={"memmap": {"use_for_observations": on}},
    )
    gc.collect()
    start = resident.anonymous()
    last = env.reset(seed=0)
    for _ in range(steps):
        last = env.step(np.zeros(agents, np.int64))
    grown = resident.anonymous() - start
    del last
    env.close()
    gc.collect()
    return grown
