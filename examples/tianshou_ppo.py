"""Tianshou's PPO on memfarm: every agent an environment of Tianshou's, one shared policy.

pip install 'memfarm[tianshou]'
python -m memfarm.examples.tianshou_ppo --iterations 15
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from tianshou.algorithm import PPO
from tianshou.algorithm.modelfree.reinforce import DiscreteActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, CollectStats, VectorReplayBuffer
from tianshou.utils.net.common import Net
from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic
from tianshou.utils.torch_utils import policy_within_training_step

from memfarm.examples.meadow import MEADOW
from memfarm.trainers.tianshou import GridVectorEnv


@dataclass(frozen=True)
class Figures:
    """What an iteration told."""

    life: float  # mean return of the lives that ended in it
    loss: float


def make(envs: GridVectorEnv) -> PPO:
    """PPO with two small networks over the flattened window."""
    window, actions = envs.observation_space[0], envs.action_space[0]
    policy = DiscreteActorPolicy(
        actor=DiscreteActor(
            preprocess_net=Net(state_shape=window.shape, hidden_sizes=[64], activation=torch.nn.Tanh),
            action_shape=actions.n,
            softmax_output=False,
        ),
        action_space=actions,
        observation_space=window,
    )
    critic = DiscreteCritic(preprocess_net=Net(state_shape=window.shape, hidden_sizes=[64], activation=torch.nn.Tanh))
    return PPO(
        policy=policy,
        critic=critic,
        optim=AdamOptimizerFactory(lr=2e-3),
        gamma=0.95,
        gae_lambda=0.95,
        ent_coef=0.01,
        max_grad_norm=0.5,
    )


def train(iterations: int, seed: int = 0, agents: int = 64, **arguments: Any) -> Iterator[Figures]:
    """Collect an episode of every world, learn, and say what it brought, so many times."""
    torch.manual_seed(seed)
    envs = GridVectorEnv(agents, agents_per_world=16, **{**MEADOW, **arguments})
    envs.seed(seed)
    algorithm = make(envs)
    ticks = MEADOW["max_cycles"]
    collector = Collector[CollectStats](algorithm, envs, VectorReplayBuffer(agents * ticks, agents))
    collector.reset()
    for iteration in range(iterations):
        with policy_within_training_step(algorithm.policy):
            told = collector.collect(n_step=agents * ticks)
            learned = algorithm.update(collector.buffer, batch_size=256, repeat=6)
        collector.reset_buffer()
        figures = Figures(float(told.returns.mean()), float(learned.loss.mean))
        print(f"iteration {iteration}: return of a life {figures.life:+.3f}, loss {figures.loss:.4f}")
        yield figures
    collector.close()


def main() -> None:
    """Train and print."""
    options = parse()
    for _ in train(options.iterations, options.seed):
        pass


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--iterations", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
