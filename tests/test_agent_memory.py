from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from memfarm.config import MemmapConfig
from memfarm.errors import (
    ChannelError,
    ClosedError,
    ConfigError,
    DTypeError,
    MemfarmError,
    ShapeError,
    ValueRangeError,
)
from memfarm.memory import EMPTY_BELOW, AgentMemory
from memfarm.world import World

AGENTS = 3
COLUMNS = ("ALLIES_HP", "RESOURCES", "OBSTACLES", "TRAILS", "LANDMARKS")
KEPT = ("TRAILS", "KNOWN_EMPTY", "RESOURCES", "LANDMARKS")
GAMMA = 0.9
FLOOR = 1e-4


class Dense:
    """The contract, said plainly: a whole map for every agent, every cell of it touched every tick."""

    def __init__(self, world: World, overview: tuple[int, int]) -> None:
        self.shape, self.wraps = world.shape, world.boundary == "wrap"
        self.blocks = (min(overview[0], world.shape[0]), min(overview[1], world.shape[1]))
        self.maps = np.zeros((AGENTS, *world.shape, len(KEPT)))
        self.overview = np.zeros((AGENTS, *self.blocks, len(KEPT)))

    def advance(self, ticks: int) -> None:
        for layers in (self.maps, self.overview):
            layers[..., KEPT.index("KNOWN_EMPTY")] *= GAMMA**ticks

    def forget(self, mask: NDArray[np.bool_]) -> None:
        self.maps[mask] = self.overview[mask] = 0

    def cell(self, y: int, x: int) -> tuple[int, int] | None:
        if self.wraps:
            return y % self.shape[0], x % self.shape[1]
        return (y, x) if 0 <= y < self.shape[0] and 0 <= x < self.shape[1] else None

    def see(self, agent: int, y: int, x: int, window: NDArray[np.float32], seen: NDArray[np.bool_] | None) -> None:
        radius = len(window) // 2
        glimpsed: dict[tuple[int, int], list[NDArray[np.float64]]] = {}
        for i, j in np.ndindex(window.shape[:2]):
            at = self.cell(y - radius + i, x - radius + j)
            if at is None or (seen is not None and not seen[i, j]):
                continue
            shown = dict(zip(COLUMNS, window[i, j].astype(float), strict=True))
            shown["KNOWN_EMPTY"] = float(all(shown[n] < bound for n, bound in EMPTY_BELOW.items() if n in shown))
            shown["LANDMARKS"] = max(shown["LANDMARKS"], self.maps[agent, *at, KEPT.index("LANDMARKS")])
            self.maps[agent, *at] = [shown[name] for name in KEPT]
            block = at[0] * self.blocks[0] // self.shape[0], at[1] * self.blocks[1] // self.shape[1]
            glimpsed.setdefault(block, []).append(self.maps[agent, *at].copy())
        for block, cells in glimpsed.items():
            mean, mark = np.mean(cells, axis=0), KEPT.index("LANDMARKS")
            mean[mark] = max(mean[mark], self.overview[agent, *block, mark])
            self.overview[agent, *block] = mean

    def window(self, agent: int, y: int, x: int, radius: int) -> NDArray[np.float64]:
        side = 2 * radius + 1
        out = np.zeros((side, side, len(KEPT)))
        for i, j in np.ndindex(side, side):
            at = self.cell(y - radius + i, x - radius + j)
            if at is not None:
                out[i, j] = self.maps[agent, *at]
        return out


