import json
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
import pettingzoo
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.env_match import check_environments_match
from gymnasium.vector import AutoresetMode

from memfarm.envs import forage_v0
from memfarm.envs.doors.registry import ENVIRONMENTS, register
from memfarm.errors import ActionError, ConfigError
from memfarm.wrappers import WindowObservation

with warnings.catch_warnings():  # pettingzoo's own tests import modules that pettingzoo deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from pettingzoo.test import api_test, max_cycles_test, parallel_api_test, parallel_seed_test, render_test, seed_test
    from pettingzoo.test.state_test import state_test

register()

IDS = tuple(ENVIRONMENTS)
FORAGE = "memfarm/Forage-v0"


@pytest.fixture(params=ENVIRONMENTS.values(), ids=IDS)
def doors(request: pytest.FixtureRequest) -> Any:
    return import_module(request.param)


@pytest.fixture
def tracked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], Any]]:
    """Close what the conformance calls leave open."""
    made: list[Any] = []

    def keep(maker: Any) -> Any:
        def make(*args: Any, **kwargs: Any) -> Any:
            made.append(maker(*args, **kwargs))
            return made[-1]

        return make

    yield keep
    while made:
        made.pop().close()


# --- conformance: everything that upstream checks; pytest makes each warning an error


@pytest.mark.parametrize("name", IDS)
def test_gymnasium_check_env(name: str) -> None:
    env = gymnasium.make(name)
    check_env(env.unwrapped)
    env.close()


@pytest.mark.parametrize("name", IDS)
def test_gymnasium_check_environments_match(name: str) -> None:
    one, two = gymnasium.make(name), gymnasium.make(name)
    check_environments_match(one, two, 50)
    one.close()
    two.close()


def test_pettingzoo_parallel_api_test(doors: Any) -> None:
    env = doors.parallel_env()
    parallel_api_test(env, num_cycles=1000)
    env.close()


def test_pettingzoo_api_test(doors: Any) -> None:
    env = doors.env()
    api_test(env, num_cycles=100)
    env.close()


def test_pettingzoo_seed_tests(doors: Any) -> None:
    parallel_seed_test(doors.parallel_env, 50)
    seed_test(doors.env, 50)


def test_pettingzoo_max_cycles_test(doors: Any, monkeypatch: pytest.MonkeyPatch, tracked: Any) -> None:
    monkeypatch.setattr(doors, "parallel_env", tracked(doors.parallel_env))
    monkeypatch.setattr(doors, "env", tracked(doors.env))
    max_cycles_test(doors)


def test_pettingzoo_render_test(doors: Any, tracked: Any) -> None:
    render_test(tracked(doors.env))


def test_pettingzoo_state_test(doors: Any) -> None:
    env, parallel = doors.env(), doors.parallel_env()
    state_test(env, parallel)
    env.close()
    parallel.close()


# --- registration


