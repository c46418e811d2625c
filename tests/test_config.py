import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import model_validator

from memfarm.config import (
    AgentsConfig,
    MemmapConfig,
    ObservationConfig,
    RewardConfig,
    Section,
    SimulationConfig,
    WorldConfig,
)
from memfarm.errors import ConfigError

pytestmark = pytest.mark.once


class TinyAgents(AgentsConfig):
    bite: float = 0.5


class TinyConfig(SimulationConfig):
    agents: TinyAgents = TinyAgents()


class FussyAgents(AgentsConfig):
    low: float = 0.0
    high: float = 1.0

    @model_validator(mode="after")
    def _in_order(self) -> "FussyAgents":
        if self.low > self.high:
            raise ValueError("must have low of at most high")
        return self


class FussyConfig(SimulationConfig):
    agents: FussyAgents = FussyAgents()


class OtherConfig(SimulationConfig):
    pass


def test_the_defaults_are_those_of_the_design() -> None:
    config = SimulationConfig()
    assert config.world == WorldConfig(shape=None, boundary="wall", map=None, max_cycles=500, sparse_channels=())
    assert config.observation == ObservationConfig(radius=5, channels=None, mask_by_visibility=False)
    assert (config.observation.gamma_dmg, config.observation.gamma_trail, config.observation.gamma_sig) == (
        0.85,
        0.9,
        0.92,
    )
    assert config.memmap.directory is None
    assert config.memmap.mode == "w+"


