"""What worlds really take on the disk, and whether their files changed."""

import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_CHUNK: Final = 1 << 20


def taken(folder: Path) -> int:
    """Bytes that the files of `folder` take on the disk; holes are free."""
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir())


def taken_by_scratch() -> int:
    """Bytes on the disk of this process's open files that have no name; 0 where the system does not list them."""
    listing = Path("/proc/self/fd")
    seen: dict[tuple[int, int], int] = {}
    for link in listing.iterdir() if listing.is_dir() else ():
        try:
            status = os.fstat(int(link.name))
        except OSError:  # the descriptor of the listing itself
            continue
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
            seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values())


def fingerprints(folder: Path) -> dict[str, tuple[int, int]]:
    """Of every layer's file in a world's folder: its blocks on the disk, and a checksum of the data in them."""
    found = {}
    for path in sorted(folder.glob("*.npy")):
        if path.name != "clock.npy":  # the tick itself: the one thing that a tick writes
            found[path.name] = (path.stat().st_blocks, _checksum(path))
    return found


def _checksum(path: Path) -> int:
    checksum = 0
    fd = os.open(path, os.O_RDONLY)
    try:
        for start, end in _data(fd):
            for at in range(start, end, _CHUNK):
                checksum = zlib.crc32(os.pread(fd, min(_CHUNK, end - at), at), checksum)
    finally:
        os.close(fd)
    return checksum


def _data(fd: int) -> Iterator[tuple[int, int]]:
    """The parts `[start, end)` of a file that are not holes."""
    end = 0
    while True:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole up to the end
            return
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end
