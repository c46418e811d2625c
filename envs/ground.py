"""From a configuration to the world that an environment runs in."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from memfarm import terrain
from memfarm.channels import GROUPS, Channel, Decay
from memfarm.config import ObservationConfig, SimulationConfig, WorldConfig
from memfarm.terrain import Terrain
from memfarm.world import World

_DEFAULT_SHAPE: Final = WorldConfig().shape


def make_world(config: SimulationConfig, copies: int) -> World:
    """`copies` worlds on the ground that `config.world` names, stored as `config.memmap` says.

    A map brings its own shape: the default `shape` then asks for nothing, another one must be the map's.
    Raises ConfigError, ShapeError, TerrainError, StorageError, WorldFormatError.
    """
    world = config.world
    asked = None if world.map is not None and world.shape == _DEFAULT_SHAPE else world.shape
    arguments: dict[str, Any] = {
        "copies": copies,
        "memmap": config.memmap,
        "boundary": world.boundary,
        "channels": {"temporal": fields(config.observation)},
    }
    if isinstance(world.map, str) and Path(world.map).is_dir():
        return World(asked, map=world.map, **arguments)
    ground = _ground(world, asked)
    return World(ground.shape if asked is None else asked, terrain=ground, **arguments)


def fields(observation: ObservationConfig) -> tuple[Channel, ...]:
    """The temporal channels, fading as the configuration says."""
    gammas = {
        "DAMAGE_HEAT": observation.gamma_dmg,
        "TRAILS": observation.gamma_trail,
        "ALLY_SIGNAL": observation.gamma_sig,
    }
    return tuple(replace(channel, law=Decay(gammas[channel.name])) for channel in GROUPS["temporal"])


def _ground(world: WorldConfig, asked: tuple[int, int] | None) -> Terrain:
    if world.map is None:
        return terrain.from_noise(world.shape)
    if isinstance(world.map, str):
        return terrain.load(world.map)
    recipe = dict(world.map)
    if recipe.get("kind") in ("noise", "flat"):
        recipe.setdefault("shape", world.shape)
    elif recipe.get("kind") == "raster" and asked is not None:
        recipe.setdefault("shape", asked)
    return terrain.from_recipe(recipe)
