"""Scratch worlds leave nothing behind, however their process ends."""

import signal
from pathlib import Path

import pytest
from other_python import run_python

pytestmark = pytest.mark.once

CHILD = """
import os, signal, sys
moment, fallback = sys.argv[1], sys.argv[2] == "fallback"
if fallback:
    del os.O_TMPFILE
import numpy as np
from memfarm.world import World

def here(name):
    if name == moment:
        os.kill(os.getpid(), signal.SIGKILL)

if moment == "in construction":
    import memfarm.grid as grid
    grid.ChannelGrid._compile = lambda self: os.kill(os.getpid(), signal.SIGKILL)
worlds = [World((40, 50), copies=2, seed=seed) for seed in range(2)]
here("made")
for world in worlds:
    world.scatter("TRAILS", [0, 1], [3, 39], [4, 49], [1.0, 1.0])
    world.take("RESOURCES", 0, 5, 5, 0.5)
mapped = [line for line in open("/proc/self/maps") if os.environ["MEMFARM_SCRATCH"] in line]
assert len(mapped) == 6, mapped  # three grids a world, in that folder and nowhere else
here("written")
worlds[0].advance(3)
worlds[0].flush()
worlds[0].close()
here("one closed")
world = None
worlds.clear()
here("never reached")
"""


@pytest.mark.parametrize("fallback", ["tmpfile", "fallback"])
@pytest.mark.parametrize("moment", ["in construction", "made", "written", "one closed", "exit"])
def test_nothing_is_left(tmp_path: Path, moment: str, fallback: str) -> None:
    done = run_python("-c", CHILD, moment, fallback, MEMFARM_SCRATCH=tmp_path)
    assert done.returncode == (0 if moment == "exit" else -signal.SIGKILL), done.stderr
    assert list(tmp_path.iterdir()) == []
