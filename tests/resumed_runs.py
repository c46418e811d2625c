"""Runs of environments that are saved, killed, loaded and cloned, as digests of what they return."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from memfarm.envs import forage_v0

AGENTS = 4  # a world

RAM = {f"use_for_{what}": False for what in ("resources", "environmental", "temporal", "memory")}
PLAIN: dict[str, Any] = {"shape": (30, 40), "radius": 3, "max_cycles": 60}
MEMORY: dict[str, Any] = {**PLAIN, "memory": True, "overview": (5, 4)}
RICH: dict[str, Any] = {
    **MEMORY,
    "channels": "agentfarm",
    "teams": 2,
    "goals": True,
    "sparse_channels": ("DAMAGE_HEAT", "TRAILS"),
}
SETTINGS = {"plain": PLAIN, "memory": MEMORY, "rich": RICH}


def make(worlds: int = 3, backend: str = "memmap", **arguments: Any) -> Any:
    config = {"memmap": RAM} if backend == "ram" else None
    return forage_v0.batched(worlds * AGENTS, agents_per_world=AGENTS, config=config, **arguments)


def feed(digest: Any, value: Any) -> None:
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else [value]:
        if isinstance(part, dict | tuple | list):
            feed(digest, part)
        else:
            digest.update(np.ascontiguousarray(part).tobytes())


def digest_of(value: Any) -> str:
    digest = hashlib.sha256()
    feed(digest, value)
    return digest.hexdigest()


def run(env: Any, first: int, last: int) -> Iterator[str]:
    """A digest of all that each of the steps `[first, last)` returns; their actions follow from their numbers."""
    for number in range(first, last):
        yield digest_of(env.step(np.random.default_rng(number).integers(0, 6, env.num_envs)))
