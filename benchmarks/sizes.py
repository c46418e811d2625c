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
    shard_agents: int = 8_000
    shard_worlds: int = 8
    shard_crowds: tuple[tuple[int, int, int], ...] = ((1024, 8, 1000), (128, 64, 128))  # side, worlds, agents of each
    shard_singles: int = 32
    shard_side: int = 64
    small_side: int = 1024
    large_side: int = 65_536
    memory_side: int = 1024
    sharing_side: int = 2048
    sharing_workers: int = 4
    sharing_agents: int = 256
    rollout_agents: int = 2_000
    rollout_steps: int = 32
    snapshot_side: int = 16_384
    snapshot_small_side: int = 4096
    snapshot_agents: int = 1_000
    snapshot_steps: int = 300
    seconds: float = 3.0
    stretch: float = 0.25  # seconds of steps in a row, as a rollout takes them


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
    shard_agents=32,
    shard_worlds=4,
    shard_crowds=((48, 4, 8), (32, 8, 4)),
    shard_singles=3,
    shard_side=32,
    small_side=48,
    large_side=512,
    memory_side=64,
    sharing_side=128,
    sharing_workers=2,
    sharing_agents=8,
    rollout_agents=8,
    rollout_steps=4,
    snapshot_side=128,
    snapshot_small_side=64,
    snapshot_agents=8,
    snapshot_steps=5,
    seconds=0.02,
    stretch=0.001,
)
