"""One kind of storage, measured in a process of its own.

`python -m benchmarks.storage_peers_worker STORE FOLDER SIDE COUNT SECONDS [PROCS]`, PROCS as in `out_of_core_worker`.
"""

import sys

from benchmarks.limits import join

if len(sys.argv) > 6:
    join(sys.argv[6])

import json
import time
import zlib
from pathlib import Path

import numpy as np

from benchmarks.crop import RADIUS
from benchmarks.paging import Paged
from benchmarks.storage_peers_stores import STORES, Cutter

BATCH = 512  # windows asked for at once


def main(store: str, folder: Path, side: int, count: int, seconds: float) -> None:
    """Cut the same windows twice: none of it in the cache, and then with what memory kept of it."""
    cut = STORES[store].cutter(folder, side)
    y, x = np.random.default_rng(1).integers(RADIUS, side - RADIUS, (2, count))
    cold = measured(cut, y, x, seconds)
    again = measured(cut, y[: cold["windows"]], x[: cold["windows"]], seconds)
    sys.stdout.write(json.dumps({"cold": cold, "again": again}) + "\n")


def measured(cut: Cutter, y: np.ndarray, x: np.ndarray, seconds: float) -> dict[str, float]:
    """Windows cut, seconds, faults and bytes read of each, and a checksum of the first batch."""
    times, first, begun, before = [], 0, time.perf_counter(), Paged.now()
    done = 0
    while done < len(y) and (not times or time.perf_counter() - begun < seconds):
        start = time.perf_counter()
        windows = cut(y[done : done + BATCH], x[done : done + BATCH])
        times.append((time.perf_counter() - start) / len(windows))
        first = first or zlib.crc32(np.rint(255 * windows).astype(np.uint8).tobytes())
        done += len(windows)
    paged = Paged.now().since(before)
    return {
        "windows": done,
        "seconds": float(np.median(times)),
        "faults": paged.faults / done,
        "read": paged.read / done,
        "digest": first,
    }


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
