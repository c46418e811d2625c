"""Played by test_full_disk.py in a process and mount namespace of its own: `full_disk.py DISK ROOMY SCENE ARGUMENTS`.

DISK becomes a small tmpfs, which ends with the process; ROOMY is a folder with room. A scene prints what it counted.
"""

import errno
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from memfarm.channels import Channel, Decay
from memfarm.config import MemmapConfig
from memfarm.errors import StorageError
from memfarm.events import SparseEvents
from memfarm.grid import ChannelGrid
from memfarm.world import World

SIZE = 32 << 20
PAGE = 4096
DISK, ROOMY = Path(sys.argv[1]), Path(sys.argv[2])
CHANNELS = (Channel("A", Decay(0.9)), Channel("B"), Channel("Z"))


def say(what: str) -> None:
    sys.stdout.write(f"{what}\n")


class Ballast:
    """A file that takes what room there is on the disk."""

    def __init__(self) -> None:
        self._fd = os.open(DISK / "ballast", os.O_RDWR | os.O_CREAT)

    def leave(self, pages: int) -> None:
        """Leave so many free pages."""
        self.empty()
        taken = os.statvfs(DISK).f_bavail - pages
        if taken > 0:
            os.posix_fallocate(self._fd, 0, taken * PAGE)

    def empty(self) -> None:
        os.ftruncate(self._fd, 0)


def refused(call: Callable[[], Any]) -> bool:
    """Whether `call` found the disk full; anything else it raises goes on."""
    try:
        call()
    except StorageError as error:
        if error.errno != errno.ENOSPC:
            raise
        return True
    return False


def contents(folder: Path) -> dict[str, bytes]:
    """Every file's bytes; of the clock's its sequence number apart, which counts tries too."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "ballast":
            data = path.read_bytes()
            found[str(path)] = data[: PAGE + 8] + data[PAGE + 16 :] if path.name == "clock.npy" else data
    return found


def whole(grid: ChannelGrid) -> list[np.ndarray]:
    height, width = grid.shape
    return [grid.read(name, 0, height, 0, width, copy) for name in grid.names for copy in range(grid.copies)]


def same(one: Any, other: Any) -> None:
    """Equal to the bit, dicts and sequences too."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, list | tuple) or (isinstance(one, np.ndarray) and one.dtype.hasobject):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            same(a, b)
    else:
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


# --- grids


def operations(grid: ChannelGrid) -> dict[str, Callable[[], Any]]:
    """Ways to write into several tiles that were never written, in one call."""
    rng = np.random.default_rng(1)
    copy, y, x = rng.integers(0, 2, 9), rng.integers(0, 180, 9), rng.integers(0, 200, 9)
    return {
        "scatter": lambda: grid.scatter("A", copy, y, x, np.linspace(0.1, 0.9, 9), how="add"),
        "take": lambda: grid.take("B", copy, y, x, 0.25),
        "stamp_windows": lambda: grid.stamp_windows(
            ["A", "B"], copy, y, x, np.full((9, 5, 5, 2), 0.5, np.float32), seen=rng.random((9, 5, 5)) < 0.2
        ),
        "write": lambda: grid.write("B", np.full((40, 60), 0.75), 7, 9, copy=1),
        "item": lambda: grid.__setitem__(("A", slice(100, 140), slice(3, 50)), 0.5),
    }


def grids(named: str, *chosen: str) -> None:
    """One call of each operation with every number of free pages, from none to enough."""
    for operation in chosen or ("scatter", "take", "stamp_windows", "write", "item"):
        grid_call(named, operation)


def grid_call(named: str, operation: str) -> None:
    ballast, tries = Ballast(), 0
    for free in range(1000):
        folder = DISK / "grid" if named == "named" else None
        if folder is not None:
            folder.mkdir()
        grid = ChannelGrid((180, 200), CHANNELS, copies=2, folder=folder, name="g")
        twin = ChannelGrid((180, 200), CHANNELS, copies=2, backend="ram")
        for one in (grid, twin):
            one.scatter("A", [0, 1], [5, 90], [5, 150], [1.0, 0.5])
            one.advance(3)
        before, files = whole(grid), contents(DISK)
        ballast.leave(free)
        full = refused(operations(grid)[operation])
        if full:
            tries += 1
            same(whole(grid), before)
            ballast.empty()
            assert contents(DISK) == files
            ballast.leave(0)
            assert refused(operations(grid)[operation])
            ballast.empty()
            operations(grid)[operation]()
        operations(twin)[operation]()
        for one in (grid, twin):
            one.advance(2)
        same(whole(grid), whole(twin))
        grid.close()
        if folder is not None:
            shutil.rmtree(folder)
        if not full:
            say(f"{operation} {tries}")
            return
    raise AssertionError("there was never enough room")


