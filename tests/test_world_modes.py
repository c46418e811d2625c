"""The four modes of a stored world, through World and through the doors: what comes back, and what is refused."""

import hashlib
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from numpy.typing import NDArray

from memfarm.channels import GROUPS, Channel, Decay
from memfarm.config import MemmapConfig
from memfarm.envs import forage_v0
from memfarm.envs.forage import EAT, STAY, Forage
from memfarm.errors import ConfigError, MemfarmError, ReadOnlyError, ShapeError, WorldFormatError
from memfarm.terrain import from_noise
from memfarm.world import World

SHAPE = (20, 23)
NAMES = [channel.name for group in GROUPS.values() for channel in group]


def change(world: World, seed: int) -> None:
    """Write into every group, and let time pass between."""
    rng = np.random.default_rng(seed)
    for _ in range(3):
        copy, y, x = (rng.integers(0, size, 30).astype(np.int32) for size in (world.copies, *SHAPE))
        world.take("RESOURCES", copy, y, x, rng.random(30))
        world.deposit_temporal_events("TRAILS", (y, x, rng.random(30)), copy)
        world.advance(int(rng.integers(1, 9)))
    world.set_environmental_layer("TERRAIN_COST", rng.random(SHAPE))


def everything(world: World) -> NDArray[np.float64]:
    """All values of all channels and copies."""
    layers = [
        grid.read(name, 0, SHAPE[0], 0, SHAPE[1], copy=copy)
        for grid in world.grids.values()
        for name in grid.names
        for copy in range(grid.copies)
    ]
    return np.array(layers, np.float64)


