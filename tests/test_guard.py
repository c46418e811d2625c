"""Whole ticks: brackets of writers, and readers that follow."""

import copy
import multiprocessing
import os
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import memfarm  # noqa: F401 - registers the ids
from memfarm import guard
from memfarm.channels import Channel, Decay, Regrow, Static
from memfarm.config import MemmapConfig
from memfarm.errors import ClosedError, ConfigError, DirtyWorldError, ReadOnlyError, TornReadError
from memfarm.grid import ChannelGrid
from memfarm.guard import SEQUENCE, TICK, WRITER, Follower, Guard
from memfarm.world import World
from memfarm.wrappers import MemoryObservation

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


def words(folder: Path) -> np.ndarray:
    return np.array(np.load(folder / "clock.npy"))


def make_dirty(folder: Path) -> None:
    """What a writer leaves that is killed inside a step."""
    clock = np.load(folder / "clock.npy", mmap_mode="r+")
    clock[SEQUENCE] |= 1
    del clock


def test_the_sequence_number_is_odd_from_the_first_write_to_the_last(world: World, tmp_path: Path) -> None:
    before = words(tmp_path / "w")[SEQUENCE]
    assert before % 2 == 0
    with world.writing():
        odd = words(tmp_path / "w")[SEQUENCE]
        assert odd == before + 1
        world.scatter("TRAILS", 0, 1, 1, 1.0)
        with world.writing():
            world.advance()
        assert words(tmp_path / "w")[SEQUENCE] == odd
    assert words(tmp_path / "w")[SEQUENCE] == before + 2
    assert words(tmp_path / "w")[TICK] == world.tick == 1


def test_a_block_that_raises_ends_even(world: World, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), world.writing():
        _ = 1 / 0
    assert words(tmp_path / "w")[SEQUENCE] % 2 == 0


