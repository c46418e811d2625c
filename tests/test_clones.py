"""Clones and states in memory: an environment and its copies never disturb each other."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resumed_runs import RICH, SETTINGS, digest_of, make, run

FULL = os.environ.get("MEMFARM_DOSE") == "full"

pytestmark = pytest.mark.timeout(3600 if FULL else 300)


@given(
    kind=st.sampled_from(sorted(SETTINGS)),
    backend=st.sampled_from(["memmap", "ram"]),
    before=st.integers(0, 70),
    order=st.lists(
        st.sampled_from(["original", "clone", "ground of the original", "ground of the clone"]), max_size=12
    ),
)
@settings(max_examples=100 if FULL else 8)
def test_a_clone_and_its_original_never_disturb_each_other(
    kind: str, backend: str, before: int, order: list[str]
) -> None:
    env, twin = make(2, backend, **SETTINGS[kind]), make(2, backend, **SETTINGS[kind])
    for one in (env, twin):
        one.reset(seed=1)
        list(run(one, 0, before))
    clone = env.clone()
    clone_twin = twin.clone()
    for turn in order:
        one, its_twin = (clone, clone_twin) if "clone" in turn else (env, twin)
        if "ground" in turn:
            layer = np.random.default_rng(before).random((30, 40)) < 0.2
            one.unwrapped.set_environmental_layer("OBSTACLES", layer)
            its_twin.unwrapped.set_environmental_layer("OBSTACLES", layer)
        else:
            assert list(run(one, before, before + 3)) == list(run(its_twin, before, before + 3))
    twin.close()  # each without the other's memory
    env_last = list(run(env, 200, 210))
    env.close()
    assert list(run(clone, 200, 210)) == list(run(clone_twin, 200, 210))
    again = make(2, backend, **SETTINGS[kind])
    assert len(env_last) == 10
    for one in (clone, clone_twin, again):
        one.close()


def test_a_clone_shares_a_map_until_one_of_them_writes_it(tmp_path: Path) -> None:
    env = make(2, map={"kind": "noise", "shape": (64, 64), "seed": 4}, radius=2)
    env.reset(seed=0)
    clone = env.clone()
    assert clone.unwrapped.world.ground_is_shared
    clone.unwrapped.set_environmental_layer("OBSTACLES", np.zeros((64, 64)))
    assert not clone.unwrapped.world.ground_is_shared
    assert env.unwrapped.world.ground_is_shared
    assert env.unwrapped.world.environmental.get("OBSTACLES").any()
    grandchild = clone.clone()
    assert not grandchild.unwrapped.world.environmental.get("OBSTACLES").any()
    for one in (env, clone, grandchild):
        one.close()


def rss() -> int:
    """Bytes of this process that are its own, not a file's."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    fields = {line.split(":")[0]: line.split()[1] for line in lines[1:]}
    return 1024 * (int(fields["Private_Dirty"]) + int(fields["Private_Clean"]))


@pytest.mark.skipif(sys.platform != "linux", reason="pages are shared by what Linux can map")
def test_a_ground_of_ones_own_is_shared_until_one_of_them_writes_it() -> None:
    side = 1024
    env = make(1, shape=(side, side), radius=1)
    env.reset(seed=0)
    cost = env.unwrapped.world.environmental.get("TERRAIN_COST")
    ground = side * side * 4
    before = rss()
    clones = [env.clone() for _ in range(4)]
    clones.append(clones[0].clone())
    for clone in clones:
        assert np.array_equal(clone.unwrapped.world.environmental.get("TERRAIN_COST"), cost)
    assert rss() - before < ground, "five clones must not copy the ground"
    world = clones[0].unwrapped.world
    world.scatter("TERRAIN_COST", 0, 5, 6, 0.25)
    late = clones[0].clone()
    env.unwrapped.world.scatter("TERRAIN_COST", 0, [5, 900], [6, 900], 0.75)
    for clone in (*clones[1:], late):
        expected = cost.copy()
        if clone is late:
            expected[5, 6] = world.gather("TERRAIN_COST", 0, 5, 6)[0]
        assert np.array_equal(clone.unwrapped.world.environmental.get("TERRAIN_COST"), expected)
    assert abs(world.gather("TERRAIN_COST", 0, 5, 6)[0] - 0.25) < 0.01
    assert world.gather("TERRAIN_COST", 0, 900, 900)[0] == cost[900, 900]
    assert abs(env.unwrapped.world.gather("TERRAIN_COST", 0, 5, 6)[0] - 0.75) < 0.01
    env.close()
    clones[1].unwrapped.world.scatter("TERRAIN_COST", 0, 7, 7, 0.5)
    assert clones[2].unwrapped.world.gather("TERRAIN_COST", 0, 7, 7)[0] == cost[7, 7]
    for clone in (*clones, late):
        clone.close()


def test_planning_ahead_is_as_if_it_had_not_been() -> None:
    env, twin = make(2, **RICH), make(2, **RICH)
    for one in (env, twin):
        one.reset(seed=7)
    for number in range(40):
        if number % 10 == 0:
            plan = env.clone()
            list(run(plan, 900, 915))
            state = env.get_state()
            assert digest_of(plan.set_state(state)) == digest_of(env.look())
            ahead = list(run(plan, number, number + 5))
            plan.close()
            there = make(2, "ram", **RICH)
            there.set_state(state)
            assert list(run(there, number, number + 5)) == ahead
            there.close()
        assert list(run(env, number, number + 1)) == list(run(twin, number, number + 1))
    env.close()
    twin.close()


def test_a_state_is_plain_and_its_own() -> None:
    env = make(2, **RICH)
    env.reset(seed=0)
    state = env.get_state()
    before = digest_of(state["agents"]["arrays"])
    list(run(env, 0, 30))
    assert digest_of(state["agents"]["arrays"]) == before

    def check(value: Any) -> None:
        if isinstance(value, dict):
            assert all(isinstance(key, str) for key in value)
            for item in value.values():
                check(item)
        elif isinstance(value, list):
            for item in value:
                check(item)
        else:
            assert value is None or isinstance(value, str | int | float | bool | np.ndarray), type(value)

    check(state)
    env.close()
