"""A world as a state machine: random writes, ticks, snapshots, reopenings and crashes, against the eager twin.

A crash is played by a copy of the folder taken in mid-life: it holds what a killed process would have left.
"""

import copy
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from memfarm.channels import Channel, Decay, Recover, Regrow
from memfarm.config import MemmapConfig
from memfarm.eager import Eager
from memfarm.errors import DirtyWorldError, WorldFormatError, WorldLockedError
from memfarm.world import World

FULL = os.environ.get("MEMFARM_DOSE") == "full"
RESOURCES = (Channel("FOOD", Regrow(0.03, "SOIL"), fill=0.3), Channel("SAP", Recover(0.2, 0.6), fill=0.6))
FIELDS = (Channel("HEAT", Decay(0.8, floor=0.0)), Channel("GLOW", Decay(0.95, floor=0.0)))
GROUND = (Channel("SOIL", fill=1.0), Channel("WALL", low=-2.0, high=5.0, fill=1.0))
MOVING = (*RESOURCES, *FIELDS)
COPIES = 2
SEEDS = st.integers(0, 2**32)


class Twin:
    """What a world should hold: the layers of each copy, stepped eagerly, the shared ground, and the clock."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.moving = Eager(MOVING, shape, COPIES)
        self.ground = {channel.name: np.full(shape, channel.fill) for channel in GROUND}
        self.moving.link(0, self.ground["SOIL"])
        self.past = np.zeros(COPIES, bool)  # whether resources were written, or time passed, since the last reset
        self.tick = 0
        self.writes = 0

    def set_soil(self, values: np.ndarray) -> None:
        """What has a past keeps its value, up to the new capacity; a copy reset at this tick begins anew."""
        self.moving.values[~self.past, ..., 0] = RESOURCES[0].fill
        self.moving.link(0, values)

    def check(self, world: World) -> None:
        assert world.tick == self.tick
        height, width = self.shape
        for lane, channel in enumerate(MOVING):
            for number in range(COPIES):
                got = world.grid_of(channel.name).read(channel.name, 0, height, 0, width, number)
                np.testing.assert_allclose(got, self.moving.read(lane)[number], rtol=0, atol=2e-5 + 1e-6 * self.writes)
        for name, values in self.ground.items():
            np.testing.assert_allclose(world.grid_of(name).read(name, 0, height, 0, width), values, rtol=0, atol=1e-6)


class WorldMachine(RuleBasedStateMachine):
    """One world, its twin, and the twin as it was at the last snapshot."""

    on_disk: bool

    @initialize(height=st.integers(3, 19), width=st.integers(3, 19), tick=st.sampled_from([0, 1, 530, 100_000]))
    def create(self, height: int, width: int, tick: int) -> None:
        self.temporary = tempfile.TemporaryDirectory()
        self.root = Path(self.temporary.name)
        self.made = 0
        everywhere = dict.fromkeys(("use_for_resources", "use_for_environmental", "use_for_temporal"), self.on_disk)
        self.world = World(
            (height, width),
            copies=COPIES,
            memmap=MemmapConfig(dtype={"environmental": "float32"}, **everywhere),
            channels={"resources": RESOURCES, "environmental": GROUND, "temporal": FIELDS},
            path=self.place() if self.on_disk else None,
            seed=7,
        )
        self.twin = Twin((height, width))
        self.kept: tuple[Path, Twin] | None = None
        self.advance(tick)

    def teardown(self) -> None:
        if hasattr(self, "temporary"):
            self.world.close()
            self.temporary.cleanup()

    def place(self) -> Path:
        self.made += 1
        return self.root / f"{self.made}"

    def cells(self, seed: int) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng(seed)
        where = (rng.integers(0, size, 6) for size in (COPIES, *self.twin.shape))
        return *where, rng.uniform(0, 1, 6)

    @rule(lane=st.integers(0, 3), seed=SEEDS, how=st.sampled_from(["set", "add", "max"]), high=st.floats(0.1, 1.0))
    def write(self, lane: int, seed: int, how: str, high: float) -> None:
        *where, values = self.cells(seed)
        self.world.scatter(MOVING[lane].name, *where, values, how=how, high=high)  # type: ignore[arg-type]
        getattr(self.twin.moving, how)(lane, *where, values, 0.0, high)
        self.twin.past[where[0]] |= lane < len(RESOURCES)
        self.twin.writes += 1

    @rule(lane=st.integers(0, 1), seed=SEEDS)
    def take(self, lane: int, seed: int) -> None:
        *where, amount = self.cells(seed)
        taken = self.world.take(MOVING[lane].name, *where, amount)
        expected = self.twin.moving.take(lane, *where, amount)
        self.twin.past[where[0]] = True
        np.testing.assert_allclose(taken, expected, rtol=0, atol=2e-5 + 1e-6 * self.twin.writes)
        self.twin.writes += 1

    @rule(lane=st.integers(2, 3), seed=SEEDS, accumulate=st.booleans())
    def deposit(self, lane: int, seed: int, accumulate: bool) -> None:
        where, y, x, values = self.cells(seed)
        self.world.deposit_temporal_events(MOVING[lane].name, (y, x, values), where, accumulate)
        (self.twin.moving.add if accumulate else self.twin.moving.max)(lane, where, y, x, values, 0.0, 1.0)
        self.twin.writes += 1

    @rule(name=st.sampled_from(["SOIL", "WALL"]), seed=SEEDS)
    def set_the_ground(self, name: str, seed: int) -> None:
        values = np.random.default_rng(seed).uniform(0, 1, self.twin.shape)
        self.world.set_environmental_layer(name, values)
        self.twin.ground[name] = values
        if name == "SOIL":
            self.twin.set_soil(values)
        self.twin.writes += 1

    @rule(ticks=st.one_of(st.integers(0, 40), st.sampled_from([531, 532, 533, 100_000])))
    def advance(self, ticks: int) -> None:
        self.world.advance(ticks)
        self.twin.moving.advance(ticks)
        self.twin.tick += ticks
        self.twin.past |= ticks > 0

    @rule(copies=st.sampled_from([[0], [1], [0, 1], []]))
    def reset(self, copies: list[int]) -> None:
        self.world.reset(copies)
        self.twin.moving.reset(copies)
        self.twin.past[copies] = False

    @rule(seed=SEEDS)
    def write_in_a_fork(self, seed: int) -> None:
        other = self.world.fork()
        self.twin.check(other)
        *where, values = self.cells(seed)
        other.scatter("HEAT", *where, values)
        other.set_environmental_layer("WALL", np.zeros(self.twin.shape))
        other.advance(5)
        other.reset()
        other.close()

    @rule()
    def snapshot(self) -> None:
        path = self.place()
        self.world.snapshot(path)
        self.kept = (path, copy.deepcopy(self.twin))
        self.check_as_reader(path, self.twin)

    @precondition(lambda self: self.kept is not None)
    @rule()
    def go_on_from_the_snapshot(self) -> None:
        kept, twin = self.kept
        path = self.place()
        shutil.copytree(kept, path)  # one that is opened to be written is a snapshot no more
        self.world.close()
        self.world, self.twin = World.open(path, "r+"), copy.deepcopy(twin)

    @precondition(lambda self: self.kept is not None)
    @rule(at=st.floats(0, 1, exclude_max=True), name=st.sampled_from(["HEAT", "FOOD", "WALL"]), bit=st.integers(0, 7))
    def flip_a_bit_of_the_snapshot(self, at: float, name: str, bit: int) -> None:
        group = next(group for group, grid in self.world.grids.items() if name in grid.names)
        path = self.place()
        shutil.copytree(self.kept[0], path)
        file = path / f"{group}.npy"
        content = bytearray(file.read_bytes())
        content[int(at * len(content))] ^= 1 << bit
        file.write_bytes(content)
        with pytest.raises(WorldFormatError, match=group):
            World.open(path, "r")
        shutil.rmtree(path)

    @precondition(lambda self: self.world.path is not None)
    @rule()
    def reopen(self) -> None:
        self.world.flush()
        path = self.world.path
        self.world.close()
        self.world = World.open(path, "r+")

    @precondition(lambda self: self.world.path is not None)
    @rule()
    def a_second_writer_is_refused(self) -> None:
        for mode in ("r+", "c"):
            with pytest.raises(WorldLockedError):
                World.open(self.world.path, mode)  # type: ignore[arg-type]

    @precondition(lambda self: self.world.path is not None)
    @rule()
    def write_what_is_never_kept(self) -> None:
        path = self.world.path
        self.world.close()
        world = World.open(path, "c")
        self.twin.check(world)
        world.scatter("HEAT", 0, 1, 1, 1.0)
        world.reset()
        world.close()
        self.world = World.open(path, "r+")

    @precondition(lambda self: self.world.path is not None)
    @rule()
    def crash_between_two_steps(self) -> None:
        path = self.left_by_a_crash()
        self.check_as_reader(path, self.twin)
        self.world.close()
        self.world = World.open(path, "r+")

    @precondition(lambda self: self.world.path is not None)
    @rule(seed=SEEDS, adopt=st.booleans())
    def crash_inside_a_step(self, seed: int, adopt: bool) -> None:
        with self.world.writing():
            self.write(2, seed, "set", 1.0)
            path = self.left_by_a_crash()
        for mode in ("r", "r+", "c"):
            with pytest.raises(DirtyWorldError):
                World.open(path, mode)  # type: ignore[arg-type]
        if self.kept is None or not (path / "last_snapshot.json").exists():
            with pytest.raises(DirtyWorldError):
                World.open(path, "r+", recover=True)
            return
        recovered = World.open(path, "r+", recover=True)
        self.kept[1].check(recovered)
        if adopt:
            self.world.close()
            self.world, self.twin = recovered, copy.deepcopy(self.kept[1])
        else:
            recovered.close()

    def left_by_a_crash(self) -> Path:
        path = self.place()
        shutil.copytree(self.world.path, path)
        return path

    def check_as_reader(self, path: Path, twin: Twin) -> None:
        reader = World.open(path, "r")
        try:
            twin.check(reader)
        finally:
            reader.close()

    @invariant()
    def reads_the_same(self) -> None:
        if hasattr(self, "world"):
            self.twin.check(self.world)
            if self.world.path is not None:
                self.check_as_reader(self.world.path, self.twin)  # beside its writer


class OnDisk(WorldMachine):
    on_disk = True


class InMemory(WorldMachine):
    on_disk = False


DOSE = settings(max_examples=400 if FULL else 12, stateful_step_count=40 if FULL else 20, deadline=None)
TestWorldOnDisk = OnDisk.TestCase
TestWorldOnDisk.settings = DOSE
TestWorldInMemory = InMemory.TestCase
TestWorldInMemory.settings = DOSE
