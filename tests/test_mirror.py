"""Windows cut from a mirror of the tiles are those of the kernels, byte for byte, and only what was written crosses."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memfarm import states
from memfarm.channels import CAPACITY, OBSTACLES, VISIBILITY, Channel, Decay, Recover, Regrow, Static
from memfarm.config import MemmapConfig
from memfarm.errors import ClosedError, ConfigError, StorageError
from memfarm.terrain import from_noise
from memfarm.world import World
from memfarm.wrappers import mirror, mirror_windows
from memfarm.wrappers.mirror_windows import MirrorCutter

pytestmark = pytest.mark.once

SHAPE = (29, 22)
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")),
]

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Have torch work alone: its threads wait for each other where the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_channels(rng: np.random.Generator, static: bool) -> list[Channel]:
    """Two or three channels of any laws, some of which grow towards CAPACITY."""

    def channel(index: int) -> Channel:
        high = float(rng.choice([1.0, 0.7, 5.0]))
        share = float(rng.choice([0.01, 0.3, 1.0, rng.uniform(0.001, 1)]))
        capacity: float | str = "CAPACITY" if high >= 1 and rng.random() < 0.5 else high * float(rng.uniform(0.1, 1))
        laws = [Static(), Decay(1 - share, float(rng.choice([0.0, 1e-4, 0.05]))), Regrow(share, capacity)]
        law = Static() if static else [*laws, Recover(share, capacity)][rng.integers(4)]
        low = float(rng.choice([0.0, -0.9, 0.1])) if isinstance(law, Static) else 0.0
        fill, outside = (float(value) for value in rng.uniform(low, high, 2))
        return Channel(f"{'S' if static else 'M'}{rng.integers(1 << 40)}_{index}", law, low, high, fill, outside)

    return [channel(index) for index in range(rng.integers(2, 4))]


def random_world(rng: np.random.Generator, boundary: Any, copies: int) -> World:
    """Moving channels in resources and temporal, which store them as they please; the ground in bytes or floats."""
    channels = {
        "resources": random_channels(rng, static=False),
        "environmental": [OBSTACLES, VISIBILITY, CAPACITY, *random_channels(rng, static=True)],
        "temporal": random_channels(rng, static=bool(rng.random() < 0.2)),
    }
    moving = ["float32", "float16", "float64"]
    kinds = {"resources": moving, "temporal": moving, "environmental": [*moving, "uint8"]}
    dtype: dict[str, Any] = {group: str(rng.choice(which)) for group, which in kinds.items()}
    memmap = MemmapConfig(dtype=dtype, use_for_temporal=bool(rng.integers(2)))
    sparse = [Channel("GLOW", Decay(0.5), high=2.0)]
    return World(SHAPE, copies=copies, boundary=boundary, channels=channels, memmap=memmap, sparse=sparse)


def write_somewhere(world: World, rng: np.random.Generator) -> None:
    """One of all the ways in which what a world holds can change."""
    grid = world.grids[str(rng.choice(list(world.grids)))]
    name = str(rng.choice(grid.names))
    count = int(rng.integers(1, 12))
    y, x = (rng.integers(0, size, count).astype(np.int32) for size in SHAPE)
    copy = rng.integers(0, grid.copies, count).astype(np.int32)
    one = int(rng.integers(grid.copies))
    match rng.integers(9):
        case 0 | 1 | 2:
            grid.scatter(name, copy, y, x, rng.random(count), str(rng.choice(["set", "add", "max"])))  # type: ignore[arg-type]
        case 3 if world.channels[name].low >= 0:
            grid.take(name, copy, y, x, rng.random(count))
        case 4:
            grid.write(name, rng.random((7, 9)), int(rng.integers(SHAPE[0] - 7)), int(rng.integers(SHAPE[1] - 9)), one)
        case 5 if name != "CAPACITY":
            grid.stamp_windows([name], copy[:2], y[:2], x[:2], rng.random((len(copy[:2]), 3, 3, 1)))
        case 6 if grid is not world.environmental.grid:
            grid.reset([one])
        case 7:
            grid.settle()
        case _:
            world.deposit_temporal_events("GLOW", (y, x, rng.random(count)), rng.integers(0, world.copies, count))


class Windows:
    """The windows of random cells, cut on both sides."""

    def __init__(
        self, world: World, rng: np.random.Generator, radius: int, masked: bool, device: str, least: int = 1
    ) -> None:
        names = [*world.channels, "GLOW", "SELF_HP", "ALLIES_HP", "GOAL"]
        chosen = rng.permutation(names)[: rng.integers(min(least, len(names)), len(names) + 1)].tolist()
        self._world, self._rng, self._device = world, rng, device
        self._cutter = world.windows(chosen, radius, normalize=bool(rng.integers(2)), mask_by_visibility=masked)
        self._mirrored = MirrorCutter(world, self._cutter, torch.device(device))

    def check(self) -> None:
        rng, cutter, count = self._rng, self._cutter, 7
        copy, y, x = (rng.integers(0, size, count).astype(np.int32) for size in (self._world.copies, *SHAPE))
        hp = rng.random(count).astype(np.float32)
        own = np.arange(count, dtype=np.int32)
        parts: dict[str, Any] = {
            "centres": {"SELF_HP": hp},
            "points": {"ALLIES_HP": (copy, y, x, hp), "GOAL": (own, (y + 2) % SHAPE[0], x, 1.0)},
            "layers": {"GOAL": own},
        }
        asked = {key: {n: v for n, v in part.items() if n in cutter.channels} for key, part in parts.items()}
        expected = cutter(copy, y, x, **asked)
        out = torch.full(expected.shape, -1.0, device=self._device)
        same(expected, self._mirrored(copy, y, x, out, **asked).cpu().numpy(), cutter.channels)


def same(expected: Array, got: Array, channels: tuple[str, ...]) -> None:
    if expected.tobytes() != got.tobytes():
        wrong = expected.view(np.uint32) != got.view(np.uint32)
        at = tuple(np.argwhere(wrong)[0])
        names = sorted({channels[index] for index in np.nonzero(wrong)[-1]})
        raise AssertionError(f"{names} differ, first at {at}: {got[at]!r}, and not {expected[at]!r}")


@pytest.mark.parametrize("device", DEVICES)
@given(
    seed=st.integers(0, 2**32),
    boundary=st.sampled_from(["wall", "wrap"]),
    copies=st.integers(1, 3),
    radius=st.sampled_from([0, 1, 4, 12]),
    masked=st.booleans(),
)
@settings(max_examples=30)
def test_mirrored_windows_are_the_kernels_byte_for_byte(
    device: str, seed: int, boundary: str, copies: int, radius: int, masked: bool
) -> None:
    rng = np.random.default_rng(seed)
    world = random_world(rng, boundary, copies)
    try:
        for _ in range(rng.integers(4)):
            write_somewhere(world, rng)
        windows = Windows(world, rng, radius, masked, device)
        for _ in range(8):
            for _ in range(rng.integers(4)):
                write_somewhere(world, rng)
            world.advance(int(rng.choice([0, 1, 1, 7, 300, 5000, 70_000, 3_000_000])))
            windows.check()
    finally:
        world.close()


def test_windows_are_the_same_however_many_are_cut_together(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    monkeypatch.setattr(mirror_windows, "_TOGETHER", 3 * 9**2)  # 7 windows: 3, 3 and 1
    monkeypatch.setattr(mirror, "_PIECE", 5000)  # and tiles one by one
    world = random_world(rng, "wall", 2)
    for _ in range(20):
        write_somewhere(world, rng)
    Windows(world, rng, 4, True, "cpu", least=99).check()  # all channels
    world.close()


def test_what_has_almost_gone_goes_in_the_same_tick() -> None:
    world = World(SHAPE, copies=2, channels={"temporal": [Channel("EMBER", Decay(0.5, floor=0.0))]})
    world.scatter("EMBER", 1, 5, 5, 1.0)
    look = Look(world, ("EMBER",))
    left = []
    for _ in range(130):
        left.append(float(look()[0, 2, 2, 0]))
        world.advance()
    assert left[122] > 0.0
    assert left[124] == 0.0, "2 ** -124 is below 1e-37"
    world.close()


@pytest.fixture
def world() -> Iterator[World]:
    world = World(terrain=from_noise((256, 256), seed=1), copies=2)
    yield world
    world.close()


class Sent:
    """Counts the bytes that cross to the device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes = 0
        monkeypatch.setattr(mirror, "sent", self)

    def __call__(self, array: Array, device: torch.device) -> torch.Tensor:
        self.bytes += array.nbytes
        return torch.from_numpy(array)

    def since(self) -> int:
        """The bytes since the last call."""
        count, self.bytes = self.bytes, 0
        return count


