"""Files and memory maps: scratch that nothing can leave behind, named files, plain `.npy` headers.

Every array of a grid is a segment: a 4096-byte `.npy` header and the data behind it, so that data
lies on pages. A named grid keeps one file a segment; scratch and RAM keep all segments of a grid in
one map. What is read where nothing was written lies apart, in memory, where the grid is scratch: a
full disk may have no room for a hole that is read (`memfarm/reserve.py`).

A file that another program cuts short while it is mapped cannot be defended: its pages are gone, and
touching them is a signal (SIGBUS).
"""

import errno
import math
import mmap
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from memfarm import large_pages, npy_header
from memfarm.errors import ConfigError, StorageError, WorldFormatError
from memfarm.files import Mode, open_plain, open_scratch, remove
from memfarm.reserve import Place, reserve_at_once, see_through
from memfarm.sparse_copy import Runs, resident, written

Backend = Literal["memmap", "ram"]
Layout = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]

HEADER: Final = 4096
_DENSE: Final = 256 << 20  # a scratch grid up to this size: of a world of 4096 x 4096 cells the largest has 128 MiB
_FETCHED: Final = 1 << 17  # bytes at a time: of more, Linux reads as much as the disk's queue says, and no further
_MAGIC: Final = b"\x93NUMPY\x01\x00"
_NORESERVE: Final = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


@dataclass(frozen=True, slots=True)
class Segments:
    """The mapped arrays of one grid, by segment name, and how to write them back."""

    arrays: dict[str, NDArray[Any]]  # views of the maps: they keep the maps alive
    maps: tuple[mmap.mmap, ...]
    paths: tuple[Path, ...]  # empty for scratch and RAM
    places: dict[str, Place] = field(default_factory=dict)  # of segments in files that this process writes
    shared: bool = False  # whether named files get what is written

    def flush(self) -> None:
        """Write changed pages of named files to the disk; scratch has no reader to flush for."""
        if self.paths:
            for mapped in self.maps:
                mapped.flush()

    def pages(self) -> Runs | None:
        """Which bytes of the stamps, the second segment, may be other than zero; None: any."""
        _, stamps, _ = self.arrays.values()
        if not self.paths:
            return resident(stamps)
        return self.pages_in_file() if self.shared else None

    def pages_in_file(self) -> Runs:
        """The same of the stamps in the named file, whatever private pages lie over it."""
        _, stamps, _ = self.arrays.values()
        fd = open_plain(self.paths[1], "r")
        try:
            pages: Runs = written(fd, HEADER, HEADER + stamps.nbytes) - np.array([HEADER, 0])
        finally:
            os.close(fd)
        _fetch(self.maps[1], pages)  # who asks reads them all
        return pages

    def read_ahead(self, runs: Runs) -> None:
        """Have the system fetch these bytes of the first segment, a named file, without waiting for them."""
        _fetch(self.maps[0], runs)

    def shared_file(self) -> Path | None:
        """The named file that the first segment is mapped from, where what is written here reaches it."""
        return self.paths[0] if self.paths and self.shared else None

    def disk_bytes(self) -> int:
        """Bytes that named files really take on the disk (holes are free)."""
        return sum(path.stat().st_blocks * 512 for path in self.paths)


NOTHING: Final = Segments({}, (), ())
"""What a closed grid holds."""


def check_life(backend: str, mode: str, folder: Path | None) -> None:
    """Raise ConfigError unless a grid can live like that."""
    if backend not in ("memmap", "ram"):
        raise ConfigError(f"backend must be 'memmap' or 'ram', got {backend!r}")
    if mode not in ("w+", "r+", "r", "c"):
        raise ConfigError(f"mode must be 'w+', 'r+', 'r' or 'c', got {mode!r}")
    if mode != "w+" and (folder is None or backend == "ram"):
        raise ConfigError(f"mode={mode!r} opens what lies in a folder, got folder={folder}, backend={backend!r}")


def make(
    layout: Layout,
    backend: Backend,
    folder: Path | None,
    mode: Mode,
    looked_at: Collection[str] = (),
    whole: Collection[str] = (),
    dense: bool = False,
) -> Segments:
    """`create` new segments where mode is "w+", else `reopen` those in `folder`."""
    if mode == "w+" or folder is None:
        return create(layout, backend, folder, looked_at, whole, dense)
    return reopen(layout, folder, mode, looked_at, whole)