def careless() -> None:
    """The same without reserving: what is to be avoided."""
    from memfarm.room import Room

    Room.for_tiles = lambda self, tiles: None  # type: ignore[method-assign]
    grid_call("scratch", "scatter")


def reads() -> None:
    """All of every grid can be read, by anybody, where nothing was written and the disk is full."""
    ballast = Ballast()
    path = DISK / "world"
    shape = (700, 600)
    with closing(World(shape, path=path)) as world:
        world.scatter("TRAILS", 0, [3], [4], 1.0)
        scratch = World(shape)
        ballast.leave(0)
        for each in (world, scratch):
            for grid in each.grids.values():
                whole(grid)
            each.observe(0, [300], [300], 50)
        scratch.close()
        with closing(World.open(path, "r")) as reader:
            for grid in reader.grids.values():
                whole(grid)
    say("read 3")


def holes() -> None:
    """A world whose files were copied by what makes holes of zeros: healed at "r+", never a signal in any mode."""
    ballast = Ballast()
    with closing(World((700, 600), path=ROOMY / "made")) as world:
        world.set_environmental_layer("OBSTACLES", np.zeros((700, 600)))
        world.take("RESOURCES", 0, np.arange(0, 700, 32), 5, 1.0)
    tried = 0
    for mode in ("r", "c", "r+"):
        for free in (0, 3, 40, 5000):
            ballast.empty()
            path = DISK / "copy"
            subprocess.run(["cp", "-r", "--sparse=always", str(ROOMY / "made"), str(path)], check=True)
            ballast.leave(free)
            opened: list[World] = []
            if not refused(lambda path=path, mode=mode, opened=opened: opened.append(World.open(path, mode))):
                if mode == "r+":
                    ballast.leave(0)
                    y, x = np.mgrid[0:700, 0:600].reshape(2, -1)
                    opened[0].scatter("OBSTACLES", 0, y, x, 1.0)  # every tile has a stamp: nothing to reserve
                for grid in opened[0].grids.values():
                    whole(grid)
                opened[0].close()
            else:
                tried += 1
            shutil.rmtree(path)
    say(f"refused {tried}")


# --- worlds and environments


@contextmanager
def closing(world: World) -> Iterator[World]:
    try:
        yield world
    finally:
        world.close()


def outgrown() -> None:
    """A world larger than its disk is written until there is no more room, twice; nothing is lost."""
    ballast = Ballast()
    ballast.leave(2000)
    rng = np.random.default_rng(2)
    refusals = 0
    with closing(World((2048, 2048), path=DISK / "world")) as world:
        twin = World((2048, 2048), memmap=memory())
        while refusals < 2:
            y, x = rng.integers(0, 2048, (2, 50))
            if refused(lambda y=y, x=x: world.scatter("TRAILS", 0, y, x, 1.0, how="max")):
                refusals += 1
                before = contents(DISK)
                assert refused(lambda y=y, x=x: world.scatter("TRAILS", 0, y, x, 1.0, how="max"))
                assert contents(DISK) == before
                ballast.leave(2000 if refusals == 1 else 100)
                continue
            twin.scatter("TRAILS", 0, y, x, 1.0, how="max")
            world.advance()
            twin.advance()
        same(whole(world.temporal.grid), whole(twin.temporal.grid))
        written = world.grids["temporal"].stats().live
        ballast.leave(0)
        assert refused(world.flush)  # no room for a new manifest: the old one stays
        ballast.empty()
    with closing(World.open(DISK / "world", "r")) as again:
        assert again.tick == twin.tick
        assert again.grids["temporal"].stats().live == written
    twin.close()
    say(f"refused {refusals} tiles {written}")


def memory() -> MemmapConfig:
    return MemmapConfig(
        use_for_resources=False, use_for_environmental=False, use_for_temporal=False, use_for_memory=False
    )


def make_env(kind: str, autoreset: str, where: str) -> Any:
    """Foragers who starve soon, in several worlds of several agents; with `kind` "memory" they remember."""
    from memfarm.envs.forage import Forage
    from memfarm.wrappers import MemoryObservation, WindowObservation

    config: dict[str, Any] = {
        "world": {"shape": (150, 170), "max_cycles": 9},
        "agents": {"start_energy": 0.02, "metabolism": 0.004},
        "memmap": {"dtype": {"environmental": "uint8"}},
    }
    if where == "named":
        config["memmap"]["directory"] = str(DISK / "worlds")
    if where == "twin":
        config["memmap"] |= {
            f"use_for_{group}": False for group in ("resources", "environmental", "temporal", "memory")
        }
    if kind == "sparse":
        config["world"]["sparse_channels"] = ("TRAILS",)
    env = Forage(config, worlds=2, agents_per_world=3, autoreset_mode=autoreset)
    if kind != "memory":
        return env
    windows = WindowObservation(env, 3, tensor="numpy", memmap=MemmapConfig(use_for_memory=where != "twin"))
    return MemoryObservation(windows)


