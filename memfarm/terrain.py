"""Terrain: the layers of a world that stay as they are, from an elevation, an octile map, seeded noise or a recipe.

Either way: `terrain = load("dem.tif", shape=(256, 256))`, then `World(terrain.shape, terrain=terrain)`.
"""

import inspect
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memfarm import options, relief
from memfarm.errors import DTypeError, ShapeError, TerrainError, ValueRangeError, did_you_mean
from memfarm.ground import Terrain, own
from memfarm.growth import bands, hide, patches, ramp, sample, share_out
from memfarm.noise import fractal_noise
from memfarm.octile import read_octile
from memfarm.raster import SUFFIXES, load_raster, resample

__all__ = [
    "VERSION",
    "GroundOptions",
    "Terrain",
    "completed",
    "flat",
    "from_elevation",
    "from_noise",
    "from_octile",
    "from_raster",
    "from_recipe",
    "load",
    "recipe_of",
]

VERSION: Final = 1
"""Of the ground that a recipe makes: raise it when the same recipe makes other bytes, and cached maps are made anew."""

_LAND, _FOOD = 1, 2  # streams of one seed
_ROUGHNESS: Final = 0.4  # hills to walk around rather than rubble


class GroundOptions(TypedDict, total=False):
    """How an elevation becomes ground; the defaults and meanings are those of `from_elevation`."""

    max_slope: float
    food_slope: float
    food_share: float
    patch_size: int
    patchiness: float
    hollow_radius: int
    canopy: float
    hollow: float


def from_elevation(
    elevation: ArrayLike,
    *,
    cell_size: float = 1.0,
    water_level: float | None = None,
    seed: int = 0,
    max_slope: float = 22.0,
    food_slope: float = 9.0,
    food_share: float = 0.5,
    patch_size: int = 16,
    patchiness: float = 0.75,
    hollow_radius: int = 8,
    canopy: float = 0.4,
    hollow: float = 0.3,
) -> Terrain:
    """The ground that an elevation (H, W) in metres makes; NaN or masked cells are no data and become obstacles.

    OBSTACLES: slopes steeper than `max_slope` degrees (Horn's, `relief.slope`), cells at or below `water_level` metres,
    cells without data. TERRAIN_COST: rise over run, as a share of that of `max_slope`: climbing works against gravity,
    per metre walked in proportion to the gradient; 1 on obstacles.
    CAPACITY: flatness, halved at `food_slope` degrees, times lowness among the `hollow_radius` cells around
    (`relief.deviation`; water and soil gather in hollows: Beven & Kirkby, Hydrological Sciences Bulletin 24(1), 1979),
    times seeded patches about `patch_size` cells apart, as strong as `patchiness` in [0, 1]; food grows on
    the best `food_share` of the walkable cells, in (0, 1], and is richest on the best 1 %.
    VISIBILITY: 1 in the open; growth hides up to a share `canopy`, a deep hollow up to `hollow`, both in [0, 1].

    cell_size: metres. The same arguments give the same bytes. Scratch memory is a few rows. Raises ShapeError,
    DTypeError, ValueRangeError (infinite elevations), ConfigError, and TerrainError where nothing is walkable.
    """
    land = _elevation(elevation)
    cell_size = options.number("cell_size", cell_size, 1e-6, 1e9)
    steepest = math.tan(math.radians(options.number("max_slope", max_slope, 0.01, 89.0)))
    halving = math.tan(math.radians(options.number("food_slope", food_slope, 0.01, 89.0))) / steepest
    level = -math.inf if water_level is None else options.number("water_level", water_level, -1e9, 1e9)
    hollow, radius = options.number("hollow", hollow, 0.0, 1.0), options.whole("hollow_radius", hollow_radius, 1, 1024)
    capacity = _food(land.shape, seed, patch_size, patchiness)
    obstacles, cost, visibility = (np.empty_like(capacity) for _ in range(3))
    for y0, y1 in bands(land.shape[0]):
        rows = land[y0:y1]
        steep = relief.slope(land, y0, y1, cell_size) / np.float32(steepest)
        lie = relief.deviation(land, y0, y1, radius, level=0.01 * cell_size)
        blocked = np.isnan(rows) | (steep > 1.0) | (rows <= level)
        steep = np.where(blocked, np.float32(1.0), steep)
        obstacles[y0:y1], cost[y0:y1] = blocked, steep
        flatness = 1.0 / (1.0 + np.square(steep / np.float32(halving)))
        capacity[y0:y1] *= flatness * ramp(lie, 1.5, -1.5)
        visibility[y0:y1] = 1.0 - hollow * ramp(lie, 0.0, -2.5)
    if obstacles.all():
        raise TerrainError(
            f"a terrain needs a walkable cell, got none: every slope is above max_slope={max_slope} degrees at "
            f"cell_size={cell_size} metres, under water or without data; is cell_size right?"
        )
    share_out(capacity, obstacles, food_share)
    hide(visibility, capacity, canopy)
    return own(obstacles, cost, capacity, visibility)


