"""How large the measured worlds are: as the figures are asked for, or tiny, to see that everything runs."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sides in cells, counts of agents, and how long a comparison may take in seconds."""

    crop_sides: tuple[int, ...] = (1024, 4096)
    crop_agents: int = 10_000
    clock_side: int = 16_384
    reset_steps: int = 1_000
    reset_agents: int = 1_000
    step_side: int = 1024
    step_agents: tuple[int, ...] = (1_000, 10_000)
    door_agents: int = 1_000
    small_side: int = 1024
    large_side: int = 65_536
    memory_side: int = 1024
    seconds: float = 3.0


FULL: Final = Sizes()
QUICK: Final = Sizes(
    crop_sides=(64, 96),
    crop_agents=50,
    clock_side=128,
    reset_steps=5,
    reset_agents=10,
    step_side=48,
    step_agents=(10, 20),
    door_agents=8,
    small_side=48,
    large_side=512,
    memory_side=64,
    seconds=0.02,
)
