"""What worlds of several sizes take of this process's memory, anonymous and file-backed apart."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from memfarm.config import MemmapConfig
from memfarm.envs import forage_v0
from memfarm.errors import StorageError
from memfarm.memory import AgentMemory
from memfarm.sizes import in_words
from memfarm.validate.criteria import Criterion
from memfarm.validate.resident import Resident
from memfarm.validate.scale import Scale
from memfarm.validate.structures import RADIUS, crowds, stored
from memfarm.world import World

_MIB: Final = 1 << 20
_WORKING: Final = 16 * _MIB  # anonymous memory that work itself may take, whatever the world measures
_BUFFERS: Final = 64 * _MIB  # and with windows of more than that

Use = Callable[[Path, Scale], Criterion]


def criteria(folder: Path, scale: Scale) -> Iterator[Criterion]:
    """A line a way of growing; WARNs where the system does not tell memory of one kind from the other."""
    uses: tuple[Use, ...] = (filled_worlds, vast_world, remembered, large_windows)
    try:
        Resident.now()
    except StorageError as error:
        yield from (Criterion(_name(use), "WARN", f"not measured: {error}", "a system that tells") for use in uses)
        return
    for use in uses:
        yield use(folder, scale)


def _name(use: Use) -> str:
    return f"memory: {use.__name__.replace('_', ' ')}"


def filled_worlds(folder: Path, scale: Scale) -> Criterion:
    """Write every cell of two worlds: file-backed memory grows with the world, anonymous memory does not."""
    grown, sizes = [], []
    for side in scale.filled:
        before = Resident.now()
        world = World((side, side), memmap=stored(folder))
        try:
            for name, channel in world.channels.items():
                if name not in ("CAPACITY", "VISIBILITY"):
                    _fill(world, name, channel.high / 2)
            grown.append(Resident.now().since(before))
            sizes.append(sum(grid.stats().logical_bytes for grid in world.grids.values()))
        finally:
            world.close()
    told = "; ".join(
        f"{side}² of {in_words(size)}: {_signed(now.anonymous)} anonymous, {_signed(now.mapped)} file-backed"
        for side, size, now in zip(scale.filled, sizes, grown, strict=True)
    )
    most = min(_WORKING, sizes[-1] // 4)
    holds = all(
        now.anonymous <= most and now.mapped <= 1.1 * size + _WORKING for size, now in zip(sizes, grown, strict=True)
    )
    there = all(now.mapped >= 0.9 * size for size, now in zip(sizes, grown, strict=True))
    limit = f"anonymous at most {in_words(most)}, file-backed 0.9 to 1.1 of the size"
    return _line(filled_worlds, holds, there, told, limit)


def vast_world(folder: Path, scale: Scale) -> Criterion:
    """Act and look in a vast world: memory is that of what was touched."""
    before = Resident.now()
    world = World((scale.vast, scale.vast), memmap=stored(folder))
    try:
        for y, x in crowds(scale.agents, scale.vast):
            world.resources.take(0, y, x, np.full(len(y), 0.5))
            world.deposit_temporal_events("TRAILS", (y, x, np.ones(len(y))))
            world.advance()
            world.observe(np.zeros_like(y), y, x, RADIUS)
        grown = Resident.now().since(before)
        size = sum(grid.stats().logical_bytes for grid in world.grids.values())
    finally:
        world.close()
    both = grown.anonymous + grown.mapped
    told = (
        f"{scale.vast}² of {in_words(size)}: {_signed(grown.anonymous)} anonymous, {_signed(grown.mapped)} file-backed"
    )
    bound = max(size // 20, 2 * _WORKING)
    holds = grown.anonymous <= _WORKING and both <= bound
    return Criterion.of(
        _name(vast_world), holds, told, f"anonymous at most {in_words(_WORKING)}, both {in_words(bound)}"
    )


def remembered(folder: Path, scale: Scale) -> Criterion:
    """Let agents remember a little of a large world: files cost what was seen, memory of the process likewise."""
    side, agents = scale.filled[1], scale.remembering
    world = World((side, side), memmap=stored(None))
    before = Resident.now()
    memory = AgentMemory(world, agents, memmap=MemmapConfig(directory=str(folder), delete_on_close=True))
    try:
        columns = ("RESOURCES", "OBSTACLES", "TERRAIN_COST")
        for y, x in crowds(agents, side):
            windows = world.observe(np.zeros_like(y), y, x, RADIUS, columns, normalize=True)
            memory.see(np.arange(agents), y, x, windows, columns)
        grown = Resident.now().since(before)
        stats = memory.grid.stats()
    finally:
        memory.close()
        world.close()
    told = (
        f"{agents} maps of {side}², {in_words(stats.logical_bytes)}: {in_words(stats.disk_bytes)} of files, "
        f"{_signed(grown.anonymous)} anonymous, {_signed(grown.mapped)} file-backed"
    )
    holds = grown.anonymous <= _WORKING and stats.disk_bytes <= stats.logical_bytes * 0.05
    limit = f"anonymous at most {in_words(_WORKING)}, files 5% of the maps"
    return Criterion.of(_name(remembered), holds, told, limit)


def large_windows(folder: Path, scale: Scale) -> Criterion:
    """See far: with `use_for_observations` a large batch of windows lies in a file."""
    side = 2 * scale.large_radius + 1
    agents = 1 + 96 * _MIB // (side * side * 7 * 4)  # a batch of 96 MiB
    memmap: dict[str, Any] = {**stored(folder).to_dict(), "use_for_observations": True}
    env = forage_v0.batched(
        num_envs=agents,
        agents_per_world=agents,
        shape=(scale.filled[0], scale.filled[0]),
        radius=scale.large_radius,
        map={"kind": "flat"},
        config={"memmap": memmap},
    )
    try:
        before = Resident.now()
        windows, _ = env.reset(seed=0)
        grown, size = Resident.now().since(before), windows.nbytes
        del windows
    finally:
        env.close()
    told = f"a batch of {in_words(size)}: {_signed(grown.anonymous)} anonymous, {_signed(grown.mapped)} file-backed"
    limit = f"anonymous at most {in_words(_BUFFERS)}, the batch file-backed"
    return _line(large_windows, grown.anonymous <= _BUFFERS, grown.mapped >= 0.9 * size, told, limit)


def _line(use: Use, holds: bool, there: bool, told: str, limit: str) -> Criterion:
    """PASS or FAIL as it `holds`; a WARN where it does and some of the pages are not `there` any more."""
    if holds and not there:
        return Criterion(_name(use), "WARN", f"{told}; the system took pages back, it is short of memory", limit)
    return Criterion.of(_name(use), holds, told, limit)


def _fill(world: World, name: str, value: float) -> None:
    """Write every cell, a band of rows at a time: the values themselves must not be what is measured."""
    height, width = world.shape
    band = np.full((64, width), value, np.float32)
    for y0 in range(0, height, 64):
        world.grid_of(name).write(name, band[: height - y0], y0)


def _signed(size: int) -> str:
    return f"{'+' if size >= 0 else '-'}{in_words(abs(size))}"
