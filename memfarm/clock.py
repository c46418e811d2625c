"""A world's clock: `clock.npy`, the lock that its writer holds, and the guard of its whole ticks."""

import functools
import os
from pathlib import Path
from typing import Final

import numpy as np

from memfarm import files, guard, locks, snapshots, storage
from memfarm.errors import DirtyWorldError, WorldFormatError, WorldLockedError

_LAYOUT: Final = {"clock": ((guard.WORDS,), np.dtype(np.int64))}


class Clock:
    """The clock of the world in `folder` (None: scratch), as `mode` has it, and the right to move it.

    last: the highest tick it may read. recover: where the last writer died inside a step, the last snapshot is put in
    the world's place first. Raises WorldLockedError, DirtyWorldError or WorldFormatError.
    """

    def __init__(self, folder: Path | None, mode: files.Mode, last: int, recover: bool = False) -> None:
        self._owner = os.getpid() if mode in ("w+", "r+") else None
        self._lock = None if folder is None or self._owner is None else locks.WorldLock(folder)
        self._paths = () if folder is None else (folder / locks.FILE,)
        self._segments = storage.NOTHING
        try:
            if folder is not None and mode != "w+":
                _check_whole(folder, mode, recover)
            backend: storage.Backend = "ram" if folder is None else "memmap"
            self._segments = storage.make(_LAYOUT, backend, folder, mode, whole=_LAYOUT)
            words = self._segments.arrays["clock"]
            self.guard: guard.Guard
            if mode == "r" and folder is not None:
                self.guard = guard.Follower(words, folder, functools.partial(died, folder))
            else:
                self.guard = guard.Guard(words)
            if not 0 <= self.guard.tick <= last:
                raise WorldFormatError(f"the clock of {str(folder)!r} must stay in [0, {last}], got {self.guard.tick}")
            if self._owner is not None:
                self.guard.claim(self._owner)
        except BaseException:
            if self._lock is not None:
                self._lock.release()
            raise

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files in the world's folder that are the clock's."""
        return (*self._segments.paths, *self._paths)

    def flush(self) -> None:
        """Write it to the disk."""
        self._segments.flush()

    def close(self) -> None:
        """Let go of it, and of the lock. Twice is fine."""
        if self._owner == os.getpid() and self._segments is not storage.NOTHING:
            self.guard.claim(0)
        self._owner = None
        self.guard.close()
        self._segments = storage.NOTHING
        if self._lock is not None:
            self._lock.release()


def _check_whole(folder: Path, mode: files.Mode, recover: bool) -> None:
    """Raise DirtyWorldError unless the world in `folder` is, or can be made, whole; the caller of "r+" has its lock."""
    snapshots.admit(folder, mode)
    if mode == "r+":
        if _is_dirty(folder):
            if not recover:
                raise died(folder)
            snapshots.recover(folder)
        return
    writer = locks.writer_of(folder)
    if mode == "c" and writer is not None:
        raise WorldLockedError(
            f"a private copy needs a world at rest, and {str(folder)!r} is being written by {writer}; "
            "take a snapshot and open that"
        )
    if writer is None and _is_dirty(folder):
        raise died(folder)


def _is_dirty(folder: Path) -> bool:
    found = storage.reopen(_LAYOUT, folder, "r").arrays["clock"]
    return bool(found[guard.SEQUENCE] & 1)


def died(folder: Path) -> DirtyWorldError:
    """The error for the world in `folder`, whose writer died inside a step: it offers the last snapshot."""
    snapshot = snapshots.last(folder)
    remedy = (
        "it has no snapshot to go back to; make it anew"
        if snapshot is None
        else f"World.open({str(folder)!r}, 'r+', recover=True) goes back to its last snapshot, {str(snapshot)!r}"
    )
    return DirtyWorldError(f"a world holds whole ticks, got {str(folder)!r}, whose writer died inside a step; {remedy}")
