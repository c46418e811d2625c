"""What grows towards a capacity, cell by cell, keeps its value while the capacity is changed."""

from typing import Any

import numpy as np
import pytest

from memfarm.channels import Channel, Decay, Recover, Regrow
from memfarm.errors import ChannelError, ConfigError, ShapeError
from memfarm.grid import ChannelGrid


def linked(dtype: str = "float32", copies: int = 2, limit_dtype: str = "float32") -> tuple[ChannelGrid, ChannelGrid]:
    ground = ChannelGrid((6, 8), [Channel("LIMIT", fill=1.0)], dtype=limit_dtype, backend="ram")
    food = ChannelGrid(
        (6, 8),
        [Channel("FOOD", Regrow(0.05, "LIMIT"), fill=0.5), Channel("SAP", Recover(0.1, "LIMIT"), fill=0.25)],
        copies=copies,
        dtype=dtype,
        backend="ram",
    )
    for name in food.names:
        food.link(name, ground)
    return ground, food


LIMIT_CHANGES: dict[str, Any] = {
    "scatter": lambda grid: grid.scatter("LIMIT", 0, [2, 2, 3], [3, 3, 0], [0.9, 0.3, 0.6]),
    "take": lambda grid: grid.take("LIMIT", 0, [2, 3], [3, 0], [0.7, 0.4]),
    "write": lambda grid: grid.write("LIMIT", [[0.3, 1.0], [0.6, 0.8]], 2, 3),
    "setitem": lambda grid: grid.__setitem__(("LIMIT", slice(None), slice(None)), 0.4),
}


@pytest.mark.parametrize("change", LIMIT_CHANGES)
@pytest.mark.parametrize("past", ["written", "just written", "aged", "stale", "reset"])
@pytest.mark.parametrize("limit_dtype", ["float32", "uint8", "float64"])
def test_a_new_capacity_keeps_what_lies_there(change: str, past: str, limit_dtype: str) -> None:
    ground, food = linked(limit_dtype=limit_dtype)
    if past != "aged":
        food.scatter("FOOD", [0, 1], [2, 3], [3, 0], [0.1, 0.9])
        food.scatter("SAP", [0, 1], [2, 3], [3, 0], [0.4, 0.6])
    if past == "reset":
        food.reset([1])
    food.advance({"stale": food.epoch + 2, "just written": 0}.get(past, 3))
    ground.advance(food.tick)
    before = {(name, copy): food[name, copy, :, :] for name in food.names for copy in range(2)}
    LIMIT_CHANGES[change](ground)
    limit = ground["LIMIT", :, :]
    assert limit.min() < 0.95
    for (name, copy), value in before.items():
        np.testing.assert_allclose(food[name, copy, :, :], np.minimum(value, limit), rtol=0, atol=2e-6)
    food.advance(5)
    for (name, copy), value in before.items():
        wanted = np.minimum(value, limit)
        for _ in range(5):
            grown = wanted + 0.05 * limit if name == "FOOD" else wanted + 0.1 * (limit - wanted)
            wanted = np.minimum(grown, limit)
        np.testing.assert_allclose(food[name, copy, :, :], wanted, rtol=0, atol=5e-6)


def test_without_a_past_a_copy_starts_at_its_fill() -> None:
    ground, food = linked()
    for capacity in (0.2, 0.4, 0.3):
        ground.write("LIMIT", np.full((6, 8), capacity))
        assert (food["FOOD", 1, :, :] == np.float32(capacity)).all(), "min(fill, capacity), whatever it was before"
    assert food.stats().live == 0
    food.advance(1)
    ground.write("LIMIT", np.full((6, 8), 1.0))
    np.testing.assert_allclose(food["FOOD", 1, :, :], 0.3, atol=1e-6)


def test_a_capacity_is_not_changed_at_one_go() -> None:
    ground, food = linked()
    food.advance(3)
    before = food["FOOD", :, :]
    with pytest.raises(ChannelError, match="capacity"):
        ground.stamp_windows(["LIMIT"], 0, 2, 2, np.zeros((1, 1, 1, 1)))
    with pytest.raises(ChannelError, match="capacity"):
        ground.reset()
    np.testing.assert_array_equal(food["FOOD", :, :], before)
    food.close()
    ground.reset()


def test_a_grid_outlives_the_source_of_its_capacity() -> None:
    ground, food = linked()
    ground.write("LIMIT", np.full((6, 8), 0.6))
    ground.close()
    food.advance(100)
    np.testing.assert_allclose(food["FOOD", :, :], 0.6)


def test_a_capacity_in_the_same_grid() -> None:
    grid = ChannelGrid((4, 4), [Channel("LIMIT", fill=1.0), Channel("FOOD", Regrow(0.1, "LIMIT"))], backend="ram")
    grid.link("FOOD", grid)
    grid.advance(4)
    grid.write("LIMIT", np.full((2, 4), 0.2))
    wanted = np.repeat([[0.2], [0.4]], 2, axis=0) * np.ones((4, 4))
    np.testing.assert_allclose(grid["FOOD", :, :], wanted, atol=1e-6)
    with pytest.raises(ChannelError, match="capacity"):
        grid.stamp_windows(["LIMIT"], 0, 2, 2, np.zeros((1, 1, 1, 1)))
    grid.reset()
    assert (grid["LIMIT", :, :] == 1).all()
    assert (grid["FOOD", :, :] == 0).all()


def test_links_that_cannot_be() -> None:
    ground, food = linked()
    limit = Channel("LIMIT")
    with pytest.raises(ChannelError, match="no channel"):
        food.link("FOO", ground)
    with pytest.raises(ChannelError, match="to be linked"):
        ground.link("LIMIT", ground)
    for shape, channels, copies, boundary in [
        ((6, 9), [limit], 1, "wall"),
        ((6, 8), [limit], 2, "wall"),
        ((6, 8), [limit], 1, "wrap"),
    ]:
        other = ChannelGrid(shape, channels, copies=copies, boundary=boundary, backend="ram")  # type: ignore[arg-type]
        with pytest.raises(ShapeError, match="LIMIT must be"):
            food.link("FOOD", other)
    for channel in (Channel("LIMIT", Decay(0.5)), Channel("LIMIT", high=2.0), Channel("LIMIT", low=-1.0)):
        with pytest.raises(ConfigError, match="Static"):
            food.link("FOOD", ChannelGrid((6, 8), [channel], backend="ram"))
    with pytest.raises(ChannelError, match="no channel"):
        food.link("FOOD", ChannelGrid((6, 8), [Channel("OTHER")], backend="ram"))
