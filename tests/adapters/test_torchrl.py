import time

import numpy as np
import pytest
import torch
from torchrl.envs import ActionMask, EnvBase, TransformedEnv
from torchrl.envs.libs.pettingzoo import PettingZooWrapper
from torchrl.envs.utils import check_env_specs

from memfarm.envs import forage_v0
from memfarm.errors import ConfigError
from memfarm.examples.meadow import MEADOW
from memfarm.examples.torchrl_ppo import make, native, pettingzoo
from memfarm.trainers.torchrl import GridTorchEnv

WITHIN = 0.3  # seen over seeds 0 to 2: 1.0 (native), 0.7 to 0.8 (pettingzoo)


@pytest.mark.parametrize("door", ["native", "pettingzoo"])
def test_torchrls_checker_accepts(door: str) -> None:
    env = native() if door == "native" else pettingzoo()
    check_env_specs(env)
    env.close(raise_if_closed=False)


@pytest.mark.parametrize("door", ["native", "pettingzoo"])
def test_ppo_learns(door: str, learned) -> None:
    learner = make(door, seed=0)
    learned(f"TorchRL, {door}", learner.train(10), WITHIN)
    learner.close()


def test_the_native_door_says_what_the_pettingzoo_door_says() -> None:
    env, zoo = GridTorchEnv(16, agents_per_world=16, **MEADOW), forage_v0.parallel_env(agents=16, **MEADOW)
    env.set_seed(4)
    data = env.reset()
    windows, infos = zoo.reset(seed=4)
    rng = np.random.default_rng(0)
    seen = 0
    while zoo.agents:
        rows = [zoo.possible_agents.index(name) for name in zoo.agents]
        together = np.stack([windows[name] for name in zoo.agents])
        np.testing.assert_array_equal(data["observation"].permute(0, 2, 3, 1).numpy()[rows], together)
        masks = np.stack([infos[name]["action_mask"] for name in zoo.agents])
        np.testing.assert_array_equal(data["action_mask"].numpy()[rows], masks.astype(bool))
        actions = rng.integers(0, 6, 16)
        names = zoo.agents[:]
        told = env.step(data.set("action", torch.from_numpy(actions)))["next"]
        given = dict(zip(zoo.possible_agents, actions.tolist(), strict=True))
        windows, rewards, terminated, truncated, infos = zoo.step({name: given[name] for name in names})
        for key, expected in (("reward", rewards), ("terminated", terminated), ("truncated", truncated)):
            values = [expected[name] for name in names]
            np.testing.assert_allclose(told[key].squeeze(1).numpy()[rows], values, rtol=1e-6)
        data = told.select("observation", "action_mask")
        seen += len(names)
    assert seen > 100
    zoo.close()
    env.close()


def test_only_who_is_done_is_reset() -> None:
    env = GridTorchEnv(32, agents_per_world=16, **MEADOW)
    env.set_seed(0)
    rows = env.rollout(70, break_when_any_done=False)
    after, begun = rows["next"], rows["observation"][:, 1:]
    done = after["done"][:, :-1, 0]
    assert after["terminated"].sum() > 10
    assert after["truncated"].sum() > 10
    same = (after["observation"][:, :-1] == begun).flatten(2).all(2)
    assert same[~done].all()
    energy = begun[:, :, 0, 2, 2]
    torch.testing.assert_close(energy[done], torch.full_like(energy[done], 0.3))
    env.close()


def test_action_mask_keeps_to_actions_that_do_something() -> None:
    env = TransformedEnv(GridTorchEnv(32, agents_per_world=16, **MEADOW), ActionMask())
    env.set_seed(0)
    rows = env.rollout(20, break_when_any_done=False)
    assert not rows["action_mask"].all()
    assert rows["action_mask"].gather(-1, rows["action"].unsqueeze(-1)).all()
    env.close()


def test_what_torchrl_cannot_use_is_refused() -> None:
    for arguments in ({"tensor": "numpy"}, {"dtype": "float16"}, {"memory": True}):
        with pytest.raises(ConfigError):
            GridTorchEnv(4, **arguments)


def test_the_rates_of_both_doors_are_printed() -> None:
    def rate(env: EnvBase, agents: int, ticks: int = 50) -> float:
        start = time.perf_counter()
        rows = env.rollout(ticks, break_when_any_done=False)
        spent = time.perf_counter() - start
        assert rows.shape[-1] == ticks
        return agents * ticks / spent

    for agents in (16, 256):
        arguments = {"shape": (64, 64), "max_cycles": 100_000, "metabolism": 0.0}
        batch = GridTorchEnv(agents, agents_per_world=agents, **arguments)
        zoo = PettingZooWrapper(forage_v0.parallel_env(agents=agents, **arguments), use_mask=True, done_on_any=False)
        rates = np.array([[rate(batch, agents), rate(zoo, agents)] for _ in range(3)])
        ours, theirs = np.median(rates, axis=0)
        line = (
            f"{agents} agents: native {ours:,.0f} agent-steps/s, PettingZooWrapper {theirs:,.0f}: {ours / theirs:.1f}x"
        )
        print(line)  # noqa: T201 - the figure for the log
        batch.close()
        zoo.close()
