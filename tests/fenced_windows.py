"""Cuts windows out of arrays beside pages that must not be touched; a process of its own, for it dies of a fault.

`python fenced_windows.py DTYPE` prints "same bytes" where the windows are those of arrays without fences.
"""

import ctypes
import itertools
import mmap
import sys
from typing import Any

import numpy as np

from memfarm import _kernels, layout
from memfarm.channels import Channel, Decay, Regrow

Array = np.ndarray[Any, Any]
SHAPE = (48, 64)
OUTPUTS = (np.float32, np.float16, np.uint16, np.uint8)
PROT_NONE = 0
LIBC = ctypes.CDLL(None, use_errno=True)


def fenced(shape: tuple[int, ...], dtype: Any, at_end: bool) -> Array:
    """Zeros between two pages of no access, beside the second or the first of them."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    inner = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    area = mmap.mmap(-1, inner + 2 * mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    for fence in (address, address + mmap.PAGESIZE + inner):
        if LIBC.mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(mmap.PAGESIZE), PROT_NONE) != 0:
            raise OSError(ctypes.get_errno(), "mprotect failed")
    start = mmap.PAGESIZE + (inner - size if at_end else 0)
    array: Array = np.ndarray(shape, dtype, buffer=area, offset=start)
    return array


def plain(shape: tuple[int, ...], dtype: Any, at_end: bool) -> Array:
    return np.zeros(shape, dtype)


def grid_of(make: Any, dtype: str, channels: list[Channel], at_end: bool, rng: np.random.Generator) -> Any:
    lanes = len(channels)
    parts = layout.segments("grid", SHAPE, lanes, 1, dtype).values()
    tiles, stamps, resets = (make(size, kind, at_end) for size, kind in parts)
    resets[:] = (1, 0)
    epoch = layout.epoch_length(tuple(channels), dtype)
    grid = _kernels.Grid(tiles, stamps, resets, [layout.lane(c) for c in channels], *SHAPE, False, epoch)
    grid.write(0, 0, 0, np.arange(lanes, dtype=np.int32), rng.random((*SHAPE, lanes), np.float32))
    return grid


def one_grid(make: Any, dtype: str, lanes: int, radius: int, columns: int, at_end: bool) -> bytes:
    rng = np.random.default_rng(radius)
    grid = grid_of(make, dtype, [Channel(f"C{i}", fill=0.5) for i in range(lanes)], at_end, rng)
    return windows(make, [grid], [(0, c % lanes) for c in range(columns)], radius, at_end, rng)


def three_grids(make: Any, dtype: str, fields: int, radius: int, columns: int, at_end: bool) -> bytes:
    """Ground, food and fields, which have kernels of their own."""
    rng = np.random.default_rng(radius)
    limits = [Channel(name) for name in ("OBSTACLES", "TERRAIN_COST", "VISIBILITY", "LIMIT")]
    ground = grid_of(make, "uint8", limits, at_end, rng)
    food = grid_of(make, "float32", [Channel("FOOD", Regrow(0.01, 1.0))], at_end, rng)
    food.link(0, ground, 3)
    trails = grid_of(make, dtype, [Channel(f"T{i}", Decay(0.9)) for i in range(fields)], at_end, rng)
    chosen = [(0, 0), (1, 0), (2, fields - 1), (0, 1), (2, 0), (0, 2), (-1, 0), (0, 3)][:columns]
    return windows(make, [ground, food, trails], chosen, radius, at_end, rng)


def windows(
    make: Any, grids: list[Any], chosen: list[tuple[int, int]], radius: int, at_end: bool, rng: np.random.Generator
) -> bytes:
    y, x = (axis.ravel().astype(np.int32) for axis in np.indices(SHAPE))
    side, columns = 2 * radius + 1, len(chosen)
    one, zero = np.ones(columns, np.float32), np.zeros(columns, np.float32)
    plan = _kernels.Windows(grids, chosen, radius, one, zero, None, [False] * columns)
    whole: list[bytes] = []
    for number, chosen in enumerate(np.array_split(rng.permutation(len(y)), 12)):
        out = make((len(chosen), side, side, columns), OUTPUTS[number % len(OUTPUTS)], at_end)
        plan.observe(np.zeros(len(chosen), np.int32), y[chosen], x[chosen], out, [], [], 1)
        whole.append(out.tobytes())
    return b"".join(whole)


def compare(cut: Any, dtype: str, lanes: int, radius: int, columns: int, at_end: bool) -> None:
    got, wanted = (cut(make, dtype, lanes, radius, columns, at_end) for make in (fenced, plain))
    if got != wanted:
        raise SystemExit(f"other bytes beside a fence: {cut}, {lanes} lanes, radius {radius}, {columns} columns")


def main(dtype: str) -> None:
    for lanes, columns in ((1, 1), (1, 3), (2, 5), (4, 7), (4, 13)):
        for radius in (0, 1, 5, 7):
            for at_end in (False, True):
                compare(one_grid, dtype, lanes, radius, columns, at_end)
    for fields, radius, columns in itertools.product((1, 3) if dtype != "uint8" else (), (3, 4, 5, 7), (5, 7, 8)):
        for at_end in (False, True):
            compare(three_grids, dtype, fields, radius, columns, at_end)
    sys.stdout.write("same bytes\n")


if __name__ == "__main__":
    main(sys.argv[1])
