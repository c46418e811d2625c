"""`python -m benchmarks.curves`: steps a second by agents and by the world's side, and memory by side, as JSON.

Every point is a process of its own, on one core; `python -m benchmarks.plots` draws them. Takes about eight minutes, 16
GiB of memory and 8 GiB of disk. What does not fit into the memory that is free is left out, and said; so is MAgent2
where `make bench-peers` has not installed it.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import psutil
import typer

import benchmarks.one_thread  # noqa: F401 - the processes that this one starts inherit it
from benchmarks import dense, machine
from benchmarks.crop import CHANNELS, RADIUS
from benchmarks.foraging import hilly_map, plain_map
from benchmarks.peers.packages import MAGENT2, why_missing
from benchmarks.rows import figure
from benchmarks.timing import one_core

FIGURES: Final = Path("docs/figures")
_ROOT: Final = Path(__file__).parents[1]
_WINDOWS: Final = 3 * 4 * (2 * RADIUS + 1) ** 2 * len(CHANNELS)  # bytes an agent: two batches, and what cuts them
_CELL: Final = {"memfarm": 0, "numpy": 4 * len(CHANNELS), "magent2": 20, "arrays": 32}  # bytes of memory, about
_FREE: Final = 0.6  # of the memory that is free may be used


@dataclass(frozen=True, slots=True)
class Point:
    """What one process measures. who: a kind of `curve_point`. agents: 0 where nothing steps."""

    curve: str
    who: str
    agents: int
    side: int

    @property
    def steps(self) -> int:
        """Steps before anything is measured: as many for every side, fewer for very many agents."""
        return max(4, min(100, 4_000_000 // max(1, self.agents)))

    @property
    def needs(self) -> int:
        """Bytes of memory, about."""
        return self.agents * _WINDOWS + _CELL[self.who] * self.side**2


@dataclass(frozen=True, slots=True)
class Plan:
    """Which points there are, and the seconds that each steps for."""

    agents: tuple[int, ...] = (100, 1_000, 10_000, 100_000, 1_000_000)
    numpy_agents: int = 100_000
    side: int = 4096
    sides: tuple[int, ...] = tuple(2**k for k in range(8, 17))
    numpy_side: int = 2**13
    magent2_side: int = 2**13
    arrays_side: int = 2**14
    crowds: tuple[int, ...] = (1_000, 10_000)
    seconds: float = 1.5

    def points(self) -> Iterator[Point]:
        """All of them, curve by curve."""
        for agents in self.agents:
            yield Point("agents", "memfarm", agents, self.side)
            yield Point("agents", "magent2", agents, self.side)
            if agents <= self.numpy_agents:
                yield Point("agents", "numpy", agents, self.side)
        for side in self.sides:
            for crowd in self.crowds:
                yield Point("side", "memfarm", crowd, side)
                if side <= self.magent2_side:
                    yield Point("side", "magent2", crowd, side)
            if side <= self.numpy_side:
                yield Point("side", "numpy", self.crowds[-1], side)
            if side <= self.arrays_side:
                yield Point("side", "arrays", 0, side)


QUICK: Final = Plan(
    agents=(10, 30),
    numpy_agents=10,
    side=64,
    sides=(32, 64),
    numpy_side=32,
    magent2_side=32,
    arrays_side=64,
    crowds=(6, 10),
    seconds=0.02,
)


def measured(plan: Plan) -> Iterator[dict[str, Any]]:
    """Each point with what was found there: `rate`, `low`, `high` in agent-steps/s, `anonymous` and `disk` in bytes."""
    with dense.folder() as folder:
        hills = hilly_map(folder / "hills", plan.side)
        lacking = why_missing(MAGENT2)
        if lacking:
            print(lacking)
        for point in plan.points():
            if point.who == "magent2" and lacking:
                continue
            free = psutil.virtual_memory().available
            if point.needs > _FREE * free:
                print(f"{_text(point)}: left out, it needs {point.needs / 2**30:.1f} of {free / 2**30:.1f} GiB")
                continue
            ground = hills
            if point.curve == "side":
                plain = folder / f"plain-{point.side}"
                ground = str(plain) if plain.exists() else plain_map(plain, point.side)
            yield {**asdict(point), **_in_a_process(point, ground, plan.seconds)}


def _in_a_process(point: Point, ground: str, seconds: float) -> dict[str, Any]:
    what = [point.who, str(point.agents), str(point.side), ground, str(point.steps), str(seconds)]
    command = [sys.executable, "-m", "benchmarks.curve_point", *what]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{_text(point)} failed ({done.returncode}): {done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _text(point: Point) -> str:
    return f"{point.who}, {point.agents} agents in {point.side} x {point.side}"


def main(
    json_file: Annotated[Path, typer.Option("--json", help="Where the points go.", dir_okay=False)] = FIGURES
    / "curves.json",
    quick: Annotated[bool, typer.Option("--quick", help="Tiny worlds: whether it runs, not how fast.")] = False,
) -> None:
    """Measure every point, print it, and write all of them."""
    found, start = [], time.perf_counter()
    with one_core() as core:
        described = machine.described(core)
    for point in measured(QUICK if quick else Plan()):
        found.append(point)
        rate = f"{figure(point['rate'])} agent-steps/s, " if "rate" in point else ""
        held = f"{figure(point['anonymous'] / 1e6)} MB of memory" if "anonymous" in point else ""
        print(f"{point['curve']}: {point['who']}, n{point['agents']}, {point['side']}²: {rate}{held}", flush=True)
    report = {"machine": described, "quick": quick, "points": found}
    json_file.parent.mkdir(parents=True, exist_ok=True)
    json_file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"{len(found)} points in {time.perf_counter() - start:.0f} s: {json_file}")


if __name__ == "__main__":
    typer.run(main)
