"""The files that snapshots are made of: sparse copies, sealed JSON, plain arrays, published folders."""

import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memfarm import live_tiles, plain_npz, publishing, sealed, sparse_copy
from memfarm.channels import TRAILS, Channel, Regrow
from memfarm.errors import StorageError, WorldFormatError
from memfarm.grid import ChannelGrid

SPANS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), max_size=8)


def runs_from(spans: list[tuple[int, int]]) -> sparse_copy.Runs:
    """Runs with the given gaps (and one more byte) before them."""
    found, at = [], 0
    for gap, length in spans:
        found.append((at + gap + 1, length))
        at += gap + 1 + length
    return np.array(found, np.int64).reshape(-1, 2)


def members(runs: sparse_copy.Runs) -> set[int]:
    return {byte for start, length in runs.tolist() for byte in range(start, start + length)}


# --- sparse copies


@given(chosen=st.sets(st.integers(0, 60)), unit=st.integers(1, 5))
def test_runs_are_the_records_chosen_and_none_touches_another(chosen: set[int], unit: int) -> None:
    runs = sparse_copy.runs_of(np.array(sorted(chosen), np.int64), unit)
    assert members(runs) == {record * unit + byte for record in chosen for byte in range(unit)}
    assert (runs[1:, 0] > runs[:-1].sum(axis=1)).all()


