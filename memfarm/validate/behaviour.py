"""Decay in `step()`, files on disk, modes, and cleaning up."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from memfarm.channels import Decay
from memfarm.config import MemmapConfig
from memfarm.envs.forage import Forage
from memfarm.envs.forage_config import ForageConfig
from memfarm.errors import ReadOnlyError
from memfarm.files import Mode
from memfarm.manifest import FILE
from memfarm.sizes import in_words
from memfarm.validate.criteria import Criterion
from memfarm.validate.scale import Scale
from memfarm.world import World
from memfarm.wrappers.window_observation import WindowObservation

_GROUPS: Final = ("resources", "environmental", "temporal")
_TICKS: Final = 7
_CLOSE: Final = 1e-6


def criteria(folder: Path, scale: Scale) -> Iterator[Criterion]:
    """A line a promise."""
    yield decay_in_step(folder)
    yield files_on_disk(folder)
    yield groups_apart(folder)
    yield reopened(folder)
    yield cleaned_up(folder)


def decay_in_step(folder: Path) -> Criterion:
    """Let events fade for some steps of an environment, while everybody looks: once a step, by each channel's gamma."""
    config = ForageConfig.from_arguments({"memmap": _named(folder).to_dict()}, shape=(48, 48), map={"kind": "flat"})
    core = Forage(config, agents_per_world=4)
    env = WindowObservation(core, channels=core.world.temporal.names, tensor="numpy")
    world = core.world
    try:
        env.reset(seed=0)
        standing = {*zip(core.agents.y.tolist(), core.agents.x.tolist(), strict=True)}
        y, x = next((y, 20) for y in range(48) if (y, 20) not in standing)
        for name in world.temporal.names:
            core.deposit_temporal_events(name, [(y, x, 0.9)])
        for _ in range(_TICKS):
            env.step(np.zeros(4, np.int64))
            world.observe(0, [y], [x], 5)
        errors = {}
        for channel in world.temporal.grid.channels:
            gamma = channel.law.gamma if isinstance(channel.law, Decay) else 1.0
            errors[channel.name] = abs(float(world.gather(channel.name, 0, [y], [x])[0]) - 0.9 * gamma**_TICKS)
    finally:
        env.close()
    figure = f"after {_TICKS} steps off by at most {max(errors.values()):.1g}: {', '.join(errors)}"
    return Criterion.of("decay: once a step", max(errors.values()) <= _CLOSE, figure, f"gamma**{_TICKS} to {_CLOSE:g}")


def files_on_disk(folder: Path) -> Criterion:
    """Look at a world's folder: its name, and files that NumPy itself opens."""
    world = World((200, 300), memmap=_named(folder), simulation_id="sim 1")
    try:
        world.advance(3)
        place = world.path or folder
        world.deposit_temporal_events("TRAILS", [(10, 20, 0.5)])
        world.flush()
        arrays = {group: np.load(place / f"{group}.npy", "r", allow_pickle=False) for group in _GROUPS}
        written = int(np.count_nonzero(arrays["temporal"]))
        disk = world.info()["disk_bytes"]
        named = place.name.startswith(f"world_sim-1_p{os.getpid()}_200x300")
        holds = named and (place / FILE).is_file() and written > 0 and world.temporal.has_memmap
        figure = f"{place.name}: {len(arrays)} layers' .npy and {FILE}, {in_words(disk)} on disk"
        del arrays
    finally:
        world.close()
    return Criterion.of("files: names and formats", holds, figure, "pid, size and simulation in the name; plain .npy")


def groups_apart(folder: Path) -> Criterion:
    """Switch each group to files or to memory: only what is in files leaves any."""
    wrong = []
    combinations = [tuple(bool(number >> bit & 1) for bit in range(3)) for number in range(8)]
    for combination in combinations:
        chosen = {f"use_for_{group}": on for group, on in zip(_GROUPS, combination, strict=True)}
        settings: dict[str, Any] = {"directory": str(folder), "delete_on_close": True, **chosen}
        world = World((64, 64), memmap=MemmapConfig(**settings))
        try:
            place = world.path or folder
            managers = (world.resources, world.environmental, world.temporal)
            named = tuple((place / f"{manager.group}.npy").exists() for manager in managers)
            told = tuple(manager.has_memmap for manager in managers)
            if not named == told == combination:
                wrong.append(combination)
        finally:
            world.close()
    figure = f"{len(combinations) - len(wrong)} of {len(combinations)} combinations"
    return Criterion.of("files: each group on its own", not wrong, figure, "all")


def reopened(folder: Path) -> Criterion:
    """Close a world and open it again: to go on with, to read, and for writes that are never kept."""
    place = folder / "reopened"
    world = World((64, 64), path=place)
    world.deposit_temporal_events("TRAILS", [(10, 20, 0.5)])
    world.advance(3)
    before = _trails(world)
    world.close()
    found: dict[str, bool] = {}
    modes: tuple[Mode, ...] = ("r", "c", "r+")
    for mode in modes:
        world = World.open(place, mode)
        try:
            found[mode] = _trails(world) == before and world.tick == 3
            world.deposit_temporal_events("TRAILS", [(10, 20, 0.25)])
            found[mode] &= mode != "r"
        except ReadOnlyError:
            found[mode] &= mode == "r"
        finally:
            world.close()
    world = World.open(place)
    found["kept by r+ alone"] = abs(_trails(world) - (before + 0.25)) <= _CLOSE
    world.close()
    _remove(place)
    figure = ", ".join(f"{name}: {'as it was' if ok else 'WRONG'}" for name, ok in found.items())
    return Criterion.of("files: opened again", all(found.values()), figure, "values and tick; r refuses, c forgets")


def _trails(world: World) -> float:
    return float(world.gather("TRAILS", 0, [10], [20])[0])


def _named(folder: Path) -> MemmapConfig:
    return MemmapConfig(directory=str(folder), delete_on_close=True)


def _remove(place: Path) -> None:
    for path in place.iterdir():
        path.unlink()
    place.rmdir()


def cleaned_up(folder: Path) -> Criterion:
    """Close worlds that keep their files, that delete them, and that never had a name."""
    process = psutil.Process()
    handles = _open_files(process)
    keep = World((64, 64), memmap=MemmapConfig(directory=str(folder)))
    delete = World((64, 64), memmap=_named(folder))
    scratch = World((64, 64))
    kept, deleted = keep.path or folder, delete.path or folder
    for world in (keep, delete, scratch):
        world.close()
    as_asked = (kept / FILE).is_file() and not deleted.exists()
    _remove(kept)
    left = sorted(path.name for path in folder.iterdir())
    more = _open_files(process) - handles
    figure = f"{len(left)} files left{' (' + ', '.join(left[:3]) + ')' if left else ''}, {more} more open"
    return Criterion.of("cleaning up", as_asked and not left and more <= 0, figure, "none left, none open")


def _open_files(process: psutil.Process) -> int:
    return process.num_fds() if hasattr(process, "num_fds") else len(process.open_files())