class Look:
    """The window around one cell of a world, from its mirror; it is checked against the kernels'."""

    def __init__(self, world: World, names: tuple[str, ...] = ("RESOURCES", "TRAILS", "OBSTACLES")) -> None:
        self._cutter = world.windows(names, 2)
        self._mirrored = MirrorCutter(world, self._cutter, torch.device("cpu"))

    def __call__(self, y: int = 5, x: int = 5) -> Array:
        expected = self._cutter(1, y, x)
        got = self._mirrored(1, y, x, torch.empty(expected.shape)).numpy()
        same(expected, got, self._cutter.channels)
        return got


def test_what_crosses_is_what_was_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Sent(monkeypatch)
    look = Look(world)
    look()
    ground = world.grid_of("OBSTACLES").arrays()["environmental"].nbytes
    assert sent.since() >= ground
    look()
    assert sent.since() == 0
    world.scatter("TRAILS", [1, 1], [5, 5], [5, 200], 0.5)
    look()
    tile = 4096
    assert 2 * tile <= sent.since() < 2 * tile + 100, "tiles that were never written"
    world.scatter("TRAILS", [1, 1], [5, 6], [5, 200], 0.5)
    look()
    cell = 4 * 4 + 8
    assert sent.since() == 2 * cell, "tiles of this epoch: their cells"
    world.reserve("TRAILS", [1], [5], [6])
    world.scatter("TRAILS", [1], [5], [6], 0.5)
    look()
    assert sent.since() == cell, "once, also where it was reserved before"
    world.advance(5000)
    look()
    assert sent.since() == 0, "time passes there by itself"
    world.scatter("TRAILS", [1], [5], [6], 0.5)
    look()
    assert tile <= sent.since() < tile + 100, "a tile of an older epoch is written whole"
    world.resources.grid.reset([1])
    look()
    assert sent.since() == 32, "a reset is two numbers a copy"


