from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

from memfarm.envs.agents import Agents, cell_keys
from memfarm.envs.forage import EAST, EAT, NORTH, SOUTH, STAY, WEST, Forage
from memfarm.envs.forage_config import ForageAgents, ForageConfig
from memfarm.envs.overview import Overview
from memfarm.envs.placement import place
from memfarm.errors import ActionError, ClosedError, ConfigError
from memfarm.terrain import Terrain
from memfarm.world import World

STEPS = {STAY: (0, 0), NORTH: (-1, 0), SOUTH: (1, 0), WEST: (0, -1), EAST: (0, 1), EAT: (0, 0)}


def make(
    shape: tuple[int, int] = (8, 8),
    *,
    worlds: int = 1,
    agents_per_world: int = 1,
    mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    world: dict[str, Any] | None = None,
    **agents: float,
) -> Forage:
    config = {"world": {"shape": shape, "map": {"kind": "flat"}, **(world or {})}, "agents": agents}
    return Forage(config, worlds=worlds, agents_per_world=agents_per_world, autoreset_mode=mode)


def put(env: Forage, *cells: tuple[int, int]) -> None:
    """Stand the first agents on the cells, and the others far away."""
    for n, (y, x) in enumerate(cells):
        env.agents.y[n], env.agents.x[n] = y, x


def positions(env: Forage) -> list[tuple[int, int]]:
    return list(zip(env.agents.y.tolist(), env.agents.x.tolist(), strict=True))


def rock(env: Forage, *cells: tuple[int, int]) -> None:
    layer = np.zeros(env.world.shape, np.float32)
    for cell in cells:
        layer[cell] = 1.0
    env.world.set_environmental_layer("OBSTACLES", layer)


# --- moving


@pytest.mark.parametrize("action", STEPS)
def test_an_action_moves_one_cell(action: int) -> None:
    env = make()
    env.reset(seed=0)
    put(env, (4, 4))
    env.step([action])
    dy, dx = STEPS[action]
    assert positions(env) == [(4 + dy, 4 + dx)]
    env.close()


def test_edges_and_rocks_stop() -> None:
    env = make((3, 3))
    env.reset(seed=0)
    rock(env, (1, 2))
    for start, action in (((0, 0), NORTH), ((0, 0), WEST), ((2, 2), SOUTH), ((2, 2), EAST), ((1, 1), EAST)):
        put(env, start)
        env.step([action])
        assert positions(env) == [start]
    env.close()


def test_a_wrapped_world_has_no_edge() -> None:
    env = make((3, 4), world={"boundary": "wrap"})
    _, infos = env.reset(seed=0)
    assert infos["action_mask"][0, NORTH:EAT].all()
    for action, end in ((NORTH, (2, 0)), (WEST, (0, 3)), (SOUTH, (1, 0)), (EAST, (0, 1))):
        put(env, (0, 0))
        env.step([action])
        assert positions(env) == [end]
    env.close()


def test_a_cell_left_in_this_step_is_not_free_yet() -> None:
    env = make(agents_per_world=3)
    env.reset(seed=0)
    put(env, (2, 2), (2, 3), (2, 4))
    env.step([EAST, EAST, EAST])
    assert positions(env) == [(2, 2), (2, 3), (2, 5)]
    put(env, (2, 2), (2, 3), (6, 6))
    env.step([EAST, WEST, STAY])
    assert positions(env)[:2] == [(2, 2), (2, 3)], "two cannot swap"
    env.close()


def test_who_wins_a_cell_is_a_fair_draw() -> None:
    env = make(agents_per_world=2)
    env.reset(seed=0)
    wins = 0
    for _ in range(200):
        put(env, (3, 2), (3, 4))
        env._energy[:] = 1.0
        env.step([EAST, WEST])
        assert positions(env).count((3, 3)) == 1
        wins += positions(env)[0] == (3, 3)
    assert 60 < wins < 140
    env.close()


