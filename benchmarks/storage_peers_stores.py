"""One map in several kinds of storage: each makes it on the disk and cuts windows out of it.

The map is float32 `(side, side, 7)`, channels last, whole 255ths. The peers keep it in one array, so that a chunk, or a
row, has all channels of its cells; memfarm in the three grids of a world, with its own dtypes.
"""

import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.crop import CHANNELS, RADIUS
from memfarm.world import World

BAND: Final = 256  # rows made at a time
CHUNK: Final = 64  # side of the peers' chunks in cells

Windows = NDArray[np.float32]  # (N, S, S, 7), S = 2 * RADIUS + 1
Cutter = Callable[[NDArray[np.int64], NDArray[np.int64]], Windows]


def bands(side: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The map from north to south: the first row, and the rows `(up to BAND, side, 7)`, of even hills."""
    channel, x = np.arange(len(CHANNELS)), np.arange(side)
    across = np.cos(x[:, None] / (40 + 7 * channel))
    for y0 in range(0, side, BAND):
        y = np.arange(y0, min(y0 + BAND, side))
        down = np.sin(y[:, None] / (50 + 9 * channel))
        hills = 0.5 + 0.25 * (down[:, None, :] + across[None, :, :]).astype(np.float32)
        yield y0, np.rint(255 * hills) / np.float32(255)


class Store(ABC):
    """One kind of storage. title: for the table. package: what must be installed."""

    title: str
    package: str = "numpy"

    @property
    def missing(self) -> bool:
        """Whether its package is not installed."""
        return find_spec(self.package) is None

    @abstractmethod
    def make(self, folder: Path, side: int) -> None:
        """Write the map into `folder`, which there is not yet."""

    @abstractmethod
    def cutter(self, folder: Path, side: int) -> Cutter:
        """Open the map, and give what cuts windows around cells `(N,)` that lie RADIUS from every edge."""


class Memfarm(Store):
    """A named world, opened to be read."""

    def __init__(self, threads: int) -> None:
        self.title = "memfarm" if threads == 1 else f"memfarm, threads={threads}"
        self._threads: Final = threads

    def make(self, folder: Path, side: int) -> None:
        world = World((side, side), path=folder)
        for y0, band in bands(side):
            for index, name in enumerate(CHANNELS):
                world.grid_of(name).write(name, band[:, :, index], y0, 0)
        world.close()

    def cutter(self, folder: Path, side: int) -> Cutter:
        cut = World.open(folder, "r").windows(CHANNELS, RADIUS)
        return lambda y, x: cut(0, y.astype(np.int32), x.astype(np.int32), threads=self._threads)


class RowMajor(Store):
    """A `np.memmap`, row by row, as it comes or told that it is read at random."""

    def __init__(self, random: bool) -> None:
        self.title = "np.memmap, row-major" + (", MADV_RANDOM" if random else "")
        self._random: Final = random

    def make(self, folder: Path, side: int) -> None:
        folder.mkdir()
        layer = np.memmap(folder / "map.dat", np.float32, "w+", shape=(side, side, len(CHANNELS)))
        for y0, band in bands(side):
            layer[y0 : y0 + BAND] = band
        layer.flush()

    def cutter(self, folder: Path, side: int) -> Cutter:
        with (folder / "map.dat").open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        if self._random:
            mapped.madvise(mmap.MADV_RANDOM)
        return _sliced(np.frombuffer(mapped, np.float32).reshape(side, side, len(CHANNELS)))


class Hdf5(Store):
    """A chunked dataset, h5py's own chunk cache."""

    title = "HDF5 (h5py)"
    package = "h5py"

    def make(self, folder: Path, side: int) -> None:
        import h5py

        folder.mkdir()
        with h5py.File(folder / "map.h5", "w") as file:
            chunks = (CHUNK, CHUNK, len(CHANNELS))
            data = file.create_dataset("map", (side, side, len(CHANNELS)), np.float32, chunks=chunks)
            for y0, band in bands(side):
                data[y0 : y0 + BAND] = band

    def cutter(self, folder: Path, side: int) -> Cutter:
        import h5py

        return _sliced(h5py.File(folder / "map.h5", "r")["map"])


class Zarr(Store):
    """A zarr (version 3) array, a file a chunk, plain or compressed as zarr does by itself."""

    package = "zarr"

    def __init__(self, compressed: bool) -> None:
        self.title = "zarr, its compression" if compressed else "zarr"
        self._compressors: Final = "auto" if compressed else None

    def make(self, folder: Path, side: int) -> None:
        import zarr

        shape, chunks = (side, side, len(CHANNELS)), (CHUNK, CHUNK, len(CHANNELS))
        data = zarr.create_array(
            folder, shape=shape, chunks=chunks, dtype="float32", compressors=self._compressors, fill_value=-1.0
        )
        for y0, band in bands(side):
            data[y0 : y0 + BAND] = band

    def cutter(self, folder: Path, side: int) -> Cutter:
        import zarr

        return _sliced(zarr.open_array(folder, mode="r"))


class TensorStore(Store):
    """The same files by TensorStore, which reads all windows of a batch at once."""

    title = "TensorStore (zarr3)"
    package = "tensorstore"

    def make(self, folder: Path, side: int) -> None:
        import tensorstore

        chunks = tensorstore.ChunkLayout(chunk_shape=[CHUNK, CHUNK, len(CHANNELS)])
        shape = [side, side, len(CHANNELS)]
        data = self._open(folder, create=True, dtype="float32", shape=shape, chunk_layout=chunks, fill_value=-1.0)
        for y0, band in bands(side):
            data[y0 : y0 + BAND].write(band).result()

    def cutter(self, folder: Path, side: int) -> Cutter:
        data = self._open(folder)

        def cut(y: NDArray[np.int64], x: NDArray[np.int64]) -> Windows:
            corners = zip((y - RADIUS).tolist(), (x - RADIUS).tolist(), strict=True)
            size = 2 * RADIUS + 1
            found = [data[top : top + size, left : left + size].read() for top, left in corners]
            return np.stack([window.result() for window in found])

        return cut

    @staticmethod
    def _open(folder: Path, **how: Any) -> Any:
        import tensorstore

        return tensorstore.open(
            {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{folder}/"}}, **how
        ).result()


def _sliced(data: Any) -> Cutter:
    """A slice for each window, one after the other."""

    def cut(y: NDArray[np.int64], x: NDArray[np.int64]) -> Windows:
        corners = zip((y - RADIUS).tolist(), (x - RADIUS).tolist(), strict=True)
        size = 2 * RADIUS + 1
        return np.stack([data[top : top + size, left : left + size] for top, left in corners])

    return cut


STORES: Final[dict[str, Store]] = {
    "memfarm": Memfarm(1),
    "memfarm-threads": Memfarm(8),
    "memmap": RowMajor(random=False),
    "memmap-random": RowMajor(random=True),
    "hdf5": Hdf5(),
    "zarr": Zarr(compressed=False),
    "zarr-compressed": Zarr(compressed=True),
    "tensorstore": TensorStore(),
}
