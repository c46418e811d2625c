"""The same step of Forage in a small world and in one far larger than memory."""

import gc
from collections.abc import Iterator
from pathlib import Path

from benchmarks import dense, disk
from benchmarks.crop import RADIUS
from benchmarks.foraging import Foragers, plain_map
from benchmarks.rows import Goal, Row
from benchmarks.sizes import Sizes
from benchmarks.timing import in_turns


def rows(sizes: Sizes) -> Iterator[Row]:
    """Time of a step, and what the large world took on the disk. Raises where closed worlds leave scratch open."""
    before = disk.taken_by_scratch()
    with dense.folder() as folder:
        yield from _measure(sizes, folder)
    gc.collect()
    after = disk.taken_by_scratch()
    if after > before:
        raise RuntimeError(f"a closed world must leave no scratch, got {after - before} bytes in files still open")


def _measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    agents, small, large = sizes.door_agents, sizes.small_side, sizes.large_side
    near = Foragers(agents, map=plain_map(folder / "small", small), radius=RADIUS)
    before = disk.taken_by_scratch()
    far = Foragers(agents, map=plain_map(folder / "large", large), radius=RADIUS)
    times = in_turns({"ours": far.step, "small": near.step}, seconds=sizes.seconds, least=10)
    yield Row(
        id=f"world-size[{large}-n{agents}]",
        what=f"a Forage step in {large}² cells",
        unit="µs",
        ours=times["ours"].median * 1e6,
        versus=f"the same agents in {small}²",
        baseline=times["small"].median * 1e6,
        ratio=times["ours"].over(times["small"]),
        goal=Goal("ratio", most=2.0),
        spread=times["ours"].spread,
    )
    taken = disk.taken_by_scratch() - before
    grids = far.world.info()["grids"]
    whole = grids["resources"]["logical_bytes"] + grids["temporal"]["logical_bytes"]
    yield Row(
        id=f"world-size-disk[{large}-n{agents}]",
        what="what that world took on the disk, its map aside",
        unit="MiB",
        ours=taken / 2**20,
        versus="every cell of the same layers",
        baseline=whole / 2**20,
        ratio=taken / whole,
    )
    near.close()
    far.close()
