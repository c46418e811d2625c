"""How long an import takes: each in fresh processes, in turns."""

import subprocess
from collections.abc import Iterator
from typing import Final

import numpy as np

from benchmarks.peers.packages import (
    H5PY,
    MAGENT2,
    OURS,
    POGEMA,
    PURSUIT,
    ROOT,
    TENSORSTORE,
    ZARR,
    Package,
    why_missing,
)
from benchmarks.peers.sizes import Sizes
from benchmarks.rows import Row
from benchmarks.timing import Times

PEERS: Final = (MAGENT2, POGEMA, PURSUIT, ZARR, TENSORSTORE, H5PY)

_TIMED: Final = "import sys, time; t = time.perf_counter(); import {}; print(time.perf_counter() - t, file=sys.stderr)"


def rows(sizes: Sizes) -> Iterator[Row]:
    """Each peer beside ours, as its users import it; the start of Python is not counted."""
    there = [package for package in PEERS if why_missing(package) is None]
    found: dict[Package, list[float]] = {package: [] for package in (OURS, *there)}
    for _ in range(sizes.starts):
        for package, seconds in found.items():
            seconds.append(seconds_of(package))
    times = {package: Times(np.array(seconds)) for package, seconds in found.items()}
    for package in PEERS:
        missing = why_missing(package)
        yield Row(
            id=f"import[{package.module.partition('.')[0]}]",
            what=f"import {OURS.module}",
            unit="ms",
            ours=times[OURS].median * 1e3,
            versus=missing or f"import {package.module}",
            baseline=None if missing else times[package].median * 1e3,
            ratio=None if missing else times[OURS].over(times[package]),
            spread=times[OURS].spread,
        )


def seconds_of(package: Package) -> float:
    """Seconds that the import takes in a new process. Raises RuntimeError where it fails."""
    done = subprocess.run(
        [package.python, "-c", _TIMED.format(package.module)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{package.title} does not import: {done.stderr.strip()}")
    return float(done.stderr.split()[-1])
