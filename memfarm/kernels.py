"""The kernels in use: the compiled ones, or their NumPy twins under `MEMFARM_KERNELS=reference`.

Chosen once, at import. Both offer the names below with the same bytes out; see
docs/design/0001-grids-and-lazy-time.md for the contract.
"""

import os
from typing import TYPE_CHECKING, Final

from memfarm.errors import ConfigError

CHOICE: Final = os.environ.get("MEMFARM_KERNELS", "compiled")

if CHOICE not in ("compiled", "reference"):
    raise ConfigError(f"MEMFARM_KERNELS must be 'compiled' or 'reference', got {CHOICE!r}")

if TYPE_CHECKING or CHOICE == "compiled":
    from memfarm._kernels import (
        Grid,
        Windows,
        fence,
        first_beyond,
        first_outside,
        forage_eat,
        forage_look,
        forage_settle,
        forage_walk,
        hash_draws,
        narrow,
    )
else:
    from memfarm.reference import (
        Grid,
        Windows,
        fence,
        first_beyond,
        first_outside,
        forage_eat,
        forage_look,
        forage_settle,
        forage_walk,
        hash_draws,
        narrow,
    )

__all__ = [
    "CHOICE",
    "Grid",
    "Windows",
    "fence",
    "first_beyond",
    "first_outside",
    "forage_eat",
    "forage_look",
    "forage_settle",
    "forage_walk",
    "hash_draws",
    "narrow",
]
