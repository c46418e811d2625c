"""The door of one agent: `gymnasium.make("memfarm/Forage-v0")`."""

import functools
from typing import Any, ClassVar, Final, Self

import gymnasium
import numpy as np
from gymnasium import logger
from gymnasium.vector import AutoresetMode
from numpy.typing import ArrayLike, NDArray

from memfarm.envs.agents import Agents
from memfarm.envs.base import GridEnv
from memfarm.envs.doors.arguments import configure, world_options
from memfarm.envs.doors.perception import Observation, Perception, core_of, each, perceive
from memfarm.envs.rules import Config
from memfarm.envs.spec import PlainSpec
from memfarm.errors import ActionError
from memfarm.events import Events
from memfarm.stateful import Saved, Whole
from memfarm.world import World


class SingleEnv(Saved, PlainSpec, gymnasium.Env[Observation, Any]):
    """One agent alone in one world, as a Gymnasium environment; subclass it with an `environment`.

    config, arguments: the environment's own. render_mode: "rgb_array", "ansi" or None.
    perception: an environment of one agent in its wrappers, to be handed out as it is, instead of a new one.

    Observations are the agent's window, float32 `(S, S, C)` in [0, 1], new memory each, or with `memory=True` dicts,
    see `memfarm.wrappers.MemoryObservation`; `info["action_mask"]` is int8 `(actions,)`. Raises ConfigError,
    ActionError (nothing has moved), ClosedError.
    """

    environment: ClassVar[type[GridEnv]]
    metadata: dict[str, Any] = GridEnv.metadata

    def __init__(
        self,
        *,
        config: Config | None = None,
        render_mode: str | None = None,
        perception: Perception | None = None,
        **arguments: Any,
    ) -> None:
        settings = configure(self.environment, config, arguments, ("render_mode",))
        if perception is None:
            mode = AutoresetMode.DISABLED
            perception = perceive(self.environment(settings, autoreset_mode=mode, render_mode=render_mode))
        self._windows: Final = perception
        self.core: Final = core_of(perception)
        self.render_mode = render_mode
        self.observation_space = self._windows.single_observation_space
        self.action_space = self.core.single_action_space

    @property
    def world(self) -> World:
        """The world that the agent lives in."""
        return self.core.world

    @property
    def agents(self) -> Agents:
        """The one agent, as arrays of length 1."""
        return self.core.agents

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode: the first window and info. Without a seed it follows from the episode before.

        options["keep_world"]: True: in the world as it is, see `GridEnv.reset`. Others are ignored.
        """
        super().reset(seed=seed)
        windows, infos = self._windows.reset(seed=seed, options=world_options(options))
        return each(windows)[0], {"action_mask": infos["action_mask"][0]}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Act once: `action` an integer of any kind in [0, actions)."""
        array = np.asarray(action)
        if array.shape != ():
            raise ActionError(f"an action must be one integer, got shape {array.shape}")
        windows, rewards, terminated, truncated, infos = self._windows.step(array[None])
        info = {"action_mask": infos["action_mask"][0]}
        return each(windows)[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info

    def set_environmental_layer(self, name: str, values: ArrayLike) -> None:
        """Set a whole layer of the ground to `values` `(height, width)`; see `GridEnv.set_environmental_layer`."""
        self.core.set_environmental_layer(name, values)

    def deposit_temporal_events(self, name: str, events: Events, accumulate: bool = True) -> None:
        """Leave `(y, x, value)` events in a temporal channel; see `GridEnv.deposit_temporal_events`."""
        self.core.deposit_temporal_events(name, events, accumulate=accumulate)

    def state(self) -> NDArray[np.float32]:
        """The whole world, float32 `(Ph, Pw, C)` in `core.state_space`; see `GridEnv.state`."""
        return self.core.state()

    def whole(self) -> Whole:
        """What a state is made of: see `GridEnv.whole`. The generator for the user's own draws is not part of it."""
        return self._windows.whole()

    def look(self) -> tuple[Observation, dict[str, Any]]:
        """The window and info of this moment, as the step or reset before gave them."""
        windows, infos = self._windows.look()
        return each(windows)[0], {"action_mask": infos["action_mask"][0]}

    def resume(self) -> None:
        """Take note that another state was put in place."""
        self._windows.resume()

    def clone(self) -> Self:
        """A new environment in the same state: steps of one are nothing to the other. See `GridEnv.clone`."""
        perception = self._windows.clone()
        return type(self)(config=self.core.config, render_mode=self.render_mode, perception=perception)

    def render(self) -> Any:
        """The whole world as `render_mode` says: a uint8 array `(h, w, 3)` or a string."""
        if self.render_mode is None:
            logger.warn("render() was called without a render_mode; make the environment with render_mode='rgb_array'")
            return None
        return self.core.frame()

    def close(self) -> None:
        """Close the world; twice is fine, any other use afterwards raises ClosedError."""
        self._windows.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the recipe: the copy is a new environment, to be reset."""
        return (functools.partial(type(self), config=self.core.config, render_mode=self.render_mode), ())
