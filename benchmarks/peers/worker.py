"""A world of any package, stepped on request: a process that needs nothing but that package and NumPy.

`python -m benchmarks.peers.worker MODULE:CLASS AGENTS SIDE RADIUS` makes `benchmarks.peers.MODULE.CLASS(AGENTS, SIDE,
RADIUS)` and steps it once. Of lines that come in, a number has it take so many steps, and `held` weighs it; each, and
the beginning, is answered with a line of JSON. It collects no garbage meanwhile, and ends with its input. Whatever else
is printed goes to stderr.
"""

import ctypes
import gc
import importlib
import json
import os
import sys
from typing import Any, Protocol

from benchmarks import disk, resident


class Steps(Protocol):
    """A world with agents who act at random, from actions drawn beforehand."""

    @property
    def observation(self) -> Any:
        """What the last step handed out: arrays, in whatever lists, tuples and dicts."""

    @property
    def agents(self) -> int:
        """How many agents are left after the last step, which handed each an observation."""

    def step(self) -> None:
        """A whole step of all agents, observations included."""


def main(world: str, agents: int, side: int, radius: int) -> None:
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # packages print greetings
        module, _, name = world.partition(":")
        made: Steps = getattr(importlib.import_module(f"benchmarks.peers.{module}"), name)(agents, side, radius)
        gc.disable()
        made.step()
        print(json.dumps(stepped(made)), file=answers, flush=True)
        for line in sys.stdin:
            if line == "held\n":
                found = {"held": held()}
            else:
                for _ in range(int(line)):
                    made.step()
                found = stepped(made)
            print(json.dumps(found), file=answers, flush=True)


def stepped(made: Steps) -> dict[str, int]:
    """Of the last step: how many agents got an observation, and the bytes of them all."""
    return {"agents": made.agents, "observed": handed_out(made.observation)}


def handed_out(observation: Any) -> int:
    """Bytes of all arrays in `observation`."""
    if isinstance(observation, dict):
        observation = list(observation.values())
    if isinstance(observation, list | tuple):
        return sum(map(handed_out, observation))
    return int(observation.nbytes)


def held() -> int:
    """Bytes of this process's anonymous memory, what is free given back first, and of its files without a name."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    return resident.anonymous() + disk.taken_by_scratch()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
