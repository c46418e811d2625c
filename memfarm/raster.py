"""Elevation rasters from files: NumPy arrays, grey PNG pictures, GeoTIFF; and their resampling.

Nothing here unpickles: a file that needs it is refused.
"""

import math
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from memfarm.archives import Archive, read_npy
from memfarm.errors import TerrainError, did_you_mean
from memfarm.png_chunks import pixels_only
from memfarm.sources import cells_allowed, open_source, size_of
from memfarm.tiff_tags import check_tags

Raster = tuple[NDArray[np.float32], float | None]
"""Elevation float32 (H, W), NaN where there is no data, and the metres a cell measures, where the file says so."""

_BROKEN: Final = (
    *(ValueError, KeyError, EOFError, MemoryError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, struct.error, RuntimeError),  # archives; the last where one is encrypted
)
_BAND: Final = 128


def load_raster(path: str | os.PathLike[str]) -> Raster:
    """The elevation in a file, a new float32 `(H, W)`, NaN where there is no data, and its cell size in metres or None.

    - `.npy`: a two-dimensional array of real numbers.
    - `.npz`: the array `elevation`, or else the only two-dimensional one. Cell size: the number `cell_size` (metres),
      or `dx` and `dy`, which are degrees where `xmin`, `xmax`, `ymin`, `ymax` are longitudes and latitudes.
    - `.png`: grey, 8 or 16 bit; one level of grey is one metre. A picture has no cell size.
    - `.tif`, `.tiff`: the first band of a GeoTIFF, through rasterio (`pip install memfarm[geo]`).

    Where cells are not square, the cell size is the side of the square of the same area. Raises TerrainError, naming
    the file, for one that is missing, truncated, foreign, not a raster of numbers, or made to fill the memory
    (`sources.cells_allowed`): what a header claims is checked before anything is allocated.
    """
    source = Path(path)
    reader = _READERS.get(source.suffix.lower())
    if reader is None:
        raise TerrainError(
            f"a raster's suffix tells its format, got {source.name!r}; {did_you_mean(source.suffix, _READERS)}"
        )
    try:
        with open_source(source) as file:
            elevation, cell_size = reader(source, file)
        return _checked(source, elevation), cell_size
    except TerrainError:
        raise
    except OSError as error:
        raise TerrainError(f"a raster must be a file that can be read, got {source}: {error}") from error
    except _BROKEN as error:
        raise TerrainError(f"{source} is no whole {source.suffix} raster: {error}") from error


