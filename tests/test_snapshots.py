"""What World.snapshot promises: the same world, at the cost of what was written; whole, or refused by name."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memfarm import checksums, live_tiles, snapshots, sparse_copy, terrain
from memfarm.channels import ALLY_SIGNAL, DAMAGE_HEAT, TRAILS
from memfarm.config import MemmapConfig
from memfarm.errors import DirtyWorldError, StorageError, WorldFormatError
from memfarm.world import World

ROOT = Path(__file__).parents[1]
SHAPE = (50, 70)
RAM = MemmapConfig(use_for_resources=False, use_for_environmental=False, use_for_temporal=False)
HALF = MemmapConfig(dtype={"temporal": "float16"}, use_for_temporal=False)
KINDS = ("scratch", "ram", "half", "named", "private", "map", "copied map")
PAGE = 4096
FULL = os.environ.get("MEMFARM_DOSE") == "full"

pytestmark = pytest.mark.timeout(3600 if FULL else 300)


def play(world: World, ticks: int, seed: int) -> None:
    """Eat, walk, strike, forget and wait, at random."""
    random = np.random.default_rng(seed)
    height, width = world.shape
    for _ in range(ticks):
        copy, y, x = (random.integers(0, most, 30) for most in (world.copies, height, width))
        world.take("RESOURCES", copy, y, x, random.random(30))
        world.scatter("TRAILS", copy, y, x, 1.0, how="max")
        world.deposit_temporal_events("DAMAGE_HEAT", (y, x, random.random(30)), copy)
        world.deposit_temporal_events("ALLY_SIGNAL", (y, x, random.random(30)), copy)
        if random.random() < 0.2:
            world.reset([int(random.integers(world.copies))])
        world.advance(int(random.integers(1, 20)))


def contents(world: World) -> dict[str, Any]:
    """All that can be read of a world."""
    height, width = world.shape
    found: dict[str, Any] = {
        f"{name} {copy}": grid.read(name, 0, height, 0, width, copy).tobytes()
        for grid in world.grids.values()
        for name in grid.names
        for copy in range(grid.copies)
    }
    for name in world.sparse.names:
        found[name] = [part.tobytes() for part in world.sparse.points(name)]
    return {**found, "tick": world.tick}


class Makers:
    """Worlds of every kind, closed at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.worlds: list[World] = []

    def __call__(self, kind: str, shape: tuple[int, int] = SHAPE, copies: int = 3) -> World:
        place = self.folder / f"{kind}-{len(self.worlds)}"
        arguments: dict[str, Any] = {
            "copies": copies,
            "sparse": (ALLY_SIGNAL,),
            "channels": {"temporal": (DAMAGE_HEAT, TRAILS)},
            "memmap": {"ram": RAM, "half": HALF}.get(kind),
        }
        if kind == "named":
            arguments["path"] = place
        if kind.endswith("map"):
            World(terrain=terrain.from_noise(shape, seed=3), path=place).close()
            arguments |= {"map": place, "map_mode": "c" if kind == "copied map" else "r"}
        if kind == "private":
            first = World(shape, path=place, **arguments)
            play(first, 2, 9)
            first.close()
            return self.keep(World.open(place, "c", sparse=arguments["sparse"]))
        return self.keep(World(shape, **arguments))

    def keep(self, world: World) -> World:
        self.worlds.append(world)
        return world

    def open(self, path: Path, mode: Any = "r", **arguments: Any) -> World:
        return self.keep(World.open(path, mode, **arguments))

    def close(self) -> None:
        while self.worlds:
            self.worlds.pop().close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Makers]:
    makers = Makers(tmp_path)
    yield makers
    makers.close()


# --- the same world


