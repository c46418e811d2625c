"""One case a row of docs/seeds.md: what it names is there, and a check of its own holds."""

import ast
import functools
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from memfarm import config_files
from memfarm.channels import AGENTFARM, GROUPS, TRAILS, Channel, Decay, register_channel, unregister_channel
from memfarm.commands.bench import checkout
from memfarm.config import MemmapConfig, SimulationConfig
from memfarm.envs import forage_v0
from memfarm.envs.forage import EAT, STAY, Forage
from memfarm.envs.forage_config import ForageConfig
from memfarm.errors import ChannelError, ClosedError, ConfigError, ReadOnlyError, ShapeError
from memfarm.files import safe_name
from memfarm.grid import ChannelGrid
from memfarm.managers import GroupManager
from memfarm.memmap_manager import MemmapManager
from memfarm.memory import AgentMemory
from memfarm.validate.criteria import EXIT, Criterion, verdict
from memfarm.validate.pairs import LIMIT, Comparison
from memfarm.validate.resident import Resident
from memfarm.validate.run import run
from memfarm.validate.scale import QUICK
from memfarm.validate.structures import STRUCTURES
from memfarm.world import World
from memfarm.wrappers.mapped_buffers import mapped_array
from memfarm.wrappers.memory_observation import MemoryObservation
from memfarm.wrappers.window_observation import WindowObservation

ROOT = Path(__file__).parents[1]
Check = Callable[[Path], None]
CHECKS: dict[str, Check] = {}


@dataclass(frozen=True)
class Row:
    key: str
    says: str
    here: list[str]  # dotted names
    tests: list[str]  # file::function
    changed: str


def rows() -> list[Row]:
    found = []
    for line in (ROOT / "docs" / "seeds.md").read_text(encoding="utf-8").splitlines():
        if re.match(r"\| [A-Z]\d\d \|", line):
            key, says, here, tests, changed = (cell.strip() for cell in line.strip("|").split(" | "))
            found.append(Row(key, says, re.findall(r"`([^`]+)`", here), re.findall(r"`([^`]+)`", tests), changed))
    return found


ROWS = rows()


def check(*keys: str) -> Callable[[Check], Check]:
    def add(function: Check) -> Check:
        assert not CHECKS.keys() & set(keys)
        CHECKS.update(dict.fromkeys(keys, function))
        return function

    return add


@functools.cache
def tests_of(name: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / name).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def named(dotted: str) -> object:
    """What a dotted name means: a module, what it holds, and that one's attributes or fields."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            fields = {**getattr(found, "model_fields", {}), **getattr(found, "__annotations__", {})}
            if name in fields:
                found = fields[name]
            elif dotted == "memfarm.grid.ChannelGrid.backend":  # an attribute of its instances
                found = found.__init__.__annotations__[name]
            else:
                found = getattr(found, name)
        return found
    raise ModuleNotFoundError(dotted)


@functools.cache
def validated() -> dict[str, Criterion]:
    """The lines of a quick `memfarm validate`, once for all rows that look at it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {line.name: line for line in run(scale=QUICK)}
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("row", ROWS, ids=[row.key for row in ROWS])
def test_a_row_holds(row: Row, tmp_path: Path) -> None:
    assert row.here, "a row names where it lives"
    assert row.tests, "a row names the test that holds it"
    assert row.says
    assert row.changed
    for dotted in row.here:
        assert named(dotted) is not None
    for test in row.tests:
        file, function = test.split("::")
        assert function in tests_of(file), f"there is no {test}"
    assert row.key in CHECKS, f"{row.key} has no check of its own"
    CHECKS[row.key](tmp_path)


def test_every_check_has_its_row_and_every_row_its_key() -> None:
    keys = [row.key for row in ROWS]
    assert len(set(keys)) == len(keys) > 80
    assert set(CHECKS) == set(keys)
    for letter in "ABC":  # none is left out
        numbers = [int(key[1:]) for key in keys if key[0] == letter]
        assert numbers == list(range(1, len(numbers) + 1))


