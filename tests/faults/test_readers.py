"""Readers hammer a running writer: what one read returns is of one tick.

The writer sets the same number, the tick, in many cells of three grids, piece by piece; a reader who gets two numbers
has seen half of a step. A field that is refilled in every step and fades once tells whether the reader's clock follows.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FULL = os.environ.get("MEMFARM_DOSE") == "full"
STEPS, READS = (100_000, 10_000_000) if FULL else (300, 6_000)
READERS = 3

COMMON = """
import json, os, signal, sys, time
import numpy as np
from memfarm.channels import Channel, Decay, Static
from memfarm.config import MemmapConfig
from memfarm.world import World

HIGHEST, CELLS = 1 << 20, 64
y, x = np.divmod(np.arange(CELLS), 8)
y, x = y * 9, x * 9  # tiles of their own, so that no copy of a page is atomic
folder = sys.argv[1]

def number(name):
    return Channel(name, Static(), low=0, high=HIGHEST)

def channels():
    return {
        "resources": (number("LEFT"), number("RIGHT")),
        "environmental": (number("GROUND"),),
        "temporal": (number("MARK"), Channel("FADE", Decay(0.5), low=0, high=1)),
    }
"""

WRITER = (
    COMMON
    + """
least, dawdle, stands_still = int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
as_numbers = MemmapConfig(dtype={"environmental": "float32"})
world = World((80, 80), copies=2, path=folder, channels=channels(), memmap=as_numbers)
both = np.repeat([0, 1], CELLS)

def step(tick):
    with world.writing():
        if tick % 7 == 0:
            world.reset([0])
        world.scatter("LEFT", both, np.tile(y, 2), np.tile(x, 2), np.full(2 * CELLS, tick))
        world.scatter("GROUND", 0, y, x, np.full(CELLS, tick))
        time.sleep(dawdle)
        if tick == stands_still:
            os.kill(os.getpid(), signal.SIGSTOP)
        world.scatter("MARK", both, np.tile(y, 2), np.tile(x, 2), np.full(2 * CELLS, tick))
        world.scatter("FADE", both, np.tile(y, 2), np.tile(x, 2), np.ones(2 * CELLS))
        world.advance()
        world.scatter("RIGHT", both, np.tile(y, 2), np.tile(x, 2), np.full(2 * CELLS, tick))

def told_to_stop():
    try:
        return os.read(0, 1) == b""
    except BlockingIOError:
        return False

step(1)
print("ready", flush=True)
os.set_blocking(0, False)
tick, over = 1, False
while not over or tick < least:
    tick += 1
    step(tick)
    time.sleep(0.0002 * (tick % 4))  # what an environment does between two steps
    over = over or (tick % 8 == 0 and told_to_stop())
print(tick, flush=True)
world.close()
"""
)

READER = (
    COMMON
    + """
wanted, careless, number = int(sys.argv[2]), sys.argv[3] == "careless", int(sys.argv[4])
if careless:  # as if there were no sequence number
    from memfarm.guard import Follower
    def whole(self, read, *args, **kwargs):
        self._stand_at(self.tick)
        return read(*args, **kwargs)
    Follower.whole = whole
world = World.open(folder)
cutter = world.windows(["LEFT", "RIGHT", "MARK", "GROUND", "FADE"], 0, normalize=False)
rectangle = world.temporal.grid.read
reads = torn = ticks = 0
last = 0.0

def check(numbers, *fades):
    global torn, last, ticks
    least = numbers.min()
    if least != numbers.max() or least < last or any(abs(fade - 0.5) > 1e-3 for fade in fades):
        torn += 1
    elif least > last:  # time runs one way
        ticks, last = ticks + 1, least

def everything():
    return np.concatenate([
        [world.tick], world.gather("LEFT", 1, y, x), world.gather("GROUND", 0, y, x), world.gather("MARK", 0, y, x)
    ])

end = time.monotonic() + 60  # beyond its reads, where the writer has not come to its turn
while reads < wanted or ((torn == 0 if careless else ticks <= 20) and time.monotonic() < end):
    kind, copy = reads % 4, (reads + number) // 4 % 2
    if kind == 0:  # a batch of windows over three grids, one compiled call
        cut = cutter(copy, y, x).reshape(CELLS, 5)
        check(cut[:, :4], cut[0, 4], cut[-1, 4])
    elif kind == 1:  # a batch of cells of one channel
        check(world.gather("MARK", copy, y, x))
    elif kind == 2:  # a rectangle
        check(rectangle("MARK", 0, 64, 0, 64, copy)[::9, ::9])
    else:  # several reads
        check(world.in_one_tick(everything))
    reads += 1
print(json.dumps({"reads": reads, "torn": torn, "ticks": ticks}))
world.close()
"""
)


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as children:

        def start(code: str, *arguments: object) -> subprocess.Popen[str]:
            child = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            children.enter_context(child)  # its pipes are closed, and it is waited for
            children.callback(child.kill)  # first; does nothing to who has ended
            return child

        yield start


def finished(child: subprocess.Popen[str], timeout: float = 3600 if FULL else 120) -> str:
    out, err = child.communicate(timeout=timeout)
    assert child.returncode == 0, err
    return out


def ready(child: subprocess.Popen[str]) -> None:
    assert child.stdout is not None
    assert child.stderr is not None
    assert child.stdout.readline() == "ready\n", child.stderr.read()


@pytest.mark.timeout(3700 if FULL else 300)
def test_no_reader_of_a_running_writer_sees_a_torn_tick(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = start(WRITER, tmp_path / "w", STEPS, 0, 0)
    ready(writer)
    readers = [start(READER, tmp_path / "w", -(-READS // READERS), "careful", seed) for seed in range(READERS)]
    found = [json.loads(finished(reader)) for reader in readers]
    steps = int(finished(writer))
    with capsys.disabled():
        reads, torn = (sum(reader[key] for reader in found) for key in ("reads", "torn"))
        sys.stdout.write(f"\n{reads:,} reads by {READERS} readers in {steps:,} steps: {torn} torn ticks\n")
    assert [reader["torn"] for reader in found] == [0] * READERS
    assert reads >= READS
    assert steps >= STEPS
    assert all(reader["ticks"] > 20 for reader in found)  # they followed


def test_the_test_sees_torn_ticks_where_nobody_looks_at_the_sequence_number(start: Start, tmp_path: Path) -> None:
    writer = start(WRITER, tmp_path / "w", 2, 0.002, 0)
    ready(writer)
    found = json.loads(finished(start(READER, tmp_path / "w", 500, "careless", 0)))
    finished(writer)
    assert found["torn"] > 0


def test_a_reader_waits_for_a_writer_that_stands_still_inside_a_step(start: Start, tmp_path: Path) -> None:
    writer = start(WRITER, tmp_path / "w", 2, 0, 9)
    ready(writer)
    reader = start(READER, tmp_path / "w", 1_000, "careful", 0)
    time.sleep(3)
    assert reader.poll() is None
    writer.send_signal(signal.SIGCONT)
    found = json.loads(finished(reader))
    finished(writer)
    assert found["reads"] == 1_000
    assert found["torn"] == 0