@pytest.mark.parametrize("mode", ["r", "c", "r+"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_of_any_world_holds_what_the_world_held(make: Makers, tmp_path: Path, kind: str, mode: str) -> None:
    world = make(kind)
    play(world, 8, 1)
    before = contents(world)
    world.snapshot(tmp_path / "kept")
    play(world, 3, 2)
    opened = make.open(tmp_path / "kept", mode)
    assert contents(opened) == before
    assert opened.sparse.names == ("ALLY_SIGNAL",)


@given(kind=st.sampled_from(KINDS), first=st.integers(0, 12), more=st.integers(0, 12), seed=st.integers(0, 99))
@settings(max_examples=100 if FULL else 12)
def test_what_follows_a_snapshot_is_what_would_have_followed(
    tmp_path_factory: pytest.TempPathFactory, kind: str, first: int, more: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("resume")
    make = Makers(folder)
    try:
        world = make(kind)
        play(world, first, seed)
        world.snapshot(folder / "kept")
        resumed = make.open(folder / "kept", "r+")
        for one in (world, resumed):
            play(one, more, seed + 1)
        assert contents(resumed) == contents(world)
    finally:
        make.close()
        shutil.rmtree(folder)


def test_a_ground_is_kept_only_where_it_is_no_maps(make: Makers, tmp_path: Path) -> None:
    shared, changed = make("copied map"), make("copied map")
    changed.set_environmental_layer("OBSTACLES", np.ones(SHAPE))
    for world, name in ((shared, "shared"), (changed, "changed")):
        world.snapshot(tmp_path / name)
    assert not (tmp_path / "shared" / "environmental.npy").exists()
    opened = make.open(tmp_path / "changed")
    assert opened.gather("OBSTACLES", 0, 3, 3) == 1.0
    assert opened.gather("TERRAIN_COST", 0, 3, 3) == shared.gather("TERRAIN_COST", 0, 3, 3)


def test_opened_to_be_written_a_snapshot_becomes_a_world(make: Makers, tmp_path: Path) -> None:
    world = make("scratch")
    play(world, 3, 0)
    world.snapshot(tmp_path / "kept")
    make.open(tmp_path / "kept", "r")
    make.open(tmp_path / "kept", "c").advance()
    assert (tmp_path / "kept" / checksums.FILE).exists()
    living = make.open(tmp_path / "kept", "r+")
    play(living, 5, 1)
    expected = {key: value for key, value in contents(living).items() if key != "ALLY_SIGNAL"}
    make.close()
    assert {path.name for path in (tmp_path / "kept").iterdir()}.isdisjoint(
        {checksums.FILE, snapshots.EVENTS, snapshots.SPARSE}
    )
    again = make.open(tmp_path / "kept", "r+")
    assert {key: value for key, value in contents(again).items() if key != "ALLY_SIGNAL"} == expected


# --- the cost


@pytest.mark.parametrize("kind", ["scratch", "ram", "named"])
def test_a_snapshot_costs_what_was_written_not_what_the_world_measures(
    make: Makers, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = []
    for name in ("copy_bytes", "copy_file"):
        real = getattr(sparse_copy, name)
        spy = lambda source, runs, *rest, real=real: copied.append(int(runs[:, 1].sum())) or real(source, runs, *rest)  # noqa: E731
        monkeypatch.setattr(sparse_copy, name, spy)
    looked_at = []
    real_ranges = live_tiles._ranges
    monkeypatch.setattr(
        live_tiles,
        "_ranges",
        lambda *given: looked_at.extend(last - first for first, last in real_ranges(*given)) or real_ranges(*given),
    )
    sizes = {}
    for side in (4096, 65536):
        world = make(kind, (side, side), copies=1)
        at = np.arange(40) * 64  # 40 tiles a grid
        world.take("RESOURCES", 0, at, at, 0.5)
        world.scatter("TRAILS", 0, at, at, 1.0)
        copied.clear()
        looked_at.clear()
        world.snapshot(tmp_path / str(side))
        assert sum(copied) == 40 * (4096 + 2048)  # a tile of resources, one of two fields
        assert sum(looked_at) * 8 <= 4 * (2 * 40 * PAGE), "stamps that nobody wrote must not be read"
        sizes[side] = sum(path.stat().st_blocks * 512 for path in (tmp_path / str(side)).iterdir())
        logical = sum(path.stat().st_size for path in (tmp_path / str(side)).iterdir())
        assert logical > 1000 * sizes[side] or side == 4096
    assert sizes[65536] <= (4 * 40 + 40) * PAGE  # tiles, their pages of stamps, headers, extent trees


def test_what_was_written_before_a_reset_is_not_kept(make: Makers, tmp_path: Path) -> None:
    world = make("scratch", (1024, 1024), copies=1)
    rows, columns = np.divmod(np.arange(0, 1 << 20, 16 * 16), 1024)
    world.scatter("TRAILS", 0, rows, columns, 1.0)
    world.snapshot(tmp_path / "before")
    world.reset()
    world.snapshot(tmp_path / "after")
    sizes = [(tmp_path / name / "temporal.npy").stat().st_blocks * 512 for name in ("before", "after")]
    assert sizes[1] < sizes[0] / 20
    opened = make.open(tmp_path / "after", "r+")
    assert contents(opened) == contents(world)


# --- whole, or refused by name


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    makers = Makers(folder)
    world = makers("scratch")
    play(world, 5, 4)
    world.snapshot(folder / "kept")
    makers.close()
    return folder / "kept"


@given(data=st.data())
@settings(max_examples=300 if FULL else 60)
def test_a_flipped_bit_anywhere_is_found_at_open_and_named(
    sound: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    broken = tmp_path_factory.mktemp("broken") / "kept"
    shutil.copytree(sound, broken)
    name = data.draw(st.sampled_from(sorted({path.name for path in sound.iterdir()} - {"lock"})))
    size = (broken / name).stat().st_size
    at, bit = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, 7))
    with (broken / name).open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))
    with pytest.raises(WorldFormatError, match=name.replace(".", r"\.")):
        World.open(broken)
    shutil.rmtree(broken.parent)


@pytest.mark.parametrize("where", ["header", "data", "hole", "end"])
def test_the_extent_that_was_changed_is_named(sound: Path, tmp_path: Path, where: str) -> None:
    broken = tmp_path / "kept"
    shutil.copytree(sound, broken)
    path = broken / "temporal.npy"
    extents = checksums._read(broken)["temporal.npy"]["extents"]
    ends = {start + length for start, length, _ in extents}
    hole = next(end for end in ends if not any(start <= end < start + length for start, length, _ in extents))
    at = {"header": 30, "data": extents[-1][0] + 5, "hole": hole + 7, "end": path.stat().st_size - 1}[where]
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 64]))
    with pytest.raises(WorldFormatError, match=r"temporal\.npy.*between bytes (\d+) and (\d+)") as caught:
        World.open(broken)
    words = str(caught.value).replace(":", " ").split("between bytes ")[1].split(" and ")
    first, last = int(words[0]), int(words[1].split()[0])
    assert first <= at < last


