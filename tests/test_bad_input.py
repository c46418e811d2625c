"""Bad input: the right error with a message that helps, and not one byte of the world changed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memfarm.channels import Channel
from memfarm.errors import (
    ChannelError,
    ConfigError,
    DTypeError,
    MemfarmError,
    ShapeError,
    ValueRangeError,
    WorldFormatError,
)
from memfarm.grid import ChannelGrid
from memfarm.world import World

NAN, INF = float("nan"), float("inf")
SHAPE = (20, 30)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World(SHAPE, copies=2, seed=1)
    rng = np.random.default_rng(0)
    world.set_environmental_layer("CAPACITY", rng.random(SHAPE))
    world.take("RESOURCES", 0, rng.integers(0, 20, 50), rng.integers(0, 30, 50), 0.5)
    world.scatter("TRAILS", 1, rng.integers(0, 20, 50), rng.integers(0, 30, 50), 0.5)
    world.advance(3)
    yield world
    world.close()


def content(world: World) -> list[Any]:
    """Every byte of a world, and its clock."""
    arrays = [array.tobytes() for grid in world.grids.values() for array in grid._segments.arrays.values()]
    return [world.tick, *(grid.tick for grid in world.grids.values()), *arrays]


Call = tuple[str, tuple[Any, ...], dict[str, Any], type[MemfarmError], str]


def call(verb: str, *args: Any, error: type[MemfarmError], says: str, **kwargs: Any) -> Any:
    return pytest.param((verb, args, kwargs, error, says), id=f"{verb}: {says}")


COORDINATES: list[tuple[tuple[Any, Any, Any], type[MemfarmError], str]] = [
    ((0, 20, 0), ShapeError, "2 copies of 20x30, got .0, 20, 0. at index 0"),
    ((0, -1, 0), ShapeError, "got .0, -1, 0. at index 0"),
    ((0, [5, 5], [5, 30]), ShapeError, "got .0, 5, 30. at index 1"),
    ((2, 5, 5), ShapeError, "2 copies"),
    ((-1, 5, 5), ShapeError, "2 copies"),
    ((0, 2**31, 0), ShapeError, "int32"),
    ((0, np.uint64(2**63), 0), ShapeError, "int32"),
    ((0, 1.0, 0), DTypeError, "y must hold integers, got float64"),
    ((0, 0, NAN), DTypeError, "x must hold integers"),
    ((True, 0, 0), DTypeError, "copy must hold integers, got bool"),
    ((0, [True, False], [1, 2]), DTypeError, "y must hold integers, got bool"),
    ((0, "3", 0), DTypeError, "y must hold integers"),
    ((0, None, 0), DTypeError, "y must hold integers"),
    ((0, [1, 2], [1, 2, 3]), ShapeError, "one length"),
    ((0, [[1, 2]], [[1, 2]]), ShapeError, "one-dimensional"),
    ((0, [[1], [2, 3]], 0), ShapeError, "must be an array"),
]

VALUES: list[tuple[Any, type[MemfarmError], str]] = [
    (NAN, ValueRangeError, "finite"),
    ([0.5, INF], ValueRangeError, "finite.* got inf at index .1,"),
    (-INF, ValueRangeError, "finite"),
    (1j, DTypeError, "real numbers, got complex"),
    ("0.5", DTypeError, "real numbers"),
    (None, DTypeError, "real numbers, got object"),
    ([0.5, 0.5, 0.5], ShapeError, r"shape \(2,\)"),
    ([[0.5, 0.5]], ShapeError, r"shape \(2,\)"),
    ([[0.5], [0.5, 1]], ShapeError, "must be an array"),
]

AT = (0, [5, 6], [7, 8])
WINDOW = np.zeros((1, 3, 3, 1))
LAYER = np.zeros(SHAPE)

CALLS = [
    *(call("gather", "TRAILS", *where, error=error, says=says) for where, error, says in COORDINATES),
    *(call("scatter", "TRAILS", *where, 0.5, error=error, says=says) for where, error, says in COORDINATES),
    *(call("take", "RESOURCES", *where, 0.5, error=error, says=says) for where, error, says in COORDINATES),
    *(call("observe", *where, 2, error=error, says=says) for where, error, says in COORDINATES),
    *(call("scatter", "TRAILS", *AT, values, error=error, says=says) for values, error, says in VALUES),
    *(call("scatter", "CAPACITY", *AT, values, error=error, says=says) for values, error, says in VALUES),
    *(call("take", "RESOURCES", *AT, amount, error=error, says=says) for amount, error, says in VALUES),
    call("take", "RESOURCES", *AT, [0.5, -0.1], error=ValueRangeError, says="at least 0, got -0.1 at index .1,"),
    call("take", "CAPACITY", *AT, -1, error=ValueRangeError, says="at least 0"),
    call("deposit_temporal_events", "TRAILS", [(1, 1, 0.5), (1, 1, -0.5)], error=ValueRangeError, says="at least 0"),
    call("deposit_temporal_events", "TRAILS", [(1, 1, NAN)], error=ValueRangeError, says="finite"),
    call("deposit_temporal_events", "TRAILS", [(1, 1, 0.5), (20, 1, 0.5)], error=ShapeError, says="at index 1"),
    call("deposit_temporal_events", "TRAILS", [(1, 1, 0.5)], 2, error=ShapeError, says="2 copies"),
    call("deposit_temporal_events", "RESOURCES", [(1, 1, 0.5)], error=ChannelError, says="known: ALLY_SIGNAL"),
    *(
        call(verb, "TRIALS", *rest, error=ChannelError, says="did you mean 'TRAILS'")
        for verb, *rest in [
            ("gather", *AT),
            ("scatter", *AT, 0.5),
            ("take", *AT, 0.5),
            ("deposit_temporal_events", [(1, 1, 1.0)]),
            ("grid_of",),
        ]
    ),
    call("set_environmental_layer", "OBSTACLE", LAYER, error=ChannelError, says="did you mean 'OBSTACLES'"),
    call("set_environmental_layer", "CAPACITY", LAYER[1:], error=ShapeError, says=r"\(20, 30\), got \(19, 30\)"),
    call("set_environmental_layer", "CAPACITY", LAYER.T, error=ShapeError, says="got"),
    call("set_environmental_layer", "CAPACITY", LAYER + 1.5, error=ValueRangeError, says="at most 1"),
    call("set_environmental_layer", "CAPACITY", LAYER - 0.5, error=ValueRangeError, says="at least 0"),
    call("set_environmental_layer", "CAPACITY", LAYER * NAN, error=ValueRangeError, says="finite"),
    call("set_environmental_layer", "CAPACITY", LAYER.astype(object), error=DTypeError, says="object"),
    call("observe", *AT, -1, error=ConfigError, says="radius"),
    call("observe", *AT, 1.5, error=ConfigError, says="radius"),
    call("observe", *AT, 20_000, error=ConfigError, says="radius"),
    call("observe", *AT, 2, ["TRIALS"], error=ChannelError, says="did you mean 'TRAILS'"),
    call("observe", *AT, 2, ["SELF_HP"], error=ChannelError, says="agents"),
    call("observe", *AT, 2, [], error=ConfigError, says="one or more"),
    call("observe", *AT, 2, ["TRAILS", "TRAILS"], error=ConfigError, says="different"),
    call("observe", *AT, 2, ["TRAILS"], np.zeros((2, 5, 5, 2), np.float32), error=ShapeError, says="shape"),
    call("observe", *AT, 2, ["TRAILS"], np.zeros((2, 5, 5, 1)), error=DTypeError, says="float32"),
    call("observe", *AT, 2, ["TRAILS"], [[1]], error=DTypeError, says="float32"),
    call(
        "observe",
        *AT,
        2,
        ["TRAILS"],
        np.zeros((5, 2, 5, 1), np.float32).swapaxes(0, 1),
        error=ShapeError,
        says="C-cont",
    ),
    call(
        "observe", *AT, 2, ["TRAILS"], np.broadcast_to(np.float32(0), (2, 5, 5, 1)), error=ShapeError, says="writable"
    ),
    call("scatter", "TRAILS", *AT, 0.5, "sum", error=ConfigError, says="set, add, max"),
    call("scatter", "TRAILS", *AT, 0.5, "set", 0.7, 0.3, error=ValueRangeError, says="low must be at most high"),
    call("scatter", "TRAILS", *AT, 0.5, "set", NAN, error=ValueRangeError, says="finite"),
    call("advance", -1, error=ConfigError, says="clock"),
    call("advance", 1.0, error=ConfigError, says="int"),
    call("advance", 2**70, error=ConfigError, says="clock"),
    call("reset", [2], error=ShapeError, says="copies"),
    call("reset", [-1], error=ShapeError, says="copies"),
    call("reset", [True], error=ShapeError, says="copies"),
    call("reset", [0.0], error=ShapeError, says="copies"),
    call("reset", 1, error=ShapeError, says="copies"),
    call("windows", "TRAILS", 2, error=ChannelError, says="no channel 'T'"),
    call("windows", ["TRAILS"], True, error=ConfigError, says="radius"),
]


@pytest.mark.parametrize("bad", CALLS)
def test_a_world_refuses_it_and_stays_as_it_was(world: World, bad: Call) -> None:
    verb, args, kwargs, error, says = bad
    before = content(world)
    with pytest.raises(error, match=says) as caught:
        getattr(world, verb)(*args, **kwargs)
    assert type(caught.value) is error
    assert content(world) == before


CUTS: dict[str, tuple[dict[str, Any], type[MemfarmError], str]] = {
    "a channel that is stored": ({"centres": {"TRAILS": [1.0, 1.0]}}, ChannelError, "SELF_HP, ALLIES_HP"),
    "a channel that is not asked for": ({"points": {"GOAL": (0, 1, 1, 1)}}, ChannelError, "GOAL"),
    "too few centres": ({"centres": {"SELF_HP": [1.0, 1.0, 1.0]}}, ShapeError, "SELF_HP must have shape"),
    "a centre that is NaN": ({"centres": {"SELF_HP": [1.0, NAN]}}, ValueRangeError, "finite"),
    "a centre beyond float32": ({"centres": {"SELF_HP": [1.0, 1e39]}}, ValueRangeError, "float32"),
    "points of three parts": ({"points": {"ALLIES_HP": (0, 1, 1)}}, ShapeError, "copy, y, x, values"),
    "points outside": ({"points": {"ALLIES_HP": (0, 20, 1, 1)}}, ShapeError, "20x30"),
    "points between cells": ({"points": {"ALLIES_HP": (0, 0.5, 1, 1)}}, DTypeError, "integers"),
    "points that are NaN": ({"points": {"ALLIES_HP": (0, 1, 1, NAN)}}, ValueRangeError, "finite"),
    "no threads": ({"threads": 0}, ConfigError, "threads"),
    "a million threads": ({"threads": 10**6}, ConfigError, "threads"),
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_window_cutter_refuses_it_before_it_writes(world: World, cut: str) -> None:
    arguments, error, says = CUTS[cut]
    out = np.full((2, 3, 3, 3), 7, np.float32)
    with pytest.raises(error, match=says):
        world.windows(["SELF_HP", "ALLIES_HP", "TRAILS"], 1)(*AT, out=out, **arguments)
    assert (out == 7).all()


GRID_CALLS = [
    call("write", "A", np.zeros(5), error=ShapeError, says="height, width"),
    call("write", "A", np.zeros((2, 2, 1)), error=ShapeError, says="height, width"),
    call("write", "A", np.zeros((2, 0)), error=ShapeError, says="x0 < x1"),
    call("write", "A", np.zeros((2, 2)), 19, 0, error=ShapeError, says="rows 19:21"),
    call("write", "A", np.zeros((2, 2)), -1, 0, error=ShapeError, says="rows -1:1"),
    call("write", "A", np.zeros((2, 2)), 0.5, 0, error=ShapeError, says="y0"),
    call("write", "A", np.zeros((2, 2)), True, 0, error=ShapeError, says="y0"),
    call("write", "A", np.zeros((2, 2)), copy=2, error=ShapeError, says="copy"),
    call("write", "A", np.zeros((2, 2)), copy=0.0, error=ShapeError, says="copy"),
    call("write", "A", [[0.5, NAN]], error=ValueRangeError, says="finite"),
    call("write", "A", [["a"]], error=DTypeError, says="real"),
    call("write", "C", [[1.0]], error=ChannelError, says="known: A, B"),
    call("read", "A", 0, 21, 0, 1, error=ShapeError, says="rows 0:21"),
    call("read", "A", 5, 5, 0, 1, error=ShapeError, says="y0 < y1"),
    call("read", "A", 0, 1, 0, 1, -1, error=ShapeError, says="copy"),
    call("window", "A", 0, 1.0, 0, 1, error=ShapeError, says="y1"),
    call("window", "A", 0, False, 0, 1, error=ShapeError, says="y1"),
    call("window", "A", 5, 4, 0, 1, error=ShapeError, says="y0 < y1"),
    call("window", "A", 0, 1, 0, 1, True, error=ShapeError, says="copy"),
    call("stamp_windows", ["A"], 0, 1, 1, np.zeros((1, 2, 2, 1)), error=ShapeError, says="odd"),
    call("stamp_windows", ["A"], 0, 1, 1, np.zeros((3, 3, 1)), error=ShapeError, says="odd"),
    call("stamp_windows", ["A", "B"], 0, 1, 1, np.zeros((1, 3, 3, 3)), error=ShapeError, says="shape"),
    call("stamp_windows", ["A"], 0, [1, 2], 1, WINDOW[:, :, :2], error=ShapeError, says="odd"),
    call("stamp_windows", ["A"], 0, 1, 30, WINDOW, error=ShapeError, says="20x30"),
    call("stamp_windows", ["A"], 0, 1, 1, WINDOW * NAN, error=ValueRangeError, says="finite"),
    call("stamp_windows", ["C"], 0, 1, 1, WINDOW, error=ChannelError, says="known"),
    call("stamp_windows", [], 0, 1, 1, WINDOW[..., :0], error=ConfigError, says="none"),
    call("stamp_windows", ["A"], 0, 1, 1, WINDOW, "mean", error=ConfigError, says="set, add, max"),
    call("stamp_windows", ["A"], 0, 1, 1, WINDOW, "set", [0, 1], error=ShapeError, says="low"),
    call("take", "B", 0, 1, 1, 0.5, error=ChannelError, says="low >= 0"),
    *(
        call("__getitem__", key, error=ShapeError, says=says)
        for key, says in [
            ("A", "grid.name"),
            (("A", slice(None)), "grid.name"),
            ((0, slice(None), slice(None)), "grid.name"),
            (("A", slice(0, 4, 2), slice(None)), "step 1"),
            (("A", slice(None), slice(None, None, -1)), "step 1"),
            (("A", slice(0.5, 2), slice(None)), "ints"),
            (("A", 20, 0), "20"),
            (("A", -21, 0), "20"),
            (("A", 0.0, 0), "int"),
            (("A", True, 0), "int"),
            (("A", 3, slice(None), slice(None)), "copy"),
            (("A", slice(4, 4), slice(None)), "y0 < y1"),
            (("A", slice(50, 60), slice(None)), "y0 < y1"),
        ]
    ),
    call("__setitem__", ("A", slice(0, 2), slice(0, 2)), np.zeros(3), error=ShapeError, says=r"\(2, 2\)"),
    call("__setitem__", ("A", 0, 0), NAN, error=ValueRangeError, says="finite"),
    call("__setitem__", ("A", 0, 0), "x", error=DTypeError, says="real"),
]


@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize("bad", GRID_CALLS)
def test_a_grid_refuses_it_and_stays_as_it_was(dtype: str, bad: Call) -> None:
    verb, args, kwargs, error, says = bad
    grid = ChannelGrid(SHAPE, [Channel("A"), Channel("B", low=-1.0)], copies=2, dtype=dtype, backend="ram")
    grid.write("A", np.ones((5, 5)))
    before = [array.tobytes() for array in grid._segments.arrays.values()]
    with pytest.raises(error, match=says):
        getattr(grid, verb)(*args, **kwargs)
    assert [array.tobytes() for array in grid._segments.arrays.values()] == before


def test_huge_values_are_clipped_and_not_overflowed() -> None:
    for dtype in ("float16", "float32", "float64", "uint8", "int32"):
        grid = ChannelGrid((4, 4), [Channel("A")], dtype=dtype, backend="ram")
        grid.write("A", [[1e300, -1e300]])
        grid.scatter("A", 0, 1, [0, 1], [1e300, -1e300])
        np.testing.assert_array_equal(grid["A", 0:2, 0:2], [[1, 0], [1, 0]])
        with pytest.raises(ValueRangeError, match="float32's range"):
            grid.stamp_windows(["A"], 0, 1, 1, WINDOW + 1e300)


def test_int32_rounds_in_every_verb() -> None:
    grid = ChannelGrid((4, 4), [Channel("A", low=-9.0, high=9.0)], dtype="int32", backend="ram")
    grid.write("A", [[2.7, -2.7, 2.5]])
    grid.scatter("A", 0, 1, [0, 1, 2], [2.7, -2.7, 2.5])
    np.testing.assert_array_equal(grid["A", 0:2, 0:3], [[3, -3, 2]] * 2)


@pytest.mark.parametrize("copies", [0, -1, 2**31, 2**63, True, 1.5])
def test_copies_are_as_many_as_coordinates_can_tell_apart(copies: Any) -> None:
    with pytest.raises(ConfigError, match=r"copies must be an int in \[1, 2147483647\]"):
        World((8, 8), copies=copies)


def test_a_manifest_of_more_copies_than_there_can_be_is_refused(tmp_path: Path) -> None:
    World((8, 8), path=tmp_path / "w").close()
    manifest = tmp_path / "w" / "world.json"
    told = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**told, "copies": 2**63}))
    with pytest.raises(WorldFormatError, match="copies"):
        World.open(tmp_path / "w")
