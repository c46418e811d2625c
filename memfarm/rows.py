"""Rows of a large array, gathered into a small one: from its file, in the file's order, or from memory."""

import mmap
import os
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from memfarm.errors import StorageError
from memfarm.reserve import Place


class Rows(Protocol):
    """How rows of one array are read, and how its memory is let go."""

    def read(self, rows: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Copy `rows` `(M,)`, rising, into `out` `(M, ...)`, C-contiguous."""

    def read_ahead(self, rows: NDArray[np.int64]) -> None:
        """Have the system fetch `rows` `(M,)`, rising, while others are worked on."""

    def give_back(self, first: int, last: int) -> None:
        """Let go of the memory that rows `first` up to `last` take in this process; what they say stays."""


class FileRows:
    """Rows of an array in a file that is mapped whole: read past the map, so that none of its pages become resident.

    place: where the array lies in the file. mapped: the map of that file, from byte `start` of which the array lies.
    row_bytes: of a row; they follow each other without a gap.
    """

    def __init__(self, place: Place, mapped: mmap.mmap, row_bytes: int) -> None:
        self._place: Final = place
        self._mapped: Final = mapped
        self._size: Final = row_bytes

    def read(self, rows: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Copy `rows` into `out`: one call of the system for each run of neighbours."""
        target = out.reshape(-1).view(np.uint8).data
        done = 0
        for start, size in self._runs(rows):
            end = done + size
            while done < end:
                got = os.preadv(self._place.fd, [target[done:end]], start + done - (end - size))
                if not got:
                    raise StorageError(f"{self._place.name} was cut short while it was open; make the rollout anew")
                done += got

    def read_ahead(self, rows: NDArray[np.int64]) -> None:
        """Name `rows` to the system, which fetches them on its own time; nothing where it cannot."""
        if hasattr(os, "posix_fadvise"):
            for start, size in self._runs(rows):
                os.posix_fadvise(self._place.fd, start, size, os.POSIX_FADV_WILLNEED)

    def give_back(self, first: int, last: int) -> None:
        """Unmap their whole pages; those that are dirty stay with the file, which the system writes out in its time."""
        start, end = (self._place.start + row * self._size for row in (first, last))
        start, end = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
        if start < end and hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED, start, end - start)

    def _runs(self, rows: NDArray[np.int64]) -> list[list[int]]:
        """(first byte in the file, bytes) of each run of neighbouring rows."""
        cuts = np.flatnonzero(np.diff(rows) != 1) + 1
        firsts = np.concatenate([rows[:1], rows[cuts]])
        counts = np.diff(np.concatenate([[0], cuts, [len(rows)]])) if len(rows) else np.zeros(0, np.int64)
        runs: list[list[int]] = np.stack(
            [self._place.start + firsts * self._size, counts * self._size], axis=1
        ).tolist()
        return runs


class MemoryRows:
    """Rows of an array `(M, ...)` in memory, which keeps what it has."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array: Final = array

    def read(self, rows: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Copy `rows` into `out`."""
        np.take(self._array, rows, axis=0, out=out, mode="clip")  # "raise" would copy once more

    def read_ahead(self, rows: NDArray[np.int64]) -> None:
        """They are there."""

    def give_back(self, first: int, last: int) -> None:
        """They stay."""
