"""Seeded fractal noise: smooth random fields for elevations and for patches of food.

Gradient noise (Perlin, "An image synthesizer", SIGGRAPH 1985; fade curve and fixed gradient directions of
"Improving noise", SIGGRAPH 2002), summed over octaves. Only IEEE sums and products touch the cells, so one seed
gives the same bytes on every machine. Memory is the result plus a few rows, whatever the shape.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from memfarm.errors import ConfigError

# none along an axis: two such neighbours would draw a straight line
_TURN: Final = [2.0 * math.pi * (k + 0.5) / 16 for k in range(16)]
_DIRECTIONS_X: Final = np.array([math.cos(a) for a in _TURN], np.float32)
_DIRECTIONS_Y: Final = np.array([math.sin(a) for a in _TURN], np.float32)


def fractal_noise(
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    feature_size: int = 32,
    octaves: int = 4,
    persistence: float = 0.5,
) -> NDArray[np.float32]:
    """A new smooth random field, float32 `shape`, within [-1, 1], mean about 0, standard deviation about 0.25.

    rng: spawned once per octave, otherwise left as it is. feature_size: cells between the lattice points of the
    coarsest octave, at least 2; each further octave halves it (down to 2 cells) and multiplies its height by
    `persistence`, in (0, 1]. Raises ConfigError.
    """
    if feature_size < 2:
        raise ConfigError(f"feature_size must be at least 2 cells, got {feature_size}")
    if octaves < 1:
        raise ConfigError(f"octaves must be at least 1, got {octaves}")
    if not 0.0 < persistence <= 1.0:
        raise ConfigError(f"persistence must be in (0, 1], got {persistence}")
    periods = [feature_size >> octave for octave in range(min(octaves, feature_size.bit_length() - 1))]
    heights = [persistence**octave for octave in range(len(periods))]
    to_unit = math.sqrt(2.0) / sum(heights)  # one octave of unit gradients reaches sqrt(1/2)
    field = np.zeros(shape, np.float32)
    for period, height, stream in zip(periods, heights, rng.spawn(len(periods)), strict=True):
        _add_octave(field, stream, period, height * to_unit)
    return np.clip(field, -1.0, 1.0, out=field)


def _fade(t: NDArray[np.float32]) -> NDArray[np.float32]:
    return (t * t * t * (t * (t * 6.0 - 15.0) + 10.0)).astype(np.float32, copy=False)


class _Lattice:
    """Rows of random gradients, blended along x: the part of an octave that does not depend on y."""

    def __init__(self, rng: np.random.Generator, period: int, width: int, shift: int) -> None:
        columns = np.arange(width) + shift
        self.rng = rng
        self.left = columns // period
        self.nodes = int(self.left[-1]) + 2
        self.offset = ((columns % period) / period).astype(np.float32)
        self.weight = _fade(self.offset)

    def next_row(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The next row of lattice points: height at the row itself, and what each step in y adds; `(W,)` each."""
        drawn = self.rng.integers(len(_TURN), size=self.nodes)
        gx, gy = _DIRECTIONS_X[drawn], _DIRECTIONS_Y[drawn]
        start = gx[self.left] * self.offset
        flat = start + self.weight * (gx[self.left + 1] * (self.offset - 1.0) - start)
        start = gy[self.left]
        return flat, start + self.weight * (gy[self.left + 1] - start)


def _add_octave(field: NDArray[np.float32], rng: np.random.Generator, period: int, height: float) -> None:
    rows, width = field.shape
    # noise is 0 on its lattice: a shift of its own keeps the octaves' lattices from coinciding
    shift_y, shift_x = (int(n) for n in rng.integers(period, size=2))
    lattice = _Lattice(rng, period, width, shift_x)
    top = lattice.next_row()
    for y in range(-shift_y, rows, period):
        bottom = lattice.next_row()
        y0, y1 = max(y, 0), min(y + period, rows)
        offset = ((np.arange(y0, y1) - y) / period).astype(np.float32)[:, None]
        above = top[0] + offset * top[1]
        below = bottom[0] + (offset - 1.0) * bottom[1]
        field[y0:y1] += (above + _fade(offset) * (below - above)) * height
        top = bottom
