"""The check of a batch of actions, before anything moves."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memfarm.errors import ActionError
from memfarm.kernels import first_beyond


def checked(actions: ArrayLike, live: NDArray[np.bool_], choices: int) -> NDArray[np.int64]:
    """`actions` as int64 `(N,)`, each of a live agent in [0, choices); not a copy where they are that already.

    Whatever stands at an agent that is not live is ignored. Raises ActionError for anything but an integer a
    live agent, naming the first.
    """
    try:
        array = np.asarray(actions)
    except (ValueError, TypeError) as error:
        raise ActionError(f"actions must be {len(live)} integers, got {actions!r:.80}: {error}") from error
    if array.shape != live.shape:
        raise ActionError(f"actions must be one integer an agent, shape {live.shape}, got shape {array.shape}")
    if array.dtype.kind not in "iu":
        index = int(np.argmax(live))
        raise ActionError(
            f"actions must be integers, got {array.dtype} (agent {index}: {array[index]!r}); convert them first"
        )
    within = np.minimum(array, np.uint64(choices)) if array.dtype == np.uint64 else array  # int64 holds it
    chosen = np.ascontiguousarray(within, np.int64)
    index = first_beyond(chosen, live, choices)
    if index >= 0:
        raise ActionError(f"an action must be in [0, {choices}), got {array[index]} for agent {index}")
    return chosen
