"""GridEnv: the core that all doors open on, a batch of worlds full of agents, stepped as arrays."""

import functools
from collections.abc import Callable
from typing import Any, Final, Self

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from memfarm.envs import actions as act
from memfarm.envs import placement
from memfarm.envs.agents import Agents
from memfarm.envs.episodes import Episodes
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
from memfarm.envs.resumable import Resumable
from memfarm.envs.rules import Config, Flags, Infos
from memfarm.envs.undo import Undo
from memfarm.errors import ActionError, StorageError
from memfarm.events import Events
from memfarm.interrupts import DEFERRED
from memfarm.world import World
from memfarm.wrappers.unfinished import Unfinished
from memfarm.wrappers.unit_box import UnitBox


class GridEnv(Resumable, Episodes):
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
        self.config = self.CONFIG.load(config)
        self.worlds = checked_count("worlds", worlds)
        self.agents_per_world = checked_count("agents_per_world", agents_per_world)
        self.autoreset_mode = checked_mode(autoreset_mode)
        self.render_mode = checked_render_mode(render_mode, self.metadata["render_modes"])
        self.metadata = {**self.metadata, "name": self.NAME, "autoreset_mode": self.autoreset_mode}
        self.num_envs = self.worlds * self.agents_per_world
        self.single_action_space = spaces.Discrete(len(self.ACTIONS))
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.single_observation_space = UnitBox((len(self.OWN),))
        self.observation_space = UnitBox((self.num_envs, len(self.OWN)))
        self.agents = Agents.unborn(self.worlds, self.agents_per_world)
        self.on_final = None
        self._slot = np.arange(self.num_envs, dtype=np.int64) % self.agents_per_world
        self._keys = None
        self._steps = np.zeros(self.worlds, np.int64)  # of the running episodes
        self._terminated = np.zeros(self.num_envs, np.bool_)
        self._truncated = np.zeros(self.num_envs, np.bool_)
        self._ended_worlds = np.zeros(self.worlds, np.bool_)
        self._unfinished = Unfinished()
        self._undo = Undo(self)
        self.world = make_world(self.config, self.worlds, self.agents_per_world) if world is None else world
        try:
            placement.require_room(self.world, self.agents_per_world)
        except BaseException:
            self.world.close()
            raise
        self._overview = Overview(self.world)
        self.state_space: Final = self._overview.space
        self._build()

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
        with self.world.writing(), self._undo:
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
