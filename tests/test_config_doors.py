"""One configuration at every door: object, dict, YAML, JSON, overrides; and what is wrong with one, by name."""

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import yaml
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode
from typer.testing import CliRunner

from memfarm import config_files
from memfarm.cli import app
from memfarm.config import MemmapConfig, Section
from memfarm.envs import forage_v0
from memfarm.envs.forage_config import ForageConfig
from memfarm.errors import ConfigError

SETTINGS: dict[str, Any] = {
    "world": {"shape": [18, 21], "boundary": "wrap", "map": {"kind": "noise", "seed": 7}, "max_cycles": 15},
    "agents": {"start_energy": 0.1, "teams": 2, "goals": True, "terrain_weight": 1e-3},
    "reward": {"death_penalty": 0.25, "goal_reward": 0.125},
    "observation": {"radius": 3, "channels": "agentfarm", "gamma_trail": 0.75, "gamma_known": 0.5},
    "memmap": {"dtype": {"resources": "float32", "temporal": "float16"}, "use_for_temporal": False},
}


def sources(folder: Path) -> dict[str, Any]:
    """The same configuration as everything that it can be given as."""
    (folder / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    (folder / "config.yml").write_text(json.dumps(SETTINGS))  # YAML's flow style
    (folder / "config.json").write_text(json.dumps(SETTINGS, indent=2))
    return {
        "dict": SETTINGS,
        "object": ForageConfig.from_dict(SETTINGS),
        "whole dict": ForageConfig.from_dict(SETTINGS).to_dict(),
        "yaml": folder / "config.yaml",
        "yml": str(folder / "config.yml"),
        "json": str(folder / "config.json"),
    }


def episode(config: Any, **arguments: Any) -> bytes:
    """Everything that a batched environment says over three of its episodes, as bytes."""
    env = gym.make_vec("memfarm/Forage-v0", num_envs=6, agents_per_world=3, config=config, **arguments)
    rng = np.random.default_rng(5)
    windows, infos = env.reset(seed=11)
    said = [windows, infos["action_mask"]]
    for _ in range(40):
        windows, rewards, terminated, truncated, infos = env.step(rng.integers(0, 6, 6))
        said += [windows, rewards, terminated, truncated, infos["action_mask"]]
    env.close()
    return b"".join(part.tobytes() for part in said)


def test_all_sources_make_the_same_environment_byte_for_byte(tmp_path: Path) -> None:
    episodes = {name: episode(config) for name, config in sources(tmp_path).items()}
    assert len(set(episodes.values())) == 1
    other = {**SETTINGS, "observation": {**SETTINGS["observation"], "gamma_trail": 0.76}}
    assert episode(other) != episodes["dict"]  # what is compared can differ


def test_arguments_go_on_top_of_any_source(tmp_path: Path) -> None:
    wanted = episode({**SETTINGS, "agents": {**SETTINGS["agents"], "bite": 0.5}})
    for config in sources(tmp_path).values():
        assert episode(config, bite=0.5) == wanted


def test_an_episode_is_the_same_on_disk_and_in_memory() -> None:
    memmap = {key: False for key in MemmapConfig.model_fields if key.startswith("use_for_")}
    assert episode({**SETTINGS, "memmap": {**SETTINGS["memmap"], **memmap}}) == episode(SETTINGS)


@pytest.mark.parametrize(
    ("memmap", "expected"),
    [
        (None, ["float32", "uint8", "float16"]),
        ({"use_for_resources": False}, ["float32", "uint8", "float16"]),
        ({"dtype": "float32"}, ["float32", "uint8", "float32"]),
        ({"dtype": {"resources": "float64"}}, ["float64", "uint8", "float32"]),
        (MemmapConfig(use_for_temporal=False), ["float32", "uint8", "float16"]),
        (MemmapConfig(dtype="float64"), ["float64", "uint8", "float64"]),
    ],
)
def test_forages_fields_are_float16_unless_a_dtype_is_said(memmap: Any, expected: list[str]) -> None:
    env = gym.make_vec("memfarm/Forage-v0", num_envs=1, config=None if memmap is None else {"memmap": memmap})
    grids = env.unwrapped.world.grids  # type: ignore[attr-defined]
    assert [grids[group].dtype for group in ("resources", "environmental", "temporal")] == expected
    env.close()


@pytest.mark.parametrize("source", ["dict", "object", "whole dict", "yaml", "yml", "json"])
def test_gymnasiums_specs_stay_json(tmp_path: Path, source: str) -> None:
    config = sources(tmp_path)[source]
    env = gym.make("memfarm/Forage-v0", config=config)
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    for made in (env, again):
        made.reset(seed=3)
    assert again.unwrapped.core.config == env.unwrapped.core.config == ForageConfig.load(config)  # type: ignore[attr-defined]
    steps = [[made.step(action)[0].tobytes() for action in (5, 1, 2, 5)] for made in (env, again)]
    assert steps[0] == steps[1]
    env.close()
    again.close()


def test_the_specs_of_batches_stay_json(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"num_envs": 4, "agents_per_world": 2, "autoreset_mode": AutoresetMode.SAME_STEP}
    for config in sources(tmp_path).values():
        env = gym.make_vec("memfarm/Forage-v0", config=config, **arguments)
        assert env.spec is not None
        kept = json.loads(env.spec.to_json())["kwargs"]
        assert kept["autoreset_mode"] == AutoresetMode.SAME_STEP.value
        kept.pop("vectorization_mode")
        again = gym.make_vec("memfarm/Forage-v0", **kept)
        assert again.unwrapped.config == env.unwrapped.config  # type: ignore[attr-defined]
        env.close()
        again.close()


def test_pettingzoos_door_takes_all_sources(tmp_path: Path) -> None:
    for config in sources(tmp_path).values():
        env = forage_v0.parallel_env(agents=2, config=config)
        assert env.core.config == ForageConfig.from_dict(SETTINGS)
        env.close()


KEYS = [
    ("wrold", "did you mean 'world'"),
    ("world.shap", "did you mean 'shape'"),
    ("world.boundry", "did you mean 'boundary'"),
    ("world.maps", "did you mean 'map'"),
    ("world.max_cycle", "did you mean 'max_cycles'"),
    ("world.sparse", "did you mean 'sparse_channels'"),
    ("agents.bites", "did you mean 'bite'"),
    ("agents.team", "did you mean 'teams'"),
    ("reward.goal", "did you mean 'goal_reward'"),
    ("observation.raduis", "did you mean 'radius'"),
    ("observation.gamma_damage", "did you mean 'gamma_dmg'"),
    ("memmap.directry", "did you mean 'directory'"),
    ("memmap.use_for_resource", "did you mean 'use_for_resources'"),
]


@pytest.mark.parametrize(("path", "allowed"), KEYS, ids=[path for path, _ in KEYS])
def test_every_wrong_key_is_named_with_the_right_one(path: str, allowed: str) -> None:
    section, _, key = path.partition(".")
    config = {section: {key: 1}} if key else {section: {}}
    with pytest.raises(ConfigError) as refusal:
        gym.make("memfarm/Forage-v0", config=config)
    assert f"there is no key {path!r}" in str(refusal.value)
    assert allowed in str(refusal.value)
    with pytest.raises(ConfigError) as refusal:
        ForageConfig().with_overrides({path: 1})
    assert repr(path) in str(refusal.value)
    assert allowed in str(refusal.value)


WRONG: dict[str, list[tuple[Any, str]]] = {
    "world.shape": [((8,), "must be given"), (8, "list"), ("8x8", "list")],
    "world.shape.0": [((0, 8), "greater than or equal to 1"), ((8.0, 8), "integer"), ((2**31, 8), "less than")],
    "world.boundary": [("torus", "'wall' or 'wrap'"), (None, "'wall' or 'wrap'")],
    "world.map": [(3, "a path, a recipe (a mapping) or None"), ("", "a path"), ((1,), "a recipe")],
    "world.max_cycles": [(0, "greater than or equal to 1"), (1.5, "integer"), (None, "integer")],
    "world.sparse_channels": [("TRAILS", "list"), (("A", "A"), "different names")],
    "world.sparse_channels.0": [((1,), "string")],
    "agents.max_energy": [(0.0, "greater than 0"), ("1", "number"), (1e7, "less than or equal to 1000000")],
    "agents.start_energy": [(-1.0, "greater than 0")],
    "agents": [({"start_energy": 2.0}, "start_energy of at most max_energy"), (3, "dictionary")],
    "agents.metabolism": [(-0.1, "greater than or equal to 0"), (True, "number")],
    "agents.terrain_weight": [(-0.1, "greater than or equal to 0")],
    "agents.bite": [(0, "greater than 0")],
    "agents.food_energy": [((), "number")],
    "agents.teams": [(0, "greater than or equal to 1"), (65, "less than or equal to 64"), (1.0, "integer")],
    "agents.goals": [(1, "boolean"), ("yes", "boolean")],
    "reward.energy_weight": [(-1.0, "greater than or equal to 0")],
    "reward.death_penalty": [(float("nan"), "finite")],
    "reward.goal_reward": [(float("inf"), "finite")],
    "observation.radius": [
        (-1, "greater than or equal to 0"),
        (20_000, "less than or equal to 16383"),
        (2.5, "integer"),
    ],
    "observation.channels": [("agentfram", "'agentfarm'"), ((), "one or more"), (("A", "A"), "different"), (7, "list")],
    "observation.channels.1": [(("A", 2), "string")],
    "observation.mask_by_visibility": [(0, "boolean")],
    "observation.gamma_dmg": [(1.0, "less than 1")],
    "observation.gamma_trail": [(-0.5, "greater than or equal to 0")],
    "observation.gamma_sig": [("0.5", "number")],
    "observation.gamma_known": [(2, "less than 1")],
    "observation.memory": [("yes", "boolean")],
    "observation.memory_radius": [(-1, "greater than or equal to 0")],
    "observation.memory_channels": [((), "one or more")],
    "observation.overview": [(16, "list")],
    "memmap.directory": [("", "at least 1 character"), (5, "string")],
    "memmap.dtype": [
        ("uint8", "'float16', 'float32' or 'float64'"),
        (32, "'float16', 'float32' or 'float64', or a mapping of groups"),
        ({"temporal": "uint8"}, "'float16', 'float32' or 'float64' for temporal"),
        ({"temporl": "float32"}, "did you mean 'temporal'"),
        ({"environmental": "int8"}, "'uint8', 'float16', 'float32' or 'float64' for environmental"),
    ],
    "memmap.mode": [("w", "'w+', 'r+', 'r' or 'c'"), (None, "'w+', 'r+', 'r' or 'c'")],
    "memmap.delete_on_close": [(0, "boolean")],
    "memmap.use_for_resources": [("true", "boolean")],
    "memmap.use_for_environmental": [(1, "boolean")],
    "memmap.use_for_temporal": [(None, "boolean")],
    "memmap.use_for_memory": [(2, "boolean")],
    "memmap.use_for_observations": [("no", "boolean")],
}


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [(path, value, allowed) for path, cases in WRONG.items() for value, allowed in cases],
    ids=lambda part: str(part)[:30],
)
def test_every_wrong_value_is_told_with_its_key_what_was_got_and_what_is_allowed(
    tmp_path: Path, path: str, value: Any, allowed: str
) -> None:
    keys = [part for part in path.split(".") if not part.isdigit()]
    config = {keys[0]: value} if len(keys) == 1 else {keys[0]: {keys[1]: value}}
    index = [int(part) for part in path.split(".") if part.isdigit()]
    got = value[index[0]] if index else value
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    for source in (config, file):
        with pytest.raises(ConfigError) as refusal:
            gym.make_vec("memfarm/Forage-v0", num_envs=1, config=source)
        message = str(refusal.value)
        assert len(message.splitlines()) == 1
        assert path in message
        assert allowed in message
        assert f"got {got!r}" in message or len(keys) == 1
    if len(keys) == 2:
        with pytest.raises(ConfigError, match=keys[1]):
            ForageConfig().with_overrides({".".join(keys): value})


