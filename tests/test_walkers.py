"""Agents on the ground: neighbours, walks and places equal the plainest loops, and both kernels give the same bytes."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from crowds import Crowd
from hypothesis import given, settings
from hypothesis import strategies as st

from memfarm import layout, reference
from memfarm.channels import Channel, Static
from memfarm.errors import DTypeError, ShapeError
from memfarm.grid import ChannelGrid

SEEDS = st.integers(0, 2**63)
BELOW = 0.5
WAYS = ((-1, 0), (1, 0), (0, -1), (0, 1))

Array = np.ndarray[Any, Any]


class Ground:
    """Agents, no two alive ones on a cell, on ground that is blocked here and there; copies share it or do not."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.rng = rng
        self.shape = height, width = int(rng.integers(1, 40)), int(rng.integers(1, 40))
        self.wrap = bool(rng.random() < 0.5)
        self.copies = int(rng.integers(1, 4))
        shared = 1 if rng.random() < 0.5 else self.copies
        dtype = str(rng.choice(["uint8", "float32", "float16", "float64"]))
        channels = (Channel("PRICE", Static(), fill=0.25), Channel("BLOCKED", Static()))
        self.grid = ChannelGrid(
            self.shape, channels, copies=shared, dtype=dtype, boundary="wrap" if self.wrap else "wall", backend="ram"
        )
        self.blocked = rng.random((shared, height, width)) < rng.choice([0.0, 0.3, 0.9])
        self.price = np.round(rng.random((shared, height, width)) * 255) / 255
        for copy in range(shared):
            if rng.random() < 0.7:  # else nothing was ever written there
                self.grid.write("BLOCKED", self.blocked[copy], 0, 0, copy)
                self.grid.write("PRICE", self.price[copy], 0, 0, copy)
            else:
                self.blocked[copy], self.price[copy] = False, 0.25
        crowd = Crowd(rng, self.copies, self.shape)
        self.key, self.copy, self.y, self.x = crowd.key, crowd.copy, crowd.y, crowd.x
        self.alive, self.live, self.keys = crowd.alive, crowd.live, crowd.keys
        self.heading = rng.integers(0, 6, len(crowd.y))

    def beside(self, n: int, way: int) -> tuple[int, int, int] | None:
        y, x = int(self.y[n]) + WAYS[way][0], int(self.x[n]) + WAYS[way][1]
        if self.wrap:
            y, x = y % self.shape[0], x % self.shape[1]
        inside = 0 <= y < self.shape[0] and 0 <= x < self.shape[1]
        return (int(self.copy[n]), y, x) if inside else None

    def of(self, layer: Array, cell: tuple[int, int, int]) -> Any:
        return layer[(0 if len(layer) == 1 else cell[0], *cell[1:])]

    def standing(self) -> set[tuple[int, int, int]]:
        return {(int(c), int(y), int(x)) for c, y, x in zip(*self.agents(self.alive), strict=True)}

    def agents(self, chosen: Array) -> tuple[Array, Array, Array]:
        return self.copy[chosen], self.y[chosen], self.x[chosen]

    def draw(self, n: int) -> int:
        left = np.uint64(int(self.y[n]) * self.shape[1] + int(self.x[n]))
        return int(reference.hash_draws(np.array([self.keys[self.copy[n]] ^ left]), 0)[0])


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS)
def test_neighbours_are_there_open_and_free(seed: int) -> None:
    ground = Ground(seed)
    wide = np.ones((len(ground.y), 6), np.bool_)
    found = ground.grid.neighbours("BLOCKED", ground.copy, ground.y, ground.x, ground.alive, BELOW, out=wide[:, 1:5])
    taken = ground.standing()
    for n, way in np.ndindex(found.shape):
        cell = ground.beside(n, way)
        expected = ground.alive[n] and cell is not None and not ground.of(ground.blocked, cell) and cell not in taken
        assert found[n, way] == expected
    assert wide[:, [0, 5]].all()
    again = ground.grid.neighbours("BLOCKED", ground.copy, ground.y, ground.x, ground.alive, BELOW)
    assert np.array_equal(again, wide[:, 1:5])


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS)
def test_one_of_those_who_want_a_free_cell_walks_there(seed: int) -> None:
    ground = Ground(seed)
    taken = ground.standing()
    wanted: dict[tuple[int, int, int], list[int]] = {}
    for n in np.flatnonzero(ground.live & (ground.heading >= 1) & (ground.heading <= 4)):
        cell = ground.beside(n, ground.heading[n] - 1)
        if cell is not None and not ground.of(ground.blocked, cell) and cell not in taken:
            wanted.setdefault(cell, []).append(int(n))
    winners = {max(rivals, key=lambda n: (ground.draw(n), -n)): cell for cell, rivals in wanted.items()}
    y, x = ground.y.copy(), ground.x.copy()
    cost = ground.grid.walk(
        "BLOCKED", "PRICE", BELOW, ground.copy, y, x, ground.heading, ground.live, ground.alive, ground.keys
    )
    for n in range(len(y)):
        _, *expected = winners.get(n, (0, ground.y[n], ground.x[n]))
        assert [y[n], x[n]] == expected
        price = ground.of(ground.price, winners[n]) if n in winners else 0.0
        assert cost[n] == pytest.approx(price, abs=1e-3)


