"""The baselines: what a world is without memfarm, one row-major layer a channel and NumPy."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from memfarm.files import scratch_folder
from memfarm.world import World

Layer = NDArray[np.float32]
Cells = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]
Cut = Callable[[Mapping[int, Layer], Cells, int, NDArray[np.float32]], None]

BAND = 256  # rows copied at a time


@contextmanager
def folder() -> Iterator[Path]:
    """A new folder where scratch goes, removed with all that is in it."""
    with tempfile.TemporaryDirectory(prefix="memfarm-bench-", dir=scratch_folder(), ignore_cleanup_errors=True) as path:
        yield Path(path)


def mapped_layer(path: Path, shape: tuple[int, int]) -> Layer:
    """A new float32 layer in a row-major file, unlinked as soon as it is mapped: it goes with its last reference."""
    layer = np.memmap(path, np.float32, "w+", shape=shape)
    path.unlink()
    return layer


def whole_layer(folder: Path, side: int) -> Layer | None:
    """A `mapped_layer` with every page written, or None where the disk has not twice its room."""
    if shutil.disk_usage(folder).free < 2 * 4 * side**2:
        return None
    layer = mapped_layer(folder / "layer.dat", (side, side))
    layer.fill(1.0)
    return layer


def mapped_copy(world: World, names: tuple[str, ...], where: Path, margin: int = 0) -> dict[str, Layer]:
    """Today's values of stored channels as plain row-major memory maps, one a channel, with a margin of zeros."""
    layers = {}
    height, width = world.shape
    for name in names:
        layers[name] = mapped_layer(where / f"{name}.dat", (height + 2 * margin, width + 2 * margin))
        inside = layers[name][margin : margin + height, margin : margin + width]
        for y0 in range(0, height, BAND):
            y1 = min(y0 + BAND, height)
            inside[y0:y1] = world.grid_of(name).read(name, y0, y1, 0, width)
    return layers


def slices(layers: Mapping[int, Layer], cells: Cells, radius: int, out: NDArray[np.float32]) -> None:
    """One slice per agent and channel, zero-padded: `out[n, c]`, float32 `(N, C, S, S)`, from `layers[c]`."""
    side = 2 * radius + 1
    for column, layer in layers.items():
        height, width = layer.shape
        for n, (y, x) in enumerate(zip(cells[1].tolist(), cells[2].tolist(), strict=True)):
            top, left = y - radius, x - radius
            if top >= 0 and left >= 0 and top + side <= height and left + side <= width:
                out[n, column] = layer[top : top + side, left : left + side]
                continue
            out[n, column] = 0.0
            y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + side, height), min(left + side, width)
            out[n, column, y0 - top : y1 - top, x0 - left : x1 - left] = layer[y0:y1, x0:x1]


def sliding(layers: Mapping[int, Layer], cells: Cells, radius: int, out: NDArray[np.float32]) -> None:
    """As `slices`, by fancy indexing of a sliding view; it knows no edge, so cells must lie `radius` from each."""
    side = 2 * radius + 1
    for column, layer in layers.items():
        out[:, column] = sliding_window_view(layer, (side, side))[cells[1] - radius, cells[2] - radius]
