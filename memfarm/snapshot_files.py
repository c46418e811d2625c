"""The files of a snapshot: each written once into its new folder, at once or by a thread that copies behind the run."""

import math
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from memfarm import files, plain_npz, sparse_copy, storage
from memfarm.held import Held
from memfarm.live_tiles import STAMPS_A_PAGE, Layout, Outline, Stock
from memfarm.sparse_copy import Runs
from memfarm.tile_copy import TileCopy

Written = dict[str, Runs]
"""Files of a snapshot by their name in it, each with the runs that may be other than zero."""

Pace = Callable[[], None]
"""What is called between two pieces of work; see `memfarm.pace`."""


@dataclass(frozen=True, slots=True)
class Later:
    """Something as it is at one moment, to be written later, by another thread, once.

    Whoever has a Later sees to its `end`.
    """

    small: tuple[Callable[[Path], Written], ...]  # write what was copied at once into a folder
    grids: tuple[tuple[str, TileCopy], ...] = ()  # what is copied meanwhile, and the part of the folder it belongs in

    @classmethod
    def of(cls, grid: Held, inside: str = "") -> Self:
        """A grid, in the part of the folder that is its own; waits for a copy of it that is under way."""
        return cls((), ((inside, grid.copy()),))

    @classmethod
    def join(cls, parts: Iterable[Callable[[], Self]]) -> Self:
        """All that `parts` begin, as one; where one of them raises, none is begun."""
        begun: list[Self] = []
        try:
            for begin in parts:
                begun.append(begin())  # one by one: they must be known where the next one raises
        except BaseException:
            for later in begun:
                later.end()
            raise
        return cls(
            tuple(small for later in begun for small in later.small),
            tuple(grid for later in begun for grid in later.grids),
        )

    def write(self, folder: Path, pace: Pace) -> Written:
        """Write all of it into the new `folder`. Raises StorageError, OSError."""
        written: Written = {}
        for small in self.small:
            written |= small(folder)
        with ExitStack() as opened:
            for inside, copy in self.grids:
                (folder / inside).mkdir(mode=0o700, exist_ok=True)
                fd = _new(folder / inside, copy.outline.names[0], copy.outline.tiles)
                opened.callback(os.close, fd)
                copy.into(fd, storage.HEADER)
            for _, copy in self.grids:
                for _ in copy.pieces():
                    for _, other in self.grids:
                        other.put_aside_tiles()
                    pace()
        for inside, copy in self.grids:
            found = _with_the_rest(folder / inside, copy.outline, _tile_runs(copy.outline))
            written |= {f"{inside}/{name}" if inside else name: runs for name, runs in found.items()}
        return written

    def end(self) -> None:
        """Let go of the grids. Twice is fine."""
        for _, copy in self.grids:
            copy.end()


def write_plain(folder: Path, name: str, data: bytes) -> Written:
    """Write a new file of a snapshot."""
    fd = files.open_plain(folder / name, "w+")
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    return {name: np.array([[0, len(data)]], np.int64)}


def write_arrays(folder: Path, name: str, arrays: Mapping[str, NDArray[Any]]) -> Written:
    """Write a new `.npz` of a snapshot."""
    plain_npz.write(folder / name, arrays)
    return {name: np.array([[0, (folder / name).stat().st_size]], np.int64)}


def write_array(folder: Path, name: str, array: NDArray[Any]) -> Written:
    """Write a new `.npy` of a snapshot, all of it."""
    return write_plain(folder, f"{name}.npy", storage.header(array.shape, array.dtype) + array.tobytes())


def write_grid(folder: Path, stock: Stock) -> Written:
    """Write a grid's files with its live tiles only: what was written before a copy's last reset is gone."""
    outline = Outline.of(stock)
    runs = _tile_runs(outline)
    fd = _new(folder, outline.names[0], outline.tiles)
    try:
        if stock.file is None:
            bytes_of = stock.arrays[outline.names[0]].reshape(-1).view(np.uint8)
            sparse_copy.copy_bytes(bytes_of, runs - np.array([storage.HEADER, 0]), fd, storage.HEADER)
        else:
            there = files.open_plain(stock.file, "r")
            try:
                sparse_copy.copy_file(there, runs, fd)
            finally:
                os.close(there)
    finally:
        os.close(fd)
    return _with_the_rest(folder, outline, runs)


def _tile_runs(outline: Outline) -> Runs:
    runs: Runs = sparse_copy.runs_of(outline.index, outline.tile_bytes) + np.array([storage.HEADER, 0])
    return runs


def _with_the_rest(folder: Path, outline: Outline, tiles: Runs) -> Written:
    """Write stamps and resets of a grid whose `tiles` have been; what all three files hold."""
    name, stamps_name, copies_name = outline.names
    return {
        f"{name}.npy": np.concatenate([[[0, storage.HEADER]], tiles]),
        f"{stamps_name}.npy": _write_stamps(folder, outline),
        **write_array(folder, copies_name, outline.copies),
    }


def _write_stamps(folder: Path, outline: Outline) -> Runs:
    fd = _new(folder, outline.names[1], outline.stamps)
    try:
        end = storage.HEADER + _nbytes(outline.stamps)
        for page, values in zip(outline.pages.tolist(), outline.kept, strict=True):
            start = storage.HEADER + page * STAMPS_A_PAGE * values.itemsize
            os.pwrite(fd, values.tobytes()[: end - start], start)
    finally:
        os.close(fd)
    runs = sparse_copy.runs_of(outline.pages, STAMPS_A_PAGE * outline.kept.itemsize)
    runs = sparse_copy.cut_at(runs + np.array([storage.HEADER, 0]), end)
    return np.concatenate([[[0, storage.HEADER]], runs])


def _new(folder: Path, name: str, layout: Layout) -> int:
    """A new file as long as such an array, nothing but its header in it."""
    fd = files.open_plain(folder / f"{name}.npy", "w+")
    try:
        os.ftruncate(fd, storage.HEADER + _nbytes(layout))
        os.pwrite(fd, storage.header(*layout), 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _nbytes(layout: Layout) -> int:
    shape, dtype = layout
    return math.prod(shape) * dtype.itemsize
