"""Folders and files that somebody prepared: links, pipes, forged sizes, open permissions, names that lead elsewhere."""

import json
import os
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import memfarm  # noqa: F401 - registers the ids
from memfarm import layout, storage
from memfarm.config import MemmapConfig, SimulationConfig
from memfarm.errors import ConfigError, MemfarmError, StorageError, TerrainError, WorldFormatError
from memfarm.octile import read_octile
from memfarm.raster import load_raster
from memfarm.world import World

pytestmark = pytest.mark.once

SHAPE = (20, 37)
FIFO_READERS: dict[str, Callable[[Path], object]] = {
    "config.yaml": SimulationConfig.from_file,
    "config.json": SimulationConfig.from_file,
    "arena.map": read_octile,
    **dict.fromkeys(("hill.npy", "hill.npz", "hill.png"), load_raster),
}


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    old = os.umask(request.param)
    yield
    os.umask(old)


def made(folder: Path) -> Path:
    """A world folder that was written, snapshotted and closed."""
    world = World(SHAPE, path=folder, seed=3)
    world.scatter("TRAILS", 0, 1, 1, 1.0)
    world.snapshot(folder.with_name(f"{folder.name}-kept"))
    world.close()
    return folder


def modes(root: Path) -> dict[str, str]:
    """Permissions of everything below `root` that somebody else could use."""
    everything = [Path(where) / name for where, folders, files in os.walk(root) for name in (*folders, *files)]
    return {
        str(p.relative_to(root)): oct(p.stat().st_mode) for p in everything if stat.S_IMODE(p.stat().st_mode) & 0o077
    }


@pytest.mark.usefixtures("umask")
def test_what_memfarm_makes_is_its_user_s_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMFARM_CACHE", str(tmp_path / "cache"))
    made(tmp_path / "named")
    World(SHAPE, memmap=MemmapConfig(directory=str(tmp_path / "many"))).close()
    recipe = {"kind": "noise", "shape": [16, 16]}
    env = gym.make_vec("memfarm/Forage-v0", num_envs=2, map=recipe, tensor="numpy")
    env.reset(seed=0)
    env.save(tmp_path / "saved")  # type: ignore[attr-defined]
    env.close()
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) > 40
    assert modes(tmp_path) == {}


def files_of(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in made(tmp_path / "w").iterdir())


def test_no_file_of_a_world_may_be_a_link(tmp_path: Path) -> None:
    for name in files_of(tmp_path):
        folder = made(tmp_path / f"w-{name}")
        elsewhere = tmp_path / f"elsewhere-{name}"
        (folder / name).rename(elsewhere)
        (folder / name).symlink_to(elsewhere)
        before = elsewhere.read_bytes()
        for mode in ("r", "r+", "c"):
            try:
                World.open(folder, mode).close()  # type: ignore[arg-type]
            except StorageError:
                continue
            assert name in ("lock", "last_snapshot.json"), (name, mode)  # not looked at in this mode
        assert elsewhere.read_bytes() == before, name


def test_nothing_of_a_world_waits_for_a_pipe(tmp_path: Path) -> None:
    for name in files_of(tmp_path):
        folder = made(tmp_path / f"w-{name}")
        (folder / name).unlink()
        os.mkfifo(folder / name)
        for mode in ("r", "r+"):
            try:
                World.open(folder, mode).close()  # type: ignore[arg-type]
            except StorageError:
                continue
            assert name in ("lock", "last_snapshot.json"), (name, mode)


