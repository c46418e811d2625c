"""The configuration of a simulation: typed, frozen sections, read once where something is built.

A configuration is plain data: numbers, strings, lists and mappings, so it travels as JSON or YAML. Every refusal is
a ConfigError that names the key's path, what it got and what is allowed.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field

from memfarm import config_files
from memfarm.errors import ConfigError, did_you_mean
from memfarm.section import Section, section_of, short

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
"""What is kept per tick: in [0, 1)."""

_Side = Annotated[int, Field(ge=1, lt=2**31)]
_Blocks = Annotated[int, Field(ge=1, le=1024)]

FLOATS: Final = ("float16", "float32", "float64")
DTYPES: Final = {"resources": FLOATS, "environmental": ("uint8", *FLOATS), "temporal": FLOATS}
"""The storage dtypes that a group of layers may have."""


def _different(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if names is not None and (not names or len(set(names)) != len(names)):
        raise ValueError("must be one or more different names")
    return names


def _different_or_none(names: tuple[str, ...]) -> tuple[str, ...]:
    return names if not names else _different(names) or ()


def _path_or_recipe(ground: object) -> object:
    if ground == "" or not isinstance(ground, str | dict | None):
        raise ValueError("must be a path, a recipe (a mapping) or None")
    return ground


class WorldConfig(Section):
    """The world: how large, what lies beyond its edge, where its ground comes from.

    shape: (height, width) in cells; None: that of the map, 64 x 64 where there is none.
    boundary: what an edge does.
    map: a folder made by `memfarm build`, a recipe for `terrain.from_recipe`, or None for seeded noise.
    max_cycles: steps of an episode before its agents are truncated.
    sparse_channels: temporal channels that are not stored: of their events only those of the running step are seen.
    """

    shape: tuple[_Side, _Side] | None = None
    boundary: Literal["wall", "wrap"] = "wall"
    map: Annotated[str | dict[str, Any] | None, BeforeValidator(_path_or_recipe)] = None
    max_cycles: Annotated[int, Field(ge=1)] = 500
    sparse_channels: Annotated[tuple[str, ...], AfterValidator(_different_or_none)] = ()


class AgentsConfig(Section):
    """What the agents are; an environment subclasses it with its own fields."""


class RewardConfig(Section):
    """What is rewarded; an environment subclasses it with its own weights."""


def _preset_or_names(channels: object) -> object:
    if not isinstance(channels, tuple | None) and channels != "agentfarm":
        raise ValueError("must be a list of names, 'agentfarm' or None")
    if isinstance(channels, tuple) and all(isinstance(name, str) for name in channels):
        return _different(channels)
    return channels


class ObservationConfig(Section):
    """What an agent sees, and how fast the fields fade.

    radius: cells seen on each side; a window's side is 2 * radius + 1.
    channels: names in the order of the windows' channels; "agentfarm": its 13, as `memfarm.channels.AGENTFARM` has
        them; None: the seven of `WindowObservation`.
    mask_by_visibility: scale what lies in a cell by the cell's VISIBILITY; "agentfarm" always does.
    gamma_dmg, gamma_trail, gamma_sig: shares of DAMAGE_HEAT, TRAILS, ALLY_SIGNAL kept per tick, in [0, 1).
    memory: whether what agents remember joins the windows: observations are then dicts, see `MemoryObservation`.
    memory_radius: cells remembered on each side; None: radius. memory_channels: names; None: `DEFAULT_MEMORY`.
    overview: (rows, columns) of the coarse view of the whole memory, or None.
    gamma_known: share of KNOWN_EMPTY kept per tick, in [0, 1).
    """

    radius: Annotated[int, Field(ge=0, le=16_383)] = 5
    channels: Annotated[tuple[str, ...] | Literal["agentfarm"] | None, BeforeValidator(_preset_or_names)] = None
    mask_by_visibility: bool = False
    gamma_dmg: Share = 0.85
    gamma_trail: Share = 0.90
    gamma_sig: Share = 0.92
    memory: bool = False
    memory_radius: Annotated[int | None, Field(ge=0, le=16_383)] = None
    memory_channels: Annotated[tuple[str, ...] | None, AfterValidator(_different)] = None
    overview: tuple[_Blocks, _Blocks] | None = (16, 16)
    gamma_known: Share = 0.98


def _dtype_or_dtypes(value: object) -> object:
    if not isinstance(value, Mapping):
        if value not in FLOATS:
            raise ValueError(f"must be {_listed(FLOATS)}{'' if isinstance(value, str) else ', or a mapping of groups'}")
        return value
    for group, dtype in value.items():
        if group not in DTYPES:
            raise ValueError(f"has no group {group!r:.200}; {did_you_mean(str(group), DTYPES)}")
        if dtype not in DTYPES[group]:
            raise ValueError(f"must have {_listed(DTYPES[group])} for {group}")
    return value


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(map(repr, names[:-1]))} or {names[-1]!r}"


class MemmapConfig(Section):
    """Where and how the layers of a world are stored: one configuration for all of them.

    directory: where new worlds get a folder; None: unnamed scratch files that go away with the process. With another
        mode than "w+", the world's own folder, or one that holds it alone.
    dtype: storage of the resources and the fields (masks and costs of the ground are a byte a cell), or a dtype a
        group: `{"resources": "float32", "environmental": "uint8", "temporal": "float16"}`, any part of it.
    mode: "w+" new, "r+" reopen and write, "r" read only, "c" writes that are never kept.
    delete_on_close: remove named files on `close()`.
    use_for_resources, use_for_environmental, use_for_temporal, use_for_memory: whether these, and what agents
        remember, lie in memory-mapped files; otherwise in anonymous memory.
    use_for_observations: whether a batch of observations larger than 64 MiB does.
    """

    directory: Annotated[str, Field(min_length=1)] | None = None
    dtype: Annotated[str | dict[str, str], BeforeValidator(_dtype_or_dtypes)] = "float32"
    mode: Literal["w+", "r+", "r", "c"] = "w+"
    delete_on_close: bool = False
    use_for_resources: bool = True
    use_for_environmental: bool = True
    use_for_temporal: bool = True
    use_for_memory: bool = True
    use_for_observations: bool = False

    def dtype_of(self, group: str) -> str:
        """The storage dtype of a group's layers: its own, or the one for all."""
        default = "uint8" if group == "environmental" else "float32"
        if isinstance(self.dtype, dict):
            return self.dtype.get(group, default)
        return default if group == "environmental" else self.dtype


