"""The observation of the seed system: 13 channels, each of which means what its name says."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from memfarm.channels import AGENTFARM
from memfarm.envs import forage_v0
from memfarm.envs.forage import EAST, EAT, STAY, WEST, Forage
from memfarm.errors import ChannelError, ConfigError
from memfarm.wrappers import WindowObservation
from memfarm.wrappers.company import Company

R = 3
PLAIN: dict[str, Any] = {"shape": (12, 12), "map": {"kind": "flat"}, "radius": R}
COLUMN = {name: index for index, name in enumerate(AGENTFARM)}


def make(count: int = 1, channels: Any = "agentfarm", **arguments: Any) -> Any:
    return gym.make_vec(
        "memfarm/Forage-v0", num_envs=count, agents_per_world=count, channels=channels, **{**PLAIN, **arguments}
    )


def put(env: Any, *cells: tuple[int, int]) -> None:
    """Move the agents to `cells`."""
    agents = env.unwrapped.agents
    agents.y[:], agents.x[:] = np.array(cells, np.int32).T


def layer(windows: NDArray[np.float32], name: str, n: int = 0) -> NDArray[np.float32]:
    return windows[n, :, :, COLUMN[name]]


def stay(env: Any, times: int = 1) -> NDArray[np.float32]:
    for _ in range(times):
        windows = env.step(np.full(env.num_envs, STAY))[0]
    return windows


def test_the_thirteen_channels_in_their_order() -> None:
    assert AGENTFARM == (
        "SELF_HP",
        "ALLIES_HP",
        "ENEMIES_HP",
        "RESOURCES",
        "OBSTACLES",
        "TERRAIN_COST",
        "VISIBILITY",
        "KNOWN_EMPTY",
        "DAMAGE_HEAT",
        "TRAILS",
        "ALLY_SIGNAL",
        "GOAL",
        "LANDMARKS",
    )


def test_all_doors_show_them() -> None:
    single = gym.make("memfarm/Forage-v0", channels="agentfarm", **PLAIN)
    assert single.observation_space.shape == (7, 7, 13)
    seen, _ = single.reset(seed=0)
    assert single.observation_space.contains(seen)
    assert seen[R, R, 0] == 0.5
    single.close()
    many = forage_v0.parallel_env(agents=3, channels="agentfarm", **PLAIN)
    windows, _ = many.reset(seed=0)
    assert windows["forager_1"].shape == (7, 7, 13)
    many.close()
    batch = make(4, tensor="torch", teams=2, goals=True)
    tensor, _ = batch.reset(seed=0)
    assert tensor.shape == (4, 13, 7, 7)
    assert batch.channels == AGENTFARM
    batch.close()


def test_they_stay_in_their_space_through_whole_episodes() -> None:
    env = make(8, map={"kind": "noise"}, teams=3, goals=True, start_energy=0.05, max_cycles=25)
    rng = np.random.default_rng(0)
    windows, _ = env.reset(seed=0)
    for _ in range(60):
        assert env.observation_space.contains(windows)
        windows = env.step(rng.integers(0, 6, 8))[0]
    env.close()


def test_self_hp_is_the_agents_own_energy() -> None:
    env = make(2)
    windows, _ = env.reset(seed=0)
    for n in range(2):
        assert layer(windows, "SELF_HP", n)[R, R] == 0.5
        assert np.count_nonzero(layer(windows, "SELF_HP", n)) == 1
    env.close()


def test_allies_and_enemies_are_told_apart() -> None:
    env = make(4, teams=2)
    env.reset(seed=0)
    assert env.unwrapped.agents.team.tolist() == [0, 1, 0, 1]
    put(env, (5, 5), (5, 6), (6, 5), (4, 4))
    windows = stay(env)
    hp = env.unwrapped.agents.hp
    for n in range(4):
        for name, same in (("ALLIES_HP", True), ("ENEMIES_HP", False)):
            expected = np.zeros((7, 7), np.float32)
            for m, (y, x) in enumerate([(5, 5), (5, 6), (6, 5), (4, 4)]):
                if m != n and (m % 2 == n % 2) == same:
                    y0, x0 = env.unwrapped.agents.y[n], env.unwrapped.agents.x[n]
                    expected[y - y0 + R, x - x0 + R] = hp[m]
            np.testing.assert_array_equal(layer(windows, name, n), expected)
    env.close()


def test_with_one_team_there_are_no_enemies() -> None:
    env = make(6)
    windows, _ = env.reset(seed=0)
    put(env, *((5, 3 + n) for n in range(6)))
    windows = stay(env)
    assert not windows[..., COLUMN["ENEMIES_HP"]].any()
    assert windows[..., COLUMN["ALLIES_HP"]].any()
    env.close()


@settings(max_examples=25)
@given(
    teams=st.integers(1, 5),
    worlds=st.integers(1, 3),
    boundary=st.sampled_from(["wall", "wrap"]),
    masked=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_company_is_what_each_agent_would_make_out_alone(
    teams: int, worlds: int, boundary: Any, masked: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shape, group, radius = (9, 8), 7, 4
    core = Forage(
        {"world": {"shape": shape, "map": {"kind": "flat"}, "boundary": boundary}, "agents": {"teams": teams}},
        worlds=worlds,
        agents_per_world=group,
    )
    names = ("GOAL", "OBSTACLES", "ENEMIES_HP", "ALLIES_HP")
    env = WindowObservation(core, radius, names, tensor="numpy", mask_by_visibility=masked)
    env.reset(seed=0)
    visibility = rng.random(shape)
    core.set_environmental_layer("VISIBILITY", visibility)
    visibility = core.world.environmental.get("VISIBILITY")
    agents = core.agents
    agents.hp[:] = rng.random(len(agents))
    agents.alive[:] = rng.random(len(agents)) < 0.8
    agents.team[:] = rng.integers(0, teams, len(agents))
    agents.goal[:] = rng.integers(-1, 8, (len(agents), 1))
    windows = np.empty((len(agents), 9, 9, 4), np.float32)
    env._cut(windows)
    for n in range(len(agents)):
        expected = np.zeros((9, 9, 4), np.float32)
        for (i, j), _ in np.ndenumerate(expected[..., 0]):
            y, x = int(agents.y[n]) + i - radius, int(agents.x[n]) + j - radius
            if boundary == "wrap":
                y, x = y % shape[0], x % shape[1]
            elif not (0 <= y < shape[0] and 0 <= x < shape[1]):
                expected[i, j, 1] = 1.0
                continue
            dim = visibility[y, x] if masked else 1.0
            expected[i, j, 0] = float(agents.alive[n] and (y, x) == tuple(agents.goal[n]))
            here = (agents.y == y) & (agents.x == x) & agents.alive & (agents.copy == agents.copy[n])
            for column, side in ((2, agents.team != agents.team[n]), (3, agents.team == agents.team[n])):
                hp = agents.hp[here & side]
                if hp.size and not (column == 3 and (i, j) == (radius, radius)):
                    expected[i, j, column] = hp.max() * dim
        np.testing.assert_allclose(windows[n], expected, rtol=1e-6)
    env.close()


def test_resources_are_what_is_there_now_also_right_after_a_bite() -> None:
    env = make(2, bite=0.75)
    env.reset(seed=0)
    put(env, (5, 5), (5, 7))
    windows, *_ = env.step(np.array([EAT, STAY]))
    left = env.unwrapped.world.gather("RESOURCES", 0, 5, 5)[0]
    assert left == pytest.approx(0.26, abs=1e-6)  # one tick of growth after the bite
    assert layer(windows, "RESOURCES", 0)[R, R] == left
    assert layer(windows, "RESOURCES", 1)[R, R - 2] == left
    assert layer(windows, "RESOURCES", 1)[R, R] == 1.0
    env.close()


def test_obstacles_stand_in_the_way() -> None:
    env = make()
    env.reset(seed=0)
    put(env, (5, 5))
    wall = np.zeros((12, 12))
    wall[:, 6] = 1.0
    env.unwrapped.set_environmental_layer("OBSTACLES", wall)
    windows, *_ = env.step(np.array([EAST]))
    assert env.unwrapped.agents.x[0] == 5
    assert layer(windows, "OBSTACLES")[:, R + 1].all()
    assert not layer(windows, "OBSTACLES")[:, R].any()
    env.close()


def test_terrain_does_cost() -> None:
    spent = []
    for cost in (0.0, 1.0):
        env = make(terrain_weight=0.1)
        env.reset(seed=0)
        put(env, (5, 5))
        env.unwrapped.set_environmental_layer("TERRAIN_COST", np.full((12, 12), cost))
        windows, rewards, *_ = env.step(np.array([EAST]))
        assert env.unwrapped.agents.x[0] == 6
        assert layer(windows, "TERRAIN_COST")[R, R] == cost
        spent.append(-rewards[0])
        env.close()
    assert spent[1] - spent[0] == pytest.approx(0.1, abs=1e-6)


def test_visibility_does_hide() -> None:
    env = make(3, teams=2, goals=True)
    env.reset(seed=0)
    put(env, (5, 5), (5, 7), (7, 5))  # an enemy and an ally of the first
    bright = np.ones((12, 12))
    bright[:, 7:] = 0.0
    bright[6:, :] = 0.5
    bright[6:, 7:] = 0.0
    core = env.unwrapped
    core.agents.goal[:] = (4, 7)
    core.set_environmental_layer("VISIBILITY", bright)
    core.deposit_temporal_events("DAMAGE_HEAT", [(4, 8, 1.0), (4, 4, 1.0)])
    windows = stay(env)
    half = core.world.gather("VISIBILITY", 0, 6, 5)[0]
    assert not layer(windows, "ENEMIES_HP").any()
    assert layer(windows, "ALLIES_HP")[R + 2, R] == pytest.approx(core.agents.hp[2] * half)
    np.testing.assert_array_equal(layer(windows, "RESOURCES")[R], [1, 1, 1, 1, 1, 0, 0])
    assert layer(windows, "DAMAGE_HEAT")[R - 1, R + 3] == 0.0
    assert layer(windows, "DAMAGE_HEAT")[R - 1, R - 1] > 0.8
    assert layer(windows, "GOAL")[R - 1, R + 2] == 1.0  # it knows where it wants to go
    np.testing.assert_allclose(layer(windows, "VISIBILITY")[R], [1, 1, 1, 1, 1, 0, 0])
    env.close()


def test_known_empty_does_remember() -> None:
    env = make(1, gamma_known=0.5)
    env.reset(seed=0)
    core = env.unwrapped
    food = np.zeros((12, 12))
    food[5, 3] = 1.0
    core.set_environmental_layer("CAPACITY", food)
    put(env, (5, 2))
    known = layer(stay(env), "KNOWN_EMPTY")
    assert known[R, R + 1] == 0.0  # there is food
    assert known[R, R] == 1.0
    assert known[R - 1, R + 1] == 1.0
    assert not known[:, 0].any()  # beyond the edge nothing is known
    put(env, (5, 11))
    known = layer(stay(env), "KNOWN_EMPTY")
    assert known[:, : R + 1].all()
    core.set_environmental_layer("VISIBILITY", np.zeros((12, 12)))
    put(env, (5, 2))  # back, in the dark: all it has is two ticks old
    known = layer(stay(env), "KNOWN_EMPTY")
    expected = np.full((7, 7), 0.25)
    expected[:, 0] = expected[R, R + 1] = 0.0
    np.testing.assert_allclose(known, expected, rtol=1e-3)
    env.close()


def test_known_empty_fades_where_nobody_looks() -> None:
    env = make(1, gamma_known=0.5, mask_by_visibility=True)
    env.reset(seed=0)
    core = env.unwrapped
    core.set_environmental_layer("CAPACITY", np.zeros((12, 12)))
    put(env, (5, 5))
    stay(env)
    dark = np.ones((12, 12))
    dark[:, 7] = 0.0
    core.set_environmental_layer("VISIBILITY", dark)
    for age in range(1, 4):
        known = layer(stay(env), "KNOWN_EMPTY")
        assert known[R, R + 2] == pytest.approx(0.5**age, rel=1e-3)  # in the dark: what it remembers
        assert known[R, R + 1] == 1.0
    env.close()


def test_a_new_life_remembers_nothing() -> None:
    env = make(2, max_cycles=4, autoreset_mode=AutoresetMode.SAME_STEP.value)
    env.reset(seed=0)
    core = env.unwrapped
    core.set_environmental_layer("CAPACITY", np.zeros((12, 12)))
    put(env, (5, 5), (5, 6))
    stay(env)
    core.set_environmental_layer("VISIBILITY", np.zeros((12, 12)))
    for _ in range(2):
        assert layer(stay(env), "KNOWN_EMPTY").any()
    windows, _, _, truncated, infos = env.step(np.full(2, STAY))
    assert truncated.all()
    assert infos["final_obs"][0][:, :, COLUMN["KNOWN_EMPTY"]].any()
    assert not windows[..., COLUMN["KNOWN_EMPTY"]].any()
    env.close()


def test_only_who_died_forgets() -> None:
    env = make(2, metabolism=0.01)
    env.reset(seed=0)
    core = env.unwrapped
    core.set_environmental_layer("CAPACITY", np.zeros((12, 12)))
    put(env, (5, 5), (5, 6))
    core._energy[0] = 0.025
    core.set_environmental_layer("VISIBILITY", np.ones((12, 12)))
    stay(env)
    core.set_environmental_layer("VISIBILITY", np.zeros((12, 12)))
    windows, _, terminated, *_ = env.step(np.full(2, STAY))
    while not terminated[0]:
        windows, _, terminated, *_ = env.step(np.full(2, STAY))
    assert layer(windows, "KNOWN_EMPTY", 0).any()
    windows = stay(env)  # NEXT_STEP: the new life begins
    assert not layer(windows, "KNOWN_EMPTY", 0).any()
    assert layer(windows, "KNOWN_EMPTY", 1).any()
    env.close()


def test_damage_heat_is_left_where_one_starves_and_fades() -> None:
    env = make(2, metabolism=0.01, gamma_dmg=0.5)
    env.reset(seed=0)
    core = env.unwrapped
    core.set_environmental_layer("CAPACITY", np.zeros((12, 12)))
    put(env, (5, 5), (5, 7))
    core._energy[0] = 0.005
    windows = stay(env)
    assert layer(windows, "DAMAGE_HEAT", 1)[R, R - 2] == 1.0
    assert layer(stay(env), "DAMAGE_HEAT", 1)[R, R - 2] == 0.5
    env.close()


def test_trails_show_where_one_walked() -> None:
    env = make(1, gamma_trail=0.5)
    env.reset(seed=0)
    put(env, (5, 5))
    for _ in range(2):
        windows, *_ = env.step(np.array([EAST]))
    trail = layer(windows, "TRAILS")[R]
    np.testing.assert_allclose(trail, [0, 0, 0.25, 0.5, 0, 0, 0], atol=1e-6)
    env.close()


def test_ally_signal_shows_what_is_signalled() -> None:
    env = make(2)
    env.reset(seed=0)
    put(env, (5, 5), (5, 6))
    env.unwrapped.deposit_temporal_events("ALLY_SIGNAL", [(5, 6, 0.5)])
    windows = stay(env)
    assert layer(windows, "ALLY_SIGNAL", 0)[R, R + 1] == pytest.approx(0.46)
    assert layer(windows, "ALLY_SIGNAL", 1)[R, R] == pytest.approx(0.46)
    env.close()


def test_a_goal_is_marked_reached_rewarded_and_replaced() -> None:
    env = make(2, goals=True, goal_reward=0.25)
    env.reset(seed=0)
    core = env.unwrapped
    put(env, (5, 5), (8, 8))
    core.agents.goal[:] = [(5, 6), (5, 5)]
    before, *_ = env.step(np.array([WEST, STAY]))
    assert layer(before, "GOAL", 0)[R, R + 2] == 1.0
    assert layer(before, "GOAL", 0).sum() == 1.0
    assert layer(before, "GOAL", 1)[0, 0] == 1.0  # each sees its own
    assert layer(before, "GOAL", 1).sum() == 1.0
    env.step(np.array([EAST, STAY]))
    _, rewards, *_ = env.step(np.array([EAST, STAY]))
    assert rewards[0] == pytest.approx(0.25 + rewards[1])
    assert core.agents.goal[0].tolist() != [5, 6]
    assert core.agents.goal[1].tolist() == [5, 5]
    env.close()


def test_goals_follow_from_the_seed_alone() -> None:
    def goals(worlds: int) -> list[list[int]]:
        core = Forage({"agents": {"goals": True}}, worlds=worlds, agents_per_world=3)
        core.reset(seed=4)
        found: list[list[int]] = core.agents.goal[:3].tolist()
        core.close()
        return found

    assert goals(1) == goals(4)
    assert all(0 <= side < 64 for goal in goals(1) for side in goal)


def test_without_goals_there_is_no_goal() -> None:
    env = make()
    windows, _ = env.reset(seed=0)
    assert not layer(windows, "GOAL").any()
    assert (env.unwrapped.agents.goal == -1).all()
    env.close()


def test_landmarks_are_remembered_once_seen() -> None:
    env = make(2)
    env.reset(seed=0)
    core = env.unwrapped
    put(env, (5, 5), (11, 11))
    core.deposit_temporal_events("LANDMARKS", [(5, 7, 1.0)])
    windows = stay(env)
    assert layer(windows, "LANDMARKS", 0)[R, R + 2] == 1.0
    assert not layer(windows, "LANDMARKS", 1).any()  # too far away
    core.world.scatter("LANDMARKS", 0, 5, 7, 0.0)  # it is gone, and still remembered
    assert layer(stay(env, 5), "LANDMARKS", 0)[R, R + 2] == 1.0
    put(env, (5, 5), (5, 8))
    assert not layer(stay(env), "LANDMARKS", 1).any()  # who comes later never saw it
    env.close()


def test_landmarks_are_stored_only_where_they_are_asked_for() -> None:
    core = Forage({"world": {"shape": (8, 8)}})
    assert "LANDMARKS" not in core.world.channels
    with pytest.raises(ChannelError, match="LANDMARKS"):
        WindowObservation(core, channels=["LANDMARKS", "RESOURCES"], tensor="numpy")
    core.close()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"channels": ["KNOWN_EMPTY"]}, "KNOWN_EMPTY needs"),
        ({"channels": ["KNOWN_EMPTY", "RESOURCES"], "mask_by_visibility": True}, "need VISIBILITY"),
        ({"channels": "agentfram"}, "'agentfarm'"),
        ({"teams": 0}, "agents.teams"),
        ({"teams": 65}, "agents.teams"),
        ({"goals": 1}, "agents.goals"),
        ({"gamma_known": 1.0}, "observation.gamma_known"),
    ],
)
def test_what_cannot_be_seen_is_refused(arguments: dict[str, Any], error: str) -> None:
    with pytest.raises((ConfigError, ChannelError), match=error):
        make(**arguments)


def test_agents_without_a_team_a_goal_or_a_life_cannot_be_asked_for_them() -> None:
    class Bare:
        hp = np.ones(2, np.float32)

    Company(Bare(), ("ALLIES_HP", "SELF_HP"))
    for name in ("ENEMIES_HP", "GOAL"):
        with pytest.raises(ConfigError, match=name):
            Company(Bare(), (name,))