def from_noise(
    shape: tuple[int, int],
    seed: int = 0,
    *,
    feature_size: int = 32,
    octaves: int = 4,
    height: float = 400.0,
    cell_size: float = 30.0,
    water_share: float = 0.06,
    **ground: Unpack[GroundOptions],
) -> Terrain:
    """Hills, cliffs and lakes from a seed; the default world of an environment is `from_noise((64, 64), seed=0)`.

    shape: (height, width) in cells. feature_size: cells between hills; octaves: finer and finer relief on top.
    height: metres from the deepest to the highest that there can be; cell_size: metres. water_share: the lowest share
    of the cells, in [0, 1), that is under water. ground: as for `from_elevation`. One seed, one shape: the same bytes.
    """
    size = options.shape(shape)
    height = options.number("height", height, 0.0, 1e6)
    water_share = options.number("water_share", water_share, 0.0, 0.99)
    land = fractal_noise(
        size,
        np.random.default_rng([options.seed(seed), _LAND]),
        feature_size=options.whole("feature_size", feature_size, 2),
        octaves=options.whole("octaves", octaves, 1),
        persistence=_ROUGHNESS,
    )
    land *= np.float32(height / 2.0)
    shore = np.quantile(sample(land), water_share).astype(np.float32)
    water_level = float(np.nextafter(shore, np.float32(-np.inf)))  # the shore is dry: level land is no lake
    return from_elevation(land, cell_size=cell_size, water_level=water_level, seed=seed, **ground)


def from_raster(
    path: str | os.PathLike[str],
    *,
    shape: tuple[int, int] | None = None,
    cell_size: float | None = None,
    water_level: float | None = None,
    seed: int = 0,
    **ground: Unpack[GroundOptions],
) -> Terrain:
    """The ground of an elevation file (`raster.load_raster` says which), at another `shape` if one is asked for.

    cell_size: metres of a cell of the file; None: what the file says, or 1. The rest as for `from_elevation`.
    """
    elevation, found = load_raster(path)
    side = options.number("cell_size", cell_size, 1e-6, 1e9) if cell_size is not None else found or 1.0
    if shape is not None:
        cells = elevation.size
        elevation = resample(elevation, options.shape(shape))
        side *= math.sqrt(cells / elevation.size)
    return from_elevation(elevation, cell_size=side, water_level=water_level, seed=seed, **ground)


def from_octile(
    path: str | os.PathLike[str],
    *,
    seed: int = 0,
    swamp_cost: float = 0.5,
    food_share: float = 0.3,
    patch_size: int = 16,
    patchiness: float = 0.75,
    canopy: float = 0.4,
) -> Terrain:
    """The ground of a MovingAI `.map`: `.` and `G` are open, `S` costs `swamp_cost` in [0, 1], the rest are obstacles.

    Water `W` is an obstacle because nobody gets there from land. A map says nothing of food: seeded patches
    of it grow on the walkable cells; the other arguments are those of `from_elevation`. Raises TerrainError.
    """
    swamp_cost = options.number("swamp_cost", swamp_cost, 0.0, 1.0)
    letters = read_octile(path)
    cost_of = np.ones(256, np.float32)
    cost_of[list(b".G")] = 0.0
    cost_of[ord("S")] = swamp_cost
    obstacle_of = np.ones(256, np.float32)
    obstacle_of[list(b".GS")] = 0.0
    obstacles = obstacle_of[letters]
    if obstacles.all():
        raise TerrainError(f"{path}: a terrain needs a walkable cell, got a map without '.', 'G' or 'S'")
    capacity = _food(letters.shape, seed, patch_size, patchiness)
    share_out(capacity, obstacles, food_share)
    visibility = np.ones_like(capacity)
    hide(visibility, capacity, canopy)
    return own(obstacles, cost_of[letters], capacity, visibility)


def flat(shape: tuple[int, int], *, capacity: float = 1.0) -> Terrain:
    """An open plain: nothing in the way, no cost, `capacity` in [0, 1] food in every cell, everything in sight."""
    size = options.shape(shape)
    food = np.full(size, options.number("capacity", capacity, 0.0, 1.0), np.float32)
    return own(np.zeros(size, np.float32), np.zeros(size, np.float32), food, np.ones(size, np.float32))


def load(source: str | os.PathLike[str], **arguments: Any) -> Terrain:
    """The ground of a file, by its suffix: `.map` by `from_octile`, the elevations of `load_raster` by `from_raster`.

    arguments: those of that function. Raises TerrainError for another suffix, another name, or a file that is broken.
    """
    return from_recipe({**arguments, **recipe_of(source)})


