"""Steps of Forage to be sampled, for so many seconds: `benchmarks.flame` runs it under py-spy."""

import sys
import time

from benchmarks.crop import RADIUS
from benchmarks.foraging import Foragers
from benchmarks.timing import one_core
from memfarm.validate.pairs import no_garbage_collection


def sampled(foragers: Foragers, seconds: float) -> int:
    """What lies below this function is what is looked at; returns the steps taken."""
    steps, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        foragers.step()
        steps += 1
    return steps


def main(agents: int, side: int, seconds: float) -> None:
    with one_core(), no_garbage_collection():
        foragers = Foragers(agents, shape=(side, side), radius=RADIUS)
        steps = sampled(foragers, seconds)
        foragers.close()
    print(f"{steps} steps of {agents} agents in {side} x {side}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