def fingerprint(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.*")}


@pytest.fixture(params=["float32", "float16", {"resources": "float64", "temporal": "float16"}], ids=str)
def dtype(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def made(tmp_path: Path, dtype: Any) -> tuple[Path, NDArray[np.float64], int]:
    """A world's folder, what it held when it was closed, and its tick."""
    world = World(copies=2, terrain=from_noise(SHAPE, seed=3), memmap=MemmapConfig(dtype=dtype), path=tmp_path / "w")
    change(world, 0)
    held, tick = everything(world), world.tick
    world.close()
    return tmp_path / "w", held, tick


@pytest.mark.parametrize("mode", ["r+", "r", "c"])
@pytest.mark.parametrize("by", ["open", "path", "directory", "directory around"])
def test_values_tick_and_laws_come_back(made: Any, dtype: Any, mode: Any, by: str) -> None:
    folder, held, tick = made
    if by == "open":
        world = World.open(folder, mode)
    elif by == "path":
        world = World(SHAPE, copies=2, memmap=MemmapConfig(mode=mode, dtype=dtype), path=folder)
    else:
        directory = str(folder if by == "directory" else folder.parent)
        world = World(copies=2, memmap=MemmapConfig(mode=mode, dtype=dtype, directory=directory))
    assert world.path == folder
    assert world.tick == tick
    np.testing.assert_array_equal(everything(world), held)
    assert {name: channel.law for name, channel in world.channels.items()} == {
        channel.name: channel.law for group in GROUPS.values() for channel in group
    }
    world.close()


def test_r_plus_goes_on_where_it_ended(made: Any) -> None:
    folder, _, _ = made
    with_break = World.open(folder, "r+")
    change(with_break, 1)
    with_break.close()
    again = World.open(folder, "r")
    whole = World(
        copies=2,
        terrain=from_noise(SHAPE, seed=3),
        memmap=MemmapConfig(dtype={group: grid.dtype for group, grid in again.grids.items()}),
    )
    change(whole, 0)
    change(whole, 1)
    assert again.tick == whole.tick
    np.testing.assert_array_equal(everything(again), everything(whole))
    again.close()
    whole.close()


@pytest.mark.parametrize(
    "write",
    [
        lambda w: w.take("RESOURCES", 0, 1, 1, 0.5),
        lambda w: w.scatter("TRAILS", 0, 1, 1, 0.5),
        lambda w: w.deposit_temporal_events("TRAILS", [(1, 1, 0.5)]),
        lambda w: w.set_environmental_layer("OBSTACLES", np.zeros(SHAPE)),
        lambda w: w.resources.add(0, 1, 1, 0.5),
        lambda w: w.environmental.fill("OBSTACLES", 0.0),
        lambda w: w.temporal.clear_all(),
        lambda w: w.grids["temporal"].write("TRAILS", np.ones((2, 2))),
        lambda w: w.grids["temporal"].settle(),
        lambda w: w.advance(),
        lambda w: w.reset(),
    ],
)
def test_in_mode_r_every_write_raises_and_nothing_changes(made: Any, write: Any) -> None:
    folder, held, tick = made
    before = fingerprint(folder)
    world = World.open(folder, "r")
    with pytest.raises(ReadOnlyError, match="mode='r'"):
        write(world)
    np.testing.assert_array_equal(everything(world), held)
    assert world.tick == tick
    world.close()
    assert fingerprint(folder) == before


def test_in_mode_c_writes_are_seen_and_never_reach_the_files(made: Any) -> None:
    folder, held, tick = made
    before = fingerprint(folder)
    world = World.open(folder, "c")
    change(world, 2)
    world.reset([1])
    world.flush()
    assert world.tick > tick
    assert not np.array_equal(everything(world), held)
    world.close()
    assert fingerprint(folder) == before


@pytest.mark.parametrize("mode", ["r+", "r", "c"])
@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"shape": (20, 24)}, r"\(20, 23\).*\(20, 24\)"),
        ({"copies": 3}, "copies=2.*got 3"),
        ({"boundary": "wrap"}, "boundary=wall.*wrap"),
        ({"memmap": {"dtype": "float64"}}, "resources dtype=float32.*float64"),
        ({"memmap": {"dtype": {"temporal": "float16"}}}, "temporal dtype=float32.*float16"),
        ({"memmap": {"dtype": {"environmental": "float32"}}}, "environmental dtype=uint8.*float32"),
        (
            {"channels": {"temporal": GROUPS["temporal"][:2]}},
            r"temporal channels=.*ALLY_SIGNAL.*got \('DAMAGE_HEAT', 'TRAILS'\)",
        ),
        (
            {"channels": {"temporal": (*GROUPS["temporal"][:2], Channel("ALLY_SIGNAL", Decay(0.5)))}},
            "ALLY_SIGNAL=.*0.92.*0.5",
        ),
    ],
    ids=str,
)
def test_another_shape_dtype_or_channel_set_is_refused_by_name(
    tmp_path: Path, mode: Any, asked: Any, named: str
) -> None:
    World(SHAPE, copies=2, path=tmp_path / "w").close()
    before = fingerprint(tmp_path)
    asked = dict(asked)
    memmap = MemmapConfig(mode=mode, **asked.pop("memmap", {}))
    with pytest.raises((ShapeError, WorldFormatError), match=named):
        World(**{"copies": 2, "memmap": memmap, "path": tmp_path / "w", **asked})
    assert fingerprint(tmp_path) == before


@pytest.mark.parametrize("mode", ["r+", "r", "c"])
def test_there_must_be_one_world_to_open(tmp_path: Path, mode: Any) -> None:
    with pytest.raises(ConfigError, match="got no path"):
        World(SHAPE, memmap=MemmapConfig(mode=mode))
    with pytest.raises(WorldFormatError, match=r"world\.json"):
        World(SHAPE, memmap=MemmapConfig(mode=mode, directory=str(tmp_path)))
    for name in ("a", "b"):
        World((4, 4), path=tmp_path / name).close()
    with pytest.raises(ConfigError, match="got a, b"):
        World(SHAPE, memmap=MemmapConfig(mode=mode, directory=str(tmp_path)))


