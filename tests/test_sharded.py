"""ShardedVectorEnv is one GridEnv in several processes: the same bytes, its own memory, and nothing left of it."""

import gc
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from gymnasium.vector import AutoresetMode, VectorWrapper
from gymnasium.wrappers.vector import FlattenObservation
from hypothesis import example, given, settings
from hypothesis import strategies as st

from memfarm.envs import ShardedVectorEnv, forage_v0
from memfarm.envs.forage import Forage
from memfarm.envs.shards.dealing import Deal, Share
from memfarm.envs.shards.infos import merged
from memfarm.errors import ActionError, ClosedError, ConfigError, MemfarmError, WorkerError

ROOT = Path(__file__).parents[1]
AGENTS, GROUP, ACTIONS = 24, 3, 6
NEXT, SAME, NEVER = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED
WORLD = {"agents_per_world": GROUP, "shape": (20, 24), "radius": 2, "max_cycles": 23, "food_energy": 0.6}
Make = Callable[[int], Any]


def maker(**arguments: Any) -> Make:
    """A make_env that is pickled by value: a worker that unpickles it does not import this module."""
    given = {**WORLD, **arguments}

    def make_env(num_envs: int) -> Any:

        return forage_v0.batched(num_envs, **given)

    make_env.__module__ = "__main__"
    return make_env


def bare(num_envs: int) -> Forage:
    """No windows: the agents' own state."""
    return Forage({"world": {"shape": (20, 24), "max_cycles": 23}}, worlds=num_envs // GROUP, agents_per_world=GROUP)


def sharded(make_env: Make, shards: int, num_envs: int = AGENTS, **arguments: Any) -> ShardedVectorEnv:
    return ShardedVectorEnv(make_env, num_envs, shards, agents_per_world=GROUP, **arguments)


def assert_same(one: Any, other: Any, where: str = "") -> None:
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}[{key!r}]")
    elif isinstance(one, tuple):
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{number}]")
    elif isinstance(one, np.ndarray) and one.dtype == object:
        for n, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{n}]")
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), where
        assert one.tobytes() == other.tobytes(), where
    else:
        assert one == other, where


def alive(pids: tuple[int, ...]) -> list[int]:
    """Those that run: an orphan that has ended waits for the system's own first process to say so."""
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Any, ShardedVectorEnv]]:
    """One environment, and the same in three shards, two of which are half 1."""
    one, many = maker(autoreset_mode=NEVER)(AGENTS), sharded(maker(autoreset_mode=NEVER), 3)
    yield one, many
    one.close()
    many.close()


@pytest.fixture(scope="module")
def two() -> Iterator[ShardedVectorEnv]:
    env = sharded(maker(), 2)
    yield env
    env.close()


# --- the same bytes


@pytest.mark.parametrize(
    ("make_env", "counts", "steps"),
    [
        pytest.param(maker(), (1, 2, 3, 4), 300, id="windows"),
        pytest.param(maker(autoreset_mode=SAME), (3,), 60, id="same-step"),
        pytest.param(maker(autoreset_mode=NEVER), (4,), 60, id="disabled"),
        pytest.param(maker(memory=True, autoreset_mode=SAME), (2,), 60, id="memory"),
        pytest.param(bare, (3,), 60, id="own-state"),
    ],
)
def test_any_number_of_shards_gives_the_bytes_of_one_environment(
    make_env: Make, counts: tuple[int, ...], steps: int
) -> None:
    one = make_env(AGENTS)
    several = [sharded(make_env, count) for count in counts]
    ended = 0
    try:
        expected = one.reset(seed=5)
        for env in several:
            assert_same(expected, env.reset(seed=5))
        rng = np.random.default_rng(0)
        for _ in range(steps):
            actions = rng.integers(0, ACTIONS, AGENTS)
            result = one.step(actions)
            ended += int((result[2] | result[3]).sum())
            for env in several:
                assert_same(result, env.step(actions), f"{env.shards} shards")
    finally:
        for env in (one, *several):
            env.close()
    assert ended > AGENTS  # deaths and truncations were among what was compared


def test_without_a_seed_the_generator_of_the_parent_says_what_happens(two: ShardedVectorEnv) -> None:
    one, other = maker()(AGENTS), sharded(maker(), 2)
    one.unwrapped.np_random, other.np_random = np.random.default_rng(3), np.random.default_rng(3)
    assert_same(one.reset(), other.reset())
    assert_same(one.reset(), other.reset())
    one.close()
    other.close()


