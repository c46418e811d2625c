"""Rectangles of a world: what `grid[...]` and windows are given, as checked bounds."""

import operator
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from memfarm.errors import ShapeError

Bounds = tuple[int, int, int, int]


def integer(what: str, value: SupportsIndex) -> int:
    """`value` as an int; ShapeError unless it is one (a bool is none)."""
    if isinstance(value, bool):
        raise ShapeError(f"{what} must be an int, got {value!r}")
    try:
        return operator.index(value)
    except TypeError as error:
        raise ShapeError(f"{what} must be an int, got {value!r}") from error


def checked(y0: SupportsIndex, y1: SupportsIndex, x0: SupportsIndex, x1: SupportsIndex) -> Bounds:
    """The bounds of a window as ints; ShapeError unless they are ints with y0 < y1 and x0 < x1."""
    bounds = integer("y0", y0), integer("y1", y1), integer("x0", x0), integer("x1", x1)
    if bounds[0] >= bounds[1] or bounds[2] >= bounds[3]:
        raise ShapeError(f"a window needs y0 < y1 and x0 < x1, got (y0, y1, x0, x1) = {bounds}")
    return bounds


def inside(bounds: Bounds, shape: tuple[int, int]) -> Bounds:
    """`bounds` again; ShapeError unless the whole rectangle lies in the world."""
    y0, y1, x0, x1 = bounds
    if y0 < 0 or x0 < 0 or y1 > shape[0] or x1 > shape[1]:
        raise ShapeError(f"a rectangle must lie in a world of {shape}, got rows {y0}:{y1}, columns {x0}:{x1}")
    return bounds


def from_slices(rows: Any, columns: Any, shape: tuple[int, int]) -> Bounds:
    """Bounds of `grid[name, rows, columns]`: slices of step 1 or ints, negative ones counted from the end."""
    y0, y1 = _axis(rows, shape[0], "rows")
    x0, x1 = _axis(columns, shape[1], "columns")
    return checked(y0, y1, x0, x1)


def _axis(part: Any, size: int, what: str) -> tuple[int, int]:
    if isinstance(part, slice):
        try:
            start, stop, step = part.indices(size)
        except (TypeError, ValueError) as error:
            raise ShapeError(f"{what} must be a slice of ints, got {part}") from error
        if step != 1:
            raise ShapeError(f"{what} must be a slice of step 1, got {part}; read it whole and slice the array")
        return start, stop
    index = integer(what, part)
    if not -size <= index < size:
        raise ShapeError(f"{what} must lie in a world of {size}, got {index}")
    return index % size, index % size + 1


def overlap(bounds: Bounds, shape: tuple[int, int]) -> Bounds:
    """The part of a rectangle that lies in the world: no rows or columns where none does."""
    y0, x0 = min(max(bounds[0], 0), bounds[1]), min(max(bounds[2], 0), bounds[3])
    return y0, max(min(bounds[1], shape[0]), y0), x0, max(min(bounds[3], shape[1]), x0)


def pad(values: NDArray[Any], inner: Bounds, outer: Bounds) -> NDArray[Any]:
    """The values of rectangle `inner` with zeros around them up to `outer`. A copy."""
    rows, columns = (inner[0] - outer[0], outer[1] - inner[1]), (inner[2] - outer[2], outer[3] - inner[3])
    return np.pad(values, (rows, columns))


def wrapped_cells(bounds: Bounds, shape: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The y and the x, each `(h * w,)`, of a rectangle's cells row by row, in a world that wraps. New arrays."""
    rows, columns = np.arange(bounds[0], bounds[1]) % shape[0], np.arange(bounds[2], bounds[3]) % shape[1]
    return np.repeat(rows, columns.size), np.tile(columns, rows.size)
