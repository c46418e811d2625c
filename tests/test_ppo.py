import heapq
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from advantages_by_hand import advantages_by_hand
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from memfarm.demo.evaluation import Score, evaluate
from memfarm.demo.film import crowded
from memfarm.demo.policies import EAT, GreedyChooser, LearnedChooser, RandomChooser, ways
from memfarm.examples.ppo import Learner, Policy, Rollout, Settings, advantages, draw

pytestmark = pytest.mark.once

SIDE, CHANNELS, ACTIONS = 7, 2, 6


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small tensors on several threads wait for each other wherever cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Beacons:
    """A batched environment of agents that each see a light beside them and are paid for the action it stands for.

    Lives end at random, half by termination; the tick after the end only resets, as under NEXT_STEP autoreset.
    Action 5 is never legal. What each tick really saw and did is kept in `log`.
    """

    single_observation_space = spaces.Box(0.0, 1.0, (CHANNELS, SIDE, SIDE), np.float32)
    single_action_space = spaces.Discrete(ACTIONS)

    def __init__(self, agents: int = 64, ends: float = 0.1) -> None:
        self.observation_space = spaces.Box(0.0, 1.0, (agents, CHANNELS, SIDE, SIDE), np.float32)
        self.num_envs, self.ends = agents, ends
        self.over = np.zeros(agents, bool)
        self.log: list[dict[str, NDArray[Any]]] = []
        self.slot: torch.Tensor | None = None

    @property
    def unwrapped(self) -> Any:
        return SimpleNamespace(num_envs=self.num_envs, worlds=2, agents_per_world=self.num_envs // 2)

    def write_next_to(self, slot: torch.Tensor) -> None:
        self.slot = slot

    def reset(self, *, seed: int) -> tuple[torch.Tensor, dict[str, Any]]:
        self.random = np.random.default_rng(seed)
        self.over[:] = False
        return self._look(), self._infos()

    def step(self, actions: NDArray[np.int64]) -> tuple[Any, ...]:
        assert (actions != 5).all()
        resetting = self.over
        rewards = np.where(resetting, 0.0, (actions == self.light).astype(float))
        ended = ~resetting & (self.random.random(self.num_envs) < self.ends)
        terminated = ended & (self.random.random(self.num_envs) < 0.5)
        self.log.append({"actions": actions.copy(), "rewards": rewards, "resetting": resetting.copy()})
        self.over = ended
        return self._look(), rewards, terminated, ended & ~terminated, self._infos()

    def _look(self) -> torch.Tensor:
        self.light = self.random.integers(0, 5, self.num_envs)
        windows = np.zeros((self.num_envs, SIDE, SIDE, CHANNELS), np.float32)
        windows[np.arange(self.num_envs), self.light, 2, 0] = 1.0
        if self.slot is not None:
            self.slot.copy_(torch.from_numpy(windows))
            self.slot = None
        return torch.from_numpy(windows).permute(0, 3, 1, 2)

    def _infos(self) -> dict[str, Any]:
        mask = np.ones((self.num_envs, ACTIONS), np.int8)
        mask[:, 5] = 0
        return {"action_mask": mask}


def parameters(learner: Learner) -> torch.Tensor:
    return torch.cat([part.detach().flatten() for part in learner.policy.parameters()])


# --- the algorithm


@settings(max_examples=50)
@given(seed=st.integers(0, 10_000), gamma=st.floats(0, 1), gae_lambda=st.floats(0, 1), steps=st.integers(1, 12))
def test_advantages_are_the_surprises_up_to_the_end_of_the_life(
    seed: int, gamma: float, gae_lambda: float, steps: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    rollout = Rollout(steps, (5, CHANNELS, SIDE, SIDE), ACTIONS)
    rollout.rewards.normal_(generator=random)
    rollout.values.normal_(generator=random)
    rollout.done[1:] = torch.rand(steps, 5, generator=random) < 0.3
    rollout.terminated[:] = rollout.done[1:] & (torch.rand(steps, 5, generator=random) < 0.5)
    terminated, done = rollout.terminated.numpy(), rollout.done[1:].numpy()
    given = rollout.rewards.numpy(), rollout.values.numpy(), terminated, done & ~terminated
    expected = advantages_by_hand(*given, gamma, gae_lambda)
    np.testing.assert_allclose(advantages(rollout, gamma, gae_lambda).numpy(), expected, atol=1e-4)


def test_it_learns() -> None:
    learner = Learner(Beacons(128), Settings(steps=16, minibatches=4, gamma=0.5, seed=1))
    first = learner.iterate(0.0)["reward"]
    for step in range(20):
        last = learner.iterate(step / 20)
    assert first < 0.35
    assert last["reward"] > 0.75
    assert last["entropy"] < 1.0
    assert learner.agent_steps == 21 * 16 * 128
    assert all(spent > 0 for spent in learner.seconds.values())


def test_a_rollout_is_what_the_environment_saw() -> None:
    env = Beacons(16, ends=0.4)
    learner = Learner(env, Settings(steps=8, minibatches=2))
    learner.collect()
    ticks = learner.rollout
    for t, tick in enumerate(env.log):
        np.testing.assert_array_equal(ticks.actions[t], tick["actions"])
        np.testing.assert_array_equal(ticks.rewards[t], tick["rewards"])
        np.testing.assert_array_equal(ticks.done[t], tick["resetting"])
    assert ticks.done.any()
    assert (ticks.terminated <= ticks.done[1:]).all()
    assert (ticks.windows.sum((2, 3, 4)) == 1.0).all()  # every slot was written
    assert not ticks.masks[..., 5].any()
    end = ticks.windows[-1].clone(), ticks.done[-1].clone()
    learner.update(1.0)
    assert torch.equal(ticks.windows[0], end[0])
    assert torch.equal(ticks.done[0], end[1])


def test_ticks_that_only_reset_teach_nothing() -> None:
    learned = []
    for garbage in (0.0, 5.0):
        learner = Learner(Beacons(32, ends=0.3), Settings(steps=8, minibatches=2))
        learner.collect()
        resetting = learner.rollout.done[:-1]
        assert resetting.any()
        learner.rollout.rewards[resetting] += garbage
        learner.rollout.actions[resetting] = 0
        learner.rollout.logprobs[resetting] += garbage
        learner.update(1.0)
        learned.append(parameters(learner))
    assert torch.equal(*learned)


def test_a_minibatch_may_hold_a_single_tick() -> None:
    learner = Learner(Beacons(2), Settings(steps=3, minibatches=16))
    for _ in range(3):
        statistics = learner.iterate(0.0)
    assert all(np.isfinite(value) for value in statistics.values())
    assert torch.isfinite(parameters(learner)).all()


def test_the_same_seed_learns_the_same() -> None:
    torch.manual_seed(0)
    one, two, other = (Learner(Beacons(16), Settings(steps=4, minibatches=2, seed=seed)) for seed in (3, 3, 4))
    for learner in (one, two, other):
        learner.iterate(0.0)
        torch.rand(7)  # whoever else draws from torch's own generator changes nothing
    assert torch.equal(parameters(one), parameters(two))
    assert not torch.equal(parameters(one), parameters(other))


def test_a_checkpoint_goes_on_where_it_ended(tmp_path: Path) -> None:
    learner = Learner(Beacons(16), Settings(steps=4, minibatches=2))
    learner.iterate(0.0)
    learner.save(tmp_path / "checkpoint.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["settings"]["steps"] == 4
    resumed = [Learner(Beacons(16), Settings(steps=4, minibatches=2)) for _ in range(2)]
    for again in resumed:
        again.load(tmp_path / "checkpoint.pt")
        assert torch.equal(parameters(again), parameters(learner))
        assert again.agent_steps == learner.agent_steps
        again.iterate(0.5)
    assert torch.equal(parameters(resumed[0]), parameters(resumed[1]))
    assert not torch.equal(parameters(resumed[0]), parameters(learner))


def test_draws_follow_the_probabilities() -> None:
    chances = torch.tensor([0.5, 0.3, 0.2, 0.0])
    logprobs = chances.clamp(min=1e-30).log().expand(40_000, 4)
    counts = torch.bincount(draw(logprobs, torch.Generator().manual_seed(0)), minlength=4) / 40_000
    assert torch.allclose(counts, chances, atol=0.015)
    assert counts[3] == 0


# --- the policies it is compared with


def cheapest_by_dijkstra(
    blocked: NDArray[np.bool_], price: NDArray[np.float32], legal: list[int]
) -> NDArray[np.float64]:
    side = len(blocked)
    cost = np.full((side, side), np.inf)
    queue = []
    for action, dy, dx in ((1, -1, 0), (2, 1, 0), (3, 0, -1), (4, 0, 1)):
        cell = (side // 2 + dy, side // 2 + dx)
        if action in legal and not blocked[cell]:
            heapq.heappush(queue, (float(price[cell]), cell))
    while queue:
        so_far, (y, x) = heapq.heappop(queue)
        if so_far >= cost[y, x]:
            continue
        cost[y, x] = so_far
        for cell in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            inside = 0 <= cell[0] < side and 0 <= cell[1] < side
            if inside and not blocked[cell] and cell != (side // 2, side // 2):
                heapq.heappush(queue, (so_far + float(price[cell]), cell))
    cost[side // 2, side // 2] = 0.0
    return cost


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), density=st.floats(0, 0.5))
def test_ways_are_the_cheapest_and_begin_with_a_legal_move(seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    blocked = rng.random((3, SIDE, SIDE)) < density
    blocked[:, SIDE // 2, SIDE // 2] = False
    price = (1 + rng.random((3, SIDE, SIDE))).astype(np.float32)
    masks = rng.random((3, ACTIONS)) < 0.8
    cost, first = ways(blocked, price, masks)
    for n in range(3):
        legal = [action for action in (1, 2, 3, 4) if masks[n, action]]
        np.testing.assert_allclose(cost[n], cheapest_by_dijkstra(blocked[n], price[n], legal), atol=0.01)
        reached = np.isfinite(cost[n]) & (cost[n] > 0)
        assert set(first[n][reached].tolist()) <= set(legal)
        for action in legal:  # a way that begins with an action is there without the others
            alone = np.zeros((1, ACTIONS), bool)
            alone[0, action] = True
            only, _ = ways(blocked[n : n + 1], price[n : n + 1], alone)
            named = reached & (first[n] == action)
            np.testing.assert_array_equal(only[0][named], cost[n][named])


NAMES = ("RESOURCES", "OBSTACLES", "TERRAIN_COST", "ALLIES_HP")


def greedy() -> GreedyChooser:
    rng = np.random.default_rng(0)
    return GreedyChooser(NAMES, bite=0.25, food_energy=0.2, terrain_weight=0.01, rng=rng)


def decide(food: dict[tuple[int, int], float], walls: tuple[tuple[int, int], ...] = ()) -> int:
    """What greedy does where food and walls lie at offsets (rows, columns) from the agent."""
    windows = torch.zeros(1, 4, SIDE, SIDE)
    middle = SIDE // 2
    masks = np.ones((1, ACTIONS), bool)
    for (dy, dx), amount in food.items():
        windows[0, 0, middle + dy, middle + dx] = amount
    for dy, dx in walls:
        windows[0, 1, middle + dy, middle + dx] = 1.0
    for action, offset in enumerate(((-1, 0), (1, 0), (0, -1), (0, 1)), start=1):
        masks[0, action] = offset not in walls
    masks[0, EAT] = (0, 0) in food
    return int(greedy()(windows, masks)[0])


def test_greedy_walks_to_food_eats_it_and_walks_around_walls() -> None:
    north, south, west, east = 1, 2, 3, 4
    assert decide({(0, 0): 1.0}) == EAT
    assert decide({(-2, 0): 1.0}) == north
    assert decide({(0, -3): 1.0}) == west
    assert decide({(0, 1): 0.1, (1, 0): 1.0}) == south  # more food
    assert decide({(0, 3): 1.0, (0, -1): 1.0}) == west  # nearer food
    assert decide({(0, 0): 0.001, (0, 1): 1.0}) == east  # what lies here is not worth a bite
    assert decide({(0, 0): 0.2, (3, 3): 1.0}) == EAT  # what lies there is not worth the way
    assert decide({(0, 2): 1.0}, walls=((0, 1), (1, 0), (1, 1), (1, 2))) == north
    enclosed = decide({(0, 2): 1.0}, walls=((0, 1), (-1, 2), (1, 2), (0, 3)))
    assert enclosed in (north, south, west)  # out of reach: it roams


def test_greedy_and_random_take_legal_actions_only() -> None:
    rng = np.random.default_rng(3)
    greedily, randomly = greedy(), RandomChooser(rng)
    for _ in range(20):
        masks = rng.random((50, ACTIONS)) < 0.4
        masks[:, 0] = True
        windows = torch.from_numpy(rng.random((50, 4, SIDE, SIDE), np.float32))
        for choose in (greedily, randomly):
            assert masks[np.arange(50), choose(windows, masks)].all()


def test_a_score_is_the_mean_of_its_seeds() -> None:
    env = Beacons(32, ends=0.2)
    score = evaluate(env, lambda windows, masks: np.zeros(32, np.int64), seed=7, ticks=30)
    rewards = np.sum([tick["rewards"] for tick in env.log], axis=0)
    assert len(env.log) == 30
    np.testing.assert_allclose(score.returns, [rewards[:16].mean(), rewards[16:].mean()])
    assert score.standard_error == pytest.approx(abs(score.returns[0] - score.returns[1]) / 2)
    assert str(Score(np.array([1.0, 2.0, 3.0]))) == "2.00 ± 0.58"


def test_a_learned_policy_does_as_its_policy_says() -> None:
    policy = Policy(CHANNELS, SIDE, ACTIONS)
    with torch.no_grad():
        policy.act.bias[3] = 50.0
        policy.act.bias[5] = 90.0
    masks = np.ones((8, ACTIONS), bool)
    masks[:, 5] = False
    chosen = LearnedChooser(policy, "cpu", 0)(torch.rand(8, CHANNELS, SIDE, SIDE), masks)
    assert (chosen == 3).all()


@settings(max_examples=40)
@given(height=st.integers(1, 20), width=st.integers(1, 20), side=st.integers(1, 8), seed=st.integers(0, 999))
def test_the_film_shows_the_fullest_square(height: int, width: int, side: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    agents = SimpleNamespace(
        copy=rng.integers(0, 2, 40),
        y=rng.integers(0, height, 40),
        x=rng.integers(0, width, 40),
        alive=rng.random(40) < 0.8,
    )

    def inside(y0: int, y1: int, x0: int, x1: int) -> int:
        here = (agents.y >= y0) & (agents.y < y1) & (agents.x >= x0) & (agents.x < x1)
        return int((here & agents.alive & (agents.copy == 0)).sum())

    tall, wide = min(side, height), min(side, width)
    y0, y1, x0, x1 = crowded(agents, (height, width), side)
    assert (y1 - y0, x1 - x0) == (tall, wide)
    assert y0 >= 0
    assert x0 >= 0
    assert y1 <= height
    assert x1 <= width
    best = max(inside(y, y + tall, x, x + wide) for y in range(height - tall + 1) for x in range(width - wide + 1))
    assert inside(y0, y1, x0, x1) == best
