"""How well a policy does: the mean return of its agents in episodes of one length, over held-out seeds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memfarm.demo.policies import Chooser


@dataclass(frozen=True)
class Score:
    """Returns of one policy, `(seeds,)` float64: per seed, the mean over agents of the summed reward."""

    returns: NDArray[np.float64]

    @property
    def mean(self) -> float:
        return float(self.returns.mean())

    @property
    def standard_error(self) -> float:
        """Of the mean over seeds; 0 for a single one."""
        count = len(self.returns)
        return float(self.returns.std(ddof=1) / np.sqrt(count)) if count > 1 else 0.0

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.standard_error:.2f}"


def evaluate(env: Any, choose: Chooser, *, seed: int, ticks: int) -> Score:
    """Run `choose` for `ticks` in every world of `env`: world w has seed `seed + w`, and is one seed of the score.

    env: a batched environment whose windows are tensors. Agents that starve are given a new life in the same
    world, so that every agent counts the same number of ticks.
    """
    core = env.unwrapped
    windows, infos = env.reset(seed=seed)
    totals = np.zeros(core.num_envs)
    for _ in range(ticks):
        windows, rewards, _, _, infos = env.step(choose(windows, infos["action_mask"] > 0))
        totals += rewards
    return Score(totals.reshape(core.worlds, core.agents_per_world).mean(axis=1))