def operations() -> st.SearchStrategy[list[tuple[Any, ...]]]:
    seeds = st.none() | st.integers(0, 2**64 - 1)
    worlds = st.lists(st.booleans(), min_size=AGENTS // GROUP, max_size=AGENTS // GROUP).filter(any)
    agents = st.lists(st.booleans(), min_size=AGENTS, max_size=AGENTS).filter(any)
    masks = worlds.map(lambda chosen: np.repeat(chosen, GROUP)) | agents.map(np.array)
    return st.lists(
        st.tuples(st.just("step"), st.integers(0, 99))
        | st.tuples(st.just("halves"), st.integers(0, 99), st.permutations([0, 1]))
        | st.tuples(st.just("reset"), seeds, st.none() | masks, st.booleans()),
        min_size=1,
        max_size=12,
    )


@settings(max_examples=15 if os.environ.get("MEMFARM_DOSE") != "full" else 1000, deadline=None)
@given(operations())
@example([("step", 0), ("reset", 0, np.arange(AGENTS) >= AGENTS - 2 * GROUP, False), ("step", 0)])  # a whole shard
@example([("step", 0), ("reset", None, np.arange(AGENTS) == 1, False), ("halves", 0, [1, 0])])
def test_resets_of_some_and_steps_by_halves_are_those_of_one_environment(
    pair: tuple[Any, ShardedVectorEnv], done: list[tuple[Any, ...]]
) -> None:
    one, many = pair
    assert_same(one.reset(seed=1), many.reset(seed=1))
    for name, number, *how in done:
        if name == "reset":
            mask, keep = how
            options = {"keep_world": keep} if mask is None else {"keep_world": keep, "reset_mask": mask}
            assert_same(one.reset(seed=number, options=dict(options)), many.reset(seed=number, options=dict(options)))
            continue
        actions = np.random.default_rng(number).integers(0, ACTIONS, AGENTS)
        if name == "step":
            assert_same(one.step(actions), many.step(actions))
            continue
        expected = one.step(actions)
        for half in how[0]:
            many.send(half, actions[many.half_rows[half]])
        for half, rows in enumerate(many.half_rows):
            *arrays, infos = expected
            result = (*(array[rows] for array in arrays), {key: value[rows] for key, value in infos.items()})
            assert_same(result, many.recv(half))


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 12))
def test_whole_worlds_are_dealt_to_all_shards_alike(worlds: int, group: int, shards: int) -> None:
    if shards > worlds:
        with pytest.raises(ConfigError, match=f"use shards={worlds}"):
            Deal(worlds * group, group, shards)
        return
    deal = Deal(worlds * group, group, shards)
    shares = deal.shares
    assert [world for s in shares for world in range(s.first_world, s.first_world + s.worlds)] == [*range(worlds)]
    assert [n for s in shares for n in range(AGENTS * 10)[s.rows]] == [*range(worlds * group)]
    assert max(s.worlds for s in shares) - min(s.worlds for s in shares) <= 1
    assert [share for half in deal.halves for share in half.shares] == (list(shares) if shards > 1 else [])


def test_infos_of_one_shard_leave_the_others_agents_without() -> None:
    shares = (Share(0, 0, 1, 4, 2), Share(1, 1, 1, 6, 1))
    told = {"found": np.array([1.5, 2.5]), "_found": np.array([True, False]), "inner": {"a": np.array([3, 4])}}
    infos = merged([(shares[0], told), (shares[1], None)], 4, 3)
    assert_same(infos["found"], np.array([1.5, 2.5, 0.0]))
    assert_same(infos["_found"], np.array([True, False, False]))
    assert_same(infos["inner"]["a"], np.array([3, 4, 0]))
    infos = merged([(shares[0], None), (shares[1], {"note": "here"})], 4, 3)
    assert infos["note"].tolist() == [None, None, "here"]


@pytest.mark.parametrize(("mode", "memory"), [(SAME, True), (NEVER, False)])
def test_what_two_shards_saved_goes_on_in_three_in_one_and_in_one_environment(
    tmp_path: Path, mode: AutoresetMode, memory: bool
) -> None:
    make_env = maker(autoreset_mode=mode, memory=memory)
    actions = np.random.default_rng(4).integers(0, ACTIONS, (90, AGENTS))
    source, others = sharded(make_env, 2), [sharded(make_env, 3), sharded(make_env, 1), make_env(AGENTS)]
    source.reset(seed=9)
    for number in range(45):
        source.step(actions[number])
    source.save(tmp_path / "saved")
    for env in others:
        env.load(tmp_path / "saved")
    assert_same(others[0].load(tmp_path / "saved"), others[2].load(tmp_path / "saved"))
    for number in range(45, 90):
        expected = source.step(actions[number])
        for env in others:
            assert_same(expected, env.step(actions[number]))
    others[0].load(tmp_path / "saved")
    assert_same(others[0].reset(), others[2].reset() if others[2].load(tmp_path / "saved") else None)
    for env in (source, *others):
        env.close()
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_a_snapshot_that_cannot_be_made_is_an_error_and_the_environment_goes_on(
    two: ShardedVectorEnv, tmp_path: Path
) -> None:
    two.reset(seed=1)
    expected = two.step(np.ones(AGENTS, int))
    two.reset(seed=1)
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(MemfarmError, match="taken"):
        two.save(tmp_path / "taken")
    with pytest.raises(WorkerError, match=r"shard 0 of 2 raised AttributeError.*; the environment goes on"):
        two.call("no_such_thing")
    assert_same(expected, two.step(np.ones(AGENTS, int)))


