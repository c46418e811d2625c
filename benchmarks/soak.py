"""`python -m benchmarks.soak`: environments live and die for as long as one likes, and nothing of this process grows.

Each life makes an environment (scratch or named, with and without memory, NumPy or torch), steps it to the end of
its agents' first lives, resets, renders, saves, loads, clones, snapshots it, and lets a reader attach to its world.
After a warm-up, what the process holds is fitted by a line over the lives: its drift from end to end must stay small.
"""

import gc
import os
import shutil
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import gymnasium as gym
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import memfarm  # noqa: F401 - registers the ids
from benchmarks.resident import anonymous
from memfarm.config import MemmapConfig
from memfarm.world import World

WARM_UP: Final = 0.3  # of the time
_KINDS: Final = 8  # lives that differ
GAUGES: Final = 8
_AT_LEAST: Final = 4  # rounds of all kinds that make a line


@dataclass(frozen=True)
class Gauge:
    """One thing that a process holds: how to read it, in what unit, and how much of it may come in a whole run."""

    name: str
    unit: str
    read: Callable[[], float]
    bound: float


def gauges(scratch: Path) -> tuple[Gauge, ...]:
    return (
        Gauge("anonymous memory (RssAnon)", "MiB", lambda: anonymous() / 2**20, 8.0),
        Gauge("file descriptors", "", lambda: len([*Path("/proc/self/fd").iterdir()]), 0.5),
        Gauge("memory maps", "", lambda: len(Path("/proc/self/maps").read_text().splitlines()), 8.0),
        Gauge("threads", "", threading.active_count, 0.5),
        Gauge("threads of the system", "", lambda: len([*Path("/proc/self/task").iterdir()]), 0.5),
        Gauge("disk, named files", "KiB", lambda: _named(scratch) / 1024, 0.5),
        Gauge("disk, files without a name", "KiB", lambda: _unnamed(scratch) / 1024, 0.5),
        Gauge("objects of Python", "", lambda: len(gc.get_objects()), 500.0),
    )


def _named(scratch: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in scratch.rglob("*"))


def _unnamed(scratch: Path) -> int:
    """Bytes on the disk of files of `scratch` that have no name any more, but that this process still holds."""
    held = 0
    for link in Path("/proc/self/map_files" if os.geteuid() == 0 else "/proc/self/fd").iterdir():
        try:
            if str(link.readlink()).startswith(str(scratch)):
                held += link.stat().st_blocks * 512
        except OSError:  # unmapped or closed by now
            continue
    return held


def life(number: int, folder: Path) -> None:
    """Make an environment, use all of it, and close it; every eighth one is alike."""
    named, memory, torch = number & 1, number & 2, number & 4
    place = folder / "worlds"
    config = {
        "memmap": {"directory": str(place) if named else None, "delete_on_close": bool(named)},
        "observation": {"memory": bool(memory), "memory_radius": 3 if memory else None},
    }
    env: Any = gym.make_vec(
        "memfarm/Forage-v0",
        num_envs=32,
        agents_per_world=16,
        shape=(48, 80),
        radius=4,
        max_cycles=25,
        tensor="torch" if torch else "numpy",
        render_mode="rgb_array",
        config=config,
    )
    rng = np.random.default_rng(number)
    env.reset(seed=number)
    _steps(env, rng, 30)
    env.render()
    env.save(folder / "saved")
    state = env.get_state()
    other = env.clone()
    _steps(other, rng, 5)
    other.close()
    env.load(folder / "saved")
    env.set_state(state)
    _steps(env, rng, 5)
    _look(env.unwrapped.world, folder / "snapshot")
    env.close()
    shutil.rmtree(folder / "saved")
    if named:
        place.rmdir()  # empty, or this is no clean life


def _steps(env: Any, rng: np.random.Generator, count: int) -> None:
    for _ in range(count):
        env.step(rng.integers(0, env.single_action_space.n, env.num_envs))


