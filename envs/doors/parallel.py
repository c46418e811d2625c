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
from memfarm.envs.doors.perception import Observation, Perception, core_of, each, perceive
from memfarm.envs.doors.screen import Screen
from memfarm.envs.options import checked_count, checked_render_mode
from memfarm.envs.rules import Config
from memfarm.errors import ActionError, did_you_mean
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
        self._number: Final = {name: n for n, name in enumerate(self.possible_agents)}
        self.agents: list[str] = []
        self._living: list[int] = []  # the numbers of `agents`
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
        self.agents = self.possible_agents[:]
        self._living = list(range(len(self.agents)))
        return dict(zip(self.agents, each(windows), strict=True)), self._by_name(infos)

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, Observation], dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """Let every living agent act once: an integer for each of `agents`."""
        together, rewards, terminated, truncated, infos = self._windows.step(self._in_order(actions))
        windows = each(together)
        names, living = self.agents, self._living
        if len(living) == len(self.possible_agents):
            columns = (windows, rewards.tolist(), terminated.tolist(), truncated.tolist())
        else:
            seen = [windows[n] for n in living]
            columns = (seen, *(column[living].tolist() for column in (rewards, terminated, truncated)))
        observations, reward, termination, truncation = (dict(zip(names, column, strict=True)) for column in columns)
        told = self._by_name(infos)
        over = terminated | truncated
        if over[living].any():
            self._living = [n for n in living if not over[n]]
            self.agents = [self.possible_agents[n] for n in self._living]
        if self.render_mode == "human":
            self.render()
        return observations, reward, termination, truncation, told

    def _by_name(self, infos: dict[str, Any]) -> Infos:
        masks = infos["action_mask"]
        if len(self._living) < len(masks):
            masks = masks[self._living]
        return {name: {"action_mask": mask} for name, mask in zip(self.agents, masks, strict=True)}

    def _in_order(self, actions: dict[str, Any]) -> NDArray[Any]:
        """The actions of all agents by number, 0 for the dead."""
        try:
            given = np.asarray(list(map(actions.__getitem__, self.agents)) or np.zeros(0, np.int64))
        except KeyError as error:
            raise ActionError(
                f"every living agent needs an action, got none for {error.args[0]!r}; pass one for each of env.agents"
            ) from None
        except ValueError as error:
            raise ActionError(f"an action must be one integer, got {actions!r:.80}") from error
        if given.shape != (len(self.agents),):
            raise ActionError(f"an action must be one integer, got shape {given.shape[1:]} for each agent")
        if len(actions) != len(self.agents):
            for name in actions:
                if name not in self._number:
                    raise ActionError(f"there is no agent {name!r}; {did_you_mean(str(name), self.agents)}")
        if len(self.agents) == len(self.possible_agents):
            return given
        everyone = np.zeros(len(self.possible_agents), given.dtype)
        everyone[self._living] = given
        return everyone

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
        windows = each(windows)
        return {name: windows[n] for name, n in zip(self.agents, self._living, strict=True)}, self._by_name(infos)

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
        self._living = self.core.taking_part().tolist()
        self.agents = [self.possible_agents[n] for n in self._living]

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
