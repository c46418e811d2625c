"""Rollouts beyond memory: what one iteration of PPO holds in memory, and what reading minibatches from a file takes.

`python -m benchmarks.rollout` runs 10,000 agents for 128 ticks, windows of 4.3 GB, which takes some minutes, as much
disk (given back at once) and, for the comparison, as much memory; the table has a smaller one.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmarks import dense, resident
from benchmarks.rows import Row, figure
from benchmarks.sizes import Sizes
from benchmarks.timing import in_turns
from memfarm.rollout import CHUNK, MemmapRollout

MEGABYTE = 10**6
_ROOT = Path(__file__).parents[1]
_AGENTS, _STEPS, _SIDE = 10_000, 128, 1024
_WINDOW, _ACTIONS = (11, 11, 7), 6
_BATCH = 8192
_MOST = 2_000.0  # MB of anonymous memory at full size, imports included


def rows(sizes: Sizes) -> Iterator[Row]:
    yield memory(sizes.rollout_agents, sizes.rollout_steps, sizes.step_side, threads=1)
    yield reading(sizes.rollout_agents, sizes.rollout_steps, sizes.seconds)


def memory(agents: int, steps: int, side: int, threads: int) -> Row:
    """The largest anonymous memory of a process that collects a rollout and trains on it once."""
    files, plain = (iteration(backend, agents, steps, side, threads)["anonymous"] for backend in ("memmap", "ram"))
    return Row(
        id=f"rollout-memory[n{agents}-t{steps}]",
        what=f"anonymous memory of a PPO iteration, windows of {figure(_size(agents, steps) / MEGABYTE)} MB in files",
        unit="MB",
        ours=files,
        versus="the same in memory",
        baseline=plain,
        ratio=files / plain,
    )


def iteration(backend: str, agents: int, steps: int, side: int, threads: int) -> dict[str, float]:
    """What the worker tells, and its largest RssAnon in MB, looked at from outside every 10 ms."""
    sizes = [str(size) for size in (agents, steps, side, threads)]
    command = [sys.executable, "-m", "benchmarks.rollout_worker", backend, *sizes]
    peak = 0
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as worker:
        while worker.poll() is None:
            peak = max(peak, _anonymous(worker.pid))
            time.sleep(0.01)
        told = worker.stdout.read() if worker.stdout is not None else ""
    if worker.returncode:
        raise RuntimeError(f"the worker with a rollout in {backend!r} ended with status {worker.returncode}")
    found: dict[str, float] = json.loads(told)
    return {**found, "anonymous": peak / MEGABYTE}


def _anonymous(pid: int) -> int:
    try:
        return resident.anonymous(pid)
    except (OSError, KeyError):  # it has just ended
        return 0


def reading(agents: int, steps: int, seconds: float) -> Row:
    """All minibatches of a rollout once, from a file that the system holds in its cache, against memory."""
    files, plain = (made(agents, steps, backend=backend) for backend in ("memmap", "ram"))
    times = in_turns(
        {"files": lambda: read_all(files, CHUNK), "memory": lambda: read_all(plain, CHUNK)}, seconds=seconds
    )
    files.close()
    plain.close()
    windows = agents * steps
    return Row(
        id=f"rollout-read[n{agents}-t{steps}]",
        what=f"minibatches of {_BATCH} windows 7x11x11 in random order, from a file that is in the cache",
        unit="ns/window",
        ours=times["files"].median / windows * 1e9,
        versus="the same from memory",
        baseline=times["memory"].median / windows * 1e9,
        ratio=times["files"].over(times["memory"]),
        spread=times["files"].spread,
    )


def made(agents: int, steps: int, *, backend: str = "memmap", path: Path | None = None) -> MemmapRollout:
    """A full rollout of windows that differ."""
    kind: dict[str, str] = {} if backend == "memmap" else {"backend": backend}
    rollout = MemmapRollout(steps, agents, _WINDOW, _ACTIONS, path=path, **kind)  # type: ignore[arg-type]
    zeros, no = np.zeros(agents, np.float32), np.zeros(agents, np.bool_)
    masks = np.ones((agents, _ACTIONS), np.bool_)
    rollout.slot(0)[:] = 0.0
    rollout.begin(masks)
    while not rollout.full:
        rollout.slot(len(rollout) + 1)[:] = len(rollout) / steps
        rollout.add(np.zeros(agents, np.int64), zeros, zeros, zeros, no, no, masks)
    rollout.returns(zeros, 0.98, 0.95)
    return rollout


def read_all(rollout: MemmapRollout, chunk: int) -> float:
    """Read one epoch's minibatches; a number that depends on all of them."""
    random = torch.Generator().manual_seed(0)
    return sum(float(batch.observations[-1, 0, 0, 0]) for batch in rollout.minibatches(_BATCH, random, chunk=chunk))


def cold(path: Path, chunk: int) -> float:
    """Seconds to read one epoch of the kept rollout at `path` when none of it is in the system's cache."""
    fd = os.open(path / "observations.npy", os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    rollout = MemmapRollout.open(path)
    start = time.perf_counter()
    read_all(rollout, chunk)
    seconds = time.perf_counter() - start
    rollout.close()
    return seconds


def _size(agents: int, steps: int) -> int:
    return 4 * agents * steps * int(np.prod(_WINDOW))


def main() -> None:
    """Print what the full size takes, in files and in memory, and what the choice of `chunk` rests on."""
    size = _size(_AGENTS, _STEPS)
    print(f"{_AGENTS:,} agents x {_STEPS} ticks x 7x11x11 float32: windows of {size / 1e9:.2f} GB")
    room = psutil.virtual_memory().available
    for backend in ("memmap", "ram"):
        if backend == "ram" and room < 1.5 * size:
            print(f"  ram: does not fit, {room / 1e9:.1f} GB are available")
            continue
        found = iteration(backend, _AGENTS, _STEPS, _SIDE, os.cpu_count() or 1)
        reached = "reached" if found["anonymous"] <= _MOST else "NOT reached"
        verdict = f" (to reach {_MOST:,.0f}: {reached})" if backend == "memmap" else ""
        print(
            f"  {backend}: at most {found['anonymous']:,.0f} MB anonymous{verdict}; "
            f"collected in {found['collect']:.1f} s, one epoch of {found['updates']:.0f} updates in "
            f"{found['train']:.1f} s, last loss {found['loss']:.4f}"
        )
    with dense.folder() as folder:
        made(_AGENTS, _STEPS, path=folder / "kept").close()
        print("  reading one epoch, nothing else done:")
        for chunk in (CHUNK, 1):
            seconds = cold(folder / "kept", chunk)
            rollout = MemmapRollout.open(folder / "kept")
            read_all(rollout, chunk)  # all in the cache, if it fits
            start = time.perf_counter()
            read_all(rollout, chunk)
            warm = time.perf_counter() - start
            rollout.close()
            print(f"    chunk={chunk}: {seconds:.1f} s from the disk, {warm:.1f} s from the system's cache")


if __name__ == "__main__":
    main()
