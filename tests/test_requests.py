"""Snapshots that a reader asks of the writer of a running world."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import memfarm  # noqa: F401 - registers the ids
from memfarm import guard, requests
from memfarm.errors import ConfigError, StorageError
from memfarm.world import World

SHAPE = (40, 50)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(SHAPE, copies=2, path=tmp_path / "w")
    yield world
    world.close()


@pytest.fixture
def reader(world: World, tmp_path: Path) -> Iterator[World]:
    reader = World.open(tmp_path / "w")
    yield reader
    reader.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 0.02)


def stepping(world: World, over: threading.Event) -> threading.Thread:
    def run() -> None:
        while not over.wait(0.002):
            world.advance()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_reader_gets_a_snapshot_at_the_writers_next_step(world: World, reader: World, tmp_path: Path) -> None:
    world.scatter("OBSTACLES", 0, 1, 1, 1.0)
    over = threading.Event()
    thread = stepping(world, over)
    try:
        reader.request_snapshot(tmp_path / "s", timeout=120)
    finally:
        over.set()
        thread.join()
    snapshot = World.open(tmp_path / "s")
    assert snapshot.gather("OBSTACLES", 0, 1, 1) == 1
    assert 0 < snapshot.tick <= world.tick
    snapshot.close()
    assert requests.leftovers(tmp_path / "w") == []


def test_several_readers_who_ask_at_once_are_all_answered(world: World, tmp_path: Path) -> None:
    over = threading.Event()
    thread = stepping(world, over)
    readers = [World.open(tmp_path / "w") for _ in range(4)]
    askers = [
        threading.Thread(target=reader.request_snapshot, args=(tmp_path / f"s{n}", 120))
        for n, reader in enumerate(readers)
    ]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    over.set()
    thread.join()
    for n, reader in enumerate(readers):
        reader.close()
        World.open(tmp_path / f"s{n}").close()


def test_the_end_of_the_outermost_block_answers_and_no_earlier_moment(world: World, tmp_path: Path) -> None:
    (tmp_path / "w" / f"request-{'0' * 16}.json").write_text(json.dumps({"path": str(tmp_path / "s")}))
    requests._ring(tmp_path / "w")
    with world.writing():
        world.advance()
        with world.writing():
            world.scatter("TRAILS", 0, 1, 1, 1.0)
        assert not (tmp_path / "s").exists()
    World.open(tmp_path / "s").close()
    assert json.loads((tmp_path / "w" / f"answer-{'0' * 16}.json").read_text()) == {"error": None}


def test_what_the_writer_cannot_do_comes_back_to_the_reader_and_the_run_goes_on(
    world: World, reader: World, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    over = threading.Event()
    thread = stepping(world, over)
    try:
        with pytest.raises(StorageError, match="could not take"):
            reader.request_snapshot(tmp_path / "file" / "s", timeout=120)
    finally:
        over.set()
        thread.join()
    world.advance()
    assert requests.leftovers(tmp_path / "w") == []


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"path": 3}', '{"path": "relative"}', "{}", '{"path": "/\\u0000"}', "[" * 60_000],
)
def test_a_mangled_request_is_answered_with_an_error_and_stops_nothing(world: World, tmp_path: Path, text: str) -> None:
    (tmp_path / "w" / f"request-{'a' * 16}.json").write_text(text)
    (tmp_path / "w" / "request-other.json").write_text(text)  # none of ours: left alone
    world.answer_requests()
    assert json.loads((tmp_path / "w" / f"answer-{'a' * 16}.json").read_text())["error"]
    assert (tmp_path / "w" / "request-other.json").exists()
    (tmp_path / "w" / "request-other.json").unlink()
    world.advance()


@pytest.mark.parametrize("where", ["w/s", "w", "there", "link/s"])
def test_a_snapshot_goes_to_a_new_place_outside_of_the_world(
    world: World, reader: World, tmp_path: Path, where: str
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "w")
    with pytest.raises(ConfigError):
        reader.request_snapshot(tmp_path / where)
    assert requests.leftovers(tmp_path / "w") == []


def test_a_request_without_a_writer_fails_at_once(world: World, reader: World, tmp_path: Path) -> None:
    world.close()
    with pytest.raises(StorageError, match="has none"):
        reader.request_snapshot(tmp_path / "s", timeout=600)


def test_a_request_whose_writer_leaves_fails_before_its_time(world: World, reader: World, tmp_path: Path) -> None:
    leaves = threading.Timer(0.1, world.close)
    leaves.start()
    try:
        with pytest.raises(StorageError, match="has none"):
            reader.request_snapshot(tmp_path / "s", timeout=600)
    finally:
        leaves.join()
    assert requests.leftovers(tmp_path / "w") == []


def test_a_request_to_a_writer_that_stands_still_runs_out_of_time(world: World, reader: World, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"none in 0\.05 s"):
        reader.request_snapshot(tmp_path / "s", timeout=0.05)
    assert requests.leftovers(tmp_path / "w") == []
    world.advance()
    assert not (tmp_path / "s").exists()


def test_who_has_the_world_asks_nobody(world: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"snapshot\(\)"):
        world.request_snapshot(tmp_path / "s")


def test_a_reader_beside_a_writer_takes_no_snapshot_itself(world: World, reader: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="request_snapshot"):
        reader.snapshot(tmp_path / "s")
    world.close()
    reader.snapshot(tmp_path / "s")
    World.open(tmp_path / "s").close()


def test_requests_of_the_dead_are_cleared_by_the_next_writer(tmp_path: Path) -> None:
    World(SHAPE, path=tmp_path / "w").close()
    (tmp_path / "w" / f"request-{'0' * 16}.json").write_text("{}")
    World.open(tmp_path / "w", "r+").close()
    assert requests.leftovers(tmp_path / "w") == []
