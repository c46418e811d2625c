"""Stable-Baselines3's PPO on memfarm: every agent an environment of SB3's, one shared policy.

pip install 'memfarm[sb3]'
python -m memfarm.examples.sb3_ppo --iterations 15
python -m memfarm.examples.sb3_ppo --door supersuit --processes 2
"""

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from memfarm.examples.meadow import MEADOW
from memfarm.trainers.sb3 import GridVecEnv
from memfarm.trainers.supersuit import supersuit_vec_env


@dataclass(frozen=True)
class Figures:
    """What an iteration told."""

    life: float  # mean return of the episodes that ended in it
    loss: float


class Diary(BaseCallback):  # type: ignore[misc]  # SB3 is not there when memfarm is checked
    """Keeps an iteration's returns and loss, and prints them."""

    def __init__(self) -> None:
        super().__init__()
        self.figures: list[Figures] = []
        self._returns: list[float] = []
        self._mean = 0.0

    def _on_step(self) -> bool:
        self._returns += [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
        return True

    def _on_rollout_start(self) -> None:
        self._write()

    def _on_rollout_end(self) -> None:
        self._mean = float(np.mean(self._returns))
        self._returns.clear()

    def _on_training_end(self) -> None:
        self._write()

    def _write(self) -> None:
        """SB3 learns after a rollout's end: its loss is there when the next one begins."""
        told = self.model.logger.name_to_value
        if "train/loss" not in told:
            return
        self.figures.append(Figures(self._mean, float(told["train/loss"])))
        mean, loss = self.figures[-1].life, self.figures[-1].loss
        print(f"iteration {len(self.figures) - 1}: return of a life {mean:+.3f}, loss {loss:.4f}")


def batched(agents: int = 64, **arguments: Any) -> VecEnv:
    """The batched door: 16 agents a world; a death ends the agent's own episode."""
    return GridVecEnv(agents, agents_per_world=16, **{**MEADOW, **arguments})


def through_supersuit(agents: int = 64, processes: int = 0, **arguments: Any) -> VecEnv:
    """The PettingZoo door through SuperSuit: 16 agents a world; an episode is the whole world's."""
    venv = supersuit_vec_env(agents // 16, agents=16, processes=processes, **{**MEADOW, **arguments})
    return VecMonitor(venv)


def train(venv: VecEnv, iterations: int, seed: int = 0, ticks: int = MEADOW["max_cycles"]) -> list[Figures]:
    """Train for so many iterations of `ticks` ticks of all agents."""
    diary = Diary()
    model = PPO(
        "MlpPolicy",
        venv,
        n_steps=ticks,
        batch_size=ticks * venv.num_envs // 8,
        n_epochs=6,
        gamma=0.95,
        ent_coef=0.01,
        learning_rate=2e-3,
        seed=seed,
        device="cpu",
    )
    model.learn(iterations * ticks * venv.num_envs, callback=diary)
    return diary.figures


def main() -> None:
    """Train and print."""
    options = parse()
    venv = batched() if options.door == "batched" else through_supersuit(processes=options.processes)
    # SuperSuit ends a world one tick late: a tick more, and every rollout is a whole episode
    train(venv, options.iterations, options.seed, MEADOW["max_cycles"] + (options.door == "supersuit"))
    venv.close()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--door", choices=("batched", "supersuit"), default="batched")
    parser.add_argument("--processes", type=int, default=0, help="SuperSuit's workers")
    parser.add_argument("--iterations", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
