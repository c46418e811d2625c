"""Snapshots: what one costs in worlds of different size with the same tiles written, and the steps beside one."""

import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks import dense, disk
from benchmarks.crop import RADIUS
from benchmarks.foraging import Foragers, plain_map
from benchmarks.rows import Goal, Row
from benchmarks.sizes import Sizes
from benchmarks.timing import Times, once
from memfarm.validate.pairs import no_garbage_collection
from memfarm.world import World

_SHARE: Final = 0.01  # of the large world's tiles that are written
_CHANNELS: Final = {"resources": "RESOURCES", "temporal": "TRAILS"}
_LEAST: Final = 3  # snapshots of a kind


def rows(sizes: Sizes) -> Iterator[Row]:
    """Time and bytes of a snapshot of a large and of a small world, and a step's time while one is made."""
    with dense.folder() as folder:
        yield from _sizes(sizes, folder)
    with dense.folder() as folder:
        yield from _steps(sizes, folder)


def _written(world: World, tiles: dict[str, int]) -> None:
    """Write a cell in so many tiles of each group, anywhere."""
    random = np.random.default_rng(0)
    for group, count in tiles.items():
        across = math.isqrt(world.grids[group].tiles_of_a_copy)
        side = world.shape[0] // across
        y, x = np.divmod(random.choice(across**2, count, replace=False), across)
        world.scatter(_CHANNELS[group], 0, y * side, x * side, 0.5)


def _share(world: World) -> dict[str, int]:
    return {group: max(1, int(_SHARE * world.grids[group].tiles_of_a_copy)) for group in _CHANNELS}


def _sizes(sizes: Sizes, folder: Path) -> Iterator[Row]:
    large, small = sizes.snapshot_side, sizes.snapshot_small_side
    worlds = {"large": World((large, large)), "small": World((small, small))}
    tiles = _share(worlds["large"])
    seconds: dict[str, list[float]] = {name: [] for name in worlds}
    taken = {}
    for world in worlds.values():
        _written(world, tiles)
    for _ in range(_LEAST):
        for name, world in worlds.items():
            path = folder / name
            seconds[name].append(once(lambda world=world, path=path: world.snapshot(path)))  # type: ignore[misc]
            taken[name] = disk.taken(path)
            shutil.rmtree(path)
    for world in worlds.values():
        world.close()
    times = {name: Times(np.array(values)) for name, values in seconds.items()}
    count = sum(tiles.values())
    yield Row(
        id=f"snapshot[{large}]",
        what=f"World.snapshot() of {large}² cells, {count} tiles of them written, fsync and all",
        unit="ms",
        ours=times["large"].median * 1e3,
        versus=f"the same tiles in {small}²",
        baseline=times["small"].median * 1e3,
        ratio=times["large"].over(times["small"]),
        spread=times["large"].spread,
    )
    yield Row(
        id=f"snapshot-disk[{large}]",
        what="what it takes on the disk",
        unit="MiB",
        ours=taken["large"] / 2**20,
        versus=f"the same tiles in {small}²",
        baseline=taken["small"] / 2**20,
        ratio=taken["large"] / taken["small"],
    )


def _steps(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Rounds of some steps without a snapshot, and of as many as one takes that is made in the background."""
    side, agents = sizes.snapshot_side, sizes.snapshot_agents
    foragers = Foragers(agents, map=plain_map(folder / "map", side), radius=RADIUS)
    _written(foragers.world, _share(foragers.world))
    beside, alone, calls, blocking = [], [], [], []
    for _ in range(_LEAST):
        blocking.append(once(lambda: foragers.world.snapshot(folder / "blocking")))
        shutil.rmtree(folder / "blocking")
        alone.append(_walk(foragers, sizes.snapshot_steps))
        start = time.perf_counter()
        handle = foragers.world.snapshot(folder / "behind", background=True)
        calls.append(time.perf_counter() - start)
        times = []
        with no_garbage_collection():
            while not handle.done or not times:
                times.append(once(foragers.step))
        handle.wait()
        beside.append(times)
        shutil.rmtree(folder / "behind")
    foragers.close()
    medians = Times(np.array([np.median(times) for times in beside]))
    without = Times(np.array([np.median(times) for times in alone]))
    longest = max(max(times) for times in beside) * 1e3
    steps = int(np.median([len(times) for times in beside]))
    yield Row(
        id=f"snapshot-step[{side}-n{agents}]",
        what=f"a Forage step while a snapshot is made: {steps} of them, the longest {longest:.1f} ms",
        unit="ms",
        ours=medians.median * 1e3,
        versus="the same without",
        baseline=without.median * 1e3,
        ratio=medians.over(without),
        goal=Goal("ratio", most=2.0),
        spread=medians.spread,
    )
    stop, whole = Times(np.array(calls)), Times(np.array(blocking))
    yield Row(
        id=f"snapshot-call[{side}-n{agents}]",
        what="World.snapshot(background=True): how long the run stands still",
        unit="ms",
        ours=stop.median * 1e3,
        versus="World.snapshot()",
        baseline=whole.median * 1e3,
        ratio=stop.over(whole),
        spread=stop.spread,
    )


def _walk(foragers: Foragers, steps: int) -> list[float]:
    with no_garbage_collection():
        return [once(foragers.step) for _ in range(steps)]
