"""kill -9 on a stepping process: what is found afterwards is a whole tick, or a world that says that it is not.

A step sets the same number, its tick, in many cells of three grids, and ends with the clock; half of a step would show
two numbers. The process is forked, so that a kill costs milliseconds and there can be hundreds.
"""

import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from memfarm.channels import Channel, Decay, Static
from memfarm.config import MemmapConfig
from memfarm.errors import DirtyWorldError
from memfarm.world import World

FULL = os.environ.get("MEMFARM_DOSE") == "full"
KILLS = 500 if FULL else 24

CELLS = 64
Y, X = (axis * 9 for axis in np.divmod(np.arange(CELLS), 8))  # tiles of their own
BOTH, YY, XX = np.repeat([0, 1], CELLS), np.tile(Y, 2), np.tile(X, 2)


def number(name: str) -> Channel:
    return Channel(name, Static(), low=0, high=1 << 20)


def found(folder: Path) -> World:
    return World(
        (80, 80),
        copies=2,
        path=folder,
        memmap=MemmapConfig(dtype={"environmental": "float32"}),
        channels={
            "resources": (number("LEFT"), number("RIGHT")),
            "environmental": (number("GROUND"),),
            "temporal": (number("MARK"), Channel("FADE", Decay(0.5), low=0, high=1)),
        },
    )


def step(world: World) -> None:
    tick = world.tick + 1
    with world.writing():
        if tick % 7 == 0:
            world.reset()
        for name in ("LEFT", "MARK", "RIGHT"):
            world.scatter(name, BOTH, YY, XX, np.full(2 * CELLS, tick))
        world.scatter("FADE", BOTH, YY, XX, np.ones(2 * CELLS))
        world.scatter("GROUND", 0, Y, X, np.full(CELLS, tick))
        world.advance()


def check_whole(world: World) -> None:
    """Every cell tells of the tick that the clock shows."""
    for name in ("LEFT", "MARK", "RIGHT"):
        np.testing.assert_array_equal(world.gather(name, BOTH, YY, XX), world.tick)
    np.testing.assert_array_equal(world.gather("GROUND", 0, Y, X), world.tick)
    np.testing.assert_allclose(world.gather("FADE", BOTH, YY, XX), 0.5, atol=1e-3)


def stepping(folder: Path, recover: bool) -> tuple[int, int]:
    """A child that goes on with the world and steps until it is killed: (pid, a pipe that says when it steps)."""
    says, hears = os.pipe()
    child = os.fork()
    if child:
        os.close(hears)
        return child, says
    try:
        world = World.open(folder, "r+", recover=recover)
        os.write(hears, b"steps")
        while True:
            step(world)
            time.sleep(0.0001)
    finally:
        os._exit(1)


@pytest.mark.timeout(3600 if FULL else 300)
def test_a_killed_writer_leaves_a_whole_tick_or_a_named_error_with_a_way_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "w"
    world = found(folder)
    step(world)
    world.snapshot(tmp_path / "s")
    kept = world.tick
    world.close()
    draw = np.random.default_rng(0 if not FULL else None)
    outcomes: Counter[str] = Counter()
    recover, last, moved = False, kept, 0
    for kill in range(KILLS):
        child, says = stepping(folder, recover)
        try:
            said = os.read(says, 5)
            time.sleep(draw.uniform(0, 0.01))
        finally:
            os.kill(child, signal.SIGKILL)
            ended = os.waitpid(child, 0)[1]
            os.close(says)
        assert (said, os.waitstatus_to_exitcode(ended)) == (b"steps", -signal.SIGKILL), kill
        try:
            world = World.open(folder)
        except DirtyWorldError:
            with pytest.raises(DirtyWorldError, match=str(tmp_path / "s")):
                World.open(folder, "r+")
            outcomes["DirtyWorldError, recovered"] += 1
            world = World.open(folder, "r+", recover=True)
            assert world.tick == kept
            recover = kill % 2 == 0  # the next child finds it dirty, and recovers by itself
        else:
            outcomes["a whole tick"] += 1
            assert world.tick >= last
            moved += world.tick > last
            recover = False
        check_whole(world)
        last = world.tick
        world.close()
        if recover:
            _soil(folder)
    with capsys.disabled():
        sys.stdout.write(f"\n{KILLS} kills of a stepping process: {dict(outcomes)}\n")
    assert outcomes.total() == KILLS
    assert set(outcomes) == {"DirtyWorldError, recovered", "a whole tick"}  # else it was never hit inside, or outside
    assert moved


def _soil(folder: Path) -> None:
    clock = np.load(folder / "clock.npy", mmap_mode="r+")
    clock[1] |= 1
    del clock
