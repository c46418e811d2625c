"""GridEnv: the core that all doors open on, a batch of worlds full of agents, stepped as arrays."""

import functools
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import fields
from os import PathLike
from typing import Any, ClassVar, Final, Self

import numpy as np
from gymnasium import logger, spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from memfarm.config import SimulationConfig
from memfarm.envs import actions as act
from memfarm.envs import placement
from memfarm.envs.agents import Agents, cell_keys
from memfarm.envs.ground import make_world
from memfarm.envs.options import (
    checked_count,
    checked_keep_world,
    checked_mode,
    checked_render_mode,
    checked_seed,
    pop_reset_mask,
)
from memfarm.envs.overview import Overview
from memfarm.envs.spec import PlainSpec
from memfarm.envs.state import AgentsState
from memfarm.envs.undo import Undo
from memfarm.errors import ActionError, ClosedError, StorageError
from memfarm.events import Events
from memfarm.interrupts import DEFERRED
from memfarm.kernels import hash_draws
from memfarm.render import Viewport, render_ansi, render_rgb
from memfarm.stateful import Saved, Whole
from memfarm.world import World
from memfarm.wrappers.unfinished import Unfinished
from memfarm.wrappers.unit_box import UnitBox

Flags = NDArray[np.bool_]
Infos = dict[str, Any]
Config = SimulationConfig | Mapping[str, Any] | str | PathLike[str]

_SEED, _EPISODE, _SPAWN = 1, 2, 3  # streams of a world's key


