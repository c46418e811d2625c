"""The ground of a world: four layers that stay as they are, by the channels that store them."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memfarm.channels import CAPACITY, OBSTACLES, TERRAIN_COST, VISIBILITY
from memfarm.errors import DTypeError, ShapeError, ValueRangeError


@dataclass(frozen=True, eq=False)
class Terrain:
    """Four layers, float32 `(H, W)` in [0, 1]; copies of what is given, read-only.

    obstacles: 1 where nobody can walk. terrain_cost: effort of walking onto a cell, 1 the hardest. capacity: how much
    food a cell holds when it is full. visibility: the share of what lies in a cell that can be seen from elsewhere.

    Raises ShapeError, DTypeError or ValueRangeError; NaN is out of range.
    """

    obstacles: NDArray[np.float32]
    terrain_cost: NDArray[np.float32]
    capacity: NDArray[np.float32]
    visibility: NDArray[np.float32]

    def __post_init__(self) -> None:
        shape = np.shape(self.obstacles)
        for field in fields(self):
            object.__setattr__(self, field.name, _layer(field.name, getattr(self, field.name), shape))

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in cells."""
        height, width = self.obstacles.shape
        return height, width

    def layers(self) -> dict[str, NDArray[np.float32]]:
        """The layers by their channels' names; the arrays are this terrain's own (read-only), not copies."""
        return {
            OBSTACLES.name: self.obstacles,
            TERRAIN_COST.name: self.terrain_cost,
            CAPACITY.name: self.capacity,
            VISIBILITY.name: self.visibility,
        }


def own(*layers: NDArray[np.float32]) -> Terrain:
    """A terrain around arrays that a builder has just made: a large world's layers are not held twice.

    layers: float32 (H, W) in [0, 1], in the order of `Terrain`'s fields; not checked, not copied, made read-only.
    """
    terrain = object.__new__(Terrain)
    for field, layer in zip(fields(Terrain), layers, strict=True):
        layer.setflags(write=False)
        object.__setattr__(terrain, field.name, layer)
    return terrain


def _layer(name: str, values: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float32]:
    array = np.asarray(values)
    if array.ndim != 2 or not array.size or array.shape != shape:
        raise ShapeError(f"{name} must be (H, W), at least one cell, as obstacles are {shape}, got {array.shape}")
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"{name} must hold real numbers, got {array.dtype}")
    least, most = array.min(), array.max()
    if not (least >= 0 and most <= 1):  # NaN is neither
        raise ValueRangeError(f"{name} must be in [0, 1], got {least} to {most}; scale it first")
    copy = np.array(array, np.float32, order="C")
    copy.setflags(write=False)
    return copy
