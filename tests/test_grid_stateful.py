"""A grid on disk, as a state machine: random calls, flushes, closings and reopenings, against the eager twin."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from memfarm.channels import Channel, Decay, Recover, Regrow
from memfarm.eager import Eager
from memfarm.grid import ChannelGrid

CHANNELS = (
    Channel("FOOD", Regrow(0.03, 0.9), fill=0.3),
    Channel("HEAT", Decay(0.8, floor=0.0)),
    Channel("MARK", high=5.0, fill=1.0),
    Channel("SAP", Recover(0.2, 0.6), fill=0.6),
)
LANES = st.integers(0, 3)
SEEDS = st.integers(0, 2**32)
COPIES = 2


class GridMachine(RuleBasedStateMachine):
    """One grid and its twin; whatever is called, they read the same."""

    @initialize(height=st.integers(3, 19), width=st.integers(3, 19), tick=st.integers(0, 10_000))
    def create(self, height: int, width: int, tick: int) -> None:
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self.temporary.name)
        self.shape = (height, width)
        self.tick = tick
        self.grid = ChannelGrid(self.shape, CHANNELS, copies=COPIES, folder=self.folder, tick=tick)
        self.twin = Eager(CHANNELS, self.shape, COPIES)
        self.writes = 0

    def teardown(self) -> None:
        if hasattr(self, "temporary"):
            self.grid.close()
            self.temporary.cleanup()

    def cells(self, seed: int, lane: int) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng(seed)
        copy, y, x = (rng.integers(0, size, 6) for size in (COPIES, *self.shape))
        return copy, y, x, rng.uniform(0, CHANNELS[lane].high, 6)

    @rule(lane=LANES, seed=SEEDS)
    def write(self, lane: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        h, w = (int(rng.integers(1, size + 1)) for size in self.shape)
        y0, x0 = (int(rng.integers(0, size - n + 1)) for size, n in zip(self.shape, (h, w), strict=True))
        copy, values = int(rng.integers(COPIES)), rng.uniform(0, CHANNELS[lane].high, (h, w))
        self.grid.write(CHANNELS[lane].name, values, y0, x0, copy)
        y, x = (axis.ravel() for axis in np.mgrid[y0 : y0 + h, x0 : x0 + w])
        self.twin.set(lane, np.full(h * w, copy), y, x, values.ravel(), 0.0, CHANNELS[lane].high)
        self.writes += 1

    @rule(lane=LANES, seed=SEEDS, how=st.sampled_from(["set", "add", "max"]), high=st.floats(0.1, 1.0))
    def deposit(self, lane: int, seed: int, how: str, high: float) -> None:
        *where, values = self.cells(seed, lane)
        self.grid.scatter(CHANNELS[lane].name, *where, values, how=how, high=high)  # type: ignore[arg-type]
        getattr(self.twin, how)(lane, *where, values, 0.0, high)
        self.writes += 1

    @rule(lane=LANES, seed=SEEDS)
    def take(self, lane: int, seed: int) -> None:
        *where, amount = self.cells(seed, lane)
        taken = self.grid.take(CHANNELS[lane].name, *where, amount)
        np.testing.assert_allclose(taken, self.twin.take(lane, *where, amount), rtol=0, atol=self.tolerance(lane))
        self.writes += 1

    @rule(lane=LANES, seed=SEEDS)
    def stamp(self, lane: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        y, x = (int(rng.integers(0, size)) for size in self.shape)
        values = rng.uniform(0, CHANNELS[lane].high, (1, 3, 3, 1)).astype(np.float32)
        self.grid.stamp_windows([CHANNELS[lane].name], 1, y, x, values)
        for i in range(3):
            for j in range(3):
                cy, cx = y + i - 1, x + j - 1
                if 0 <= cy < self.shape[0] and 0 <= cx < self.shape[1]:
                    at = (np.array([1]), np.array([cy]), np.array([cx]))
                    self.twin.set(lane, *at, values[0, i, j].astype(np.float64), 0.0, CHANNELS[lane].high)
        self.writes += 1

    @rule(ticks=st.one_of(st.integers(0, 40), st.sampled_from([531, 532, 533, 100_000])))
    def advance(self, ticks: int) -> None:
        self.grid.advance(ticks)
        self.twin.advance(ticks)
        self.tick += ticks

    @rule(copies=st.sampled_from([[0], [1], [0, 1], []]))
    def reset(self, copies: list[int]) -> None:
        self.grid.reset(copies)
        self.twin.reset(copies)

    @rule()
    def settle(self) -> None:
        self.grid.settle()
        self.writes += 1

    @rule()
    def flush(self) -> None:
        self.grid.flush()

    @rule()
    def reopen(self) -> None:
        self.grid.close()
        self.open("r+")

    @precondition(lambda self: self.grid.tick % 3 == 0)
    @rule(seed=SEEDS)
    def write_what_is_never_kept(self, seed: int) -> None:
        self.grid.close()
        self.open("c")
        *where, values = self.cells(seed, 2)
        self.grid.scatter("MARK", *where, values)
        self.grid.reset([0])
        self.reopen()

    def open(self, mode: str) -> None:
        self.grid = ChannelGrid(
            self.shape,
            CHANNELS,
            copies=COPIES,
            folder=self.folder,
            mode=mode,  # type: ignore[arg-type]
            tick=self.tick,
        )

    def tolerance(self, lane: int) -> float:
        return (2e-5 + 1e-6 * self.writes) * CHANNELS[lane].high

    @invariant()
    def reads_the_same(self) -> None:
        if not hasattr(self, "grid"):
            return
        height, width = self.shape
        for lane, channel in enumerate(CHANNELS):
            for copy in range(COPIES):
                got = self.grid.read(channel.name, 0, height, 0, width, copy)
                np.testing.assert_allclose(got, self.twin.read(lane)[copy], rtol=0, atol=self.tolerance(lane))


TestGridMachine = GridMachine.TestCase
TestGridMachine.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
