"""Ctrl-C and SIGTERM in a step: they wait for its end, and what is there then is whole."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import memfarm  # noqa: F401 - registers the ids
from memfarm.guard import SEQUENCE
from memfarm.interrupts import DEFERRED
from memfarm.world import World

ROOT = Path(__file__).parents[1]


class Ring(Exception):
    """What a handler of these tests raises."""


@pytest.fixture(autouse=True)
def handlers_stay() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    found = {number: signal.getsignal(number) for number in before}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert found == before


@pytest.fixture
def ringing() -> Iterator[list[int]]:
    """SIGTERM rings: the handler notes it and raises."""
    rung: list[int] = []

    def ring(number: int, _: object) -> None:
        rung.append(number)
        raise Ring(number)

    before = signal.signal(signal.SIGTERM, ring)
    yield rung
    signal.signal(signal.SIGTERM, before)


def in_a_block(*calls: Callable[[], object]) -> None:
    with DEFERRED:
        for call in calls:
            call()


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt):
        in_a_block(lambda: signal.raise_signal(signal.SIGINT), lambda: reached.append("the end"))
    assert reached == ["the end"]


def test_an_interrupt_waits_for_the_outermost_block() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt):
        in_a_block(lambda: in_a_block(lambda: signal.raise_signal(signal.SIGINT)), lambda: reached.append("the end"))
    assert reached == ["the end"]


def test_without_a_block_nothing_waits() -> None:
    with DEFERRED:
        pass
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_custom_handlers_are_called_once_each_also_where_one_of_them_raises(ringing: list[int]) -> None:
    until_the_end: list[int] = []
    with pytest.raises((Ring, KeyboardInterrupt)) as caught:
        in_a_block(
            lambda: signal.raise_signal(signal.SIGTERM),
            lambda: signal.raise_signal(signal.SIGINT),
            lambda: until_the_end.extend(ringing),
        )
    assert until_the_end == []
    assert ringing == [signal.SIGTERM]
    assert isinstance(caught.value, KeyboardInterrupt)
    assert isinstance(caught.value.__context__, Ring)


def test_a_handler_that_returns_lets_the_step_return() -> None:
    rung = []
    before = signal.signal(signal.SIGTERM, lambda number, _: rung.append(number))
    try:
        with DEFERRED:
            signal.raise_signal(signal.SIGTERM)
            assert rung == []
        assert rung == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_handler_that_the_block_sets_stays() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def mine(*_: object) -> None: ...

    try:
        with DEFERRED:
            signal.signal(signal.SIGTERM, mine)
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with DEFERRED:
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_exception_of_the_block_is_seen_with_the_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        in_a_block(lambda: signal.raise_signal(signal.SIGINT), lambda: int("of the block"))
    assert isinstance(caught.value.__context__, ValueError)


def test_other_threads_leave_the_handlers_alone() -> None:
    seen: list[Any] = []

    def step() -> None:
        with DEFERRED:
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=step)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


def test_the_main_thread_of_a_fork_in_another_thread_can_step() -> None:
    codes = []

    def fork() -> None:
        child = os.fork()
        if child == 0:
            try:
                with DEFERRED:
                    signal.raise_signal(signal.SIGINT)
                    os.write(2, b"")
            except KeyboardInterrupt:
                os._exit(7)
            os._exit(1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    assert codes == [7]


# --- in a step


def interrupt_within(env: Any, monkeypatch: pytest.MonkeyPatch, method: str, number: int) -> None:
    """Have one of the environment's hooks send a signal half-way through the next step."""
    core = env.unwrapped
    original = getattr(core, method)

    def hook(*args: Any) -> Any:
        monkeypatch.undo()
        signal.raise_signal(number)
        return original(*args)

    monkeypatch.setattr(core, method, hook)


