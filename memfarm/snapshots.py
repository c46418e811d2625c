"""Snapshots: a world's folder at one tick, written sparsely, sealed with checksums, and put back after a crash.

Works on folders, manifests and grids' `Stock`; `World.snapshot` and the environments' `save` call it.
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from memfarm import checksums, files, plain_npz, publishing, snapshot_files, sparse_copy
from memfarm.channels import Channel
from memfarm.errors import DirtyWorldError, StorageError, WorldFormatError
from memfarm.events import SparseEvents
from memfarm.live_tiles import Stock
from memfarm.manifest import FILE, Manifest
from memfarm.pace import at_once
from memfarm.snapshot_files import Later, Written

CLOCK: Final = "clock"
LAST: Final = "last_snapshot.json"
EVENTS: Final = "events.npz"
SPARSE: Final = "sparse.json"
_LARGEST: Final = 1 << 20  # bytes of JSON


def write(folder: Path, manifest: Manifest, tick: int, stocks: Mapping[str, Stock], sparse: SparseEvents) -> Written:
    """Write the files of a world into the new `folder`; `checksums.write` seals what this returns.

    stocks: by group, those grids that the world does not share with a map. Costs what their live tiles cost.
    Raises OSError where there is no room; what is there then is not a snapshot.
    """
    files.remove(folder.iterdir())  # of a try that a writer in another process came between
    written = frame(manifest, tick, "environmental" in stocks, sparse).write(folder, at_once)
    for stock in stocks.values():
        written |= snapshot_files.write_grid(folder, stock)
    return written


def frame(manifest: Manifest, tick: int, own_ground: bool, sparse: SparseEvents) -> Later:
    """All files of a snapshot but those of the grids, as they are now."""
    changes = {
        "tick": tick,
        "map": None if own_ground else manifest.map,
        "grids": {group: entry.model_copy(update={"backend": "memmap"}) for group, entry in manifest.grids.items()},
    }
    text = manifest.model_copy(update=changes).text().encode()
    channels = [channel.to_dict() for channel in sparse.channels]
    events = sparse.state() if sparse.names else {}

    def write_frame(folder: Path) -> Written:
        written = snapshot_files.write_plain(folder, FILE, text)
        written |= snapshot_files.write_array(folder, CLOCK, np.array([tick] + [0] * 7, np.int64))
        if channels:
            about = json.dumps({"tick": tick, "channels": channels}).encode()
            written |= snapshot_files.write_plain(folder, SPARSE, about)
            written |= snapshot_files.write_arrays(folder, EVENTS, events)
        return written

    return Later((write_frame,))


# --- opening


def admit(folder: Path, mode: files.Mode) -> None:
    """Verify the folder if it is a sealed snapshot; opened "r+" it becomes a living world, and the seal goes.

    Raises WorldFormatError, which names the file and the extent that are not as they were written.
    """
    if not (folder / checksums.FILE).is_file():
        return
    checksums.verify(folder)
    if mode == "r+":
        (folder / checksums.FILE).unlink()
        publishing.sync_folder(folder)


def sparse_channels(folder: Path) -> tuple[Channel, ...]:
    """The sparse channels whose events a snapshot has kept. Raises WorldFormatError."""
    found = _read_sparse(folder)
    return () if found is None else found[1]


def load_events(folder: Path, tick: int, sparse: SparseEvents, mode: files.Mode) -> None:
    """Put a snapshot's events into `sparse`, if they are of this tick; "r+" takes them out of the folder."""
    found = _read_sparse(folder)
    if found is None:
        return
    if found[0] == tick and sparse.names:
        kept = {channel.name for channel in found[1]}
        if kept != set(sparse.names):
            raise WorldFormatError(f"{str(folder)!r} holds events of {sorted(kept)}, got sparse={list(sparse.names)}")
        sparse.set_state(plain_npz.read(folder / EVENTS))
    if mode == "r+":
        files.remove([folder / SPARSE, folder / EVENTS])


def _read_sparse(folder: Path) -> tuple[int, tuple[Channel, ...]] | None:
    path = folder / SPARSE
    if not path.is_file() or not (folder / EVENTS).is_file():
        return None
    data = _json(path)
    try:
        return int(data["tick"]), tuple(Channel.from_dict(channel) for channel in data["channels"])
    except (ValueError, TypeError, KeyError, LookupError) as error:
        raise WorldFormatError(f"{str(path)!r} must list sparse channels, got: {error!r:.200}") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(files.read_text(path, _LARGEST))
    except (OSError, ValueError, RecursionError) as error:
        raise WorldFormatError(f"{str(path)!r} must be JSON, got: {error!r:.200}") from error
    if not isinstance(data, dict):
        raise WorldFormatError(f"{str(path)!r} must be a JSON object, got {type(data).__name__}")
    return data


# --- the way back


def remember(folder: Path, snapshot: Path) -> None:
    """Note in a named world's folder where its last snapshot lies."""
    files.write_atomically(folder / LAST, json.dumps({"path": str(snapshot.absolute())}) + "\n")


def last(folder: Path) -> Path | None:
    """Where the last snapshot of the world in `folder` was put, if there was one and it is still there."""
    path = folder / LAST
    if not path.is_file():
        return None
    snapshot = _json(path).get("path")
    if not isinstance(snapshot, str) or not (Path(snapshot) / checksums.FILE).is_file():
        return None
    return Path(snapshot)


def recover(folder: Path) -> None:
    """Put the last snapshot in the place of the world in `folder`, whose writer died inside a step.

    The caller holds the world's lock. Killed at any moment it leaves the world dirty, to be recovered again, or
    recovered: the clock, which says so, comes last. Raises DirtyWorldError where there is no snapshot (any more),
    WorldFormatError where it was damaged; nothing has changed then.
    """
    snapshot = last(folder)
    if snapshot is None:
        raise DirtyWorldError(f"{str(folder)!r} was left inside a step and has no snapshot; make it anew")
    checksums.verify(snapshot)
    manifest = Manifest.read(snapshot)
    Manifest.read(folder).check_same(manifest, str(folder))
    for stale in folder.glob(f".{LAST}.part-*"):
        shutil.rmtree(stale)
    staged = folder / publishing.part_name(LAST)
    try:
        staged.mkdir(mode=0o700)
        names = [FILE, *_grid_files(manifest), *(name for name in (SPARSE, EVENTS) if (snapshot / name).is_file())]
        for name in (*names, f"{CLOCK}.npy"):
            _copy(snapshot / name, staged / name)
        publishing.sync(staged)
        files.remove([folder / SPARSE, folder / EVENTS])
        for name in names:
            (staged / name).replace(folder / name)
        publishing.sync_folder(folder)
        (staged / f"{CLOCK}.npy").replace(folder / f"{CLOCK}.npy")
        publishing.sync_folder(folder)
    except OSError as error:
        raise StorageError(error.errno, f"{str(folder)!r} cannot be recovered: {error}; make room") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _grid_files(manifest: Manifest) -> Iterable[str]:
    for group in manifest.grids:
        if manifest.map is None or group != "environmental":
            yield from (f"{group}.npy", f"{group}.stamps.npy", f"{group}.copies.npy")


def _copy(source: Path, target: Path) -> None:
    there, here = files.open_plain(source, "r"), files.open_plain(target, "w+")
    try:
        size = os.fstat(there).st_size
        os.ftruncate(here, size)
        sparse_copy.copy_file(there, sparse_copy.written(there, 0, size), here)
    finally:
        os.close(there)
        os.close(here)
