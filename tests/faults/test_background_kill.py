"""Killed while a snapshot is made in the background, a process leaves it whole or absent."""

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from killing import killed

from memfarm import leftovers
from memfarm.world import World

ROOT = Path(__file__).parents[2]
FULL = os.environ.get("MEMFARM_DOSE") == "full"
KILLS = 100 if FULL else 10
SIDE = 256
pytestmark = pytest.mark.timeout(3600 if FULL else 300)

KEEPS = """
import sys
from pathlib import Path
import numpy as np
from memfarm.world import World

folder = Path(sys.argv[1])
world = World((256, 256), path=folder / "world")
print("made", flush=True)
number = 0
while True:
    world.grid_of("TRAILS").write("TRAILS", np.full((256, 256), (number % 100) / 100))
    handle = world.snapshot(folder / f"kept-{number}", background=True)
    while not handle.done:
        world.grid_of("TRAILS").write("TRAILS", np.full((256, 256), 1.0))
    handle.wait()
    print(number, flush=True)
    number += 1
"""


def test_a_world_killed_while_a_snapshot_is_made_behind_it(tmp_path: Path) -> None:
    chance = random.Random(3)
    counts = {"kills": 0, "whole": 0, "left behind": 0}
    for number in range(KILLS):
        folder = tmp_path / str(number)
        folder.mkdir()
        said = killed(KEEPS, folder, 0.4, chance)
        counts["kills"] += 1
        there = sorted(folder.glob("kept-*"))
        assert said <= len(there) <= said + 1
        for path in there:
            kept = World.open(path)  # raises where a byte is wrong
            wanted = np.float32(int(path.name.split("-")[1]) % 100 / 100)
            assert (kept.grid_of("TRAILS").read("TRAILS", 0, SIDE, 0, SIDE) == wanted).all()
            kept.close()
        counts["whole"] += len(there)
        left = leftovers.find(folder)
        counts["left behind"] += len(left)
        assert all(leftovers.remove(one) for one in left)
        assert {path.name for path in folder.iterdir()} == {"world", *(path.name for path in there)}
        shutil.rmtree(folder)
    print(f"\nkilled while a snapshot is made behind the run: {counts}")  # noqa: T201 - shown with -s
    assert counts["whole"] > 0
