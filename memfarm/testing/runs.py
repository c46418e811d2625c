"""Runs of random actions, and results compared to the last byte."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray


def random_actions(space: Any, agents: int, steps: int) -> NDArray[np.int64]:
    """The same int64 `(steps, agents)` every time."""
    return np.random.default_rng(1).integers(0, space.n, (steps, agents))


def run(env: VectorEnv[Any, Any, Any], *, seed: int, steps: int) -> Iterator[tuple[Any, ...]]:
    """What reset and then `steps` steps of random actions return."""
    yield env.reset(seed=seed)
    for actions in random_actions(env.single_action_space, env.num_envs, steps):
        yield env.step(actions)


def same(a: Any, b: Any, rule: str) -> None:
    """Fail with `rule` unless two results are equal to the last byte."""
    left, right = hashlib.sha256(), hashlib.sha256()
    feed(left, a)
    feed(right, b)
    assert left.digest() == right.digest(), f"{rule}; got {a!r:.200} and {b!r:.200}"


def feed(digest: Any, value: Any) -> None:
    """Feed whatever an environment returns, dictionaries in their own order, into a digest."""
    if isinstance(value, dict):
        for key, item in value.items():
            digest.update(str(key).encode())
            feed(digest, item)
    elif isinstance(value, tuple | list) or (isinstance(value, np.ndarray) and value.dtype == object):
        for item in value:
            feed(digest, item)
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    else:
        digest.update(repr(value).encode())


def close_all(*envs: Any) -> None:
    """Close every one of them."""
    for env in envs:
        env.close()
