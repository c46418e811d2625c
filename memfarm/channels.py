"""Channels, the laws their cells follow, and the standard channels.

A law says how a cell changes in one tick when nobody touches it. All laws are one affine map with
a bound, so that any number of ticks has a closed form::

    v[t + 1] = clip(alpha * v[t] + beta * k, 0, k)      k = capacity: a number, or another channel
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from memfarm.errors import ChannelError, ConfigError, did_you_mean

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_LARGEST: Final = float(np.finfo(np.float32).max)


def _require(ok: bool, rule: str, got: object) -> None:
    if not ok:
        raise ConfigError(f"{rule}, got {got!r}")


def _require_number(what: str, value: Any) -> None:
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    _require(number and abs(value) <= _LARGEST, f"{what} must be a number of float32's range", value)  # NaN is refused


@dataclass(frozen=True, slots=True)
class Static:
    """A cell keeps its value until somebody writes it."""

    @property
    def alpha(self) -> float:
        return 1.0

    @property
    def beta(self) -> float:
        return 0.0


@dataclass(frozen=True, slots=True)
class Decay:
    """A cell fades: `v[t + 1] = gamma * v[t]`; below `floor` it reads exactly 0.

    gamma: share kept per tick, in [0, 1). floor: in the channel's units, 0 or more.
    """

    gamma: float
    floor: float = 1e-4

    def __post_init__(self) -> None:
        _require_number("Decay.gamma", self.gamma)
        _require(0.0 <= self.gamma < 1.0, "Decay.gamma must be in [0, 1); use Static() to keep values", self.gamma)
        _require_number("Decay.floor", self.floor)
        _require(self.floor >= 0.0, "Decay.floor must not be negative", self.floor)

    @property
    def alpha(self) -> float:
        return self.gamma

    @property
    def beta(self) -> float:
        return 0.0


@dataclass(frozen=True, slots=True)
class Regrow:
    """A cell grows by `rate * capacity` a tick, up to its capacity (linear).

    rate: share of the capacity per tick, in [1e-12, 1]. capacity: in the channel's units, or the name
    of a Static channel of the same world that holds it cell by cell.
    """

    rate: float
    capacity: float | str = 1.0

    def __post_init__(self) -> None:
        _require_growth("Regrow", self.rate, self.capacity)

    @property
    def alpha(self) -> float:
        return 1.0

    @property
    def beta(self) -> float:
        return self.rate


@dataclass(frozen=True, slots=True)
class Recover:
    """A cell closes a share `rate` of its distance to its capacity each tick (exponential).

    rate: in [1e-12, 1]. capacity: as in `Regrow`.
    """

    rate: float
    capacity: float | str = 1.0

    def __post_init__(self) -> None:
        _require_growth("Recover", self.rate, self.capacity)

    @property
    def alpha(self) -> float:
        return 1.0 - self.rate

    @property
    def beta(self) -> float:
        return self.rate


Law = Static | Decay | Regrow | Recover

_SLOWEST: Final = 1e-12  # a rate that still changes 1 - rate
_LAWS: Final[dict[str, type[Law]]] = {law.__name__: law for law in (Static, Decay, Regrow, Recover)}


def _require_growth(law: str, rate: float, capacity: float | str) -> None:
    _require_number(f"{law}.rate", rate)
    _require(_SLOWEST <= rate <= 1.0, f"{law}.rate must be in [{_SLOWEST}, 1]; use Static() for no growth", rate)
    if not isinstance(capacity, str):
        _require_number(f"{law}.capacity (or it is a channel's name)", capacity)
        _require(capacity > 0.0, f"{law}.capacity must be positive, or a channel's name", capacity)


def _plain(value: float | str) -> float | str:
    return value if isinstance(value, str) else float(value)


@dataclass(frozen=True, slots=True)
class Channel:
    """One layer of a world.

    name: letters, digits and underscores, a letter first.
    law: how a cell changes when nobody touches it.
    low, high: the range of its values, in the channel's own units; writes are clipped to it.
    fill: what a never-written cell reads (at the moment of a reset; its law runs from there).
    outside: what lies beyond the edge of a walled world.

    A channel whose law is not `Static` starts at `low=0`: its cells live in [0, capacity], and a
    decaying cell's capacity is `high`.
    """

    name: str
    law: Law = Static()
    low: float = 0.0
    high: float = 1.0
    fill: float = 0.0
    outside: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ChannelError(
                f"a channel's name is a letter followed by at most 63 letters, digits or underscores, got {self.name!r}"
            )
        _require(isinstance(self.law, Law), f"{self.name}.law must be one of {', '.join(_LAWS)}", self.law)
        for key in ("low", "high", "fill", "outside"):
            _require_number(f"{self.name}.{key}", getattr(self, key))
        _require(self.low < self.high, f"{self.name}.low must be below high={self.high}", self.low)
        for key in ("fill", "outside"):
            value = getattr(self, key)
            _require(self.low <= value <= self.high, f"{self.name}.{key} must be in [{self.low}, {self.high}]", value)
        if not isinstance(self.law, Static):
            _require(self.low == 0.0, f"{self.name}.low must be 0 under {type(self.law).__name__}", self.low)
        if not isinstance(self.capacity, str):
            rule = f"{self.name}: capacity must be at most high={self.high}"
            _require(self.capacity <= self.high, rule, self.capacity)

    @property
    def capacity(self) -> float | str:
        """The upper bound of a cell: a number in the channel's units, or the name of a channel."""
        return self.law.capacity if isinstance(self.law, Regrow | Recover) else self.high

    @property
    def floor(self) -> float:
        """Below this the cell reads exactly 0; 0 where the law has no floor."""
        return self.law.floor if isinstance(self.law, Decay) else 0.0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description; `Channel.from_dict` reads it back."""
        law = {key: _plain(getattr(self.law, key)) for key in self.law.__dataclass_fields__}
        numbers = {key: _plain(getattr(self, key)) for key in ("low", "high", "fill", "outside")}
        return {"name": self.name, "law": {"kind": type(self.law).__name__, **law}, **numbers}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Channel":
        """Read what `to_dict` wrote. Raises ConfigError or ChannelError on anything else."""
        fields = dict(data)
        law = fields.pop("law", None)
        if not isinstance(law, dict) or law.get("kind") not in list(_LAWS):  # a list: the kind may be unhashable
            raise ConfigError(f"a channel's law is one of {sorted(_LAWS)}, got {law!r}")
        arguments = {key: value for key, value in law.items() if key != "kind"}
        try:
            return cls(law=_LAWS[law["kind"]](**arguments), **fields)
        except TypeError as error:
            raise ConfigError(f"a channel has the fields {sorted(cls.__dataclass_fields__)}, got {data!r}") from error


RESOURCES: Final = Channel("RESOURCES", Regrow(rate=0.01, capacity="CAPACITY"), fill=1.0)
OBSTACLES: Final = Channel("OBSTACLES", outside=1.0)
TERRAIN_COST: Final = Channel("TERRAIN_COST")
VISIBILITY: Final = Channel("VISIBILITY", fill=1.0)
CAPACITY: Final = Channel("CAPACITY", fill=1.0)
DAMAGE_HEAT: Final = Channel("DAMAGE_HEAT", Decay(0.85))
TRAILS: Final = Channel("TRAILS", Decay(0.90))
ALLY_SIGNAL: Final = Channel("ALLY_SIGNAL", Decay(0.92))

GROUPS: Final[dict[str, tuple[Channel, ...]]] = {
    "resources": (RESOURCES,),
    "environmental": (OBSTACLES, TERRAIN_COST, VISIBILITY, CAPACITY),
    "temporal": (DAMAGE_HEAT, TRAILS, ALLY_SIGNAL),
}
"""The channels that every world stores, by the group that keeps them: one grid a group."""

LANDMARKS: Final = Channel("LANDMARKS")
"""Marks that stay until the world is reset; a world that is asked for them keeps them among its temporal channels."""

SEEN: Final = ("SELF_HP", "ALLIES_HP", "ENEMIES_HP", "GOAL")
"""Channels an agent sees that no grid stores: they come from the agents themselves."""

REMEMBERED: Final = ("KNOWN_EMPTY", "LANDMARKS")
"""Channels that come from an agent's own memory (`memfarm.memory.AgentMemory`), not from what it sees now."""

