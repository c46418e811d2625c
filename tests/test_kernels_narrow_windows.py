"""Windows cut into float16, bfloat16 (as bits) and uint8 on the compiled kernels, against the NumPy twin."""

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kernels_common_windows import TICK, cells, check, columns_of, ground, together
from test_kernels_twins import DTYPES, SEEDS, Array, Twins, random_channel, same

from memfarm import _kernels, layout, reference
from memfarm.channels import Channel

pytestmark = pytest.mark.once  # both kernels in every test, whichever are in use

OUTPUTS = (np.float16, np.uint16, np.uint8)
PATTERNS = {
    "every float16 and what lies between two": np.arange(2**19, dtype=np.uint32) << 13,
    "every bfloat16 and what lies between two": np.arange(2**17, dtype=np.uint32) << 15,
    "every byte and what lies between two": (np.arange(-4, 516, dtype=np.float32) / np.float32(510)).view(np.uint32),
    "infinities and what is not a number": np.array([0x7F800000, 0x7F800001, 0x7FA00000, 0x7FFFFFFF], np.uint32),
}


def narrowed(values: Array, output: Any) -> list[Array]:
    outs = [np.empty(values.shape, output) for _ in range(2)]
    for module, out in zip((reference, _kernels), outs, strict=True):
        module.narrow(values, out)
    return outs


@pytest.mark.parametrize("output", [*OUTPUTS, np.float32])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("beside", [-1, 0, 1])
def test_every_number_is_rounded_as_by_the_twin(pattern: str, output: Any, beside: int) -> None:
    bits = PATTERNS[pattern] + np.uint32(beside & 0xFFFFFFFF)
    for sign in (0, 0x80000000):
        values = (bits ^ np.uint32(sign)).view(np.float32)
        same(f"{pattern}, {beside}", narrowed(values, output))


@pytest.mark.parametrize("output", OUTPUTS)
@settings(deadline=None, max_examples=50)
@given(seed=SEEDS, count=st.integers(0, 70))
def test_any_numbers_are_rounded_as_by_the_twin(output: Any, seed: int, count: int) -> None:
    bits = np.random.default_rng(seed).integers(0, 2**32, count, dtype=np.uint32)
    same("narrow", narrowed(bits.view(np.float32), output))


def test_what_is_rounded_is_what_it_says() -> None:
    values = np.array([0.0, 1.0, 0.5, 0.1, -0.25, 1.5, 1e6, np.nan], np.float32)
    half, bits, byte = (narrowed(values, output)[1] for output in OUTPUTS)
    np.testing.assert_array_equal(half, [0.0, 1.0, 0.5, np.float16(0.1), -0.25, 1.5, np.inf, np.nan])
    wide = (bits.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(wide, [0.0, 1.0, 0.5, 0.10009765625, -0.25, 1.5, 999424.0, np.nan])
    np.testing.assert_array_equal(byte, [0, 255, 128, 26, 0, 255, 255, 0])


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_output_of_every_dtype_and_lane_count(dtype: str, lanes: int, wrap: bool) -> None:
    turn = 10 * DTYPES.index(dtype) + 2 * lanes + wrap
    rng, shape = np.random.default_rng(turn), (70, 83)
    own = Twins([random_channel(rng, i, dtype) for i in range(lanes)], shape, 2, dtype, wrap, TICK)
    limits = ground(shape, ("float32", "float16", "uint8")[turn % 3], wrap)
    own.link(limits, 3)
    together([own, limits], rng)
    for radius in (turn % 3, 5 + turn % 4):
        columns = columns_of([own, limits], 1 + (turn + radius) % 16, rng)
        check([own, limits], columns, radius, cells(shape, 2, radius, 40, rng), outputs=OUTPUTS)


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("radius", [1, 5])
def test_one_to_four_threads_cut_the_same_bytes_of_every_output(radius: int, wrap: bool) -> None:
    rng, shape = np.random.default_rng(radius), (70, 83)
    named = [[random_channel(rng, i, "float32") for i in range(n)] for n in (1, 3)]
    layers = [Twins(channels, shape, 3, "float32", wrap, TICK) for channels in named]
    limits = ground(shape, "uint8", wrap)
    for grid in layers:
        grid.link(limits, 3)
    together([*layers, limits], rng)
    where = cells(shape, 3, radius, 300, rng)  # 64 windows or more for each thread
    painted = [(4, *cells(shape, 3, radius, 50, rng), rng.random(50, np.float32), True, None)]
    columns = [(0, 0), (1, 0), (2, 0), (1, 2), (-1, 0), (1, 1)]
    check([*layers, limits], columns, radius, where, threads=(1, 2, 3, 4), painted=painted, outputs=OUTPUTS)


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, radius=st.integers(0, 9), count=st.integers(1, 17), wrap=st.booleans())
def test_scaled_hidden_and_painted_columns_are_rounded_at_last(seed: int, radius: int, count: int, wrap: bool) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(20, 70)), int(rng.integers(20, 70)))
    own = Twins([random_channel(rng, i, "float32") for i in range(3)], shape, 2, "float32", wrap, TICK)
    limits = ground(shape, "uint8", wrap)
    own.link(limits, 3)
    together([own, limits], rng)
    check(
        [own, limits],
        columns_of([own, limits], count, rng),
        radius,
        cells(shape, 2, radius, 40, rng),
        scale=rng.uniform(-2, 2, count).astype(np.float32),
        shift=rng.uniform(-2, 2, count).astype(np.float32),
        visibility=(1, 0),
        painted=[(0, *cells(shape, 2, radius, 30, rng), rng.uniform(-1, 1, 30).astype(np.float32), False, None)],
        outputs=OUTPUTS,
    )


