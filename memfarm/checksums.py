"""`checksums.json`: what every byte of a snapshot was when it was written.

For each file its size and its extents, `[start, length, crc32]`, of at most 1 MiB; all else in it is zero.
"""

import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from memfarm import files, sealed, sparse_copy
from memfarm.errors import StorageError, WorldFormatError
from memfarm.pace import at_once
from memfarm.sparse_copy import Runs

FILE: Final = "checksums.json"
_KIND: Final = "memfarm-checksums-1"
_EXTENT: Final = 1 << 20
_GAP: Final = 1 << 14  # holes up to here count as data: fewer extents, hardly more to read


def write(folder: Path, written: Mapping[str, Runs], pace: Callable[[], None] = at_once) -> None:
    """Seal the files of `folder`: `written` has each one's name, as a path below it, and the runs that are not zero.

    pace: called between two extents, of at most 1 MiB.
    """
    sums = {}
    for name, runs in written.items():
        fd = files.open_plain(folder / name, "r")
        try:
            extents = sparse_copy.cut(sparse_copy.close_gaps(runs, _GAP), _EXTENT).tolist()
            found = [_sum(fd, start, length, pace) for start, length in extents]
            sums[name] = {"size": os.fstat(fd).st_size, "extents": found}
        finally:
            os.close(fd)
    sealed.write(folder / FILE, _KIND, {"files": sums})


def _sum(fd: int, start: int, length: int, pace: Callable[[], None] = at_once) -> list[int]:
    pace()
    return [start, length, zlib.crc32(os.pread(fd, length, start))]


def verify(folder: Path) -> None:
    """Raise WorldFormatError, naming file and extent, unless all is as it was sealed; reads what was written."""
    for name, entry in _read(folder).items():
        try:
            if (folder / name).parent.is_symlink():
                raise StorageError(f"{str((folder / name).parent)!r} is a link")
            fd = files.open_plain(folder / name, "r")
        except StorageError as error:
            raise WorldFormatError(f"the snapshot {str(folder)!r} lost {name}: {error}; use another one") from error
        try:
            _verify(fd, f"{name} of the snapshot {str(folder)!r}", entry)
        finally:
            os.close(fd)


def _verify(fd: int, what: str, entry: dict[str, Any]) -> None:
    size = os.fstat(fd).st_size
    if size != entry["size"]:
        raise WorldFormatError(f"{what} must be {entry['size']} bytes long, got {size}; use another snapshot")
    for start, length, crc in entry["extents"]:
        if _sum(fd, start, length)[2] != crc:
            raise WorldFormatError(
                f"{what} was changed between bytes {start} and {start + length}: their crc32 is not {crc}; "
                "use another snapshot"
            )
    extents = np.array([extent[:2] for extent in entry["extents"]], np.int64).reshape(-1, 2)
    for start, length in sparse_copy.gaps(extents, 0, size).tolist():
        for first, count in sparse_copy.cut(sparse_copy.written(fd, start, start + length), _EXTENT).tolist():
            if os.pread(fd, count, first).count(0) != count:
                raise WorldFormatError(
                    f"{what} was changed between bytes {first} and {first + count}: they must be zero; "
                    "use another snapshot"
                )


def _read(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / FILE
    entries = sealed.read(path, _KIND).get("files")
    if not isinstance(entries, dict) or not all(_plain(name, entry) for name, entry in entries.items()):
        raise WorldFormatError(f"{str(path)!r} must list files of its own folder and their extents, got something else")
    return entries


def _plain(name: str, entry: Any) -> bool:
    """Whether an entry is of the right form, stays in the folder, and asks for no more than an extent at a time."""
    parts = PurePosixPath(name).parts
    if not parts or PurePosixPath(name).is_absolute() or ".." in parts or not name.isprintable():
        return False
    if not isinstance(entry, dict) or set(entry) != {"size", "extents"} or type(entry["size"]) is not int:
        return False
    end = 0
    for extent in entry["extents"] if isinstance(entry["extents"], list) else [None]:
        if not isinstance(extent, list) or len(extent) != 3 or not all(type(number) is int for number in extent):
            return False
        start, length, _ = extent
        if start < end or not 0 < length <= _EXTENT or start + length > entry["size"]:
            return False
        end = start + length
    return 0 <= entry["size"] < 2**63