def test_w_plus_never_overwrites_a_world(tmp_path: Path) -> None:
    World((4, 4), path=tmp_path / "w").close()
    before = fingerprint(tmp_path)
    with pytest.raises(MemfarmError, match="new or empty folder"):
        World((4, 4), path=tmp_path / "w")
    for _ in range(2):  # of one directory each gets a folder of its own
        World((4, 4), memmap=MemmapConfig(directory=str(tmp_path / "many"))).close()
    assert len(list((tmp_path / "many").iterdir())) == 2
    assert {name: digest for name, digest in fingerprint(tmp_path).items() if name.startswith("w/")} == before


# --- doors


def batch(directory: Path, mode: str, **arguments: Any) -> Any:
    config = {"memmap": {"directory": str(directory), "mode": mode, **arguments.pop("memmap", {})}}
    return gym.make_vec("memfarm/Forage-v0", num_envs=4, agents_per_world=2, config=config, **arguments)


@pytest.fixture
def left(tmp_path: Path) -> tuple[Path, NDArray[np.float32], int]:
    """What a batched environment of two worlds left behind."""
    env = batch(tmp_path / "run", "w+", shape=SHAPE)
    env.reset(seed=0)
    for _ in range(8):
        env.step(np.full(4, EAT))
    world = env.unwrapped.world
    assert world.tick >= 8
    held, tick = everything(world), world.tick
    env.close()
    return tmp_path / "run", held.astype(np.float32), tick


@pytest.mark.parametrize("mode", ["r+", "r", "c"])
def test_the_batched_door_opens_what_it_left(left: Any, mode: str) -> None:
    directory, held, tick = left
    env = batch(directory, mode)
    world = env.unwrapped.world
    assert (world.shape, world.tick) == (SHAPE, tick)
    np.testing.assert_array_equal(everything(world), held)
    env.close()


def test_the_batched_door_in_mode_r_raises_where_it_would_write(left: Any) -> None:
    directory, _, _ = left
    before = fingerprint(directory)
    env = batch(directory, "r")
    with pytest.raises(ReadOnlyError):
        env.reset(seed=0)
    env.close()
    assert fingerprint(directory) == before


def test_the_batched_door_in_mode_c_plays_without_a_trace(left: Any) -> None:
    directory, _, _ = left
    before = fingerprint(directory)
    env = batch(directory, "c")
    env.reset(seed=0)
    for _ in range(5):
        env.step(np.full(4, EAT))
    env.close()
    assert fingerprint(directory) == before


def test_the_batched_door_in_mode_r_plus_plays_on_in_the_file(left: Any) -> None:
    directory, _, tick = left
    env = batch(directory, "r+")
    env.reset(seed=0)
    env.step(np.full(4, EAT))
    ticks, ended = env.unwrapped.world.tick, everything(env.unwrapped.world)
    env.close()
    assert ticks > tick
    env = batch(directory, "r")
    assert env.unwrapped.world.tick == ticks
    np.testing.assert_array_equal(everything(env.unwrapped.world), ended)
    env.close()


def test_agents_go_on_in_the_world_as_it_was_left(left: Any) -> None:
    directory, held, tick = left
    for seed in (None, 5):
        env = batch(directory, "c")
        env.reset(seed=seed, options={"keep_world": True})
        assert env.unwrapped.world.tick == tick
        np.testing.assert_array_equal(everything(env.unwrapped.world), held)
        env.step(np.full(4, STAY))
        assert env.unwrapped.world.tick == tick + 1
        env.reset(seed=seed)
        assert (everything(env.unwrapped.world) != held).any()
        with pytest.raises(ConfigError, match="keep_world"):
            env.reset(options={"keep_world": 1})
        env.close()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"shape": (8, 8)}, r"\(20, 23\).*\(8, 8\)"),
        ({"memmap": {"dtype": "float16"}}, "resources dtype"),
        ({"gamma_trail": 0.5}, "TRAILS=.*0.9.*0.5"),
        ({"channels": "agentfarm"}, "temporal channels=.*LANDMARKS"),
        ({"sparse_channels": ["TRAILS"]}, "temporal channels="),
    ],
    ids=str,
)
def test_the_doors_refuse_another_world_by_name(left: Any, arguments: dict[str, Any], named: str) -> None:
    with pytest.raises((ShapeError, WorldFormatError), match=named):
        batch(left[0], "c", **arguments)


