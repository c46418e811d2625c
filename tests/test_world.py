"""World: three groups on one clock, in scratch, in a folder, over a shared map."""

import os
import pickle
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memfarm.channels import GROUPS, Channel, Decay
from memfarm.config import MemmapConfig
from memfarm.errors import (
    ChannelError,
    ClosedError,
    ConfigError,
    ReadOnlyError,
    ShapeError,
    WorldFormatError,
)
from memfarm.world import World

SHAPE = (20, 37)
ALL = [channel.name for group in GROUPS.values() for channel in group]
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


def live(world: World, steps: int, seed: int = 0) -> list[Array]:
    """Some steps of an agents' life: what they took and saw."""
    seen = []
    for _ in range(steps):
        rng = np.random.default_rng((seed, world.tick))
        copy, y, x = (rng.integers(0, size, 9) for size in (world.copies, *world.shape))
        seen.append(world.take("RESOURCES", copy, y, x, rng.random(9)))
        world.scatter("TRAILS", copy, y, x, 1.0, how="max")
        world.deposit_temporal_events("DAMAGE_HEAT", (y, x, rng.random(9)), copy=copy)
        world.advance(int(rng.integers(1, 200)))
        seen.append(world.observe(copy, y, x, 2))
        if rng.random() < 0.3:
            world.reset([int(rng.integers(world.copies))])
    return seen


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_world() -> None:
    world = World(SHAPE, copies=2, seed=5)
    assert (world.shape, world.copies, world.boundary, world.seed, world.tick) == (SHAPE, 2, "wall", 5, 0)
    assert list(world.channels) == ALL
    assert {group: grid.copies for group, grid in world.grids.items()} == {
        "resources": 2,
        "environmental": 1,
        "temporal": 2,
    }
    assert world.grid_of("TRAILS") is world.temporal.grid
    assert world.path is None
    assert not world.closed
    for name, wanted in {"RESOURCES": 1, "VISIBILITY": 1, "CAPACITY": 1, "OBSTACLES": 0, "TRAILS": 0}.items():
        assert (world.gather(name, [0, 1], [3, 4], [5, 6]) == wanted).all()
    world.close()


def test_regrowth_follows_the_capacity() -> None:
    world = World(SHAPE, terrain=Ground(CAPACITY=np.full(SHAPE, 0.4, np.float32)))
    np.testing.assert_allclose(world.resources.get_resource_window(0, *SHAPE[:1], 0, SHAPE[1]), 0.4)
    world.take("RESOURCES", 0, 3, 3, 1.0)
    world.advance(10)
    np.testing.assert_allclose(world.gather("RESOURCES", 0, 3, 3), 10 * 0.01 * 0.4, rtol=1e-5)
    world.advance(1)
    before = world.resources.get_window("RESOURCES", 0, 20, 0, 37)
    limit = np.where(np.arange(37) % 2, 1.0, 0.2) * np.ones(SHAPE)
    world.set_environmental_layer("CAPACITY", limit)
    np.testing.assert_allclose(
        world.resources.get_window("RESOURCES", 0, 20, 0, 37), np.minimum(before, limit), atol=1e-6
    )
    world.close()


def test_one_call_over_three_grids() -> None:
    world = World(SHAPE, copies=2, terrain=Ground())
    live(world, 4)
    copy, y, x = [0, 1, 1], [0, 10, 19], [36, 18, 0]
    got = world.observe(copy, y, x, 3, ["TRAILS", "TERRAIN_COST", "RESOURCES"])
    assert got.shape == (3, 7, 7, 3)
    for n in range(3):
        for c, name in enumerate(("TRAILS", "TERRAIN_COST", "RESOURCES")):
            at = 0 if name == "TERRAIN_COST" else copy[n]
            grid = world.grid_of(name)
            wanted = grid.window(name, y[n] - 3, y[n] + 4, x[n] - 3, x[n] + 4, copy=at)
            np.testing.assert_array_equal(got[n, ..., c], wanted)
    everything = world.observe(copy, y, x, 3)
    np.testing.assert_array_equal(everything[..., ALL.index("TRAILS")], got[..., 0])
    world.close()


