"""The processes of a ShardedVectorEnv: how they start, end and fail, and what is refused."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from gymnasium.vector import VectorWrapper
from other_python import run_python
from sharded_batches import ACTIONS, AGENTS, GROUP, alive, assert_same, maker, sharded

from memfarm.envs import ShardedVectorEnv
from memfarm.envs.forage import Forage
from memfarm.errors import ActionError, ClosedError, ConfigError, WorkerError

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def two() -> Iterator[ShardedVectorEnv]:
    env = sharded(maker(), 2)
    yield env
    env.close()


# --- processes


@pytest.mark.parametrize("context", ["forkserver", "spawn"])
def test_a_script_needs_no_main_guard(context: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "print('once')\n"
        "from memfarm.envs import ShardedVectorEnv, forage_v0\n"
        "RADIUS = 1\n"
        "class Mine(forage_v0.environment):\n"
        "    radius = RADIUS\n"
        "def make(n):\n"
        "    return Mine({'world': {'shape': (8, 8)}}, worlds=n)\n"
        f"env = ShardedVectorEnv(make, 4, 2, context={context!r})\n"
        "print(env.reset(seed=0)[0].shape, env.call('radius'))\n"
    )
    done = run_python(script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "once\n(4, 3) (1, 1)\n", ""), done.stderr


def test_the_system_and_the_user_may_say_where_workers_run() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    env = sharded(maker(), 2, pin=True)
    assert [os.sched_getaffinity(pid) for pid in env.worker_pids] == [
        {allowed[shard % len(allowed)]} for shard in range(2)
    ]
    env.close()
    env = sharded(maker(), 2, pin=[allowed[-1]] * 2)
    assert [os.sched_getaffinity(pid) for pid in env.worker_pids] == [{allowed[-1]}] * 2
    env.close()


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="Linux's")
def test_a_worker_does_not_push_its_parent_off_the_processor() -> None:
    env = sharded(maker(), 2)
    assert [os.sched_getscheduler(pid) for pid in env.worker_pids] == [os.SCHED_BATCH] * 2
    assert os.sched_getscheduler(0) != os.SCHED_BATCH
    env.close()


def test_closed_or_dropped_it_leaves_no_process_and_no_descriptor() -> None:
    def descriptors() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    sharded(maker(), 2).close()  # what is opened once and for all
    before = descriptors()
    env = sharded(maker(), 2)
    pids = (*env.worker_pids, env.keeper_pid)
    env.reset(seed=0)
    assert alive(pids) == list(pids)
    env.close()
    env.close()
    assert alive(pids) == []
    with pytest.raises(ClosedError):
        env.step(np.zeros(AGENTS, int))
    with pytest.raises(ClosedError):
        env.reset()
    env = sharded(maker(), 2)
    pids = (*env.worker_pids, env.keeper_pid)
    env.reset(seed=0)
    env.step(np.zeros(AGENTS, int))
    del env
    assert descriptors() == before
    assert alive(pids) == []


def test_a_step_that_is_out_does_not_keep_it_from_closing() -> None:
    env = sharded(maker(), 2)
    env.reset(seed=0)
    env.send(1, np.zeros(AGENTS // 2, int))
    pids = env.worker_pids
    env.close()
    assert alive(pids) == []


def test_a_forked_child_can_neither_use_it_nor_end_it(two: ShardedVectorEnv) -> None:
    two.reset(seed=0)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            try:
                two.step(np.zeros(AGENTS, int))
            except ClosedError as error:
                os.write(write, str(error).encode())
            two._crew.end()
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    assert b"got a fork" in os.read(read, 1000)
    os.close(read)
    two.step(np.zeros(AGENTS, int))


def test_an_interrupted_step_has_happened(two: ShardedVectorEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    moves = np.arange(AGENTS) % ACTIONS
    two.reset(seed=6)
    two.step(moves)
    expected = two.step(moves)
    two.reset(seed=6)
    with monkeypatch.context() as patch:
        patch.setattr(two._crew, "collect", interrupt)
        with pytest.raises(KeyboardInterrupt):
            two.step(moves)
    assert_same(expected, two.step(moves))
    with monkeypatch.context() as patch:
        patch.setattr(two._crew, "collect", interrupt)
        with pytest.raises(KeyboardInterrupt):
            two.reset(seed=6)
    two.step(moves)
    assert_same(expected, two.step(moves))


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


# --- errors


class Faulty(VectorWrapper[Any, Any, Any, Any, Any]):
    """Does what the first action of its shard says: 1 raises, 2 ends the process."""

    def step(self, actions: Any) -> Any:
        if actions[0] == 1:
            raise ZeroDivisionError("a rule that fails")
        if actions[0] == 2:
            os._exit(7)
        return self.env.step(actions)


def faulty(num_envs: int) -> Any:
    return Faulty(maker()(num_envs))


@pytest.mark.parametrize("context", ["forkserver", "spawn"])
def test_a_worker_that_raises_gives_its_shard_and_traceback_and_all_end(context: Any) -> None:
    env = sharded(faulty, 3, context=context)
    env.reset(seed=0)
    actions = np.zeros(AGENTS, int)
    env.step(actions)
    actions[env.shard_rows[1]] = 1
    with pytest.raises(WorkerError, match="shard 1 of 3 raised ZeroDivisionError: a rule that fails") as raised:
        env.step(actions)
    assert "in step\n" in str(raised.value.__cause__)
    assert 'raise ZeroDivisionError("a rule that fails")' in str(raised.value.__cause__)
    assert alive((*env.worker_pids, env.keeper_pid)) == []
    with pytest.raises(ClosedError):
        env.step(actions)
    env.close()


def test_a_worker_that_ends_is_named_with_its_status() -> None:
    env = sharded(faulty, 3)
    env.reset(seed=0)
    actions = np.zeros(AGENTS, int)
    actions[env.shard_rows[2]] = 2
    with pytest.raises(WorkerError, match="shard 2 of 3 ended with exit status 7"):
        env.step(actions)
    assert alive((*env.worker_pids, env.keeper_pid)) == []


def test_a_worker_that_takes_too_long_is_named() -> None:
    env = sharded(sleepy, 2, timeout=3)  # shard 0 answers in time on a busy machine too
    with pytest.raises(WorkerError, match=r"shard 1 of 2 must answer within timeout=3.0 s"):
        env.reset(seed=0)
    assert alive((*env.worker_pids, env.keeper_pid)) == []


def sleepy(num_envs: int) -> Any:
    from memfarm.wrappers import WindowObservation

    class Sleepy(Forage):
        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            if seed:
                import time

                time.sleep(3600)
            return super().reset(seed=seed, options=options)

    env = Sleepy({"world": {"shape": (8, 8)}}, worlds=num_envs // GROUP, agents_per_world=GROUP)
    return WindowObservation(env, 1, tensor="numpy")


def broken(num_envs: int) -> Any:
    raise LookupError(f"no map for {num_envs}")


@pytest.mark.parametrize(
    ("make_env", "arguments", "error", "says"),
    [
        (maker(), {"context": "fork"}, ConfigError, "got 'fork': a fork takes along the locks"),
        (maker(), {"context": "threads"}, ConfigError, "must be 'forkserver' or 'spawn', got 'threads'"),
        (maker(), {"shards": 9}, ConfigError, "got 9 shards for 8 worlds"),
        (maker(), {"shards": 0}, ConfigError, "shards must be an int of at least 1, got 0"),
        (maker(), {"num_envs": 25}, ConfigError, "num_envs must be a multiple of agents_per_world=3, got 25"),
        (maker(), {"pin": [0]}, ConfigError, r"for each of 2 shards, got \[0\]"),
        (maker(), {"pin": "all"}, ConfigError, "pin must be True, False or"),
        (maker(), {"tensor": "jax"}, ConfigError, "must be 'numpy' or 'torch', got 'jax'"),
        (maker(), {"timeout": 0}, ConfigError, "a positive number of seconds, got 0"),
        ("forage", {}, ConfigError, "make_env must be a function"),
        (maker(), {"agents_per_world": 6}, ConfigError, "got 6 and worlds of 3 in shard 0"),
        (lambda n: maker()(n + 3), {}, WorkerError, r"make_env\(12\) must return an environment of 12 agents, got 15"),
        (lambda n: object(), {}, WorkerError, "must return a GridEnv, or wrappers around one, got object"),
        (broken, {}, WorkerError, "shard [01] of 2 raised LookupError: no map for 12"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_no_process(
    make_env: Any, arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    before = psutil.Process().children()
    given = {"num_envs": AGENTS, "shards": 2, "agents_per_world": GROUP, **arguments}
    with pytest.raises(error, match=says):
        ShardedVectorEnv(make_env, **given)
    assert psutil.Process().children() == before


def test_an_environment_of_tensors_is_refused_with_the_remedy() -> None:
    env = sharded(maker(tensor="torch"), 2)
    with pytest.raises(WorkerError, match=r"must build environments that return NumPy, got Tensor; use tensor='numpy'"):
        env.reset(seed=0)


def test_calls_out_of_order_are_refused_and_nothing_moves(two: ShardedVectorEnv) -> None:
    half = np.zeros(AGENTS // 2, int)
    fresh = sharded(maker(), 1)
    with pytest.raises(ActionError, match=r"call reset\(\) before step\(\)"):
        fresh.step(np.zeros(AGENTS, int))
    with pytest.raises(ConfigError, match="the first reset is of everyone"):
        fresh.reset(options={"reset_mask": np.arange(AGENTS) < GROUP})
    with pytest.raises(ConfigError, match="got one shard"):
        fresh.send(0, half)
    fresh.close()
    two.reset(seed=0)
    with pytest.raises(ActionError, match=r"recv\(1\) needs a half that is out"):
        two.recv(1)
    two.send(1, half)
    for call in (
        lambda: two.send(1, half),
        lambda: two.step(np.zeros(AGENTS, int)),
        lambda: two.reset(),
        lambda: two.call("closed"),
    ):
        with pytest.raises(ActionError, match="got half 1 out"):
            call()
    two.send(0, half)
    two.recv(1)
    two.recv(0)
    with pytest.raises(ActionError):
        two.recv(0)
    with pytest.raises(ConfigError, match="half must be 0 or 1, got 2"):
        two.send(2, half)


@pytest.mark.parametrize(
    "actions", [np.full(AGENTS, ACTIONS), np.full(AGENTS, -1), np.zeros(AGENTS - 1, int), np.zeros(AGENTS), [[0]]]
)
def test_bad_actions_are_refused_and_nothing_moves(two: ShardedVectorEnv, actions: Any) -> None:
    first = two.reset(seed=3)
    with pytest.raises(ActionError):
        two.step(actions)
    moves = np.arange(AGENTS) % ACTIONS
    after = two.step(moves)
    assert_same(first, two.reset(seed=3))
    assert_same(after, two.step(moves))


def test_the_ended_may_be_given_any_action() -> None:
    one, many = maker(max_cycles=2)(AGENTS), sharded(maker(max_cycles=2), 2)
    assert_same(one.reset(seed=0), many.reset(seed=0))
    for action in (0, 1, 99, 2, 3, -5):
        assert_same(one.step(np.full(AGENTS, action)), many.step(np.full(AGENTS, action)))
    one.close()
    many.close()
