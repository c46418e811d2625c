"""Where food grows: a suitability of the ground, made patchy, and turned into capacities.

Most cells hold little, a few are rich: a world on which finding food is a problem worth learning.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from memfarm.noise import fractal_noise
from memfarm.options import number, whole

_BAND: Final = 128
_SAMPLE: Final = 1024
_RICH: Final = 0.99
_EQUAL: Final = 1e-4  # well above what float32 rounding makes of equal ground


def bands(height: int) -> Iterator[tuple[int, int]]:
    """Rows `0..height` in pieces, so that what is worked out on the way stays small: `(first, end)` of each."""
    for y in range(0, height, _BAND):
        yield y, min(y + _BAND, height)


def sample(layer: NDArray[np.float32]) -> NDArray[np.float32]:
    """At most 1024² cells of `layer` (H, W) at equal distances, for its quantiles: a view."""
    step_y, step_x = (-(-side // _SAMPLE) for side in layer.shape)
    return layer[::step_y, ::step_x]


def ramp(values: NDArray[np.float32], start: float, end: float) -> NDArray[np.float32]:
    """A new array: 0 at `start` and before, 1 at `end` and beyond, 3t² - 2t³ between; `end` may be the lower."""
    t: NDArray[np.float32] = np.clip((values - np.float32(start)) / np.float32(end - start), 0.0, 1.0)
    return t * t * (np.float32(3.0) - np.float32(2.0) * t)


def patches(
    shape: tuple[int, int], rng: np.random.Generator, *, patch_size: int, patchiness: float
) -> NDArray[np.float32]:
    """Seeded patches about `patch_size` cells apart: a new float32 `shape` in [1 - patchiness, 1]."""
    patchiness = number("patchiness", patchiness, 0.0, 1.0)
    patch_size = whole("patch_size", patch_size, 2)
    field = fractal_noise(shape, rng, feature_size=patch_size, octaves=3)
    for y0, y1 in bands(shape[0]):
        field[y0:y1] = 1.0 - patchiness * ramp(field[y0:y1], 0.4, -0.4)
    return field


def share_out(suitability: NDArray[np.float32], obstacles: NDArray[np.float32], food_share: float) -> None:
    """Turn `suitability` (H, W) into capacities in [0, 1], in place: food on the best `food_share` of walkable cells.

    0 on the rest and on obstacles, 1 on the best 1 %, linear between. The bounds are quantiles over a
    `sample`, so the share holds for any land, whatever the units of its suitability. Raises ConfigError.
    """
    food_share = number("food_share", food_share, 1e-6, 1.0)
    walked = sample(suitability)[sample(obstacles) < 0.5]
    if walked.size:
        least, most = (float(q) for q in np.quantile(walked, [1.0 - food_share, max(_RICH, 1.0 - food_share)]))
    else:
        least, most = 0.0, 1.0  # nobody walks here
    for y0, y1 in bands(suitability.shape[0]):
        rows = suitability[y0:y1]
        if most > least * (1.0 + _EQUAL):
            grown = np.clip((rows - np.float32(least)) / np.float32(most - least), 0.0, 1.0)
        else:  # all ground is equal
            grown = (rows >= np.float32(least * (1.0 - _EQUAL))).astype(np.float32)
        suitability[y0:y1] = grown * (1.0 - obstacles[y0:y1])


def hide(visibility: NDArray[np.float32], capacity: NDArray[np.float32], canopy: float) -> None:
    """Scale `visibility` (H, W), in place, by what growth leaves in sight: 1 where bare, `1 - canopy` at capacity 1."""
    canopy = number("canopy", canopy, 0.0, 1.0)
    for y0, y1 in bands(capacity.shape[0]):
        visibility[y0:y1] *= 1.0 - canopy * capacity[y0:y1]
