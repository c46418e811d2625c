"""Checks of what callers hand to an environment: rule, got, remedy."""

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from memfarm.errors import ConfigError


def checked_count(name: str, value: object) -> int:
    """`value` as an int of at least 1."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{name} must be an int of at least 1, got {value!r}")
    return int(value)


def checked_mode(mode: object) -> AutoresetMode:
    """`mode` as Gymnasium's AutoresetMode, also from its value (which is JSON-able)."""
    try:
        return AutoresetMode(mode)
    except ValueError:
        known = ", ".join(repr(m.value) for m in AutoresetMode)
        raise ConfigError(f"autoreset_mode must be an AutoresetMode or one of {known}, got {mode!r}") from None


def checked_render_mode(mode: str | None, known: list[str]) -> str | None:
    """`mode` if it is None or one of `known`."""
    if mode is not None and mode not in known:
        raise ConfigError(f"render_mode must be None or one of {', '.join(map(repr, known))}, got {mode!r}")
    return mode


def checked_seed(seed: object) -> int | None:
    """`seed` as an int of at least 0, or None."""
    if seed is None:
        return None
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise ConfigError(f"seed must be None or an int of at least 0, got {seed!r}; world w takes seed + w")
    return int(seed)


def checked_keep_world(options: dict[str, Any] | None) -> bool:
    """What `options` say of `keep_world`: a bool, False where they say nothing."""
    keep = (options or {}).get("keep_world", False)
    if not isinstance(keep, bool):
        raise ConfigError(f"options['keep_world'] must be True or False, got {keep!r}")
    return keep


def pop_reset_mask(options: dict[str, Any] | None, count: int, first: bool) -> NDArray[np.bool_]:
    """Take `reset_mask` out of `options`, a bool array `(count,)` with a True in it; all True where there is none. New.

    first: there has been no reset yet, so that this one cannot be of some.
    """
    if options is None or "reset_mask" not in options:
        return np.ones(count, np.bool_)
    mask = options["reset_mask"]
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (count,) or not mask.any():
        raise ConfigError(f"options['reset_mask'] must be a bool array ({count},) with at least one True, got {mask!r}")
    if first and not mask.all():
        raise ConfigError("the first reset is of everyone, got a reset_mask of some; call reset() without one first")
    del options["reset_mask"]
    return mask.copy()
