"""MemmapRollout: what many agents saw, did and got in a run of ticks, in files that training reads batch by batch."""

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from memfarm import advantages, arrays, files, options, storage
from memfarm.errors import ClosedError, ConfigError, ShapeError, WorldFormatError
from memfarm.locks import WorldLock
from memfarm.rollout_plan import Plan
from memfarm.rows import FileRows, MemoryRows, Rows
from memfarm.wrappers.buffers import BufferPool

CHUNK: Final = 32
"""Neighbouring rows that a minibatch takes together, see `MemmapRollout.minibatches`."""


@dataclass(frozen=True, slots=True)
class Minibatch:
    """B rows of a rollout, each what one agent did in one tick; tensors on the CPU, memory of their own."""

    rows: torch.Tensor  # int64 (B,): t * N + n, rising
    observations: torch.Tensor  # float32 (B, C, S, S), channels_last
    masks: torch.Tensor  # bool (B, A), True where legal
    actions: torch.Tensor  # int64 (B,)
    logprobs: torch.Tensor  # float32 (B,)
    values: torch.Tensor  # float32 (B,)
    advantages: torch.Tensor  # float32 (B,)
    returns: torch.Tensor  # float32 (B,)


class MemmapRollout:
    """T ticks of N agents in memory-mapped files, for batches beyond what memory holds.

    steps: T. agents: N. window: `(S, S, C)` of an agent's window. actions: A, how many there are.
    path: a new or empty folder to keep it in, whatever becomes of the process; None: scratch, which ends with it.
    backend: "ram" keeps all of it in anonymous memory instead: same class, same numbers.

    The environment cuts its windows straight into a slot, and a tick counts once `add` has returned:

        env.write_next_to(rollout.slot(0)); _, infos = env.reset(); rollout.begin(infos["action_mask"])
        while not rollout.full:
            ... actions, logprobs and values of rollout.windows(len(rollout)) ...
            env.write_next_to(rollout.slot(len(rollout) + 1))
            _, rewards, terminations, truncations, infos = env.step(actions)
            rollout.add(actions, logprobs, values, rewards, terminations, truncations, infos["action_mask"])
        rollout.returns(last_values, gamma, lam)
        for batch in rollout.minibatches(size, generator): ...
        rollout.carry_over()

    Arrays (views): `observations` float32 (T + 1, N, S, S, C), one more for where the last tick led; `masks` bool
    (T + 1, N, A); `resting` bool (T + 1, N), True where the tick only began a life anew; `actions` int64, `logprobs`,
    `values` (T + 1), `rewards`, `advantages` float32, `terminations`, `truncations` bool, all (T, N). Of the files only
    the windows at work are resident: a slot is given back once its tick is over, minibatches are read past the map.
    The disk is reserved at construction. Raises ConfigError, StorageError (ENOSPC: no room).
    """

    def __init__(
        self,
        steps: int,
        agents: int,
        window: tuple[int, int, int],
        actions: int,
        *,
        path: str | os.PathLike[str] | None = None,
        backend: storage.Backend = "memmap",
    ) -> None:
        plan = Plan.of(steps, agents, window, actions)
        if backend not in ("memmap", "ram") or (path is not None and backend == "ram"):
            raise ConfigError(f"a rollout lies in 'memmap' or 'ram', which has no path, got {backend!r}, path={path}")
        folder = None if path is None else files.given_folder(Path(path))
        try:
            lock = None if folder is None else WorldLock(folder)
            segments = storage.create(plan.layout(), backend, folder)
            for place in segments.places.values():
                place.reserve()
            if folder is not None:
                plan.write(folder)
        except BaseException:
            if folder is not None:  # new and ours: nothing half made stays
                shutil.rmtree(folder)
            raise
        self._setup(plan, segments, folder, lock)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Go on with the rollout in folder `path`; `len()` says how many whole ticks are in it.

        Raises WorldFormatError for a folder that holds none, or a truncated or foreign file of one; WorldLockedError
        where another process has it open.
        """
        folder = Path(path).absolute()
        plan = Plan.read(folder)
        lock = WorldLock(folder)
        rollout = cls.__new__(cls)
        rollout._setup(plan, storage.reopen(plan.layout(), folder, "r+"), folder, lock)
        done = rollout._progress
        if not 0 <= done[1] <= done[0] <= plan.steps:
            raise WorldFormatError(f"{str(folder)!r} must hold 0 to {plan.steps} ticks, got {done.tolist()}")
        return rollout

    def _setup(self, plan: Plan, segments: storage.Segments, folder: Path | None, lock: WorldLock | None) -> None:
        self.steps = plan.steps
        self.agents = plan.agents
        self.path = folder
        self._plan = plan
        self._owner = os.getpid()
        self._lock = lock
        self._segments = segments
        self._hold(segments.arrays.values())
        self._windows: Rows = MemoryRows(self.observations.reshape(-1, *plan.window))
        place = segments.places.get("observations")
        if place is not None:
            self._windows = FileRows(place, segments.maps[0], self.observations[0, 0].nbytes)

    def _hold(self, held: Iterable[NDArray[Any]]) -> None:
        self.observations, self.masks, self.resting, self.actions, self.logprobs, *others = held
        self.values, self.rewards, self.advantages, self.terminations, self.truncations, self._progress = others

    def __len__(self) -> int:
        """How many whole ticks are in it."""
        self._check_open()
        return int(self._progress[0])

    @property
    def full(self) -> bool:
        return len(self) == self.steps

    def slot(self, t: int) -> NDArray[np.float32]:
        """Where the windows before tick t go, float32 `(N, S, S, C)`: a view, for `write_next_to`. t: 0 up to T."""
        self._check_open()
        view: NDArray[np.float32] = self.observations[options.whole("t", t, 0, self.steps)]
        return view

    def windows(self, t: int) -> torch.Tensor:
        """What the agents saw before tick t, float32 `(N, C, S, S)` in channels_last strides: a view."""
        return torch.from_numpy(self.slot(t)).permute(0, 3, 1, 2)

    def begin(self, masks: ArrayLike) -> None:
        """Start at tick 0, whose windows lie in `slot(0)`, in lives that begin. masks: `(N, A)`, not 0 where legal."""
        masks = self._masks(masks)
        self._progress[:] = 0
        self.masks[0], self.resting[0] = masks, False

    def add(
        self,
        actions: ArrayLike,
        logprobs: ArrayLike,
        values: ArrayLike,
        rewards: ArrayLike,
        terminations: ArrayLike,
        truncations: ArrayLike,
        masks: ArrayLike,
    ) -> None:
        """Count the tick whose windows lie in `slot(len(self))`, and where it led in the slot after that.

        All `(N,)`, arrays or CPU tensors; masks: `(N, A)`, what is legal in the tick after. Raises ShapeError,
        DTypeError or ValueRangeError (NaN), and ConfigError where it is full: nothing has changed then.
        """
        t, one = len(self), (self.agents,)
        if t == self.steps:
            raise ConfigError(f"a rollout of {self.steps} ticks is full; call carry_over() or begin() first")
        numbers = (("logprobs", logprobs), ("values", values), ("rewards", rewards))
        checked = [arrays.numbers(name, np.asarray(given), one, np.float32) for name, given in numbers]
        both = (("terminations", terminations), ("truncations", truncations))
        ends = [arrays.flags(name, np.asarray(given), one) for name, given in both]
        chosen, legal = self._actions(actions), self._masks(masks)
        self.actions[t] = chosen
        self.logprobs[t], self.values[t], self.rewards[t] = checked
        self.terminations[t], self.truncations[t] = ends
        self.resting[t + 1] = ends[0] | ends[1]
        self.masks[t + 1] = legal
        self._progress[0] = t + 1  # last: killed before it, the tick has not been
        self._windows.give_back(t * self.agents, (t + 1) * self.agents)

    def _actions(self, actions: ArrayLike) -> NDArray[Any]:
        given = np.asarray(actions)
        if given.shape != (self.agents,) or given.dtype.kind not in "iu":
            raise ShapeError(f"actions must be integers ({self.agents},), got {given.dtype} {given.shape}")
        return given

    def _masks(self, masks: ArrayLike) -> NDArray[np.bool_]:
        given, shape = np.asarray(masks), (self.agents, self._plan.actions)
        if given.shape != shape or given.dtype.kind not in "biu":
            raise ShapeError(f"masks must be bools or integers {shape}, got {given.dtype} {given.shape}")
        legal: NDArray[np.bool_] = given != 0
        return legal

    def returns(self, last_values: ArrayLike, gamma: float, lam: float) -> NDArray[np.float32]:
        """Estimate `advantages` of the ticks that are there (GAE, `advantages.estimate`); the returns, new `(t, N)`.

        last_values: `(N,)`, expected at the windows that the last tick led to. gamma, lam: in [0, 1].
        """
        t = len(self)
        gamma, lam = options.number("gamma", gamma, 0.0, 1.0), options.number("lam", lam, 0.0, 1.0)
        self.values[t] = arrays.numbers("last_values", np.asarray(last_values), (self.agents,), np.float32)
        ended = self.terminations[:t], self.truncations[:t]
        advantages.estimate(self.rewards[:t], self.values[: t + 1], *ended, gamma, lam, out=self.advantages[:t])
        self._progress[1] = t
        total: NDArray[np.float32] = self.advantages[:t] + self.values[:t]
        return total

    def minibatches(self, size: int, generator: torch.Generator, *, chunk: int = CHUNK) -> Iterator[Minibatch]:
        """Every row of the rollout once, in random minibatches of `size` rows (the last may be smaller), as tensors.

        Rows that only began a life anew are left out. generator: a CPU one; the same state, the same batches.
        chunk: neighbouring rows (agents of one tick) that go together; `chunk=1` draws every row by itself, and took 4
        to 7 times as long as 32 from a disk, 5 times the processor's time from the cache (docs/performance.md): a call
        and two half-used pages for every row. With 32 a batch of 8,192 still draws from 256 places.
        Within a batch rows come in the file's order: a loss that is a mean over the batch does not see it.
        While a batch is worked on the system fetches the next. Tensors are page-locked where there is CUDA.
        Raises ConfigError where `returns` has not been called since the last tick.
        """
        t = len(self)
        size, chunk = options.whole("size", size, 1), options.whole("chunk", chunk, 1)
        if not t or int(self._progress[1]) != t:
            raise ConfigError(f"minibatches need returns() after the last tick, got {t} ticks; call it first")
        rows = np.flatnonzero(~self.resting[:t].reshape(-1))
        chunks = torch.randperm(-(-len(rows) // chunk), generator=generator).numpy()
        order = (chunks[:, None] * chunk + np.arange(chunk)).reshape(-1)
        rows = rows[order[order < len(rows)]]
        return self._batches([np.sort(rows[start : start + size]) for start in range(0, len(rows), size)], size)

    def _batches(self, batches: list[NDArray[np.int64]], size: int) -> Iterator[Minibatch]:
        pinned, shape = torch.cuda.is_available(), (size, *self._plan.window)
        pool = BufferPool(shape, make=lambda: torch.empty(shape, pin_memory=pinned).numpy())
        for rows, following in zip(batches, [*batches[1:], batches[0]], strict=True):
            windows = pool.take()[: len(rows)]
            self._check_open()
            self._windows.read(rows, windows)
            if following is not batches[0]:
                self._windows.read_ahead(following)
            yield self._batch(rows, torch.from_numpy(windows).permute(0, 3, 1, 2), pinned)

    def _batch(self, rows: NDArray[np.int64], windows: torch.Tensor, pinned: bool) -> Minibatch:
        def part(array: NDArray[Any]) -> torch.Tensor:
            found = torch.from_numpy(array.reshape(-1, *array.shape[2:])[rows])
            return found.pin_memory() if pinned else found

        values, gains = part(self.values), part(self.advantages)
        return Minibatch(
            rows=torch.from_numpy(rows),
            observations=windows,
            masks=part(self.masks),
            actions=part(self.actions),
            logprobs=part(self.logprobs),
            values=values,
            advantages=gains,
            returns=gains + values,
        )

    def carry_over(self) -> None:
        """Start anew at tick 0 with the windows, masks and ended lives that the last tick led to."""
        t = len(self)
        self._progress[:] = 0
        for kept in (self.observations, self.masks, self.resting):
            kept[0] = kept[t]
        self._windows.give_back(self.agents, (self.steps + 1) * self.agents)

    def flush(self) -> None:
        """Have a kept rollout on the disk, safe against a power cut; a killed process loses nothing without it."""
        self._check_open()
        self._segments.flush()

    def close(self) -> None:
        """Let go of the files; those of a kept rollout stay. Arrays handed out stay valid. Twice is fine."""
        nothing = np.empty(0)
        self._hold([nothing] * len(self._plan.layout()))
        self._windows = MemoryRows(nothing)
        self._segments = storage.NOTHING
        if self._lock is not None:
            self._lock.release()

    def _check_open(self) -> None:
        if self._segments is storage.NOTHING:
            raise ClosedError("this rollout is closed; make or open it again")
        if self._owner != os.getpid():
            raise ClosedError(f"this rollout belongs to process {self._owner}; make or open one in this process")
