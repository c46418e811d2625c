"""`memfarm sweep` finds what the dead left, and never touches what is alive or what is to stay."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from memfarm import cli, leftovers
from memfarm.config import MemmapConfig
from memfarm.errors import StorageError
from memfarm.memory import AgentMemory
from memfarm.world import World

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]

CHILD = """
import os, signal, sys
from pathlib import Path
from memfarm import files, manifest, publishing
from memfarm.config import MemmapConfig
from memfarm.memory import AgentMemory
from memfarm.world import World

case, folder = sys.argv[1], sys.argv[2]
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
memmap = MemmapConfig(directory=folder, delete_on_close=case in ("to delete", "memory"))
if case == "making":
    World._write_manifest = die
if case == "copying":
    publishing.sync = die
if case == "building":
    from memfarm.commands.build import build
    World.close = die
    build("noise", Path(folder) / "map")
if case == "scratch":
    del os.O_TMPFILE
    files.shutil.rmtree = die
    World((30, 40))
world = World((30, 40), memmap=memmap, name="kept")
world.scatter("TRAILS", 0, 3, 4, 1.0)
if case == "copying":
    world.snapshot(Path(folder) / "snapshot")
if case == "memory":
    AgentMemory(world, 3, memmap=memmap)
if case == "rewriting":
    Path.replace = die
    world.flush()
if case == "alive":
    print("ready", flush=True)
    sys.stdin.read()
die()
"""


def start(folder: Path, case: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, case, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "MEMFARM_SCRATCH": str(folder)},
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def killed(folder: Path, case: str) -> int:
    """Play a case until it kills itself; its pid."""
    with start(folder, case) as child:
        _, err = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL, err
    return child.pid


@pytest.fixture(scope="module")
def graveyard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, int]]:
    """A folder for each case, after its process was killed; and the pid."""
    found = {}
    for case in ("making", "copying", "building", "scratch", "to delete", "memory", "rewriting", "kept"):
        folder = tmp_path_factory.mktemp(case.replace(" ", "_"))
        found[case] = folder, killed(folder, case)
    return found


@pytest.mark.parametrize(
    ("case", "kinds", "stays"),
    [
        ("making", {"unfinished world"}, 0),
        ("copying", {"unfinished copy"}, 1),
        ("building", {"unfinished copy"}, 0),
        ("scratch", {"scratch"}, 0),
        ("to delete", {"world to delete"}, 0),
        ("memory", {"world to delete"}, 0),
        ("rewriting", {"half-written text"}, 1),
        ("kept", set(), 1),
    ],
)
def test_what_a_killed_process_left(
    graveyard: dict[str, tuple[Path, int]], case: str, kinds: set[str], stays: int
) -> None:
    folder, pid = graveyard[case]
    before = tree(folder)
    found = leftovers.find(folder)
    assert tree(folder) == before
    assert {left.kind for left in found} == kinds
    assert {left.pid for left in found} <= {pid, None}
    assert all(leftovers.remove(left) for left in found)
    assert leftovers.find(folder) == []
    assert len(list(folder.iterdir())) == stays
    for world in folder.iterdir():
        World.open(world, "r+").close() if case != "copying" else None


def tree(folder: Path) -> list[tuple[str, float]]:
    return sorted((str(path), path.lstat().st_mtime) for path in folder.rglob("*"))


@pytest.fixture
def living(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds a world and lives."""
    with start(tmp_path, "alive") as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()


def test_the_living_are_left_alone(tmp_path: Path, living: "subprocess.Popen[str]") -> None:
    for name in (f".a.part-{living.pid}", f".a.part-{living.pid}-0123abcd", f"memfarm-{living.pid}-abcd_123"):
        (tmp_path / name).mkdir()
    (world,) = tmp_path.glob("kept_*")
    (world / ".world.json.abcdefgh").touch()  # being rewritten
    (world / "world.json").rename(world / "world.bak.json")  # being made
    assert leftovers.find(tmp_path) == []
    (world / "delete_on_close.json").write_text(json.dumps({"pid": 2**22 + 1}))  # a mark of somebody before
    assert leftovers.find(tmp_path) == []