AGENTFARM: Final = (
    "SELF_HP",
    "ALLIES_HP",
    "ENEMIES_HP",
    "RESOURCES",
    "OBSTACLES",
    "TERRAIN_COST",
    "VISIBILITY",
    "KNOWN_EMPTY",
    "DAMAGE_HEAT",
    "TRAILS",
    "ALLY_SIGNAL",
    "GOAL",
    "LANDMARKS",
)
"""What `channels="agentfarm"` stands for: the observation of AgentFarm, in its order."""


def expand(channels: Sequence[str] | str) -> tuple[str, ...]:
    """The names of `channels`: those of the preset "agentfarm", or the given ones. Raises ConfigError."""
    if isinstance(channels, str):
        if channels == "agentfarm":
            return AGENTFARM
        raise ConfigError(f"channels must be a sequence of names or 'agentfarm', got {channels!r}; pass [{channels!r}]")
    return tuple(channels)


_registered: Final[dict[str, tuple[Channel, ...]]] = dict.fromkeys(GROUPS, ())


def standard_channels() -> dict[str, tuple[Channel, ...]]:
    """What a new world stores, by group: the channels of `GROUPS`, then the registered ones; a new dict."""
    return {group: (*channels, *_registered[group]) for group, channels in GROUPS.items()}


