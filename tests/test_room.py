"""Which tiles a write needs room for: exactly those that it is the first to write."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memfarm import kernels, reference_grid
from memfarm.channels import Channel
from memfarm.grid import ChannelGrid

SEEDS = st.integers(0, 2**32 - 1)


def made(boundary: Any, copies: int, rng: np.random.Generator) -> tuple[ChannelGrid, Any, Any]:
    grid = ChannelGrid((75, 100), [Channel("A")], copies=copies, boundary=boundary, backend="ram")
    grid.scatter("A", rng.integers(0, copies, 4), rng.integers(0, 75, 4), rng.integers(0, 100, 4), 1.0)
    arguments = (grid._tiles, grid._stamps, grid._resets, [], 75, 100, boundary == "wrap", 0)
    return grid, kernels.Grid(*arguments), reference_grid.Grid(*arguments)


@pytest.mark.parametrize("boundary", ["wall", "wrap"])
@pytest.mark.parametrize("copies", [1, 3])
@settings(max_examples=25)
@given(seed=SEEDS, count=st.integers(0, 12), radius=st.integers(0, 60), dark=st.booleans())
def test_missing_tiles_are_those_that_writing_stamps(
    boundary: str, copies: int, seed: int, count: int, radius: int, dark: bool
) -> None:
    rng = np.random.default_rng(seed)
    grid, kernel, twin = made(boundary, copies, rng)
    where = tuple(rng.integers(0, size, count).astype(np.int32) for size in (copies, 75, 100))
    side = 2 * radius + 1
    seen = rng.random((count, side, side)) < 0.01 if dark else None
    before = grid._stamps.copy()
    cells, windows = kernel.missing(*where), kernel.missing_windows(*where, radius, seen)
    np.testing.assert_array_equal(cells, twin.missing(*where))
    np.testing.assert_array_equal(windows, twin.missing_windows(*where, radius, seen))
    grid.stamp_windows(["A"], *where, np.ones((count, side, side, 1), np.float32), seen=seen)
    np.testing.assert_array_equal(windows, np.flatnonzero((before == 0) & (grid._stamps != 0)))
    grid._stamps[...] = before
    grid.scatter("A", *where, np.ones(count))
    np.testing.assert_array_equal(cells, np.flatnonzero((before == 0) & (grid._stamps != 0)))