def forage(tmp_path: Path | None, **kwargs: Any) -> Any:
    memmap = None if tmp_path is None else {"memmap": {"directory": str(tmp_path)}}
    return gym.make_vec(
        "memfarm/Forage-v0", num_envs=12, agents_per_world=6, shape=(24, 24), radius=2, config=memmap, tensor="numpy",
        **kwargs,
    )  # fmt: skip


def state(env: Any) -> dict[str, Any]:
    core = env.unwrapped
    layers = {name: core.world.grid_of(name)[name, 0:24, 0:24] for name in ("TRAILS", "RESOURCES")}
    return {**layers, "tick": core.world.tick, "hp": core.agents.hp.copy(), "y": core.agents.y.copy()}


@pytest.mark.parametrize("named", [False, True], ids=["scratch", "named"])
@pytest.mark.parametrize("hook", ["_act", "_settle", "_count", "_masks"])
def test_after_ctrl_c_in_a_step_the_step_has_happened_and_the_run_can_go_on(
    tmp_path: Path, hook: str, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    env, twin = forage(tmp_path if named else None), forage(None)
    for each in (env, twin):
        each.reset(seed=1)
    actions = np.arange(12) % 6
    interrupt_within(env, monkeypatch, hook, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        env.step(actions)
    twin.step(actions)
    for _ in range(3):
        for key, value in state(twin).items():
            np.testing.assert_array_equal(state(env)[key], value)
        for each in (env, twin):
            each.step(actions)
    if named:
        folder = env.unwrapped.world.path
        assert np.array(np.load(folder / "clock.npy"))[SEQUENCE] % 2 == 0
        env.unwrapped.world.snapshot(tmp_path / "s")
        World.open(tmp_path / "s").close()
    env.close()
    twin.close()


def test_a_step_in_another_thread_works(tmp_path: Path) -> None:
    env = forage(tmp_path)
    env.reset(seed=1)
    thread = threading.Thread(target=lambda: [env.step(np.arange(12) % 6) for _ in range(5)])
    thread.start()
    thread.join()
    assert env.unwrapped.world.tick % 5 == 0
    assert env.unwrapped.world.tick > 0
    env.close()


CHILD = """
import os, signal, sys, time
import numpy as np
from memfarm.world import World
way = sys.argv[2]
world = World((64, 64), path=sys.argv[1])
if way == "handler":
    def leave(*_):
        sys.exit(3)
    signal.signal(signal.SIGTERM, leave)
if way == "exit":
    for _ in range(10):
        world.scatter("TRAILS", 0, 1, 1, 1.0)
        world.advance()
    sys.exit(0)
if way == "fork":
    if os.fork() == 0:
        sys.exit(0)  # the child's own exit touches nothing
    os.wait()
y, x = np.divmod(np.arange(4096), 64)
while True:
    with world.writing():
        world.scatter("TRAILS", 0, y, x, np.ones(4096))
        world.scatter("RESOURCES", 0, y, x, np.full(4096, world.tick % 2))
        world.advance()
    if world.tick == 1:
        print("ready", flush=True)
    if way == "fork" and world.tick > 20:
        break
"""


@pytest.mark.parametrize(
    ("way", "number", "code"),
    [
        ("exit", None, 0),
        ("fork", None, 0),
        ("default", signal.SIGTERM, -signal.SIGTERM),
        ("handler", signal.SIGTERM, 3),
        ("default", signal.SIGINT, -signal.SIGINT),
    ],
)
def test_a_process_that_ends_without_close_leaves_a_whole_world(
    tmp_path: Path, way: str, number: int | None, code: int
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", CHILD, tmp_path / "w", way],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    try:
        if number is not None:
            assert child.stdout.readline() == "ready\n"
            threading.Event().wait(0.1)
            child.send_signal(number)
        _, errors = child.communicate(timeout=60)
    finally:
        child.kill()
        child.communicate()
    assert child.returncode == code, errors
    assert errors == "" or (number == signal.SIGINT and "KeyboardInterrupt" in errors)
    world = World.open(tmp_path / "w", "r+")  # whole, and nobody has it
    assert world.tick > 0
    world.advance()
    world.close()
