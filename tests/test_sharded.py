"""ShardedVectorEnv is one GridEnv in several processes: the same bytes, its own memory, and nothing left of it."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import FlattenObservation
from hypothesis import example, given, settings
from hypothesis import strategies as st
from other_python import run_python
from sharded_batches import ACTIONS, AGENTS, GROUP, NEVER, SAME, Make, assert_same, bare, maker, sharded

from memfarm.envs import ShardedVectorEnv
from memfarm.envs.shards.dealing import Deal, Share
from memfarm.envs.shards.infos import merged
from memfarm.errors import ConfigError, MemfarmError, WorkerError

ROOT = Path(__file__).parents[1]


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
    done = run_python(script)
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


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