def recipe_of(source: str | os.PathLike[str]) -> dict[str, Any]:
    """The recipe of a file's ground, by its suffix. Raises TerrainError for one that no ground is read from."""
    suffix = Path(source).suffix.lower()
    kind = "octile" if suffix == ".map" else "raster" if suffix in SUFFIXES else None
    if kind is None and not Path(source).exists():
        raise TerrainError(f"a map must be a world folder or a file, there is no {str(source)!r}; see `memfarm build`")
    if kind is None:
        raise TerrainError(
            f"terrain is read from {', '.join(('.map', *SUFFIXES))}, got {str(source)!r}; save it as one of these"
        )
    return {"kind": kind, "path": source}


def from_recipe(recipe: Mapping[str, Any]) -> Terrain:
    """The ground that a JSON-able recipe describes: its `kind`, and that builder's arguments by their names.

    `{"kind": "noise", "shape": [64, 64], "seed": 0}` · `{"kind": "raster", "path": "dem.tif", "shape": [256, 256]}` ·
    `{"kind": "octile", "path": "arena.map"}` · `{"kind": "flat", "shape": [64, 64]}`

    Raises TerrainError for an unknown kind or name, with the nearest right one, and for a missing one; ConfigError for
    a value that breaks its rule; and what the builder raises.
    """
    kind, arguments = _checked(recipe)
    try:
        return _BUILDERS[kind](**arguments)
    except MemoryError as error:
        message = f"a terrain must fit the memory while it is made, got {error}; use a smaller shape"
        raise TerrainError(message) from error


def completed(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with the default of every argument that it leaves out: equal ones make the same ground. A new dict.

    Raises TerrainError as `from_recipe` does; values are not looked at.
    """
    kind, arguments = _checked(recipe)
    defaults = _defaults(from_elevation) if _takes_ground(_BUILDERS[kind]) else {}
    known = {name: value for name, value in defaults.items() if name in GroundOptions.__annotations__}
    return {"kind": kind, **known, **_defaults(_BUILDERS[kind]), **arguments}


def _checked(recipe: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A recipe's kind and its arguments, which its builder knows, and all that it needs are there."""
    arguments = dict(recipe)
    kind = arguments.pop("kind", None)
    if not isinstance(kind, str) or kind not in _BUILDERS:
        nearest = did_you_mean(str(kind), _BUILDERS)
        raise TerrainError(f"a recipe's kind must be a known one, got {kind!r:.80}; {nearest}")
    known = _arguments(_BUILDERS[kind])
    for name in arguments:
        if name not in known:
            nearest = did_you_mean(str(name), known)
            raise TerrainError(f"terrain of kind {kind!r} has no argument {name!r:.80}; {nearest}")
    for name, required in known.items():
        if required and name not in arguments:
            raise TerrainError(f"terrain of kind {kind!r} needs {name!r}, got {sorted(arguments) or 'no arguments'}")
    if "path" in arguments and not isinstance(arguments["path"], str | os.PathLike):
        raise TerrainError(f"a recipe's path must be a string, got {arguments['path']!r:.80}")
    return kind, arguments


_BUILDERS: Final[dict[str, Callable[..., Terrain]]] = {
    "flat": flat,
    "noise": from_noise,
    "octile": from_octile,
    "raster": from_raster,
}


def _arguments(builder: Callable[..., Terrain]) -> dict[str, bool]:
    """The names that a builder takes, and whether it needs them."""
    parameters = inspect.signature(builder).parameters.values()
    named = {p.name: p.default is p.empty for p in parameters if p.kind is not p.VAR_KEYWORD}
    return named | dict.fromkeys(GroundOptions.__annotations__ if _takes_ground(builder) else (), False)


def _takes_ground(builder: Callable[..., Terrain]) -> bool:
    """Whether a builder hands `GroundOptions` on to `from_elevation`."""
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(builder).parameters.values())


def _defaults(builder: Callable[..., Terrain]) -> dict[str, Any]:
    parameters = inspect.signature(builder).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _elevation(values: ArrayLike) -> NDArray[np.float32]:
    """`values` as float32 (H, W), NaN where masked; not copied where it is that already."""
    array = values if isinstance(values, np.ndarray) else np.asarray(values)
    if array.ndim != 2 or not array.size:
        raise ShapeError(f"elevation must be (H, W), at least one cell, got shape {array.shape}")
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"elevation must hold real numbers, got {array.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        land: NDArray[np.float32] = np.ma.filled(array.astype(np.float32, copy=False), np.nan)
    if np.isinf(land).any():
        raise ValueRangeError("elevation must be finite, or NaN where there is no data, got infinity")
    return land


def _food(shape: tuple[int, int], seed: int, patch_size: int, patchiness: float) -> NDArray[np.float32]:
    rng = np.random.default_rng([options.seed(seed), _FOOD])
    return patches(shape, rng, patch_size=patch_size, patchiness=patchiness)
