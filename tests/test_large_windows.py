import errno
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

import memfarm
from memfarm.errors import StorageError
from memfarm.wrappers.buffers import BufferPool
from memfarm.wrappers.mapped_buffers import MAPPED_ABOVE, empty, make_buffers, mapped_array

gymnasium.register_envs(memfarm)

STATUS = Path("/proc/self/status")
MIB = 1 << 20
linux_only = pytest.mark.skipif(not STATUS.exists(), reason="tells anonymous memory from mapped files by /proc")


def resident(kind: str) -> int:
    """Bytes of this process's memory of one kind: RssAnon, or RssFile and RssShmem."""
    lines = STATUS.read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.split(":")[0] in kind.split())


def is_mapped(array: NDArray[Any]) -> bool:
    """Whether the array lies in a file, if only one without a name."""
    address = array.ctypes.data
    for line in Path("/proc/self/maps").read_text().splitlines():
        bounds, _, _, _, inode, *_ = line.split()
        first, end = (int(bound, 16) for bound in bounds.split("-"))
        if first <= address < end:
            return inode != "0"
    raise AssertionError("an array lies somewhere")


HOLDERS: dict[str, Callable[[NDArray[Any]], Any]] = {
    "the array": lambda a: a,
    "a row of a slice": lambda a: a[1:][1],
    "a transpose": lambda a: a.T,
    "a reshape": lambda a: a.reshape(-1)[3:],
    "another dtype": lambda a: a.view(np.int32)[0],
    "a memoryview": lambda a: memoryview(a)[1:],
    "an array by the buffer protocol": lambda a: np.frombuffer(a, np.uint8)[8:],
    "a permuted tensor": lambda a: torch.from_numpy(a).permute(0, 3, 1, 2)[1:2],
    "a tensor of other bits": lambda a: torch.from_numpy(a).view(torch.int32)[1],
    "an array of a tensor": lambda a: torch.from_numpy(a)[1:].numpy(),
    "storage": lambda a: torch.from_numpy(a).untyped_storage(),
}


@pytest.mark.parametrize("holder", list(HOLDERS))
def test_a_mapped_buffer_that_anything_refers_to_is_not_handed_out(holder: str) -> None:
    pool = make_buffers((4, 3, 3, 2), np.float32, True, mapped_above=0)
    assert isinstance(pool, BufferPool)
    array = pool.take()
    assert is_mapped(array)
    assert type(array) is np.ndarray
    assert array.flags.carray
    array[:] = 7
    place = array.ctypes.data
    held = HOLDERS[holder](array)
    del array
    others = [pool.take() for _ in range(3)]
    for other in others:
        assert other.ctypes.data != place
        other[:] = -1
    del others, other
    assert len(pool) == 4
    del held
    gc.collect()
    again = [pool.take() for _ in range(4)]
    assert place in [array.ctypes.data for array in again]
    assert len(pool) == 4


def test_only_what_is_larger_than_the_limit_is_mapped() -> None:
    assert not is_mapped(empty((16,), np.float32, None))
    assert not is_mapped(empty((16,), np.float32, 64))
    assert is_mapped(empty((17,), np.float32, 64))
    assert empty((0, 3), np.float32, 0).shape == (0, 3)
    lent = make_buffers((17,), np.float32, False, 64)
    assert lent.take() is lent.take()
    assert is_mapped(lent.take())


def test_no_file_has_a_name_and_none_stays_open(private_temp_folder: Path) -> None:
    before = set(private_temp_folder.iterdir())
    array = mapped_array((1000,), np.float64)
    assert set(private_temp_folder.iterdir()) == before
    array[:] = 1.5
    view = array[5:]
    del array
    assert view.sum() == 1.5 * 995  # what refers to it keeps it; tests/conftest.py fails a test that leaves it open


def test_a_full_disk_is_an_error_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageError, match=r"400 bytes cannot be mapped.*MEMFARM_SCRATCH") as caught:
        mapped_array((100,), np.float32)
    assert caught.value.errno == errno.ENOSPC


def crowd(agents: int, radius: int, on: bool, **arguments: Any) -> Any:
    return gymnasium.make_vec(
        "memfarm/Forage-v0",
        num_envs=agents,
        agents_per_world=agents,
        shape=(300, 300),
        radius=radius,
        config={"memmap": {"use_for_observations": on}},
        **arguments,
    )


@linux_only
@pytest.mark.parametrize("on", [True, False])
def test_large_observations_leave_anonymous_memory_alone(on: bool) -> None:
    env = crowd(160, 64, on)
    size = 160 * 129 * 129 * 7 * 4
    assert size > MAPPED_ABOVE
    gc.collect()
    anonymous, mapped = resident("RssAnon"), resident("RssFile RssShmem")
    first, _ = env.reset(seed=0)
    second = env.step(np.zeros(160, np.int64))[0]
    grown, filed = resident("RssAnon") - anonymous, resident("RssFile RssShmem") - mapped
    assert first.nbytes == second.nbytes == size
    assert is_mapped(first) is is_mapped(second) is on
    if on:
        assert grown < 16 * MIB
        assert filed > 1.9 * size
    else:
        assert grown > 1.9 * size, "the test can tell"
    env.close()


@pytest.mark.parametrize(
    ("tensor", "dtype"), [("numpy", "float32"), ("torch", "float32"), ("torch", "bfloat16"), ("torch", "uint8")]
)
def test_mapped_observations_are_the_same_as_others(tensor: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memfarm.envs.doors.perception.MAPPED_ABOVE", 1000)
    same_step = {"autoreset_mode": AutoresetMode.SAME_STEP.value, "max_cycles": 2, "memory": True}
    mapped, plain = (crowd(3, 5, on, tensor=tensor, dtype=dtype, **same_step) for on in (True, False))
    for step in range(4):
        results = [env.reset(seed=1) if step == 0 else env.step(np.full(3, step)) for env in (mapped, plain)]
        observations = [result[0] for result in results]
        if step and results[0][3].all():
            observations += [{**result[4]["final_obs"][1]} for result in results]
        for one, other in zip(observations[::2], observations[1::2], strict=True):
            for name in ("window", "memory", "overview"):
                assert bool((one[name] == other[name]).all())
        if tensor == "numpy":
            assert is_mapped(observations[0]["window"])
            assert not is_mapped(observations[1]["window"])
    mapped.close()
    plain.close()


def test_a_radius_larger_than_the_world_sees_all_of_it() -> None:
    env = crowd(2, 256, True, channels=("RESOURCES",), memory=True, memory_radius=300, overview=None)
    observation = env.reset(seed=0)[0]
    agents, world = env.unwrapped.agents, env.unwrapped.world
    assert observation["window"].shape == (2, 513, 513, 1)
    assert observation["memory"].shape == (2, 601, 601, 2)
    food = world.resources.grid.read("RESOURCES", 0, 300, 0, 300)
    for n in range(2):
        y, x = int(agents.y[n]), int(agents.x[n])
        top, left = max(0, y - 256), max(0, x - 256)
        seen = observation["window"][n, :, :, 0]
        part = seen[256 - (y - top) :, 256 - (x - left) :][: min(300, y + 257) - top, : min(300, x + 257) - left]
        there = food[top : y + 257, left : x + 257]
        np.testing.assert_allclose(part, there, atol=1e-6)
        assert seen.sum() == pytest.approx(there.sum(), rel=1e-4)
    env.close()
