import gc
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from memfarm.wrappers.buffers import BufferPool, OneBuffer

SHAPE = (4, 3, 3, 2)

HOLDERS: dict[str, Callable[[NDArray[Any]], Any]] = {
    "the array": lambda a: a,
    "a view": lambda a: a[:],
    "a slice of a slice": lambda a: a[1:][1:, ::2],
    "a row": lambda a: a[2],
    "one element": lambda a: a[1, 1, 1, :1],
    "a transpose": lambda a: a.T,
    "a reshape of a transpose": lambda a: a.transpose(3, 0, 1, 2).reshape(2, -1)[0],
    "another dtype": lambda a: a.view(np.int32)[0],
    "a broadcast": lambda a: np.broadcast_to(a[0], (5, *a.shape[1:])),
    "windows over it": lambda a: np.lib.stride_tricks.sliding_window_view(a, 2, axis=0),
    "a subclass": lambda a: a.view(np.matrix if a.ndim == 2 else np.recarray),
    "a memoryview": lambda a: memoryview(a)[1:],
    "an array of a memoryview": lambda a: np.asarray(memoryview(a))[1:],
    "an array by the buffer protocol": lambda a: np.frombuffer(a, np.uint8)[8:],
    "a tensor": lambda a: torch.from_numpy(a),
    "a permuted tensor": lambda a: torch.from_numpy(a).permute(0, 3, 1, 2),
    "a slice of a permuted tensor": lambda a: torch.from_numpy(a).permute(0, 3, 1, 2)[1:2, :1],
    "a detached tensor": lambda a: torch.from_numpy(a).detach()[3],
    "a tensor of other bits": lambda a: torch.from_numpy(a).view(torch.int32)[1],
    "an array of a tensor": lambda a: torch.from_numpy(a)[1:].numpy(),
    "a tensor by dlpack": lambda a: torch.from_dlpack(a)[1:],
    "an array by dlpack": lambda a: np.from_dlpack(a)[1:],
    "a tensor of an array of a tensor": lambda a: torch.as_tensor(torch.from_numpy(a).numpy().T),
    "storage": lambda a: torch.from_numpy(a).untyped_storage(),
    "an iterator": lambda a: iter(a[1:]),
    "a closure": lambda a: lambda: a,
}


@pytest.mark.parametrize("holder", list(HOLDERS))
def test_memory_that_anything_refers_to_is_not_handed_out(holder: str) -> None:
    pool = BufferPool(SHAPE, np.float32)
    array = pool.take()
    array[:] = 7
    address = array.ctypes.data
    held = HOLDERS[holder](array)
    del array
    others = [pool.take() for _ in range(3)]
    for other in others:
        assert other.ctypes.data != address
        other[:] = -1
    del others, other
    assert len(pool) == 4
    del held
    gc.collect()
    again = [pool.take() for _ in range(4)]
    assert address in [array.ctypes.data for array in again], "a buffer that nothing refers to is used again"
    assert len(pool) == 4


def test_a_copy_does_not_hold_its_buffer() -> None:
    pool = BufferPool(SHAPE)
    held = [pool.take().T.reshape(-1), pool.take().copy(), torch.from_numpy(pool.take()).clone()]
    assert len(pool) == 1
    assert len(held) == 3


def test_values_survive_in_tensors_that_outlive_the_arrays_name() -> None:
    pool = BufferPool(SHAPE)
    rollout = []
    for step in range(20):
        array = pool.take()
        array[:] = step
        rollout.append(torch.from_numpy(array).permute(0, 3, 1, 2)[1:])
        del array
    for step, tensor in enumerate(rollout):
        assert bool((tensor == step).all())
    assert len(pool) == 20


def test_every_array_is_new_contiguous_writable_and_plain() -> None:
    pool = BufferPool(SHAPE, np.int16)
    first, second = pool.take(), pool.take()
    assert not np.shares_memory(first, second)
    for array in (first, second):
        assert type(array) is np.ndarray
        assert array.shape == SHAPE
        assert array.dtype == np.int16
        assert array.flags.c_contiguous
        assert array.flags.writeable


def test_what_a_caller_does_to_its_array_stays_with_it() -> None:
    pool = BufferPool((4, 3))
    array = pool.take()
    array.flags.writeable = False
    address = array.ctypes.data
    del array
    again = pool.take()
    assert again.ctypes.data == address
    assert again.flags.writeable
    assert again.shape == (4, 3)


def test_alternating_steps_need_two_buffers_and_one_allocation_each() -> None:
    pool = BufferPool(SHAPE)
    addresses = set()
    current = pool.take()
    for _ in range(100):
        following = pool.take()
        addresses |= {current.ctypes.data, following.ctypes.data}
        current = following
    assert len(pool) == len(addresses) == 2


@given(st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=60))
@settings(max_examples=60)
def test_the_pool_is_as_large_as_the_most_arrays_alive_at_once(plan: list[int | None]) -> None:
    """None takes an array, a number drops one of those held; values tell if two ever share memory."""
    pool = BufferPool((2, 2), np.int64)
    held: list[tuple[int, NDArray[np.int64]]] = []
    most = 0
    for token, what in enumerate(plan):
        if what is None:
            array = pool.take()
            array[:] = token
            held.append((token, array[:, 1]))
            del array
        elif held:
            held.pop(what % len(held))
        most = max(most, len(held))
        assert len(pool) == most
        assert all((array == value).all() for value, array in held)


def test_buffers_that_a_burst_needed_are_given_back() -> None:
    pool = BufferPool((2,), patience=10)
    burst = [pool.take() for _ in range(8)]
    kept = burst[5]
    kept[:] = 5
    del burst
    for _ in range(30):
        pool.take()[:] = 0
    assert len(pool) == 1
    assert (kept == 5).all(), "who still refers to a buffer keeps it"


def test_empty_and_scalar_shapes_work() -> None:
    assert BufferPool((0, 3)).take().shape == (0, 3)
    assert BufferPool(()).take().shape == ()


def test_one_buffer_is_one_buffer() -> None:
    buffer = OneBuffer((2, 2), np.float32)
    assert buffer.take() is buffer.take()


def test_importing_the_wrappers_does_not_import_torch() -> None:
    code = "import sys, memfarm.wrappers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
