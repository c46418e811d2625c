"""`python -m benchmarks.storage_peers`: windows of a map larger than memory, from memfarm and from other storage.

The same 11 x 11 windows with 7 channels, at the same positions, anywhere, out of np.memmap, HDF5, zarr and TensorStore.
Each kind of storage is made, written to the disk, dropped from the system's cache, read by a process of its own that is
limited to so much memory (`benchmarks/limits.py`), and removed. A package that is not installed is left out, and named.
Takes minutes and, at any time, 0.5 GB of disk, not a tmpfs.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from benchmarks import dense
from benchmarks.crop import CHANNELS, RADIUS
from benchmarks.limits import NoGroupError, limited
from benchmarks.paging import make_cold
from benchmarks.rows import figure
from benchmarks.storage_peers_stores import CHUNK, STORES, Store

_ROOT: Final = Path(__file__).parents[1]
_HEADINGS: Final = ("storage", "on the disk", "windows", "time", "read", "faults", "time again", "read again")
_LINE: Final = "{:<34}{:>14}{:>9}{:>12}{:>11}{:>8}{:>12}{:>12}"
_QUICK: Final = (256, 20)  # side, windows

Report = dict[str, Any]


def main(
    side: Annotated[int, typer.Option(min=CHUNK, help="Of the map, in cells.")] = 4096,
    windows: Annotated[int, typer.Option(min=1, help="Windows to cut, at most.")] = 2048,
    limit: Annotated[float, typer.Option(help="Of memory, in MB.")] = 250.0,
    seconds: Annotated[float, typer.Option(help="For each round of windows, at most.")] = 5.0,
    quick: Annotated[bool, typer.Option("--quick", help="A tiny map: whether it runs, not how fast.")] = False,
) -> None:
    """Print what a window takes: time, bytes read and major faults."""
    if quick:
        side, windows = _QUICK
    with _group(int(limit * 1e6)) as (procs, kind):
        window = f"{2 * RADIUS + 1} x {2 * RADIUS + 1} x {len(CHANNELS)}"
        print(f"map {side} x {side}, windows {window}, chunks {CHUNK} x {CHUNK}; {kind}")
        print("medians of batches out of files that are not in the cache, then the same windows once more")
        print(_LINE.format(*_HEADINGS))
        digests = set()
        for name, store in STORES.items():
            if store.missing:
                print(_LINE.format(store.title, "not installed", *[""] * 6).rstrip())
                continue
            taken, report = measured(name, store, side, windows, seconds, procs)
            print(_LINE.format(store.title, f"{figure(taken / 1e6)} MB", *_cells(report)), flush=True)
            digests.add(report["cold"]["digest"])
    if len(digests) > 1:
        raise RuntimeError("the windows must be the same out of every storage, got different ones")


@contextmanager
def _group(limit: int) -> Iterator[tuple[Path | None, str]]:
    """A group of that limit and what to say of it; None where there can be none."""
    try:
        with limited(limit) as (procs, kind):
            yield procs, f"memory limited to {limit / 1e6:.0f} MB ({kind})"
    except NoGroupError as error:
        yield None, f"memory not limited: {error}"


def measured(
    name: str, store: Store, side: int, windows: int, seconds: float, procs: Path | None
) -> tuple[int, Report]:
    """Bytes that a store takes on the disk, and what its process reported."""
    with dense.folder() as folder:
        store.make(folder / "map", side)
        make_cold(folder / "map")
        taken = sum(path.stat().st_blocks * 512 for path in (folder / "map").rglob("*"))
        command = [sys.executable, "-m", "benchmarks.storage_peers_worker", name, str(folder / "map")]
        command += [str(side), str(windows), str(seconds), *([] if procs is None else [str(procs)])]
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the process that reads {store.title} failed ({done.returncode}): {done.stderr[-2000:]}")
    report: Report = json.loads(done.stdout)
    if not report["cold"]["read"]:
        raise RuntimeError(f"{store.title} must be read from a disk, got it from memory; set MEMFARM_SCRATCH")
    return taken, report


def _cells(report: Report) -> tuple[str, ...]:
    cold, again = report["cold"], report["again"]
    return (
        figure(cold["windows"]),
        f"{figure(cold['seconds'] * 1e6)} µs",
        f"{figure(cold['read'] / 1e3)} kB",
        figure(cold["faults"]),
        f"{figure(again['seconds'] * 1e6)} µs",
        f"{figure(again['read'] / 1e3)} kB",
    )


if __name__ == "__main__":
    typer.run(main)