WRITES = {
    "scatter": lambda w: w.scatter("TRAILS", 0, 1, 1, 1.0),
    "take": lambda w: w.take("RESOURCES", 0, 1, 1, 0.5),
    "write": lambda w: w.temporal.grid.write("TRAILS", np.ones((2, 2))),
    "set item": lambda w: w.temporal.grid.__setitem__(("TRAILS", slice(0, 2), slice(0, 2)), 1.0),
    "stamp_windows": lambda w: w.temporal.grid.stamp_windows(["TRAILS"], 0, [5], [5], np.ones((1, 3, 3, 1))),
    "settle": lambda w: w.temporal.grid.settle(),
    "reset": lambda w: w.reset(),
    "grid's reset": lambda w: w.temporal.grid.reset([1]),
    "advance": lambda w: w.advance(),
    "layer": lambda w: w.set_environmental_layer("OBSTACLES", np.ones(SHAPE)),
    "capacity": lambda w: w.scatter("CAPACITY", 0, 1, 1, 0.5),
    "deposit": lambda w: w.deposit_temporal_events("TRAILS", [(1, 1, 0.5)]),
    "put_tiles": lambda w: w.temporal.grid.put_tiles(w.temporal.grid.tiles()),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_every_write_moves_the_sequence_number_and_leaves_it_even(world: World, tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    before = words(tmp_path / "w")[SEQUENCE]
    write(world)
    after = words(tmp_path / "w")[SEQUENCE]
    assert after > before
    assert after % 2 == 0


@pytest.mark.parametrize("write", ["scatter", "take", "write", "stamp_windows", "settle", "capacity"])
def test_the_kernels_write_while_the_number_is_odd(
    world: World, tmp_path: Path, write: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.scatter("RESOURCES", 0, 1, 1, 0.5)
    world.advance()
    seen = []

    class Spy:
        def __init__(self, kernel: object) -> None:
            self.kernel = kernel

        def __getattr__(self, name: str) -> object:
            call = getattr(self.kernel, name)
            if name not in ("scatter", "take", "write", "stamp_windows", "settle"):
                return call

            def counted(*args: object) -> object:
                seen.append(words(tmp_path / "w")[SEQUENCE] % 2)
                return call(*args)

            return counted

    for grid in world.grids.values():
        monkeypatch.setattr(grid, "_kernel", Spy(grid._kernel))
    WRITES[write](world)
    assert seen
    assert all(seen)


def test_a_reader_cannot_write(reader: World) -> None:
    with pytest.raises(ReadOnlyError):
        reader.writing()


def test_a_reader_follows_clock_writes_and_resets(world: World, reader: World) -> None:
    cutter = reader.windows(["TRAILS", "RESOURCES", "OBSTACLES"], 1)
    for step in range(30):
        with world.writing():
            world.scatter("TRAILS", [0, 1], [3, 3], [4, step], [1.0, 0.5])
            world.take("RESOURCES", 0, 3, 4, 0.9)
            world.scatter("OBSTACLES", 0, step, 7, 1.0)
            world.advance(1 + 40 * (step % 3))
            if step % 5 == 4:
                world.reset([0])
        assert reader.tick == world.tick
        for name in ("TRAILS", "RESOURCES"):
            for number in (0, 1):
                mine, its = (w.grid_of(name)[name, number, 0:40, 0:50] for w in (world, reader))
                np.testing.assert_array_equal(its, mine)
        windows = [w.windows(["TRAILS", "RESOURCES", "OBSTACLES"], 1) for w in (world,)]
        np.testing.assert_array_equal(cutter([0, 1], [3, 3], [4, 5]), windows[0]([0, 1], [3, 3], [4, 5]))
        np.testing.assert_array_equal(reader.gather("TRAILS", [0, 1], 3, 4), world.gather("TRAILS", [0, 1], 3, 4))
        assert reader.temporal.grid.tick == world.tick
        assert reader.info()["grids"]["temporal"]["live"] == world.info()["grids"]["temporal"]["live"]
        np.testing.assert_array_equal(
            reader.temporal.grid.window("TRAILS", -3, 9, -3, 9), world.temporal.grid.window("TRAILS", -3, 9, -3, 9)
        )


def test_a_read_that_a_write_came_between_is_done_again(world: World, reader: World) -> None:
    world.scatter("TRAILS", 0, 1, 1, 0.25)
    found = []

    def read() -> tuple[float, int, float]:
        first = float(reader.gather("TRAILS", 0, 1, 1)[0])
        if not found:
            world.scatter("TRAILS", 0, 1, 1, 1.0)
            world.advance()
        found.append(first)
        return first, reader.tick, float(reader.gather("TRAILS", 0, 1, 1)[0])

    before, tick, after = reader.in_one_tick(read)
    assert len(found) == 2
    assert found[0] == 0.25
    assert before == after == pytest.approx(0.9)
    assert tick == 1


def test_a_reader_gives_up_on_a_writer_that_leaves_no_room(world: World, reader: World, impatient: None) -> None:
    with world.writing():
        for read in (
            lambda: reader.gather("TRAILS", 0, 1, 1),
            lambda: reader.observe(0, [1], [1], 1),
            lambda: reader.temporal.grid.read("TRAILS", 0, 4, 0, 4),
            lambda: reader.temporal.grid.observe(0, [1], [1], 1),
            reader.info,
        ):
            with pytest.raises(TornReadError, match="process"):
                read()
    assert reader.gather("TRAILS", 0, 1, 1) == 0


def test_a_reader_waits_for_the_end_of_a_step(world: World, reader: World) -> None:
    inside, go = threading.Event(), threading.Event()

    def step() -> None:
        with world.writing():
            world.scatter("TRAILS", 0, 1, 1, 0.5)
            inside.set()
            go.wait(60)
            world.scatter("TRAILS", 0, 1, 1, 1.0)

    writer = threading.Thread(target=step)
    writer.start()
    assert inside.wait(60)
    threading.Timer(0.05, go.set).start()
    assert reader.gather("TRAILS", 0, 1, 1) == 1.0
    writer.join()


def test_a_reader_whose_writer_dies_inside_a_step_is_told(world: World, tmp_path: Path, impatient: None) -> None:
    reader = World.open(tmp_path / "w")
    world.close()
    make_dirty(tmp_path / "w")
    with pytest.raises(DirtyWorldError, match="died inside a step"):
        reader.gather("TRAILS", 0, 1, 1)
    reader.close()


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_a_world_whose_writer_died_inside_a_step_is_refused(tmp_path: Path, mode: str) -> None:
    World(SHAPE, path=tmp_path / "w").close()
    make_dirty(tmp_path / "w")
    for _ in range(2):
        with pytest.raises(DirtyWorldError, match="no snapshot to go back to"):
            World.open(tmp_path / "w", mode)  # type: ignore[arg-type]
    assert words(tmp_path / "w")[SEQUENCE] % 2 == 1  # and stays what it was


def test_a_dirty_world_goes_back_to_its_last_snapshot(tmp_path: Path) -> None:
    world = World(SHAPE, path=tmp_path / "w")
    world.scatter("TRAILS", 0, 1, 1, 1.0)
    world.advance(3)
    world.snapshot(tmp_path / "s")
    world.reset()
    world.advance(4)
    world.close()
    make_dirty(tmp_path / "w")
    for mode in ("r", "r+", "c"):
        with pytest.raises(DirtyWorldError, match=r"recover=True.*/s'"):
            World.open(tmp_path / "w", mode)  # type: ignore[arg-type]
    world = World.open(tmp_path / "w", "r+", recover=True)
    assert (world.tick, world.gather("TRAILS", 0, 1, 1)) == (3, pytest.approx(0.9**3, abs=1e-6))
    world.advance()
    world.close()
    World.open(tmp_path / "w").close()


@pytest.mark.parametrize("mode", ["r", "c"])
def test_only_a_writer_recovers(tmp_path: Path, mode: str) -> None:
    World(SHAPE, path=tmp_path / "w").close()
    with pytest.raises(ConfigError, match=r"r\+"):
        World.open(tmp_path / "w", mode, recover=True)  # type: ignore[arg-type]


def test_a_bracket_that_lost_its_end_is_made_good_by_the_next_one() -> None:
    clock = np.zeros(8, np.int64)
    mine = Guard(clock)
    mine.one_write.__enter__()  # an interrupt, and no __exit__
    assert clock[SEQUENCE] == 1
    with mine.one_write:
        assert clock[SEQUENCE] == 1
    assert clock[SEQUENCE] == 2
    mine.one_write.__enter__()
    mine.claim(0)
    assert clock[SEQUENCE] % 2 == 0
    mine.close()


def test_one_write_inside_a_block_does_not_end_it() -> None:
    clock = np.zeros(8, np.int64)
    mine = Guard(clock)
    with mine.writing():
        with mine.one_write:
            assert clock[SEQUENCE] == 1
        assert clock[SEQUENCE] == 1
    assert clock[SEQUENCE] == 2


def test_the_clock_names_its_writer_until_it_closes(tmp_path: Path) -> None:
    world = World(SHAPE, path=tmp_path / "w")
    assert words(tmp_path / "w")[WRITER] == os.getpid()
    world.close()
    assert words(tmp_path / "w")[WRITER] == 0


def test_the_tick_can_be_read_after_close(world: World, reader: World) -> None:
    world.advance(5)
    reader.close()
    world.close()
    assert (world.tick, reader.tick) == (5, 5)


def test_a_world_on_a_map_follows_the_maps_writer(tmp_path: Path, impatient: None) -> None:
    ground = World(SHAPE, path=tmp_path / "ground")
    world = World(map=tmp_path / "ground")
    ground.set_environmental_layer("OBSTACLES", np.ones(SHAPE))
    assert world.gather("OBSTACLES", 0, 1, 1) == 1
    cutter = world.windows(["OBSTACLES", "TRAILS"], 1)
    assert cutter(0, 5, 5)[0, :, :, 0].all()
    with ground.writing(), pytest.raises(TornReadError):
        cutter(0, 5, 5)
    with ground.writing(), pytest.raises(TornReadError):
        world.observe(0, 5, 5, 1, ["OBSTACLES"])
    with ground.writing():
        assert world.gather("TRAILS", 0, 1, 1) == 0  # its own grids wait for nobody
    world.close()
    ground.close()


def test_a_grid_of_its_own_tells_nobody() -> None:
    grid = ChannelGrid((8, 8), [Channel("A", Static(), low=0, high=1)])
    grid.scatter("A", 0, 1, 1, 1.0)
    assert grid.gather("A", 0, 1, 1) == 1
    grid.close()


def test_a_follower_moves_its_grids_only_when_the_clock_moved() -> None:
    clock = np.zeros(8, np.int64)
    moves: list[int] = []

    class OnClock:
        def stand_at(self, tick: int) -> None:
            moves.append(tick)

    follower = Follower(clock, Path(), DirtyWorldError)
    follower.follow(OnClock())
    for tick in (0, 0, 3, 3, 3, 7):
        clock[TICK] = tick
        assert follower.whole(lambda: "read") == "read"
    assert moves == [0, 3, 7]
    follower.close()


def test_a_capacity_that_changes_is_one_write_for_a_reader(tmp_path: Path) -> None:
    """What regrows towards it is put back within the same bracket."""
    channels = {
        "environmental": (Channel("CAPACITY", Static(), low=0, high=1, fill=1.0),),
        "resources": (Channel("RESOURCES", Regrow(0.1, "CAPACITY"), low=0, high=1),),
        "temporal": (Channel("TRAILS", Decay(0.9)),),
    }
    world = World(SHAPE, path=tmp_path / "w", channels=channels)
    world.scatter("RESOURCES", 0, 1, 1, 0.25)
    world.advance()
    before = words(tmp_path / "w")[SEQUENCE]
    kept = world.gather("RESOURCES", 0, 1, 1)
    world.scatter("CAPACITY", 0, 1, 1, 0.5)
    assert words(tmp_path / "w")[SEQUENCE] == before + 2
    assert world.gather("RESOURCES", 0, 1, 1) == pytest.approx(kept)
    world.close()


# --- an environment's step


def test_an_environments_step_is_one_write_and_looking_is_outside_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = gym.make_vec(
        "memfarm/Forage-v0", num_envs=4, shape=(24, 24), config={"memmap": {"directory": str(tmp_path)}}, tensor="numpy"
    )
    core = env.unwrapped
    folder = core.world.path
    env.reset(seed=1)
    seen: list[tuple[str, int]] = []

    def spy(owner: object, name: str) -> None:
        original = getattr(owner, name)

        def noted(*args: object, **kwargs: object) -> object:
            seen.append((name, int(words(folder)[SEQUENCE] % 2)))
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, noted)

    for name in ("_act", "_settle", "_masks", "_own"):
        spy(core, name)
    spy(env, "_cutter")
    before = words(folder)[SEQUENCE]
    env.step(np.zeros(4, int))
    assert words(folder)[SEQUENCE] == before + 2
    assert dict(seen) == {"_act": 1, "_settle": 1, "_masks": 0, "_own": 0, "_cutter": 0}
    env.close()


# --- copies of objects


@pytest.mark.parametrize("again", [copy.deepcopy, lambda world: pickle.loads(pickle.dumps(world))])
def test_a_copy_of_a_named_world_is_a_reader_of_it(world: World, again) -> None:  # type: ignore[no-untyped-def]
    world.scatter("TRAILS", 0, 1, 1, 1.0)
    other = again(world)
    world.advance(2)
    assert other.gather("TRAILS", 0, 1, 1) == world.gather("TRAILS", 0, 1, 1)
    assert other.tick == 2
    with pytest.raises(ReadOnlyError):
        other.advance()
    other.close()


def test_a_deep_copy_of_a_scratch_world_is_made_by_its_recipe() -> None:
    world = World(SHAPE, memmap=MemmapConfig(use_for_resources=False), seed=3)
    world.scatter("TRAILS", 0, 1, 1, 1.0)
    other = copy.deepcopy(world)
    assert (other.gather("TRAILS", 0, 1, 1), other.tick, other.seed, other.path) == (0, 0, 3, None)
    other.advance()
    other.close()
    world.close()
    with pytest.raises(ClosedError):
        copy.deepcopy(world)


def _read_in_a_child(world: World) -> tuple[int, float, bool]:
    found = (world.tick, float(world.gather("TRAILS", 0, 1, 1)[0]), world.grids["temporal"].writable)
    world.close()
    return found


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_named_world_handed_to_another_process_is_a_reader_there(world: World, method: str) -> None:
    world.scatter("TRAILS", 0, 1, 1, 1.0)
    world.advance(3)
    with multiprocessing.get_context(method).Pool(1) as pool:
        tick, value, writable = pool.apply(_read_in_a_child, (world,))
        pool.close()
        pool.join()
    assert (tick, writable) == (3, False)
    assert value == pytest.approx(0.9**3, abs=1e-6)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize("named", [False, True], ids=["scratch", "named"])
@pytest.mark.parametrize("outermost", ["core", "windows", "memory"])
def test_a_copy_of_an_environment_is_a_new_one(tmp_path: Path, outermost: str, named: bool, again) -> None:  # type: ignore[no-untyped-def]
    config = {"memmap": {"directory": str(tmp_path)}} if named else None
    env = gym.make_vec("memfarm/Forage-v0", num_envs=4, shape=(24, 24), config=config, tensor="numpy", radius=2)
    env = {"core": env.unwrapped, "windows": env, "memory": MemoryObservation(env)}[outermost]
    first, _ = env.reset(seed=1)
    env.step(np.zeros(4, int))
    before = env.unwrapped.world.tick
    other = again(env)
    assert type(other) is type(env)
    assert other.observation_space == env.observation_space
    found, _ = other.reset(seed=1)
    for key in first if outermost == "memory" else ():
        np.testing.assert_array_equal(found[key], first[key])
    if outermost != "memory":
        np.testing.assert_array_equal(found, first)
    for _ in range(3):
        other.step(np.zeros(4, int))
    assert env.unwrapped.world.tick == before
    assert other.unwrapped.world.path != env.unwrapped.world.path or not named
    env.step(np.zeros(4, int))
    other.close()
    env.close()
