"""Checks of docs/seeds.md on files, managers and the configuration."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from seeds_registry import ROOT, check, world

from memfarm import config_files
from memfarm.channels import GROUPS, TRAILS
from memfarm.config import MemmapConfig, SimulationConfig
from memfarm.envs.forage_config import ForageConfig
from memfarm.errors import ChannelError, ClosedError, ConfigError, ReadOnlyError, ShapeError, WorldLockedError
from memfarm.files import safe_name
from memfarm.grid import ChannelGrid
from memfarm.managers import GroupManager
from memfarm.memmap_manager import MemmapManager
from memfarm.world import World


@check("A02", "B08")
def directory(tmp_path: Path) -> None:
    made = world(tmp_path)
    assert made.path is not None
    assert made.path.parent == tmp_path
    made.close()
    scratch = world()
    assert scratch.path is None
    assert MemmapConfig().directory is None
    scratch.close()


@check("A03", "B09", "C08")
def dtype(tmp_path: Path) -> None:
    assert MemmapConfig().dtype == "float32"
    made = world(dtype={"temporal": "float16", "resources": "float64"})
    assert {name: grid.dtype for name, grid in made.grids.items()} == {
        "temporal": "float16",
        "resources": "float64",
        "environmental": "uint8",
    }
    made.close()
    with pytest.raises(ConfigError, match=r"memmap\.dtype"):
        SimulationConfig.from_dict({"memmap": {"dtype": "float12"}})


@check("A04", "B10", "A09", "B32", "C04")
def modes(tmp_path: Path) -> None:
    assert MemmapConfig().mode == "w+"
    first = World((40, 56), path=tmp_path / "kept")
    first.deposit_temporal_events("TRAILS", [(1, 2, 0.75)])
    first.advance(2)
    value = first.gather("TRAILS", 0, [1], [2])[0]
    first.close()
    for mode, kept in (("c", value), ("r+", 1.0)):
        again = World(memmap=MemmapConfig(directory=str(tmp_path / "kept"), mode=mode))
        assert (again.tick, again.gather("TRAILS", 0, [1], [2])[0]) == (2, value)
        again.deposit_temporal_events("TRAILS", [(1, 2, 1.0)])
        again.close()
        reader = World.open(tmp_path / "kept")
        assert reader.gather("TRAILS", 0, [1], [2])[0] == kept
        reader.close()


@check("A05", "A07", "A08")
def resource_manager(tmp_path: Path) -> None:
    made = world(tmp_path)
    window = made.resources.get_resource_window(-2, 3, -2, 3)
    assert window.shape == (5, 5)
    assert window[:2].max() == 0.0  # beyond the edge
    assert window[2:, 2:].min() == 1.0
    with_margin = made.resources.get_resource_window(0, 2, 0, 2, normalize=False)
    assert with_margin.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    file = made.path / "resources.npy" if made.path else tmp_path
    assert np.load(file, mmap_mode="r").size >= 40 * 56
    made.resources.cleanup_memmap(delete=True)
    assert not file.exists()
    made.close()


@check("A06")
def never_rebuilt(tmp_path: Path) -> None:
    made = world()
    assert made.resources.take(0, [5], [5], [0.4])[0] == pytest.approx(0.4)
    assert made.resources.get_resource_window(5, 6, 5, 6)[0, 0] == pytest.approx(0.6)
    written = made.resources.grid.stats().live
    made.advance(10)
    assert made.resources.get_resource_window(5, 6, 5, 6)[0, 0] == pytest.approx(0.7, abs=1e-5)
    assert made.resources.grid.stats().live == written == 1
    made.close()


@check("A10", "A27", "B06")
def names_of_folders(tmp_path: Path) -> None:
    config = MemmapConfig(directory=str(tmp_path))
    made = [World((40, 56), memmap=config, simulation_id="s 1") for _ in range(2)]
    places = [each.path for each in made if each.path]
    assert len(set(places)) == 2
    assert all(place.name.startswith(f"world_s-1_p{os.getpid()}_40x56") for place in places)
    for each in made:
        each.close()


@check("A13", "B11")
def closing(tmp_path: Path) -> None:
    for delete in (False, True):
        made = world(tmp_path, delete_on_close=delete)
        made.flush()
        made.close()
        made.close()
        assert made.path is not None
        assert made.path.exists() is not delete
        with pytest.raises(ClosedError):
            made.advance()


@check("A19", "B12", "B13", "B26")
def sources(tmp_path: Path) -> None:
    wanted = ForageConfig.from_dict({"memmap": {"use_for_resources": False, "dtype": "float16"}})
    (tmp_path / "a.json").write_text(json.dumps(wanted.to_dict()))
    (tmp_path / "b.yaml").write_text("memmap:\n  use_for_resources: false\n  dtype: float16\n")
    dotted = config_files.settings(["memmap.dtype=float16", "memmap.use_for_resources=false"])
    assert ForageConfig.from_file(tmp_path / "a.json") == wanted
    assert ForageConfig.load(tmp_path / "b.yaml") == wanted
    assert ForageConfig().with_overrides(dotted) == wanted
    assert ForageConfig.from_dict(wanted.to_dict()) == wanted
    with pytest.raises(ConfigError, match="use_for_resources"):
        ForageConfig.from_dict({"memmap": {"use_for_resorces": False}})


@check("A28", "B38")
def readers(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.set_environmental_layer("TERRAIN_COST", np.full((40, 56), 0.6))
    made.close()
    assert made.path is not None
    consumers = [World.open(made.path, "r") for _ in range(2)]
    for consumer in consumers:
        assert consumer.gather("TERRAIN_COST", 0, [3], [3])[0] == pytest.approx(0.6, abs=1 / 255)
        with pytest.raises(ReadOnlyError):
            consumer.set_environmental_layer("TERRAIN_COST", np.zeros((40, 56)))
    other = World(map=made.path)
    assert other.shape == (40, 56)
    writer = World.open(made.path, "r+")
    with pytest.raises(WorldLockedError):
        World.open(made.path, "r+")
    writer.advance(2)
    consumers[0].gather("TRAILS", 0, [3], [3])
    assert consumers[0].tick == writer.tick
    for each in (*consumers, other, writer):
        each.close()


@check("B01", "B07", "C13")
def one_configuration(tmp_path: Path) -> None:
    assert isinstance(SimulationConfig().memmap, MemmapConfig)
    targets = {name for name in MemmapConfig.model_fields if name.startswith("use_for_")}
    assert targets == {f"use_for_{each}" for each in (*GROUPS, "memory", "observations")}
    assert {*MemmapConfig.model_fields} - targets == {"directory", "dtype", "mode", "delete_on_close"}
    with pytest.raises(ConfigError, match="use_for_resources"):
        MemmapConfig(use_for_resources="perhaps")  # type: ignore[arg-type]


@check("B05", "B14", "C07")
def manager(tmp_path: Path) -> None:
    made = MemmapManager((20, 30), config=MemmapConfig(directory=str(tmp_path)))
    assert made.create("height") is made.get("height")
    made.write("height", np.full((20, 30), 0.5))
    assert made.get_window("height", -1, 2, 0, 2).tolist() == [[0, 0], [0.5, 0.5], [0.5, 0.5]]
    with pytest.raises(ChannelError):
        made.create("height")
    with pytest.raises(ShapeError):
        made.write("height", np.zeros((21, 30)))
    made.flush()
    made.close("height")
    assert not made.has("height")
    made.create("depth")
    made.close_all()
    assert made.names() == []


@check("B15")
def updates_in_place(tmp_path: Path) -> None:
    made = MemmapManager((8, 8))
    made.create("heat")
    made.fill("heat", 0.5)
    made.add_at("heat", [1, 1], [2, 2], [0.125, 0.125])  # twice the same cell
    made.scale("heat", 0.5)
    assert made.get_window("heat", 1, 2, 2, 4).tolist() == [[0.375, 0.25]]
    made.close_all()


@check("B18")
def one_base(tmp_path: Path) -> None:
    made = world()
    for group in (made.resources, made.environmental, made.temporal):
        assert isinstance(group, GroupManager)
        assert group.grid is made.grids[group.group]
    made.close()


@check("B27")
def plain_arrays(tmp_path: Path) -> None:
    grid = ChannelGrid((40, 56), [TRAILS], folder=tmp_path)
    assert {type(array) for array in grid._segments.arrays.values()} == {np.ndarray}
    grid.close()


@check("B29")
def any_data(tmp_path: Path) -> None:
    made = world()
    assert not made.temporal.has_any_data("TRAILS")
    made.deposit_temporal_events("TRAILS", [(4, 5, 1.0)])
    assert made.temporal.has_any_data("TRAILS")
    made.advance(1000)
    assert not made.temporal.has_any_data("TRAILS")
    made.close()


@check("B37")
def safe_names(tmp_path: Path) -> None:
    assert safe_name('a:b*c?"<d>', "name") == "a-b-c-d-"
    for name in ("../x", "a/b", "a\\b", ".."):
        with pytest.raises(ConfigError, match="stays in its folder"):
            safe_name(name, "name")


@check("C06")
def forked(tmp_path: Path) -> None:
    code = """
import os, sys
from memfarm.errors import ClosedError
from memfarm.world import World
world = World((24, 24), path=sys.argv[1])
if os.fork() == 0:
    try:
        world.advance()
    except ClosedError:
        os._exit(7)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    child = [sys.executable, "-c", code, str(tmp_path / "world")]
    assert subprocess.run(child, cwd=ROOT, check=False, timeout=60).returncode == 7


def switches(group: str, tmp_path: Path) -> None:
    for on in (True, False):
        made = world(**{f"use_for_{group}": on})
        assert made.grids[group].backend == ("memmap" if on else "ram")
        assert {grid.backend for name, grid in made.grids.items() if name != group} == {"memmap"}
        made.close()


for _keys, _group in {("A01", "B02"): "resources", ("B03", "C01"): "environmental", ("B04",): "temporal"}.items():
    check(*_keys)(functools.partial(switches, _group))
