"""Checks of what callers hand in, before a kernel sees it: rule, got, remedy."""

from collections.abc import Sequence
from typing import Any, Final, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memfarm.channels import Channel
from memfarm.errors import DTypeError, ShapeError, ValueRangeError
from memfarm.kernels import first_outside

_PLAIN: Final = 2.0**100  # numbers up to here are finite in every dtype that kernels are given

Cells = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]


def cells(copy: ArrayLike, y: ArrayLike, x: ArrayLike, *, copies: int, shape: tuple[int, int]) -> Cells:
    """`copy`, `y`, `x` as int32 `(N,)`, broadcast against each other; not copied where they are that already.

    Raises DTypeError where they are not integers, ShapeError where they are not one-dimensional or where a
    cell lies outside the world.
    """
    if _are_cells(copy) and _are_cells(y) and _are_cells(x) and len(copy) == len(y) == len(x):
        return _inside((copy, y, x), copies, shape)
    arrays = [_integers(name, values) for name, values in (("copy", copy), ("y", y), ("x", x))]
    if len({array.shape for array in arrays}) != 1:
        try:
            arrays = list(np.broadcast_arrays(*arrays))  # read-only views, made contiguous below
        except ValueError as error:
            raise ShapeError(f"copy, y and x must have one length, got {[a.shape for a in arrays]}") from error
    if arrays[0].ndim == 0:
        arrays = [array.reshape(1) for array in arrays]
    if arrays[0].ndim != 1:
        raise ShapeError(f"copy, y and x must be one-dimensional, got shape {arrays[0].shape}")
    where = tuple(np.ascontiguousarray(array, dtype=np.int32) for array in arrays)
    return _inside((where[0], where[1], where[2]), copies, shape)


def _are_cells(values: ArrayLike) -> TypeGuard[NDArray[np.int32]]:
    """Whether coordinates are already as the kernels want them: what an environment hands in on every step."""
    return (
        isinstance(values, np.ndarray) and values.dtype == np.int32 and values.ndim == 1 and values.flags.c_contiguous
    )


def _inside(where: Cells, copies: int, shape: tuple[int, int]) -> Cells:
    bad = first_outside(*where, copies, *shape)
    if bad >= 0:
        got = tuple(int(array[bad]) for array in where)
        raise ShapeError(
            f"a cell (copy, y, x) must lie in {copies} copies of {shape[0]}x{shape[1]}, got {got} at index {bad}"
        )
    return where


def _array(name: str, values: Any) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ShapeError(f"{name} must be an array, or what makes one: {error}") from error