def eager_moves(env: Forage, actions: list[int]) -> tuple[list[tuple[int, int]], list[set[int]]]:
    """The rules once more, agent by agent: everyone who cannot be stopped, and the rivals for each cell."""
    height, width = env.world.shape
    rocks = env.world.grid_of("OBSTACLES").read("OBSTACLES", 0, height, 0, width) >= 0.5
    start = positions(env)
    taken = {cell for cell, alive in zip(start, env.agents.alive, strict=True) if alive}
    rivals: dict[tuple[int, int], set[int]] = {}
    for n, ((y, x), action) in enumerate(zip(start, actions, strict=True)):
        dy, dx = STEPS[action]
        target = (y + dy, x + dx)
        if env.config.world.boundary == "wrap":
            target = (target[0] % height, target[1] % width)
        inside = 0 <= target[0] < height and 0 <= target[1] < width
        if (dy, dx) != (0, 0) and env.agents.alive[n] and inside and not rocks[target] and target not in taken:
            rivals.setdefault(target, set()).add(n)
    return start, [*rivals.values()]


@settings(max_examples=25)
@given(
    shape=st.tuples(st.integers(1, 7), st.integers(2, 7)),
    wrap=st.booleans(),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_moves_are_those_of_the_rules_agent_by_agent(
    shape: tuple[int, int], wrap: bool, seed: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, shape[0] * shape[1]))
    env = make(shape, agents_per_world=count, world={"boundary": "wrap" if wrap else "wall"}, metabolism=0.0)
    _, infos = env.reset(seed=seed)
    standing = set(positions(env))
    free = [(y, x) for y in range(shape[0]) for x in range(shape[1]) if (y, x) not in standing]
    rock(env, *data.draw(st.lists(st.sampled_from(free), max_size=5)) if free else [])
    infos = env._infos()
    for _ in range(3):
        actions = data.draw(st.lists(st.integers(0, 5), min_size=count, max_size=count))
        start, contests = eager_moves(env, actions)
        may_move = set().union(*contests)
        legal = infos["action_mask"][np.arange(count), actions].astype(bool)
        assert {n for n in range(count) if legal[n] and NORTH <= actions[n] <= EAST} == may_move
        _, _, _, _, infos = env.step(actions)
        moved = {n for n in range(count) if positions(env)[n] != start[n]}
        assert all(len(rivals & moved) == 1 for rivals in contests)
        assert moved <= may_move
        assert len(set(positions(env))) == count
    env.close()


# --- energy


def test_energy_follows_the_formula() -> None:
    env = make(max_energy=2.0, start_energy=1.0, metabolism=0.1, terrain_weight=0.4, bite=0.25, food_energy=0.5)
    env.reset(seed=0)
    cost = np.zeros((8, 8), np.float32)
    cost[4, 5] = 0.5
    env.world.set_environmental_layer("TERRAIN_COST", cost)
    slope = float(env.world.gather("TERRAIN_COST", 0, 4, 5)[0])  # a byte a cell: 0.5 to 1/255
    put(env, (4, 4))
    _, rewards, _, _, _ = env.step([EAST])
    assert rewards[0] == pytest.approx(-0.1 - 0.4 * slope)
    _, rewards, _, _, _ = env.step([EAT])
    assert rewards[0] == pytest.approx(0.25 * 0.5 - 0.1)
    assert env.world.gather("RESOURCES", 0, 4, 5)[0] == pytest.approx(0.76)
    assert env._energy[0] == pytest.approx(1.0 - 0.1 - 0.4 * slope + 0.125 - 0.1)
    assert env.agents.hp[0] == pytest.approx(env._energy[0] / 2.0)
    env.close()


def test_energy_is_capped_and_what_is_eaten_still_rewarded() -> None:
    env = make(start_energy=1.0, metabolism=0.0, bite=0.5, food_energy=0.5)
    env.reset(seed=0)
    own, rewards, _, _, _ = env.step([EAT])
    assert env._energy[0] == 1.0
    assert own[0, 0] == 1.0
    assert rewards[0] == pytest.approx(0.25)
    env.close()


