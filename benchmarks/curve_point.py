"""One point of a curve, in a process of its own: `benchmarks.curves` starts it and reads the line of JSON it prints."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks import dense, disk, resident
from benchmarks.crop import RADIUS
from benchmarks.foraging import Foragers
from benchmarks.peers.packages import MAGENT2
from benchmarks.peers.process import WorldProcess
from benchmarks.steps import NumPyForagers
from benchmarks.timing import in_turns, one_core
from memfarm.world import World

_TINY: Final = 32  # cells

Found = dict[str, float | None]


def memfarm(agents: int, side: int, ground: Path, warm_up: int, seconds: float) -> Found:
    """Steps of the batched door; memory and disk of it after `warm_up` of them, the map's own disk included."""
    before = resident.anonymous()
    foragers = Foragers(agents, map=str(ground), radius=RADIUS, warm_up=warm_up)
    held = {"anonymous": resident.anonymous() - before, "disk": disk.taken_by_scratch() + disk.taken(ground)}
    found = {**_rate(agents, foragers.step, seconds), **held}
    foragers.close()
    return found


def numpy(agents: int, side: int, ground: Path, warm_up: int, seconds: float) -> Found:
    """The same rules, with windows from sliding views of row-major np.memmap layers."""
    foragers = Foragers(agents, map=str(ground), radius=RADIUS, warm_up=warm_up)
    with dense.folder() as folder:
        sliding = NumPyForagers(foragers, folder, dense.sliding)
        found = _rate(agents, sliding.step, seconds)
    foragers.close()
    return found


def magent2(agents: int, side: int, ground: Path, warm_up: int, seconds: float) -> Found:
    """The engine of MAgent2 on its own plain; memory beyond that of a process with two agents in a tiny world."""
    with WorldProcess(MAGENT2, "magent:Engine", 2, _TINY, RADIUS) as process:
        before = process.held
    with WorldProcess(MAGENT2, "magent:Engine", agents, side, RADIUS) as process:
        process.steps(warm_up)
        held = process.held - before
        count = process.steps_in(seconds / 10)
        found = _rate(agents * count, lambda: process.steps(count), seconds)
        process.check_all_there()
    return {**found, "anonymous": held, "disk": 0}


def arrays(agents: int, side: int, ground: Path, warm_up: int, seconds: float) -> Found:
    """Memory of one float32 array a channel of Forage, every cell of them written; nothing steps."""
    world = World((1, 1))
    channels = len(world.channels)
    world.close()
    before = resident.anonymous()
    layers = np.ones((channels, side, side), np.float32)
    found: Found = {"anonymous": resident.anonymous() - before, "disk": 0}
    del layers
    return found


def _rate(agent_steps: int, step: Callable[[], object], seconds: float) -> Found:
    times = in_turns({"step": step}, seconds=seconds, least=3)["step"]
    slow, fast = np.quantile(times.seconds, (0.75, 0.25))
    return {"rate": agent_steps / times.median, "low": agent_steps / float(slow), "high": agent_steps / float(fast)}


KINDS: Final[dict[str, Callable[[int, int, Path, int, float], Found]]] = {
    "memfarm": memfarm,
    "numpy": numpy,
    "magent2": magent2,
    "arrays": arrays,
}


def main(kind: str, agents: str, side: str, ground: str, warm_up: str, seconds: str) -> None:
    with one_core():
        found = KINDS[kind](int(agents), int(side), Path(ground), int(warm_up), float(seconds))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