class GridEnv(Saved, PlainSpec, VectorEnv[Any, Any, NDArray[Any]]):
    """A batch of worlds of agents; subclass it with the rules of an environment.

    config: a configuration of class `CONFIG`, a dict, a path, or None for the defaults.
    worlds, agents_per_world: `num_envs` is their product; agent n lives in world n // agents_per_world.
    autoreset_mode: what becomes of an agent whose episode ended; a Gymnasium AutoresetMode or its value.
    render_mode: "rgb_array", "ansi" or None.
    world: the world to live in, which is then this environment's own; None: a new one, as `config` says.

    A death ends the agent's own episode: alone in its world it gets a new world, among others a new life in the same
    one. After `max_cycles` steps of a world all its agents are truncated and the world begins anew.
    Observations are the agents' own state, float32 `(num_envs, len(OWN))` in [0, 1]; `memfarm.wrappers` give windows.
    `infos["action_mask"]` is int8 `(num_envs, actions)`, 1 where an action would do something.
    Under SAME_STEP `on_final`, where a wrapper has set it, is given the indices `(M,)` of the agents whose episode
    ended, before they begin anew, and returns their M rows of `infos["final_obs"]`.
    Everything returned is new memory. Raises ConfigError, ActionError (nothing has moved), ClosedError.
    """

    CONFIG: ClassVar[type[SimulationConfig]] = SimulationConfig
    NAME: ClassVar[str] = "grid_v0"
    AGENT: ClassVar[str] = "agent"  # what an agent is called, before its number
    ACTIONS: ClassVar[tuple[str, ...]]
    OWN: ClassVar[tuple[str, ...]]  # what `_own` tells, column by column
    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 10}  # noqa: RUF012 - VectorEnv's

    def __init__(
        self,
        config: Config | None = None,
        *,
        worlds: int = 1,
        agents_per_world: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        world: World | None = None,
    ) -> None:
        self.config: Final = self.CONFIG.load(config)
        self.worlds: Final = checked_count("worlds", worlds)
        self.agents_per_world: Final = checked_count("agents_per_world", agents_per_world)
        self.autoreset_mode: Final = checked_mode(autoreset_mode)
        self.render_mode = checked_render_mode(render_mode, self.metadata["render_modes"])
        self.metadata = {**self.metadata, "name": self.NAME, "autoreset_mode": self.autoreset_mode}
        self.num_envs = self.worlds * self.agents_per_world
        self.single_action_space = spaces.Discrete(len(self.ACTIONS))
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.single_observation_space = UnitBox((len(self.OWN),))
        self.observation_space = UnitBox((self.num_envs, len(self.OWN)))
        self.agents: Final = Agents.unborn(self.worlds, self.agents_per_world)
        self.on_final: Callable[[NDArray[np.intp]], Any] | None = None
        self._slot = np.arange(self.num_envs, dtype=np.int64) % self.agents_per_world
        self._keys: NDArray[np.uint64] | None = None  # (worlds,) of the running episodes
        self._steps = np.zeros(self.worlds, np.int64)  # of the running episodes
        self._terminated = np.zeros(self.num_envs, np.bool_)
        self._truncated = np.zeros(self.num_envs, np.bool_)
        self._ended_worlds = np.zeros(self.worlds, np.bool_)
        self._unfinished: Final = Unfinished()
        self.world: Final = make_world(self.config, self.worlds) if world is None else world
        try:
            placement.require_room(self.world, self.agents_per_world)
        except BaseException:
            self.world.close()
            raise
        self._overview = Overview(self.world)
        self.state_space: Final = self._overview.space
        self._build()

    # --- the rules: what a subclass says

    @abstractmethod
    def _build(self) -> None:
        """Read `config` and make the agents' own arrays; called once, when the world is there."""

    @abstractmethod
    def _act(self, actions: NDArray[np.int64], live: Flags) -> None:
        """Carry out the actions of the agents that are `live`, and their deposits; both `(N,)`.

        What the step will write is to be reserved (`World.reserve`) before the first write.
        """

    @abstractmethod
    def _settle(self, live: Flags) -> tuple[NDArray[np.floating[Any]], Flags]:
        """After the clock has moved: the live agents' rewards (0 for the others) and who of them died, both `(N,)`."""

    @abstractmethod
    def _masks(self) -> Flags:
        """Which actions would do something now, bool `(N, actions)`; new."""

    @abstractmethod
    def _spawn(self, index: NDArray[np.intp]) -> None:
        """Make the agents at `index`, who have just been placed, newborn."""

    @abstractmethod
    def _own(self) -> NDArray[np.float32]:
        """The agents' own state, float32 `(N, len(OWN))` in [0, 1]; new."""

    def own_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays of the subclass that outlive a step, by name, with a row an agent or a world: part of its state.

        The arrays themselves, not copies: a state is put back by writing into them.
        """
        return {}

    def _draws(self, stream: int, what: NDArray[np.int64], index: NDArray[np.intp]) -> NDArray[np.uint64]:
        """A uint64 for each agent of `index`, from its world's key, the episode's step and `what` `(len(index),)`.

        Neither the order of agents nor the number of worlds changes it. Streams from 4 on are a subclass's own.
        """
        if self._keys is None:
            raise ActionError("there is no episode yet; call reset() first")
        now = hash_draws(self._keys + self._steps.astype(np.uint64), stream)
        return hash_draws(now[self.agents.copy[index]] ^ what.astype(np.uint64), 0)

    # --- an episode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Infos]:
        """Begin anew; world w's episodes follow from `seed + w`. Without a seed each goes on from its last episode.

        options["reset_mask"]: bool `(num_envs,)`; only these agents begin anew, and a world only where it holds all.
        options["keep_world"]: True: agents begin anew in the worlds as they are, with what was eaten and left there; so
        goes on what was opened with `memmap.mode="r+"`.
        options["keep_clock"]: True: the clock stays as it is, as where these are not all agents of a sharded batch.
        Otherwise: same seed, same bytes, whatever happened before.
        """
        self._check_open()
        seed, keep = checked_seed(seed), checked_keep_world(options)
        chosen = pop_reset_mask(options, self.num_envs, first=self._keys is None)
        super().reset(seed=seed)
        if seed is not None and chosen.all() and not keep and not (options or {}).get("keep_clock", False):
            self._align_clock()
        worlds: Flags = np.logical_and.reduce(chosen.reshape(self.worlds, -1), axis=1)
        if seed is None and self._keys is None:
            seed = int(self.np_random.integers(2**63))
        keys = self._next_keys() if seed is None else self._first_keys(seed)
        with DEFERRED:
            self._unfinished.drop()
            self._begin(chosen, worlds, keys, keep)
        return self._own(), self._infos()

    def step(self, actions: ArrayLike) -> tuple[Any, NDArray[Any], Flags, Flags, Infos]:
        """Let every live agent act once: `actions` integers `(num_envs,)`; whatever the others are given is ignored.

        A full disk is a StorageError (ENOSPC), and the step has not happened: with room it can be called again. Where
        only the last look of ended agents (SAME_STEP) found none, the same actions complete the step.
        In the main thread Python's handlers of SIGINT and SIGTERM wait for its end: after a KeyboardInterrupt the step
        has happened, and the environment can be stepped, saved or closed.
        """
        self._check_open()
        if self._keys is None:
            raise ActionError("an action needs a running episode; call reset() before step()")
        with DEFERRED:
            rewards = self._unfinished.resume(actions) if self._unfinished else self._play(actions)
            try:
                answer = self._answer(rewards)
            except StorageError:
                self._unfinished.owe(actions, rewards)
                raise
            self._unfinished.drop()
        return answer

    def _play(self, actions: ArrayLike) -> NDArray[np.floating[Any]]:
        """One step of all rules; the agents' rewards `(N,)`. A full disk leaves everything as it was."""
        over = self._terminated | self._truncated
        live = self.agents.alive & ~over
        chosen = act.checked(actions, live, len(self.ACTIONS))
        resting = self._ended_worlds.copy()
        with self.world.writing(), Undo(self):
            if self.autoreset_mode is AutoresetMode.NEXT_STEP and over.any():
                self._begin(over, resting, self._next_keys())
            self._act(chosen, live)
            self.world.advance()
            rewards, died = self._settle(live)
            self._count(died, resting)
        return rewards

    def _answer(self, rewards: NDArray[np.floating[Any]]) -> tuple[Any, NDArray[Any], Flags, Flags, Infos]:
        """What `step` returns; under SAME_STEP whoever ended begins anew."""
        terminated, truncated = self._terminated.copy(), self._truncated.copy()
        infos: Infos = {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP:  # nobody rests: who ended has begun anew
            over = terminated | truncated
            if over.any():
                infos = self._final(over)
                with self.world.writing():
                    self._begin(over, self._ended_worlds.copy(), self._next_keys())
        return self._own(), rewards.astype(np.float64), terminated, truncated, {**infos, **self._infos()}

    def set_environmental_layer(self, name: str, values: ArrayLike) -> None:
        """Set a whole layer of the ground, OBSTACLES say, to `values` `(height, width)`, for all worlds and episodes.

        Agents stay where they are. Raises ReadOnlyError where the ground is a `map` folder, which others share.
        """
        self._check_open()
        self.world.set_environmental_layer(name, values)

    def deposit_temporal_events(self, name: str, events: Events, copy: ArrayLike = 0, accumulate: bool = True) -> None:
        """Leave `(y, x, value)` events, arrays or triples, in a temporal channel; the next step shows them faded once.

        copy: the world of the batch, or one an event `(N,)`. accumulate: add (False: the larger value stays).
        """
        self._check_open()
        self.world.deposit_temporal_events(name, events, copy, accumulate)

    def _count(self, died: Flags, resting: Flags) -> None:
        """Who ended with this step; `resting` worlds, which have just begun or stand still, do not count it."""
        self.agents.alive &= ~died
        self._terminated |= died
        self._steps += ~resting
        full = self._steps >= self.config.world.max_cycles
        if full.any():
            self._truncated |= np.repeat(full, self.agents_per_world) & ~self._terminated
        self._ended_worlds = full
        if self.agents_per_world == 1:
            self._ended_worlds = full | self._terminated

    def _begin(self, chosen: Flags, worlds: Flags, keys: NDArray[np.uint64], keep: bool = False) -> None:
        """Give the `chosen` agents `(N,)` a new life, after `worlds`, all of whose agents they are, began anew.

        keep: the worlds keep what is in them.
        """
        if self._keys is None:
            self._keys = keys.copy()
        if worlds.any():
            if not keep:
                self.world.reset(worlds)
            np.copyto(self._keys, keys, where=worlds)
            self._steps[worlds] = 0
            self._ended_worlds &= ~worlds
        agents = self.agents
        index = np.flatnonzero(chosen)
        agents.alive[index] = False
        draws = self._draws(_SPAWN, self._slot[index], index)
        agents.y[index], agents.x[index] = placement.place(self.world, agents.copy[index], draws, self._occupied())
        agents.alive[index] = True
        agents.life[index] += 1
        self._terminated[index] = self._truncated[index] = False
        self._spawn(index)

    def _first_keys(self, seed: int) -> NDArray[np.uint64]:
        numbers = np.arange(self.worlds, dtype=np.uint64) + np.uint64(seed % 2**64)
        return hash_draws(numbers, _SEED)

    def _next_keys(self) -> NDArray[np.uint64]:
        if self._keys is None:
            raise ActionError("there is no episode yet; call reset() first")
        return hash_draws(self._keys, _EPISODE)

    def _align_clock(self) -> None:
        """Advance to where all grids' epochs begin, so that a seeded episode rounds as it does in a new environment."""
        epochs = [grid.epoch for grid in self.world.grids.values() if grid.epoch]
        self.world.advance(-self.world.tick % math.lcm(*epochs))

    def _occupied(self) -> NDArray[np.int64]:
        """The keys of the cells that agents stand on."""
        here = self.agents.alive
        return cell_keys(self.agents.copy[here], self.agents.y[here], self.agents.x[here], self.world.shape)

    # --- what is told

    def _infos(self) -> Infos:
        mask = self._masks().astype(np.int8)
        return {"action_mask": mask, "_action_mask": np.ones(self.num_envs, np.bool_)}

    def _final(self, over: Flags) -> Infos:
        """Gymnasium's `final_obs` and `final_info` of the agents whose episode is over; call before they begin anew."""
        index = np.flatnonzero(over)
        rows = None if self.on_final is None else self.on_final(index)
        observations = np.full(self.num_envs, None, dtype=object)
        for n, row in zip(index, self._own()[index] if rows is None else rows, strict=True):
            observations[n] = row
        mask = self._masks().astype(np.int8)
        mask[~over] = 0
        info = {"action_mask": mask, "_action_mask": over.copy()}
        return {"final_obs": observations, "_final_obs": over.copy(), "final_info": info, "_final_info": over.copy()}

    def state(self, copy: int = 0) -> NDArray[np.float32]:
        """World `copy` as a whole, float32 `(Ph, Pw, C)` in `state_space`: at most 128 x 128 blocks; see `Overview`."""
        self._check_open()
        return self._overview.of(copy, self.agents)

    @property
    def state_channels(self) -> tuple[str, ...]:
        """The names of the channels of `state()`."""
        return self._overview.channels

    def render(self) -> tuple[Any, ...] | None:
        """One frame a world, as `render_mode` says: uint8 `(h, w, 3)` arrays or strings."""
        self._check_open()
        if self.render_mode is None:
            logger.warn("render() was called without a render_mode; make the environment with render_mode='rgb_array'")
            return None
        return tuple(self.frame(copy) for copy in range(self.worlds))

    def frame(self, copy: int = 0, viewport: Viewport | None = None) -> Any:
        """A picture of world `copy`, of the whole or of `viewport` = (y0, y1, x0, x1): a new array, or a string."""
        self._check_open()
        if self.render_mode == "ansi":
            return render_ansi(self.world, self.agents, copy, viewport)
        return render_rgb(self.world, self.agents, copy, viewport)

    # --- its state, see `Saved`

    @property
    def started(self) -> bool:
        """Whether there was a `reset()`."""
        return self._keys is not None

    @property
    def generator(self) -> np.random.Generator | None:
        """The generator of unseeded resets; None before anything was drawn."""
        return self._np_random

    def state_arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays of a state by name: the environment's own, not copies."""
        agents = {f"agents.{field.name}": getattr(self.agents, field.name) for field in fields(self.agents)}
        del agents["agents.copy"]  # another one in another batch
        return {
            **agents,
            **({} if self._keys is None else {"keys": self._keys}),
            "steps": self._steps,
            "terminated": self._terminated,
            "truncated": self._truncated,
            "ended_worlds": self._ended_worlds,
            **{f"own.{name}": array for name, array in self.own_arrays().items()},
        }

    def check_finished(self) -> None:
        """Raise ActionError where a step has happened whose answer found no room: there is no state between the two."""
        if self._unfinished:
            raise ActionError("a step waits for room on the disk, got a save; call step() again first, with room")

    def begin_again(self, started: bool, generator: np.random.Generator | None) -> None:
        """Stand where a state was taken: before (not `started`) or after a first reset; its arrays come next."""
        self._unfinished.drop()
        self._keys = np.zeros(self.worlds, np.uint64) if started else None
        self._np_random = None
        if generator is not None:
            self.np_random = generator

    def whole(self) -> Whole:
        """World, and agents with their episodes: what a state is made of."""
        self._check_open()
        return Whole(self.world, {"agents": AgentsState(self)})

    def taking_part(self) -> NDArray[np.intp]:
        """The indices of the agents whose episode goes on."""
        return np.flatnonzero(self.started & ~(self._terminated | self._truncated))

    def look(self) -> tuple[Any, Infos]:
        """The agents' own state and the infos of this moment; new."""
        self._check_open()
        return self._own(), self._infos()

    def clone(self) -> Self:
        """A new environment in the same state, in scratch or memory: steps of one are nothing to the other."""
        self._check_open()
        clone: Self = self._maker()(world=self.world.fork())
        try:
            AgentsState(clone).put(AgentsState(self).take())
        except BaseException:
            clone.close()
            raise
        return clone

    # --- life

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedError(f"this {type(self).__name__} is closed; make a new one")

    def close_extras(self, **kwargs: Any) -> None:
        """Close the world; Gymnasium's `close()` calls this once."""
        self.world.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the recipe: the copy is a new environment, to be reset."""
        return (self._maker(), ())

    def _maker(self) -> Callable[..., Self]:
        return functools.partial(
            type(self),
            self.config,
            worlds=self.worlds,
            agents_per_world=self.agents_per_world,
            autoreset_mode=self.autoreset_mode,
            render_mode=self.render_mode,
        )
