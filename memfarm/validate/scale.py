"""Scale: how large the worlds of a validation are, and how long it takes."""

from dataclasses import dataclass
from typing import Final

from memfarm.kernels import CHOICE


@dataclass(frozen=True, slots=True)
class Scale:
    """Sides of square worlds in cells, counts of agents, seconds of one comparison."""

    side: int = 1024  # of what is timed
    agents: int = 1000
    remembering: int = 128  # agents with a memory
    seconds: float = 1.5
    filled: tuple[int, int] = (1024, 2048)  # worlds of which every cell is written
    vast: int = 16_384  # a world of which almost none is
    large_radius: int = 64  # of windows that go to files


FULL: Final = Scale()
_FAST: Final = CHOICE == "compiled"  # the NumPy twins take a hundred times as long

QUICK: Final = Scale(
    side=256,
    agents=200 if _FAST else 20,
    remembering=32 if _FAST else 4,
    seconds=0.15,
    filled=(256, 768),
    vast=8192,
    large_radius=64,
)
"""For tests: whether it all runs."""
