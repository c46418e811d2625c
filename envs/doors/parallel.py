"""The PettingZoo door: many agents in one world, spoken to by name."""

import functools
from typing import Any, ClassVar, Final, Self

import numpy as np
from gymnasium import logger, spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import ArrayLike, NDArray
from pettingzoo import ParallelEnv

from memfarm.envs.base import GridEnv
from memfarm.envs.doors.arguments import configure, world_options
from memfarm.envs.doors.perception import Observation, Perception, core_of, perceive
from memfarm.envs.doors.roster import Roster
from memfarm.envs.doors.screen import Screen
from memfarm.envs.options import checked_count, checked_render_mode
from memfarm.envs.rules import Config
from memfarm.events import Events
from memfarm.stateful import Saved, Whole
from memfarm.world import World

Infos = dict[str, dict[str, Any]]


class ParallelGridEnv(Saved, ParallelEnv):  # type: ignore[misc]  # pettingzoo has no types
    """Many agents in one world, as a PettingZoo ParallelEnv; subclass it with an `environment`.

    agents: how many; their names are `possible_agents`, forager_0 and so on. config, arguments: the environment's own.
    render_mode: "rgb_array", "ansi", "human" (a window, with pygame) or None.
    perception: an environment of one world in its wrappers, to be handed out as it is, instead of a new one.

    Observations are windows, float32 `(S, S, C)` in [0, 1]; a step's are views of one new array. With `memory=True`
    they are dicts of such views, see `memfarm.wrappers.MemoryObservation`. Every agent has the same Space objects.
    `infos[agent]["action_mask"]` is int8 `(actions,)`. Who dies leaves `agents` for good, and what it is told to do
    afterwards is ignored; after `max_cycles` steps all who remain are truncated together.
    Raises ConfigError, ActionError (nothing has moved), ClosedError.
    """

    environment: ClassVar[type[GridEnv]]
    metadata: ClassVar[dict[str, Any]] = {
        **GridEnv.metadata,
        "render_modes": [*Screen.MODES, *GridEnv.metadata["render_modes"]],
        "is_parallelizable": True,
    }

    def __init__(
        self,
        agents: int = 16,
        *,
        config: Config | None = None,
        render_mode: str | None = None,
        perception: Perception | None = None,
        **arguments: Any,
    ) -> None:
        count = checked_count("agents", agents)
        settings = configure(self.environment, config, arguments, ("agents", "render_mode"))
        self.render_mode: Final = checked_render_mode(render_mode, ["human", *GridEnv.metadata["render_modes"]])
        if perception is None:
            core = self.environment(
                settings,
                agents_per_world=count,
                autoreset_mode=AutoresetMode.DISABLED,
                render_mode="rgb_array" if render_mode == "human" else render_mode,
            )
            perception = perceive(core)
        self._windows: Final = perception
        self.core: Final = core_of(perception)
        self._screen = Screen(self.core.NAME, self.core.metadata["render_fps"])
        self.possible_agents: Final = [f"{self.core.AGENT}_{n}" for n in range(count)]
        self._numbers: Final = {name: n for n, name in enumerate(self.possible_agents)}
        self._take_part(Roster(self._numbers, self.core.taking_part()))
        self.state_space: Final = self.core.state_space

    @property
    def world(self) -> World:
        """The world that the agents live in."""
        return self.core.world

    @property
    def np_random(self) -> np.random.Generator:
        """The generator that an unseeded first reset draws from; `reset(seed=...)` makes it anew."""
        return self.core.np_random

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The space of windows: one object for all agents."""
        space: spaces.Space[Any] = self._windows.single_observation_space
        return space

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The space of actions: one object for all agents."""
        return self.core.single_action_space

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], Infos]:
        """Begin an episode with all agents. Without a seed it follows from the episode before.

        options["keep_world"]: True: in the world as it is, see `GridEnv.reset`. Others are ignored.
        """
        windows, infos = self._windows.reset(seed=seed, options=world_options(options))
        self._take_part(Roster(self._numbers, self.core.taking_part()))
        return self._roster.observations(windows), self._roster.infos(infos["action_mask"])

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, Observation], dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """Let every living agent act once: an integer for each of `agents`."""
        roster = self._roster
        windows, rewards, terminated, truncated, infos = self._windows.step(roster.in_order(actions))
        told = (
            roster.observations(windows),
            roster.rewards(rewards),
            roster.flags(terminated),
            roster.flags(truncated),
            roster.infos(infos["action_mask"]),
        )
        staying = roster.without(terminated | truncated)
        if staying is not roster:
            self._take_part(staying)
        if self.render_mode == "human":
            self.render()
        return told

    def _take_part(self, roster: Roster) -> None:
        self._roster = roster
        self.agents = roster.names[:]

    def set_environmental_layer(self, name: str, values: ArrayLike) -> None:
        """Set a whole layer of the ground to `values` `(height, width)`; see `GridEnv.set_environmental_layer`."""
        self.core.set_environmental_layer(name, values)

    def deposit_temporal_events(self, name: str, events: Events, accumulate: bool = True) -> None:
        """Leave `(y, x, value)` events in a temporal channel; see `GridEnv.deposit_temporal_events`."""
        self.core.deposit_temporal_events(name, events, accumulate=accumulate)

    def state(self) -> NDArray[np.float32]:
        """The whole world, float32 `(Ph, Pw, C)` in `state_space`; a new array. See `GridEnv.state`."""
        return self.core.state()

    def whole(self) -> Whole:
        """What a state is made of: see `GridEnv.whole`."""
        return self._windows.whole()

    def look(self) -> tuple[dict[str, Observation], Infos]:
        """The observations and infos of this moment, of those whose episode goes on."""
        windows, infos = self._windows.look()
        return self._roster.observations(windows), self._roster.infos(infos["action_mask"])

    def clone(self) -> Self:
        """A new environment in the same state: steps of one are nothing to the other. See `GridEnv.clone`."""
        clone = type(self)(
            len(self.possible_agents),
            config=self.core.config,
            render_mode=self.render_mode,
            perception=self._windows.clone(),
        )
        clone.resume()
        return clone

    def resume(self) -> None:
        """Know who takes part, by what the core says."""
        self._windows.resume()
        self._take_part(Roster(self._numbers, self.core.taking_part()))

    def render(self) -> Any:
        """The whole world as `render_mode` says: a uint8 array `(h, w, 3)`, a string, or None and a window."""
        if self.render_mode is None:
            logger.warn("render() was called without a render_mode; make the environment with render_mode='rgb_array'")
            return None
        frame = self.core.frame()
        return self._screen.show(frame) if self.render_mode == "human" else frame

    def close(self) -> None:
        """Close the world and the window; twice is fine, any other use afterwards raises ClosedError."""
        self._screen.close()
        self._windows.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the recipe: the copy is a new environment, to be reset."""
        return (
            functools.partial(
                type(self), len(self.possible_agents), config=self.core.config, render_mode=self.render_mode
            ),
            (),
        )