def register_channel(channel: Channel, group: str = "temporal") -> None:
    """Have every world made from now on store `channel`: observed, written and passing time as the built-in ones are.

    group: "temporal" for what events leave, "resources" for what is taken, "environmental" for ground that stays
        (a Static channel; a world on a `map` folder has the map's own). Worlds that exist stay as they are; one world
        alone gets it by `World(channels={group: (*GROUPS[group], channel)})`.

    It counts in this process: a module that registers at import serves spawned workers too. Raises ChannelError where
    the name is taken, ConfigError for another group or for a law that the group cannot keep.
    """
    if group not in GROUPS:
        raise ConfigError(f"a group of channels is one of {', '.join(GROUPS)}, got {group!r}")
    if not isinstance(channel, Channel):
        raise ConfigError(f"register_channel takes a Channel, got {channel!r}; make one with Channel(name, law)")
    if group == "environmental" and not isinstance(channel.law, Static):
        raise ConfigError(f"environmental channels are Static, got {channel.law}; register it as temporal")
    taken = {known.name for channels in standard_channels().values() for known in channels}
    if channel.name in taken.union(SEEN, REMEMBERED):
        raise ChannelError(f"channels must have different names, got {channel.name!r} again; choose another name")
    _registered[group] = (*_registered[group], channel)


def unregister_channel(name: str) -> None:
    """Undo `register_channel` for worlds made from now on. Raises ChannelError where no such channel is registered."""
    for group, channels in _registered.items():
        if any(channel.name == name for channel in channels):
            _registered[group] = tuple(channel for channel in channels if channel.name != name)
            return
    known = (channel.name for channels in _registered.values() for channel in channels)
    raise ChannelError(f"there is no registered channel {name!r}; {did_you_mean(name, known)}")


def find(channels: tuple[Channel, ...], name: str) -> int:
    """The index of the channel called `name`; ChannelError names the nearest right one."""
    for index, channel in enumerate(channels):
        if channel.name == name:
            return index
    raise ChannelError(f"there is no channel {name!r}; {did_you_mean(name, (c.name for c in channels))}")