def test_many_cells_in_a_small_world_cross_as_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World((64, 64), copies=2)
    sent = Sent(monkeypatch)
    look = Look(world, ("TRAILS",))
    world.temporal.grid.write("TRAILS", np.ones((64, 64)), copy=1)
    look()
    sent.since()
    y, x = (axis.astype(np.int32).ravel() for axis in np.mgrid[:64, :64])
    for values in (0.25, 0.5):
        world.scatter("TRAILS", np.ones(64 * 64, np.int32), y, x, values)
        world.scatter("TRAILS", 1, 3, 3, values)
    look()
    tiles = world.temporal.grid.arrays()["temporal"].nbytes
    assert sent.since() < 1.1 * tiles
    world.close()


def test_a_state_that_is_put_back_is_seen(world: World) -> None:
    world.scatter("TRAILS", 1, 5, 5, 0.5)
    world.scatter("TRAILS", 1, 6, 6, 0.5)
    look = Look(world)
    before, state = look(), states.take(world)
    world.scatter("TRAILS", 1, 5, 5, 1.0)
    world.take("RESOURCES", [1], [5], [5], [1.0])
    world.advance(3)
    world.temporal.grid.reset()
    assert look().tobytes() != before.tobytes()
    states.put(world, state)
    assert look().tobytes() == before.tobytes()


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("seen", [False, True])
def test_resets_that_are_taken_back_are_seen(world: World, written: bool, seen: bool) -> None:
    grid = world.temporal.grid
    world.scatter("TRAILS", 1, 5, 5, 0.5)
    look = Look(world)
    look()
    resets = grid.resets()
    grid.reset()
    if written:
        world.scatter("TRAILS", 1, 5, 6, 0.5)
    grid.settle()  # all is sent again
    if seen:
        look()
    grid.put_resets(resets)
    assert (look()[0, 2, 2, 1] == 0.5) is not written


