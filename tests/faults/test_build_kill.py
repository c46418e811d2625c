"""Killed while it builds a map, `memfarm build` leaves it whole or absent; under --force the old one or the new."""

import os
import random
import shutil
import signal
from pathlib import Path

import pytest

from memfarm import leftovers
from memfarm.commands.build import build
from memfarm.world import World

FULL = os.environ.get("MEMFARM_DOSE") == "full"
KILLS = 170 if FULL else 20
pytestmark = [pytest.mark.once, pytest.mark.timeout(3600 if FULL else 300)]

CALLS = ("open", "ftruncate", "pwrite", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir", "posix_fallocate")


def build_and_die(directory: Path, seed: int, force: bool, moment: int) -> bool:
    """Build in a forked child that kills itself at its `moment`-th call of the system; whether it came to its end."""
    pid = os.fork()
    if pid == 0:
        left = moment

        def counting(real):  # type: ignore[no-untyped-def]
            def call(*given, **more):  # type: ignore[no-untyped-def]
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*given, **more)

            return call

        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        for name in CALLS:
            setattr(os, name, counting(getattr(os, name)))
        status = 1
        try:
            build("noise", directory, shape=(100, 130), seed=seed, force=force)
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.WIFEXITED(status) == (os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0), "the build failed"
    return os.WIFEXITED(status)


def calls_of_a_build(directory: Path) -> int:
    """How many of these calls a build makes."""
    moment = 64
    while not build_and_die(directory / str(moment), 0, False, moment):
        moment *= 2
    low, high = moment // 2, moment
    while high - low > 4:
        middle = (low + high) // 2
        low, high = (low, middle) if build_and_die(directory / f"{middle}", 0, False, middle) else (middle, high)
    return high


def test_a_build_killed_at_any_moment(tmp_path: Path) -> None:
    (tmp_path / "trial").mkdir()
    calls = calls_of_a_build(tmp_path / "trial")
    chance = random.Random(3)
    counts = {"kills": 0, "absent": 0, "whole": 0, "the old one": 0, "left behind": 0}
    for number in range(KILLS):
        folder = tmp_path / str(number)
        folder.mkdir()
        force = number % 2 == 1
        if force:
            build("noise", folder / "map", shape=(90, 90), seed=7)
        moment = chance.randint(1, calls) if number % 4 < 2 else chance.randint(calls - 12, calls + 20)
        counts["kills"] += not build_and_die(folder / "map", number, force, moment)
        if (folder / "map").exists():
            with_map = World.open(folder / "map")
            old = with_map.shape == (90, 90)
            assert with_map.shape == ((90, 90) if old else (100, 130))
            assert with_map.seed == (7 if old else number)
            assert with_map.environmental.get("CAPACITY").any()
            with_map.close()
            counts["the old one" if old else "whole"] += 1
        else:
            assert not force, "under --force one of the two is there"
            counts["absent"] += 1
        left = leftovers.find(folder)
        counts["left behind"] += len(left)
        assert all(leftovers.remove(one) for one in left)
        assert {path.name for path in folder.iterdir()} <= {"map"}
        build("noise", folder / "map", shape=(20, 20), force=True)  # the way back is to build again
        shutil.rmtree(folder)
    print(f"\nkilled while building, of {calls} calls: {counts}")  # noqa: T201 - shown with -s
    assert counts["kills"] >= KILLS // 2
    assert counts["absent"]
    assert counts["the old one"]
