"""A builder of a map, killed at every step it takes on the disk, leaves nothing that another takes for a map."""

import os
from pathlib import Path

import pytest
from other_python import run_python

pytestmark = pytest.mark.once

MURDERS = """
import os, shutil, signal, sys
from pathlib import Path
import numpy as np
from memfarm import map_cache, terrain
from memfarm.config import MemmapConfig
from memfarm.world import World

STORED = MemmapConfig(dtype={"environmental": "float32"})
RECIPE, OTHER = ({"kind": "noise", "shape": [24, 24], "seed": seed} for seed in (1, 2))
cache = Path(os.environ["MEMFARM_CACHE"])
stride = int(sys.argv[1])
expected = terrain.from_recipe(RECIPE).capacity

def build(recipe):
    with map_cache.held(recipe, "wall", STORED) as folder:
        return folder

def check(folder):
    world = World.open(folder)
    assert (world.environmental.get("CAPACITY") == expected).all()
    world.close()

def killed_at(moment):
    '''Whether a child was killed before it had built: at its `moment`-th doing that Python's audit sees.'''
    child = os.fork()
    if child == 0:
        left = moment
        def watch(event, arguments):
            nonlocal left
            if left >= 0 and event.startswith(("open", "os.", "shutil.", "mmap.", "fcntl.")):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(watch)
        build(RECIPE)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WIFSIGNALED(status)

build(OTHER)
place = cache / map_cache.key(RECIPE, "wall", "float32")
moment, half_way, by_others = 0, 0, 0
while killed_at(moment):
    if place.exists():
        check(place)
    left = list(cache.glob(".*"))
    half_way += bool(left)
    if left and moment % 2:  # a builder of another map sweeps as well
        shutil.rmtree(cache / map_cache.key(OTHER, "wall", "float32"))
        build(OTHER)
        assert not list(cache.glob(".*")), (moment, left, list(cache.glob(".*")))
        by_others += 1
    built = build(RECIPE)
    assert built == place
    check(place)
    assert not list(cache.glob(".*")), moment
    shutil.rmtree(place)
    moment += stride
print(moment, half_way, by_others)
"""

SURVIVOR = """
import os, sys
from pathlib import Path
from memfarm import map_cache, terrain
from memfarm.config import MemmapConfig

STORED = MemmapConfig(dtype={"environmental": "float32"})
RECIPE, OTHER = ({"kind": "noise", "shape": [24, 24], "seed": seed} for seed in (1, 2))
cache, load = Path(os.environ["MEMFARM_CACHE"]), map_cache.World

def build(recipe):
    with map_cache.held(recipe, "wall", STORED) as folder:
        assert folder is not None

def meanwhile(*arguments, **named):
    map_cache.World = load
    half = load(*arguments, **named)
    if (child := os.fork()) == 0:
        build(OTHER)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    return half

map_cache.World = meanwhile
build(RECIPE)
assert len([path for path in cache.iterdir() if path.is_dir()]) == 2
"""


def run(script: str, cache: Path, *arguments: str) -> str:
    done = run_python("-c", script, *arguments, timeout=240, MEMFARM_CACHE=cache)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_builder_killed_at_any_moment_leaves_no_map_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    stride = "1" if os.environ.get("MEMFARM_DOSE") == "full" else "5"
    moments, half_way, by_others = map(int, run(MURDERS, tmp_path / "cache", stride).split())
    assert moments > 40  # the child really was watched
    assert half_way >= 5
    assert by_others >= 2


def test_a_running_build_is_not_swept_away_by_the_builder_of_another_map(tmp_path: Path) -> None:
    run(SURVIVOR, tmp_path / "cache")