def test_what_came_alive_after_it_was_found_is_kept(tmp_path: Path, living: "subprocess.Popen[str]") -> None:
    (world,) = tmp_path.glob("kept_*")
    assert not leftovers.remove(leftovers.Leftover(world, "world to delete", None, 0))
    assert world.is_dir()


def test_a_pid_that_is_another_process_by_now_does_not_keep_it(
    tmp_path: Path, living: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f".a.part-{living.pid}").mkdir()
    monkeypatch.setattr(leftovers, "_CLOCKS", -3600.0)  # as if the folder were an hour older
    assert [left.kind for left in leftovers.find(tmp_path)] == ["unfinished copy"]


def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    return child.pid


def test_what_is_not_memfarms_stays(tmp_path: Path) -> None:
    pid, folder = dead_pid(), tmp_path / "here"
    folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (folder / f".link.part-{pid}").symlink_to(tmp_path / "elsewhere")
    (folder / f".file.part-{pid}").touch()
    for number, name in enumerate(("thesis.tex", ".hidden", "data.npy.bak")):
        (folder / f".other{number}.part-{pid}").mkdir()
        (folder / f".other{number}.part-{pid}" / name).touch()
    deep = folder / f".deep.part-{pid}"
    (deep / "mine").mkdir(parents=True)
    linked = folder / f".linked.part-{pid}"
    linked.mkdir()
    (linked / "a.npy").symlink_to(tmp_path / "elsewhere")
    (folder / "somebody").mkdir()
    (folder / "somebody" / "lock").write_text(str(pid))
    assert leftovers.find(folder) == []


def test_links_in_what_is_removed_are_not_followed(tmp_path: Path) -> None:
    part = tmp_path / f".a.part-{dead_pid()}"
    part.mkdir()
    (left,) = leftovers.find(tmp_path)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "a.npy").touch()
    part.rmdir()
    part.symlink_to(tmp_path / "precious")
    assert not leftovers.remove(left)
    assert (tmp_path / "precious" / "a.npy").exists()


@pytest.mark.parametrize("again", [True, False])
def test_a_world_that_was_taken_over_is_judged_anew(tmp_path: Path, again: bool) -> None:
    killed(tmp_path, "to delete")
    (world,) = tmp_path.glob("kept_*")
    memmap = MemmapConfig(mode="r+", delete_on_close=again)
    taken = World(memmap=memmap, path=world)
    assert leftovers.find(tmp_path) == []
    taken.close()
    assert world.exists() != again
    assert leftovers.find(tmp_path) == []


def test_a_mark_goes_with_its_world(tmp_path: Path) -> None:
    memmap = MemmapConfig(directory=str(tmp_path), delete_on_close=True)
    world = World((20, 20), memmap=memmap)
    memory = AgentMemory(world, 2, memmap=memmap)
    assert len(list(tmp_path.glob("*/delete_on_close.json"))) == 2
    memory.close()
    world.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="sweep needs a folder"):
        leftovers.find(tmp_path / "no")


def test_the_command_lists_and_deletes(tmp_path: Path) -> None:
    pid = dead_pid()
    part = tmp_path / f".a.part-{pid}"
    part.mkdir()
    (part / "a.npy").write_bytes(bytes(5000))
    run = CliRunner().invoke
    listed = run(cli.app, ["sweep", str(tmp_path)])
    assert f".a.part-{pid}" in listed.output
    assert "--delete" in listed.output
    (entry,) = json.loads(run(cli.app, ["sweep", str(tmp_path), "--json"]).output)
    assert entry == {
        "path": str(part),
        "kind": "unfinished copy",
        "pid": pid,
        "disk_bytes": 8192,
        "deleted": False,
    }
    (entry,) = json.loads(run(cli.app, ["sweep", str(tmp_path), "--json", "--delete"]).output)
    assert entry["deleted"]
    assert not part.exists()
    assert "nothing was left behind" in run(cli.app, ["sweep", str(tmp_path)]).output
