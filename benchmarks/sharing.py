"""Memory of workers on one map together, against a copy of the map each.

`python -m benchmarks.sharing` measures 8 workers on a map of 1 GiB (16384 x 16384), which takes about two minutes,
9 GiB of memory and 1 GiB of disk; the table has a smaller map.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks import dense
from benchmarks.rows import Goal, Row, figure
from benchmarks.sizes import Sizes
from memfarm.config import MemmapConfig
from memfarm.envs.forage_config import ForageConfig
from memfarm.world import World

MEGABYTE = 10**6
_ROOT = Path(__file__).parents[1]
_BAND = 256  # rows written at a time
_SIDE = 16_384  # of a map of 1 GiB: four uint8 layers
_WORKERS = 8
_AGENTS = 256


def rows(sizes: Sizes) -> Iterator[Row]:
    yield row(sizes.sharing_side, sizes.sharing_workers, sizes.sharing_agents)


def row(side: int, workers: int, agents: int) -> Row:
    """What a worker adds to the map: PSS of all of them, which counts a page that n share as 1/n, without the map."""
    with dense.folder() as folder:
        make_map(folder / "map", side)
        size = (folder / "map" / "environmental.npy").stat().st_size
        shared = together(folder / "map", workers, agents, "shared")
        own = together(folder / "map", workers, agents, "own")
    ours, baseline = ((total - size) / workers / MEGABYTE for total in (shared, own))
    return Row(
        id=f"sharing[{side}-w{workers}]",
        what=f"PSS of {workers} workers on one map of {figure(size / MEGABYTE)} MB, without the map",
        unit="MB/worker",
        ours=ours,
        versus="a copy of the map each",
        baseline=baseline,
        ratio=ours / baseline,
        goal=Goal("ours", most=60.0),
    )


def make_map(folder: Path, side: int) -> None:
    """A map whose every tile is written, so that all of it is really there; of noise without any structure."""
    dtype = ForageConfig().memmap.dtype_of("environmental")
    world = World((side, side), path=folder, memmap=MemmapConfig(dtype={"environmental": dtype}))
    random = np.random.default_rng(0)
    band = random.random((min(_BAND, side), side), np.float32)
    for channel in world.environmental.grid.channels:
        values = (band < 0.2).astype(np.float32) if channel.name == "OBSTACLES" else band
        for y in range(0, side, _BAND):
            world.environmental.grid.write(channel.name, values[: side - y], y)
    world.close()


def together(folder: Path, workers: int, agents: int, ground: str) -> int:
    """Bytes of memory, PSS, of all workers while all of them stand still after their steps."""
    with ExitStack() as stack:
        running, answers = [], []
        for _ in range(workers):
            running.append(stack.enter_context(_worker(folder, agents, ground)))
            if ground == "own":  # one loads at a time: loading takes twice what it leaves
                answers.append(_answer(running[-1]))
        _check(answers or [_answer(worker) for worker in running])
        total = sum(pss(worker.pid) for worker in running)
        for worker in running:
            worker.communicate()
    return total


def _worker(folder: Path, agents: int, ground: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "benchmarks.sharing_worker", str(folder), str(agents), ground]
    return subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _answer(worker: "subprocess.Popen[str]") -> dict[str, object]:
    line = worker.stdout.readline() if worker.stdout is not None else ""
    if not line:
        raise RuntimeError(f"worker {worker.pid} ended before it was measured, with status {worker.wait()}")
    answer: dict[str, object] = json.loads(line)
    return answer


def _check(answers: Sequence[dict[str, object]]) -> None:
    """Raise unless all saw the same map, through NumPy, without torch."""
    if any(answer["torch"] or answer["kind"] != "ndarray" for answer in answers):
        raise RuntimeError(f"a worker that returns NumPy must not import torch, got {answers}")
    if len({answer["walls"] for answer in answers}) != 1:
        raise RuntimeError(f"workers on one map must see the same, got {answers}")


def pss(pid: int) -> int:
    """Bytes of a process's memory; a page that n processes share counts as 1/n of one."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"smaps_rollup of process {pid} must have a line Pss")


def main() -> None:
    """Print the figure at full size, and what it comes to for all workers."""
    found = row(_SIDE, _WORKERS, _AGENTS)
    reached = {True: "reached", False: "NOT reached", None: ""}[found.reached]
    print(f"{found.id}: {figure(found.ours)} {found.unit} - {found.what}; to reach 60, {reached}")
    print(f"  {found.versus}: {figure(found.baseline or 0.0)} {found.unit}")
    print("  no worker imported torch; every worker read every cell of the map and stepped Forage on it")


if __name__ == "__main__":
    main()
