"""Maps from recipes: one build a machine, a ground that no other's writes reach, a folder that only its owner fills."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from other_python import run_python
from typer.testing import CliRunner

import memfarm
from memfarm import map_cache, terrain
from memfarm.cli import app
from memfarm.config import MemmapConfig, SimulationConfig
from memfarm.envs.ground import make_world
from memfarm.errors import ConfigError, StorageError, TerrainError
from memfarm.world import World

pytestmark = pytest.mark.once

gym.register_envs(memfarm)

ROOT = Path(__file__).parents[1]
RECIPE: dict[str, Any] = {"kind": "noise", "shape": [24, 40], "seed": 5}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEMFARM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def worlds() -> Iterator[list[World]]:
    """What is put in here is closed."""
    opened: list[World] = []
    yield opened
    while opened:
        opened.pop().close()


def configured(recipe: Any, **memmap: Any) -> SimulationConfig:
    return SimulationConfig.from_dict(
        {"world": {"map": recipe}, "memmap": {"dtype": {"environmental": "float32"}, **memmap}}
    )


def key(recipe: Any) -> str:
    return map_cache.key(recipe, "wall", "float32")


def maps(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock"))


def test_two_worlds_of_one_recipe_map_the_same_files(cache: Path, worlds: list[World]) -> None:
    worlds += [make_world(configured(RECIPE), 1), make_world(configured({**RECIPE, "seed": 5.0}), 3)]
    (name,) = maps(cache)
    assert [world.info()["map"] for world in worlds] == [str(cache / name)] * 2
    mapped = Path("/proc/self/maps").read_text().splitlines()
    assert sum(line.endswith(f"{name}/environmental.npy") for line in mapped) == 2
    for layer, values in terrain.from_recipe(RECIPE).layers().items():
        for world in worlds:
            np.testing.assert_array_equal(world.environmental.get(layer), values)


def test_what_a_world_writes_to_its_ground_stays_its_own(cache: Path, worlds: list[World]) -> None:
    writer, other = (make_world(configured(RECIPE), 1) for _ in range(2))
    worlds += [writer, other]
    before = other.environmental.get("OBSTACLES")
    there = b"".join(path.read_bytes() for path in sorted((cache / maps(cache)[0]).iterdir()))
    writer.set_environmental_layer("OBSTACLES", 1.0 - before)
    writer.scatter("TERRAIN_COST", 0, 3, 4, 0.25)
    np.testing.assert_array_equal(writer.environmental.get("OBSTACLES"), 1.0 - before)
    np.testing.assert_array_equal(other.environmental.get("OBSTACLES"), before)
    worlds.append(make_world(configured(RECIPE), 1))
    np.testing.assert_array_equal(worlds[-1].environmental.get("OBSTACLES"), before)
    assert b"".join(path.read_bytes() for path in sorted((cache / maps(cache)[0]).iterdir())) == there


def test_food_grows_by_the_ground_that_its_own_world_wrote(cache: Path, worlds: list[World]) -> None:
    world = make_world(configured(RECIPE), 1)
    worlds.append(world)
    world.set_environmental_layer("CAPACITY", np.full(world.shape, 0.5))
    assert world.gather("RESOURCES", 0, 2, 3) == 0.5


def test_an_environment_on_a_recipe_may_be_changed_and_goes_on(cache: Path) -> None:
    env = gym.make_vec("memfarm/Forage-v0", num_envs=4, agents_per_world=4, map=RECIPE, tensor="numpy", radius=1)
    env.reset(seed=0)
    walled = np.zeros((24, 40))
    walled[0] = 1.0
    env.unwrapped.set_environmental_layer("OBSTACLES", walled)  # type: ignore[attr-defined]
    env.step(np.zeros(4, np.int64))
    assert len(maps(cache)) == 1
    env.close()


def test_a_map_folder_stays_read_only(cache: Path, tmp_path: Path, worlds: list[World]) -> None:
    World(terrain=terrain.flat((8, 8)), path=tmp_path / "map").close()
    worlds.append(make_world(configured(str(tmp_path / "map")), 1))
    with pytest.raises(PermissionError):
        worlds[0].set_environmental_layer("OBSTACLES", np.ones((8, 8)))
    assert not cache.exists()


def test_an_environment_goes_on_from_what_it_saved_after_the_cache_was_cleared(cache: Path, tmp_path: Path) -> None:
    def forage() -> Any:
        return gym.make_vec("memfarm/Forage-v0", num_envs=4, agents_per_world=4, map=RECIPE, tensor="numpy", radius=1)

    env = forage()
    env.reset(seed=0)
    env.step(np.full(4, 5))
    env.save(tmp_path / "saved")
    expected = env.step(np.full(4, 2))[0]
    env.close()
    assert map_cache.clear() == 1
    again = forage()
    again.load(tmp_path / "saved")
    np.testing.assert_array_equal(again.step(np.full(4, 2))[0], expected)
    again.close()


def test_a_snapshot_of_a_ground_that_was_written_outlives_the_cache(
    cache: Path, tmp_path: Path, worlds: list[World]
) -> None:
    world = make_world(configured(RECIPE), 1)
    worlds.append(world)
    world.set_environmental_layer("VISIBILITY", np.full(world.shape, 0.25))
    world.snapshot(tmp_path / "snapshot")
    assert map_cache.clear() == 1
    worlds.append(World.open(tmp_path / "snapshot"))
    for layer in ("OBSTACLES", "VISIBILITY", "CAPACITY"):
        np.testing.assert_array_equal(worlds[1].environmental.get(layer), world.environmental.get(layer))


@pytest.mark.parametrize("kept", [{"directory": "worlds"}, {"use_for_environmental": False}])
def test_a_kept_world_and_one_in_memory_have_a_ground_of_their_own(
    cache: Path, tmp_path: Path, worlds: list[World], kept: dict[str, Any]
) -> None:
    if "directory" in kept:
        kept = {"directory": str(tmp_path / "worlds")}
    worlds.append(make_world(configured(RECIPE, **kept), 1))
    assert worlds[0].info()["map"] is None
    assert not cache.exists()


def test_the_default_ground_and_an_open_plain_need_no_cache(cache: Path, worlds: list[World]) -> None:
    worlds += [make_world(configured(None), 1), make_world(configured({"kind": "flat", "shape": [9, 9]}), 1)]
    assert not cache.exists()


# --- the key


@pytest.mark.parametrize(
    "same",
    [
        {"kind": "noise", "shape": (24, 40), "seed": 5},
        {"seed": 5, "shape": [24, 40], "kind": "noise"},
        {**RECIPE, "octaves": 4, "height": 400},
        {**RECIPE, "shape": [np.int64(24), 40.0], "food_share": 0.5},
    ],
)
def test_recipes_that_make_the_same_ground_have_one_key(same: dict[str, Any]) -> None:
    assert key(same) == key(RECIPE)


@given(
    name=st.sampled_from(["seed", "octaves", "feature_size", "height", "food_share", "hollow_radius"]),
    value=st.one_of(st.integers(2, 50), st.floats(0.01, 0.99)),
)
def test_another_value_is_another_key(name: str, value: float) -> None:
    default = terrain.completed(RECIPE)[name]
    assert (key({**RECIPE, name: value}) == key(RECIPE)) == (default == value)


def test_edge_dtype_and_versions_are_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {key(RECIPE), map_cache.key(RECIPE, "wrap", "float32"), map_cache.key(RECIPE, "wall", "uint8")}
    monkeypatch.setattr(terrain, "VERSION", terrain.VERSION + 1)
    keys.add(key(RECIPE))
    assert len(keys) == 4


def test_a_file_counts_by_its_bytes_and_not_by_its_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "one.npy", rng.random((12, 12)))
    (tmp_path / "two.npy").write_bytes((tmp_path / "one.npy").read_bytes())
    one, two = ({"kind": "raster", "path": str(tmp_path / f"{name}.npy")} for name in ("one", "two"))
    assert key(one) == key(two)
    np.save(tmp_path / "two.npy", rng.random((12, 12)))
    assert key(one) != key(two)


def test_a_file_that_changed_makes_another_map(cache: Path, tmp_path: Path, worlds: list[World]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(2):
        np.save(tmp_path / "land.npy", rng.random((12, 12)))
        worlds.append(make_world(configured(str(tmp_path / "land.npy")), 1))
        expected = terrain.load(tmp_path / "land.npy").capacity
        np.testing.assert_array_equal(worlds[-1].environmental.get("CAPACITY"), expected)
    assert len(maps(cache)) == 2


def test_a_file_that_changes_while_it_is_read_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "land.npy", np.ones((12, 12)))
    build = terrain.from_recipe

    def meddled(recipe: Any) -> Any:
        np.save(tmp_path / "land.npy", np.zeros((12, 12)))
        return build(recipe)

    monkeypatch.setattr(terrain, "from_recipe", meddled)
    with pytest.raises(TerrainError, match="must stay as it is"):
        make_world(configured(str(tmp_path / "land.npy")), 1)
    assert maps(cache) == []


@pytest.mark.parametrize(
    "wrong", [{**RECIPE, "octave": 3}, {**RECIPE, "octaves": "many"}, {"kind": "raster", "path": "no/such.npy"}]
)
def test_a_wrong_recipe_is_refused_and_leaves_nothing(cache: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises((TerrainError, ConfigError)):
        make_world(configured(wrong), 1)
    assert not cache.exists() or maps(cache) == []


# --- the folder


def foreign(cache: Path) -> None:
    os.chown(cache, 12345, -1)


def public(cache: Path) -> None:
    cache.chmod(0o777)


def link(cache: Path) -> None:
    cache.rename(cache.with_name("elsewhere"))
    cache.symlink_to(cache.with_name("elsewhere"))


def plain_file(cache: Path) -> None:
    cache.rmdir()
    cache.touch()


@pytest.mark.parametrize("made", [foreign, public, link, plain_file])
def test_a_folder_that_others_could_fill_is_not_used(cache: Path, worlds: list[World], made: Any) -> None:
    if made is foreign and os.geteuid() != 0:
        pytest.skip("only root may give a folder away")
    cache.mkdir(mode=0o700)
    made(cache)
    with pytest.warns(UserWarning, match="a folder of one's own"):
        worlds.append(make_world(configured(RECIPE), 1))
    assert worlds[0].info()["map"] is None
    np.testing.assert_array_equal(worlds[0].environmental.get("TERRAIN_COST"), terrain.from_recipe(RECIPE).terrain_cost)
    assert not cache.is_dir() or list(cache.iterdir()) == []
    with pytest.raises(StorageError, match="cache"):
        map_cache.clear()


def test_map_mode_c_is_for_worlds_that_are_not_kept(tmp_path: Path) -> None:
    World(terrain=terrain.flat((8, 8)), path=tmp_path / "map").close()
    for wrong in ({"path": tmp_path / "kept"}, {"memmap": MemmapConfig(directory=str(tmp_path / "all"))}):
        with pytest.raises(ConfigError, match="not kept"):
            World(map=tmp_path / "map", map_mode="c", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="not kept"):
        World((8, 8), map_mode="c")
    with pytest.raises(ConfigError, match="map_mode"):
        World(map=tmp_path / "map", map_mode="w")  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map"]


# --- many at once

CROWD = """
import multiprocessing, os, sys
from pathlib import Path
from memfarm import terrain
from memfarm.config import SimulationConfig
from memfarm.envs.ground import make_world

