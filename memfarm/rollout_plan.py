"""What a rollout is: its sizes, the arrays that follow from them, and the `rollout.json` that says so in a folder."""

import json
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memfarm import files, options
from memfarm.errors import ConfigError, WorldFormatError

FILE: Final = "rollout.json"
_LARGEST: Final = 1 << 16  # bytes
_VERSION: Final = 1


class Plan(BaseModel):
    """T ticks of N agents who see windows `(S, S, C)` and have A actions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["memfarm-rollout"] = "memfarm-rollout"
    version: int = _VERSION
    steps: int = Field(ge=1)
    agents: int = Field(ge=1)
    window: tuple[int, int, int] = Field(strict=False)
    actions: int = Field(ge=1)

    @classmethod
    def of(cls, steps: object, agents: object, window: object, actions: object) -> "Plan":
        """The plan of these sizes. Raises ConfigError unless all are whole numbers of at least 1."""
        if not isinstance(window, tuple | list) or len(window) != 3:
            raise ConfigError(f"window must be (side, side, channels), got {window!r}")
        side, other, channels = (options.whole("window's size", size, 1) for size in window)
        return cls(
            steps=options.whole("steps", steps, 1),
            agents=options.whole("agents", agents, 1),
            window=(side, other, channels),
            actions=options.whole("actions", actions, 1),
        )

    def layout(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """The arrays by their names, in the order that `MemmapRollout` takes them."""
        ticks, more = (self.steps, self.agents), (self.steps + 1, self.agents)
        real, flag, whole = np.dtype(np.float32), np.dtype(np.bool_), np.dtype(np.int64)
        return {
            "observations": ((*more, *self.window), real),
            "masks": ((*more, self.actions), flag),
            "resting": (more, flag),
            "actions": (ticks, whole),
            "logprobs": (ticks, real),
            "values": (more, real),
            "rewards": (ticks, real),
            "advantages": (ticks, real),
            "terminations": (ticks, flag),
            "truncations": (ticks, flag),
            "progress": ((2,), whole),  # whole ticks, and of how many the advantages are
        }

    def write(self, folder: Path) -> None:
        """Put the plan into a new rollout's folder, last: a folder without it is none."""
        files.write_atomically(folder / FILE, json.dumps(self.model_dump(mode="json"), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Plan":
        """The plan of the rollout in `folder`. Raises WorldFormatError where there is none that this version reads."""
        path = folder / FILE
        try:
            found = cls.model_validate(json.loads(files.read_text(path, _LARGEST)))
            sizes = cls.of(found.steps, found.agents, found.window, found.actions)
        except (OSError, ValueError, RecursionError, ValidationError, ConfigError) as error:
            raise WorldFormatError(
                f"{str(folder)!r} must be a rollout's folder with a {FILE}: {error!s:.500}"
            ) from error
        if sizes != found:
            raise WorldFormatError(f"{str(path)!r} must have version {_VERSION}, got {found.version}; use its memfarm")
        return found
