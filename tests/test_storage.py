"""Files of grids: plain `.npy`, private, sparse, never through a link; scratch without a name."""

import errno
import mmap
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from memfarm import files, large_pages, reserve, storage
from memfarm.channels import Channel
from memfarm.errors import ConfigError, StorageError, WorldFormatError
from memfarm.grid import ChannelGrid

pytestmark = pytest.mark.once

LAYOUT = {
    "a": ((2, 3), np.dtype(np.float32)),
    "a.stamps": ((5,), np.dtype(np.uint64)),
    "a.copies": ((1, 2), np.dtype(np.int64)),
}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make_named(folder: Path) -> None:
    segments = storage.make(LAYOUT, "memmap", folder, "w+")
    segments.arrays["a"][:] = np.arange(6).reshape(2, 3)
    segments.flush()


def test_anyone_can_open_the_files(tmp_path: Path) -> None:
    make_named(tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.arange(6, dtype=np.float32).reshape(2, 3))
    assert np.load(tmp_path / "a.stamps.npy").dtype == np.uint64
    assert np.load(tmp_path / "a.npy", mmap_mode="r").offset == storage.HEADER


def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        folder = files.given_folder(tmp_path / "new")
        make_named(folder)
        other = files.new_folder(tmp_path, "w", (1, 2))
    finally:
        os.umask(old)
    assert [stat.S_IMODE(part.stat().st_mode) for part in (folder, other)] == [0o700, 0o700]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_new_files_are_sparse(tmp_path: Path) -> None:
    segments = storage.make({"big": ((1 << 24,), np.dtype(np.float64))}, "memmap", tmp_path, "w+")
    assert (tmp_path / "big.npy").stat().st_size == storage.HEADER + (1 << 27)
    assert segments.disk_bytes() < 1 << 16


BIG = {"big": ((3 * large_pages.SIZE,), np.dtype(np.uint8))}


