"""Snapshots in the background: what the blocking one would have been, while the run goes on."""

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memfarm import checksums, sparse_copy
from memfarm.background import Background
from memfarm.channels import ALLY_SIGNAL, DAMAGE_HEAT, TRAILS, Channel, Decay, Static
from memfarm.config import MemmapConfig
from memfarm.envs import forage_v0
from memfarm.errors import ConfigError, StorageError
from memfarm.grid import ChannelGrid
from memfarm.pace import Pace
from memfarm.snapshot_files import Later
from memfarm.tile_copy import TileCopy
from memfarm.tiling import Tiling
from memfarm.world import World

ROOT = Path(__file__).parents[1]
SHAPE = (50, 70)
DTYPES = ("float16", "float32", "float64", "uint8", "int32")
RAM = MemmapConfig(use_for_resources=False, use_for_environmental=False, use_for_temporal=False)
FULL = os.environ.get("MEMFARM_DOSE") == "full"
pytestmark = pytest.mark.timeout(3600 if FULL else 300)


def make_grid(dtype: str = "float32", boundary: Any = "wall", copies: int = 2, **arguments: Any) -> ChannelGrid:
    still = dtype in ("uint8", "int32")
    law = Static() if still else Decay(0.9)
    lanes = [Channel(name, law, 0.0, 200.0 if still else 1.0, 0.0, 0.0) for name in "ABC"]
    return ChannelGrid(SHAPE, lanes, copies=copies, dtype=dtype, boundary=boundary, **arguments)


def write_at_random(grid: ChannelGrid, random: np.random.Generator, states: list[Any]) -> None:
    """One write of any kind there is, a reset, a tick, or the step back to one of `states`."""
    height, width = grid.shape
    most = 4 if random.random() < 0.7 else 60
    count = int(random.integers(1, most))
    where = [random.integers(0, size, count) for size in (grid.copies, height, width)]
    top = grid.channels[0].high
    match int(random.integers(9)):
        case 0:
            grid.scatter("A", *where, random.random(count) * top)
        case 1:
            grid.scatter("B", *where, top, how="max")
        case 2:
            grid.take("C", *where, random.random(count) * top)
        case 3:
            radius = int(random.integers(0, 30))
            side = 2 * radius + 1
            windows = (random.random((count, side, side, 2)) * top).astype(np.float32)
            seen = random.random((count, side, side)) < 0.2 if random.random() < 0.5 else None
            grid.stamp_windows(("A", "C"), *where, windows, seen=seen)
        case 4:
            y0, x0 = int(random.integers(height)), int(random.integers(width))
            values = random.random((int(random.integers(1, height - y0 + 1)), int(random.integers(1, width - x0 + 1))))
            grid.write("B", values * top, y0, x0, int(random.integers(grid.copies)))
        case 5:
            grid.settle()
        case 6:
            grid.reset([int(random.integers(grid.copies))])
        case 7:
            states.append(grid.tiles())
            grid.put_tiles(states[int(random.integers(len(states)))])
        case _:
            grid.advance(int(random.integers(4000)))


def as_read(grid: ChannelGrid) -> list[bytes]:
    height, width = grid.shape
    return [grid.read(name, 0, height, 0, width, copy).tobytes() for name in grid.names for copy in range(grid.copies)]


# --- which tiles a write reaches