def test_the_other_doors_open_too(tmp_path: Path) -> None:
    for name, make in (
        ("single", lambda **a: gym.make("memfarm/Forage-v0", **a).unwrapped),
        ("many", lambda **a: forage_v0.parallel_env(agents=2, **a)),
    ):
        memmap = {"directory": str(tmp_path / name)}
        env = make(config={"memmap": memmap}, shape=SHAPE)
        env.reset(seed=0)
        env.deposit_temporal_events("TRAILS", [(1, 2, 1.0)])
        tick = env.world.tick
        env.close()
        env = make(config={"memmap": {**memmap, "mode": "c"}})
        assert env.world.tick == tick
        assert env.world.gather("TRAILS", 0, 1, 2) == 1.0
        env.reset(seed=1, options={"keep_world": True, "other": 1})
        assert env.world.gather("TRAILS", 0, 1, 2) == 1.0
        env.reset(seed=1)
        assert env.world.gather("TRAILS", 0, 1, 2) == 0.0
        env.close()


def test_each_group_lies_on_disk_or_in_memory_on_its_own(tmp_path: Path) -> None:
    for group in GROUPS:
        directory = tmp_path / group
        memmap: dict[str, Any] = {f"use_for_{other}": other == group for other in GROUPS}
        env = Forage({"world": {"shape": SHAPE}, "memmap": {"directory": str(directory), **memmap}})
        env.reset(seed=0)
        env.step(np.array([STAY]))
        backends = {name: grid.backend for name, grid in env.world.grids.items()}
        assert backends == {name: "memmap" if name == group else "ram" for name in GROUPS}
        files = {path.name.split(".")[0] for path in directory.rglob("*.npy")}
        assert files == {group, "clock"}
        env.close()


def test_each_group_has_a_dtype_of_its_own() -> None:
    dtypes = {"resources": "float64", "environmental": "float32", "temporal": "float16"}
    env = Forage({"world": {"shape": SHAPE}, "memmap": {"dtype": dtypes}})
    assert {name: grid.dtype for name, grid in env.world.grids.items()} == dtypes
    env.reset(seed=0)
    env.step(np.array([EAT]))
    env.close()
    env = Forage({"world": {"shape": SHAPE}, "memmap": {"dtype": {"temporal": "float16"}}})
    assert [grid.dtype for grid in env.world.grids.values()] == ["float32", "uint8", "float16"]
    env.close()


def test_a_flat_world_of_any_size_takes_no_memory() -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for config in (
        {"shape": (65536, 65536), "map": {"kind": "flat"}},
        {"map": {"kind": "flat", "shape": [65536, 65536]}},
    ):
        env = Forage({"world": config}, agents_per_world=4)
        assert env.world.shape == (65536, 65536)
        env.reset(seed=0)
        for _ in range(3):
            env.step(np.full(4, EAT))
        env.close()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB; a layer would take 4 GB


def test_a_flat_map_has_one_shape() -> None:
    with pytest.raises(ShapeError, match=r"\(8, 8\), got \(9, 9\)"):
        Forage({"world": {"shape": (9, 9), "map": {"kind": "flat", "shape": (8, 8)}}})


def test_shape_is_the_maps_own_or_64() -> None:
    for world, shape in (
        ({}, (64, 64)),
        ({"map": {"kind": "flat"}}, (64, 64)),
        ({"map": {"kind": "noise", "shape": (9, 10)}}, (9, 10)),
        ({"shape": (64, 64), "map": {"kind": "noise"}}, (64, 64)),
    ):
        env = Forage({"world": world})
        assert env.world.shape == shape
        env.close()
    with pytest.raises(ShapeError):
        Forage({"world": {"shape": (64, 64), "map": {"kind": "noise", "shape": (9, 10)}}})
