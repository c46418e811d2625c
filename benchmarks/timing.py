"""How time is taken: cases in turns, on one core, and a ratio within each round."""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memfarm.validate.pairs import no_garbage_collection

_SAMPLE = 1e-3  # seconds; a shorter call is repeated within its sample, so that reading the clock does not count


@dataclass(frozen=True, slots=True)
class Times:
    """What one call of a case took, in seconds, float64 `(rounds,)`."""

    seconds: NDArray[np.float64]

    @property
    def median(self) -> float:
        """Seconds of one call, the median over the rounds."""
        return float(np.median(self.seconds))

    @property
    def spread(self) -> float:
        """The distance of the quartiles as a share of the median: what the machine's noise amounts to."""
        low, high = np.quantile(self.seconds, (0.25, 0.75))
        return float((high - low) / self.median)

    def over(self, other: "Times") -> float:
        """This case's time over `other`'s, the median of the rounds' own ratios. Both of one `in_turns`."""
        return float(np.median(self.seconds / other.seconds))


def in_turns(
    cases: Mapping[str, Callable[[], object]],
    *,
    seconds: float,
    least: int = 5,
    most: int = 400,
    stretch: float = _SAMPLE,
) -> dict[str, Times]:
    """Time all cases for about `seconds` in all: a sample each a round, in the order opposite to the last round's.

    A machine that slows down, or a neighbour's load, then falls on all of them alike. Before it counts each case runs
    for some such samples.
    least, most: bounds on the rounds. stretch: seconds that a sample takes at least, in calls one after the other: what
    each leaves in the caches for the next is then part of what is measured. Collects no garbage meanwhile.
    """
    with no_garbage_collection():
        repeats = {name: _repeats(case, stretch) for name, case in cases.items()}
        order = list(cases)
        samples: dict[str, list[float]] = {name: [] for name in cases}
        end = time.perf_counter() + seconds
        for done in range(most):
            if done >= least and time.perf_counter() >= end:
                break
            for name in order:
                samples[name].append(_sample(cases[name], repeats[name]))
            order.reverse()
    return {name: Times(np.array(values)) for name, values in samples.items()}


def once(case: Callable[[], object]) -> float:
    """Seconds that a single call takes, for what cannot be repeated."""
    return _sample(case, 1)


def _sample(case: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        case()
    return (time.perf_counter() - start) / repeats


def _repeats(case: Callable[[], object], stretch: float) -> int:
    """How many calls take `stretch` seconds, once they come one after the other: the first ones are slow."""
    case()
    repeats = 1
    while True:
        each = max(_sample(case, repeats), 1e-9)
        if each * repeats >= stretch:
            return repeats
        repeats = max(repeats + 1, min(math.ceil(stretch / each), 4 * repeats))


@contextmanager
def one_core() -> Iterator[int | None]:
    """Keep the process on its last core, the one that the system uses least; None where that cannot be asked for."""
    if not hasattr(os, "sched_setaffinity"):
        yield None
        return
    allowed = os.sched_getaffinity(0)
    core = max(allowed)
    os.sched_setaffinity(0, {core})
    try:
        yield core
    finally:
        os.sched_setaffinity(0, allowed)
