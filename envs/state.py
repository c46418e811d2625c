"""The state of an environment's agents and episodes: taken, checked against the environment, put back."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from memfarm import plain_npz, snapshot_files
from memfarm.errors import ConfigError, WorldFormatError
from memfarm.files import read_text
from memfarm.generators import generator_of, generator_state
from memfarm.pace import at_once
from memfarm.snapshot_files import Later, Written
from memfarm.stateful import Part, Worlds
from memfarm.states import State

if TYPE_CHECKING:
    from memfarm.envs.resumable import Resumable

_ABOUT: Final = "agents.json"
_ARRAYS: Final = "agents.npz"
_LARGEST: Final = 1 << 20
_RULES: Final = ("world", "agents", "reward")
"""Sections of a configuration that must be as they were; `memmap` and `observation` say only where and what is seen."""


class AgentsState:
    """A GridEnv's agents, episodes and generator as a `Stateful`."""

    def __init__(self, env: "Resumable") -> None:
        self._env = env

    def take(self) -> State:
        self._env.check_finished()
        return {**self._about(), "arrays": {name: array.copy() for name, array in self._env.state_arrays().items()}}

    def _about(self) -> State:
        env = self._env
        return {
            "environment": env.NAME,
            "agents_per_world": env.agents_per_world,
            "autoreset_mode": env.autoreset_mode.value,
            "config": env.config.to_dict(),
            "started": env.started,
            "generator": generator_state(env.generator),
        }

    def check(self, state: State) -> None:
        mine = self._about()
        for key in ("environment", "agents_per_world", "autoreset_mode"):
            if state.get(key) != mine[key]:
                raise ConfigError(f"{key} must be as it was saved, {state.get(key)!r}, got {mine[key]!r}")
        _check_rules(state.get("config"), mine["config"])
        arrays, wanted = state["arrays"], self._env.state_arrays()
        if state["started"]:
            wanted["keys"] = np.zeros(self._env.worlds, np.uint64)
        else:
            wanted.pop("keys", None)
        if set(arrays) != set(wanted):
            raise WorldFormatError(f"a state has the arrays {sorted(wanted)}, got {sorted(arrays)}; use its memfarm")
        for name, array in wanted.items():
            got = arrays[name]
            if (got.shape, got.dtype) != (array.shape, array.dtype):
                raise WorldFormatError(f"{name} must be {array.dtype} {array.shape}, got {got.dtype} {got.shape}")
        height, width = self._env.world.shape
        y, x = arrays["agents.y"], arrays["agents.x"]
        if ((y < 0) | (y >= height) | (x < 0) | (x >= width)).any():
            raise WorldFormatError(f"agents must stand inside {height} x {width} cells, got some outside")
        generator_of(state["generator"])

    def put(self, state: State) -> None:
        self._env.begin_again(state["started"], generator_of(state["generator"]))
        for name, array in self._env.state_arrays().items():
            array[...] = state["arrays"][name]

    def write(self, folder: Path) -> Written:
        return self.later().write(folder, at_once)

    def later(self) -> Later:
        state = self.take()
        arrays = state.pop("arrays")
        about = json.dumps(state, indent=2) + "\n"

        def write_agents(folder: Path) -> Written:
            return {
                **snapshot_files.write_plain(folder, _ABOUT, about.encode()),
                **snapshot_files.write_arrays(folder, _ARRAYS, arrays),
            }

        return Later((write_agents,))

    def read(self, part: Part, worlds: Worlds) -> State:
        path = part.folder / _ABOUT
        try:
            about = json.loads(read_text(path, _LARGEST))
            group = int(about["agents_per_world"])
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise WorldFormatError(f"{str(path)!r} must say what agents there are, got: {error!r:.200}") from error
        if set(about) != set(self._about()):
            raise WorldFormatError(f"{str(path)!r} must say {sorted(self._about())}, got {sorted(about)}")
        rows = {part.world.copies * group: np.arange(worlds[0] * group, (worlds[-1] + 1) * group)}
        rows[part.world.copies] = worlds
        arrays = plain_npz.read(part.folder / _ARRAYS)
        for name, array in arrays.items():
            if not array.ndim or len(array) not in rows:
                raise WorldFormatError(f"{name} must have {list(rows)} rows, of agents or worlds, got {array.shape}")
        return {**about, "arrays": {name: array[rows[len(array)]] for name, array in arrays.items()}}

    def join(self, states: Sequence[State]) -> State:
        first = states[0]
        for other in states[1:]:
            for key in first.keys() - {"arrays", "generator", "config"}:
                if other.get(key) != first[key]:
                    raise WorldFormatError(f"parts must have one {key}, got {first[key]!r} and {other.get(key)!r}")
            _check_rules(other.get("config"), first["config"])
            if set(other["arrays"]) != set(first["arrays"]):
                raise WorldFormatError("parts of one snapshot have the same arrays, got others")
        names = first["arrays"]
        return {
            **first,
            "arrays": {name: np.concatenate([state["arrays"][name] for state in states]) for name in names},
        }


def _check_rules(saved: Any, mine: dict[str, Any]) -> None:
    """Raise ConfigError, naming the first difference, unless two configurations have the same rules."""
    if not isinstance(saved, dict):
        raise WorldFormatError(f"a state has a configuration, got {type(saved).__name__}")
    mine = json.loads(json.dumps(mine))
    saved = json.loads(json.dumps(saved))
    for section in _RULES:
        theirs = saved.get(section, {})
        for key in sorted({*theirs, *mine[section]}):
            there, here = theirs.get(key), mine[section].get(key)
            if there != here and (section, key) != ("world", "shape"):  # None is the map's: the world's own says more
                raise ConfigError(f"{section}.{key} must be as it was saved, {there!r:.200}, got {here!r:.200}")
