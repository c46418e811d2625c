"""A sharded environment's processes are killed at any moment: the parent says who, and nothing is left."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
SHARED_MEMORY = Path("/dev/shm")
MOMENTS = 50 if os.environ.get("MEMFARM_DOSE") == "full" else 1
MARK = "MEMFARM_TEST_MARK"

PARENT = """
import json, sys
import numpy as np
from memfarm.envs import ShardedVectorEnv
from memfarm.errors import WorkerError

def make_env(num_envs):
    from memfarm.envs import forage_v0
    return forage_v0.batched(num_envs, agents_per_world=4, shape=(40, 40), radius=3, max_cycles=30)

try:
    env = ShardedVectorEnv(make_env, 24, 3, context=sys.argv[1])
    env.reset(seed=0)
    print(json.dumps([env.keeper_pid, *env.worker_pids]), flush=True)
    actions = np.random.default_rng(0).integers(0, 6, (64, 24))
    kept = [env.step(actions[step % 64]) for step in range(5)]
    step = 0
    while True:
        step += 1
        if step % 2:
            kept[step % 5] = env.step(actions[step % 64])
        else:
            for half, rows in enumerate(env.half_rows):
                env.send(half, actions[step % 64, rows])
            for half in (1, 0):
                env.recv(half)
except WorkerError as error:
    print(error, flush=True)
"""


class Run:
    """A parent and all that comes of it, known by a mark in their environment."""

    def __init__(self, folder: Path, context: str, code: str = PARENT) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex
        self.shared = set(SHARED_MEMORY.iterdir()) if SHARED_MEMORY.is_dir() else set()
        self.parent = subprocess.Popen(
            [sys.executable, "-W", "error::ResourceWarning", "-c", code, context],
            cwd=ROOT,
            env={
                **os.environ,
                MARK: self.mark,
                "MEMFARM_SCRATCH": str(folder),
                "TMPDIR": str(folder),
                "PYTHONPATH": str(ROOT),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def pids(self) -> tuple[int, list[int]]:
        """The keeper's and the workers', when the environment is built."""
        assert self.parent.stdout is not None
        keeper, *workers = json.loads(self.parent.stdout.readline())
        return keeper, workers

    def alive(self) -> list[int]:
        """Every process with the mark; who has ended and waits to be asked for its status has none any more."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark:
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found

    def assert_nothing_is_left(self) -> None:
        """No process, no file, no shared memory; the system may take a moment to end an orphan."""
        wait_until(lambda: not self.alive())
        assert list(self.folder.iterdir()) == []
        left = (set(SHARED_MEMORY.iterdir()) if SHARED_MEMORY.is_dir() else set()) - self.shared
        assert not [path for path in left if "memfarm" in path.name or "psm_" in path.name]

    def end(self) -> None:
        for pid in self.alive():
            kill(pid)
        self.parent.communicate(timeout=60)


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(6000):  # looks and pauses, not seconds: a machine that stands still is no failure
        if condition():
            return
        time.sleep(0.02)
    pytest.fail("it did not come to that within 120 seconds")


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def make(context: str, code: str = PARENT) -> Run:
        folder = tmp_path / str(len(runs))
        folder.mkdir()
        runs.append(Run(folder, context, code))
        return runs[-1]

    yield make
    for run in runs:
        run.end()


def in_turn(moment: int) -> str:
    return ("forkserver", "spawn")[moment % 2]


@pytest.mark.timeout(3600)
def test_a_killed_worker_is_named_with_its_shard_and_signal(start: Callable[..., Run]) -> None:
    rng = random.Random()
    for moment in range(MOMENTS):
        run = start(in_turn(moment))
        _, workers = run.pids()
        time.sleep(rng.uniform(0, 0.2))
        shard = rng.randrange(3)
        kill(workers[shard])
        said, errors = run.parent.communicate(timeout=60)
        assert said.startswith(f"shard {shard} of 3 was killed by SIGKILL"), (said, errors)
        assert run.parent.returncode == 0, errors
        assert errors == ""
        run.assert_nothing_is_left()