@given(data=st.data(), wrap=st.booleans(), side=st.sampled_from([4, 8, 16]))
@settings(max_examples=400 if FULL else 60)
def test_no_tile_that_a_write_reaches_is_left_out(data: Any, wrap: bool, side: int) -> None:
    height, width = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    y, x, radius = (data.draw(st.integers(0, most)) for most in (height - 1, width - 1, 25))
    rows, columns = -(-height // side), -(-width // side)
    wanted = set()
    for cell_y in range(y - radius, y + radius + 1):
        for cell_x in range(x - radius, x + radius + 1):
            if wrap or (0 <= cell_y < height and 0 <= cell_x < width):
                wanted.add((rows + cell_y % height // side) * columns + cell_x % width // side)
    cell = tuple(np.array([value], np.int32) for value in (1, y, x))
    tiling = Tiling((height, width), side, wrap)
    assert set(tiling.of_windows(cell, radius).tolist()) == wanted
    assert tiling.of_cells(cell).tolist() == [(rows + y // side) * columns + x // side]
    rectangle = tiling.of_rectangle(1, (y, height, x, width))
    cells = {(rows + cy // side) * columns + cx // side for cy in range(y, height) for cx in range(x, width)}
    assert sorted(rectangle.tolist()) == sorted(cells)


# --- one grid, step by step: a piece of the copy, then a write, at every interleaving


@given(
    dtype=st.sampled_from(DTYPES),
    boundary=st.sampled_from(["wall", "wrap"]),
    backend=st.sampled_from(["memmap", "ram"]),
    copies=st.sampled_from([1, 3]),
    seed=st.integers(0, 10**6),
    turns=st.lists(st.booleans(), max_size=60),
)
@settings(max_examples=600 if FULL else 60)
def test_a_copy_is_of_its_moment_whatever_is_written_between_its_pieces(
    tmp_path_factory: pytest.TempPathFactory,
    dtype: str,
    boundary: str,
    backend: Any,
    copies: int,
    seed: int,
    turns: list[bool],
) -> None:
    folder = tmp_path_factory.mktemp("copied")
    random = np.random.default_rng(seed)
    grid = make_grid(dtype, boundary, copies, backend=backend)
    states: list[Any] = []
    try:
        for _ in range(6):
            write_at_random(grid, random, states)
        before, tick = as_read(grid), grid.tick
        later = Later.of(grid)
        ((_, copy),) = later.grids
        copy._together = 1  # type: ignore[misc]  # a tile a piece

        def pace() -> None:
            while turns and turns.pop():
                write_at_random(grid, random, states)

        pace()
        later.write(folder, pace)
        for _ in range(3):
            write_at_random(grid, random, states)
        assert copy.over
        copied = make_grid(dtype, boundary, copies, folder=folder, mode="r", tick=tick)
        try:
            assert as_read(copied) == before
        finally:
            copied.close()
    finally:
        grid.close()


CHANGES: dict[str, Callable[[ChannelGrid], object]] = {
    "scatter": lambda grid: grid.scatter("A", 0, 3, 3, 0.25),
    "take": lambda grid: grid.take("A", 0, 3, 3, 0.25),
    "stamp_windows": lambda grid: grid.stamp_windows("A", 0, 18, 18, np.full((1, 33, 33, 1), 0.25, np.float32)),
    "write": lambda grid: grid.write("A", np.full((5, 5), 0.25)),
    "settle": lambda grid: (grid.advance(5000), grid.settle()),
    "put_tiles": lambda grid: grid.put_tiles(make_changed(0.25).tiles()),
    "hold_as": lambda grid: grid.hold_as(make_changed(0.25)),
    "reset and write": lambda grid: (grid.reset(), grid.write("A", np.full((5, 5), 0.25))),
}


def make_changed(value: float) -> ChannelGrid:
    grid = make_grid(copies=1)
    grid.write("A", np.full((5, 5), value))
    return grid


@pytest.mark.parametrize("change", CHANGES)
def test_every_way_to_change_a_tile_puts_it_aside_first(tmp_path: Path, change: str) -> None:
    grid = make_changed(1.0)
    before = as_read(grid)
    later = Later.of(grid)
    CHANGES[change](grid)
    later.write(tmp_path, lambda: None)
    copied = make_grid(copies=1, folder=tmp_path, mode="r")
    assert as_read(copied) == before
    copied.close()
    grid.close()


def test_a_clone_keeps_what_its_snapshot_needs_when_its_original_goes_on(tmp_path: Path) -> None:
    original = make_changed(1.0)
    clone = make_grid(copies=1)
    clone.hold_as(original)
    before = as_read(clone)
    later = Later.of(clone)
    clone.reset()  # it needs nothing of the original any more; its snapshot does
    original.write("A", np.full((5, 5), 0.25))
    later.write(tmp_path, lambda: None)
    copied = make_grid(copies=1, folder=tmp_path, mode="r")
    assert as_read(copied) == before
    for grid in (copied, clone, original):
        grid.close()


def test_what_was_first_written_later_is_a_hole(tmp_path: Path) -> None:
    grid = make_grid(copies=1)
    grid.scatter("A", 0, 3, 3, 1.0)
    later = Later.of(grid)
    grid.scatter("A", 0, 45, 60, 1.0)
    written = later.write(tmp_path, lambda: None)
    assert written["grid.npy"].tolist() == [[0, 4096], [4096, 4096]]
    assert np.count_nonzero(np.load(tmp_path / "grid.stamps.npy")) == 1
    assert sum(path.stat().st_blocks * 512 for path in tmp_path.glob("grid.npy")) <= 3 * 4096
    grid.close()


def test_a_run_that_is_ahead_waits_for_the_copy_and_holds_no_more_than_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memfarm.tile_copy._ASIDE", 8 * 4096)
    monkeypatch.setattr("memfarm.tile_copy._PIECE", 4096)
    grid = make_grid(copies=4)
    for copy in range(4):
        grid.write("A", np.full(SHAPE, 0.5), copy=copy)
    before = as_read(grid)
    later = Later.of(grid)
    ((_, copying),) = later.grids
    most = [0]
    real = TileCopy._put_aside

    def watched(self: TileCopy, tiles: Any) -> None:
        real(self, tiles)
        most[0] = max(most[0], self._aside_bytes)

    monkeypatch.setattr(TileCopy, "_put_aside", watched)
    thread = threading.Thread(target=grid.settle)  # puts all there is aside
    thread.start()
    time.sleep(0.05)
    assert thread.is_alive(), "it must wait for whoever copies"
    later.write(tmp_path, lambda: None)
    thread.join()
    assert copying.over
    assert 4096 < most[0] <= 9 * 4096
    copied = make_grid(copies=4, folder=tmp_path, mode="r")
    assert as_read(copied) == before
    copied.close()
    grid.close()


def test_a_copy_that_is_over_is_let_go_and_costs_nothing_more() -> None:
    grid = make_grid()
    grid.scatter("A", 0, 3, 3, 1.0)
    later = Later.of(grid)
    assert grid._room.copying is later.grids[0][1]
    later.end()
    grid.scatter("A", 0, 3, 3, 1.0)
    assert grid._room.copying is None
    grid.close()


# --- worlds


KINDS = ("scratch", "ram", "half", "named", "clone", "copied map")


def make_world(folder: Path, kind: str) -> World:
    arguments: dict[str, Any] = {"copies": 3, "sparse": (ALLY_SIGNAL,), "channels": {"temporal": (DAMAGE_HEAT, TRAILS)}}
    if kind == "ram":
        arguments["memmap"] = RAM
    if kind == "half":
        arguments["memmap"] = MemmapConfig(dtype={"temporal": "float16"}, use_for_temporal=False)
    if kind == "named":
        arguments["path"] = folder / "world"
    if kind == "copied map":
        World(SHAPE, path=folder / "map").close()
        return World(map=folder / "map", map_mode="c", **arguments)
    return World(SHAPE, **arguments)


def play(world: World, random: np.random.Generator, ticks: int) -> None:
    height, width = world.shape
    for _ in range(ticks):
        copy, y, x = (random.integers(0, most, 20) for most in (world.copies, height, width))
        world.take("RESOURCES", copy, y, x, random.random(20))
        world.scatter("TRAILS", copy, y, x, 1.0, how="max")
        world.deposit_temporal_events("ALLY_SIGNAL", (y, x, random.random(20)), copy)
        if random.random() < 0.3:
            world.reset([int(random.integers(world.copies))])
        if random.random() < 0.2 and world.ground_is_writable:
            world.set_environmental_layer("TERRAIN_COST", random.random(world.shape))
        world.advance(int(random.integers(1, 20)))


def contents(world: World) -> dict[str, Any]:
    found: dict[str, Any] = {group: as_read(grid) for group, grid in world.grids.items()}
    for name in world.sparse.names:
        found[name] = [part.tobytes() for part in world.sparse.points(name)]
    return {**found, "tick": world.tick}


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 10**6), first=st.integers(0, 6))
@settings(max_examples=150 if FULL else 14)
def test_it_is_the_snapshot_that_blocks_byte_for_byte_while_the_world_goes_on(
    tmp_path_factory: pytest.TempPathFactory, kind: str, seed: int, first: int
) -> None:
    folder = tmp_path_factory.mktemp("behind")
    random = np.random.default_rng(seed)
    world = original = make_world(folder, kind)
    try:
        play(world, random, first)
        if kind == "clone":
            world = original.fork()
            if random.random() < 0.5:
                play(world, random, 1)
        before = contents(world)
        world.snapshot(folder / "blocking")
        handle = world.snapshot(folder / "kept", background=True)
        while not handle.done:
            play(original, random, 1)
            play(world, random, 1)
        assert handle.wait()
        assert handle.error is None
        assert files_of(folder / "kept") == files_of(folder / "blocking")
        checksums.verify(folder / "kept")
        opened = World.open(folder / "kept")
        try:
            assert contents(opened) == before
        finally:
            opened.close()
    finally:
        world.close()
        original.close()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The copying thread stops before its first tile, until the event is set."""
    go = threading.Event()
    real = sparse_copy.write_runs

    def waiting(*given: Any) -> None:
        go.wait(60)
        real(*given)

    monkeypatch.setattr(sparse_copy, "write_runs", waiting)
    yield go
    go.set()


def small_world(**arguments: Any) -> World:
    world = World(SHAPE, **arguments)
    world.scatter("TRAILS", 0, 3, 3, 1.0)
    world.take("RESOURCES", 0, 3, 3, 0.5)
    return world


def after(seconds: float, go: threading.Event) -> threading.Timer:
    timer = threading.Timer(seconds, go.set)
    timer.start()
    return timer


def test_the_call_returns_before_a_tile_is_written_and_wait_tells_whether_it_is_done(
    tmp_path: Path, slow: threading.Event
) -> None:
    world = small_world(path=tmp_path / "world")
    handle = world.snapshot(tmp_path / "kept", background=True)
    for _ in range(20):
        world.scatter("TRAILS", 0, 3, 3, 0.25)
        world.advance()
    assert not handle.done
    assert handle.wait(0.01) is False
    assert not (tmp_path / "kept").exists(), "what is not whole is absent"
    assert not (tmp_path / "world" / "last_snapshot.json").exists()
    slow.set()
    assert handle.wait() is True
    assert handle.done
    assert (tmp_path / "world" / "last_snapshot.json").is_file()
    kept = World.open(tmp_path / "kept")
    assert kept.gather("TRAILS", [0], [3], [3]) == [1.0]
    kept.close()
    world.close()


@pytest.mark.parametrize("how", ["close", "snapshot", "background"])
def test_closing_and_the_next_snapshot_wait_for_it(tmp_path: Path, slow: threading.Event, how: str) -> None:
    world = small_world()
    handle = world.snapshot(tmp_path / "kept", background=True)
    timer = after(0.05, slow)
    if how == "close":
        world.close()
    elif how == "snapshot":
        world.snapshot(tmp_path / "next")
    else:
        world.snapshot(tmp_path / "next", background=True)
    assert handle.done
    assert (tmp_path / "kept").is_dir()
    timer.join()
    world.close()


def failing(errno_of: int) -> Callable[..., None]:
    def fail(*_: Any) -> None:
        raise OSError(errno_of, os.strerror(errno_of))

    return fail


@pytest.mark.parametrize("how", ["wait", "close", "snapshot"])
def test_a_disk_that_fills_up_is_told_and_leaves_nothing_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    world = small_world()
    with monkeypatch.context() as patch:
        patch.setattr(sparse_copy, "write_runs", failing(28))
        handle = world.snapshot(tmp_path / "kept", background=True)
        handle.join()
    play(world, np.random.default_rng(0), 3)
    assert handle.done
    assert isinstance(handle.error, StorageError)
    assert list(tmp_path.iterdir()) == []
    tells: dict[str, Callable[[], object]] = {
        "wait": handle.wait,
        "close": world.close,
        "snapshot": lambda: world.snapshot(tmp_path / "next"),
    }
    with pytest.raises(StorageError, match="kept") as told:
        tells[how]()
    assert told.value.errno == 28
    if how == "close":
        assert world.closed
    else:
        world.snapshot(tmp_path / "next")
    world.close()


def test_a_place_that_is_taken_is_refused_at_once_and_nothing_is_copied(tmp_path: Path) -> None:
    world = small_world()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    with pytest.raises(StorageError, match="place of its own"):
        world.snapshot(tmp_path / "kept", background=True)
    assert threading.active_count() == 1
    assert all(grid._room.copying is None for grid in world.grids.values())
    world.close()


def test_where_a_grid_cannot_be_copied_no_other_is_left_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = small_world()
    real = TileCopy.__init__
    made = []

    def second_fails(self: TileCopy, *given: Any) -> None:
        if made:
            raise MemoryError("no room for the second one")
        made.append(self)
        real(self, *given)

    monkeypatch.setattr(TileCopy, "__init__", second_fails)
    with pytest.raises(MemoryError):
        world.snapshot(tmp_path / "kept", background=True)
    assert made[0].over
    assert list(tmp_path.iterdir()) == []
    world.close()


def test_a_reader_takes_none_in_the_background(tmp_path: Path) -> None:
    small_world(path=tmp_path / "world").close()
    reader = World.open(tmp_path / "world")
    with pytest.raises(ConfigError, match="background"):
        reader.snapshot(tmp_path / "kept", background=True)
    reader.close()


def test_a_dropped_world_is_kept_all_the_same_and_let_go(tmp_path: Path, slow: threading.Event) -> None:
    handle = small_world().snapshot(tmp_path / "kept", background=True)
    gc.collect()
    slow.set()
    assert handle.wait()
    kept = World.open(tmp_path / "kept")
    assert kept.gather("TRAILS", [0], [3], [3]) == [1.0]
    kept.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # of fork, which users do all the same
def test_a_forked_child_writes_its_own_memory_and_waits_for_nobody(tmp_path: Path, slow: threading.Event) -> None:
    world = small_world(memmap=RAM)
    handle = world.snapshot(tmp_path / "kept", background=True)
    child = os.fork()
    if child == 0:
        try:
            world.scatter("TRAILS", 0, 3, 3, 0.125)
            world.close()
        finally:
            os._exit(int(not world.closed))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    slow.set()
    assert handle.wait()
    world.close()


EXITS = """
import sys
from memfarm.world import World

world = World((512, 512), path=sys.argv[1])
world.scatter("TRAILS", 0, 3, 3, 1.0)
world.snapshot(sys.argv[2], background=True)
world.scatter("TRAILS", 0, 3, 3, 0.5)
"""


def test_an_interpreter_that_exits_waits_for_it(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", EXITS, str(tmp_path / "world"), str(tmp_path / "kept")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    kept = World.open(tmp_path / "kept")
    assert kept.gather("TRAILS", [0], [3], [3]) == [1.0]
    kept.close()


def test_the_thread_leaves_most_of_a_core_to_the_run() -> None:
    pace = Pace()
    worked = time.thread_time()
    slept = time.monotonic()
    for _ in range(20):
        sum(range(20_000))
        pace()
    worked, slept = time.thread_time() - worked, time.monotonic() - slept
    assert slept > 2 * worked


# --- environments


@pytest.mark.parametrize("backend", ["memmap", "ram"])
def test_an_environment_saved_behind_its_run_goes_on_bit_for_bit(tmp_path: Path, backend: str) -> None:
    def make() -> Any:
        memmap = {} if backend == "memmap" else {**RAM.model_dump(), "use_for_memory": False}
        config = {"memmap": memmap} if memmap else None
        return forage_v0.batched(12, agents_per_world=4, shape=(60, 60), memory=True, radius=3, config=config)

    def run(env: Any, first: int, last: int) -> list[bytes]:
        seen = []
        for number in range(first, last):
            observation, rewards, *_ = env.step(np.random.default_rng(number).integers(0, 6, 12))
            parts = observation.values() if isinstance(observation, dict) else [observation]
            seen.append(b"".join([np.asarray(part).tobytes() for part in parts]) + rewards.tobytes())
        return seen

    env = make()
    env.reset(seed=3)
    run(env, 0, 15)
    handle = env.save(tmp_path / "kept", background=True)
    assert isinstance(handle, Background)
    after_it = run(env, 15, 60)
    assert handle.wait()
    resumed = make()
    resumed.load(tmp_path / "kept")
    assert run(resumed, 15, 60) == after_it
    for one in (env, resumed):
        one.close()
