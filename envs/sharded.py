"""ShardedVectorEnv: environments in worker processes over shared memory, as one vector environment."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import cloudpickle
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from memfarm.envs import actions as act
from memfarm.envs.options import checked_count, checked_keep_world, checked_mode, checked_seed, pop_reset_mask
from memfarm.envs.shards import line as talk
from memfarm.envs.shards.arguments import checked_context, checked_cores, checked_timeout
from memfarm.envs.shards.building import build, join
from memfarm.envs.shards.crew import Crew
from memfarm.envs.shards.dealing import Deal, Group
from memfarm.envs.shards.infos import merged
from memfarm.envs.shards.layout import Parts, Word, parts_of
from memfarm.envs.shards.outlet import batched, make_outlet
from memfarm.envs.shards.slots import Slots
from memfarm.envs.shards.worker import Facts, part_of
from memfarm.envs.snapshots import publish, write_index
from memfarm.errors import ActionError, ClosedError, ConfigError
from memfarm.interrupts import DEFERRED

Flags = NDArray[np.bool_]
Infos = dict[str, Any]
Result = tuple[Any, NDArray[np.float64], Flags, Flags, Infos]


class ShardedVectorEnv(VectorEnv[Any, Any, NDArray[Any]]):
    """A vector environment whose worlds live in worker processes; observations come through shared memory.

    make_env: builds one shard's environment of `make_env(num_envs)` agents: a GridEnv, or wrappers around one that
        return NumPy (`tensor="numpy"`). cloudpickled once, so that a lambda will do; workers do not run the caller's
        script again, which needs no `__main__` guard.
    num_envs: agents in all. agents_per_world: whole worlds are dealt to the shards, in runs whose sizes differ by one
        at most; None: a worker builds `make_env(num_envs)` once to ask it, and closes it.
    shards: worker processes.
    context: "forkserver": workers are forks of one small process that has loaded memfarm, and share its memory;
        "spawn": each is an interpreter of its own. "fork" is refused: a fork of a process with threads may hang.
    pin: True keeps each worker on one of the processors this process may use, in turn; or the processor of each shard.
    copy: True: observations are memory of their own, kept as long as anything refers to them (workers write them in
        place: nothing is copied). False: views of two buffers in turn: an observation is overwritten by the reset or
        step after the next.
    tensor: "numpy", or "torch": tensors over the same memory, windows as `(N, C, S, S)` in channels_last strides, and
        actions may be tensors. Workers never load torch for it.
    timeout: seconds that a worker may take over a reset, step or call; None: as long as it wants.

    The same seed and actions give the same bytes for any number of shards as in one GridEnv of `num_envs` agents.
    `step` is all shards at once. For double buffering `send(half, actions)` and `recv(half)` step the shards of half 0
    and of half 1 apart: the policy works on one half while the other steps. `half_rows` are the halves' agents.

    Actions, observations, rewards, flags and `infos["action_mask"]` cross in shared memory. Pickled are only other
    infos: under SAME_STEP `final_obs` and `final_info` of the agents that ended.
    Workers get OMP_NUM_THREADS=1 (and the like) unless it is set.

    Raises ConfigError; ActionError (nothing has moved), also for calls out of order; ClosedError; WorkerError where a
    worker raises (its traceback is the cause), is killed (its signal is named) or takes too long: all workers have then
    ended, and this environment is closed. No process or file stays, also where this process is killed.
    """

    def __init__(
        self,
        make_env: Callable[[int], VectorEnv[Any, Any, Any]],
        num_envs: int,
        shards: int,
        *,
        context: Literal["forkserver", "spawn"] = "forkserver",
        agents_per_world: int | None = None,
        pin: bool | Sequence[int] = False,
        copy: bool = True,
        tensor: Literal["numpy", "torch"] = "numpy",
        timeout: float | None = None,
    ) -> None:
        if not callable(make_env):
            raise ConfigError(f"make_env must be a function of a number of agents, got {make_env!r}")
        self.num_envs = checked_count("num_envs", num_envs)
        self.shards: Final = checked_count("shards", shards)
        if agents_per_world is not None:
            Deal(self.num_envs, checked_count("agents_per_world", agents_per_world), self.shards)
        cores, seconds = checked_cores(pin, self.shards), checked_timeout(timeout)
        self._outlet: Final = make_outlet(tensor)
        self._copy: Final = copy
        self._crew: Final = Crew(self.shards, checked_context(context))
        try:
            self._deal, facts = build(self._crew, cloudpickle.dumps(make_env), self.num_envs, agents_per_world, cores)
            self._describe(facts)
            self._board = join(self._crew, self._deal, self._actions, self._parts)
        except BaseException:
            self._crew.end()
            raise
        self._crew.timeout = seconds
        self._grown: Final = [0]
        self._slots: Final[dict[str, Slots]] = {}  # by the group's name
        self._out: Final[dict[str, Parts]] = {}  # what is being written, by the group's name
        self._over: Final = np.zeros(self.num_envs, np.bool_)  # whose actions are ignored
        self._begun = False

    def _describe(self, facts: Sequence[Facts]) -> None:
        """Be what the shards are."""
        fact = facts[0]
        if not isinstance(fact.action, spaces.Discrete):
            raise ConfigError(f"a shard's agents must have Discrete actions, got {fact.action}")
        self._actions = int(fact.action.n)
        self._parts = parts_of(fact.observation)
        self.worker_pids = tuple(fact.pid for fact in facts)
        self.agents_per_world = fact.agents_per_world
        self.metadata = fact.metadata
        self.render_mode = fact.render_mode
        self.autoreset_mode = checked_mode(self.metadata["autoreset_mode"])
        self.single_action_space = fact.action
        self.action_space = batch_space(fact.action, self.num_envs)
        self.single_observation_space = self._outlet.space(fact.observation)
        self.observation_space = batched(self.single_observation_space, self.num_envs)

    @property
    def half_rows(self) -> tuple[slice, slice]:
        """The agents of half 0 and of half 1, as slices of the batch."""
        return self._half(0).rows, self._half(1).rows

    @property
    def shard_rows(self) -> tuple[slice, ...]:
        """The agents of each shard, as slices of the batch."""
        return tuple(share.rows for share in self._deal.shares)

    @property
    def keeper_pid(self) -> int:
        """The process that starts and watches the workers, whose pids are `worker_pids`."""
        return self._crew.keeper_pid

    # --- an episode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Infos]:
        """Begin anew, as `GridEnv.reset` has it, with its `reset_mask` and `keep_world`; world w follows `seed + w`.

        Other options go to every shard, pickled.
        """
        group = self._deal.whole
        self._check_idle("reset()")
        seed, keep = checked_seed(seed), checked_keep_world(options)
        chosen = pop_reset_mask(options, self.num_envs, first=not self._begun)
        super().reset(seed=seed)
        if seed is None and not self._begun:
            seed = int(self.np_random.integers(2**63))
        others = {key: value for key, value in (options or {}).items() if key != "keep_world"}
        parts = self._place(group)
        self._board.chosen[:] = chosen
        self._board.terminated[chosen] = self._board.truncated[chosen] = self._over[chosen] = False
        with DEFERRED:
            for share in group.shares:
                seeds = (0, 0) if seed is None else (1, (seed + share.first_world) % 2**64)
                words = np.array([*seeds, keep], np.uint64)
                self._board.words[share.shard, Word.RESET] = words.view(np.int64)
                if not chosen[share.rows].any():
                    self._crew.tell(share.shard, talk.LOOK)
                elif others:
                    self._crew.tell(share.shard, talk.CALL, ("reset", (others,), {}))
                else:
                    self._crew.tell(share.shard, talk.RESET)
            self._out[group.name] = parts
            self._begun = True
        seen, *_, infos = self._recv(group)
        return seen, infos

    def step(self, actions: ArrayLike) -> Result:
        """Let every agent act once: `actions` integers `(num_envs,)`; see `GridEnv.step`."""
        self._send(self._deal.whole, actions, "step()")
        return self._recv(self._deal.whole)

    def send(self, half: int, actions: ArrayLike) -> None:
        """Have the agents of `half`, 0 or 1, begin a step, and return at once; `recv(half)` has what comes of it.

        actions: integers `(n,)`, of the agents `half_rows[half]`. Raises ActionError where that half is out already.
        """
        self._send(self._half(half), actions, f"send({half})")

    def recv(self, half: int) -> Result:
        """Wait for `half`, which was sent: what `step` returns, of the agents `half_rows[half]` `(n, ...)`."""
        group = self._half(half)
        self._check_open()
        if group.name not in self._out:
            raise ActionError(f"recv({half}) needs a half that is out, got none; call send({half}, actions) before it")
        return self._recv(group)

    def _half(self, half: int) -> Group:
        if not self._deal.halves:
            raise ConfigError("halves are of shards, got one shard; use shards=2 or more, or step()")
        if half not in (0, 1):
            raise ConfigError(f"half must be 0 or 1, got {half!r}")
        return self._deal.halves[half]

    def _send(self, group: Group, actions: ArrayLike, what: str) -> None:
        self._check_idle(what, group)
        if not self._begun:
            raise ActionError(f"an action needs a running episode; call reset() before {what}")
        rows = group.rows
        chosen = act.checked(self._outlet.actions(actions), ~self._over[rows], self._actions)
        parts = self._place(group)
        self._board.actions[rows] = chosen
        with DEFERRED:
            for share in group.shares:
                self._crew.tell(share.shard, talk.STEP)
            self._out[group.name] = parts

    def _recv(self, group: Group) -> Result:
        infos = self._collect(group)
        rows, board = group.rows, self._board
        terminated, truncated = board.terminated[rows].copy(), board.truncated[rows].copy()
        if self.autoreset_mode is not AutoresetMode.SAME_STEP:
            self._over[rows] = terminated | truncated
        seen = self._outlet.hand_out(self._out.pop(group.name))
        return seen, board.rewards[rows].copy(), terminated, truncated, infos

    def _collect(self, group: Group) -> Infos:
        """Wait for the shards of a group: their infos."""
        return self._infos(group, self._crew.collect([share.shard for share in group.shares]))

    def _infos(self, group: Group, told: Sequence[Infos | None]) -> Infos:
        infos: Infos = {}
        if any(told):
            infos = merged(list(zip(group.shares, told, strict=True)), group.rows.start, group.count)
        infos["action_mask"] = self._board.action_mask[group.rows].copy()
        infos["_action_mask"] = self._board.masked[group.rows].copy()
        return infos

    def _place(self, group: Group) -> Parts:
        """Where the group's next observation goes, which its shards are told."""
        slots = self._slots.get(group.name)
        if slots is None:
            slots = Slots(self._crew.slots_fd, self._parts, group.count, self._copy, self._grown)
            self._slots[group.name] = slots
        parts, place = slots.take()
        for share in group.shares:
            words = (*place, group.count, share.first - group.rows.start)
            self._board.words[share.shard, Word.PLACE] = words
        return parts

    # --- life

    def call(self, name: str, *given: Any, **named: Any) -> tuple[Any, ...]:
        """What each shard's environment answers: attribute `name`, called if it is a method; errors end nothing."""
        self._check_idle(f"call({name!r})")
        return tuple(answer for (answer,) in self._crew.ask("env", name, given, named, survive=True))

    def render(self) -> tuple[Any, ...] | None:
        """One frame a world, as the shards' `render_mode` says: see `GridEnv.render`."""
        if self.render_mode is None:
            return None
        return tuple(frame for frames in self.call("render") for frame in frames)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Make a snapshot in the new folder `path`, whole or not at all, which any number of shards can `load`.

        A worker that cannot write its part is a WorkerError, and the environment goes on.
        """
        self._check_idle("save()")
        with publish(path) as folder:
            self._crew.ask("save", str(folder), survive=True)
            write_index(folder, {part_of(share): share.worlds for share in self._deal.shares})
        self._crew.ask("remember", str(Path(path).absolute()))

    def load(self, path: str | os.PathLike[str], first: int = 0) -> tuple[Any, Infos]:
        """Go on from a snapshot, of shards or of one environment, with its worlds from number `first` on.

        The observation and infos of that moment; what follows is what would have followed there, to the last byte.
        """
        self._check_idle("load()")
        whole = self._deal.whole
        parts = self._place(whole)
        told = self._crew.ask("load", str(Path(path).absolute()), first)
        self._begun = all(started for started, _ in told)
        self._over[:] = self._board.terminated | self._board.truncated
        return self._outlet.hand_out(parts), self._infos(whole, [infos for _, infos in told])

    def close_extras(self, **kwargs: Any) -> None:
        """Close the shards' environments and end the workers; observations handed out stay."""
        self._crew.end()

    def _check_idle(self, what: str, group: Group | None = None) -> None:
        """Raise unless no step of the group's shards is out."""
        self._check_open()
        if self._deal.whole.name in self._out:  # an interrupt came while it was waited for: it has happened
            self._recv(self._deal.whole)
        out = [name for name in self._out if group in (None, self._deal.whole) or name == group.name]
        if out:
            raise ActionError(f"{what} needs shards that are not in a step, got {', '.join(out)} out; recv() first")

    def _check_open(self) -> None:
        if self.closed or self._crew.ended:
            raise ClosedError(f"this {type(self).__name__} is closed; make a new one")
        if os.getpid() != self._crew.owner:
            raise ClosedError("a sharded environment is used by the process that made it, got a fork; make a new one")
