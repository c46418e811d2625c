"""Ray RLlib's PPO (new API stack) on memfarm: one shared policy, remote env runners, a checkpoint at the end.

pip install 'memfarm[rllib]'
python -m memfarm.examples.rllib_ppo --iterations 10 --runners 2 --checkpoint runs/rllib
python -m memfarm.examples.rllib_ppo --iterations 10 --resume runs/rllib
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from memfarm.examples.meadow import MEADOW
from memfarm.trainers.rllib import POLICY, homogeneous, restored


@dataclass(frozen=True)
class Figures:
    """What an iteration told."""

    life: float  # mean return of an agent, of the episodes that ended in this iteration; nan: none did
    loss: float

    @classmethod
    def of(cls, result: dict[str, Any]) -> "Figures":
        """Read them out of what `Algorithm.train` returns."""
        lives = result["env_runners"].get("agent_episode_returns_mean", {})
        life = float(np.mean(list(lives.values()))) if lives else math.nan
        return cls(life, float(result["learners"].get(POLICY, {}).get("total_loss", math.nan)))


def configure(runners: int = 2, agents: int = 16, seed: int = 0, **arguments: Any) -> PPOConfig:
    """PPO with a small CNN over the windows; `arguments` are the environment's, MEADOW's unless told."""
    config = (
        PPOConfig()
        .env_runners(num_env_runners=runners)
        .training(
            lr=2e-3,
            gamma=0.95,
            lambda_=0.95,
            entropy_coeff=0.01,
            train_batch_size_per_learner=8 * MEADOW["max_cycles"],  # of worlds, not of agents
            minibatch_size=256,
            num_epochs=6,
            vf_loss_coeff=0.5,
            grad_clip=0.5,
        )
        .rl_module(
            # A window of 5 x 5 is smaller than any of RLlib's own convolutions: these fit.
            rl_module_spec=RLModuleSpec(
                model_config=DefaultModelConfig(
                    conv_filters=[[16, 3, 1], [32, 3, 2]], conv_activation="relu", head_fcnet_hiddens=[64]
                )
            )
        )
        .reporting(metrics_num_episodes_for_smoothing=16)
        .debugging(seed=seed)
    )
    return homogeneous(config, agents=agents, **{**MEADOW, **arguments})


def train(algo: Algorithm, iterations: int) -> list[Figures]:
    """Train, and say what each iteration brought."""
    figures = []
    for _ in range(iterations):
        figures.append(Figures.of(algo.train()))
        print(f"iteration {algo.iteration}: return of a life {figures[-1].life:+.3f}, loss {figures[-1].loss:.4f}")
    return figures


def main() -> None:
    """Train from nothing or from a checkpoint, and leave a checkpoint."""
    options = parse()
    ray.init(num_cpus=options.runners + 1, include_dashboard=False, object_store_memory=200 * 2**20)
    if options.resume:
        algo = restored(options.resume)
    else:
        algo = configure(options.runners, options.agents, options.seed).build_algo()
    train(algo, options.iterations)
    if options.checkpoint:
        print(f"checkpoint: {algo.save_to_path(options.checkpoint.resolve())}")
    algo.stop()
    ray.shutdown()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--runners", type=int, default=2, help="remote env runners, a world each")
    parser.add_argument("--agents", type=int, default=16, help="in a world")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, help="a folder to write one to")
    parser.add_argument("--resume", type=Path, metavar="CHECKPOINT")
    return parser.parse_args()


if __name__ == "__main__":
    main()