@pytest.mark.parametrize("output", [np.float32, *OUTPUTS])
@pytest.mark.parametrize("radius", [0, 5])
@pytest.mark.parametrize("start", [0, 13])
def test_a_batch_that_no_cache_holds_has_the_bytes_of_small_ones(output: Any, radius: int, start: int) -> None:
    """From 16 MiB on windows are written past the caches, whole lines at a time, wherever they begin."""
    rng, shape, columns, side = np.random.default_rng(start), (70, 83), 7, 2 * radius + 1
    names = [Channel(f"C{i}") for i in range(4)]
    parts = layout.segments("grid", shape, 4, 1, "float32").values()
    tiles, stamps, resets = (np.zeros(size, kind) for size, kind in parts)
    resets[:] = (1, 0)
    grid = _kernels.Grid(tiles, stamps, resets, [layout.lane(channel) for channel in names], *shape, False, 0)
    grid.write(0, 0, 0, np.arange(4, dtype=np.int32), rng.random((*shape, 4), np.float32))
    one, zero = np.ones(columns, np.float32), np.zeros(columns, np.float32)
    plan = _kernels.Windows([grid], [(0, c % 4) for c in range(columns)], radius, one, zero, None, [False] * columns)
    size = side * side * columns
    count = 2**24 // (size * np.dtype(output).itemsize) + 1
    few = 500
    where = tuple(rng.integers(0, most, few, dtype=np.int32) for most in (1, *shape))
    single = np.empty((few, side, side, columns), np.float32)
    plan.observe(*where, single, [], [], 1)
    wanted = np.empty(single.shape, output)
    reference.narrow(single, wanted)
    turn = rng.integers(0, few, count)
    room = np.full(start + count * size + 64, 7, output)
    out = room[start : start + count * size].reshape(count, side, side, columns)
    plan.observe(*(axis[turn] for axis in where), out, [], [], 2)
    assert np.array_equal(out.view(np.uint8), wanted[turn].view(np.uint8))
    assert (room[:start] == 7).all()
    assert (room[start + count * size :] == 7).all()


@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="the sanitizer's library ends at C++ exceptions")
@pytest.mark.parametrize("output", [np.float64, np.int16, np.int8, np.dtype(">f2"), np.bool_])
def test_another_output_is_refused(output: Any) -> None:
    grid = ground((20, 20), "float32", False)
    one = np.ones(1, np.float32)
    plan = _kernels.Windows([grid.grids[1]], [(0, 0)], 1, one, one, None, [False])
    where = [np.zeros(1, np.int32)] * 3
    with pytest.raises(TypeError, match="float32, float16, uint16"):
        plan.observe(*where, np.zeros((1, 3, 3, 1), output), [], [], 1)
    with pytest.raises(ValueError, match="C-contiguous"):
        plan.observe(*where, np.zeros((1, 1, 3, 3), np.float16).transpose(0, 2, 3, 1)[:, ::-1], [], [], 1)
    with pytest.raises(ValueError, match="as large as"):
        _kernels.narrow(one, np.zeros(2, np.float16))