@pytest.mark.parametrize("name", FIFO_READERS)
def test_no_file_that_a_user_names_may_be_a_pipe_a_device_or_a_folder(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    (tmp_path / "zero").mkdir()
    (tmp_path / "zero" / name).symlink_to("/dev/zero")
    (tmp_path / "folder" / name).mkdir(parents=True)
    for path in (tmp_path / name, tmp_path / "zero" / name, tmp_path / "folder" / name, tmp_path / f"\0{name}"):
        with pytest.raises((ConfigError, TerrainError), match="read"):
            FIFO_READERS[name](path)


def test_a_link_to_a_world_folder_or_a_raster_is_the_user_s_own_choice(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(made(tmp_path / "w"))
    world = World.open(tmp_path / "link")
    assert world.gather("TRAILS", 0, 1, 1)[0] == 1
    world.close()
    np.save(tmp_path / "hill.npy", np.ones((2, 2)))
    (tmp_path / "hill-link.npy").symlink_to(tmp_path / "hill.npy")
    assert load_raster(tmp_path / "hill-link.npy")[0].shape == (2, 2)


def test_a_snapshot_does_not_go_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (tmp_path / "snapshot").symlink_to(victim)
    world = World(SHAPE)
    with pytest.raises(StorageError):
        world.snapshot(tmp_path / "snapshot")
    world.close()
    assert list(victim.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["snapshot", "victim"]


def forged(folder: Path, shape: tuple[int, int], copies: int) -> Path:
    """A world folder that claims to be as large as it likes, consistently: its files are holes of the right sizes."""
    World(SHAPE, path=folder).close()
    manifest = json.loads((folder / "world.json").read_text())
    manifest |= {"shape": shape, "copies": copies}
    for group, entry in manifest["grids"].items():
        entry["copies"] = 1 if group == "environmental" else copies
        for name, (size, dtype) in layout.segments(
            group, shape, len(entry["channels"]), entry["copies"], entry["dtype"]
        ).items():
            with (folder / f"{name}.npy").open("r+b") as file:
                file.write(storage.header(size, dtype))
                file.truncate(storage.HEADER + int(np.prod([*size], dtype=object)) * dtype.itemsize)
    (folder / "world.json").write_text(json.dumps(manifest))
    return folder


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="measures through /proc")
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize(
    ("shape", "copies", "opens"), [((300_000, 300_000), 1, True), ((16, 16), 100_000_000, False)], ids=["wide", "many"]
)
def test_terabytes_of_holes_cost_nothing_to_open(
    tmp_path: Path, shape: tuple[int, int], copies: int, opens: bool, mode: Any
) -> None:
    try:
        folder = forged(tmp_path / "w", shape, copies)
    except OSError as error:
        pytest.skip(f"no sparse files of that size here: {error}")
    World.open(made(tmp_path / "small")).close()  # whatever is loaded late is loaded
    tracemalloc.start()
    before = resident()
    try:
        if opens:
            world = World.open(folder, mode)
            assert world.gather("TRAILS", 0, shape[0] - 1, shape[1] - 1)[0] == 0
            world.close()
        else:  # a hole says that no copy was ever reset, which no world says
            with pytest.raises(WorldFormatError, match="resets"):
                World.open(folder, mode)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
        assert resident() - before < 32 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("copies", [2**31, 10**30])
def test_sizes_that_no_file_has_are_refused_before_anything_is_mapped(tmp_path: Path, copies: int) -> None:
    folder = made(tmp_path / "w")
    manifest = json.loads((folder / "world.json").read_text())
    manifest["copies"] = manifest["grids"]["temporal"]["copies"] = manifest["grids"]["resources"]["copies"] = copies
    (folder / "world.json").write_text(json.dumps(manifest))
    with pytest.raises(WorldFormatError):
        World.open(folder)


def descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()]) if Path("/proc/self/fd").is_dir() else 0


@pytest.mark.parametrize("where", ["itself", "each other", "\0", "\ud800", "x" * 5000, "/dev/null"])
def test_a_map_that_leads_nowhere_or_in_circles_is_refused(tmp_path: Path, where: str) -> None:
    one, two = made(tmp_path / "one"), made(tmp_path / "two")
    for folder, other in ((one, two), (two, one)):
        manifest = json.loads((folder / "world.json").read_text())
        manifest["map"] = {"itself": str(folder), "each other": str(other)}.get(where, where)
        (folder / "world.json").write_text(json.dumps(manifest))
    open_files = descriptors()
    with pytest.raises(WorldFormatError):
        World.open(one)
    assert descriptors() == open_files


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/tmp/x", "..", "x\0", "a\\b"])
def test_no_name_leaves_its_folder(tmp_path: Path, name: str) -> None:
    config = MemmapConfig(directory=str(tmp_path / "in"))
    for arguments in ({"name": name}, {"simulation_id": name}):
        with pytest.raises(MemfarmError):
            World(SHAPE, memmap=config, **arguments)  # type: ignore[arg-type]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_path_that_is_none_is_refused_by_name() -> None:
    for call in (lambda path: World(SHAPE, path=path), World.open, lambda path: World(SHAPE, map=path)):
        for path in ("\0", "\ud800"):
            with pytest.raises(StorageError):
                call(path)  # type: ignore[operator]


WITHOUT_TMPFILE = """
import os
del os.O_TMPFILE
from memfarm.world import World
world = World((4, 4))
print(os.listdir(os.environ["MEMFARM_SCRATCH"]))
"""


def test_scratch_has_no_name_that_could_be_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMFARM_SCRATCH", str(tmp_path))
    world = World(SHAPE)
    world.scatter("TRAILS", 0, 1, 1, 1.0)
    assert list(tmp_path.iterdir()) == []
    world.close()
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TMPFILE],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