def state(core: Any) -> list[Any]:
    arrays = {name: array.copy() for name, array in core.state_arrays().items()}
    stamps = [grid._stamps.copy() for grid in core.world.grids.values()]
    tiles = [grid._tiles[grid._stamps != 0] for grid in core.world.grids.values()]
    resets = [grid.resets() for grid in core.world.grids.values()]
    sparse: SparseEvents = core.world.sparse
    return [core.world.tick, arrays, stamps, tiles, resets, sparse.state()]


def env_run(kind: str, autoreset: str, where: str, steps: str) -> None:
    """Every reset and step is tried with little room, then goes on as if there had always been enough."""
    ballast, rng, refusals, late = Ballast(), np.random.default_rng(3), 0, 0
    os.environ["MEMFARM_SCRATCH"] = str(DISK)
    env, twin = make_env(kind, autoreset, where), make_env(kind, autoreset, "twin")
    core = env.unwrapped

    def tried(call: Callable[[], Any], free: int) -> Any:
        nonlocal refusals, late
        ballast.leave(free)
        before, answer = state(core), []
        while refused(lambda: answer.append(call())):
            refusals += 1
            if kind == "memory" and (core.world.tick != before[0] or "reset" in repr(call)):
                late += 1  # only what agents remember found no room: the same call gives the answer
            else:
                same(state(core), before)
            free = 2 * free + 1 if rng.random() < 0.5 else free + 1
            ballast.leave(free)
        ballast.empty()
        return answer[0]

    same(tried(functools.partial(env.reset, seed=5), 0), twin.reset(seed=5))
    for step in range(int(steps)):
        if step % 13 == 12:
            same(tried(env.reset, step % 3), twin.reset())
        actions = rng.integers(0, 6, 6)
        same(tried(lambda actions=actions: env.step(actions), step % 4), twin.step(actions))
        same(state(core)[0], state(twin.unwrapped)[0])
    for group, grid in core.world.grids.items():
        same(whole(grid), whole(twin.unwrapped.world.grids[group]))
    if kind == "memory":
        same(whole(env.memory.grid), whole(twin.memory.grid))
    env.close()
    twin.close()
    say(f"refused {refusals} late {late}")


def constructors(what: str) -> None:
    """What is made with too little room is not made, and leaves nothing."""
    from memfarm import terrain

    ballast, refusals = Ballast(), 0
    os.environ["MEMFARM_SCRATCH"] = str(DISK)
    ground = terrain.from_recipe({"kind": "noise", "shape": (70, 90), "seed": 1})
    if what == "snapshot":
        source = World(path=ROOMY / "source", terrain=ground)
        source.scatter("TRAILS", 0, [1, 60], [2, 80], 1.0)

    def make() -> None:
        if what == "build":
            from memfarm.commands.build import build

            build("noise", DISK / "map", shape=(70, 90))
        elif what == "snapshot":
            source.snapshot(DISK / "snapshot")
        elif what == "env":
            make_env("memory", "NextStep", "named").close()
        else:
            World(terrain=ground, path=DISK / "world" if what == "named" else None).close()

    for free in range(3000):
        ballast.leave(free)
        if not refused(make):
            say(f"refused {refusals}")
            break
        refusals = free + 1
        left = [path.name for path in DISK.rglob("*") if path.name not in ("ballast", "worlds")]
        assert not left, left
        ballast.empty()
        used = os.statvfs(DISK)
        assert used.f_blocks - used.f_bfree <= 1, "room was not given back"
    if what == "snapshot":
        ballast.empty()
        with closing(World.open(DISK / "snapshot")) as kept:
            same(kept.gather("TRAILS", 0, [1, 60], [2, 80]), source.gather("TRAILS", 0, [1, 60], [2, 80]))
        source.close()


SCENES: dict[str, Callable[..., None]] = {
    scene.__name__: scene for scene in (grids, careless, reads, holes, outgrown, env_run, constructors)
}

if __name__ == "__main__":
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(DISK)], check=True)
    os.environ["MEMFARM_SCRATCH"] = str(DISK)
    SCENES[sys.argv[3]](*sys.argv[4:])
