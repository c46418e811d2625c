"""Killed while it takes a snapshot, a process leaves it whole or absent, and its world at a whole tick."""

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from killing import killed

from memfarm import leftovers
from memfarm.envs import forage_v0
from memfarm.errors import DirtyWorldError
from memfarm.world import World

ROOT = Path(__file__).parents[2]
FULL = os.environ.get("MEMFARM_DOSE") == "full"
KILLS = 170 if FULL else 12
pytestmark = [pytest.mark.once, pytest.mark.timeout(3600 if FULL else 300)]

TAKES = """
import sys
from pathlib import Path
import numpy as np
from memfarm.world import World

folder = Path(sys.argv[1])
world = World((512, 512), path=folder / "world")
cells = np.arange(512 * 512)
world.snapshot(folder / "first")
print("made", flush=True)
for number in range(10_000):
    world.scatter("TRAILS", 0, *np.divmod(cells[number % 7 :: 7], 512), 1.0, how="max")
    world.scatter("RESOURCES", 0, *np.divmod(cells[number % 11 :: 11], 512), number % 5 / 5)
    world.advance()
    world.snapshot(folder / f"kept-{number}")
    print(number, flush=True)
"""
SAVES = """
import sys
from pathlib import Path
import numpy as np
from memfarm.envs import forage_v0

env = forage_v0.batched(40, agents_per_world=20, shape=(200, 200), memory=True, radius=4)
env.reset(seed=1)
print("made", flush=True)
for number in range(10_000):
    env.step(np.random.default_rng(number).integers(0, 6, 40))
    env.save(Path(sys.argv[1]) / f"kept-{number}")
    print(number, flush=True)
"""


def outcome_of_names(folder: Path, said: int) -> list[Path]:
    """The snapshots there are, by number: what was said to be there is, and at most one more."""
    there = sorted(folder.glob("kept-*"), key=lambda path: int(path.name.split("-")[1]))
    assert [path.name for path in there] == [f"kept-{number}" for number in range(len(there))]
    assert said <= len(there) <= said + 1
    return there


def test_a_world_killed_while_it_takes_snapshots(tmp_path: Path) -> None:
    chance = random.Random(1)
    counts = {"kills": 0, "snapshots whole": 0, "left behind": 0, "worlds whole": 0, "worlds recovered": 0}
    for number in range(KILLS // 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        there = outcome_of_names(folder, killed(TAKES, folder, 0.4, chance))
        counts["kills"] += 1
        for path in there[-2:]:
            kept = World.open(path)  # raises where a byte is wrong
            assert kept.tick == int(path.name.split("-")[1]) + 1
            kept.close()
        counts["snapshots whole"] += len(there)
        try:
            world = World.open(folder / "world", "r+")
            counts["worlds whole"] += 1
        except DirtyWorldError:
            world = World.open(folder / "world", "r+", recover=True)
            counts["worlds recovered"] += 1
        assert len(there) - 1 <= world.tick <= len(there) + 1  # a snapshot just made may not be noted as the last one
        world.close()
        left = leftovers.find(folder)
        assert {str(one.path.parent) for one in left} <= {str(folder), str(folder / "world")}
        counts["left behind"] += len(left)
        assert all(leftovers.remove(one) for one in left)
        assert {path.name for path in folder.iterdir()} == {"first", "world", *(path.name for path in there)}
        shutil.rmtree(folder)
    print(f"\nkilled while taking snapshots: {counts}")  # noqa: T201 - shown with -s
    assert counts["snapshots whole"] > 0


def test_an_environment_killed_while_it_saves(tmp_path: Path) -> None:
    chance = random.Random(2)
    counts = {"kills": 0, "saves whole": 0, "left behind": 0}
    env = forage_v0.batched(40, agents_per_world=20, shape=(200, 200), memory=True, radius=4)
    for number in range(KILLS // 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        there = outcome_of_names(folder, killed(SAVES, folder, 0.4, chance))
        counts["kills"] += 1
        for path in there[-1:]:
            env.load(path)
            assert env.unwrapped.world.tick == int(path.name.split("-")[1]) + 1
            env.step(np.zeros(40, np.int64))
        counts["saves whole"] += len(there)
        left = leftovers.find(folder)
        counts["left behind"] += len(left)
        assert all(leftovers.remove(one) for one in left)
        assert {path.name for path in folder.iterdir()} == {path.name for path in there}
        shutil.rmtree(folder)
    env.close()
    print(f"\nkilled while saving: {counts}")  # noqa: T201 - shown with -s
    assert counts["saves whole"] > 0