# --- the checks


def world(folder: Path | None = None, **settings: Any) -> World:
    directory = None if folder is None else str(folder)
    return World((40, 56), memmap=MemmapConfig(directory=directory, **settings), seed=3)


def forage(**arguments: Any) -> WindowObservation:
    arguments = {"num_envs": 4, "agents_per_world": 4, "shape": (24, 24), "map": {"kind": "flat"}, **arguments}
    env = forage_v0.batched(**arguments)
    assert isinstance(env, WindowObservation)
    return env


def passed(name: str) -> None:
    assert validated()[name].status == "PASS", validated()[name]


def switches(group: str) -> None:
    for on in (True, False):
        made = world(**{f"use_for_{group}": on})
        assert made.grids[group].backend == ("memmap" if on else "ram")
        assert {grid.backend for name, grid in made.grids.items() if name != group} == {"memmap"}
        made.close()


CHECKS["A01"] = CHECKS["B02"] = lambda tmp_path: switches("resources")
CHECKS["B03"] = CHECKS["C01"] = lambda tmp_path: switches("environmental")
CHECKS["B04"] = lambda tmp_path: switches("temporal")


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
    with pytest.raises(ConfigError, match="memmap.dtype"):
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


@check("A11", "B31", "C05", "A23")
def tensors(tmp_path: Path) -> None:
    env = forage(tensor="torch", dtype="float16", radius=2)
    env.reset(seed=0)
    layer = np.zeros((24, 24))
    layer[::2] = 1.0
    env.get_wrapper_attr("set_environmental_layer")("TERRAIN_COST", layer)
    seen = env.step(np.full(4, STAY))[0]
    assert (seen.dtype, tuple(seen.shape)) == (torch.float16, (4, 7, 5, 5))
    assert seen.is_contiguous(memory_format=torch.channels_last)
    assert set(seen[:, env.channels.index("TERRAIN_COST")].unique().tolist()) == {0.0, 1.0}
    env.close()


@check("A12", "A20", "B16")
def backends_alike(tmp_path: Path) -> None:
    off = {f"use_for_{group}": False for group in GROUPS}
    episodes = []
    for memmap in ({}, off):
        env = forage(config={"memmap": memmap})
        seen = [env.reset(seed=1)[0], *(env.step(np.full(4, action))[0] for action in (1, 3, EAT, 2))]
        core: Any = env.unwrapped
        assert core.world.environmental.has_memmap is (memmap == {})
        episodes.append(b"".join(each.tobytes() for each in seen))
        env.close()
    assert episodes[0] == episodes[1]


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


@check("A14", "A24", "B36", "C12")
def whole_validation(tmp_path: Path) -> None:
    lines = validated()
    assert [line for line in lines.values() if line.status == "FAIL"] == []
    kinds = {name.split(":")[0] for name in lines}
    assert kinds == {"memory", "time", "same bytes", "tensors", "decay", "files", "cleaning up"}
    assert all(line.figure and line.limit for line in lines.values())
    assert verdict(lines.values()) in EXIT
    for structure in STRUCTURES:
        passed(f"tensors: {structure.name}")
    for name in ("remembered", "large windows"):
        passed(f"memory: {name}")


@check("A15", "A17", "A22", "B33")
def times(tmp_path: Path) -> None:
    assert LIMIT == 1.25
    names = ["resources", "environmental", "temporal", "memory", "observe()"]
    assert [structure.name for structure in STRUCTURES] == names
    for name in names:
        assert re.search(r"\d\.\d\dx \(.*memory against memory", validated()[f"time: {name}"].figure)
        passed(f"same bytes: {name}")
    once, slow = np.full(60, 1e-3), np.full(60, 2e-3)
    assert Comparison(once, once, once).outcome == "PASS"
    assert Comparison(slow, once, once).outcome == "FAIL"