@pytest.mark.parametrize("name", IDS)
def test_a_fresh_process_makes_it_by_module_and_id(name: str) -> None:
    code = (
        "import gymnasium, sys\n"
        "from memfarm.envs.doors.registry import register; register()\n"  # what `import memfarm` does
        f"env = gymnasium.make('memfarm:{name}'); env.reset(seed=0)\n"
        f"vec = gymnasium.make_vec('memfarm:{name}', num_envs=2); vec.reset(seed=0)\n"
        "env.close(); vec.close()\n"
        "print('torch' in sys.modules)\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False", "NumPy doors must not load torch"


def test_registering_twice_neither_warns_nor_fails() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register()
        register()
    assert set(IDS) <= set(gymnasium.registry)


@pytest.mark.parametrize("name", IDS)
def test_a_spec_survives_json(name: str) -> None:
    env = gymnasium.make(name, radius=2, shape=(24, 32), max_cycles=7)
    assert env.spec is not None
    text = env.spec.to_json()
    again = gymnasium.make(EnvSpec.from_json(text))
    assert again.observation_space.shape == (5, 5, 7)
    assert again.unwrapped.world.shape == (24, 32)  # type: ignore[attr-defined]
    env.close()
    again.close()
    batch = gymnasium.make_vec(name, num_envs=4, agents_per_world=2, autoreset_mode="SameStep")
    assert batch.unwrapped.spec is not None
    kwargs = json.loads(batch.unwrapped.spec.to_json())["kwargs"]
    assert kwargs["agents_per_world"] == 2
    batch.close()


@pytest.mark.skipif(not hasattr(pettingzoo, "make"), reason="PettingZoo before 1.27 has no registry")
@pytest.mark.parametrize("name", IDS)
def test_pettingzoo_makes_it_by_id(name: str) -> None:
    for kind in ("parallel", "aec"):
        env = pettingzoo.make(kind, name, agents=3, max_cycles=5)  # type: ignore[call-overload]
        env.reset(seed=0)
        assert len(env.agents) == 3
        env.close()


# --- what each door says


def test_the_batched_door_makes_worlds_of_agents() -> None:
    env = gymnasium.make_vec(FORAGE, num_envs=6, agents_per_world=3, radius=2)
    core: Any = env.unwrapped
    assert (core.worlds, core.agents_per_world, core.world.copies) == (2, 3, 2)
    assert env.observation_space.shape == (6, 5, 5, 7)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    observations, infos = env.reset(seed=0)
    assert type(observations) is np.ndarray
    assert infos["action_mask"].shape == (6, 6)
    assert infos["action_mask"].dtype == np.int8
    assert infos["_action_mask"].all()
    env.close()


def test_the_batched_door_hands_out_tensors() -> None:
    torch = pytest.importorskip("torch")
    tensors = gymnasium.make_vec(FORAGE, num_envs=3, tensor="torch", autoreset_mode="SameStep", max_cycles=3)
    arrays = gymnasium.make_vec(FORAGE, num_envs=3, tensor="numpy", autoreset_mode="SameStep", max_cycles=3)
    windows, _ = tensors.reset(seed=0)
    arrays.reset(seed=0)
    assert windows.shape == (3, 7, 11, 11)
    assert windows.is_contiguous(memory_format=torch.channels_last)
    for _ in range(3):
        ours, theirs = tensors.step(torch.tensor([1, 2, 5])), arrays.step([1, 2, 5])
        assert np.array_equal(ours[0].permute(0, 2, 3, 1).numpy(), theirs[0])
    final, expected = ours[4]["final_obs"], theirs[4]["final_obs"]
    assert all(np.array_equal(a.permute(1, 2, 0).numpy(), b) for a, b in zip(final, expected, strict=True))
    tensors.close()
    arrays.close()


def test_max_episode_steps_cuts_max_cycles() -> None:
    for asked, limit, expected in ((9, 4, 4), (4, 9, 4)):
        env = gymnasium.make_vec(FORAGE, num_envs=2, max_cycles=asked, max_episode_steps=limit)
        assert env.unwrapped.config.world.max_cycles == expected  # type: ignore[attr-defined]
        env.close()
    env = gymnasium.make_vec(FORAGE, num_envs=2, max_cycles=1000)
    assert env.unwrapped.config.world.max_cycles == 1000  # type: ignore[attr-defined]
    env.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 5, "agents_per_world": 2}, "multiple of agents_per_world=2, got 5"),
        ({"num_envs": 0}, "num_envs must be an int of at least 1, got 0"),
        ({"num_envs": 2, "agents_per_world": -1}, "agents_per_world"),
        ({"num_envs": 2, "radios": 3}, "did you mean 'radius'"),
        ({"num_envs": 2, "tensr": "torch"}, "did you mean 'tensor'"),
        ({"num_envs": 2, "agent_per_world": 2}, "did you mean 'agents_per_world'"),
        ({"num_envs": 2, "tensor": "jax"}, "'torch' or 'numpy'"),
        ({"num_envs": 2, "autoreset_mode": "Never"}, "autoreset_mode"),
        ({"num_envs": 2, "render_mode": "rgb"}, "render_mode"),
        ({"num_envs": 2, "max_episode_steps": 0}, "max_episode_steps"),
        ({"num_envs": 2, "shape": (0, 4)}, "shape"),
        ({"num_envs": 2, "channels": ["NOPE"]}, "NOPE"),
        ({"num_envs": 40, "agents_per_world": 40, "shape": (5, 5), "map": {"kind": "flat"}}, "25 cells for 40"),
    ],
)
def test_wrong_arguments_are_refused_with_the_remedy(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, LookupError), match=message):
        forage_v0.batched(**arguments)


