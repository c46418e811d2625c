"""What a world takes, written and untouched, against one dense float32 layer a channel."""

from collections.abc import Iterator

import numpy as np

from benchmarks import dense, disk
from benchmarks.crop import fill
from benchmarks.rows import Goal, Row
from benchmarks.sizes import Sizes
from memfarm.envs.forage_config import ForageConfig
from memfarm.world import World


def rows(sizes: Sizes) -> Iterator[Row]:
    """Blocks on the disk of a named world with Forage's default dtypes, stamps and headers included, by its cells."""
    side = sizes.memory_side
    with dense.folder() as folder:
        world = World((side, side), memmap=ForageConfig().memmap, path=folder / "world")
        plain = 4 * len(world.channels)
        for state in ("untouched", "written"):
            if state == "written":
                fill(world, np.random.default_rng(0))
            world.flush()
            ours = disk.taken(folder / "world") / side**2
            yield Row(
                id=f"memory-{state}[{side}]",
                what=f"{len(world.channels)} channels, {'every' if state == 'written' else 'no'} cell written",
                unit="B/cell",
                ours=ours,
                versus=f"{len(world.channels)} dense float32 layers",
                baseline=plain,
                ratio=ours / plain,
                goal=Goal("ours", most=28.0) if state == "written" else None,
            )
        world.close()