def test_normalized_windows() -> None:
    channels = {"temporal": (Channel("HEAT", Decay(0.5), high=4.0, fill=2.0),)}
    world = World((8, 8), channels=channels)
    assert (world.observe(0, 4, 4, 1, ["HEAT"]) == 2).all()
    assert (world.observe(0, 4, 4, 1, ["HEAT"], normalize=True) == 0.5).all()
    assert (world.windows(["HEAT"], 1)(0, 4, 4) == 0.5).all()
    assert (world.windows(["HEAT"], 1, normalize=False)(0, 4, 4) == 2).all()
    with pytest.raises(ChannelError, match="did you mean 'HEAT'"):
        world.gather("HAET", 0, 0, 0)
    world.close()


def test_masked_windows_centres_and_points() -> None:
    visibility = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    world = World(SHAPE, terrain=Ground(VISIBILITY=visibility, TERRAIN_COST=visibility))
    names = ["SELF_HP", "ALLIES_HP", "RESOURCES", "TERRAIN_COST", "VISIBILITY"]
    cut = world.windows(names, 2, mask_by_visibility=True)
    assert (cut.side, cut.channels, cut.radius) == (5, tuple(names), 2)
    y, x, hp = [5, 6], [7, 7], [0.25, 0.75]
    got = cut(0, y, x, centres={"SELF_HP": hp}, points={"ALLIES_HP": ([0, 0], y, x, hp)})
    seen = world.observe(0, y, x, 2, ["VISIBILITY", "TERRAIN_COST", "RESOURCES"])
    assert got[0, 2, 2, 0] == 0.25
    assert (got[..., 0] != 0).sum() == 2
    assert (got[..., 1] != 0).sum() == 2, "the other one, and not oneself"
    assert got[0, 3, 2, 1] == np.float32(0.75) * seen[0, 3, 2, 0]
    np.testing.assert_array_equal(got[..., 2], seen[..., 2] * seen[..., 0])
    np.testing.assert_array_equal(got[..., 3], seen[..., 1])
    world.close()


def test_reset_leaves_the_ground() -> None:
    world = World(SHAPE, copies=3, terrain=Ground())
    live(world, 3)
    cost = world.environmental.get("TERRAIN_COST")
    world.advance(5)
    kept = world.observe(1, 10, 10, 10)
    world.reset(np.array([True, False, True]))
    np.testing.assert_array_equal(world.observe(1, 10, 10, 10), kept)
    for copy in (0, 2):
        assert not world.temporal.has_any_data("TRAILS", copy)
    world.reset()
    assert world.temporal.grid.stats().live == world.resources.grid.stats().live == 0
    np.testing.assert_array_equal(world.environmental.get("TERRAIN_COST"), cost)
    world.close()


@settings(max_examples=4)
@given(before=st.integers(0, 5), after=st.integers(1, 5), boundary=st.sampled_from(["wall", "wrap"]))
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_resumed_is_bit_exact(
    tmp_path_factory: pytest.TempPathFactory, dtype: Any, before: int, after: int, boundary: Any
) -> None:
    folder = tmp_path_factory.mktemp("resumed")
    worlds = [
        World(
            SHAPE, copies=2, memmap=MemmapConfig(dtype=dtype), boundary=boundary, path=folder / name, terrain=Ground()
        )
        for name in ("one", "two")
    ]
    through = live(worlds[0], before + after)
    first = live(worlds[1], before)
    worlds[1].close()
    resumed = World.open(folder / "two", "r+")
    rest = live(resumed, after)
    assert [part.tobytes() for part in first + rest] == [part.tobytes() for part in through]
    resumed.close()
    worlds[0].close()
    assert content(folder / "one") == content(folder / "two")


