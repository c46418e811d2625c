"""A random generator as plain numbers, and back."""

from typing import Any

import numpy as np

from memfarm.errors import WorldFormatError

State = dict[str, Any]


def generator_state(generator: np.random.Generator | None) -> State | None:
    """The generator's state, JSON-able; None where there is none yet."""
    return None if generator is None else dict(generator.bit_generator.state)


def generator_of(state: Any) -> np.random.Generator | None:
    """The generator that `generator_state` described. Raises WorldFormatError on anything else."""
    if state is None:
        return None
    bits = np.random.PCG64(0)
    try:
        bits.state = state
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise WorldFormatError(f"a generator's state must be of a PCG64, got: {error!r:.200}") from error
    return np.random.Generator(bits)