def index(name: str, value: int, size: int) -> int:
    """`value` as an int; ShapeError unless it is one in [0, size)."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not 0 <= value < size:
        raise ShapeError(f"{name} must be an int in [0, {size}), got {value!r}")
    return int(value)


def indices(name: str, values: ArrayLike, size: int) -> NDArray[np.int64]:
    """Indices below `size`, from themselves or from a bool mask `(size,)`: int64 `(N,)`. Raises ShapeError."""
    array = _array(name, values)
    if array.dtype == np.bool_ and array.shape == (size,):
        return np.flatnonzero(array)
    if array.ndim != 1 or (array.size and (array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= size)):
        raise ShapeError(f"{name} must be a bool mask ({size},) or indices below that, got {values!r}")
    return array.astype(np.int64)


def shape_of(name: str, values: Any) -> tuple[int, ...]:
    """The shape of what makes an array. Raises ShapeError where its rows differ in length."""
    return _array(name, values).shape


def _integers(name: str, values: ArrayLike) -> NDArray[Any]:
    array = _array(name, values)
    if not array.size:
        return array.astype(np.int32)
    if array.dtype.kind not in "iu":
        raise DTypeError(f"{name} must hold integers, got {array.dtype}; convert it with .astype(np.int32)")
    if array.dtype.itemsize > 4 or array.dtype == np.uint32:
        limits = np.iinfo(np.int32)
        if array.min() < limits.min or array.max() > limits.max:
            raise ShapeError(f"{name} must fit int32, got values from {array.min()} to {array.max()}")
    return array


def numbers(
    name: str,
    values: ArrayLike,
    shape: tuple[int, ...],
    dtype: type[np.floating[Any]],
    least: float | None = None,
) -> NDArray[Any]:
    """`values` broadcast to `shape`, C-contiguous, of `dtype`; not copied where they are that already.

    Raises DTypeError unless they are real numbers, ShapeError where they do not fit, ValueRangeError on NaN, infinity,
    what overflows `dtype`, and what is below `least`.
    """
    number: object = values
    if type(number) is float and abs(number) < _PLAIN and (least is None or number >= least):
        return np.full(shape, number, dtype)
    array = _array(name, values)
    if array.dtype.kind not in "fiub" and array.size:
        raise DTypeError(f"{name} must hold real numbers, got {array.dtype}")
    if array.shape != shape:
        try:
            array = np.broadcast_to(array, shape)
        except ValueError as error:
            raise ShapeError(f"{name} must have shape {shape} (or broadcast to it), got {array.shape}") from error
    given = array
    if array.dtype != dtype or not array.flags.c_contiguous:
        with np.errstate(over="ignore"):  # what overflows is refused as infinite
            array = np.ascontiguousarray(array, dtype=dtype).reshape(shape)  # ascontiguousarray makes () into (1,)
    finite = np.isfinite(array)
    if not finite.all():
        raise ValueRangeError(f"{name} must be finite numbers of {array.dtype}'s range, got {_first(given, ~finite)}")
    if least is not None and array.size and array.min() < least:
        raise ValueRangeError(f"{name} must be at least {least:g}, got {_first(given, array < least)}")
    return array


def flags(name: str, values: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """`values` as bool, C-contiguous, of `shape`; not copied where they are that already. DTypeError, ShapeError."""
    array = _array(name, values)
    if array.dtype != np.bool_:
        raise DTypeError(f"{name} must hold bools, got {array.dtype}; compare it with what counts as True")
    if array.shape != shape:
        raise ShapeError(f"{name} must have shape {shape}, got {array.shape}")
    return np.ascontiguousarray(array)


def _first(array: NDArray[Any], bad: NDArray[np.bool_]) -> str:
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    return f"{array[at]} at index {at}" if at else f"{array}"


def limits(
    channels: Sequence[Channel], low: ArrayLike | None, high: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The bounds of a call, one a channel: `low` and `high` within each channel's own range. New arrays `(C,)`."""
    lows = np.array([channel.low for channel in channels])
    highs = np.array([channel.high for channel in channels])
    if low is not None:
        lows = np.maximum(lows, numbers("low", low, lows.shape, np.float64))
    if high is not None:
        highs = np.minimum(highs, numbers("high", high, highs.shape, np.float64))
    if np.any(lows > highs):
        raise ValueRangeError(f"low must be at most high within the channel's range, got {lows} and {highs}")
    return lows, highs


def output(
    out: NDArray[Any] | None, shape: tuple[int, ...], dtypes: Sequence[type[np.generic]] = (np.float32,)
) -> NDArray[Any]:
    """`out` if it is a writable C-contiguous array of `shape` and one of `dtypes`; a new float32 one where it is None.

    Raises DTypeError or ShapeError where it is not.
    """
    if out is None:
        return np.empty(shape, np.float32)
    if not isinstance(out, np.ndarray) or out.dtype not in dtypes:
        names = " or ".join(np.dtype(dtype).name for dtype in dtypes)
        raise DTypeError(f"out must be a {names} array, got {getattr(out, 'dtype', type(out).__name__)}")
    if out.shape != shape:
        raise ShapeError(f"out must have shape {shape}, got {out.shape}")
    if not out.flags.carray:
        raise ShapeError(f"out must be C-contiguous, aligned and writable, got an array with\n{out.flags}")
    return out
