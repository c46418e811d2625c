"""The keyword arguments of a door: the environment's own, by their bare names, and the door's."""

from collections.abc import Mapping
from typing import Any

from memfarm.config import SimulationConfig
from memfarm.envs.base import GridEnv
from memfarm.envs.rules import Config
from memfarm.errors import ConfigError, did_you_mean


def configure(
    environment: type[GridEnv], config: Config | None, arguments: Mapping[str, Any], door: tuple[str, ...]
) -> SimulationConfig:
    """`config` with `arguments` on top; `door`: the names that the door itself takes, for the hint at a wrong one.

    Raises ConfigError.
    """
    sections = {name: field.annotation for name, field in environment.CONFIG.model_fields.items() if name != "memmap"}
    fields = {name for section in sections.values() for name in getattr(section, "model_fields", {})}
    for name in arguments:
        if name not in fields and name not in environment.CONFIG.model_fields:
            raise ConfigError(f"there is no argument {name!r}; {did_you_mean(name, {*fields, *door, 'config'})}")
    return environment.CONFIG.from_arguments(config, **arguments)


def world_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Of a door's `options` at reset those that are the core's: `keep_world`."""
    return {name: value for name, value in (options or {}).items() if name == "keep_world"}
