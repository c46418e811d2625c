"""The process that `benchmarks.out_of_core` limits: `python -m benchmarks.out_of_core_worker MAP AGENTS STEPS [PROCS]`.

PROCS: the `cgroup.procs` file of the group that it puts itself into before it imports or maps anything large.
"""

import sys

from benchmarks.limits import join

if len(sys.argv) > 4:
    join(sys.argv[4])

import json
import time
import zlib

import numpy as np

from benchmarks import disk, resident
from benchmarks.foraging import Foragers
from benchmarks.paging import Paged

RADIUS = 2  # so that the batches of windows, which are plain memory, leave most of it to the world


def main(plain: str, agents: int, steps: int) -> None:
    foragers = Foragers(agents, warm_up=0, map=plain, radius=RADIUS)
    where, world = foragers.core.agents, foragers.world
    # Food at each agent's place, so that there is a page of each grid to be read and written at every step.
    world.resources.grid.scatter("RESOURCES", where.copy, where.y, where.x, np.full(agents, 0.9))
    foragers.walk(1)
    seconds, before = [], Paged.now()
    for _ in range(steps):
        start = time.perf_counter()
        foragers.step()
        seconds.append(time.perf_counter() - start)
    paged = Paged.now().since(before)
    state = (where.y, where.x, where.hp)
    report = {
        "seconds": float(np.median(seconds)),
        "faults": paged.faults / steps,
        "read": paged.read / steps,
        "written": paged.written / steps,
        "anonymous": resident.anonymous(),
        "mapped": resident.mapped(),
        "disk": disk.taken_by_scratch(),
        "logical": sum(grid["logical_bytes"] for grid in world.info()["grids"].values()),
        "digest": zlib.crc32(b"".join(array.tobytes() for array in state)),
    }
    foragers.close()
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