def test_who_walks_twice_because_the_ground_changed_meanwhile_walks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    for times in (1, 2):
        ground = Ground(5)
        monkeypatch.setattr(ground.grid._guard, "whole", lambda read, times=times: [read() for _ in range(times)][-1])
        before = ground.y.tolist(), ground.x.tolist()
        arguments = ground.copy, ground.y, ground.x, ground.heading, ground.live, ground.alive, ground.keys
        cost = ground.grid.walk("BLOCKED", "PRICE", BELOW, *arguments)
        ends.append((ground.y.tolist(), ground.x.tolist(), cost.tolist()))
    assert ends[0] == ends[1]
    assert ends[0][:2] != before


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS)
def test_newcomers_get_free_cells_of_their_own_whatever_their_order(seed: int) -> None:
    ground = Ground(seed)
    count = int(ground.rng.integers(0, 30))
    copy = ground.rng.integers(0, ground.copies, count, dtype=np.int32)
    draws = ground.rng.integers(0, 2**64, count, dtype=np.uint64)
    occupied = ground.key[ground.alive]
    others = ground.copy, ground.y, ground.x
    y, x, placed = ground.grid.place("BLOCKED", BELOW, copy, draws, others, ground.alive, 20)
    height, width = ground.shape
    keys = (copy.astype(np.int64) * height + y) * width + x
    assert len(set(keys[placed].tolist()) | set(occupied.tolist())) == placed.sum() + len(occupied)
    assert not any(ground.of(ground.blocked, cell) for cell in zip(copy[placed], y[placed], x[placed], strict=True))
    assert not y[~placed].any()
    assert not x[~placed].any()
    order = ground.rng.permutation(count)
    turned = ground.grid.place("BLOCKED", BELOW, copy[order], draws[order], others, ground.alive, 20)
    for one, other in zip((y, x, placed), turned, strict=True):
        assert np.array_equal(one[order], other)


def test_nobody_is_placed_where_there_is_no_room() -> None:
    grid = ChannelGrid((1, 3), (Channel("BLOCKED", Static()),), backend="ram")
    draws = np.arange(5, dtype=np.uint64)
    alive = np.array([True, False])
    _, x, placed = grid.place("BLOCKED", BELOW, np.zeros(5, np.int32), draws, (0, [0, 0], [1, 2]), alive, 64)
    assert placed.sum() == 2
    assert sorted(x[placed].tolist()) == [0, 2]


def make(module: ModuleType, ground: Ground) -> tuple[Any, list[Array]]:
    arrays = [array.copy() for array in ground.grid._segments.arrays.values()]
    lanes = [layout.lane(channel) for channel in ground.grid.channels]
    return module.Grid(*arrays, lanes, *ground.shape, ground.wrap, 0), arrays


