"""What a grid really holds: the tiles written since their copy's last reset, to be kept, copied and put back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from memfarm.errors import ConfigError, WorldFormatError
from memfarm.sparse_copy import Runs

_EPOCH: Final = np.uint64(0xFFFFFFFF)
_COUNT: Final = np.uint64(32)

STAMPS_A_PAGE: Final = 512

Arrays = dict[str, NDArray[Any]]
Index = NDArray[np.int64]
Layout = tuple[tuple[int, ...], np.dtype[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """Some copies of a grid at one tick, in memory of their own; what is not among the tiles was never written."""

    tick: int  # the grid's clock
    resets: NDArray[np.int64]  # (copies,) the tick of each copy's last reset
    index: Index  # (M,) of the tiles in (copies, TY, TX) laid flat, sorted
    epochs: NDArray[np.uint32]  # (M,) the epoch each was last written in, plus 1
    values: NDArray[Any]  # (M, side, side, lanes) as stored

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Self:
        return cls(**{name: state[name] for name in cls.__slots__})

    @classmethod
    def join(cls, parts: "Sequence[Tiles]", tiles: int) -> Self:
        """The copies of all parts, one after the other; a copy has so many `tiles`."""
        starts = np.cumsum([0, *(len(part.resets) * tiles for part in parts[:-1])])
        return cls(
            parts[0].tick,
            np.concatenate([part.resets for part in parts]),
            np.concatenate([part.index + start for part, start in zip(parts, starts, strict=True)]),
            np.concatenate([part.epochs for part in parts]),
            np.concatenate([part.values for part in parts]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Stock:
    """A grid as a snapshot reads it: views."""

    arrays: Arrays  # the mapped tiles, stamps and copies by segment name
    pages: Runs | None  # what of the stamps may be other than zero, in bytes; None: all
    file: Path | None  # of the tiles, where they are mapped from a named file and shared with it


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """What a grid holds, all but the bytes of its tiles; in memory of its own."""

    names: tuple[str, str, str]  # of the files of tiles, stamps and copies
    tiles: Layout
    stamps: Layout
    index: Index  # (M,) of the live tiles in (copies, TY, TX) laid flat, sorted
    pages: Index  # (P,) those pages of the stamps, 512 to each, that have a live tile
    kept: NDArray[np.uint64]  # (P, 512) what stands there; 0 for a dead tile, which has no blocks in a snapshot
    copies: NDArray[np.int64]  # (copies, 2) resets

    @classmethod
    def of(cls, stock: Stock) -> Self:
        (name, tiles), (stamps_name, stamps), (copies_name, copies) = stock.arrays.items()
        index = live(stock.arrays, np.arange(len(copies)), stock.pages)
        pages, page = np.unique(index // STAMPS_A_PAGE, return_inverse=True)
        kept = np.zeros((len(pages), STAMPS_A_PAGE), np.uint64)
        kept[page, index % STAMPS_A_PAGE] = stamps.reshape(-1)[index]
        names = (name, stamps_name, copies_name)
        return cls(names, (tiles.shape, tiles.dtype), (stamps.shape, stamps.dtype), index, pages, kept, copies.copy())

    @property
    def tile_bytes(self) -> int:
        shape, dtype = self.tiles
        return math.prod(shape[3:]) * dtype.itemsize


def live(arrays: Arrays, copies: Index, pages: Runs | None = None) -> Index:
    """The tiles of `copies` that are live: their indices in (copies, TY, TX) of the whole grid, laid flat; sorted.

    pages: byte ranges of the stamps, outside of which they are zero; None: everywhere may be something.
    """
    _, stamps, resets = arrays.values()
    each = stamps[0].size
    flat = stamps.reshape(-1)
    found = [np.zeros(0, np.int64)]
    for copy in copies.tolist():
        start, end = copy * each, (copy + 1) * each
        for first, last in _ranges(pages, start, end):
            here = np.flatnonzero(flat[first:last] >> _COUNT == np.uint64(resets[copy, 0]))
            found.append(here + first)
    return np.concatenate(found)


def _ranges(pages: Runs | None, start: int, end: int) -> list[tuple[int, int]]:
    """The parts of the stamps `[start, end)` that lie in `pages`."""
    if pages is None:
        return [(start, end)]
    first, last = pages[:, 0] // 8, -(-pages.sum(axis=1) // 8)
    meets = slice(int(np.searchsorted(last, start, "right")), int(np.searchsorted(first, end, "left")))
    lefts, rights = np.maximum(first[meets], start), np.minimum(last[meets], end)
    return list(zip(lefts.tolist(), rights.tolist(), strict=True))


def copy_pages(source: NDArray[Any], target: NDArray[Any], pages: Runs | None) -> None:
    """Copy what of `source` may be other than zero into `target`, all zero; `pages` as in `Stock`."""
    there, here = (array.reshape(-1).view(np.uint8) for array in (source, target))
    for start, length in [(0, source.nbytes)] if pages is None else pages.tolist():
        here[start : start + length] = there[start : start + length]


def take(arrays: Arrays, tick: int, copies: Index, pages: Runs | None = None) -> Tiles:
    """The live tiles of `copies`, numbered as they are given."""
    tiles, stamps, resets = arrays.values()
    each = stamps[0].size
    parts = [live(arrays, copy, pages) for copy in copies[:, None]]
    index = np.concatenate([np.zeros(0, np.int64), *parts])
    place = np.concatenate([np.zeros(0, np.int64), *(part % each + n * each for n, part in enumerate(parts))])
    return Tiles(
        tick,
        resets[copies, 1].copy(),
        place,
        (stamps.reshape(-1)[index] & _EPOCH).astype(np.uint32),
        tiles.reshape(-1, *tiles.shape[3:])[index],
    )


def places(arrays: Arrays, found: Tiles, copies: Index) -> Index:
    """Where `put` writes the tiles `found` as the grid's `copies`: indices into (copies, TY, TX) laid flat."""
    each = arrays_each(arrays)
    return copies[found.index // each] * each + found.index % each


def missing(arrays: Arrays, found: Tiles, copies: Index) -> Index:
    """Those of `places` where nothing was ever written, sorted."""
    _, stamps, _ = arrays.values()
    where = np.sort(places(arrays, found, copies))
    never: Index = where[stamps.reshape(-1)[where] == 0]
    return never


def arrays_each(arrays: Arrays) -> int:
    """The number of tiles of one copy."""
    _, stamps, _ = arrays.values()
    return int(stamps[0].size)


def check(arrays: Arrays, found: Tiles, copies: Index, what: str) -> None:
    """Raise WorldFormatError unless `found` can be put into this grid as its `copies`."""
    tiles, _, resets = arrays.values()
    if (resets[copies, 0] >= 2**32 - 1).any():
        raise ConfigError("a copy can be reset 4,294,967,294 times, got one more; make the world anew")
    limit, count = len(copies) * arrays_each(arrays), len(found.index)
    good = (
        found.resets.shape == (len(copies),)
        and found.index.shape == found.epochs.shape == (count,)
        and found.values.shape == (count, *tiles.shape[3:])
        and found.values.dtype == tiles.dtype
        and found.tick >= 0
        and bool(((found.resets >= 0) & (found.resets <= found.tick)).all())
        and bool((np.diff(found.index) > 0).all())
        and (not count or (found.index[0] >= 0 and found.index[-1] < limit))
    )
    if not good:
        raise WorldFormatError(
            f"a state of {what} must be of {len(copies)} copies with tiles {tiles.dtype} {tiles.shape[3:]}, got one of "
            f"{found.resets.shape[0]} copies with {count} tiles {found.values.dtype} {found.values.shape[1:]}"
        )


def put(arrays: Arrays, found: Tiles, copies: Index) -> None:
    """Make `copies` what `found` holds; all that they held before is forgotten. `check` it first."""
    tiles, stamps, resets = arrays.values()
    resets[copies, 0] += 1
    resets[copies, 1] = found.resets
    where = places(arrays, found, copies)
    tiles.reshape(-1, *tiles.shape[3:])[where] = found.values
    counts = resets[copies, 0].astype(np.uint64)[found.index // arrays_each(arrays)]
    stamps.reshape(-1)[where] = counts << _COUNT | found.epochs.astype(np.uint64)