def test_the_table_of_wrong_values_misses_no_key() -> None:
    known = {
        f"{section}.{key}"
        for section, field in ForageConfig.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
        for key in field.annotation.model_fields
    }
    assert known <= set(WRONG)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("twice.json", '{"world": {"max_cycles": 1, "max_cycles": 2}}'),
        ("twice.yaml", "world:\n  max_cycles: 1\n  max_cycles: 2\n"),
    ],
)
def test_a_key_comes_once_in_a_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=rf"{name}: a key must come once, got 'max_cycles' 2 times"):
        ForageConfig.load(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("memmap.dtype=float16", {"memmap.dtype": "float16"}),
        ("world.shape=[8, 9]", {"world.shape": [8, 9]}),
        ("world.map=null", {"world.map": None}),
        ("agents.bite=5e-1", {"agents.bite": 0.5}),
        ("memmap.dtype={temporal: float16}", {"memmap.dtype": {"temporal": "float16"}}),
        ("memmap.directory=a=b", {"memmap.directory": "a=b"}),
    ],
)
def test_settings_are_read_as_yaml(text: str, value: Any) -> None:
    assert config_files.settings([text]) == value
    ForageConfig().with_overrides(value)


@pytest.mark.parametrize("texts", [["memmap.dtype"], ["=3"], ["a=[1"], ["a=1", "a=2"]])
def test_settings_that_are_none(texts: list[str]) -> None:
    with pytest.raises(ConfigError, match="got"):
        config_files.settings(texts)


@pytest.mark.parametrize(
    ("setting", "error"),
    [
        ("memmap.dtype=float8", "memmap.dtype must be 'float16', 'float32' or 'float64', got 'float8'"),
        ("memmap.dtyp=float16", "did you mean 'dtype'"),
        ("dtype", "KEY=VALUE"),
    ],
)
def test_the_command_line_refuses_a_wrong_setting_before_it_starts(tmp_path: Path, setting: str, error: str) -> None:
    result = CliRunner().invoke(app, ["demo", "--set", setting, "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, ConfigError)
    assert error in str(result.exception)
    assert not (tmp_path / "out").exists()