def test_eating_takes_no_more_than_there_is() -> None:
    env = make(bite=0.75, food_energy=1.0, metabolism=0.0, max_energy=10.0, start_energy=1.0)
    _, infos = env.reset(seed=0)
    assert infos["action_mask"][0, EAT] == 1
    taken = [env.step([EAT])[1][0] for _ in range(3)]
    assert taken == pytest.approx([0.75, 0.26, 0.01], abs=1e-5)
    env.world.set_environmental_layer("CAPACITY", np.zeros((8, 8)))
    _, rewards, _, _, infos = env.step([EAT])
    assert rewards[0] == 0.0
    assert infos["action_mask"][0, EAT] == 0
    env.close()


def test_starving_is_death_and_costs() -> None:
    env = make(mode=AutoresetMode.DISABLED, start_energy=0.25, metabolism=0.125)
    env.reset(seed=0)
    assert not env.step([STAY])[2][0]
    own, rewards, terminated, truncated, infos = env.step([STAY])
    assert (terminated[0], truncated[0]) == (True, False)
    assert rewards[0] == pytest.approx(-0.125 - 1.0)
    assert own[0, 0] == 0.0
    assert infos["action_mask"][0].tolist() == [1, 0, 0, 0, 0, 0]
    env.close()


def test_trails_mark_where_the_living_stand() -> None:
    env = make()
    env.reset(seed=0)
    put(env, (4, 4))
    env.step([EAST])
    env.step([EAST])
    trails = env.world.temporal.grid["TRAILS", 4:5, 0:8][0]
    assert trails.tolist() == pytest.approx([0, 0, 0, 0, 0, 0.81, 0.9, 0], abs=1e-3)  # they are float16
    env.close()


def test_the_defaults_starve_who_wanders_and_feed_who_looks() -> None:
    rng = np.random.default_rng(0)
    env = Forage(worlds=24, autoreset_mode=AutoresetMode.DISABLED)
    lives: dict[str, float] = {}
    for policy in ("random", "greedy"):
        env.reset(seed=0)
        alive = np.zeros(24)
        for _ in range(300):
            actions = rng.integers(0, 6, 24) if policy == "random" else greedy(env)
            alive += ~env.step(actions)[2]
        lives[policy] = float(np.median(alive))
    assert 60 <= lives["random"] <= 220
    assert lives["greedy"] == 300
    env.close()


def greedy(env: Forage, radius: int = 5) -> Any:
    """Eat where there is a meal; otherwise step towards the most food for the way in sight, round rocks at random."""
    food = env.world.observe(env.agents.copy, env.agents.y, env.agents.x, radius, ["RESOURCES"])[..., 0]
    offset = np.arange(-radius, radius + 1)
    dy, dx = np.meshgrid(offset, offset, indexing="ij")
    value = (np.minimum(food, env.config.agents.bite) * (food > 0.05)) / (1.0 + np.abs(dy) + np.abs(dx))
    best = value.reshape(len(food), -1).argmax(1)
    dy, dx = dy.ravel()[best], dx.ravel()[best]
    rng = np.random.default_rng(env.world.tick)
    along_y = np.where(dy < 0, NORTH, SOUTH)
    along_x = np.where(dx < 0, WEST, EAST)
    step = np.where((dx == 0) | ((dy != 0) & (rng.random(len(dy)) < 0.5)), along_y, along_x)
    mask = env._masks()
    blocked = ~mask[np.arange(len(step)), step]
    step = np.where(blocked | (value.max((1, 2)) == 0), rng.integers(NORTH, EAT, len(step)), step)
    return np.where((dy == 0) & (dx == 0) & (value.max((1, 2)) > 0), EAT, step)


def test_a_body_cannot_be_born_with_more_than_it_holds() -> None:
    with pytest.raises(ConfigError, match="start_energy of at most max_energy=1"):
        ForageAgents(start_energy=2.0)
    with pytest.raises(ConfigError, match="metabolism"):
        ForageConfig.from_arguments(metabolism=-1.0)