def _checked(source: Path, elevation: NDArray[Any]) -> NDArray[np.float32]:
    if elevation.ndim != 2 or not elevation.size:
        raise TerrainError(f"{source}: an elevation is (H, W), at least one cell, got shape {elevation.shape}")
    if elevation.dtype.kind not in "fiub":
        raise TerrainError(f"{source}: an elevation holds real numbers, got {elevation.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold becomes infinite
        values = np.array(elevation, np.float32, order="C")
    if np.isinf(values).any():
        raise TerrainError(f"{source}: an elevation is finite, or NaN where there is no data, got infinity")
    return values


def _read_npy(source: Path, file: BinaryIO) -> tuple[NDArray[Any], float | None]:
    return read_npy(file), None


def _read_npz(source: Path, file: BinaryIO) -> tuple[NDArray[Any], float | None]:
    with Archive(file) as archive:
        dimensions = {name: archive.ndim(name) for name in archive.names}
        flat = [name for name, count in dimensions.items() if count == 2]
        if "elevation" not in dimensions and len(flat) != 1:
            raise TerrainError(
                f"{source}: an archive holds an array 'elevation' or one two-dimensional array, got {archive.names[:9]}"
            )
        elevation = archive.read("elevation" if "elevation" in dimensions else flat[0])
        known = ("cell_size", "dx", "dy", "xmin", "xmax", "ymin", "ymax")
        numbers = {name: float(archive.read(name)) for name in known if dimensions.get(name) == 0}
    return elevation, _archive_cell_size(numbers)


def _archive_cell_size(numbers: dict[str, float]) -> float | None:
    if "cell_size" in numbers:
        return _positive(numbers["cell_size"])
    if not {"dx", "dy"} <= numbers.keys():
        return None
    dx, dy = abs(numbers["dx"]), abs(numbers["dy"])
    if {"xmin", "xmax", "ymin", "ymax"} <= numbers.keys():
        longitudes, latitudes = (numbers["xmin"], numbers["xmax"]), (numbers["ymin"], numbers["ymax"])
        if all(abs(x) <= 360.0 for x in longitudes) and all(abs(y) <= 90.0 for y in latitudes):
            return _degrees_to_metres(dx, dy, sum(latitudes) / 2.0)
    return _positive(math.sqrt(dx * dy))


def _degrees_to_metres(dx: float, dy: float, latitude: float) -> float | None:
    """Side in metres of the square with the area of a cell of `dx` by `dy` degrees around a latitude in degrees.

    Lengths of a degree on the WGS 84 ellipsoid, series of Snyder, "Map projections: a working manual", USGS 1395, 1987.
    """
    phi = math.radians(latitude)
    north = 111132.92 - 559.82 * math.cos(2 * phi) + 1.175 * math.cos(4 * phi)
    east = 111412.84 * math.cos(phi) - 93.5 * math.cos(3 * phi) + 0.118 * math.cos(5 * phi)
    return _positive(math.sqrt(dx * east * dy * north))


def _positive(cell_size: float) -> float | None:
    return cell_size if 0.0 < cell_size < math.inf else None


def _read_png(source: Path, file: BinaryIO) -> tuple[NDArray[Any], float | None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is too large is refused below
            picture = Image.open(pixels_only(file, size_of(file)), formats=["PNG"])
        with picture:
            if picture.mode not in ("L", "I", "I;16", "I;16B"):
                raise TerrainError(f"{source}: an elevation is a grey picture of 8 or 16 bit, got mode {picture.mode}")
            _check_unfolded(source, picture.width * picture.height, size_of(file))
            return np.asarray(picture), None
    except UnidentifiedImageError as error:
        raise TerrainError(f"{source} is no PNG picture") from error
    except (Image.DecompressionBombError, SyntaxError) as error:  # Pillow calls a broken PNG chunk a SyntaxError
        raise TerrainError(f"{source} cannot be read as a PNG picture: {error}") from error


def _check_unfolded(source: Path, cells: int, size: int) -> None:
    if cells > cells_allowed(size):
        raise TerrainError(f"{source} says to unfold {size} bytes to {cells} cells; if it is meant so, save it as .npy")


_REAL: Final = ("float32", "float64", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
_ALONE: Final = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO", "GDAL_CACHEMAX": 16}
"""GDAL reads the file itself and nothing that lies beside it; its cache takes 16 MB."""


def _read_tiff(source: Path, file: BinaryIO) -> tuple[NDArray[Any], float | None]:
    try:
        import rasterio  # an extra
        from rasterio.errors import NotGeoreferencedWarning, RasterioError
    except ImportError as error:
        raise TerrainError(f"{source}: GeoTIFF needs rasterio, which is absent; pip install memfarm[geo]") from error
    check_tags(file, size_of(file))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a plain TIFF is welcome: it has no cell size
        try:
            # absolute: GDAL takes some names for addresses, and would ask the network
            with rasterio.Env(**_ALONE), rasterio.open(source.absolute(), driver="GTiff") as raster:
                if raster.dtypes[0] not in _REAL:  # a string; NumPy does not know all of GDAL's
                    raise TerrainError(f"{source}: an elevation holds real numbers, got {raster.dtypes[0]}")
                _check_unfolded(source, raster.width * raster.height, size_of(file))
                _check_unfolded(source, math.prod(raster.block_shapes[0]) * raster.count, size_of(file))
                masked = raster.read(1, masked=True, out_dtype="float32")
                dx, dy = (abs(side) for side in raster.res)
                if raster.crs is None:
                    cell_size = None
                elif raster.crs.is_geographic:
                    cell_size = _degrees_to_metres(dx, dy, (raster.bounds.top + raster.bounds.bottom) / 2.0)
                else:
                    cell_size = _positive(math.sqrt(dx * dy) * raster.crs.linear_units_factor[1])
        except RasterioError as error:
            raise TerrainError(f"{source} cannot be read as a GeoTIFF: {error}") from error
    return np.ma.filled(masked, np.nan), cell_size


_READERS: Final[dict[str, Callable[[Path, BinaryIO], tuple[NDArray[Any], float | None]]]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".png": _read_png,
    ".tif": _read_tiff,
    ".tiff": _read_tiff,
}
SUFFIXES: Final = tuple(_READERS)
"""The file suffixes that `load_raster` reads."""


def resample(elevation: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """`elevation` (H, W) at another shape, a new float32 array: area means where it shrinks, bilinear where it grows.

    Cells without data (NaN) have no weight; a cell more than half of which is without data has none either.
    """
    columns = _resample_columns(elevation, shape[1])
    return np.ascontiguousarray(_resample_columns(columns.T, shape[0]).T)


def _resample_columns(source: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    result = np.empty((source.shape[0], width), np.float32)
    weigh = _means if width < source.shape[1] else _between
    for y in range(0, source.shape[0], _BAND):
        rows = source[y : y + _BAND].astype(np.float64)
        known = np.isfinite(rows)
        weight = weigh(known.astype(np.float64), width)
        total = weigh(np.where(known, rows, 0.0), width)
        enough = weight >= 0.5 - 1e-9
        result[y : y + _BAND] = np.where(enough, total / np.where(enough, weight, 1.0), np.nan)
    return result


def _means(rows: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Means over `width` equal stretches of every row, cells on a border counted by their share."""
    length = rows.shape[1]
    sums = np.zeros((rows.shape[0], length + 1))
    np.cumsum(rows, axis=1, out=sums[:, 1:])
    edges = np.arange(width + 1) * (length / width)
    left = np.minimum(edges.astype(np.int64), length - 1)
    at_edges = sums[:, left] + (edges - left) * rows[:, left]
    means: NDArray[np.float64] = np.diff(at_edges, axis=1) * (width / length)
    return means


def _between(rows: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Every row at `width` points, linear between the centres of its cells, level beyond the outermost."""
    length = rows.shape[1]
    points = np.clip((np.arange(width) + 0.5) * (length / width) - 0.5, 0.0, length - 1)
    left = np.minimum(points.astype(np.int64), max(length - 2, 0))
    right = np.minimum(left + 1, length - 1)
    share = points - left
    blended: NDArray[np.float64] = rows[:, left] * (1.0 - share) + rows[:, right] * share
    return blended