@check("A16", "A31", "C11")
def resident(tmp_path: Path) -> None:
    now = Resident.now()
    assert now.anonymous > 1 << 20
    assert now.mapped > 1 << 20


@check("A18", "B34")
def validated_tensors(tmp_path: Path) -> None:
    for structure in STRUCTURES:
        passed(f"tensors: {structure.name}")
        share = re.search(r"(\d+)% not 0, no copy", validated()[f"tensors: {structure.name}"].figure)
        assert share
        assert int(share[1]) > 0


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


@check("A21", "A25", "B35")
def memory_scales(tmp_path: Path) -> None:
    passed("memory: filled worlds")
    passed("memory: vast world")


@check("A26", "B22")
def no_dense_step(tmp_path: Path) -> None:
    made = World((1 << 16, 1 << 16))
    made.deposit_temporal_events("TRAILS", [(60_000, 60_000, 1.0)])
    made.advance(3)
    assert made.gather("TRAILS", 0, [60_000], [60_000])[0] == pytest.approx(0.9**3)
    assert made.temporal.grid.stats().live == 1
    made.close()


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
    for each in (*consumers, other):
        each.close()


@check("A29", "C02")
def memories(tmp_path: Path) -> None:
    made = World((1 << 13, 1 << 13))
    memory = AgentMemory(made, 1000, ["RESOURCES"])
    windows = np.full((1, 3, 3, 1), 0.5, np.float32)
    memory.see([7], [4000], [4000], windows, ["RESOURCES"])
    assert memory.observe([7, 8], [4000, 4000], [4000, 4000], 1).max(axis=(1, 2, 3)).tolist() == [0.5, 0.0]
    stats = memory.grid.stats()
    assert stats.logical_bytes > 100 << 30
    assert stats.live <= 4
    memory.forget([7])
    assert memory.observe([7], [4000], [4000], 1).max() == 0.0
    memory.close()
    made.close()
    env = forage_v0.batched(num_envs=2, agents_per_world=2, shape=(24, 24), memory=True)
    assert isinstance(env, MemoryObservation)
    assert set(env.reset(seed=0)[0]) == {"window", "memory", "overview"}
    env.close()


@check("A30", "B23", "B25", "C09")
def both_roads(tmp_path: Path) -> None:
    temporal = {"temporal": [c for c in GROUPS["temporal"] if c.name != "TRAILS"]}
    dense, sparse = World((24, 24)), World((24, 24), channels={**GROUPS, **temporal}, sparse=[TRAILS])
    assert "TRAILS" not in sparse.channels
    seen = []
    for each in (dense, sparse):
        each.deposit_temporal_events("TRAILS", [(5, 5, 0.5), (6, 5, 0.25)])
        cutter = each.windows(["TRAILS"], 3)
        seen.append([cutter(0, [5], [5]).copy()])
        each.advance()
        seen[-1].append(cutter(0, [5], [5]).copy())
        each.close()
    assert np.array_equal(seen[0], seen[1])
    assert seen[0][0].max() == 0.5
    register_channel(Channel("SMELL", Decay(0.5)))
    try:
        env = forage(channels=["SMELL"])
        core: Any = env.unwrapped
        assert "SMELL" in core.world.temporal.names
        env.close()
    finally:
        unregister_channel("SMELL")


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


@check("B17")
def decay_by_gamma(tmp_path: Path) -> None:
    env = Forage(
        {"observation": {"gamma_dmg": 0.5, "gamma_trail": 0.25, "gamma_sig": 0.75}, "world": {"shape": (9, 9)}}
    )
    temporal = env.world.temporal
    assert [temporal.gamma_for(name) for name in ("DAMAGE_HEAT", "TRAILS", "ALLY_SIGNAL")] == [0.5, 0.25, 0.75]
    with pytest.raises(ConfigError, match="advance"):
        temporal.apply_decay()
    env.close()


@check("B18")
def one_base(tmp_path: Path) -> None:
    made = world()
    for group in (made.resources, made.environmental, made.temporal):
        assert isinstance(group, GroupManager)
        assert group.grid is made.grids[group.group]
    made.close()