# --- episodes


def test_a_death_among_others_is_a_new_life_in_the_same_world() -> None:
    env = make(agents_per_world=3, worlds=2, start_energy=0.5, metabolism=0.25)
    env.reset(seed=0)
    env._energy[:] = [0.2, 9.0, 9.0, 9.0, 9.0, 9.0]
    env.world.scatter("DAMAGE_HEAT", 0, [0], [0], 1.0)
    _, _, terminated, truncated, _ = env.step([STAY] * 6)
    assert terminated.tolist() == [True] + [False] * 5
    assert not truncated.any()
    _, rewards, terminated, _, _ = env.step([STAY] * 6)
    assert not terminated.any()
    assert rewards[0] == 0.0
    assert env.agents.alive.all()
    assert env._energy[0] == 0.5
    assert env._steps.tolist() == [2, 2]
    assert env.world.gather("DAMAGE_HEAT", 0, 0, 0)[0] > 0, "the world went on"
    env.close()


def test_at_max_cycles_all_are_truncated_and_the_world_begins_anew() -> None:
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
        env = make(agents_per_world=3, world={"max_cycles": 4}, mode=mode)
        env.reset(seed=0)
        for episode in range(3):
            for step in range(4):
                _, _, terminated, truncated, _ = env.step([EAT, NORTH, STAY])
                assert not terminated.any()
                assert truncated.all() == (step == 3), (mode, episode, step)
            if mode is AutoresetMode.NEXT_STEP:
                env.step([STAY] * 3)
            assert env.world.gather("RESOURCES", 0, env.agents.y, env.agents.x).tolist() == [1.0] * 3
            assert not env.world.temporal.grid["TRAILS", 0:8, 0:8].any()
        env.close()


def test_same_step_hands_out_the_last_observation() -> None:
    env = make(worlds=2, mode=AutoresetMode.SAME_STEP, start_energy=0.5, metabolism=0.25)
    env.reset(seed=0)
    env._energy[:] = [0.5, 9.0]
    env.step([STAY, STAY])
    own, _, terminated, _, infos = env.step([STAY, STAY])
    assert terminated.tolist() == [True, False]
    assert own[0, 0] == 0.5
    assert infos["final_obs"][0][0] == 0.0
    assert infos["final_obs"][1] is None
    assert infos["_final_obs"].tolist() == infos["_final_info"].tolist() == [True, False]
    assert infos["final_info"]["_action_mask"].tolist() == [True, False]
    env.on_final = lambda index: np.full((len(index), 2), 7.0)
    env._energy[:] = 0.25
    infos = env.step([STAY, STAY])[4]
    assert [row.tolist() for row in infos["final_obs"]] == [[7.0, 7.0]] * 2
    env.close()


def test_reset_masks_are_checked_and_popped() -> None:
    env = make(worlds=3, mode=AutoresetMode.DISABLED)
    with pytest.raises(ConfigError, match="first reset"):
        env.reset(options={"reset_mask": np.array([True, False, False])})
    env.reset(seed=0)
    for wrong in ([True, False, True], np.zeros(3, np.bool_), np.ones(2, np.bool_), np.ones(3, np.int8)):
        with pytest.raises(ConfigError, match="reset_mask"):
            env.reset(options={"reset_mask": wrong})
    env.step([EAT, EAT, EAT])
    options = {"reset_mask": np.array([False, True, False])}
    env.reset(seed=5, options=options)
    assert options == {}
    assert env._steps.tolist() == [1, 0, 1]
    alone = make(mode=AutoresetMode.DISABLED)
    alone.reset(seed=6)
    assert positions(alone)[0] == positions(env)[1], "world 1 takes seed + 1"
    env.close()
    alone.close()


