"""Files against memory: the same work on both, in turns, and what their ratio says at a stated certainty.

The rule. Three of a kind do the same work: one kept in files, and two kept in memory, `ram` and its `control`. A round
takes a sample of each, in every order in turn, and gives two ratios, files / ram and control / ram. The median of a
ratio lies in an interval of order statistics at 99.9 % (Conover, Practical Nonparametric Statistics, 3.2)::

    sorted(ratios)[n / 2 - 3.29 * sqrt(n) / 2]  to  sorted(ratios)[n / 2 + 3.29 * sqrt(n) / 2]

- FAIL: all of the interval of files / ram lies above the limit, also when that of control / ram is divided out.
- PASS: all of it lies within the limit, and the control's median within `QUIET` of 1.
- else the run was too noisy to tell; rounds are added before that is said.
"""

import gc
import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import psutil
from numpy.typing import NDArray

LIMIT: Final = 1.25
"""What files may take, as a multiple of what memory takes."""
QUIET: Final = 0.10
"""How far two of a kind may lie apart before the run counts as noisy."""
LEAST_ROUNDS: Final = 30

_DEVIATIONS: Final = 3.29  # two-sided 99.9 % of a normal distribution
_ORDERS: Final = tuple(itertools.permutations(range(3)))
_LOOK: Final = 0.3  # seconds for which the cores are watched
_SAMPLE: Final = 2e-3  # seconds; shorter work is repeated within its sample

Work = Callable[[], object]
Outcome = Literal["PASS", "FAIL", "NOISY"]
Ratios = NDArray[np.float64]  # (rounds,)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Seconds of one call, float64 `(rounds,)` each, of the same rounds."""

    files: Ratios
    ram: Ratios
    control: Ratios

    @property
    def ratio(self) -> float:
        """Files over memory, the median of the rounds' own ratios."""
        return float(np.median(self.files / self.ram))

    @property
    def noise(self) -> float:
        """Memory over memory, likewise: 1 on a quiet machine."""
        return float(np.median(self.control / self.ram))

    @property
    def interval(self) -> tuple[float, float]:
        """Where `ratio` lies, at 99.9 %."""
        return median_interval(self.files / self.ram)

    @property
    def outcome(self) -> Outcome:
        """What the rule at the top of this module says."""
        low, high = self.interval
        if low > LIMIT and low > LIMIT * median_interval(self.control / self.ram)[1]:
            return "FAIL"
        return "PASS" if high <= LIMIT and abs(self.noise - 1.0) <= QUIET else "NOISY"


def median_interval(ratios: Ratios) -> tuple[float, float]:
    """Where the median of what `ratios` `(n,)` are drawn from lies, at 99.9 %; of fewer than 11, their extremes."""
    ordered = np.sort(ratios)
    rank = max(0, math.floor((len(ordered) - _DEVIATIONS * math.sqrt(len(ordered))) / 2))
    return float(ordered[rank]), float(ordered[-1 - rank])


def compare(files: Work, ram: Work, control: Work, seconds: float, patience: float = 2.5) -> Comparison:
    """Time the three for about `seconds`, and while that does not tell PASS, for up to `patience` times as long.

    Each is called equally often, so that three that began alike end alike. Collects no garbage meanwhile.
    """
    cases = (files, ram, control)
    samples: list[list[float]] = []
    with no_garbage_collection():
        repeats = _repeats(cases)
        start = time.perf_counter()
        while True:
            took = [0.0, 0.0, 0.0]
            for case in _ORDERS[len(samples) % len(_ORDERS)]:
                took[case] = _sample(cases[case], repeats)
            samples.append(took)
            spent = time.perf_counter() - start
            if len(samples) < LEAST_ROUNDS or spent < seconds:
                continue
            if spent >= patience * seconds or _of(samples).outcome == "PASS":
                return _of(samples)


def _of(samples: Sequence[Sequence[float]]) -> Comparison:
    return Comparison(*np.array(samples).T)


def _sample(case: Work, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        case()
    return (time.perf_counter() - start) / repeats


def _repeats(cases: Sequence[Work]) -> int:
    """How often all cases are called in a sample; each has been called three times then."""
    warm = [min(_sample(case, 1) for _ in range(3)) for case in cases]
    return max(1, math.ceil(_SAMPLE / max(min(warm), 1e-9)))


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keep the garbage collector from running within."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def one_core() -> Iterator[None]:
    """Keep the process on the core that is least busy now, where the system can be asked for that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    busy = psutil.cpu_percent(_LOOK, percpu=True)
    quiet = min(allowed, key=lambda core: (busy[core] if core < len(busy) else 100.0, -core))
    os.sched_setaffinity(0, {quiet})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
