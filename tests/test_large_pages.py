"""Shared memory in large pages: the same bytes for all who map it, and nothing left when nobody refers to it."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from memfarm import large_pages
from memfarm.large_pages import SIZE, array_at, collapse, map_shared, remove

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memfd is Linux's")
LENGTH = 5 * SIZE + 8192


@pytest.fixture
def fd() -> Iterator[int]:
    fd = os.memfd_create("memfarm-test")
    os.posix_fallocate(fd, 0, LENGTH)
    yield fd
    os.close(fd)


@pytest.fixture(params=["as it is", "elsewhere"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "elsewhere":
        monkeypatch.setattr(large_pages, "_LIBRARY", None)
    return str(request.param)


def maps() -> str:
    return Path("/proc/self/maps").read_text()


def in_large_pages() -> int:
    """Bytes of shared memory that this process has mapped in large pages."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("ShmemPmdMapped:")) * 1024


def test_all_maps_of_a_memory_show_the_same_bytes(fd: int, kind: str) -> None:
    whole, part = map_shared(fd, LENGTH, 0), map_shared(fd, LENGTH - 8192, 8192)
    mine, theirs = array_at(whole, 8192, LENGTH - 8192), array_at(part, 0, LENGTH - 8192)
    mine[:] = np.arange(len(mine)) % 251
    collapse(whole, 0, LENGTH)
    assert np.array_equal(mine, theirs)
    assert np.array_equal(mine, np.arange(len(mine)) % 251)
    theirs[SIZE : SIZE + 8] = 7
    assert mine[SIZE : SIZE + 8].tolist() == [7] * 8


def test_what_is_removed_reads_0_and_the_rest_stays(fd: int, kind: str) -> None:
    memory = map_shared(fd, LENGTH, 0)
    array = array_at(memory, 0, LENGTH)
    array[:] = 9
    collapse(memory, 0, LENGTH)
    before = os.fstat(fd).st_blocks
    remove(memory, SIZE, 2 * SIZE)
    assert os.fstat(fd).st_blocks <= before - 2 * SIZE // 512  # looked at before a read fills the hole
    assert not array[SIZE : 3 * SIZE].any()
    assert (array[:SIZE] == 9).all()
    assert (array[3 * SIZE :] == 9).all()


def test_a_map_ends_with_its_last_view(fd: int, kind: str) -> None:
    memory = map_shared(fd, LENGTH, 0)
    view = array_at(memory, SIZE, 16)[3:9]
    del memory
    gc.collect()
    view[:] = 5
    assert "memfarm-test" in maps()
    del view
    gc.collect()
    assert "memfarm-test" not in maps()


def test_large_pages_are_had_where_the_system_gives_them(fd: int) -> None:
    memory = map_shared(fd, LENGTH - 4096, 4096)
    array_at(memory, 0, LENGTH - 4096)[:] = 1
    before = in_large_pages()
    collapse(memory, 0, LENGTH - 4096)
    array_at(memory, 0, LENGTH - 4096)[:] = 2
    if in_large_pages() == before:
        pytest.skip("this system gives shared memory no large pages")
    assert in_large_pages() - before == 4 * SIZE  # the first is not whole, nor is the last


def test_what_cannot_be_mapped_is_an_error_and_leaves_nothing(kind: str) -> None:
    before = maps().count("\n")
    with pytest.raises(OSError, match="Bad file descriptor"):
        map_shared(99_999, LENGTH, 0)
    assert maps().count("\n") == before