@pytest.mark.parametrize("name", sorted(["checksums.json", "clock.npy", "events.npz", "resources.npy", "world.json"]))
@pytest.mark.parametrize("harm", ["truncated", "longer", "gone", "link", "folder"])
def test_a_file_of_another_size_or_kind_is_refused(sound: Path, tmp_path: Path, name: str, harm: str) -> None:
    broken = tmp_path / "kept"
    shutil.copytree(sound, broken)
    path = broken / name
    if harm == "truncated":
        os.truncate(path, path.stat().st_size - 1)
    elif harm == "longer":
        os.truncate(path, path.stat().st_size + 1)
    else:
        path.unlink()
    if harm == "link":
        path.symlink_to(sound / name)
    if harm == "folder":
        path.mkdir()
    if (name, harm) in (("checksums.json", "gone"), ("checksums.json", "folder")):
        return  # a snapshot without its seal is a world like any other
    with pytest.raises(StorageError):
        World.open(broken)


def test_a_foreign_seal_stays_in_its_folder(sound: Path, tmp_path: Path) -> None:
    broken = tmp_path / "kept"
    shutil.copytree(sound, broken)
    for name in ("../secret", "/etc/passwd", "", "a/../../b"):
        (broken / checksums.FILE).unlink()
        checksums.sealed.write(broken / checksums.FILE, checksums._KIND, {"files": {name: {"size": 1, "extents": []}}})
        with pytest.raises(WorldFormatError, match="of its own folder"):
            World.open(broken)


def test_a_snapshot_takes_a_place_of_its_own(make: Makers, tmp_path: Path) -> None:
    world = make("scratch")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.iterdir())
    for name in ("taken", "file", "link"):
        with pytest.raises(StorageError, match="place of its own"):
            world.snapshot(tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before
    world.snapshot(tmp_path / "deep" / "down")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "deep" / "down").iterdir()}
    assert set(modes.values()) == {0o600}
    assert (tmp_path / "deep" / "down").stat().st_mode & 0o777 == 0o700