# --- memory


def test_observations_handed_out_stay_as_they_were(two: ShardedVectorEnv) -> None:
    rng = np.random.default_rng(1)
    kept = [two.reset(seed=2)[0]]
    kept += [two.step(rng.integers(0, ACTIONS, AGENTS))[0] for _ in range(9)]
    before = [observation.copy() for observation in kept]
    two.step(rng.integers(0, ACTIONS, AGENTS))
    assert all(np.array_equal(a, b) for a, b in zip(kept, before, strict=True))
    assert not any(np.shares_memory(a, b) for a, b in itertools.combinations(kept, 2))
    view = kept[3][5:7, 1]
    expected = view.copy()
    kept.clear()
    for _ in range(5):
        two.step(rng.integers(0, ACTIONS, AGENTS))
    assert np.array_equal(view, expected)


def test_what_nothing_refers_to_is_written_again(two: ShardedVectorEnv) -> None:
    two.reset(seed=2)
    actions = np.zeros(AGENTS, int)
    places = {two.step(actions)[0].__array_interface__["data"][0] for _ in range(8)}
    assert len(places) == 1


def test_without_copies_two_buffers_take_turns() -> None:
    env = sharded(maker(), 2, copy=False)
    observations = [env.reset(seed=0)[0]]
    observations += [env.step(np.full(AGENTS, action))[0] for action in (1, 2, 3)]
    shares = [np.shares_memory(observations[0], other) for other in observations]
    assert shares == [True, False, True, False]
    env.close()


def test_observations_outlive_the_environment() -> None:
    env = sharded(maker(), 2)
    observation, _ = env.reset(seed=0)
    before = observation.copy()
    env.close()
    observation[0] += 1
    assert np.array_equal(observation[1:], before[1:])


def test_tensors_are_the_shared_memory_and_workers_do_not_load_torch(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from memfarm.envs import ShardedVectorEnv, forage_v0\n"
        "def make(n):\n"
        "    env = forage_v0.batched(n, agents_per_world=3, shape=(20, 24), radius=2, memory=True)\n"
        "    type(env).modules = lambda self: sorted(sys.modules)\n"
        "    return env\n"
        "env = ShardedVectorEnv(make, 12, 2)\n"
        "env.reset(seed=0)\n"
        "assert not any('torch' in modules for modules in env.call('modules'))\n"
        "assert 'torch' not in sys.modules\n"
        "tensors = ShardedVectorEnv(make, 12, 2, tensor='torch')\n"
        "import torch\n"
        "seen, _ = tensors.reset(seed=0)\n"
        "seen, *_ = tensors.step(torch.ones(12, dtype=torch.int64))\n"
        "plain, *_ = env.step([1] * 12)\n"
        "for name, tensor in seen.items():\n"
        "    assert tensor.is_contiguous(memory_format=torch.channels_last)\n"
        "    assert (tensor.permute(0, 2, 3, 1).numpy() == plain[name]).all()\n"
        "    assert tensors.observation_space[name].shape == tuple(tensor.shape)\n"
        "assert not any('torch' in modules for modules in tensors.call('modules'))\n"
        "print('fine')\n"
    )
    done = run_script(script)
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


# --- processes


def run_script(script: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


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
    done = run_script(script)
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
    env = sharded(sleepy, 2, timeout=0.5)
    with pytest.raises(WorkerError, match=r"shard 1 of 2 must answer within timeout=0.5 s"):
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


# --- the rest of a vector environment


def test_agents_per_world_is_asked_of_a_worker() -> None:
    env = ShardedVectorEnv(maker(), AGENTS, 3)
    assert env.agents_per_world == GROUP
    assert [rows.stop - rows.start for rows in env.shard_rows] == [9, 9, 6]
    env.close()


def test_wrappers_may_change_what_the_windows_are() -> None:
    def flat(num_envs: int) -> Any:
        return FlattenObservation(maker()(num_envs))

    one, many = flat(AGENTS), sharded(flat, 2)
    assert many.single_observation_space == one.single_observation_space
    assert_same(one.reset(seed=0), many.reset(seed=0))
    assert_same(one.step(np.ones(AGENTS, int)), many.step(np.ones(AGENTS, int)))
    one.close()
    many.close()


def test_it_says_of_itself_what_one_environment_says() -> None:
    one, many = maker(render_mode="rgb_array")(AGENTS), sharded(maker(render_mode="rgb_array"), 3)
    for name in ("num_envs", "metadata", "render_mode", "single_observation_space", "observation_space"):
        assert getattr(many, name) == getattr(one, name), name
    assert (many.single_action_space, many.action_space) == (one.single_action_space, one.action_space)
    one.reset(seed=0)
    observation, _ = many.reset(seed=0)
    assert many.observation_space.contains(observation)
    assert_same(one.render(), many.render())
    assert many.call("worlds") == (3, 3, 2)
    one.close()
    many.close()