@pytest.mark.once
@settings(deadline=None, max_examples=100)
@given(seed=SEEDS)
def test_both_kernels_give_the_same_bytes(seed: int) -> None:
    ground = Ground(seed)
    compiled = pytest.importorskip("memfarm._kernels")
    draws = ground.rng.integers(0, 5, len(ground.y), dtype=np.uint64)  # many are equal
    outs: list[list[Array]] = []
    for module in (reference, compiled):
        grid, _ = make(module, ground)
        free = np.zeros((len(ground.y), 5), np.bool_)
        grid.neighbours(1, ground.copy, ground.y, ground.x, ground.alive, BELOW, free[:, :4])
        y, x = ground.y.copy(), ground.x.copy()
        cost = grid.walk(1, 0, BELOW, ground.copy, y, x, ground.heading, ground.live, ground.alive, ground.keys)
        others = ground.copy, ground.y, ground.x, ground.alive
        placed = grid.place(1, BELOW, ground.copy, draws, *others, 3)
        outs.append([free, y, x, cost, *placed])
    for twin, fast in zip(*outs, strict=True):
        assert twin.dtype == fast.dtype
        assert twin.tobytes() == fast.tobytes()


def arguments() -> dict[str, Array]:
    return {
        "copy": np.zeros(2, np.int32),
        "y": np.zeros(2, np.int32),
        "x": np.arange(2, dtype=np.int32),
        "heading": np.zeros(2, np.int64),
        "live": np.ones(2, np.bool_),
        "alive": np.ones(2, np.bool_),
        "keys": np.zeros(1, np.uint64),
    }


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("y", np.zeros(2, np.int64), DTypeError, "change in place"),
        ("x", np.zeros(4, np.int32)[::2], DTypeError, "change in place"),
        ("y", np.array([0, 3], np.int32), ShapeError, "must lie in"),
        ("copy", np.array([0, -1], np.int32), ShapeError, "must lie in"),
        ("copy", np.array([0, 1], np.int32), ShapeError, "a key a copy"),
        ("heading", np.zeros(2, np.int32), DTypeError, "heading must be"),
        ("heading", np.zeros(3, np.int64), ShapeError, "a heading an agent"),
        ("live", np.ones(2, np.int8), DTypeError, "live must hold bools"),
        ("alive", np.ones(3, np.bool_), ShapeError, "alive must have shape"),
        ("keys", np.zeros(1, np.int64), DTypeError, "keys must be"),
        ("keys", np.zeros(0, np.uint64), ShapeError, "a key a copy"),
    ],
)
def test_bad_walks_are_refused_and_nobody_moves(name: str, value: Array, error: type[Exception], message: str) -> None:
    grid = ChannelGrid((3, 3), (Channel("BLOCKED", Static()),), backend="ram")
    given_ = {**arguments(), name: value}
    given_["heading"][:] = 2
    before = given_["y"].copy(), given_["x"].copy()
    with pytest.raises(error, match=message):
        grid.walk("BLOCKED", "BLOCKED", BELOW, **given_)
    assert np.array_equal(before[0], given_["y"])
    assert np.array_equal(before[1], given_["x"])


@pytest.mark.parametrize(
    ("draws", "row", "alive", "error", "message"),
    [
        (np.zeros(2, np.int64), [0], np.ones(1, np.bool_), DTypeError, "draws must be"),
        (np.zeros(3, np.uint64), [0], np.ones(1, np.bool_), ShapeError, "a draw a newcomer"),
        (np.zeros(2, np.uint64), [3], np.ones(1, np.bool_), ShapeError, "must lie in"),
        (np.zeros(2, np.uint64), [0], np.ones(2, np.bool_), ShapeError, "alive must have shape"),
        (np.zeros(2, np.uint64), [0], np.ones(1, np.int8), DTypeError, "alive must hold bools"),
    ],
)
def test_bad_newcomers_are_refused(
    draws: Array, row: list[int], alive: Array, error: type[Exception], message: str
) -> None:
    grid = ChannelGrid((3, 3), (Channel("BLOCKED", Static()),), backend="ram")
    with pytest.raises(error, match=message):
        grid.place("BLOCKED", BELOW, np.zeros(2, np.int32), draws, ([0], row, [0]), alive, 4)


def test_flags_go_into_four_columns_side_by_side() -> None:
    grid = ChannelGrid((3, 3), (Channel("BLOCKED", Static()),), backend="ram")
    where = np.zeros(2, np.int32)
    for out in (np.zeros((2, 4), np.int8), np.zeros((2, 5), np.bool_), np.zeros((2, 8), np.bool_)[:, ::2]):
        with pytest.raises(ShapeError, match="four columns"):
            grid.neighbours("BLOCKED", where, where, where, np.ones(2, np.bool_), BELOW, out=out)