@pytest.mark.timeout(3600)
def test_a_killed_parent_leaves_nothing(start: Callable[..., Run]) -> None:
    rng = random.Random()
    for moment in range(MOMENTS):
        run = start(in_turn(moment + 1))
        run.pids()
        time.sleep(rng.uniform(0, 0.2))
        kill(run.parent.pid)
        _, errors = run.parent.communicate(timeout=60)  # once nobody holds its pipes any more
        assert errors == ""
        run.assert_nothing_is_left()


@pytest.mark.timeout(3600)
def test_a_killed_keeper_takes_all_shards_along_and_the_parent_says_so(start: Callable[..., Run]) -> None:
    rng = random.Random()
    for moment in range(MOMENTS):
        run = start(in_turn(moment))
        keeper, _ = run.pids()
        time.sleep(rng.uniform(0, 0.2))
        kill(keeper)
        said, errors = run.parent.communicate(timeout=60)
        assert said.startswith("the process that keeps shards 0 to 2 was killed by SIGKILL"), (said, errors)
        assert errors == ""
        run.assert_nothing_is_left()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("victim", ["any child", "parent"])
def test_a_kill_while_the_environment_is_built_leaves_nothing(start: Callable[..., Run], victim: str) -> None:
    rng = random.Random()
    for moment in range(max(1, MOMENTS // 2)):
        run = start(in_turn(moment))
        wait_until(lambda run=run: len(run.alive()) > 1)  # type: ignore[misc]
        time.sleep(rng.uniform(0, 1.0))
        family = [pid for pid in run.alive() if pid != run.parent.pid]
        if victim == "parent" or not family:
            kill(run.parent.pid)
        else:
            kill(rng.choice(family))
        said, _ = run.parent.communicate(timeout=60)
        if victim != "parent":
            assert "was killed by SIGKILL" in said.splitlines()[-1]
        run.assert_nothing_is_left()


def test_a_killed_worker_is_named_though_another_never_answers(start: Callable[..., Run]) -> None:
    run = start("forkserver")
    _, workers = run.pids()
    os.kill(workers[0], signal.SIGSTOP)
    kill(workers[2], signal.SIGTERM)
    said, _ = run.parent.communicate(timeout=60)
    assert said.startswith("shard 2 of 3 was killed by SIGTERM;")
    run.assert_nothing_is_left()


def test_a_killed_worker_is_named_though_its_keeper_stands_still(start: Callable[..., Run]) -> None:
    run = start("forkserver")
    keeper, workers = run.pids()
    os.kill(keeper, signal.SIGSTOP)
    kill(workers[1])
    time.sleep(2)
    os.kill(keeper, signal.SIGCONT)
    said, _ = run.parent.communicate(timeout=60)
    assert said.startswith("shard 1 of 3 was killed by SIGKILL"), said
    run.assert_nothing_is_left()


def test_a_killed_keeper_takes_a_worker_along_that_never_answers(start: Callable[..., Run]) -> None:
    endless = "import signal\n\ndef spin(*_):\n    while True:\n        pass\n"
    spins = PARENT.replace("    return forage", "    signal.signal(signal.SIGUSR1, spin)\n    return forage", 1)
    run = start("spawn", endless + spins)
    keeper, workers = run.pids()
    os.kill(workers[0], signal.SIGUSR1)
    kill(keeper)
    said, _ = run.parent.communicate(timeout=60)
    assert said.startswith("the process that keeps shards 0 to 2 was killed by SIGKILL")
    run.assert_nothing_is_left()


def test_workers_end_with_a_parent_whose_own_fork_holds_its_sockets(start: Callable[..., Run]) -> None:
    fork = "    if os.fork() == 0:\n        print('forked', flush=True)\n        time.sleep(3600)\n"
    run = start("forkserver", "import os, time\n" + PARENT.replace("    kept = [", fork + "    kept = [", 1))
    pids = run.pids()
    assert run.parent.stdout is not None
    assert run.parent.stdout.readline() == "forked\n"
    kill(run.parent.pid)
    wait_until(lambda: not any(running(pid) for pid in (pids[0], *pids[1])))
    assert len(run.alive()) == 1  # the fork


def running(pid: int) -> bool:
    try:
        status: Any = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return False
    return bool(status != psutil.STATUS_ZOMBIE)
