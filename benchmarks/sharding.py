"""Worlds in worker processes against one process and other people's workers, and a policy that works meanwhile."""

import itertools
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv

from benchmarks.crop import RADIUS
from benchmarks.foraging import FOREVER, ID
from benchmarks.rows import Goal, Row
from benchmarks.sizes import Sizes
from benchmarks.timing import in_turns
from memfarm.envs import ShardedVectorEnv, forage_v0

_ROUNDS: Final = 20  # steps of a sample in which two halves are under way
_DRAWN: Final = 64  # batches of actions, drawn beforehand and taken in turn
_ROOT: Final = Path(__file__).parents[1]

Make = Callable[[int], Any]


def rows(sizes: Sizes) -> Iterator[Row]:
    """Two shards against one process, two apart, AsyncVectorEnv and SuperSuit; two halves against lock-step."""
    with all_cores() as cores:
        for side, worlds, group in sizes.shard_crowds:
            yield from _one_process(sizes, cores, side, worlds, group)
        yield _async_vector_env(sizes, cores)
        yield _supersuit(sizes, cores)
        yield _halves(sizes, cores)


@contextmanager
def all_cores() -> Iterator[list[int]]:
    """Let the process run everywhere for a while, and say where that is; the table as a whole is taken on one core."""
    if not hasattr(os, "sched_setaffinity"):
        yield []
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield sorted(os.sched_getaffinity(0))
    finally:
        os.sched_setaffinity(0, before)


def _maker(side: int, group: int) -> Make:
    def make_env(num_envs: int) -> Any:
        return forage_v0.batched(
            num_envs, agents_per_world=group, shape=(side, side), radius=RADIUS, max_cycles=FOREVER
        )

    return make_env


def _sharded(make_env: Make, agents: int, group: int, cores: list[int]) -> ShardedVectorEnv:
    """Two shards, each on the first processor and on the last."""
    pin = [cores[0], cores[-1]] if cores else False
    return ShardedVectorEnv(make_env, agents, 2, agents_per_world=group, pin=pin)


def _stepper(env: Any, agents: int) -> Callable[[], None]:
    """A step with actions drawn beforehand; the last observation is kept, as a trainer would."""
    draws = np.random.default_rng(0).integers(0, len(forage_v0.environment.ACTIONS), (_DRAWN, agents))
    actions = itertools.cycle(draws)
    kept: list[Any] = [env.reset(seed=0)]

    def step() -> None:
        kept[0] = env.step(next(actions))

    return step


def _one_process(sizes: Sizes, cores: list[int], side: int, worlds: int, group: int) -> Iterator[Row]:
    agents = worlds * group
    make_env = _maker(side, group)
    one, two = make_env(agents), _sharded(make_env, agents, group, cores)
    with _apart(side, group, agents // 2, cores) as step_apart:
        cases = {"ours": _stepper(two, agents), "one": _stepper(one, agents), "apart": step_apart}
        times = in_turns(cases, seconds=3 * sizes.seconds, least=10, stretch=sizes.stretch)
    one.close()
    two.close()
    ours = times["ours"]
    yield Row(
        id=f"shards[{side}-n{agents}]",
        what=f"Forage, {worlds} worlds in 2 shards, a core for each, NumPy windows",
        unit="agent-steps/s",
        ours=agents / ours.median,
        versus="the same worlds in one process",
        baseline=agents / times["one"].median,
        ratio=times["one"].over(ours),
        faster=True,
        goal=Goal("ratio", least=1.7),
        spread=ours.spread,
    )
    yield Row(
        id=f"shards-apart[{side}-n{agents}]",
        what="the same shards",
        unit="agent-steps/s",
        ours=agents / ours.median,
        versus="two processes with half of the worlds each, that share nothing and hand out nothing",
        baseline=agents / times["apart"].median,
        ratio=times["apart"].over(ours),
        faster=True,
        spread=times["apart"].spread,
    )


@contextmanager
def _apart(side: int, group: int, agents: int, cores: list[int]) -> Iterator[Callable[[], None]]:
    """Two processes with an environment of `agents` each; what is given lets both step, and waits for both."""
    context = multiprocessing.get_context("forkserver")
    pipes, workers = [], []
    for core in (cores[0], cores[-1]) if cores else (None, None):
        ours, theirs = context.Pipe()
        workers.append(context.Process(target=_step_when_told, args=(theirs, side, group, agents, core)))
        workers[-1].start()
        theirs.close()
        ours.recv()  # it is built
        pipes.append(ours)

    def step() -> None:
        for pipe in pipes:
            pipe.send(None)
        for pipe in pipes:
            pipe.recv()

    try:
        yield step
    finally:
        for pipe in pipes:
            pipe.close()
        for worker in workers:
            worker.join()


def _step_when_told(pipe: Any, side: int, group: int, agents: int, core: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})
    env = _maker(side, group)(agents)
    step = _stepper(env, agents)
    pipe.send(None)
    with suppress(EOFError):
        while True:
            pipe.recv()
            step()
            pipe.send(None)
    env.close()


