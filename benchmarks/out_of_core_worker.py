"""The process that `benchmarks.out_of_core` limits: `python -m benchmarks.out_of_core_worker MAP AGENTS STEPS [PROCS]`.

PROCS: the `cgroup.procs` file of the group that it puts itself into before it imports or maps anything large.
"""

import os
import sys
from pathlib import Path

if len(sys.argv) > 4:
    Path(sys.argv[4]).write_text(str(os.getpid()), encoding="ascii")

import json
import resource
import time
import zlib

import numpy as np

from benchmarks import disk, resident
from benchmarks.foraging import Foragers


def main(plain: str, agents: int, steps: int) -> None:
    foragers = Foragers(agents, warm_up=1, map=plain, radius=2)
    where, world = foragers.core.agents, foragers.world
    # Food at each agent's place, so that there is a page of each grid to be read and written at every step.
    world.resources.grid.scatter("RESOURCES", where.copy, where.y, where.x, np.full(agents, 0.9))
    foragers.walk(2)
    seconds, before = [], _counters()
    for _ in range(steps):
        start = time.perf_counter()
        foragers.step()
        seconds.append(time.perf_counter() - start)
    spent = [(after - earlier) / steps for after, earlier in zip(_counters(), before, strict=True)]
    state = (where.y, where.x, where.hp)
    report = {
        "seconds": float(np.median(seconds)),
        "major_faults": spent[0],
        "read": spent[1],
        "written": spent[2],
        "anonymous": resident.anonymous(),
        "mapped": resident.mapped(),
        "disk": disk.taken_by_scratch(),
        "logical": sum(grid["logical_bytes"] for grid in world.info()["grids"].values()),
        "digest": zlib.crc32(b"".join(array.tobytes() for array in state)),
    }
    foragers.close()
    sys.stdout.write(json.dumps(report) + "\n")


def _counters() -> tuple[int, int, int]:
    """Major faults, bytes read from the disk, bytes written to it, of this process until now."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    io = dict(line.split(": ") for line in lines)
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt, int(io["read_bytes"]), int(io["write_bytes"])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