def scene(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    """What there is to see of a whole world, float32 `(H, W, columns)`: a good part of it empty."""
    values = rng.random((*shape, len(COLUMNS))).astype(np.float32)
    return np.where(rng.random(values.shape) < 0.6, np.float32(0), values)


def look(dense: Dense, world: NDArray[np.float32], y: int, x: int, radius: int) -> NDArray[np.float32]:
    """A window of the scene; rubbish beyond a wall, which nobody must remember."""
    side = 2 * radius + 1
    out = np.full((side, side, len(COLUMNS)), 0.7, np.float32)
    for i, j in np.ndindex(side, side):
        at = dense.cell(y - radius + i, x - radius + j)
        if at is not None:
            out[i, j] = world[at]
    return out


STEPS = st.lists(
    st.tuples(st.just("see"), st.integers(0, 2**31), st.integers(0, 4), st.booleans())
    | st.tuples(st.just("advance"), st.sampled_from([1, 2, 7, 300]))
    | st.tuples(st.just("forget"), st.lists(st.booleans(), min_size=AGENTS, max_size=AGENTS)),
    max_size=12,
)


@given(
    shape=st.tuples(st.integers(1, 21), st.integers(1, 21)),
    boundary=st.sampled_from(["wall", "wrap"]),
    overview=st.tuples(st.integers(1, 20), st.integers(1, 7)),
    dtype=st.sampled_from(["float16", "float32"]),
    steps=STEPS,
)
@settings(max_examples=60)
def test_memories_are_those_of_the_reference(
    shape: tuple[int, int], boundary: Any, overview: tuple[int, int], dtype: str, steps: list[Any]
) -> None:
    world = World(shape, boundary=boundary)
    memory = AgentMemory(world, AGENTS, KEPT, gamma_known=GAMMA, overview=overview, dtype=dtype)
    dense = Dense(world, overview)
    tolerance = {"float16": 2e-3, "float32": FLOOR + 2e-5}[dtype]  # below its floor what is left reads 0
    rng = np.random.default_rng(len(steps))
    for kind, *arguments in [*steps, ("advance", 0)]:
        if kind == "advance":
            world.advance(arguments[0])
            dense.advance(arguments[0])
        elif kind == "forget":
            mask = np.array(arguments[0])
            memory.forget(mask)
            dense.forget(mask)
        else:
            seed, radius, dark = arguments
            rng = np.random.default_rng(seed)
            who = rng.permutation(AGENTS)[: rng.integers(0, AGENTS + 1)]
            y, x = rng.integers(0, shape[0], len(who)), rng.integers(0, shape[1], len(who))
            there = scene(rng, shape)
            side = 2 * radius + 1
            windows = np.zeros((len(who), side, side, len(COLUMNS)), np.float32)
            visible = rng.random(shape) < 0.5
            seen = np.zeros(windows.shape[:3], np.bool_) if dark else None
            for n, agent in enumerate(who):
                windows[n] = look(dense, there, y[n], x[n], radius)
                if seen is not None:
                    lit = look(
                        dense, np.repeat(visible[..., None], len(COLUMNS), 2).astype(np.float32), y[n], x[n], radius
                    )
                    seen[n] = lit[..., 0] > 0
                dense.see(agent, int(y[n]), int(x[n]), windows[n], None if seen is None else seen[n])
            memory.see(who, y, x, windows, COLUMNS, seen)
        everyone = np.arange(AGENTS)
        y, x = rng.integers(0, shape[0], AGENTS), rng.integers(0, shape[1], AGENTS)
        radius = int(rng.integers(0, 9))
        expected = np.stack([dense.window(n, y[n], x[n], radius) for n in everyone])
        np.testing.assert_allclose(memory.observe(everyone, y, x, radius), expected, atol=tolerance)
        np.testing.assert_allclose(memory.overview(everyone), dense.overview, atol=tolerance)
    memory.close()
    world.close()


@pytest.fixture
def world() -> Iterator[World]:
    made = World((64, 64))
    yield made
    made.close()


def plain(count: int = 1, side: int = 5) -> NDArray[np.float32]:
    """Windows in which there is nothing at all."""
    return np.zeros((count, side, side, len(COLUMNS)), np.float32)


def test_a_cell_is_empty_where_there_is_no_meal_no_wall_and_nobody(world: World) -> None:
    memory = AgentMemory(world, 1, ["KNOWN_EMPTY"], gamma_known=0.98)
    window = plain()
    for column, (name, value) in enumerate([("ALLIES_HP", 0.01), ("RESOURCES", 0.06), ("OBSTACLES", 0.6)]):
        window[0, 0, column, COLUMNS.index(name)] = value
    window[0, 1, 0, COLUMNS.index("RESOURCES")] = 0.04
    window[0, 1, 1, COLUMNS.index("OBSTACLES")] = 0.4
    window[0, 1, 2, COLUMNS.index("TRAILS")] = 1.0
    memory.see([0], [10], [10], window, COLUMNS)
    known = memory.observe([0], [10], [10], 2)[0, ..., 0]
    assert (known[0, :3] == 0).all()
    assert np.count_nonzero(known == 1) == 22
    world.advance()
    np.testing.assert_allclose(memory.observe([0], [10], [10], 2)[0, ..., 0], 0.98 * known, atol=1e-3)
    memory.see([0], [10], [11], window, COLUMNS, np.zeros((1, 5, 5), np.bool_))
    np.testing.assert_allclose(memory.observe([0], [10], [10], 2)[0, ..., 0], 0.98 * known, atol=1e-3)
    memory.close()


def test_a_landmark_is_kept_when_it_is_not_seen_any_more(world: World) -> None:
    memory = AgentMemory(world, 1, ["LANDMARKS", "TRAILS"])
    window = plain()
    window[0, 2, 2, COLUMNS.index("LANDMARKS")] = window[0, 2, 2, COLUMNS.index("TRAILS")] = 0.5
    memory.see([0], [10], [10], window, COLUMNS)
    world.advance(1000)
    memory.see([0], [10], [10], plain(), COLUMNS)
    assert memory.observe([0], [10], [10], 0)[0, 0, 0].tolist() == [0.5, 0.0]
    memory.forget([0])
    assert not memory.observe([0], [10], [10], 3).any()
    memory.close()


def test_a_new_memory_and_one_that_all_forgot_round_alike(world: World) -> None:
    rng = np.random.default_rng(0)
    there = scene(rng, (64, 64))[None, :5, :5]
    readings = []
    world.advance(123)
    columns = (*COLUMNS[:3], "TERRAIN_COST", "x")
    for used in (True, False, False):
        memory = AgentMemory(world, 2)
        if used:
            memory.see([0], [5], [5], there, columns)
            world.advance(77)
            memory.forget()
        memory.see([1], [5], [5], there, columns)
        world.advance(5)
        readings.append(memory.observe([1], [5], [5], 2))
        memory.close()
    np.testing.assert_array_equal(readings[0], readings[1])
    np.testing.assert_array_equal(readings[0], readings[2])


def test_memory_costs_what_was_visited_and_forgetting_costs_nothing(tmp_path: Path) -> None:
    world = World((4096, 4096))
    memory = AgentMemory(world, 50, overview=(16, 16), memmap=MemmapConfig(directory=str(tmp_path)))
    columns = (*COLUMNS, "TERRAIN_COST")

    def disk() -> int:
        assert memory.path is not None
        memory.flush()
        return sum(file.stat().st_blocks * 512 for file in memory.path.iterdir())

    start = disk()
    rng = np.random.default_rng(0)
    y, x = rng.integers(0, 4096, 50), rng.integers(0, 4096, 50)
    windows = rng.random((50, 11, 11, 6)).astype(np.float32)
    memory.see(np.arange(50), y, x, windows, columns)
    memory.observe(np.arange(50), (y + 2048) % 4096, x, 40)  # looking where nothing is known writes nothing
    once = disk() - start
    assert 50 * 4096 <= once <= 50 * 16 * 4096, "a window of 11 lies in at most 4 tiles, with their stamps"
    assert memory.grid.stats().live <= 50 * 4
    memory.see(np.arange(50), y, x, windows, columns)
    memory.forget()
    assert disk() - start == once
    memory.see(np.arange(50), y, x, windows, columns)
    assert disk() - start == once, "what was forgotten gives its pages to what comes"
    memory.close()
    world.close()


@pytest.mark.parametrize("delete", [False, True])
def test_a_named_memory_is_kept_unless_deleted(world: World, tmp_path: Path, delete: bool) -> None:
    config = MemmapConfig(directory=str(tmp_path), delete_on_close=delete)
    memory = AgentMemory(world, 2, overview=(4, 4), memmap=config)
    assert memory.path is not None
    assert memory.path.parent == tmp_path
    assert {file.suffix for file in memory.path.iterdir()} == ({".npy", ".json"} if delete else {".npy"})
    memory.close()
    memory.close()
    assert memory.closed
    assert memory.path.exists() is not delete
    with pytest.raises(ClosedError):
        memory.observe([0], [0], [0], 1)


def test_memory_in_ram_is_the_same(world: World) -> None:
    rng = np.random.default_rng(3)
    windows, columns = rng.random((2, 5, 5, 6)).astype(np.float32), (*COLUMNS, "TERRAIN_COST")
    readings = []
    for on_disk in (True, False):
        memory = AgentMemory(world, 2, memmap=MemmapConfig(use_for_memory=on_disk))
        assert memory.grid.backend == ("memmap" if on_disk else "ram")
        memory.see([1, 0], [3, 60], [3, 60], windows, columns)
        readings.append(memory.observe([0, 1], [60, 3], [60, 3], 4))
        memory.close()
    np.testing.assert_array_equal(*readings)


def test_a_batch_that_is_worked_on_in_parts_is_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    windows, columns = rng.random((7, 5, 5, 6)).astype(np.float32), (*COLUMNS, "TERRAIN_COST")
    y, x = rng.integers(0, 64, (2, 7))
    seen = rng.random((7, 5, 5)) < 0.5
    readings = []
    for together in (1 << 21, 200):
        monkeypatch.setattr("memfarm.memory._TOGETHER", together)
        memory = AgentMemory(world, 7, overview=(8, 8))
        memory.see(np.arange(7), y, x, windows, columns, seen)
        readings.append((memory.observe(np.arange(7), y, x, 4), memory.overview(np.arange(7))))
        if together == 200:
            windows[6, 0, 0, 1] = np.nan
            with pytest.raises(ValueRangeError, match="finite"):
                memory.see(np.arange(7), y, x, windows, columns)
            np.testing.assert_array_equal(memory.observe(np.arange(7), y, x, 4), readings[-1][0])
        memory.close()
    for one, other in zip(*readings, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"channels": "TRAILS"}, ConfigError, r"pass \['TRAILS'\]"),
        ({"channels": []}, ConfigError, "at least one channel"),
        ({"channels": ["TRAILS", "TRAILS"]}, ChannelError, "different names"),
        ({"gamma_known": 1.0}, ConfigError, "gamma"),
        ({"overview": (0, 16)}, ConfigError, r"overview must be \(rows, columns\)"),
        ({"overview": 16}, ConfigError, "overview must be"),
        ({"agents": 0}, ConfigError, "copies must be an int in"),
        ({"dtype": "uint8"}, ConfigError, "Static channels only"),
    ],
)
def test_bad_arguments_are_refused_and_leave_no_file(
    world: World, tmp_path: Path, arguments: dict[str, Any], error: type[MemfarmError], message: str
) -> None:
    with pytest.raises(error, match=message):
        AgentMemory(world, **{"agents": 2, **arguments}, memmap=MemmapConfig(directory=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"agents": [0, 2]}, ShapeError, "2 copies"),
        ({"y": [0, 64]}, ShapeError, "64x64"),
        ({"windows": plain(1)}, ShapeError, r"windows must be \(2, S, S, 5\)"),
        ({"windows": plain(2, 4)}, ShapeError, "odd S"),
        ({"windows": plain(2)[..., :4]}, ShapeError, r"windows must be \(2, S, S, 5\)"),
        ({"windows": plain(2) + np.float32(np.nan)}, ValueRangeError, "finite"),
        ({"columns": ("ALLIES_HP", "RESOURCE", "OBSTACLES", "TRAILS", "x")}, ChannelError, "did you mean 'RESOURCE'"),
        ({"seen": np.ones((2, 5, 5))}, DTypeError, "bools"),
        ({"seen": np.ones((2, 5, 4), np.bool_)}, ShapeError, r"\(2, 5, 5\)"),
    ],
)
def test_what_does_not_fit_is_refused_and_not_remembered(
    world: World, change: dict[str, Any], error: type[MemfarmError], message: str
) -> None:
    memory = AgentMemory(world, 2, ["RESOURCES", "TRAILS"])
    call = {"agents": [0, 1], "y": [9, 9], "x": [9, 9], "windows": plain(2) + 0.5, "columns": COLUMNS, **change}
    with pytest.raises(error, match=message):
        memory.see(**call)
    assert not memory.observe([0, 1], 9, 9, 4).any()
    memory.close()


def test_known_empty_needs_something_to_tell_it_by(world: World) -> None:
    memory = AgentMemory(world, 1, ["KNOWN_EMPTY"])
    with pytest.raises(ChannelError, match="KNOWN_EMPTY needs windows that show one of RESOURCES"):
        memory.see([0], [0], [0], plain()[..., :1], ["TRAILS"])
    with pytest.raises(ConfigError, match="has no overview; make it with overview"):
        memory.overview([0])
    memory.close()


def test_a_memory_does_not_outlive_its_world() -> None:
    world = World((8, 8))
    memory = AgentMemory(world, 1)
    world.close()
    with pytest.raises(ClosedError, match="world is closed"):
        memory.observe([0], [0], [0], 1)
    memory.close()
    with pytest.raises(ClosedError):
        AgentMemory(world, 1)