def _async_vector_env(sizes: Sizes, cores: list[int]) -> Row:
    agents, side = sizes.shard_singles, sizes.shard_side
    two = _sharded(_maker(side, 1), agents, 1, cores)
    arguments = {"shape": (side, side), "radius": RADIUS, "max_cycles": FOREVER}
    workers = AsyncVectorEnv([lambda: gymnasium.make(ID, **arguments)] * agents)
    times = in_turns({"ours": _stepper(two, agents), "workers": _stepper(workers, agents)}, seconds=sizes.seconds)
    two.close()
    workers.close()
    return Row(
        id=f"shards-async[{side}-n{agents}]",
        what="Forage, worlds of one agent in 2 shards",
        unit="agent-steps/s",
        ours=agents / times["ours"].median,
        versus="gymnasium's AsyncVectorEnv, a process for each single-agent door",
        baseline=agents / times["workers"].median,
        ratio=times["workers"].over(times["ours"]),
        faster=True,
        spread=times["ours"].spread,
    )


def _supersuit(sizes: Sizes, cores: list[int]) -> Row:
    agents, worlds = sizes.shard_agents // 4, 2
    group, side = agents // worlds, sizes.step_side
    two = _sharded(_maker(side, group), agents, group, cores)
    cases = {"ours": _stepper(two, agents)}
    python = _python_with_supersuit()
    other = None
    if python is not None:
        other = subprocess.Popen(
            [python, str(Path(__file__).with_name("supersuit_steps.py")), *map(str, (worlds, group, side, RADIUS))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )
        cases["supersuit"] = lambda: _ask(other)
        _answer(other)  # it is built
    times = in_turns(cases, seconds=sizes.seconds)
    two.close()
    if other is not None:
        other.communicate(timeout=60)
    return Row(
        id=f"shards-supersuit[{side}-n{agents}]",
        what=f"Forage, {worlds} worlds in 2 shards, NumPy windows",
        unit="agent-steps/s",
        ours=agents / times["ours"].median,
        versus="SuperSuit's concat_vec_envs, 2 processes" + ("" if other else ": not installed (make test-adapters)"),
        baseline=agents / times["supersuit"].median if other else None,
        ratio=times["supersuit"].over(times["ours"]) if other else None,
        faster=True,
        spread=times["ours"].spread,
    )


def _python_with_supersuit() -> str | None:
    """An interpreter that has SuperSuit: this one, or that of one of the trainers' environments."""
    for python in (sys.executable, *map(str, sorted(_ROOT.glob(".venv-adapters/*/bin/python")))):
        found = subprocess.run([python, "-c", "import supersuit"], capture_output=True, check=False)
        if found.returncode == 0:
            return python
    return None


def _ask(other: "subprocess.Popen[bytes] | None") -> None:
    """Have the other process take a step, and wait for it."""
    if other is None or other.stdin is None:
        raise RuntimeError("there must be a process to ask")
    other.stdin.write(b"\n")
    other.stdin.flush()
    _answer(other)


def _answer(other: "subprocess.Popen[bytes]") -> None:
    if other.stdout is None or not other.stdout.readline():
        raise RuntimeError("SuperSuit's process ended; what it says is above")


def _halves(sizes: Sizes, cores: list[int]) -> Row:
    """The shards have one core, the policy the other: with a core for each shard beside it, three would be needed."""
    agents, group = sizes.shard_agents, sizes.shard_agents // sizes.shard_worlds
    pin = [cores[0]] * 2 if cores else False
    if cores:
        os.sched_setaffinity(0, {cores[-1]})
    env = ShardedVectorEnv(_maker(sizes.step_side, group), agents, 2, agents_per_world=group, pin=pin)
    step = _stepper(env, agents)
    whole = in_turns({"step": step}, seconds=sizes.seconds / 2)["step"].median
    draws = np.random.default_rng(1).integers(0, len(forage_v0.environment.ACTIONS), (_ROUNDS, agents))

    def lock_step() -> None:
        for actions in draws:
            env.step(actions)
            _think(whole)

    def halves() -> None:
        kept: dict[int, Any] = {}
        for half, rows in enumerate(env.half_rows):
            env.send(half, draws[0, rows])
        for actions in draws:
            for half, rows in enumerate(env.half_rows):
                kept[half] = env.recv(half)
                _think(whole * (rows.stop - rows.start) / agents)
                env.send(half, actions[rows])
        for half in (0, 1):
            kept[half] = env.recv(half)

    times = in_turns({"ours": halves, "lock-step": lock_step}, seconds=2 * sizes.seconds, least=5)
    env.close()
    if cores:
        os.sched_setaffinity(0, cores)
    return Row(
        id=f"shards-halves[{sizes.step_side}-n{agents}]",
        what="send/recv of halves; a policy as long as the env on one core, 2 shards on the other",
        unit="ms/step",
        ours=times["ours"].median / _ROUNDS * 1e3,
        versus="step, then the policy, on the same cores",
        baseline=times["lock-step"].median / _ROUNDS * 1e3,
        ratio=times["ours"].over(times["lock-step"]),
        goal=Goal("ratio", most=0.65),
        spread=times["ours"].spread,
    )


def _think(seconds: float) -> None:
    """Be a policy that takes so long, and leaves its core to nobody."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
