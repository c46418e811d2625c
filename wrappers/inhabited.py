"""What a wrapper needs of the environment below it: a world, and agents that live there."""

import weakref
from collections.abc import Callable
from typing import Any, Protocol, cast

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from memfarm.errors import ConfigError
from memfarm.stateful import Saved
from memfarm.world import World


class Agents(Protocol):
    """What is read of an environment's agents: struct of arrays, one entry an agent."""

    copy: NDArray[np.int32]  # (N,)
    y: NDArray[np.int32]  # (N,)
    x: NDArray[np.int32]  # (N,)
    alive: NDArray[np.bool_]  # (N,)
    hp: NDArray[np.float32]  # (N,), in [0, 1]


class Inhabited(Protocol):
    """What is read of an environment: its world and its agents."""

    world: World
    agents: Agents


def saved(core: object) -> Any:
    """The core, if it can be saved and copied. Raises ConfigError."""
    if not isinstance(core, Saved):
        raise ConfigError(f"only an environment with a state is saved or copied, got {type(core).__name__}")
    return core


def inhabited(env: object) -> Inhabited:
    """The core of `env`, if it is a vector environment with a world and agents. Raises ConfigError."""
    core = env.unwrapped if isinstance(env, VectorEnv) else None
    if not hasattr(core, "world") or not hasattr(core, "agents"):
        raise ConfigError(
            f"WindowObservation needs a vector environment with a world and agents, got {type(env).__name__}"
        )
    return cast("Inhabited", core)


def answer_on_final(core: Any, method: Callable[[NDArray[np.integer[Any]]], Any], metadata: dict[str, Any]) -> None:
    """Give the environment `method`, by a weak reference: a dropped wrapper lets its memory go at once."""
    same_step = metadata.get("autoreset_mode") == AutoresetMode.SAME_STEP
    if not hasattr(core, "on_final"):
        if same_step:
            raise ConfigError("SAME_STEP autoreset needs an environment with on_final, got none; use NEXT_STEP")
        return
    bound: Any = method
    reference = weakref.WeakMethod(bound)

    def answer(rows: NDArray[np.integer[Any]]) -> Any:
        final = reference()
        return None if final is None else final(rows)

    core.on_final = answer
    weakref.finalize(bound.__self__, _forget, weakref.ref(core), answer).atexit = False


def _forget(core: "weakref.ref[Any]", answer: object) -> None:
    env = core()
    if env is not None and env.on_final is answer:
        env.on_final = None