class SimulationConfig(Section):
    """The whole configuration, one section a concern; an environment overrides the sections it needs more of.

    The fields of all sections but `memmap` have names of their own, so that a door can take them as bare keyword
    arguments (`from_arguments`). Relative paths are relative to the working folder, in files too.
    """

    world: WorldConfig = WorldConfig()
    agents: AgentsConfig = AgentsConfig()
    reward: RewardConfig = RewardConfig()
    observation: ObservationConfig = ObservationConfig()
    memmap: MemmapConfig = MemmapConfig()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a subclass in which two sections share a field's name: a bare argument could mean either."""
        super().__pydantic_init_subclass__(**kwargs)
        _arguments(cls)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote, or any part of it; what is missing has its default. Raises ConfigError."""
        if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
            raise ConfigError(f"a configuration must be a mapping of section names, got {short(data)}")
        return cls(**data)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read a `.yaml`, `.yml` or `.json` file with the nesting of `to_dict`. Raises ConfigError, naming it."""
        try:
            return cls.from_dict(config_files.read(Path(path)))
        except ConfigError as error:
            raise ConfigError(f"{Path(path)}: {error}") from None

    @classmethod
    def load(cls, config: "Source" = None) -> Self:
        """From an object, a dict, a file's path or None; an object of a base class is read as its dict."""
        if isinstance(config, cls):
            return config
        if isinstance(config, SimulationConfig):
            return cls.from_dict(config.to_dict())
        if config is None or isinstance(config, Mapping):
            return cls.from_dict(config or {})
        if isinstance(config, str | os.PathLike):
            return cls.from_file(config)
        raise ConfigError(f"config must be a {cls.__name__}, a dict, a path or None, got {short(config)}")

    @classmethod
    def from_arguments(cls, config: "Source" = None, **arguments: Any) -> Self:
        """`config`, with a door's bare keyword arguments on top: `from_arguments(None, shape=(64, 64), radius=3)`.

        Every field of every section but `memmap` is one. Raises ConfigError for any other name.
        """
        known = _arguments(cls)
        for name in arguments:
            if name in known:
                continue
            if name in cls.model_fields or name in MemmapConfig.model_fields:
                where = f"{{{name!r}: ...}}" if name in cls.model_fields else f"{{'memmap': {{{name!r}: ...}}}}"
                raise ConfigError(f"{name} belongs into config, got it as an argument; pass config={where}")
            raise ConfigError(f"there is no argument {name!r}; {did_you_mean(name, known)}")
        return cls.load(config).with_overrides({f"{known[name]}.{name}": value for name, value in arguments.items()})

    def with_overrides(self, overrides: Mapping[str, Any]) -> Self:
        """A copy with some values changed, by their paths: `{"memmap.use_for_resources": False}`.

        A path may also name a whole section (a dict then replaces it) or lead into a recipe (`world.map.seed`).
        """
        if not overrides:
            return self
        data = self.to_dict()
        for path, value in overrides.items():
            *parents, last = str(path).split(".")
            node: Any = data
            for depth, key in enumerate(parents):
                if key not in node:
                    raise ConfigError(f"there is no key {str(path)!r:.200}; {did_you_mean(key, node)}")
                node = node[key]
                if not isinstance(node, dict):
                    where = ".".join(parents[: depth + 1])
                    raise ConfigError(f"{where} is {short(node)} and has no keys, got {path!r:.200}")
            node[last] = value
        return self.from_dict(data)


Source = SimulationConfig | Mapping[str, Any] | str | os.PathLike[str] | None
"""What a configuration can be loaded from."""


def _arguments(config: type[SimulationConfig]) -> dict[str, str]:
    """The section of every bare argument. Raises ConfigError where two sections share a name."""
    known: dict[str, str] = {}
    for section in config.model_fields:
        fields = None if section == "memmap" else section_of(config, section)
        for name in fields.model_fields if fields else ():
            if name in known or name in config.model_fields:
                other = f"{known[name]}.{name}" if name in known else f"the section {name}"
                raise ConfigError(f"fields of sections must have names of their own, got {section}.{name} and {other}")
            known[name] = section
    return known