def _look(world: World, snapshot: Path) -> None:
    """Read a world as others do: its snapshot, and, where it has a folder, beside its writer."""
    world.snapshot(snapshot)
    for path, mode in ((snapshot, "r"), (snapshot, "c"), (world.path, "r")):
        if path is not None:
            reader = World.open(path, mode)  # type: ignore[arg-type]
            reader.observe(0, 5, 5, 4)
            reader.close()
    shutil.rmtree(snapshot)
    alone = World((200, 300), memmap=MemmapConfig(use_for_temporal=False))
    alone.scatter("TRAILS", 0, 7, 7, 1.0)
    alone.close()


@dataclass(frozen=True)
class Finding:
    """One gauge over a run: at the end of the warm-up, at the end, the drift of the line and how sure it is."""

    gauge: Gauge
    first: float
    last: float
    drift: float
    error: float

    @property
    def flat(self) -> bool:
        return self.drift <= self.gauge.bound

    @classmethod
    def of(cls, gauge: Gauge, times: np.ndarray, values: np.ndarray) -> "Finding":
        """Fit a line by least squares; `error`: the standard error of its drift from the first to the last time."""
        span = times[-1] - times[0]
        slope, at = np.polyfit(times - times[0], values, 1)
        left = values - (at + slope * (times - times[0]))
        spread = np.sqrt(np.sum(left**2) / max(len(times) - 2, 1) / np.sum((times - times.mean()) ** 2))
        return cls(gauge, float(values[0]), float(values[-1]), float(slope * span), float(spread * span))


def soak(seconds: float, folder: Path) -> tuple[list[Finding], int, int]:
    """Live for so long: what was found over the rounds after the warm-up, the lives, and these rounds."""
    watched = gauges(folder)
    start = time.perf_counter()
    samples = array("d")  # one object however long it grows: the gauges must not count their own readings
    lives = 0
    while time.perf_counter() - start < seconds or len(_warm(samples, seconds)) < _AT_LEAST:
        for _ in range(_KINDS):
            life(lives, folder)
            lives += 1
        gc.collect()
        samples.extend([time.perf_counter() - start, *(gauge.read() for gauge in watched)])
    kept = _warm(samples, seconds)
    found = [Finding.of(gauge, kept[:, 0], kept[:, 1 + n]) for n, gauge in enumerate(watched)]
    return found, lives, len(kept)


def _warm(samples: "array[float]", seconds: float) -> np.ndarray:
    """The rounds that came after the warm-up, which takes two rounds at least: the time, and each gauge."""
    rounds = np.array(samples).reshape(-1, 1 + GAUGES)[2:]
    return rounds[rounds[:, 0] >= WARM_UP * seconds]


def table(found: list[Finding]) -> Table:
    shown = Table("held by the process", "after warm-up", "at the end", "drift of the line", "may be", "")
    for one in found:
        unit = f" {one.gauge.unit}".rstrip()
        shown.add_row(
            one.gauge.name,
            f"{one.first:.1f}{unit}",
            f"{one.last:.1f}{unit}",
            f"{one.drift:+.2f} ± {one.error:.2f}{unit}",
            f"{one.gauge.bound:g}{unit}",
            "flat" if one.flat else "GROWS",
        )
    return shown


def main(
    seconds: Annotated[float, typer.Option(help="How long to go on; an hour is 3600.")] = 360.0,
) -> None:
    """Let environments live and die; exit 1 where something grows."""
    if sys.platform != "linux":
        raise typer.BadParameter("the soak reads /proc, which only Linux has")
    console = Console(width=130)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        os.environ["MEMFARM_SCRATCH"] = place
        found, lives, rounds = soak(seconds, Path(place))
        left = sorted(path.name for path in Path(place).iterdir())
    console.print(table(found))
    took = f"{time.perf_counter() - start:.0f} s"
    console.print(f"{lives} environments in {took}, {rounds} rounds after the warm-up; left: {left}")
    if left or not all(one.flat for one in found):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