def in_large_pages(kind: str) -> int:
    """Bytes that this process has mapped in large pages."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(kind)) * 1024


def taken(segments: storage.Segments) -> int:
    return 512 * os.fstat(segments.places["big"].fd).st_blocks


@pytest.mark.skipif(sys.platform != "linux", reason="large pages of files are Linux's")
@pytest.mark.parametrize(("backend", "kind"), [("memmap", "FilePmdMapped:"), ("ram", "AnonHugePages:")])
def test_what_is_dense_lies_in_large_pages(backend: storage.Backend, kind: str) -> None:
    before = in_large_pages(kind)
    segments = storage.create(BIG, backend, None, dense=True)
    segments.arrays["big"][:] = 7
    if in_large_pages(kind) == before:
        pytest.skip("this system gives none here")
    assert in_large_pages(kind) - before >= 2 * large_pages.SIZE
    if backend == "memmap":
        assert taken(segments) >= 3 * large_pages.SIZE


@pytest.mark.parametrize("why", ["sparse", "elsewhere", "large", "little room", "no room"])
def test_what_cannot_be_dense_takes_nothing_before_it_is_written(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    if why == "elsewhere":
        monkeypatch.setattr(large_pages, "_LIBRARY", None)
    elif why == "large":
        monkeypatch.setattr(storage, "_DENSE", large_pages.SIZE)
    elif why == "little room":
        monkeypatch.setattr(reserve, "_SHARE", 1 << 40)
    elif why == "no room":
        monkeypatch.setattr(os, "posix_fallocate", full)
    segments = storage.create(BIG, "memmap", None, dense=why != "sparse")
    assert taken(segments) < 1 << 16
    monkeypatch.undo()
    segments.places["big"].reserve(0, 4096)  # as ever: page by page
    assert 4096 <= taken(segments) < 1 << 16


@pytest.mark.parametrize("backend", ["memmap", "ram"])
def test_unnamed_segments_start_at_zero_and_lie_apart(backend: storage.Backend) -> None:
    segments = storage.make(LAYOUT, backend, None, "w+")
    for index, array in enumerate(segments.arrays.values()):
        assert not array.any()
        array[:] = index + 1
    assert [set(array.ravel().tolist()) for array in segments.arrays.values()] == [{1}, {2}, {3}]
    assert segments.paths == ()
    assert segments.disk_bytes() == 0


def test_modes(tmp_path: Path) -> None:
    make_named(tmp_path)
    private = storage.make(LAYOUT, "memmap", tmp_path, "c").arrays["a"]
    private[:] = 9
    reader = storage.make(LAYOUT, "memmap", tmp_path, "r").arrays["a"]
    with pytest.raises(ValueError, match="read-only"):
        reader[0, 0] = 1
    assert reader[1, 2] == 5
    storage.make(LAYOUT, "memmap", tmp_path, "r+").arrays["a"][0, 0] = 7
    assert reader[0, 0] == 7
    assert private[0, 0] == 9


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "pipe", "device"])
@pytest.mark.parametrize("mode", ["w+", "r+", "r", "c"])
def test_only_plain_files_are_opened(tmp_path: Path, kind: str, mode: files.Mode) -> None:
    victim, place = tmp_path / "victim", tmp_path / "a.npy"
    victim.write_bytes(b"precious")
    {
        "link": lambda: place.symlink_to(victim),
        "dangling": lambda: place.symlink_to(tmp_path / "nowhere"),
        "folder": place.mkdir,
        "pipe": lambda: os.mkfifo(place),
        "device": lambda: place.symlink_to("/dev/zero"),
    }[kind]()
    before = names(tmp_path)
    with pytest.raises(StorageError):
        storage.make(LAYOUT, "memmap", tmp_path, mode)
    assert victim.read_bytes() == b"precious"
    assert names(tmp_path) == before


def test_a_refused_creation_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.copies.npy").write_bytes(b"mine")
    with pytest.raises(StorageError, match="needs a new file"):
        storage.make(LAYOUT, "memmap", tmp_path, "w+")
    assert names(tmp_path) == ["a.copies.npy"]
    assert (tmp_path / "a.copies.npy").read_bytes() == b"mine"


@pytest.mark.parametrize("backend", ["memmap", "ram"])
@pytest.mark.parametrize("named", [False, True])
def test_what_is_too_large_is_a_storage_error(tmp_path: Path, backend: storage.Backend, named: bool) -> None:
    huge = {"a": ((2**31, 2**31, 16), np.dtype(np.float64))}
    with pytest.raises(StorageError, match="cannot be made") as caught:
        storage.make(huge, backend, tmp_path if named else None, "w+")
    assert caught.value.errno
    assert names(tmp_path) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="folder that exists"):
        storage.make(LAYOUT, "memmap", tmp_path / "no", "w+")
    with pytest.raises(StorageError, match="no grid file"):
        storage.make(LAYOUT, "memmap", tmp_path / "no", "r")


def damage(path: Path, what: str) -> None:
    raw = path.read_bytes()
    header = raw[: storage.HEADER]
    path.write_bytes(
        {
            "empty": b"",
            "cut": raw[:-1],
            "cut in the header": raw[:100],
            "longer": raw + b"\0",
            "foreign": b"GIF89a" + raw[6:],
            "garbage header": header[:10] + b"(" * 4086 + raw[4096:],
            "other dtype": header.replace(b"<f4", b"<i4") + raw[4096:],
            "other shape": header.replace(b"(2, 3)", b"(3, 2)") + raw[4096:],
            "object dtype": header.replace(b"'<f4'", b"'|O' ") + raw[4096:],
            "fortran": header.replace(b"False", b"True ") + raw[4096:],
            "not ascii": header[:20] + b"\xff\xfe" + header[22:] + raw[4096:],
            "version 2": b"\x93NUMPY\x02" + raw[7:],
        }[what]
    )


@pytest.mark.parametrize(
    "what",
    [
        "empty",
        "cut",
        "cut in the header",
        "longer",
        "foreign",
        "garbage header",
        "other dtype",
        "other shape",
        "object dtype",
        "fortran",
        "not ascii",
        "version 2",
    ],
)
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_damaged_files_are_refused_and_left_alone(tmp_path: Path, what: str, mode: files.Mode) -> None:
    make_named(tmp_path)
    damage(tmp_path / "a.npy", what)
    before = (tmp_path / "a.npy").read_bytes()
    with pytest.raises(WorldFormatError, match=r"a\.npy"):
        storage.make(LAYOUT, "memmap", tmp_path, mode)
    assert (tmp_path / "a.npy").read_bytes() == before


@pytest.mark.parametrize("resets", [(0, 0), (-3, 0), (1, 5), (1, -1), (2**40, 0)])
def test_impossible_resets_are_refused(tmp_path: Path, resets: tuple[int, int]) -> None:
    ChannelGrid((4, 4), [Channel("A")], name="a", folder=tmp_path).close()
    np.load(tmp_path / "a.copies.npy", mmap_mode="r+")[:] = resets
    with pytest.raises(WorldFormatError, match="resets"):
        ChannelGrid((4, 4), [Channel("A")], name="a", folder=tmp_path, mode="r", tick=4)


@pytest.mark.parametrize("name", ["", ".", "..", "../../etc/x", "/etc/x", "a/b", "a\\b", "a\0b", 5, None])
def test_names_cannot_leave_their_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="plain name"):
        files.safe_name(name, "a name")
    with pytest.raises(ConfigError):
        files.new_folder(tmp_path, name, (2, 3))
    with pytest.raises(ConfigError):
        ChannelGrid((4, 4), [Channel("A")], name=name, folder=tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "safe"),
    [("run 1", "run-1"), ("ä:b*c", "-b-c"), (".hidden", "hidden"), ("..a", "a"), ("a.b-c_D", "a.b-c_D")],
)
def test_unsafe_characters_become_a_dash(name: str, safe: str) -> None:
    assert files.safe_name(name, "a name") == safe


def test_folder_names_keep_two_of_one_process_apart(tmp_path: Path) -> None:
    pid = os.getpid()
    made = [files.new_folder(tmp_path / "new", "w", (4, 5), namespace="ns", simulation_id="s 1") for _ in range(3)]
    base = f"ns_w_s-1_p{pid}_4x5"
    assert [folder.name for folder in made] == [base, f"{base}_2", f"{base}_3"]
    assert files.new_folder(tmp_path, "w", (4, 5)).name == f"w_p{pid}_4x5"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        files.new_folder(tmp_path / "file", "w", (4, 5))
    with pytest.raises(StorageError):
        files.given_folder(tmp_path / "file")
    with pytest.raises(StorageError, match="new or empty"):
        files.given_folder(tmp_path)


def test_writing_atomically_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "t.json"
    files.write_atomically(target, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_atomically(target, "new")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["t.json"]


@pytest.mark.parametrize("with_tmpfile", [True, False])
def test_scratch_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_tmpfile: bool) -> None:
    monkeypatch.setenv("MEMFARM_SCRATCH", str(tmp_path))
    if not with_tmpfile:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    segments = storage.make(LAYOUT, "memmap", None, "w+")
    segments.arrays["a"][:] = 3
    assert names(tmp_path) == []
    assert str(tmp_path) in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("with_tmpfile", [True, False])
def test_scratch_needs_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_tmpfile: bool) -> None:
    monkeypatch.setenv("MEMFARM_SCRATCH", str(tmp_path / "no"))
    if not with_tmpfile:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    with pytest.raises(StorageError, match="MEMFARM_SCRATCH"):
        storage.make(LAYOUT, "memmap", None, "w+")


def descriptors() -> set[str]:
    return {link.name for link in Path("/proc/self/fd").iterdir()}


def test_a_refused_map_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    before = descriptors()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", refuse)
    for backend in ("memmap", "ram"):
        with pytest.raises(StorageError, match="Cannot allocate"):
            storage.make(LAYOUT, backend, None, "w+")
    assert descriptors() == before


@pytest.mark.parametrize(
    ("backend", "mode", "folder"),
    [
        ("disk", "w+", None),
        ("ram", "w", None),
        ("ram", "r", Path("x")),
        ("memmap", "r+", None),
        ("memmap", "a", Path("x")),
    ],
)
def test_impossible_lives(backend: storage.Backend, mode: files.Mode, folder: Path | None) -> None:
    with pytest.raises(ConfigError, match=r"backend|mode"):
        ChannelGrid((4, 4), [Channel("A")], backend=backend, mode=mode, folder=folder)
