"""A shard's worker process: it builds its environment and steps it when it is told to, in the shared memory."""

import contextlib
import os
import pickle
import signal
import socket
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from memfarm.envs.base import GridEnv
from memfarm.envs.shards import line as talk
from memfarm.envs.shards.dealing import Share
from memfarm.envs.shards.layout import PLAIN, Board, Part, Parts, Word, by_name, size_of, views
from memfarm.envs.shards.memory import Extents, whole
from memfarm.errors import ConfigError
from memfarm.stateful import Saved
from memfarm.wrappers import MemoryObservation, WindowObservation

Env = VectorEnv[Any, Any, Any]
_KEPT: Final = 64  # views of slots


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker must know to take part: the batch it belongs to, and how the shared memory is laid out."""

    share: Share
    agents: int
    shards: int
    actions: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the parent must know of a shard's environment."""

    agents_per_world: int
    observation: spaces.Space[Any]  # of one agent
    action: spaces.Space[Any]
    metadata: dict[str, Any]
    render_mode: str | None
    pid: int


def work(line_fd: int, board_fd: int, slots_fd: int) -> None:
    """Serve the parent at the other end of the line until it hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to answer
    _let_the_parent_finish()
    with socket.socket(fileno=line_fd) as line:
        worker = Worker(line, board_fd, slots_fd)
        try:
            worker.serve()
        except talk.HungUpError:
            pass
        finally:
            worker.close()


def _let_the_parent_finish() -> None:
    """Do not push the parent off its processor when it wakes us: it has other workers to wake."""
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class Worker:
    """The worker's side of a ShardedVectorEnv: an environment, and where its results go."""

    def __init__(self, line: socket.socket, board_fd: int, slots_fd: int) -> None:
        self._line: Final = line
        self._board_fd: Final = board_fd
        self._extents: Final = Extents(slots_fd)
        self._views: dict[tuple[int, int], Parts] = {}
        self._env: Env | None = None
        self._core: GridEnv
        self._into: Callable[[NDArray[np.float32]], None] | None = None
        self._plan: Plan
        self._board: Board

    def serve(self) -> None:
        """Answer one sign after the other. Raises HungUpError when the parent has gone."""
        signs: dict[bytes, Callable[[], Any]] = {talk.STEP: self._step, talk.RESET: self._reset, talk.LOOK: self._look}
        while True:
            sign, request = talk.hear(self._line)
            try:
                more = self._call(*request) if sign == talk.CALL else signs[sign]()
            except Exception as error:  # noqa: BLE001 - whatever it is, the parent raises it
                summary = "".join(traceback.format_exception_only(error)).strip()
                talk.tell(self._line, talk.RAISED, (summary, traceback.format_exc()))
                continue
            if more is None:
                talk.tell(self._line, talk.DONE)
            else:
                talk.tell(self._line, talk.MORE, more)

    def close(self) -> None:
        """Close the environment, if there is one."""
        if self._env is not None:
            self._env.close()
            self._env = None

    # --- rare: requests by name

    def _call(self, name: str, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        requests: dict[str, Callable[..., Any]] = {
            "ask": self._ask,
            "build": self._build,
            "join": self._join,
            "reset": self._reset,
            "save": self._save,
            "remember": self._remember,
            "load": self._load,
            "env": self._of_env,
        }
        return requests[name](*given, **named)

    def _ask(self, make_env: bytes, count: int) -> int:
        """How many agents a world has, as `make_env` builds them."""
        env, core = _made(make_env, count)
        env.close()
        return core.agents_per_world

    def _build(self, make_env: bytes, count: int, core: int | None) -> Facts:
        """Build the shard's environment, on processor `core` if one is given; what the parent must know of it."""
        if core is not None:
            os.sched_setaffinity(0, {core})
        self._env, self._core = _made(make_env, count)
        env = self._env
        return Facts(
            self._core.agents_per_world,
            env.single_observation_space,
            env.single_action_space,
            env.metadata,
            env.render_mode,
            os.getpid(),
        )

    def _join(self, plan: Plan) -> None:
        """Find one's place in the shared memory."""
        size = Board.size(plan.agents, plan.shards, plan.actions)
        self._board = Board.on(whole(self._board_fd, size), plan.agents, plan.shards, plan.actions)
        self._plan = plan

    def _save(self, folder: str) -> None:
        """Write the shard's worlds into its part of the snapshot that is made in `folder`."""
        self._saved().save_part(Path(folder) / part_of(self._plan.share))

    def _remember(self, path: str) -> None:
        """Note that the snapshot lies at `path`."""
        self._core.world.remember_snapshot(Path(path) / part_of(self._plan.share))

    def _load(self, path: str, first: int) -> tuple[bool, Any]:
        """Go on from the snapshot at `path`, whose world `first` is the batch's first: whether it was ever reset.

        Who has ended is on the board.
        """
        share = self._plan.share
        observation, infos = self._saved().load(path, first + share.first_world)
        self._put(self._parts(), observation)
        state = self._core.state_arrays()
        self._board.terminated[share.rows] = state["terminated"]
        self._board.truncated[share.rows] = state["truncated"]
        return self._core.started, self._put_infos(infos)

    def _of_env(self, name: str, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any]:
        """An attribute of the environment, called if it is a method; in a tuple, so that None is an answer too."""
        found = getattr(self._env if hasattr(self._env, name) else self._core, name)
        return (found(*given, **named) if callable(found) else found,)

    # --- each step

    def _step(self) -> Any:
        env, board, mine = self._env, self._board, self._plan.share.rows
        if env is None:
            raise ConfigError("a shard steps after it was built")
        parts = self._next_parts()
        observation, rewards, terminated, truncated, infos = env.step(board.actions[mine].copy())
        self._put(parts, observation)
        board.rewards[mine] = rewards
        board.terminated[mine] = terminated
        board.truncated[mine] = truncated
        return self._put_infos(infos)

    def _reset(self, options: dict[str, Any] | None = None) -> Any:
        env, board, share = self._env, self._board, self._plan.share
        if env is None:
            raise ConfigError("a shard is reset after it was built")
        seeded, seed, keep = (int(word) for word in board.words[share.shard, Word.RESET])
        chosen = board.chosen[share.rows].copy()
        if not board.chosen.all():
            options = {**(options or {}), "reset_mask": chosen, "keep_clock": True}
        if keep:
            options = {**(options or {}), "keep_world": True}
        parts = self._next_parts()
        observation, infos = env.reset(seed=seed % 2**64 if seeded else None, options=options)
        self._put(parts, observation)
        if isinstance(env, WindowObservation | MemoryObservation):  # from now on, as it has returned NumPy
            self._into = env.write_next_to
        return self._put_infos(infos)

    def _look(self) -> Any:
        """Observe once more: others were reset, and this shard's part of the observation is asked for."""
        observation, infos = self._saved().look()
        self._put(self._parts(), observation)
        return self._put_infos(infos)

    def _saved(self) -> Saved:
        env: Any = self._env
        if isinstance(env, Saved):
            return env
        raise ConfigError(
            f"saving, loading and a reset_mask that leaves out a shard need one of memfarm's own wrappers outermost, "
            f"got {type(env).__name__}; put it outside ShardedVectorEnv"
        )

    def _parts(self) -> Parts:
        """Where this shard's rows of the next observation lie; views."""
        share, parts = self._plan.share, self._plan.parts
        extent, length, offset, rows, first = (int(word) for word in self._board.words[share.shard, Word.PLACE])
        key = (offset, rows)
        found = self._views.get(key)
        if found is None:
            if len(self._views) >= _KEPT:
                self._views.clear()
            raw = self._extents.bytes_at(extent, length, offset, size_of(parts, rows))
            here = slice(first, first + share.count)
            found = self._views[key] = {name: array[here] for name, array in views(raw, parts, rows).items()}
        return found

    def _next_parts(self) -> Parts:
        """The same, and the environment told to cut its windows there, if it can."""
        parts = self._parts()
        if self._into is not None:
            self._into(parts[PLAIN] if PLAIN in parts else parts["window"])
        return parts

    def _put(self, parts: Parts, observation: Any) -> None:
        """Copy what the environment did not write in place."""
        for name, value in by_name(observation).items():
            place = parts[name]
            if not isinstance(value, np.ndarray):
                raise ConfigError(
                    f"make_env must build environments that return NumPy, got {type(value).__name__}; use "
                    "tensor='numpy' in make_env, and ShardedVectorEnv(..., tensor='torch') for tensors"
                )
            if value is not place and value.__array_interface__["data"] != place.__array_interface__["data"]:
                place[...] = value

    def _put_infos(self, infos: Mapping[str, Any]) -> dict[str, Any] | None:
        """The action mask into the shared memory; the rest, if there is any, is to be pickled."""
        mine = self._plan.share.rows
        self._board.action_mask[mine] = infos["action_mask"]
        self._board.masked[mine] = infos["_action_mask"]
        rest = {key: value for key, value in infos.items() if key not in ("action_mask", "_action_mask")}
        return rest or None


def part_of(share: Share) -> str:
    """The name of a shard's part of a snapshot."""
    return f"part-{share.shard}"


def _made(make_env: bytes, count: int) -> tuple[Env, GridEnv]:
    """An environment of `count` agents, and the GridEnv in it. Raises ConfigError where it cannot be a shard."""
    env = pickle.loads(make_env)(count)
    core = env.unwrapped if isinstance(env, VectorEnv) else env
    if not isinstance(core, GridEnv):
        raise ConfigError(f"make_env must return a GridEnv, or wrappers around one, got {type(env).__name__}")
    if env.num_envs != count:
        env.close()
        raise ConfigError(f"make_env({count}) must return an environment of {count} agents, got {env.num_envs}")
    return env, core
