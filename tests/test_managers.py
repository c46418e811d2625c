"""The managers, verb by verb, against plain arrays."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memfarm.channels import GROUPS, Channel, Decay, Recover, Regrow
from memfarm.config import MemmapConfig
from memfarm.errors import ChannelError, ClosedError, ConfigError, DTypeError, ShapeError, StorageError, ValueRangeError
from memfarm.managers import EnvironmentalGridManager, ResourceManager, TemporalGridManager
from memfarm.memmap_manager import MemmapManager

SHAPE = (300, 7)  # more rows than a manager looks at in one go


def named(tmp_path: Path, **arguments: Any) -> MemmapManager:
    return MemmapManager(SHAPE, config=MemmapConfig(directory=str(tmp_path), **arguments), name="farm")


def test_create_get_has_names_info(tmp_path: Path) -> None:
    manager = named(tmp_path)
    made = manager.create("HEIGHT", fill=2.5)
    fields = manager.create("fields", [Channel("A", Decay(0.5)), Channel("B")], dtype="float64", copies=3)
    assert manager.names() == ["HEIGHT", "A", "B"]
    assert manager.get("HEIGHT") is made
    assert manager.get("B") is manager.get("fields") is fields
    assert [manager.has(name) for name in ("HEIGHT", "fields", "A", "C")] == [True, True, True, False]
    assert manager.folder is not None
    assert manager.folder.name == f"farm_p{os.getpid()}_300x7"
    info = manager.info("B")
    assert (info["name"], info["copies"], info["dtype"], info["backend"]) == ("fields", 3, "float64", "memmap")
    assert info["path"] == str(manager.folder / "fields.npy")
    assert Path(info["path"]).is_file()
    assert [channel["name"] for channel in info["channels"]] == ["A", "B"]
    assert (manager.get_window("HEIGHT", 0, 2, 0, 2) == 2.5).all()
    manager.close_all()


def test_names_are_unique_and_known(tmp_path: Path) -> None:
    manager = named(tmp_path)
    manager.create("one", [Channel("A"), Channel("B")])
    before = sorted(path.name for path in tmp_path.rglob("*"))
    for name, channels in [("one", [Channel("C")]), ("two", [Channel("C"), Channel("A")]), ("A", [Channel("C")])]:
        with pytest.raises(ChannelError, match="unique"):
            manager.create(name, channels)
    with pytest.raises(ChannelError, match="unique"):
        manager.create("B")
    for call in (
        lambda: manager.get("ONES"),
        lambda: manager.info("ONES"),
        lambda: manager.get_window("ONES", 0, 1, 0, 1),
        lambda: manager.write("ONES", np.zeros(SHAPE)),
        lambda: manager.fill("ONES", 0.0),
        lambda: manager.add_at("ONES", 0, 0, 1.0),
        lambda: manager.scale("ONES", 2.0),
        lambda: manager.flush("ONES"),
        lambda: manager.close("ONES"),
    ):
        with pytest.raises(ChannelError, match="did you mean 'one'"):
            call()
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    manager.close_all()


@pytest.mark.parametrize("name", ["../../etc/x", "/etc/x", "..", "", "a/b"])
def test_names_that_escape_create_nothing(tmp_path: Path, name: str) -> None:
    manager = named(tmp_path / "in")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((ConfigError, ChannelError)):
        manager.create(name)
    with pytest.raises(ConfigError):
        manager.create(name, [Channel("A")])
    config = MemmapConfig(directory=str(tmp_path / "in"))
    for arguments in ({"name": name}, {"namespace": name}, {"simulation_id": name}):
        with pytest.raises(ConfigError, match="plain name"):
            MemmapManager(SHAPE, config=config, **arguments)  # type: ignore[arg-type]
    assert sorted(tmp_path.rglob("*")) == before
    manager.close_all()


def test_unsafe_names_of_grids(tmp_path: Path) -> None:
    manager = named(tmp_path)
    grid = manager.create("two words", [Channel("A")])
    assert manager.get(grid.name) is grid
    with pytest.raises(ChannelError, match="unique"):
        manager.create("two words", [Channel("B")])
    manager.close("A")
    assert manager.names() == []


@pytest.mark.parametrize("backend", ["memmap", "ram"])
def test_write_fill_add_scale_window(backend: Any) -> None:
    manager = MemmapManager(SHAPE, copies=2)
    manager.create("A", backend=backend)
    plain = np.zeros((2, *SHAPE), np.float32)
    rng = np.random.default_rng(0)

    patch = rng.random((280, 3))
    manager.write("A", patch, 11, 2, copy=1)
    plain[1, 11:291, 2:5] = patch
    manager.scale("A", 0.5, copy=1)
    plain[1] *= 0.5
    y, x, amount = [299, 0, 299], [6, 0, 6], [0.25, 0.5, 0.125]
    manager.add_at("A", y, x, amount, copy=[1, 0, 1])
    np.add.at(plain, ([1, 0, 1], y, x), amount)
    for copy in range(2):
        np.testing.assert_array_equal(manager.get_window("A", 0, 300, 0, 7, copy), plain[copy])
    np.testing.assert_array_equal(manager.get_window("A", 298, 302, 5, 9, 1)[:2, :2], plain[1, 298:, 5:])
    manager.scale("A", 1e300, copy=1)
    np.testing.assert_array_equal(manager.get_window("A", 0, 300, 0, 7, 1), plain[1] > 0)
    manager.fill("A", 0.75, copy=1)
    assert (manager.get_window("A", 0, 300, 0, 7, 1) == 0.75).all()
    np.testing.assert_array_equal(manager.get_window("A", 0, 300, 0, 7, 0), plain[0])


def test_scaling_leaves_rows_alone_that_read_0() -> None:
    manager = MemmapManager((600, 64))
    grid = manager.create("A")
    manager.write("A", [[1.0]], 599, 0)
    live = grid.stats().live
    manager.scale("A", 0.5)
    assert grid.stats().live <= live + 2 * 3  # the band of rows 512 to 599 only
    for factor in (np.nan, np.inf, "2", None):
        with pytest.raises(ValueRangeError, match="factor"):
            manager.scale("A", factor)


def test_total_size_and_clock() -> None:
    manager = MemmapManager((32, 32), copies=2)
    assert manager.total_size_bytes() == 0
    manager.create("one", [Channel("A", Decay(0.5), fill=1.0)])
    manager.create("two", [Channel("B")], copies=1, backend="ram")
    assert manager.total_size_bytes() == 2 * 4096 + 2 * 8 + 2 * 16 + 4096 + 8 + 16
    manager.advance(2)
    assert (manager.get_window("A", 0, 32, 0, 32) == 0.25).all()
    manager.create("three", [Channel("C", Decay(0.0))])  # its epochs of one tick end first
    for ticks in (-1, 2**33):
        with pytest.raises(ConfigError):
            manager.advance(ticks)
    assert [manager.get(name).tick for name in ("one", "two", "three")] == [2, 2, 2]


@pytest.mark.parametrize("delete", [None, True, False])
@pytest.mark.parametrize("delete_on_close", [True, False])
def test_close_and_delete(tmp_path: Path, delete: bool | None, delete_on_close: bool) -> None:
    manager = named(tmp_path, delete_on_close=delete_on_close)
    grids = [manager.create(name) for name in ("A", "B")]
    deletes = delete_on_close if delete is None else delete
    manager.flush("A")
    manager.flush()
    manager.close("A", delete)
    assert (grids[0].closed, grids[1].closed, manager.names()) == (True, False, ["B"])
    left = {path.name.split(".")[0] for path in tmp_path.rglob("*.npy")}
    assert left == ({"B"} if deletes else {"A", "B"})
    manager.close_all(delete)
    manager.close_all(delete)
    assert grids[1].closed
    assert bool(list(tmp_path.rglob("*"))) is not deletes
    with pytest.raises(ClosedError):
        grids[1].gather("B", 0, 0, 0)


def test_what_somebody_else_put_there_stays(tmp_path: Path) -> None:
    manager = named(tmp_path, delete_on_close=True)
    manager.create("A")
    assert manager.folder is not None
    (manager.folder / "notes.txt").write_text("mine")
    manager.close_all()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["notes.txt"]


def test_reopening(tmp_path: Path) -> None:
    manager = named(tmp_path)
    manager.create("A")
    manager.add_at("A", 3, 3, 0.5)
    manager.close_all()
    for mode in ("r", "c", "r+"):
        again = MemmapManager(SHAPE, config=MemmapConfig(mode=mode, delete_on_close=True), folder=manager.folder)
        assert again.create("A").gather("A", 0, 3, 3)[0] == 0.5
        with pytest.raises(StorageError, match="no grid file"):
            again.create("B")
        again.close_all()
        assert bool(list(tmp_path.rglob("*.npy"))) is (mode != "r+"), "who may not write may not delete"
    with pytest.raises(ConfigError, match="folder"):
        MemmapManager(SHAPE, config=MemmapConfig(mode="r+"))


def resources(capacity: float = 1.0, rate: float = 0.1) -> ResourceManager:
    channel = Channel("RESOURCES", Regrow(rate, capacity), high=2.0, fill=0.5)
    return ResourceManager(MemmapManager(SHAPE, copies=2), [channel])


def test_resources_are_taken_added_and_regrow() -> None:
    manager = resources()
    assert manager.total() == pytest.approx(0.5 * 2100)
    np.testing.assert_allclose(manager.take([0, 0, 1], [5, 5, 5], [6, 6, 6], [0.3, 0.3, 0.1]), [0.3, 0.2, 0.1])
    assert manager.total() == pytest.approx(0.5 * 2099)
    assert manager.total(1) == pytest.approx(0.5 * 2100 - 0.1)
    manager.add(0, [5, 5, 6], [6, 6, 0], [0.25, 0.25, 3.0])
    window = manager.get_resource_window(4, 8, 5, 9, normalize=False)
    np.testing.assert_allclose(window, [[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0]])
    assert manager.get_resource_window(6, 7, 0, 1, normalize=False)[0, 0] == 1.0, "up to the capacity"
    np.testing.assert_allclose(manager.get_resource_window(4, 8, 5, 9), window / 2)
    manager.grid.advance(2)
    np.testing.assert_allclose(manager.get_window("RESOURCES", 5, 6, 5, 7), [[0.7, 0.7]], atol=1e-6)
    for bad in (-0.1, [0.1, -1.0], np.nan):
        with pytest.raises(ValueRangeError, match="amount"):
            manager.add(0, [1, 1], [1, 1], bad)


@pytest.mark.parametrize("delete", [True, False])
def test_cleanup_memmap(tmp_path: Path, delete: bool) -> None:
    manager = ResourceManager(named(tmp_path), [Channel("RESOURCES", Recover(0.1), fill=1.0)])
    assert manager.has_memmap
    manager.flush()
    manager.cleanup_memmap(delete=delete)
    manager.cleanup_memmap(delete=delete)
    assert len(list(tmp_path.rglob("*.npy"))) == (0 if delete else 3)
    with pytest.raises(ClosedError):
        manager.take(0, 0, 0, 1.0)
    with pytest.raises(ClosedError):
        manager.total()


def test_environment() -> None:
    manager = EnvironmentalGridManager(MemmapManager(SHAPE), dtype="float32", on_disk=False)
    assert manager.names == ("OBSTACLES", "TERRAIN_COST", "VISIBILITY", "CAPACITY")
    assert not manager.has_memmap
    assert (manager.get("VISIBILITY") == 1).all()
    values = np.random.default_rng(0).random(SHAPE, np.float32)
    manager.set("TERRAIN_COST", values)
    got = manager.get("TERRAIN_COST")
    np.testing.assert_array_equal(got, values)
    got[:] = 0
    np.testing.assert_array_equal(manager.get("TERRAIN_COST"), values)
    np.testing.assert_array_equal(
        manager.get_window("TERRAIN_COST", 295, 303, 0, 7), np.pad(values[295:], ((0, 3), (0, 0)))
    )
    manager.set("OBSTACLES", values > 0.5)
    np.testing.assert_array_equal(manager.get("OBSTACLES"), values > 0.5)
    manager.fill("CAPACITY", 0.25)
    assert (manager.get("CAPACITY") == 0.25).all()
    manager.flush()
    for name, bad, error in [
        ("OBSTACLE", values, ChannelError),
        ("OBSTACLES", values[1:], ShapeError),
        ("OBSTACLES", 0.5, ShapeError),
        ("OBSTACLES", values + 1, ValueRangeError),
        ("OBSTACLES", -values - 0.1, ValueRangeError),
        ("OBSTACLES", np.where(values > 0.5, np.nan, values), ValueRangeError),
        ("OBSTACLES", values.astype(str), DTypeError),
        ("OBSTACLES", values * 1j, DTypeError),
    ]:
        with pytest.raises(error):
            manager.set(name, bad)
    for bad in (1.5, -0.5, np.nan):
        with pytest.raises(ValueRangeError):
            manager.fill("OBSTACLES", bad)
    np.testing.assert_array_equal(manager.get("OBSTACLES"), values > 0.5)
    manager.close()
    manager.close()
    with pytest.raises(ClosedError):
        manager.get("CAPACITY")


def temporal() -> TemporalGridManager:
    return TemporalGridManager(MemmapManager(SHAPE, copies=2))


EVENTS: dict[str, Any] = {
    "arrays": (np.array([1, 299, 1]), np.array([2, 6, 2]), np.array([0.25, 0.5, 0.25])),
    "lists": ([1, 299, 1], [2, 6, 2], [0.25, 0.5, 0.25]),
    "triples": [(1, 2, 0.25), (299, 6, 0.5), (1, 2, 0.25)],
    "three triples in a tuple": ((1, 2, 0.25), (299, 6, 0.5), (1, 2, 0.25)),
    "a table": np.array([[1, 2, 0.25], [299, 6, 0.5], [1, 2, 0.25]]),
}


@pytest.mark.parametrize("kind", EVENTS)
def test_deposits(kind: str) -> None:
    manager = temporal()
    plain = np.zeros(SHAPE)
    manager.deposit("TRAILS", EVENTS[kind])
    plain[1, 2], plain[299, 6] = 0.5, 0.5
    np.testing.assert_allclose(manager.get_window("TRAILS", 0, 300, 0, 7), plain)
    manager.deposit("TRAILS", EVENTS[kind], accumulate=False)
    np.testing.assert_allclose(manager.get_window("TRAILS", 0, 300, 0, 7), plain)
    manager.deposit("TRAILS", EVENTS[kind], clip_max=0.75)
    plain[1, 2], plain[299, 6] = 0.75, 0.75
    np.testing.assert_allclose(manager.get_window("TRAILS", 0, 300, 0, 7), plain)
    manager.deposit("TRAILS", EVENTS[kind], copy=1)
    np.testing.assert_allclose(manager.get_window("TRAILS", 0, 300, 0, 7, 1), plain.clip(0, 0.5))
    manager.deposit("ALLY_SIGNAL", EVENTS[kind], copy=[0, 1, 1])
    assert manager.get_window("ALLY_SIGNAL", 1, 2, 2, 3, 1)[0, 0] == 0.25


def test_decay_and_data() -> None:
    manager = temporal()
    assert [manager.gamma_for(name) for name in manager.names] == [0.85, 0.90, 0.92]
    assert not manager.has_any_data("TRAILS")
    manager.deposit("TRAILS", [(299, 6, 1.0)])
    manager.deposit("DAMAGE_HEAT", [(0, 0, 1.0)], copy=1)
    assert [manager.has_any_data("TRAILS", copy) for copy in (0, 1)] == [True, False]
    assert [manager.has_any_data("DAMAGE_HEAT", copy) for copy in (0, 1)] == [False, True]
    manager.apply_decay()
    np.testing.assert_allclose(manager.get_window("TRAILS", 299, 300, 6, 7), 0.9)
    manager.apply_decay(3)
    np.testing.assert_allclose(manager.get_window("TRAILS", 299, 300, 6, 7), 0.9**4, rtol=1e-6)
    manager.clear_all([0])
    assert [manager.has_any_data("TRAILS"), manager.has_any_data("DAMAGE_HEAT", 1)] == [False, True]
    manager.clear_all()
    assert not manager.has_any_data("DAMAGE_HEAT", 1)
    manager.deposit("TRAILS", [(299, 6, 1.0)])
    manager.apply_decay(200)
    assert not manager.has_any_data("TRAILS")
    for call in (manager.gamma_for, manager.has_any_data, lambda name: manager.deposit(name, [(0, 0, 1.0)])):
        with pytest.raises(ChannelError, match="did you mean 'TRAILS'"):
            call("TRAIL")


def test_data_that_nobody_wrote() -> None:
    channels = [Channel("GLOW", Decay(0.5), fill=1.0), Channel("GRASS", Regrow(0.5))]
    manager = TemporalGridManager(MemmapManager(SHAPE), channels)
    assert manager.has_any_data("GLOW")
    assert not manager.has_any_data("GRASS")
    manager.apply_decay(20)
    assert manager.has_any_data("GRASS")
    assert not manager.has_any_data("GLOW")
    with pytest.raises(ChannelError, match="Decay"):
        manager.gamma_for("GRASS")


@pytest.mark.parametrize(
    ("events", "error"),
    [
        ([(1, 2, -0.5)], ValueRangeError),
        ([(1, 2, np.nan)], ValueRangeError),
        ([(1, 2, np.inf)], ValueRangeError),
        ([(1.5, 2, 0.5)], DTypeError),
        ([(np.nan, 2, 0.5)], ValueRangeError),
        ([(300, 2, 0.5)], ShapeError),
        ([(1, -1, 0.5)], ShapeError),
        ([(1e300, 2, 0.5)], ShapeError),
        ([(0, 0, 0.5), (1, 7, 0.5)], ShapeError),
        ([(1, 2)], ShapeError),
        ([(1, 2, 0.5), (1, 2)], ShapeError),
        ((1, 2, 0.5), ShapeError),
        (0.5, ShapeError),
        ([("a", "b", "c")], DTypeError),
        (([1], [2], [-0.5]), ValueRangeError),
        (([1], [2], [np.nan]), ValueRangeError),
        (([1.0], [2], [0.5]), DTypeError),
        (([True], [2], [0.5]), DTypeError),
        (([1, 2], [2, 3, 4], [0.5]), ShapeError),
        (([1, 2], [2, 3], [0.5, 0.5, 0.5]), ShapeError),
        (([[1]], [[2]], [[0.5]]), ShapeError),
    ],
    ids=str,
)
def test_events_that_are_none(events: Any, error: type[Exception]) -> None:
    manager = temporal()
    manager.deposit("TRAILS", [(5, 5, 0.5)])
    with pytest.raises(error):
        manager.deposit("TRAILS", events)
    assert manager.grid["TRAILS", :, :].sum() == 0.5


def test_no_events_are_fine() -> None:
    manager = temporal()
    for events in ([], (), np.empty((0, 3)), ([], [], [])):
        manager.deposit("TRAILS", events)
    assert not manager.has_any_data("TRAILS")
    for clip_max in (-1, np.nan, np.inf):
        with pytest.raises(ValueRangeError, match="clip_max"):
            manager.deposit("TRAILS", [(1, 1, 1.0)], clip_max=clip_max)


def test_the_groups_are_complete() -> None:
    assert [channel.name for group in GROUPS.values() for channel in group] == [
        *("RESOURCES", "OBSTACLES", "TERRAIN_COST", "VISIBILITY", "CAPACITY"),
        *("DAMAGE_HEAT", "TRAILS", "ALLY_SIGNAL"),
    ]
