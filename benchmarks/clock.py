"""The clock of a large world, against letting one of its layers decay cell by cell."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks import dense, disk
from benchmarks.rows import Goal, Row
from benchmarks.sizes import Sizes
from benchmarks.timing import in_turns
from memfarm.world import World

_EVENTS = 1_000


def rows(sizes: Sizes) -> Iterator[Row]:
    """`World.advance()`, and the files of the layers before and after."""
    side = sizes.clock_side
    with dense.folder() as folder:
        world = world_with_events(side, folder / "world")
        before = disk.fingerprints(folder / "world")
        cases: dict[str, Callable[[], object]] = {"ours": world.advance}
        layer = dense.whole_layer(folder, side)
        if layer is not None:
            cases["eager"] = lambda: np.multiply(layer, np.float32(0.85), out=layer)
        times = in_turns(cases, seconds=sizes.seconds)
        after = disk.fingerprints(folder / "world")
        eager = times.get("eager")
        yield Row(
            id=f"clock[{side}]",
            what=f"World.advance() with {len(world.temporal.names)} temporal channels",
            unit="µs",
            ours=times["ours"].median * 1e6,
            versus="1 float32 layer *= gamma, np.memmap" if eager else "not run: the disk is too full",
            baseline=eager.median * 1e6 if eager else None,
            ratio=eager.over(times["ours"]) if eager else None,
            faster=True,
            goal=Goal("ours", most=10.0),
            spread=times["ours"].spread,
        )
        yield Row(
            id=f"clock-writes[{side}]",
            what="layers' files with another byte or block after those ticks",
            unit="files",
            ours=sum(after[name] != found for name, found in before.items()),
            goal=Goal("ours", most=0),
        )
        world.close()


def world_with_events(side: int, path: Path) -> World:
    """A new named world with some events in each field, so that there is something that fades."""
    world = World((side, side), path=path)
    rng = np.random.default_rng(0)
    for name in world.temporal.names:
        y, x = rng.integers(0, side, (2, _EVENTS), dtype=np.int32)
        world.deposit_temporal_events(name, (y, x, rng.random(_EVENTS)))
    return world