def test_a_shared_map(tmp_path: Path) -> None:
    World(SHAPE, path=tmp_path / "map", terrain=Ground(), seed=3).close()
    before = content(tmp_path)
    worlds = [World(map=tmp_path / "map", copies=2, seed=seed) for seed in range(2)]
    for world in worlds:
        assert world.shape == SHAPE
        assert not world.environmental.grid.writable
        np.testing.assert_allclose(world.environmental.get("CAPACITY"), Ground().layers()["CAPACITY"], atol=0.5 / 255)
        with pytest.raises(ReadOnlyError):
            world.set_environmental_layer("CAPACITY", np.zeros(SHAPE))
    worlds[0].scatter("TRAILS", 1, 2, 3, 1.0)
    assert worlds[1].gather("TRAILS", 1, 2, 3)[0] == 0
    worlds[0].close()
    live(worlds[1], 3)
    shared = [line for line in Path("/proc/self/maps").read_text().splitlines() if "environmental.npy" in line]
    assert [line.split()[1] for line in shared] == ["r--s"], "one shared, read-only map is left"
    again = pickle.loads(pickle.dumps(worlds[1]))
    assert again.info()["map"] == str(tmp_path / "map")
    again.close()
    worlds[1].close()
    assert content(tmp_path) == before
    for arguments in ({"shape": (5, 5)}, {"terrain": Ground()}, {"boundary": "wrap"}):
        with pytest.raises((ConfigError, ShapeError)):
            World(map=tmp_path / "map", **arguments)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="map's own"):
        World(map=tmp_path / "map", channels={"environmental": (Channel("CAPACITY"),)})


def test_a_kept_world_over_a_map(tmp_path: Path) -> None:
    World(SHAPE, path=tmp_path / "map", terrain=Ground()).close()
    world = World(map=tmp_path / "map", path=tmp_path / "w")
    live(world, 3)
    seen = world.observe(0, 10, 10, 5)
    world.close()
    assert not list((tmp_path / "w").glob("environmental*"))
    again = World.open(tmp_path / "w", "r+")
    np.testing.assert_array_equal(again.observe(0, 10, 10, 5), seen)
    again.close()
    (tmp_path / "map" / "world.json").unlink()
    with pytest.raises(WorldFormatError, match="map"):
        World.open(tmp_path / "w")


@pytest.mark.parametrize("on_disk", [(a, b, c) for a in (True, False) for b in (True, False) for c in (True, False)])
def test_a_backend_a_group(tmp_path: Path, on_disk: tuple[bool, bool, bool]) -> None:
    keys = ("use_for_resources", "use_for_environmental", "use_for_temporal")
    config = MemmapConfig(**dict(zip(keys, on_disk, strict=True)))  # type: ignore[arg-type]
    world = World(SHAPE, copies=2, memmap=config, path=tmp_path / "w", terrain=Ground())
    everywhere = World(SHAPE, copies=2, terrain=Ground())
    assert [part.tobytes() for part in live(world, 4)] == [part.tobytes() for part in live(everywhere, 4)]
    assert [world.grids[group].backend == "memmap" for group in ("resources", "environmental", "temporal")] == list(
        on_disk
    )
    world.close()
    everywhere.close()
    if all(on_disk):
        World.open(tmp_path / "w").close()
    else:
        with pytest.raises(WorldFormatError, match="kept in memory"):
            World.open(tmp_path / "w")


def test_what_a_world_was_made_from_is_not_kept() -> None:
    terrain = Ground()
    gone = weakref.ref(terrain)
    world = World(SHAPE, terrain=terrain)
    del terrain
    assert gone() is None
    world.close()


def test_pickling(tmp_path: Path) -> None:
    scratch = World(SHAPE, copies=2, terrain=Ground(), seed=4, boundary="wrap")
    live(scratch, 2)
    other = pickle.loads(pickle.dumps(scratch))
    assert (other.tick, other.seed, other.boundary, other.copies) == (0, 4, "wrap", 2)
    np.testing.assert_array_equal(other.environmental.get("CAPACITY"), scratch.environmental.get("CAPACITY"))
    other.scatter("TRAILS", 0, 0, 0, 1.0)
    other.close()
    scratch.advance()
    kept = World(SHAPE, path=tmp_path / "w")
    kept.scatter("TRAILS", 0, 1, 1, 1.0)
    there = pickle.loads(pickle.dumps(kept))
    assert there.path == kept.path
    assert there.gather("TRAILS", 0, 1, 1)[0] == 1
    with pytest.raises(ReadOnlyError):
        there.scatter("TRAILS", 0, 1, 1, 0.0)
    there.close()
    for world in (kept, scratch):
        world.close()
        with pytest.raises(ClosedError):
            pickle.dumps(world)


def in_a_child(call: Any) -> int:
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        try:
            call()
        except ClosedError:
            os._exit(1)
        except BaseException:  # noqa: BLE001 - it must not go on as pytest
            os._exit(2)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("kind", ["scratch", "named", "mixed", "ram"])