def create(
    layout: Layout,
    backend: Backend,
    folder: Path | None,
    looked_at: Collection[str] = (),
    whole: Collection[str] = (),
    dense: bool = False,
) -> Segments:
    """Make new segments, all zero: files in `folder`, or scratch (memmap) or anonymous memory (ram).

    looked_at: segments that are read where nothing was written; a full disk must not make a signal of that.
    whole: segments whose disk is reserved at once, those that are written before a tile is.
    dense: nearly all of it will be used: scratch or memory of at most `_DENSE` bytes lies in large pages if it can, its
        disk reserved at once.
    Raises StorageError where a named file exists already, or the system refuses; no file of this call is left then.
    """
    if folder is not None and backend == "memmap":
        return _named(layout, folder, "w+", looked_at, whole)
    if backend == "ram":
        return _together(layout, "ram", dense)
    kept = {name: what for name, what in layout.items() if name not in looked_at}
    beside = {name: what for name, what in layout.items() if name in looked_at}
    scratch, memory = _together(kept, "memmap", dense), _together(beside, "ram")
    arrays = {**scratch.arrays, **memory.arrays}
    return Segments({name: arrays[name] for name in layout}, scratch.maps + memory.maps, (), scratch.places)


def reopen(
    layout: Layout, folder: Path, mode: Mode, looked_at: Collection[str] = (), whole: Collection[str] = ()
) -> Segments:
    """Map the named segments again: "r+" to write, "r" to read, "c" for private copies of pages.

    looked_at, whole: as for `create`.
    Raises WorldFormatError where a header or a size does not say exactly what `layout` says.
    """
    return _named(layout, folder, mode, looked_at, whole)


def _named(layout: Layout, folder: Path, mode: Mode, looked_at: Collection[str], whole: Collection[str]) -> Segments:
    arrays: dict[str, NDArray[Any]] = {}
    maps: list[mmap.mmap] = []
    paths: list[Path] = []
    places: dict[str, Place] = {}
    try:
        for name, (shape, dtype) in layout.items():
            path = folder.absolute() / f"{name}.npy"
            fd = open_plain(path, mode)
            try:
                paths.append(path)
                maps.append(_named_map(fd, path, shape, dtype, mode))
                if name in looked_at:
                    see_through(fd, maps[-1], HEADER, mode in ("w+", "r+"), repr(str(path)))
                if mode in ("w+", "r+"):
                    places[name] = Place(fd, HEADER, _nbytes(shape, dtype), repr(str(path)))
                    if name in whole:
                        # again at "r+", for a clock that was copied as a hole; what is longer is never all zeros
                        places[name].reserve(0, None if mode == "w+" else min(HEADER, places[name].size))
            finally:
                os.close(fd)
            arrays[name] = _view(maps[-1], HEADER, shape, dtype)
    except BaseException:
        if mode == "w+":  # all of them new: nothing half made stays
            remove(paths)
        raise
    return Segments(arrays, tuple(maps), tuple(paths), places, shared=bool(places))


def _named_map(fd: int, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> mmap.mmap:
    size = HEADER + _nbytes(shape, dtype)
    if mode != "w+":
        check_header(fd, path, shape, dtype)
        return _map(fd, size, mode)
    with _refused(f"{str(path)!r} of {size} bytes cannot be made"):
        os.ftruncate(fd, size)
        os.pwrite(fd, header(shape, dtype), 0)
        return _map(fd, size, mode)


def _together(layout: Layout, backend: Backend, dense: bool = False) -> Segments:
    """All segments in one new map, of scratch or of memory; dense: as for `create`."""
    if not layout:
        return NOTHING
    starts: dict[str, int] = {}
    end = 0
    for name, (shape, dtype) in layout.items():
        starts[name] = end + HEADER
        end = _page_up(end + HEADER + _nbytes(shape, dtype))
    dense = dense and large_pages.SIZE <= end <= _DENSE
    places: dict[str, Place] = {}
    with _refused(f"{backend} of {end} bytes cannot be made"):
        if backend == "ram":
            mapped = _anonymous_map(end)
        else:
            fd = open_scratch()
            try:
                os.ftruncate(fd, end)
                dense = dense and reserve_at_once(fd, end)
                mapped = _map(fd, end, "w+")
                for name, (shape, dtype) in layout.items():
                    places[name] = Place(fd, starts[name], _nbytes(shape, dtype), "scratch", reserved=dense)
            finally:
                os.close(fd)
    if dense:
        _be_dense(mapped)
    else:
        _stay_sparse(mapped)
    arrays = {name: _view(mapped, starts[name], shape, dtype) for name, (shape, dtype) in layout.items()}
    return Segments(arrays, (mapped,), (), places)


def _anonymous_map(size: int) -> mmap.mmap:
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE)


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """Turn what the system or Python says to a size into a StorageError with the same errno."""
    try:
        yield
    except StorageError:
        raise
    except (OSError, OverflowError, ValueError) as error:
        message = f"{what}: {error}; use a smaller shape, fewer copies, or another folder (MEMFARM_SCRATCH for scratch)"
        raise StorageError(getattr(error, "errno", None) or errno.EFBIG, message) from error


