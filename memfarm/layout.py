"""How a grid is laid out: storage dtypes, tiles, epochs, and what a kernel is told of a channel."""

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np

from memfarm.channels import Channel, Regrow, Static
from memfarm.errors import ChannelError, ConfigError

Boundary = Literal["wall", "wrap"]

PAGE: Final = 4096
MOST_COPIES: Final = 2**31 - 1
VALUES: Final[dict[str, type[np.generic]]] = {
    "float16": np.float32,
    "float32": np.float32,
    "float64": np.float64,
    "uint8": np.float32,
    "int32": np.int32,
}
"""Storage dtype -> dtype of the values handed out."""

# Within an epoch A stays above the first and B below the second: see docs/design/0001.
_SMALLEST_A: Final = {"float16": 1e-4, "float32": 1e-30, "float64": 1e-30}
_LARGEST_B: Final = {"float16": 1.0, "float32": 16.0, "float64": 2.0**20}
_LONGEST_EPOCH: Final = 4096


def lane_count(channels: int) -> int:
    """Lanes of a cell: the smallest power of two that holds its channels."""
    return 1 << (channels - 1).bit_length()


def tile_side(lanes: int, itemsize: int) -> int:
    """The side of a tile in cells: the largest power of two whose tile fits a page, at least 4."""
    side = 4
    while (2 * side) ** 2 * lanes * itemsize <= PAGE:
        side *= 2
    return side


def epoch_length(channels: Sequence[Channel], dtype: str) -> int:
    """Ticks in an epoch of a grid, 0 where no channel changes by itself (docs/design/0001)."""
    longest: list[int] = []
    for channel in channels:
        law = channel.law
        if isinstance(law, Static):
            continue
        if isinstance(law, Regrow):
            longest.append(max(1, int(_LARGEST_B[dtype] / law.rate)))
        elif law.alpha == 0.0:
            longest.append(1)
        else:
            smallest = _SMALLEST_A[dtype] * max(1.0, channel.high)  # what is stored is at most high / A
            longest.append(max(1, int(np.log(smallest) / np.log(law.alpha))))
    return min([*longest, _LONGEST_EPOCH]) if longest else 0


def segments(
    name: str, shape: tuple[int, int], channels: int, copies: int, dtype: str
) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and dtype of a grid's arrays by segment name, in the order tiles, stamps, copies."""
    lanes = lane_count(channels)
    side = tile_side(lanes, np.dtype(dtype).itemsize)
    tiles = (copies, -(-shape[0] // side), -(-shape[1] // side))
    return {
        name: ((*tiles, side, side, lanes), np.dtype(dtype)),
        f"{name}.stamps": (tiles, np.dtype(np.uint64)),
        f"{name}.copies": ((copies, 2), np.dtype(np.int64)),
    }


def lane(channel: Channel) -> dict[str, float | bool]:
    """A channel as the kernels want it; a capacity channel is linked afterwards."""
    return {
        "alpha": channel.law.alpha,
        "beta": channel.law.beta,
        "floor": channel.floor,
        "capacity": channel.high if isinstance(channel.capacity, str) else channel.capacity,
        "low": channel.low,
        "high": channel.high,
        "fill": channel.fill + 0.0,  # never -0
        "outside": channel.outside + 0.0,
        "static": isinstance(channel.law, Static),
    }


def check_shape(shape: object) -> tuple[int, int]:
    """`shape` as (height, width); ConfigError unless two positive ints."""
    if (
        not isinstance(shape, tuple | list)
        or len(shape) != 2
        or not all(isinstance(n, int | np.integer) and not isinstance(n, bool) and 0 < n < 2**31 for n in shape)
    ):
        raise ConfigError(f"shape must be (height, width), two positive ints below 2**31, got {shape!r}")
    return int(shape[0]), int(shape[1])


def check_boundary(boundary: object) -> None:
    """Raise ConfigError unless `boundary` is one of the two."""
    if boundary not in ("wall", "wrap"):
        raise ConfigError(f"boundary must be 'wall' or 'wrap', got {boundary!r}")


def checked_tick(tick: object, epoch: int) -> int:
    """`tick` as an int; ConfigError unless it is one in [0, last_tick]."""
    if not isinstance(tick, int | np.integer) or isinstance(tick, bool):
        raise ConfigError(f"ticks must be an int, got {tick!r}")
    if not 0 <= tick <= last_tick(epoch):
        raise ConfigError(f"the clock must stay in [0, {last_tick(epoch)}], got {tick}")
    return int(tick)


def last_tick(epoch: int) -> int:
    """The last tick that a stamp's 32 bits of epoch can tell from the others, for epochs of so many ticks."""
    return (2**32 - 1) * (epoch or _LONGEST_EPOCH) - 1


def check_grid(channels: Sequence[Channel], copies: object, dtype: str, boundary: str) -> None:
    """Raise ConfigError or ChannelError unless a grid can be made of these."""
    names = [channel.name for channel in channels]
    if not names:
        raise ConfigError("a grid needs at least one channel, got none")
    if len(set(names)) != len(names):
        raise ChannelError(f"channels must have different names, got {names}")
    if not isinstance(copies, int | np.integer) or isinstance(copies, bool) or not 1 <= copies <= MOST_COPIES:
        raise ConfigError(f"copies must be an int in [1, {MOST_COPIES}], got {copies!r}")
    if dtype not in VALUES:
        raise ConfigError(f"dtype must be one of {', '.join(VALUES)}, got {dtype!r}")
    check_boundary(boundary)
    moving = [channel.name for channel in channels if not isinstance(channel.law, Static)]
    if dtype in ("uint8", "int32") and moving:
        raise ConfigError(f"{dtype} stores Static channels only, got {moving}; use float16, float32 or float64")
    if dtype in ("float16", "int32"):
        limits = np.iinfo(np.int32) if dtype == "int32" else np.finfo(np.float16)
        least, most = float(limits.min), float(limits.max)
        wide = [channel.name for channel in channels if channel.low < least or channel.high > most]
        if wide:
            raise ConfigError(f"low and high must fit {dtype}, got {wide}; narrow them or store float32")
