"""Sparse files: which bytes of one were ever written, and copying no others.

A run is a range of bytes `(start, length)`; runs are int64 `(M, 2)`, sorted, and none touches another.
"""

import errno
import mmap
import os
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Runs = NDArray[np.int64]

_FEW: Final = 64
_NO_RANGES: Final = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF, errno.ENOTTY}
"""What `copy_file_range` says where it cannot work between these two files."""


def no_runs() -> Runs:
    """Nothing at all."""
    return np.zeros((0, 2), np.int64)


def runs_of(index: NDArray[np.integer[Any]], unit: int) -> Runs:
    """The runs of the records at `index` `(M,)`, sorted and each once, of `unit` bytes each."""
    if len(index) <= _FEW:  # quicker without NumPy
        return _runs_of_few(index.tolist(), unit)
    index = index.astype(np.int64)
    first = np.flatnonzero(np.diff(index, prepend=index[0] - 2) != 1)
    ends = np.append(first[1:], len(index))
    return np.stack([index[first], ends - first], axis=1) * unit


def _runs_of_few(index: list[int], unit: int) -> Runs:
    runs: list[tuple[int, int]] = []
    for at in index:
        start, length = runs[-1] if runs else (0, 0)
        if length and start + length == at * unit:
            runs[-1] = (start, length + unit)
        else:
            runs.append((at * unit, unit))
    return np.array(runs, np.int64).reshape(-1, 2)


def written(fd: int, start: int, end: int) -> Runs:
    """The runs of `[start, end)` of an open file that are not holes; all of it where a file system knows none."""
    found: list[tuple[int, int]] = []
    at = start
    while at < end:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
            hole = os.lseek(fd, data, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data behind here
                break
            if error.errno != errno.EINVAL:
                raise
            data, hole = at, end
        if data >= end:
            break
        found.append((data, min(hole, end) - data))
        at = hole
    return np.array(found, np.int64).reshape(-1, 2)


def resident(array: NDArray[Any]) -> Runs | None:
    """The runs of an array in anonymous memory that were ever touched; None where the system does not tell."""
    first, pages = array.ctypes.data // mmap.PAGESIZE, -(-array.nbytes // mmap.PAGESIZE)
    try:
        fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        flags = np.frombuffer(os.pread(fd, 8 * pages, 8 * first), np.uint64)
    finally:
        os.close(fd)
    if array.ctypes.data % mmap.PAGESIZE or len(flags) != pages:
        return None
    runs = runs_of(np.flatnonzero(flags >> np.uint64(62)), mmap.PAGESIZE)  # there, or swapped out
    return cut_at(runs, array.nbytes)


def cut_at(runs: Runs, end: int) -> Runs:
    """The same runs up to byte `end`."""
    runs = runs[runs[:, 0] < end]
    return np.stack([runs[:, 0], np.minimum(runs.sum(axis=1), end) - runs[:, 0]], axis=1)


def close_gaps(runs: Runs, gap: int) -> Runs:
    """The same runs with gaps of at most `gap` bytes between them filled in."""
    if len(runs) < 2:
        return runs
    starts, ends = runs[:, 0], runs.sum(axis=1)
    first = np.flatnonzero(np.append(True, starts[1:] - ends[:-1] > gap))
    last = np.append(first[1:], len(runs)) - 1
    return np.stack([starts[first], ends[last] - starts[first]], axis=1)


def cut(runs: Runs, most: int) -> Runs:
    """The same runs in pieces that end at multiples of `most` bytes."""
    if not len(runs):
        return runs
    starts, ends = runs[:, 0], runs.sum(axis=1)
    count = -(-ends // most) - starts // most
    which = np.repeat(np.arange(len(runs)), count)
    number = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
    block = (starts[which] // most + number) * most
    left, right = np.maximum(starts[which], block), np.minimum(ends[which], block + most)
    return np.stack([left, right - left], axis=1)


def gaps(runs: Runs, start: int, end: int) -> Runs:
    """What of `[start, end)` is in none of the runs."""
    lefts = np.append(start, runs.sum(axis=1)).clip(start, end)
    rights = np.append(runs[:, 0], end).clip(start, end)
    kept = rights > lefts
    return np.stack([lefts, rights - lefts], axis=1)[kept]


def copy_bytes(data: NDArray[np.uint8], runs: Runs, target: int, base: int) -> None:
    """Write the runs of `data`, bytes in memory, into the open file `target`, `base` bytes further on."""
    view = memoryview(data.data)
    for start, length in runs.tolist():
        _write_run(view[start : start + length], target, base + start)


def write_runs(data: NDArray[np.uint8], runs: Runs, target: int, base: int) -> None:
    """The same of `data` that holds the runs' bytes alone, one run after the other."""
    view = memoryview(data.data)
    for start, length in runs.tolist():
        _write_run(view[:length], target, base + start)
        view = view[length:]


def _write_run(data: memoryview, target: int, start: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(target, data[done:], start + done)


def copy_file(source: int, runs: Runs, target: int) -> None:
    """Copy the runs of one open file to the same places of another: shared blocks where the file system can."""
    for start, length in runs.tolist():
        _copy_run(source, start, length, target)


def _copy_run(source: int, start: int, length: int, target: int) -> None:
    done = 0
    while done < length:
        try:
            count = os.copy_file_range(source, target, length - done, start + done, start + done)
        except OSError as error:
            if error.errno not in _NO_RANGES:
                raise
            count = 0
        if count == 0:  # it cannot, or the file ends here: then reading says so
            data = os.pread(source, min(length - done, 1 << 20), start + done)
            if not data:
                raise OSError(errno.EIO, f"the source ends at byte {start + done}, {length - done} bytes too early")
            count = os.pwrite(target, data, start + done)
        done += count