def test_wrong_names_are_refused_at_every_door() -> None:
    with pytest.raises(ConfigError, match="did you mean 'max_cycles'"):
        forage_v0.Single(max_cycle=3)
    with pytest.raises(ConfigError, match="did you mean 'agents'"):
        forage_v0.parallel_env(agent=3)
    with pytest.raises(ConfigError, match="agents must be an int"):
        forage_v0.parallel_env(agents=2.5)  # type: ignore[arg-type]


def test_arguments_lie_on_top_of_a_config() -> None:
    config = {"world": {"shape": [16, 20], "max_cycles": 9}, "memmap": {"use_for_resources": False}}
    env = forage_v0.Single(config=config, max_cycles=3)
    assert env.world.shape == (16, 20)
    assert env.core.config.world.max_cycles == 3
    assert env.world.grids["resources"].backend == "ram"
    env.close()


def test_a_map_brings_its_own_shape(tmp_path: Any) -> None:
    (tmp_path / "arena.map").write_text("type octile\nheight 3\nwidth 4\nmap\n....\n.@@.\n....\n")
    env = forage_v0.parallel_env(agents=10, map=str(tmp_path / "arena.map"))
    env.reset(seed=0)
    assert env.world.shape == (3, 4)
    assert len(set(zip(env.core.agents.y.tolist(), env.core.agents.x.tolist(), strict=True))) == 10
    env.close()


def test_the_parallel_door_refuses_what_is_no_action() -> None:
    env = forage_v0.parallel_env(agents=3)
    env.reset(seed=0)
    good = dict.fromkeys(env.agents, 0)
    before = env.state()
    for wrong, message in (
        ({"forager_0": 0, "forager_2": 0}, "none for 'forager_1'"),
        ({**good, "forager_9": 0}, "no agent 'forager_9'"),
        ({**good, "forager_1": 6}, "got 6 for agent 1"),
        ({**good, "forager_1": 1.0}, "integers"),
        ({**good, "forager_1": None}, "integers"),
        ({**good, "forager_1": [1, 2]}, "one integer"),
    ):
        with pytest.raises(ActionError, match=message):
            env.step(wrong)
    assert np.array_equal(env.state(), before)
    assert env.world.tick == 0
    env.close()


def test_the_dead_of_the_parallel_door_may_be_told_anything() -> None:
    env = forage_v0.parallel_env(agents=2, start_energy=0.01, metabolism=0.02, shape=(8, 8), map={"kind": "flat"})
    env.reset(seed=0)
    eats, starves = env.agents
    for _ in range(3):
        env.step({eats: 5, starves: 0 if starves in env.agents else -77})
    assert env.agents == [eats]
    assert env.step({eats: 5})[2] == {eats: False}
    env.close()


def test_doors_render() -> None:
    single = forage_v0.Single(render_mode="rgb_array", shape=(20, 30))
    single.reset(seed=0)
    assert single.render().dtype == np.uint8
    batch = forage_v0.batched(4, agents_per_world=2, render_mode="ansi")
    batch.reset(seed=0)
    frames = batch.render()
    assert frames is not None
    assert len(frames) == 2
    assert all("@" in str(frame) for frame in frames)
    single.close()
    batch.close()


def test_doors_survive_pickling() -> None:
    batch = forage_v0.batched(4, agents_per_world=2, max_cycles=5)
    core = pickle.loads(pickle.dumps(batch.unwrapped))
    windows = WindowObservation(core, tensor="numpy")
    assert np.array_equal(windows.reset(seed=3)[0], batch.reset(seed=3)[0])
    windows.close()
    batch.close()
    for env in (forage_v0.Single(max_cycles=5), forage_v0.parallel_env(agents=3, max_cycles=5)):
        again = pickle.loads(pickle.dumps(env))
        first, second = env.reset(seed=1), again.reset(seed=1)
        assert str(first) == str(second)
        env.close()
        again.close()