log, build = Path(sys.argv[1]), terrain.from_recipe

def counted(recipe):
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, b"built\\n")
    os.close(fd)
    return build(recipe)

def ask(barrier, answers):
    terrain.from_recipe = counted
    config = SimulationConfig.from_dict({"world": {"map": {"kind": "noise", "shape": [160, 160], "seed": 1}}})
    barrier.wait()
    world = make_world(config, 1)
    answers.put((world.info()["map"], world.environmental.get("CAPACITY").tobytes()))
    world.close()

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(6), context.Queue()
    askers = [context.Process(target=ask, args=(barrier, answers)) for _ in range(6)]
    for asker in askers:
        asker.start()
    found = [answers.get(timeout=60) for _ in askers]
    for asker in askers:
        asker.join()
    assert [asker.exitcode for asker in askers] == [0] * 6
    assert len(set(found)) == 1 and found[0][0] is not None, found
"""


def test_of_six_that_ask_at_once_one_builds(cache: Path, tmp_path: Path) -> None:
    done = run_python("-c", CROWD, tmp_path / "log")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "log").read_text() == "built\n"
    assert len(maps(cache)) == 1


# --- what the command line shows


def test_the_command_lists_maps_and_clears_them(cache: Path, worlds: list[World]) -> None:
    worlds.append(make_world(configured(RECIPE), 1))
    (name,) = maps(cache)
    listed = CliRunner().invoke(app, ["cache"])
    assert listed.exit_code == 0, listed.output
    assert name in listed.output
    assert "24 x 40" in listed.output
    cleared = CliRunner().invoke(app, ["cache", "--clear"])
    assert "1 map" in cleared.output
    assert list(cache.iterdir()) == []
    assert worlds[0].environmental.get("OBSTACLES").shape == (24, 40)  # who has mapped it keeps it
    assert "no maps" in CliRunner().invoke(app, ["cache"]).output


def test_a_map_that_is_being_opened_is_not_cleared_away(cache: Path) -> None:
    script = "from memfarm import map_cache; print(map_cache.clear())"
    with map_cache.held(RECIPE, "wall", MemmapConfig()) as folder:
        done = run_python("-c", script)
        assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
        assert folder is not None
        World.open(folder).close()
    assert map_cache.clear() == 1
