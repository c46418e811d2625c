"""One writer a world: the lock, what it refuses, and what releases it."""

import gc
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from memfarm import locks
from memfarm.config import MemmapConfig
from memfarm.errors import StorageError, WorldLockedError
from memfarm.locks import WorldLock, writer_of
from memfarm.world import World

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]

HOLDER = r"""
import os, sys, time
from memfarm.world import World
world = World((16, 16), path=sys.argv[1])
if sys.argv[2] == "forks":
    if os.fork() == 0:
        os.write(1, b"%d\n" % os.getpid())  # in one piece: the other process writes too
        time.sleep(600)
os.write(1, b"held\n")
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes the world `tmp_path / "w"`."""
    child = start(tmp_path, "alone")
    try:
        assert line(child) == "held"
        yield child
    finally:
        end(child)


def start(tmp_path: Path, kind: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "w", kind],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


def test_a_second_writer_is_refused_by_the_pid_of_the_first(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(WorldLockedError, match=rf"process {holder.pid}\b"):
        World.open(tmp_path / "w", "r+")
    assert writer_of(tmp_path / "w") == f"process {holder.pid}"


def test_a_private_copy_beside_a_writer_is_refused_and_a_reader_is_not(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    with pytest.raises(WorldLockedError, match=f"process {holder.pid}; take a snapshot"):
        World.open(tmp_path / "w", "c")
    World.open(tmp_path / "w", "r").close()


@pytest.mark.parametrize("kind", ["alone", "forks"])
def test_death_releases_the_world_also_where_forked_children_live_on(tmp_path: Path, kind: str) -> None:
    child = start(tmp_path, kind)
    said = [line(child) for _ in range(1 if kind == "alone" else 2)]
    orphan = next((int(word) for word in said if word.isdigit()), None)
    try:
        child.kill()
        child.wait()
        assert orphan is None or Path(f"/proc/{orphan}").exists()
        World.open(tmp_path / "w", "r+").close()
    finally:
        if orphan is not None:
            os.kill(orphan, signal.SIGKILL)
        end(child)


def test_a_second_writer_in_the_same_process_is_refused_until_the_first_one_closes(tmp_path: Path) -> None:
    world = World((16, 16), path=tmp_path / "w")
    with pytest.raises(WorldLockedError, match=f"this process \\({os.getpid()}\\)"):
        World.open(tmp_path / "w", "r+")
    world.scatter("TRAILS", 0, 1, 1, 1.0)  # and the first one lost nothing
    world.close()
    assert writer_of(tmp_path / "w") is None
    again = World.open(tmp_path / "w", "r+")
    assert again.gather("TRAILS", 0, 1, 1) == 1
    again.close()


def test_a_world_that_is_dropped_lets_go_of_its_lock(tmp_path: Path) -> None:
    world = World((16, 16), path=tmp_path / "w")
    del world
    gc.collect()
    World.open(tmp_path / "w", "r+").close()


def test_a_refused_new_world_leaves_the_folder_to_whoever_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    lock = WorldLock(folder)
    monkeypatch.setattr("memfarm.files.given_folder", lambda path: path)  # as if both had found it empty
    with pytest.raises(WorldLockedError):
        World((16, 16), path=folder)
    assert [path.name for path in folder.iterdir()] == ["lock"]
    lock.release()


def test_a_forked_child_that_closes_the_world_leaves_the_lock_to_its_parent(tmp_path: Path) -> None:
    world = World((16, 16), path=tmp_path / "w")
    child = os.fork()
    if child == 0:
        world.close()
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(WorldLockedError):
        WorldLock(tmp_path / "w")
    world.close()


def test_the_lock_is_private_and_follows_no_link(tmp_path: Path) -> None:
    lock = WorldLock(tmp_path)
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600
    lock.release()
    (tmp_path / "lock").unlink()
    target = tmp_path / "precious"
    target.write_text("mine")
    (tmp_path / "lock").symlink_to(target)
    for touch in (lambda: WorldLock(tmp_path), lambda: writer_of(tmp_path)):
        with pytest.raises(StorageError, match="plain file"):
            touch()
    assert target.read_text() == "mine"


def test_a_pipe_in_the_place_of_the_lock_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")
    for touch in (lambda: WorldLock(tmp_path), lambda: writer_of(tmp_path)):
        with pytest.raises(StorageError, match="plain file"):
            touch()


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def steal(fd: int) -> bool:
        if not tries:
            (tmp_path / "lock").unlink()
        tries.append(fd)
        return True

    monkeypatch.setattr(locks, "_try_lock", steal)
    lock = WorldLock(tmp_path)
    assert len(tries) == 2
    assert (tmp_path / "lock").exists()
    lock.release()


def test_a_folder_that_may_only_be_read_can_be_read(tmp_path: Path) -> None:
    World((16, 16), path=tmp_path / "w").close()
    (tmp_path / "w" / "lock").unlink()  # as in a folder that was copied without it
    (tmp_path / "w").chmod(0o500)
    try:
        world = World.open(tmp_path / "w", "r")
        assert world.gather("TRAILS", 0, 1, 1) == 0
        world.close()
    finally:
        (tmp_path / "w").chmod(0o700)
    assert not (tmp_path / "w" / "lock").exists()


def test_deleting_on_close_removes_the_lock_too(tmp_path: Path) -> None:
    world = World((16, 16), memmap=MemmapConfig(directory=str(tmp_path), delete_on_close=True))
    assert world.path is not None
    assert (world.path / "lock").exists()
    world.close()
    assert list(tmp_path.iterdir()) == []


def test_readers_that_are_stopped_or_killed_hold_up_nobody(tmp_path: Path) -> None:
    World((16, 16), path=tmp_path / "w").close()
    code = """
import sys, time
from memfarm.world import World
world = World.open(sys.argv[1])
while True:
    world.gather("TRAILS", 0, 1, 1)
    print("read", flush=True) if world.tick == 0 and not time.sleep(0.01) else None
"""
    reader = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "w"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert line(reader) == "read"
        reader.send_signal(signal.SIGSTOP)
        world = World.open(tmp_path / "w", "r+")
        start_time = time.monotonic()
        for _ in range(100):
            world.scatter("TRAILS", 0, 1, 1, 1.0)
            world.advance()
        reader.kill()
        world.close()
        World.open(tmp_path / "w", "r+").close()
        assert time.monotonic() - start_time < 60  # it was not waited for
    finally:
        end(reader)