def _view(mapped: mmap.mmap, start: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    count = math.prod(shape)
    return np.frombuffer(mapped, dtype=dtype, count=count, offset=start).reshape(shape)


def _nbytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return math.prod(shape) * dtype.itemsize


def _page_up(size: int) -> int:
    return -(-size // HEADER) * HEADER


def _map(fd: int, size: int, mode: Mode) -> mmap.mmap:
    """A map of an open file, of which a fault brings in one page: windows lie anywhere, and tiles are pages.

    Without the advice a fault reads ahead as far as the disk's queue says, megabytes for one page that is wanted.
    """
    flags = mmap.MAP_PRIVATE | _NORESERVE if mode == "c" else mmap.MAP_SHARED
    prot = mmap.PROT_READ if mode == "r" else mmap.PROT_READ | mmap.PROT_WRITE
    mapped = mmap.mmap(fd, size, flags=flags, prot=prot)
    _advise(mapped, "MADV_RANDOM")
    return mapped


def _fetch(mapped: mmap.mmap, runs: Runs) -> None:
    """Have the runs of a segment read from its file, without waiting for them; nothing where a system cannot."""
    if not hasattr(mmap, "MADV_WILLNEED"):
        return
    for start, size in (runs + np.array([HEADER, 0])).tolist():
        end = start + size
        for at in range(start // mmap.PAGESIZE * mmap.PAGESIZE, end, _FETCHED):
            mapped.madvise(mmap.MADV_WILLNEED, at, min(_FETCHED, end - at))


def _be_dense(mapped: mmap.mmap) -> None:
    """Have large pages for what is touched: a window is a dozen small ones, more than the processor finds at once."""
    _advise(mapped, "MADV_NORMAL")  # large pages are read-ahead to Linux, and MADV_RANDOM forbids that
    _advise(mapped, "MADV_HUGEPAGE")


def _stay_sparse(mapped: mmap.mmap) -> None:
    """Keep one touched cell from becoming a 2 MB huge page."""
    _advise(mapped, "MADV_NOHUGEPAGE")


def _advise(mapped: mmap.mmap, advice: str) -> None:
    if hasattr(mmap, advice):
        try:
            mapped.madvise(getattr(mmap, advice))
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: a kernel that knows nothing of it
                raise


def header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """A version 1.0 `.npy` header padded to one page (numpy/lib/_format_impl.py describes the format)."""
    text = repr({"descr": dtype.str, "fortran_order": False, "shape": shape})
    room = HEADER - len(_MAGIC) - 2
    return _MAGIC + room.to_bytes(2, "little") + text.ljust(room - 1).encode("ascii") + b"\n"


def check_header(fd: int, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise WorldFormatError unless the open file says, and is, exactly this array."""
    got_shape, got_dtype = read_header(fd, path)
    if got_shape != shape or got_dtype != dtype:
        raise WorldFormatError(
            f"{str(path)!r} must hold {dtype} {shape} to fit its world, got {got_dtype} {got_shape}; "
            "open it with the shape, dtype and channels it was made with"
        )
    wanted, size = HEADER + _nbytes(shape, dtype), os.fstat(fd).st_size
    if size != wanted:
        raise WorldFormatError(f"{str(path)!r} must be {wanted} bytes long, got {size}: truncated or overwritten")


def read_header(fd: int, path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """The shape and dtype that a memfarm `.npy` claims. Raises WorldFormatError on any other file."""
    head = os.pread(fd, HEADER, 0)
    room = HEADER - len(_MAGIC) - 2
    try:
        if head[:8] != _MAGIC or int.from_bytes(head[8:10], "little") != room or len(head) != HEADER:
            raise ValueError("not a page-aligned .npy header")
        shape, fortran, dtype = npy_header.parsed(head[10:])
        if fortran or 0 in shape:
            raise ValueError(f"unusable header {head[10:].strip()!r:.200}")
    except ValueError as error:
        raise WorldFormatError(f"{str(path)!r} is not a grid file of memfarm: {error}") from error
    return shape, dtype
