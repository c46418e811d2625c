"""What a world takes, written and untouched, against one dense float32 layer a channel.

`python -m benchmarks.memory` prints what agents' memories and large windows take, which the table leaves out.
"""

from collections.abc import Iterator

import numpy as np

from benchmarks import dense, disk, large_windows, remembering
from benchmarks.crop import fill
from benchmarks.rows import Goal, Row, figure
from benchmarks.sizes import Sizes
from benchmarks.timing import one_core
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


def main() -> None:
    """Print what 1,000 agents' memories of a 4096 x 4096 world take, and windows of radius 128."""
    with one_core():
        for row in (*remembering.rows(), *large_windows.rows()):
            against = f"{row.versus}: {figure(row.baseline or 0.0)} {row.unit}, {figure(row.ratio or 0.0)}x"
            reached = {True: "; reached", False: "; NOT reached", None: ""}[row.reached]
            print(f"{row.id}: {figure(row.ours)} {row.unit} - {row.what} ({against}){reached}")


if __name__ == "__main__":
    main()
