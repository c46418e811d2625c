"""Generalised advantages as their definition says."""

from typing import Any

import numpy as np


def advantages_by_hand(rewards: Any, values: Any, terminated: Any, truncated: Any, gamma: float, lam: float) -> Any:
    """Each agent, each tick: the discounted sum of the surprises up to the life's end, written out."""
    steps, agents = rewards.shape
    out = np.zeros((steps, agents))
    for n in range(agents):
        for t in range(steps):
            weight = 1.0
            for k in range(t, steps):
                after = 0.0 if terminated[k, n] else float(values[k + 1, n])
                out[t, n] += weight * (float(rewards[k, n]) + gamma * after - float(values[k, n]))
                weight *= gamma * lam
                if terminated[k, n] or truncated[k, n]:
                    break
    return out
