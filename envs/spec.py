"""What Gymnasium keeps of how an environment was made, as plain data."""

from dataclasses import replace
from enum import Enum
from os import PathLike, fspath
from typing import Any

from gymnasium.envs.registration import EnvSpec

from memfarm.section import Section


class PlainSpec:
    """Gives an environment a `spec` whose arguments are JSON-able: a configuration is kept as its dict.

    `gymnasium.make(id, config=ForageConfig(...)).spec.to_json()` then works, and what it says makes the same again.
    """

    _spec: EnvSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        """How `gymnasium.make` or `make_vec` made this; None where something else did."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = None if spec is None else replace(spec, kwargs={k: _plain(v) for k, v in spec.kwargs.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return value.to_dict()
    if isinstance(value, Enum):
        return value.value
    return fspath(value) if isinstance(value, PathLike) else value
