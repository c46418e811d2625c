"""The folder of a world: its files, names and modes, and what is refused in place of them."""

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memfarm.channels import GROUPS, Channel, Decay, Regrow
from memfarm.config import MemmapConfig
from memfarm.errors import (
    ConfigError,
    MemfarmError,
    ReadOnlyError,
    ShapeError,
    StorageError,
    WorldFormatError,
)
from memfarm.world import World

SHAPE = (20, 37)
FILES = [
    *("clock.npy", "lock", "world.json"),
    *(f"{group}{part}.npy" for group in GROUPS for part in ("", ".copies", ".stamps")),
]

Array = np.ndarray[Any, Any]


class Ground:
    """Layers to make a world from."""

    def __init__(self, shape: tuple[int, int] = SHAPE, **layers: Any) -> None:
        self.shape = shape
        rng = np.random.default_rng(1)
        self._layers = layers or {name: rng.random(shape, np.float32) for name in ("TERRAIN_COST", "CAPACITY")}

    def layers(self) -> Mapping[str, Array]:
        return self._layers


def live(world: World, steps: int) -> None:
    """Write something everywhere but into the ground."""
    for step in range(steps):
        cells = [0, 1], [step, 3], [5, step]
        world.take("RESOURCES", *cells, 0.5)
        world.scatter("TRAILS", *cells, 1.0)
        world.advance(7)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_manifest_and_info(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "w"
    world = World(SHAPE, copies=2, path=folder, seed=7, boundary="wrap", terrain=Ground())
    assert sorted(content(folder)) == sorted(FILES)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    world.advance(9)
    world.flush()
    manifest = json.loads((folder / "world.json").read_text())
    for key, value in {"format": "memfarm-world", "version": 1, "shape": [20, 37], "tick": 9, "seed": 7}.items():
        assert manifest[key] == value
    assert manifest["grids"]["temporal"]["channels"][1]["law"] == {"kind": "Decay", "gamma": 0.9, "floor": 1e-4}
    info = world.info()
    assert json.loads(json.dumps(info)) == info
    assert (info["tick"], info["boundary"], info["path"], info["map"]) == (9, "wrap", str(folder), None)
    assert info["logical_bytes"] == sum(
        sum(array.nbytes for array in (np.load(folder / f"{g}{s}.npy") for s in ("", ".stamps", ".copies")))
        for g in GROUPS
    )
    assert 0 < info["written_share"] < 1
    world.close()


def test_open_modes(tmp_path: Path) -> None:
    world = World(SHAPE, copies=2, path=tmp_path / "w", terrain=Ground())
    live(world, 3)
    tick = world.tick
    seen = world.observe(0, 10, 10, 9)
    world.close()
    files = content(tmp_path)
    private = World.open(tmp_path / "w", "c")
    live(private, 2)
    private.flush()
    private.close()
    reader = World.open(tmp_path / "w")
    assert (reader.tick, reader.shape, reader.copies) == (tick, SHAPE, 2)
    np.testing.assert_array_equal(reader.observe(0, 10, 10, 9), seen)
    for call in (
        lambda: reader.advance(),
        lambda: reader.reset(),
        lambda: reader.scatter("TRAILS", 0, 0, 0, 1.0),
        lambda: reader.take("RESOURCES", 0, 0, 0, 1.0),
        lambda: reader.set_environmental_layer("OBSTACLES", np.zeros(SHAPE)),
        lambda: reader.deposit_temporal_events("TRAILS", [(0, 0, 1.0)]),
    ):
        with pytest.raises(ReadOnlyError, match="mode='r'"):
            call()
    reader.flush()
    reader.close()
    assert content(tmp_path) == files
    writer = World.open(tmp_path / "w", "r+")
    writer.advance(3)
    writer.close()
    assert World.open(tmp_path / "w").tick == tick + 3
    with pytest.raises(ConfigError):
        World.open(tmp_path / "w", "w+")
    with pytest.raises(ConfigError):
        World.open(tmp_path / "w", "a")  # type: ignore[arg-type]


def test_the_clock_survives_a_killed_process(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        world = World(SHAPE, path=tmp_path / "w")
        world.advance(41)
        world.scatter("TRAILS", 0, 1, 1, 1.0)
        os._exit(0)  # no close, no flush
    os.waitpid(child, 0)
    world = World.open(tmp_path / "w")
    assert (world.tick, world.gather("TRAILS", 0, 1, 1)[0]) == (41, 1)
    world.close()


def test_reopening_through_the_configuration(tmp_path: Path) -> None:
    World(SHAPE, copies=2, path=tmp_path / "w").close()
    again = {"path": tmp_path / "w", "copies": 2}
    for mode in ("r", "r+", "c"):
        world = World(memmap=MemmapConfig(mode=mode), **again)
        assert world.shape == SHAPE
        world.close()
    channels = {"temporal": (Channel("TRAILS", Decay(0.5)),)}
    for change, word in [
        ({"shape": (20, 38)}, "shape"),
        ({"copies": 3}, "copies"),
        ({"boundary": "wrap"}, "boundary"),
        ({"memmap": MemmapConfig(mode="r+", dtype="float16")}, "dtype"),
        ({"channels": channels}, "channels"),
    ]:
        with pytest.raises((WorldFormatError, ShapeError), match=word):
            World(**{"memmap": MemmapConfig(mode="r+"), "shape": SHAPE, **again, **change})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="path"):
        World(SHAPE, memmap=MemmapConfig(mode="r+"))
    with pytest.raises(ConfigError, match="terrain"):
        World(SHAPE, memmap=MemmapConfig(mode="r+"), terrain=Ground(), **again)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


DAMAGES: dict[str, Any] = {
    "no manifest": lambda d: (d / "world.json").unlink(),
    "empty manifest": lambda d: (d / "world.json").write_text(""),
    "binary manifest": lambda d: (d / "world.json").write_bytes(bytes(range(256))),
    "manifest of brackets": lambda d: (d / "world.json").write_text("[" * 100_000),
    "a list": lambda d: (d / "world.json").write_text("[]"),
    "huge manifest": lambda d: (d / "world.json").write_text(" " * (2 << 20)),
    "foreign manifest": lambda d: (d / "world.json").write_text('{"format": "zarr"}'),
    "newer version": lambda d: edit(d / "world.json", version=2),
    "true version": lambda d: edit(d / "world.json", version=True),
    "unknown key": lambda d: edit(d / "world.json", colour="red"),
    "negative shape": lambda d: edit(d / "world.json", shape=[-1, 5]),
    "other shape": lambda d: edit(d / "world.json", shape=[500, 500]),
    "huge shape": lambda d: edit(d / "world.json", shape=[2**40, 2**40]),
    "float shape": lambda d: edit(d / "world.json", shape=[20.0, 37.0]),
    "no copies": lambda d: edit(d / "world.json", copies=0),
    "unknown boundary": lambda d: edit(d / "world.json", boundary="torus"),
    "no grids": lambda d: edit(d / "world.json", grids={}),
    "garbage grids": lambda d: edit(d / "world.json", grids={"resources": 5, "environmental": None, "temporal": "x"}),
    "manifest is a folder": lambda d: ((d / "world.json").unlink(), (d / "world.json").mkdir()),
    "manifest is a pipe": lambda d: ((d / "world.json").unlink(), os.mkfifo(d / "world.json")),
    "cut tiles": lambda d: cut(d / "temporal.npy"),
    "cut stamps": lambda d: cut(d / "resources.stamps.npy"),
    "cut clock": lambda d: cut(d / "clock.npy"),
    "foreign file": lambda d: (d / "resources.npy").write_bytes(b"\x89PNG" + b"\0" * 9000),
    "negative clock": lambda d: np.load(d / "clock.npy", mmap_mode="r+").__setitem__(0, -5),
    "clock before the resets": lambda d: np.load(d / "temporal.copies.npy", mmap_mode="r+").__setitem__((0, 1), 5),
    "endless clock": lambda d: np.load(d / "clock.npy", mmap_mode="r+").__setitem__(0, 2**62),
}


@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_no_world_is_refused(tmp_path: Path, damage: str, mode: Any) -> None:
    World((20, 37), path=tmp_path / "w").close()
    DAMAGES[damage](tmp_path / "w")
    before = content(tmp_path)
    with pytest.raises(WorldFormatError):
        World.open(tmp_path / "w", mode)
    assert content(tmp_path) == before


@pytest.mark.parametrize("change", ["law", "capacity", "tile", "dtype", "twice", "nan", "escape"])
def test_what_a_grid_s_entry_cannot_say(tmp_path: Path, change: str) -> None:
    World((20, 37), path=tmp_path / "w").close()
    path = tmp_path / "w" / "world.json"
    data = json.loads(path.read_text())
    entry = data["grids"]["temporal"]
    channel = entry["channels"][0]
    {
        "law": lambda: channel["law"].update(kind="Forget"),
        "capacity": lambda: channel.update(high=1e400),
        "tile": lambda: entry.update(tile=[1 << 20, 4]),
        "dtype": lambda: entry.update(dtype="uint8"),
        "twice": lambda: entry.update(channels=[channel, channel]),
        "nan": lambda: channel.update(fill=float("nan")),
        "escape": lambda: data["grids"].update({"../x": entry}),
    }[change]()
    path.write_text(json.dumps(data))
    with pytest.raises(WorldFormatError):
        World.open(tmp_path / "w")


def test_links_in_place_of_files_are_refused(tmp_path: Path) -> None:
    for file in FILES:
        folder = tmp_path / file
        World((4, 4), path=folder).close()
        (folder / file).rename(tmp_path / f"moved-{file}")
        (folder / file).symlink_to(tmp_path / f"moved-{file}")
        with pytest.raises(StorageError):
            World.open(folder, "r+")


def test_folders_of_their_own(tmp_path: Path) -> None:
    config = MemmapConfig(directory=str(tmp_path))
    worlds = [World(SHAPE, memmap=config, name="my farm", simulation_id="s:1", seed=1) for _ in range(2)]
    base = f"my-farm_s-1_p{os.getpid()}_20x37"
    assert [world.path for world in worlds] == [tmp_path / base, tmp_path / f"{base}_2"]
    worlds[0].scatter("TRAILS", 0, 1, 1, 1.0)
    assert worlds[1].gather("TRAILS", 0, 1, 1)[0] == 0
    worlds[0].close()
    worlds[1].scatter("TRAILS", 0, 1, 1, 0.5)
    worlds[1].close()
    assert World.open(tmp_path / base).gather("TRAILS", 0, 1, 1)[0] == 1


@pytest.mark.parametrize("name", ["../../etc/x", "/etc/x", "..", "", "a/b"])
def test_names_that_escape(tmp_path: Path, name: str) -> None:
    config = MemmapConfig(directory=str(tmp_path / "in"))
    for arguments in ({"name": name}, {"simulation_id": name}):
        with pytest.raises(ConfigError, match="plain name"):
            World(SHAPE, memmap=config, **arguments)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_taken_folder_is_left_alone(tmp_path: Path) -> None:
    World(SHAPE, path=tmp_path / "w").close()
    before = content(tmp_path)
    with pytest.raises(StorageError, match="new or empty"):
        World(SHAPE, path=tmp_path / "w")
    assert content(tmp_path) == before


def test_a_refused_world_leaves_nothing(tmp_path: Path) -> None:
    bad = [
        {"terrain": Ground(OBSTACLES=np.full(SHAPE, 2.0))},
        {"terrain": Ground(LAVA=np.zeros(SHAPE))},
        {"channels": {"resources": (Channel("FOOD", Regrow(0.1, "SOIL")),)}},
        {"channels": {"resources": ()}},
        {"channels": {"fields": ()}},
        {"shape": (2**31 - 1, 2**31 - 1)},
        {"copies": -1},
        {"boundary": "torus"},
        {"seed": 1.5},
        {"map": tmp_path / "nowhere"},
        {"terrain": Ground((3, 3))},
        {"shape": (0, 5)},
    ]
    for arguments in bad:
        with pytest.raises(MemfarmError):
            World(**{"shape": SHAPE, "path": tmp_path / "w", **arguments})  # type: ignore[arg-type]
        assert list(tmp_path.iterdir()) == [], arguments
    with pytest.raises(ConfigError, match="shape"):
        World(path=tmp_path / "w")


@pytest.mark.parametrize("delete", [True, False])
def test_delete_on_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delete: bool) -> None:
    monkeypatch.chdir(tmp_path)
    world = World(SHAPE, memmap=MemmapConfig(directory="here", delete_on_close=delete))
    os.chdir("/")
    world.advance(3)
    assert world.info()["disk_bytes"] > 0
    world.close()
    world.close()
    assert bool(list((tmp_path / "here").iterdir())) is not delete
    if not delete:
        (folder,) = (tmp_path / "here").iterdir()
        for mode in ("r", "c"):
            World(path=folder, memmap=MemmapConfig(mode=mode, delete_on_close=True)).close()
        assert sorted(content(folder)) == sorted(FILES)