def test_a_forked_child_never_writes_its_parents_world(tmp_path: Path, kind: str) -> None:
    ram = {"use_for_resources": False, "use_for_environmental": False}
    world = World(
        SHAPE,
        path=tmp_path / "w" if kind == "named" else None,
        memmap={
            "scratch": MemmapConfig(),
            "named": MemmapConfig(delete_on_close=True),
            "mixed": MemmapConfig(**ram),  # type: ignore[arg-type]
            "ram": MemmapConfig(**ram, use_for_temporal=False),  # type: ignore[arg-type]
        }[kind],
    )
    cutter = world.windows(["TRAILS"], 1)
    refused = 0 if kind == "ram" else 1
    assert in_a_child(lambda: world.scatter("TRAILS", 0, 1, 1, 1.0)) == refused
    assert in_a_child(lambda: world.take("RESOURCES", 0, 1, 1, 1.0)) == refused
    assert in_a_child(lambda: world.advance()) == refused
    assert in_a_child(lambda: world.reset()) == refused
    assert in_a_child(lambda: cutter(0, 1, 1)) == refused
    assert in_a_child(world.close) == 0
    assert (world.gather("TRAILS", 0, 1, 1)[0], world.gather("RESOURCES", 0, 1, 1)[0], world.tick) == (0, 1, 0)
    world.flush()
    if kind == "named":
        assert sorted(content(tmp_path / "w")) == sorted([*FILES, "delete_on_close.json"])
    world.close()
    assert list(tmp_path.rglob("*.npy")) == []


def test_after_close_everything_raises(tmp_path: Path) -> None:
    world, other = World(SHAPE, path=tmp_path / "w", seed=1), World(SHAPE, seed=1)
    cutters = [each.windows(["TRAILS", "SELF_HP"], 2) for each in (world, other)]
    world.observe(0, 1, 1, 1)
    world.close()
    world.close()
    assert world.closed
    calls: list[Any] = [
        lambda: world.advance(),
        lambda: world.reset(),
        lambda: world.gather("TRAILS", 0, 1, 1),
        lambda: world.scatter("TRAILS", 0, 1, 1, 1.0),
        lambda: world.take("RESOURCES", 0, 1, 1, 1.0),
        lambda: world.windows(["TRAILS"], 1),
        lambda: world.observe(0, 1, 1, 1),
        lambda: cutters[0](0, 1, 1),
        lambda: world.set_environmental_layer("OBSTACLES", np.zeros(SHAPE)),
        lambda: world.deposit_temporal_events("TRAILS", []),
        lambda: world.info(),
        lambda: world.flush(),
        lambda: world.check_open(),
        lambda: world.resources.total(),
        lambda: world.environmental.get("OBSTACLES"),
        lambda: world.temporal.has_any_data("TRAILS"),
        lambda: world.temporal.clear_all(),
    ]
    for call in calls:
        with pytest.raises(ClosedError, match="closed"):
            call()
    live(other, 2)
    cutters[1](0, 1, 1)
    other.close()


def test_the_clock_of_a_huge_world_touches_no_page(tmp_path: Path) -> None:
    world = World((1 << 14, 1 << 14), path=tmp_path / "w")
    paths = [path for path in sorted((tmp_path / "w").glob("*.npy")) if path.name != "clock.npy"]
    world.flush()
    before = [path.stat().st_blocks for path in paths]
    for ticks in (1, 400, 100_000):
        world.advance(ticks)
    world.reset()
    world.advance(0)
    world.flush()
    assert [path.stat().st_blocks for path in paths] == before
    assert not any(grid.stats().live for grid in world.grids.values())
    assert world.tick == 100_401
    world.close()


def test_one_clock_for_all() -> None:
    world = World(SHAPE, channels={"temporal": (Channel("FLASH", Decay(0.0)),)})  # its epochs of one tick end first
    for ticks in (-1, 1.5, True, None, 2**33, 2**62):
        with pytest.raises(ConfigError):
            world.advance(ticks)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"World\.advance"):
        world.temporal.apply_decay()
    world.advance(3)
    assert (world.tick, world.resources.grid.tick, world.temporal.grid.tick) == (3, 3, 3)
    world.close()
