import numpy as np
import pytest
from tianshou.data import Collector, CollectStats, VectorReplayBuffer

from memfarm.errors import ActionError, ClosedError, ConfigError
from memfarm.examples.meadow import MEADOW
from memfarm.examples.tianshou_ppo import make, train
from memfarm.trainers.tianshou import GridVectorEnv

WITHIN = 0.25  # seen over seeds 0 to 2: 0.5 to 0.8


def test_ppo_learns(learned) -> None:
    learned("Tianshou", train(8, seed=0), WITHIN)


def test_a_collector_keeps_every_life_apart() -> None:
    envs = GridVectorEnv(16, agents_per_world=16, **MEADOW)
    envs.seed(1)
    buffer = VectorReplayBuffer(16 * 70, 16)
    collector = Collector[CollectStats](make(envs), envs, buffer)
    collector.reset()
    stats = collector.collect(n_step=16 * 70)
    rows = buffer.sample_indices(0)
    batch = buffer[rows]
    dead, late = batch.terminated, batch.truncated
    assert dead.sum() > 5
    assert late.sum() > 5
    assert stats.n_collected_episodes == (dead | late).sum()
    assert (batch.obs_next[dead][:, 2, 2, 0] == 0.0).all()  # its own energy, in the centre
    assert (batch.obs_next[late][:, 2, 2, 0] > 0.0).all()
    after = buffer.next(rows)
    ongoing = ~(dead | late) & (after != rows)
    np.testing.assert_array_equal(batch.obs_next[ongoing], buffer[after[ongoing]].obs)
    collector.close()


def test_a_seed_makes_it_repeat_itself() -> None:
    seen = []
    for seed in (5, 5, 6):
        envs = GridVectorEnv(32, agents_per_world=16, **MEADOW)
        envs.seed(seed)
        first, _ = envs.reset()
        rng = np.random.default_rng(0)
        last = [envs.step(rng.integers(0, 6, 32))[0] for _ in range(5)][-1]
        seen.append(np.concatenate([first, last]))
        envs.close()
    np.testing.assert_array_equal(seen[0], seen[1])
    assert (seen[0] != seen[2]).any()


def test_the_order_of_ids_is_kept() -> None:
    here, there = (GridVectorEnv(16, agents_per_world=16, **MEADOW) for _ in range(2))
    order = np.random.default_rng(0).permutation(16)
    actions = np.random.default_rng(1).integers(0, 6, 16)
    for envs in (here, there):
        envs.seed(0)
        envs.reset()
    plain, mixed = here.step(actions), there.step(actions[order], order)
    for one, other in zip(plain[:4], mixed[:4], strict=True):
        np.testing.assert_array_equal(one[order], other)
    assert [info["env_id"] for info in mixed[4]] == order.tolist()
    for envs in (here, there):
        envs.close()


def test_what_tianshou_cannot_do_is_refused() -> None:
    envs = GridVectorEnv(4, agents_per_world=4, **MEADOW)
    envs.reset()
    with pytest.raises(ActionError, match="n_step"):
        envs.step(np.zeros(3, int), [0, 1, 2])
    with pytest.raises(ConfigError):
        GridVectorEnv(4, tensor="torch")
    envs.close()
    with pytest.raises(ClosedError):
        envs.reset()
