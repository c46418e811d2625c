"""Generalised advantage estimates: how much better each action went than its agent expected."""

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Numbers = NDArray[np.float32]


def estimate(
    rewards: Numbers,
    values: Numbers,
    terminations: Flags,
    truncations: Flags,
    gamma: float,
    lam: float,
    out: Numbers | None = None,
) -> Numbers:
    """Advantages float32 `(T, N)`, in `out` or new: Schulman et al., "High-Dimensional Continuous Control", 2016.

    rewards, terminations, truncations: `(T, N)`, of tick t. values: `(T + 1, N)`, expected at the window before tick t;
    the last row at the window that the last tick led to. gamma, lam: discount and trace, in [0, 1].

    Under NEXT_STEP autoreset the window after a last step is that life's own last one: a truncated life is continued
    by its value, a terminated one by 0. The tick after that only resets: nothing flows through it, and its own row
    means nothing.
    """
    if out is None:
        out = np.empty_like(rewards)
    running = np.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        after = np.where(terminations[t], np.float32(0.0), values[t + 1])
        surprise = rewards[t] + np.float32(gamma) * after - values[t]
        ended = terminations[t] | truncations[t]
        running = surprise + np.float32(gamma * lam) * np.where(ended, np.float32(0.0), running)
        out[t] = running
    return out
