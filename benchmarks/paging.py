"""What paging costs this process, and files that are not in the system's cache."""

import ctypes
import mmap
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

_STILL_CACHED: Final = 0.02  # of a file's pages; other processes may hold some


class Paged(NamedTuple):
    """Counts of this process: of its life until now, or between two readings."""

    faults: int  # major ones: a page that was not in memory
    read: int  # bytes from the disk
    written: int  # bytes to the disk, or on their way to it

    @classmethod
    def now(cls) -> "Paged":
        """Read the system's counters. Raises OSError where there is no /proc."""
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
        io = dict(line.split(": ") for line in lines)
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
        return cls(faults, int(io["read_bytes"]), int(io["write_bytes"]))

    def since(self, before: "Paged") -> "Paged":
        """What was added to `before`."""
        return Paged(*(now - then for now, then in zip(self, before, strict=True)))


def make_cold(folder: Path) -> None:
    """Have the files of `folder`, however deep, on the disk and not in the system's cache.

    Raises OSError where they stay in it: in a tmpfs, or while somebody maps them. Names and sizes of files stay cached.
    """
    for path in _files(folder):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)
        share = cached_share(path)
        if share > _STILL_CACHED:
            raise OSError(f"{share:.0%} of {path} stays in memory; use a folder on a disk (MEMFARM_SCRATCH)")


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def cached_share(path: Path) -> float:
    """The share of a file's pages that are in the system's cache; 0 of an empty file."""
    size = path.stat().st_size
    if not size:
        return 0.0
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) as mapped:
        start = np.frombuffer(mapped, np.uint8)
        pages = np.zeros(-(-size // mmap.PAGESIZE), np.uint8)
        where = (ctypes.c_void_p(start.ctypes.data), ctypes.c_size_t(size), ctypes.c_void_p(pages.ctypes.data))
        failed = ctypes.CDLL(None, use_errno=True).mincore(*where)
        del start  # a map with views cannot be closed
    if failed:
        raise OSError(ctypes.get_errno(), "mincore")
    return float(np.mean(pages & 1))
