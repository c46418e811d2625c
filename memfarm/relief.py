"""What the shape of the land says: how steep a cell is, and whether it lies in a hollow or on a ridge.

Both work on bands of rows of a larger elevation, so that a world of any size needs a few rows of scratch memory.
NaN cells are no data: they count as no neighbour, and their own results mean nothing.
"""

import numpy as np
from numpy.typing import NDArray


def slope(elevation: NDArray[np.float32], y0: int, y1: int, cell_size: float) -> NDArray[np.float32]:
    """Steepness of rows `y0:y1` of `elevation` (H, W) in metres: rise over run, a new float32 `(y1 - y0, W)`.

    Third-order finite differences over the eight neighbours: Horn, "Hill shading and the reflectance map", Proc.
    IEEE 69(1), 1981. The land goes on straight beyond the edge; a neighbour without data is taken to be level.
    """
    height = elevation.shape[0]
    rows = elevation[max(y0 - 1, 0) : min(y1 + 1, height)]
    # beyond the edge the last step goes on; a world one cell wide is level
    padded = np.pad(rows, ((int(y0 == 0), int(y1 == height)), (1, 1)), mode="reflect", reflect_type="odd")
    centre = padded[1:-1, 1:-1]

    def neighbour(dy: int, dx: int) -> NDArray[np.float32]:
        there = padded[1 + dy : 1 + dy + centre.shape[0], 1 + dx : 1 + dx + centre.shape[1]]
        return np.where(np.isnan(there), centre, there)

    nw, ne, sw, se = neighbour(-1, -1), neighbour(-1, 1), neighbour(1, -1), neighbour(1, 1)
    run = 8.0 * cell_size
    east = ((ne + 2.0 * neighbour(0, 1) + se) - (nw + 2.0 * neighbour(0, -1) + sw)) / run
    south = ((sw + 2.0 * neighbour(1, 0) + se) - (nw + 2.0 * neighbour(-1, 0) + ne)) / run
    return np.sqrt(east * east + south * south)


def deviation(elevation: NDArray[np.float32], y0: int, y1: int, radius: int, level: float) -> NDArray[np.float32]:
    """How far rows `y0:y1` of `elevation` (H, W) lie above their surroundings: a new float32 `(y1 - y0, W)`.

    In standard deviations of the square of `2 * radius + 1` cells around each cell: negative in hollows and valleys,
    positive on ridges. De Reu et al., "Application of the topographic position index to heterogeneous landscapes",
    Geomorphology 186, 2013 (their DEV). level: metres of relief below which ground counts as level.
    """
    a = max(y0 - radius, 0)
    rows = elevation[a : y1 + radius]
    known = np.isfinite(rows)
    origin = float(rows[known][0]) if known.any() else 0.0  # sums of small numbers keep their digits
    z = np.where(known, rows - origin, 0.0).astype(np.float64)
    inside = slice(y0 - a, y1 - a)
    count = np.maximum(_box_sum(known.astype(np.float64), radius, inside), 1.0)
    mean = _box_sum(z, radius, inside) / count
    variance = _box_sum(z * z, radius, inside) / count - mean * mean
    spread = np.sqrt(np.maximum(variance, 0.0)) + level
    return ((z[inside] - mean) / spread).astype(np.float32)


def _box_sum(values: NDArray[np.float64], radius: int, inside: slice) -> NDArray[np.float64]:
    """Sums over the square of `radius` around each cell of the rows `inside`, cut off at the edges."""
    return _running(_running(values, radius)[:, inside], radius)


def _running(values: NDArray[np.float64], radius: int) -> NDArray[np.float64]:
    """Sums over `radius` cells either side along axis 0, transposed: twice is the sum over a square."""
    length = values.shape[0]
    sums = np.zeros((length + 1, values.shape[1]))
    np.cumsum(values, axis=0, out=sums[1:])
    at = np.arange(length)
    return (sums[np.minimum(at + radius + 1, length)] - sums[np.maximum(at - radius, 0)]).T