@given(spans=SPANS, number=st.integers(1, 9), end=st.integers(0, 60))
def test_gaps_cuts_and_closings_mean_what_they_say(spans: list[tuple[int, int]], number: int, end: int) -> None:
    runs = runs_from(spans)
    inside = members(runs)
    pieces = sparse_copy.cut(runs, number)
    assert members(pieces) == inside
    assert all(start // number == (start + length - 1) // number for start, length in pieces.tolist())
    assert members(sparse_copy.gaps(runs, 0, end)) == set(range(end)) - inside
    assert members(sparse_copy.cut_at(runs, end)) == {byte for byte in inside if byte < end}
    closed = sparse_copy.close_gaps(runs, number)
    starts, ends = closed[:, 0], closed.sum(axis=1)
    assert (starts[1:] - ends[:-1] > number).all()
    assert inside <= members(closed)
    assert all(byte in inside for byte in (*starts.tolist(), *(ends - 1).tolist()))


@given(chosen=st.sets(st.integers(0, 40), max_size=10), fallback=st.booleans())
@settings(max_examples=30)
def test_a_sparse_copy_is_equal_and_keeps_its_holes(
    tmp_path_factory: pytest.TempPathFactory, chosen: set[int], fallback: bool
) -> None:
    folder = tmp_path_factory.mktemp("sparse")
    page, random = 4096, np.random.default_rng(len(chosen))
    size = 41 * page + 17
    with (
        (folder / "one").open("w+b") as one,
        (folder / "two").open("w+b") as two,
        pytest.MonkeyPatch.context() as patch,
    ):
        for file in (one, two):
            os.ftruncate(file.fileno(), size)
        for number in chosen:
            os.pwrite(one.fileno(), random.bytes(page), number * page)
        if fallback:  # another file system
            patch.setattr(os, "copy_file_range", lambda *_: (_ for _ in ()).throw(OSError(18, "EXDEV")))
        runs = sparse_copy.written(one.fileno(), 0, size)
        assert members_of_pages(runs) >= chosen
        sparse_copy.copy_file(one.fileno(), runs, two.fileno())
        blocks = [os.fstat(file.fileno()).st_blocks for file in (one, two)]
    assert (folder / "one").read_bytes() == (folder / "two").read_bytes()
    assert blocks[1] <= blocks[0] + 8
    shutil.rmtree(folder)


def members_of_pages(runs: sparse_copy.Runs) -> set[int]:
    return {page for start, length in runs.tolist() for page in range(start // 4096, -(-(start + length) // 4096))}


def test_a_source_that_ends_early_is_an_error_and_not_a_hang(tmp_path: Path) -> None:
    with (tmp_path / "one").open("w+b") as one, (tmp_path / "two").open("w+b") as two:
        one.write(b"abc")
        one.flush()
        with pytest.raises(OSError, match="too early"):
            sparse_copy.copy_file(one.fileno(), np.array([[0, 10]], np.int64), two.fileno())


def test_touched_pages_of_memory_are_told_and_no_others() -> None:
    array = np.frombuffer(sparse_copy.mmap.mmap(-1, 1 << 24), np.uint8)
    touched = [3, 4, 9, 4000]
    array.flags.writeable or pytest.fail("anonymous memory can be written")
    array[np.array(touched) * 4096 + 5] = 1
    runs = sparse_copy.resident(array)
    if runs is None:
        pytest.skip("this system does not tell which pages are there")
    pages = members_of_pages(runs)
    assert set(touched) <= pages
    assert len(pages) < 1200, "at most two huge pages more"


@given(tiles=st.sets(st.integers(0, 63), max_size=20), resets=st.lists(st.integers(0, 1), max_size=2))
@settings(max_examples=30)
def test_live_tiles_are_found_in_the_pages_that_hold_them(tiles: set[int], resets: list[int]) -> None:
    grid = ChannelGrid((128, 128), (TRAILS,), copies=2)
    where = np.array(sorted(tiles), np.int64)
    for copy in (0, 1):
        grid.scatter("TRAILS", copy, where // 4 * 32 % 128, where % 4 * 32, 1.0)
    if resets:
        grid.reset(resets)
    stock = grid.stock()
    everywhere = live_tiles.live(stock.arrays, np.arange(2))
    assert np.array_equal(live_tiles.live(stock.arrays, np.arange(2), stock.pages), everywhere)
    expected = [copy for copy in (0, 1) if copy not in resets]
    assert sorted(set((everywhere // 16).tolist())) == (expected if tiles else [])
    grid.close()


def test_tiles_put_back_are_the_grid_they_were_taken_from_at_its_tick() -> None:
    slow = Channel("SLOW", law=Regrow(0.01, 1.0), fill=0.0)  # what was never written has grown since the last reset
    one, other = (ChannelGrid((70, 70), (TRAILS, slow), copies=3) for _ in range(2))
    one.advance(11)
    one.reset([1])
    one.scatter("TRAILS", [0, 1, 2], 5, 5, 1.0)
    one.advance(4000)
    one.reset([0])
    one.scatter("SLOW", [0, 0, 2], [1, 2, 69], [3, 60, 69], 0.5)
    one.advance(9)
    other.scatter("TRAILS", [0, 1, 2], [1, 5, 30], 5, 0.25)
    other.advance(10_000)
    other.put_tiles(one.tiles())
    for _ in range(3):
        for name in one.names:
            for copy in range(3):
                assert one[name, copy, :, :].tobytes() == other[name, copy, :, :].tobytes()
        one.advance(700)
        other.advance(700)
    one.close()
    other.close()


# --- sealed JSON and plain arrays


@given(data=st.data())
@settings(max_examples=60)
def test_sealed_json_is_refused_when_any_byte_of_it_changed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("sealed")
    path, body = folder / "it.json", {"a": [1, 2.5, None], "b": {"ü": "x"}}
    sealed.write(path, "kind-1", body)
    assert sealed.read(path, "kind-1") == body
    with pytest.raises(WorldFormatError):
        sealed.read(path, "kind-2")
    text = bytearray(path.read_bytes())
    text[data.draw(st.integers(0, len(text) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(text)
    with pytest.raises(WorldFormatError):
        sealed.read(path, "kind-1")
    shutil.rmtree(folder)


def test_plain_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6).reshape(2, 3),
        "b": np.zeros(0, np.uint64),
        "c": np.array([True]),
        "d": np.float32([[1.5]]),
    }
    plain_npz.write(tmp_path / "it.npz", arrays)
    found = plain_npz.read(tmp_path / "it.npz")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
        assert found[name].flags.writeable


def lie(path: Path, descr: str, shape: str, data: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    head = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a.npy", head + data)


@pytest.mark.parametrize(
    ("descr", "shape", "data"),
    [
        ("'<f8'", "(10**13,)".replace("10**13", str(10**13)), b"12345678"),
        ("'<f8'", "(2,)", b"12345678"),
        ("'<f8'", "()", b"1234567812345678"),
        ("'|O'", "(1,)", b"cos\nsystem\n(S'false'\ntR."),
        ("'<U4'", "(1,)", b"1234567812345678"),
        ("__import__('os')", "(1,)", b"12345678"),
        ("'<f8'", "(-1,)", b"12345678"),
    ],
)
def test_headers_that_lie_or_hold_objects_are_refused(tmp_path: Path, descr: str, shape: str, data: bytes) -> None:
    lie(tmp_path / "it.npz", descr, shape, data)
    with pytest.raises(WorldFormatError, match="plain arrays"):
        plain_npz.read(tmp_path / "it.npz")


def test_a_compressed_archive_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    lie(tmp_path / "it.npz", "'<f8'", "(1250000,)", bytes(10_000_000), zipfile.ZIP_DEFLATED)
    with pytest.raises(WorldFormatError, match="stored as it is"):
        plain_npz.read(tmp_path / "it.npz")


# --- published folders


def test_a_folder_is_replaced_in_one_step_or_in_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, can in enumerate((True, False)):
        if not can:
            monkeypatch.setattr(publishing, "_exchange", lambda *_: False)
        target = tmp_path / str(number)
        for text in ("old", "new"):
            with publishing.publish(target, replace=True) as part:
                assert part.stat().st_mode & 0o777 == 0o700
                (part / text).touch()
        assert [path.name for path in target.iterdir()] == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def test_a_block_that_raises_publishes_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    with publishing.publish(tmp_path / "it") as part:
        (part / "old").touch()
    with pytest.raises(KeyboardInterrupt), publishing.publish(tmp_path / "it", replace=True) as part:  # noqa: PT012
        (part / "new").touch()
        raise KeyboardInterrupt
    assert [path.name for path in (tmp_path / "it").iterdir()] == ["old"]
    with pytest.raises(StorageError, match="place of its own"), publishing.publish(tmp_path / "it"):
        pytest.fail("nothing is made where something lies")
    assert [path.name for path in tmp_path.iterdir()] == ["it"]