def test_what_stops_a_snapshot_leaves_nothing(make: Makers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make("scratch")
    play(world, 3, 3)
    before = contents(world)
    calls = {"pwrite": os.pwrite, "fsync": os.fsync, "ftruncate": os.ftruncate, "rename": os.rename}
    stopped = 0
    for name, real in calls.items():
        for moment in range(0, 40, 3):
            left = [moment]

            def failing(*given: Any, real: Any = real, left: list[int] = left) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
                return real(*given)

            monkeypatch.setattr(os, name, failing)
            try:
                world.snapshot(tmp_path / "kept")
            except KeyboardInterrupt:
                stopped += 1
                if (tmp_path / "kept").exists():  # after the rename: whole
                    checksums.verify(tmp_path / "kept")
            monkeypatch.setattr(os, name, real)
            shutil.rmtree(tmp_path / "kept", ignore_errors=True)
            assert [path for path in tmp_path.iterdir() if ".part-" in path.name] == []
    assert stopped > 10
    assert contents(world) == before


# --- the way back

DIES_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from memfarm.world import World

world = World((50, 70), path=Path(sys.argv[1]))
world.scatter("TRAILS", 0, 3, 4, 1.0)
world.advance(5)
world.snapshot(Path(sys.argv[2]))
world.scatter("TRAILS", 0, 9, 9, 1.0)
world.advance(5)
with world.writing():
    world.scatter("TRAILS", 0, 20, 30, 1.0)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def child(program: str, *arguments: object) -> int:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def test_a_dirty_world_goes_back_to_its_last_snapshot(make: Makers, tmp_path: Path) -> None:
    child(DIES_WHILE_WRITING, tmp_path / "world", tmp_path / "kept")
    for mode in ("r", "r+", "c"):
        with pytest.raises(DirtyWorldError, match="kept"):
            World.open(tmp_path / "world", mode)
    kept = contents(make.open(tmp_path / "kept"))
    recovered = make.open(tmp_path / "world", "r+", recover=True)
    assert contents(recovered) == kept
    assert recovered.tick == 5
    assert not [path for path in (tmp_path / "world").iterdir() if ".part-" in path.name]
    recovered.advance()
    assert checksums.verify(tmp_path / "kept") is None, "a recovery must leave the snapshot as it is"


def recover_and_die(world: Path, moment: int) -> bool:
    """Recover in a forked child that kills itself at its `moment`-th call of the system; whether it came to an end."""
    pid = os.fork()
    if pid == 0:
        left = moment

        def counting(real: Any) -> Any:
            def call(*given: Any, **more: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*given, **more)

            return call

        for name in ("replace", "open", "fsync", "copy_file_range", "unlink", "mkdir"):
            setattr(os, name, counting(getattr(os, name)))
        try:
            World.open(world, "r+", recover=True).close()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFEXITED(status)


def test_killed_while_it_recovers_a_world_is_dirty_or_recovered(make: Makers, tmp_path: Path) -> None:
    child(DIES_WHILE_WRITING, tmp_path / "dirty", tmp_path / "kept")
    kept = contents(make.open(tmp_path / "kept"))
    outcomes = {"dirty": 0, "recovered": 0}
    ended = False
    moment = 0
    while not ended:
        world = tmp_path / f"world-{moment}"
        shutil.copytree(tmp_path / "dirty", world)
        ended = recover_and_die(world, moment)
        try:
            opened = World.open(world, "r+")
            outcomes["recovered"] += 1
        except DirtyWorldError:
            outcomes["dirty"] += 1
            opened = World.open(world, "r+", recover=True)
        assert contents(make.keep(opened)) == kept
        assert not [path for path in world.iterdir() if ".part-" in path.name]
        make.worlds.pop().close()
        shutil.rmtree(world)
        moment += 1 if FULL else 8
    print(f"killed while recovering: {outcomes}")  # noqa: T201 - shown with -s
    assert outcomes["dirty"] >= 5
    assert outcomes["recovered"] >= 1


def test_without_a_sound_snapshot_there_is_no_way_back_and_nothing_changes(make: Makers, tmp_path: Path) -> None:
    child(DIES_WHILE_WRITING, tmp_path / "world", tmp_path / "kept")
    path = tmp_path / "kept" / "temporal.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    before = files_of(tmp_path / "world")
    with pytest.raises(WorldFormatError, match=r"temporal\.npy"):
        World.open(tmp_path / "world", "r+", recover=True)
    shutil.rmtree(tmp_path / "kept")
    with pytest.raises(DirtyWorldError, match="no snapshot"):
        World.open(tmp_path / "world", "r+", recover=True)
    assert files_of(tmp_path / "world") == before


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}
