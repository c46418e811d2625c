"""What lies in a world's folder and was cut, overwritten or made elsewhere: a named error at open, never garbage.

Tiles of a living world have no checksum: what is written over their bytes is read as it is (a snapshot's are checked).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memfarm.errors import MemfarmError, WorldFormatError
from memfarm.storage import HEADER
from memfarm.world import World

MODES: tuple[Any, ...] = ("r", "r+", "c")
GRIDS = ("resources", "environmental", "temporal")
FILES = ("clock", *(f"{grid}{part}" for grid in GRIDS for part in ("", ".stamps", ".copies")))


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A world of tick 550, with live tiles, tiles from before a reset, and tiles of an older epoch."""
    path = tmp_path / "w"
    made = World((70, 90), copies=2, path=path, seed=1)
    made.scatter("TRAILS", [0, 1], [3, 60], [4, 80], 1.0)
    made.advance(500)
    made.reset([1])
    made.scatter("TRAILS", [0, 1], [30, 20], [40, 8], 1.0)
    made.take("RESOURCES", [0, 1], [30, 20], [40, 8], 0.5)
    made.advance(50)
    made.close()
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def resized(size: Callable[[int], int]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.truncate(size(path.stat().st_size))

    return damage


def overwritten(start: int, data: bytes) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(start)
            file.write(data)

    return damage


DAMAGES = {
    "emptied": resized(lambda _: 0),
    "cut by a byte": resized(lambda size: size - 1),
    "cut to its header": resized(lambda _: HEADER),
    "cut in its header": resized(lambda _: 100),
    "too long": resized(lambda size: size + HEADER),
    "zeros for a header": overwritten(0, bytes(HEADER)),
    "another version of .npy": overwritten(6, b"\x02"),
    "another dtype": overwritten(22, b"<c8"),
    "another program's": overwritten(0, b"SQLite format 3\0"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named(world: Path, damage: str, mode: Any) -> None:
    good = contents(world)
    for name in FILES:
        path = world / f"{name}.npy"
        DAMAGES[damage](path)
        with pytest.raises(WorldFormatError, match=f"{name}.npy"):
            World.open(world, mode)
        path.write_bytes(good[path.name])
    World.open(world, mode).close()


def stamps_of(world: Path, grid: str) -> Any:
    return np.load(world / f"{grid}.stamps.npy", mmap_mode="r+")


def stamp(count: int, epoch: int) -> np.uint64:
    return np.uint64(count << 32 | epoch)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(
    ("what", "copy"),
    [
        (stamp(3, 1), 1),  # after a reset that has not been
        (stamp(2**32 - 1, 2**32 - 1), 0),
        (stamp(0, 1), 0),  # before there was a grid
        (stamp(1, 0), 0),  # in no epoch
        (stamp(1, 10_000), 0),  # in an epoch to come
    ],
)
def test_impossible_stamps_are_refused(world: Path, what: np.uint64, copy: int, grid: str, mode: Any) -> None:
    stamps = stamps_of(world, grid)
    stamps[min(copy, len(stamps) - 1), -1, -1] = what
    stamps.flush()
    before = contents(world)
    with pytest.raises(WorldFormatError, match=f"stamps of '{grid}'"):
        World.open(world, mode)
    assert contents(world) == before


def test_a_stamp_of_before_the_last_reset_is_refused(world: Path) -> None:
    stamps_of(world, "temporal")[1, 0, 0] = stamp(2, 1)  # an epoch has 425 ticks, the reset was at 500
    with pytest.raises(WorldFormatError, match="stamps"):
        World.open(world)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_older_is_no_damage(world: Path, mode: Any) -> None:
    stamps = stamps_of(world, "temporal")
    assert stamps[1][stamps[1] >> np.uint64(32) == 1].size, "tiles from before the reset"
    opened = World.open(world, mode)
    assert opened.gather("TRAILS", [0, 1, 1], [30, 20, 60], [40, 8, 80]) == pytest.approx(
        [0.9**50, 0.9**50, 0], abs=1e-3
    )
    opened.close()


def test_the_clock_of_another_world_is_refused(world: Path, tmp_path: Path) -> None:
    World((70, 90), copies=2, path=tmp_path / "young").close()
    (world / "clock.npy").write_bytes((tmp_path / "young" / "clock.npy").read_bytes())
    for mode in MODES:
        with pytest.raises(WorldFormatError, match="tick 0"):
            World.open(world, mode)


@pytest.mark.parametrize("change", [{"format": "other-world"}, {"version": 2}, {"version": 99, "new": True}])
def test_a_foreign_or_newer_manifest_is_named(world: Path, change: dict[str, Any]) -> None:
    path = world / "world.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    for mode in MODES:
        with pytest.raises(WorldFormatError, match=r"version|manifest"):
            World.open(world, mode)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(FILES),
    at=st.integers(0, 5 * HEADER),
    data=st.binary(min_size=1, max_size=40),
    mode=st.sampled_from(MODES),
)
def test_bytes_written_anywhere_never_crash(world: Path, name: str, at: int, data: bytes, mode: Any) -> None:
    path = world / f"{name}.npy"
    good = path.read_bytes()
    try:
        overwritten(at % len(good), data[: len(good) - at % len(good)])(path)
        try:
            opened = World.open(world, mode)
        except MemfarmError:
            return
        try:
            for grid in opened.grids.values():
                for channel in grid.names:
                    assert grid.read(channel, 0, 70, 0, 90).shape == (70, 90)
            opened.observe(0, [5, 40], [5, 60], 6)
        finally:
            opened.close()
    finally:
        path.write_bytes(good)