@given(
    shape=st.tuples(st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1)),
    boundary=st.sampled_from(["wall", "wrap"]),
    map_=st.none()
    | st.text(min_size=1)
    | st.dictionaries(st.text(), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists)),
    radius=st.integers(0, 16_383),
    channels=st.none() | st.lists(st.text(), min_size=1, unique=True),
    gamma=st.floats(0, 1, exclude_max=True),
    bite=st.floats(allow_nan=False, allow_infinity=False),
)
def test_a_configuration_survives_json(**drawn: Any) -> None:
    drawn["map"] = drawn.pop("map_")
    drawn["gamma_trail"] = drawn.pop("gamma")
    config = TinyConfig.from_arguments(None, **drawn)
    assert TinyConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize(
    ("arguments", "path", "got"),
    [
        ({"shape": (0, 1)}, "world.shape.0", "got 0"),
        ({"shape": (8, -1)}, "world.shape.1", "got -1"),
        ({"shape": (8,)}, "world.shape", "got (8,)"),
        ({"shape": (1, 2, 3)}, "world.shape", "got (1, 2, 3)"),
        ({"shape": 8}, "world.shape", "got 8"),
        ({"shape": (True, 2)}, "world.shape.0", "got True"),
        ({"shape": (8.0, 2)}, "world.shape.0", "got 8.0"),
        ({"boundary": "torus"}, "world.boundary must be 'wall' or 'wrap'", "got 'torus'"),
        ({"map": 3}, "world.map", "got 3"),
        ({"map": ""}, "world.map", "got ''"),
        ({"map": {"sigma": float("nan")}}, "world.map.sigma", "got nan"),
        ({"map": {"f": print}}, "world.map.f", "got <built-in"),
        ({"map": {1: 2}}, "world.map", "got 1"),
        ({"max_cycles": 0}, "world.max_cycles", "got 0"),
        ({"radius": "5"}, "observation.radius", "got '5'"),
        ({"radius": True}, "observation.radius", "got True"),
        ({"radius": 5.0}, "observation.radius", "got 5.0"),
        ({"radius": -1}, "observation.radius", "got -1"),
        ({"radius": None}, "observation.radius", "got None"),
        ({"channels": "TRAILS"}, "observation.channels", "got 'TRAILS'"),
        ({"channels": ()}, "observation.channels", "got ()"),
        ({"channels": ("A", "A")}, "observation.channels", "got ('A', 'A')"),
        ({"channels": ("A", 1)}, "observation.channels.1", "got 1"),
        ({"mask_by_visibility": 1}, "observation.mask_by_visibility", "got 1"),
        ({"gamma_dmg": 1.0}, "observation.gamma_dmg", "got 1.0"),
        ({"gamma_sig": float("nan")}, "observation.gamma_sig", "got nan"),
        ({"gamma_trail": np.float32("inf")}, "observation.gamma_trail", "got inf"),
        ({"bite": float("-inf")}, "agents.bite", "got -inf"),
        ({"bite": "1"}, "agents.bite", "got '1'"),
        ({"bite": True}, "agents.bite", "got True"),
    ],
)
def test_a_bad_value_is_refused_with_its_path_and_itself(arguments: dict[str, Any], path: str, got: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        TinyConfig.from_arguments(None, **arguments)
    assert path in str(refusal.value)
    assert got in str(refusal.value)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"wrld": {}}, "'wrld'; did you mean 'world'"),
        ({"world": {"shap": (1, 1)}}, "'world.shap'; did you mean 'shape'"),
        ({"memmap": {"dtpye": "float32"}}, "'memmap.dtpye'; did you mean 'dtype'"),
        ({"memmap": {"dtype": "uint8"}}, "memmap.dtype must be 'float16', 'float32' or 'float64', got 'uint8'"),
        ({"memmap": {"mode": "w"}}, "memmap.mode must be"),
        ({"world": 3}, "world must be"),
        ({"world": {1: 2}}, "world must have strings as keys, got 1"),
        ({1: 2}, "got {1: 2}"),
        ([], "got []"),
    ],
)
def test_a_bad_dict_is_refused_with_its_path(data: Any, expected: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        SimulationConfig.from_dict(data)
    assert expected in str(refusal.value)


def test_every_broken_rule_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as refusal:
        SimulationConfig.from_dict({"world": {"shape": (0, 0), "max_cycles": 0}, "memmap": {"mode": "x"}})
    assert len(str(refusal.value).splitlines()) == 4


def test_a_rule_over_a_whole_section_is_told_with_the_sections_path() -> None:
    with pytest.raises(ConfigError, match=r"^agents must have low of at most high, got "):
        FussyConfig.from_arguments(low=2.0)
    with pytest.raises(ConfigError, match=r"^FussyAgents must have low of at most high, got "):
        FussyAgents(low=2.0)


def test_sections_refuse_by_themselves_too() -> None:
    with pytest.raises(ConfigError, match=r"^shape\.0 must be"):
        WorldConfig(shape=(0, 1))
    with pytest.raises(ConfigError, match="did you mean 'directory'"):
        MemmapConfig(directry="x")


def test_numbers_of_numpy_and_paths_become_plain() -> None:
    config = TinyConfig.from_arguments(
        None, shape=np.array([3, 4]).tolist(), radius=np.int64(2), bite=np.float32(0.5), map=Path("there")
    )
    assert type(config.observation.radius) is int
    assert type(config.agents.bite) is float
    assert config.world.map == "there"
    assert config.world.shape == (3, 4)


def test_overrides_go_by_path_and_leave_the_original_alone() -> None:
    config = SimulationConfig()
    changed = config.with_overrides({"memmap.use_for_resources": False, "world.shape": (8, 9)})
    assert changed.memmap == MemmapConfig(use_for_resources=False)
    assert changed.world.shape == (8, 9)
    assert config == SimulationConfig()
    recipe = config.with_overrides({"world.map": {"kind": "noise", "seed": 1}}).with_overrides({"world.map.seed": 2})
    assert recipe.world.map == {"kind": "noise", "seed": 2}
    assert config.with_overrides({"world": {"shape": (2, 2)}}).world == WorldConfig(shape=(2, 2))


@pytest.mark.parametrize("path", ["memap.dtype", "memmap.dtpye", "world.shape.0", "world.map.kind", "", "world."])
def test_an_override_of_nothing_is_refused(path: str) -> None:
    with pytest.raises(ConfigError):
        SimulationConfig().with_overrides({path: 1})


def test_bare_arguments_find_their_section() -> None:
    config = TinyConfig.from_arguments({"world": {"max_cycles": 7}}, shape=(8, 9), radius=2, bite=0.25, map=None)
    assert config.world == WorldConfig(shape=(8, 9), max_cycles=7)
    assert config.observation.radius == 2
    assert config.agents.bite == 0.25


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("raduis", "did you mean 'radius'"),
        ("bites", "did you mean 'bite'"),
        ("dtype", "config={'memmap': {'dtype': ...}}"),
        ("memmap", "config={'memmap': ...}"),
    ],
)
def test_a_wrong_argument_is_refused_with_the_right_one(name: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        TinyConfig.from_arguments(None, **{name: 1})
    assert remedy in str(refusal.value)


def test_load_takes_objects_dicts_paths_and_nothing(tmp_path: Path) -> None:
    wanted = TinyConfig(agents=TinyAgents(bite=0.25))
    assert TinyConfig.load(wanted) is wanted
    assert TinyConfig.load(None) == TinyConfig()
    assert TinyConfig.load({"agents": {"bite": 0.25}}) == wanted
    base = TinyConfig.load(SimulationConfig(world=WorldConfig(max_cycles=3)))
    assert type(base) is TinyConfig
    assert base.world.max_cycles == 3
    path = tmp_path / "config.json"
    path.write_text(json.dumps(wanted.to_dict()))
    assert TinyConfig.load(path) == TinyConfig.load(str(path)) == wanted
    with pytest.raises(ConfigError, match="a dict, a path or None, got 3"):
        TinyConfig.load(3)  # type: ignore[arg-type]
    assert SimulationConfig.load(wanted) is wanted
    with pytest.raises(ConfigError, match=r"'agents\.bite'"):
        OtherConfig.load(wanted)


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_yaml_is_read_with_small_numbers_as_numbers(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"config{suffix}"
    path.write_text("world: {shape: [8, 9]}\nagents: {bite: 1e-3}\n")
    config = TinyConfig.from_file(path)
    assert config.world.shape == (8, 9)
    assert config.agents.bite == 1e-3


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.toml", "", "must end in .yaml, .yml or .json"),
        ("a.json", "{", "must be JSON"),
        ("a.yaml", "{", "must be YAML"),
        ("a.yaml", "", "must be a mapping"),
        ("a.json", "[1]", "must be a mapping"),
        ("a.json", '{"world": {"max_cycles": NaN}}', "world.max_cycles must be finite"),
        ("a.yaml", "world: &a {map: {deeper: *a}}\n", "nested"),
        ("a.yaml", "world: {map: 2026-01-01}\n", "world.map must be"),
        ("a.yaml", "world: !!python/object:os.system {}\n", "must be YAML"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, name: str, text: str, expected: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError) as refusal:
        SimulationConfig.from_file(path)
    assert expected in str(refusal.value)
    assert name in str(refusal.value)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        SimulationConfig.load(tmp_path / "none.yaml")


def test_a_configuration_is_frozen() -> None:
    config = SimulationConfig()
    with pytest.raises(ConfigError, match="with_overrides"):
        config.world = WorldConfig()  # type: ignore[misc]
    recipe = {"kind": "noise", "shape": [8, 8]}
    held = WorldConfig(map=recipe)
    recipe["kind"] = "flat"
    assert held.map == {"kind": "noise", "shape": (8, 8)}


def test_sections_may_not_share_a_name() -> None:
    class Reward(RewardConfig):
        radius: float = 1.0

    with pytest.raises(ConfigError, match=r"observation\.radius and reward\.radius|reward\.radius"):

        class _Clashing(SimulationConfig):
            reward: Reward = Reward()


def test_a_default_that_breaks_its_type_is_refused() -> None:
    class Broken(Section):
        bite: float = float("nan")

    with pytest.raises(ConfigError, match="bite"):
        Broken()