@check("B19", "B20", "B21")
def environments_verbs(tmp_path: Path) -> None:
    env = Forage({"world": {"shape": (24, 24), "map": {"kind": "flat"}}}, worlds=2)
    env.set_environmental_layer("VISIBILITY", np.full((24, 24), 1.0))
    env.deposit_temporal_events("ALLY_SIGNAL", [(4, 5, 0.5)], copy=1)
    seen = env.world.observe([0, 1], [4, 4], [5, 5], 0, ["ALLY_SIGNAL", "VISIBILITY", "RESOURCES"])
    assert seen.reshape(2, 3).tolist() == [[0.0, 1.0, 1.0], [0.5, 1.0, 1.0]]
    env.close()


@check("B24")
def looking_changes_nothing(tmp_path: Path) -> None:
    made = world()
    made.deposit_temporal_events("DAMAGE_HEAT", [(4, 5, 1.0)])
    made.advance()
    seen = [made.observe(0, [4] * agents, [5] * agents, 0, ["DAMAGE_HEAT"]).max() for agents in (1, 50, 2)]
    assert seen == [pytest.approx(0.85)] * 3
    made.close()


@check("B27")
def plain_arrays(tmp_path: Path) -> None:
    grid = ChannelGrid((40, 56), [TRAILS], folder=tmp_path)
    assert {type(array) for array in grid._segments.arrays.values()} == {np.ndarray}
    grid.close()


@check("B28")
def padding(tmp_path: Path) -> None:
    made = world()
    made.set_environmental_layer("OBSTACLES", np.zeros((40, 56)))
    inside, corner = made.observe([0, 0], [20, 0], [20, 0], 1, ["OBSTACLES"])[..., 0]
    assert inside.tolist() == [[0.0] * 3] * 3
    assert corner.tolist() == [[1.0] * 3, [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]  # beyond the wall is a wall
    made.close()


@check("B29")
def any_data(tmp_path: Path) -> None:
    made = world()
    assert not made.temporal.has_any_data("TRAILS")
    made.deposit_temporal_events("TRAILS", [(4, 5, 1.0)])
    assert made.temporal.has_any_data("TRAILS")
    made.advance(1000)
    assert not made.temporal.has_any_data("TRAILS")
    made.close()


@check("B30")
def groups_apart(tmp_path: Path) -> None:
    passed("files: each group on its own")
    assert "8 of 8" in validated()["files: each group on its own"].figure


@check("B37")
def safe_names(tmp_path: Path) -> None:
    assert safe_name('a:b*c?"<d>', "name") == "a-b-c---d-"
    for name in ("../x", "a/b", "a\\b", ".."):
        with pytest.raises(ConfigError, match="stays in its folder"):
            safe_name(name, "name")


@check("B39")
def verdicts(tmp_path: Path) -> None:
    assert EXIT == {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}
    once, half = np.full(60, 1e-3), np.full(60, 5e-4)
    assert Comparison(once, once, half).outcome == "NOISY"
    assert verdict([Criterion("a", "WARN", "", "", noisy=True)]) == "INCONCLUSIVE"


@check("C03")
def large_windows(tmp_path: Path) -> None:
    passed("memory: large windows")
    tensor = torch.from_numpy(mapped_array((16, 16), np.float32))
    tensor += 1.0
    assert float(tensor.sum()) == 256.0


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


@check("C10")
def benchmarks(tmp_path: Path) -> None:
    assert (checkout(ROOT / "memfarm") / "benchmarks" / "__main__.py").is_file()


@check("C14")
def agentfarm(tmp_path: Path) -> None:
    assert len(AGENTFARM) == 13
    env = gymnasium.make("memfarm/Forage-v0", channels="agentfarm", radius=3, shape=(24, 24))
    seen, _ = env.reset(seed=0)
    assert seen.shape == (7, 7, 13)
    env.close()
