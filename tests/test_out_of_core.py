"""Out of core: a fault brings in one page, and the benchmark of it runs, tiny, and leaves nothing behind."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from memfarm import areas, files, storage
from memfarm.channels import Channel
from memfarm.grid import ChannelGrid

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
PAGES = 256
LAYOUT = {"a": ((PAGES, 1024), np.dtype(np.float32))}  # a row is a page


@pytest.fixture
def paging(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.paging")


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.limits")


@pytest.fixture
def cold(tmp_path: Path, paging: ModuleType) -> Path:
    """A folder with a grid's file on the disk, none of it in the cache."""
    storage.make(LAYOUT, "memmap", tmp_path, "w+").arrays["a"][:] = 1.0
    try:
        paging.make_cold(tmp_path)
    except OSError as refused:
        pytest.skip(str(refused))
    return tmp_path


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_a_fault_brings_in_one_page_and_reads_nothing_ahead(cold: Path, mode: files.Mode, paging: ModuleType) -> None:
    array = storage.make(LAYOUT, "memmap", cold, mode).arrays["a"]
    before = paging.cached_share(cold / "a.npy")
    assert array[PAGES // 2, 0] == 1.0
    assert round((paging.cached_share(cold / "a.npy") - before) * (PAGES + 1)) == 1


def test_a_cold_file_is_read_from_the_disk(cold: Path, paging: ModuleType) -> None:
    before = paging.Paged.now()
    assert (cold / "a.npy").read_bytes()[-4:] == np.float32(1.0).tobytes()
    assert paging.Paged.now().since(before).read > 0.95 * PAGES * 4096


def test_a_file_that_is_held_in_memory_is_refused(cold: Path, paging: ModuleType) -> None:
    held = storage.make(LAYOUT, "memmap", cold, "r").arrays["a"]
    assert held.all()
    with pytest.raises(OSError, match="stays in memory"):
        paging.make_cold(cold)


def made_cold(folder: Path, rows: int, paging: ModuleType) -> np.ndarray:
    """A named grid of 1024 x 1024 cells, its first rows written, none of it in the cache; the values."""
    values = np.zeros((1024, 1024), np.float32)
    values[:rows] = np.random.default_rng(0).random((rows, 1024))
    grid = ChannelGrid(values.shape, [Channel("A")], name="a", folder=folder)
    grid.write("A", values[:rows])
    grid.close_files(delete=False)
    try:
        paging.make_cold(folder)
    except OSError as refused:
        pytest.skip(str(refused))
    return values


def test_a_large_rectangle_is_fetched_before_it_is_read(tmp_path: Path, paging: ModuleType) -> None:
    values = made_cold(tmp_path, 1024, paging)
    grid = ChannelGrid(values.shape, [Channel("A")], name="a", folder=tmp_path, mode="r")
    before = paging.Paged.now()
    np.testing.assert_array_equal(grid.read("A", 0, 1024, 0, 1024), values)
    paged = paging.Paged.now().since(before)
    assert paged.read > 0.95 * values.nbytes
    assert paged.faults < values.nbytes // 4096 // 4
    grid.close()


def test_what_was_never_written_is_not_fetched(tmp_path: Path, paging: ModuleType) -> None:
    values = made_cold(tmp_path, 32, paging)
    grid = ChannelGrid(values.shape, [Channel("A")], name="a", folder=tmp_path, mode="r")
    np.testing.assert_array_equal(grid.read("A", 0, 1024, 0, 1024), values)
    grid.close()
    assert 32 / 1024 <= paging.cached_share(tmp_path / "a.npy") < 1.5 * 32 / 1024


@pytest.mark.parametrize("slab", [1, 2000, 1 << 20])
def test_slabs_make_up_the_rectangle(tmp_path: Path, slab: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(areas, "_SMALL", 0)
    monkeypatch.setattr(areas, "_SLAB", slab)
    values = np.random.default_rng(0).random((2, 150, 70), np.float32)
    grid = ChannelGrid((150, 70), [Channel("A")], copies=2, name="a", folder=tmp_path)
    for copy in (0, 1):
        grid.write("A", values[copy], copy=copy)
        for y0, y1, x0, x1 in ((0, 150, 0, 70), (31, 33, 5, 6), (32, 64, 0, 70), (1, 149, 33, 64), (149, 150, 69, 70)):
            np.testing.assert_array_equal(grid.read("A", y0, y1, x0, x1, copy), values[copy, y0:y1, x0:x1])
    grid.close()


def test_no_group_is_said_and_none_is_left(limits: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere, plain = tmp_path / "nowhere", tmp_path / "plain"
    plain.mkdir()
    monkeypatch.setattr(limits, "_GROUPS", ((nowhere, "memory.max", "first"), (plain, "memory.max", "second")))
    with (
        pytest.raises(limits.NoGroupError, match=r"first: No such file.*second: no such controller"),
        limits.limited(10**9),
    ):
        pass
    assert list(plain.iterdir()) == []


def test_the_benchmark_runs_with_a_limit_where_there_can_be_one(limits: ModuleType, tmp_path: Path) -> None:
    try:
        with limits.limited(10**9):
            told = "0 MB (cgroup"
    except limits.NoGroupError:
        told = "not run with a limit"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.out_of_core", "--quick"],
        cwd=ROOT,
        env={**os.environ, "MEMFARM_SCRATCH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if "stays in memory" in done.stderr:
        pytest.skip("the temp folder is a tmpfs")
    assert done.returncode == 0, done.stderr
    assert "without a limit" in done.stdout
    assert told in done.stdout
    assert "NOT THE SAME" not in done.stdout
    assert list(tmp_path.iterdir()) == []