def test_a_clone_sees_its_own_world_and_not_its_originals(world: World) -> None:
    world.scatter("TRAILS", 1, 5, 5, 0.5)
    fork = world.fork()
    of_world, of_fork = Look(world), Look(fork)
    assert of_world().tobytes() == of_fork().tobytes()
    world.scatter("TRAILS", 1, 5, 5, 1.0)
    fork.scatter("TRAILS", 1, 5, 5, 0.25)
    assert of_world()[0, 2, 2, 1] == 1.0
    assert of_fork()[0, 2, 2, 1] == 0.25
    fork.close()


def test_a_grid_takes_over_what_another_holds_and_the_mirror_with_it(world: World) -> None:
    other = World(terrain=from_noise((256, 256), seed=2), copies=2)
    other.scatter("TRAILS", 1, 5, 5, 0.75)
    look = Look(world, ("TRAILS",))
    look()
    world.temporal.grid.hold_as(other.temporal.grid)
    assert look()[0, 2, 2, 0] == 0.75
    world.scatter("TRAILS", 1, 5, 6, 0.5)
    assert look()[0, 2, 3, 0] == 0.5
    other.close()


def test_a_ground_that_another_world_writes_is_sent_again_when_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground = World(terrain=from_noise((64, 64), seed=1), path=tmp_path / "map")
    ground.flush()
    world = World(map=tmp_path / "map", copies=2)
    sent = Sent(monkeypatch)
    look = Look(world)
    look()
    sent.since()
    look()
    assert sent.since() == 0
    ground.set_environmental_layer("OBSTACLES", np.ones((64, 64)))
    assert (look()[..., 2] == 1.0).all()
    assert sent.since() > 0
    world.close()
    ground.close()


def test_what_could_not_be_sent_is_sent_the_next_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.scatter("TRAILS", 1, 6, 6, 0.5)
    look = Look(world, ("TRAILS",))
    look()
    world.temporal.grid.reset()
    world.scatter("TRAILS", 1, 5, 5, 0.5)
    with monkeypatch.context() as patch:
        patch.setattr(mirror, "sent", lambda array, device: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            look()
    assert look()[0, 2, 2, 0] == 0.5


def test_a_world_that_does_not_fit_is_refused_with_both_sizes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = sum(array.nbytes for array in world.temporal.grid.arrays().values())
    monkeypatch.setattr(mirror, "free_bytes", lambda device: needed)
    look = Look(world, ("TRAILS",))
    look()
    monkeypatch.setattr(mirror, "free_bytes", lambda device: needed - 1)
    with pytest.raises(ConfigError, match=f"they are {needed:,} bytes there, {needed - 1:,} are free"):
        Look(world, ("TRAILS",))


def test_free_bytes_are_those_of_the_device() -> None:
    free = mirror.free_bytes(torch.device("cpu"))
    assert free is not None
    assert free > 1 << 20
    assert mirror.free_bytes(torch.device("meta")) is None


def test_a_closed_world_is_refused(world: World) -> None:
    look = Look(world)
    look()
    world.close()
    with pytest.raises(ClosedError):
        look()


def test_a_grid_tells_nobody_when_the_mirror_is_gone(world: World) -> None:
    look = Look(world)
    room = world.temporal.grid._room
    assert len(list(room._told())) == 1
    del look
    gc.collect()
    assert not list(room._told())


def test_a_refused_write_is_not_taken_for_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    look = Look(world)
    before = look()
    with monkeypatch.context() as patch:
        patch.setattr(type(world.temporal.grid._room), "for_tiles", no_room)
        with pytest.raises(StorageError):
            world.scatter("TRAILS", 1, 5, 5, 0.5)
    assert look().tobytes() == before.tobytes()


def no_room(room: object, tiles: Array) -> None:
    raise StorageError(28, "the disk is full")
