"""Checks of how workers are to be run: rule, got, remedy."""

import os
from collections.abc import Sequence
from typing import Literal

from memfarm.errors import ConfigError

Context = Literal["forkserver", "spawn"]


def checked_context(context: object) -> Context:
    """`context` if it is one that a crew can be started in."""
    if context == "fork":
        raise ConfigError(
            "context must be 'forkserver' or 'spawn', got 'fork': a fork takes along the locks that other threads "
            "(torch's, BLAS's) hold, and may hang; use 'forkserver'"
        )
    if context not in ("forkserver", "spawn"):
        raise ConfigError(f"context must be 'forkserver' or 'spawn', got {context!r}")
    return context


def checked_timeout(timeout: object) -> float | None:
    """`timeout` if it is None or a positive number of seconds."""
    if timeout is None:
        return None
    if not isinstance(timeout, int | float) or isinstance(timeout, bool) or not timeout > 0:
        raise ConfigError(f"timeout must be None or a positive number of seconds, got {timeout!r}")
    return float(timeout)


def checked_cores(pin: object, shards: int) -> list[int | None]:
    """The processor of each shard, None for any, as `pin` says: True, False, or one for each shard."""
    if pin is False:
        return [None] * shards
    if not hasattr(os, "sched_setaffinity"):
        raise ConfigError(f"pin needs a system where processes can be kept on a processor, got {pin!r}; leave it out")
    if pin is True:
        allowed = sorted(os.sched_getaffinity(0))
        return [allowed[shard % len(allowed)] for shard in range(shards)]
    count = os.cpu_count() or 1
    if not isinstance(pin, Sequence) or len(pin) != shards or not all(_is_core(core, count) for core in pin):
        raise ConfigError(
            f"pin must be True, False or one processor in [0, {count}) for each of {shards} shards, got {pin!r}"
        )
    return list(pin)


def _is_core(core: object, count: int) -> bool:
    return isinstance(core, int) and not isinstance(core, bool) and 0 <= core < count
