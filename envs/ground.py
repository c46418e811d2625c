"""From a configuration to the world that an environment runs in."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from memfarm import map_cache, options, terrain
from memfarm.channels import LANDMARKS, Channel, Decay, expand, find, standard_channels
from memfarm.config import SimulationConfig, WorldConfig
from memfarm.errors import ConfigError, ShapeError
from memfarm.world import World

_SHAPE: Final = (64, 64)
"""Of a world that nobody gave a shape."""


def make_world(config: SimulationConfig, copies: int, agents: int = 0) -> World:
    """`copies` worlds for `agents` each, on the ground that `config.world` names, stored as `config.memmap` says.

    A map brings its own shape; another one that is asked for must be the map's, or is what a raster is resampled to.
    The ground of a recipe or a file is built once a machine (`memfarm.map_cache`) and shared until a world writes it;
    a world that is kept, or whose ground is to lie in memory, gets one of its own.
    Under a mode other than "w+" the world that lies in `config.memmap.directory` is opened, with its ground.
    Raises ConfigError, ChannelError, ShapeError, TerrainError, StorageError, WorldFormatError.
    """
    world = config.world
    stored, sparse = fields(config)
    arguments: dict[str, Any] = {
        "copies": copies,
        "memmap": config.memmap,
        "boundary": world.boundary,
        "channels": {"temporal": stored},
        "sparse": sparse,
        "agents": agents,
    }
    if config.memmap.mode != "w+":
        return World(world.shape, **arguments)
    if isinstance(world.map, str) and Path(world.map).is_dir():
        return World(world.shape, map=world.map, **arguments)
    if isinstance(world.map, dict) and world.map.get("kind") == "flat" and world.map.keys() <= {"kind", "shape"}:
        shape = options.shape(world.map.get("shape", _shape(world)))
        if world.shape not in (None, shape):
            raise ShapeError(f"shape must be that of the map, {shape}, got {world.shape}; leave one of them out")
        return World(shape, **arguments)  # what every channel's fill says: a plain that takes no memory
    recipe = _recipe(world)
    if recipe is None:
        return World(terrain=terrain.from_noise(_shape(world)), **arguments)
    if config.memmap.directory is None and config.memmap.use_for_environmental:
        with map_cache.held(recipe, world.boundary, config.memmap) as folder:
            if folder is not None:
                return World(world.shape, map=folder, map_mode="c", **arguments)
    return World(world.shape, terrain=terrain.from_recipe(recipe), **arguments)


def fields(config: SimulationConfig) -> tuple[tuple[Channel, ...], tuple[Channel, ...]]:
    """The temporal channels that are stored, and the sparse ones, fading as the configuration says.

    LANDMARKS is among the stored ones where it is observed. Raises ChannelError for a sparse channel that there is not.
    """
    seen = config.observation
    gammas = {"DAMAGE_HEAT": seen.gamma_dmg, "TRAILS": seen.gamma_trail, "ALLY_SIGNAL": seen.gamma_sig}
    channels = tuple(
        replace(channel, law=Decay(gammas[channel.name])) if channel.name in gammas else channel
        for channel in standard_channels()["temporal"]
    )
    sparse = tuple(channels[find(channels, name)] for name in config.world.sparse_channels)
    stored = tuple(channel for channel in channels if channel not in sparse)
    if not stored:
        raise ConfigError("a world stores a temporal channel, got all of them in sparse_channels; leave one out")
    marked = LANDMARKS.name in expand(seen.channels or ())
    return (*stored, LANDMARKS) if marked else stored, sparse


def _shape(world: WorldConfig) -> tuple[int, int]:
    return _SHAPE if world.shape is None else world.shape


def _recipe(world: WorldConfig) -> dict[str, Any] | None:
    """What `terrain.from_recipe` makes the ground of; None: the default."""
    if world.map is None:
        return None
    if isinstance(world.map, str):
        recipe = terrain.recipe_of(world.map)
    else:
        recipe = dict(world.map)
    if recipe.get("kind") in ("noise", "flat"):
        recipe.setdefault("shape", _shape(world))
    elif recipe.get("kind") == "raster" and world.shape is not None:
        recipe.setdefault("shape", world.shape)
    return recipe