def test_uses_out_of_turn_are_refused() -> None:
    env = make()
    with pytest.raises(ActionError, match="reset"):
        env.step([0])
    for seed in (-1, 1.5, True):
        with pytest.raises(ConfigError, match="seed"):
            env.reset(seed=seed)  # type: ignore[arg-type]
    env.close()
    with pytest.raises(ClosedError):
        env.render()


# --- placement


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    worlds=st.integers(1, 3),
    share=st.floats(0.0, 1.0),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_everyone_gets_a_free_cell_of_their_own(
    shape: tuple[int, int], worlds: int, share: float, seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    obstacles = (rng.random(shape) < share).astype(np.float32)
    zeros, ones = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    world = World(shape, copies=worlds, terrain=Terrain(obstacles, zeros, ones, ones))
    free = np.argwhere(obstacles == 0)
    held = data.draw(st.integers(0, len(free)))
    taken = free[rng.permutation(len(free))[:held]].astype(np.int32)
    others = Agents.unborn(1, held)
    others.y[:], others.x[:], others.alive[:] = taken[:, 0], taken[:, 1], True
    occupied = cell_keys(others.copy, others.y, others.x, shape)
    count = len(free) - held  # as many as there is room for in world 0
    copy = np.repeat(np.arange(worlds, dtype=np.int32), count)
    draws = rng.integers(0, 2**64, len(copy), np.uint64)
    y, x = place(world, copy, draws, others, others.alive)
    keys = cell_keys(copy, y, x, shape)
    assert len(set(keys.tolist()) | set(occupied.tolist())) == len(copy) + held
    assert not obstacles[y, x].any()
    alone = place(world, copy[:count], draws[:count], others, others.alive)
    assert np.array_equal(alone[0], y[:count]), "other worlds of the batch must not matter"
    assert np.array_equal(alone[1], x[:count])
    one_more, draws = np.zeros(count + 1, np.int32), rng.integers(0, 2**64, count + 1, np.uint64)
    with pytest.raises(ConfigError, match="cells for"):
        place(world, one_more, draws, others, others.alive)
    world.close()


def test_a_world_must_hold_its_agents(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="6 cells for 7"):
        make((2, 3), agents_per_world=7)


def test_placement_is_uniform() -> None:
    env = make((4, 4), worlds=1600)
    env.reset(seed=0)
    counts = np.bincount(env.agents.y * 4 + env.agents.x, minlength=16)
    assert ((counts - 100.0) ** 2 / 100.0).sum() < 45, "chi-square, 15 degrees of freedom, p < 1e-4"
    env.close()


# --- the state


@settings(max_examples=20)
@given(height=st.integers(1, 300), width=st.integers(1, 300), seed=st.integers(0, 99))
def test_the_state_is_the_mean_of_blocks(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    env = make((height, width), worlds=2, agents_per_world=1)
    env.reset(seed=seed)
    for row in rng.integers(0, height, 3):
        env.world.temporal.grid["DAMAGE_HEAT", 1, int(row) : int(row) + 1, 0:width] = rng.random((1, width))
    state = env.state(copy=1)
    assert env.state_space.contains(state)
    size_y, size_x = -(-height // 128), -(-width // 128)
    heat = env.world.temporal.grid["DAMAGE_HEAT", 1, 0:height, 0:width]
    here = np.zeros((height, width))
    here[env.agents.y[1], env.agents.x[1]] = 1
    for layer, name in ((heat, "DAMAGE_HEAT"), (here, "AGENTS")):
        pooled = state[..., env.state_channels.index(name)]
        expected = [
            [layer[y : y + size_y, x : x + size_x].mean() for x in range(0, width, size_x)]
            for y in range(0, height, size_y)
        ]
        assert pooled == pytest.approx(np.array(expected), abs=1e-5)
    env.close()


def test_the_state_of_a_huge_world_is_bounded() -> None:
    world = World((5000, 20), channels=None)
    overview = Overview(world)
    assert overview.space.shape == (125, 20, len(world.channels) + 1)
    assert len(overview._rows.cells) == 125 * 8
    world.close()
