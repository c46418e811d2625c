"""`python -m benchmarks.out_of_core`: a 64 GB world stepped by a process limited to 1 GB, and by one without a limit.

The limit is a control group's (`benchmarks/limits.py`); where none can be had, it says so and runs without one alone.
The ground of the world is written in stripes, and every agent has tiles of its own, anywhere: what was never touched
takes nothing. Two crowds step in it: what the few touch in a step fits the limit, what the many touch does not. No run
finds a page of the map in the system's cache. Takes minutes, 2 GiB of memory and 5 GiB of disk, not a tmpfs.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from benchmarks import dense, disk
from benchmarks.limits import NoGroupError, limited
from benchmarks.paging import make_cold
from benchmarks.rows import figure
from memfarm.world import World

_ROOT: Final = Path(__file__).parents[1]
_GB: Final = 1e9
_MB: Final = 1e6
_STRIPE: Final = 256  # rows of written ground
_STRIDE: Final = 640  # rows from one stripe to the next
_QUICK: Final = (1024, 1, (50,))  # side, steps, crowds

Report = dict[str, Any]


def striped_map(folder: Path, side: int) -> str:
    """Make a map whose ground is rough in stripes of rows and was never written in between."""
    rough = np.random.default_rng(0).random((_STRIPE, side))
    world = World((side, side), path=folder)
    for y0 in range(0, side, _STRIDE):
        world.environmental.grid.write("TERRAIN_COST", rough[: side - y0], y0, 0)
    world.close()
    return str(folder)


def stepped(ground: str, agents: int, steps: int, procs: Path | None = None) -> Report:
    """What `agents` on a map took for `steps` steps, in a process of its own, in the group of `procs`."""
    make_cold(Path(ground))
    command = [sys.executable, "-m", "benchmarks.out_of_core_worker", ground, str(agents), str(steps)]
    command += [] if procs is None else [str(procs)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the stepping process failed ({done.returncode}): {done.stderr[-2000:]}")
    report: Report = json.loads(done.stdout)
    return report


def main(
    side: Annotated[int, typer.Option(min=16, help="Of the world, in cells.")] = 51_712,
    few: Annotated[int, typer.Option(min=1, help="Agents whose tiles fit the limit.")] = 20_000,
    many: Annotated[int, typer.Option(min=1, help="Agents whose tiles do not.")] = 60_000,
    steps: Annotated[int, typer.Option(min=1)] = 2,
    limit: Annotated[float, typer.Option(help="Of memory, in MB.")] = 1_000.0,
    quick: Annotated[bool, typer.Option("--quick", help="A tiny world: whether it runs, not how fast.")] = False,
) -> None:
    """Print agent-steps/s, major faults and bytes read a step with the limit and without."""
    crowds: tuple[int, ...] = (few, many)
    if quick:
        side, steps, crowds = _QUICK
    with dense.folder() as folder:
        ground = striped_map(folder / "map", side)
        for agents in crowds:
            _compare(ground, agents, steps, limit)


def _compare(ground: str, agents: int, steps: int, limit: float) -> None:
    free = stepped(ground, agents, steps)
    logical, written = free["logical"], disk.taken(Path(ground)) + free["disk"]
    print(
        f"{agents} agents in a world of {figure(logical / _GB)} GB if every cell were written, "
        f"{figure(written / _GB)} GB ({written / logical:.2%}) are"
    )
    _tell("without a limit", free, agents)
    try:
        with limited(int(limit * _MB)) as (procs, kind):
            bound = stepped(ground, agents, steps, procs)
    except NoGroupError as error:
        print(f"  not run with a limit: {error}")
        return
    _tell(f"with {limit:.0f} MB ({kind})", bound, agents)
    same = "the same agents" if free["digest"] == bound["digest"] else "NOT THE SAME AGENTS"
    print(f"  ratio: {free['seconds'] / bound['seconds']:.3f} of the unlimited agent-steps/s; {same} at the end")


def _tell(title: str, found: Report, agents: int) -> None:
    print(
        f"  {title}: {figure(agents / found['seconds'])} agent-steps/s (median step {figure(found['seconds'])} s); "
        f"a step: {figure(found['faults'])} major faults, {figure(found['read'] / _MB)} MB read, "
        f"{figure(found['written'] / _MB)} MB written; RssAnon {figure(found['anonymous'] / _MB)} MB, "
        f"RssFile {figure(found['mapped'] / _MB)} MB"
    )


if __name__ == "__main__":
    typer.run(main)
