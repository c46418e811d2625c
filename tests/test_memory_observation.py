from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

import memfarm
from memfarm.config import MemmapConfig
from memfarm.envs import forage_v0
from memfarm.envs.base import GridEnv
from memfarm.envs.forage import Forage
from memfarm.errors import ActionError, ChannelError, ClosedError, ConfigError
from memfarm.memory import EMPTY_BELOW
from memfarm.wrappers import MemoryObservation, WindowObservation

gymnasium.register_envs(memfarm)

MODES = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)
CLOSE = 2e-3  # float16 shares
BRIEF = {"metabolism": 0.11, "food_energy": 0.3, "max_cycles": 11}
"""Rules by which some starve and all are truncated, within a few steps."""


def forage(mode: AutoresetMode, **world: Any) -> GridEnv:
    body = {"metabolism": BRIEF["metabolism"], "food_energy": BRIEF["food_energy"]}
    config = {"world": {"shape": (19, 23), "max_cycles": BRIEF["max_cycles"], **world}, "agents": body}
    return Forage(config, worlds=2, agents_per_world=4, autoreset_mode=mode)


class Dense:
    """A whole map for every agent of an environment, from the windows that it was shown, cell by cell."""

    def __init__(self, core: Any, columns: tuple[str, ...], kept: tuple[str, ...], gamma: float) -> None:
        self.core, self.columns, self.kept, self.gamma = core, columns, kept, gamma
        self.maps = np.zeros((core.num_envs, *core.world.shape, len(kept)))
        self.life, self.tick = core.agents.life.copy(), core.world.tick

    def catch_up(self) -> None:
        reborn = self.core.agents.life != self.life
        self.maps[reborn] = 0
        self.life = self.core.agents.life.copy()
        if "KNOWN_EMPTY" in self.kept:
            self.maps[..., self.kept.index("KNOWN_EMPTY")] *= self.gamma ** (self.core.world.tick - self.tick)
        self.tick = self.core.world.tick

    def cells(self, n: int, radius: int) -> list[tuple[int, int, int, int]]:
        agents, (height, width) = self.core.agents, self.core.world.shape
        around = []
        for i, j in np.ndindex(2 * radius + 1, 2 * radius + 1):
            y, x = int(agents.y[n]) - radius + i, int(agents.x[n]) - radius + j
            if self.core.world.boundary == "wrap":
                around.append((i, j, y % height, x % width))
            elif 0 <= y < height and 0 <= x < width:
                around.append((i, j, y, x))
        return around

    def see(self, n: int, window: NDArray[np.float32], masked: bool) -> None:
        for i, j, y, x in self.cells(n, len(window) // 2):
            shown = dict(zip(self.columns, window[i, j], strict=True))
            if masked and shown["VISIBILITY"] == 0:
                continue
            contents = {name: bound for name, bound in EMPTY_BELOW.items() if name in shown}
            shown["KNOWN_EMPTY"] = np.float32(all(shown[name] < bound for name, bound in contents.items()))
            self.maps[n, y, x] = [shown[name] for name in self.kept]

    def window(self, n: int, radius: int) -> NDArray[np.float64]:
        out = np.zeros((2 * radius + 1, 2 * radius + 1, len(self.kept)))
        for i, j, y, x in self.cells(n, radius):
            out[i, j] = self.maps[n, y, x]
        return out


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("boundary", "masked", "radius"), [("wall", False, 4), ("wrap", True, 2), ("wrap", False, 12)])
def test_what_is_remembered_is_what_was_seen_in_this_life(
    mode: AutoresetMode, boundary: str, masked: bool, radius: int
) -> None:
    core = forage(mode, boundary=boundary)
    rng = np.random.default_rng(0)
    core.world.set_environmental_layer("VISIBILITY", rng.random(core.world.shape) < 0.6)
    windows = WindowObservation(core, 2, tensor="numpy", mask_by_visibility=masked, gamma_known=0.9)
    env = MemoryObservation(windows, radius)
    dense = Dense(core, windows.channels, env.memory.channels, 0.9)
    observation, _ = env.reset(seed=3)
    lives = deaths = 0
    for _ in range(40):
        before = dense.life
        dense.catch_up()
        for n in range(core.num_envs):
            dense.see(n, observation["window"][n], masked)
            expected = dense.window(n, radius)
            np.testing.assert_allclose(observation["memory"][n], expected, atol=CLOSE)
        assert observation in env.observation_space
        lives += int((dense.life != before).sum())
        observation, _, terminated, truncated, infos = env.step(env.action_space.sample())
        deaths += int(terminated.sum())
        over = terminated | truncated
        if mode is AutoresetMode.SAME_STEP and over.any():
            dense.life = core.agents.life.copy()  # the old lives see once more
            dense.catch_up()
            for n in np.flatnonzero(over):
                ended = infos["final_obs"][n]
                assert set(ended) == {"window", "memory", "overview"}
                assert ended["memory"].any()
                dense.life[n] -= 1
        if mode is AutoresetMode.DISABLED and over.any():
            dense.catch_up()
            for n in range(core.num_envs):
                dense.see(n, observation["window"][n], masked)
            observation, _ = env.reset(options={"reset_mask": over})
    assert lives > 16
    assert deaths > 3
    env.close()


def test_the_last_observation_of_a_life_has_its_memory() -> None:
    core = forage(AutoresetMode.SAME_STEP)
    env = MemoryObservation(WindowObservation(core, 2, tensor="numpy"), 12)
    observation, _ = env.reset(seed=3)
    known = np.count_nonzero(observation["memory"], axis=(1, 2, 3))
    finals = 0
    for _ in range(30):
        observation, _, terminated, truncated, infos = env.step(env.action_space.sample())
        now = np.count_nonzero(observation["memory"], axis=(1, 2, 3))
        for n in np.flatnonzero(terminated | truncated):
            final = infos["final_obs"][n]
            for name, part in final.items():
                assert part.shape == env.single_observation_space[name].shape
            assert np.count_nonzero(final["memory"]) > known[n] * 0.8
            assert now[n] <= 25 * 4, "a new life knows what it sees"
            finals += 1
        known = now
    assert finals > 16
    env.close()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint8"])
def test_tensors_are_the_arrays_permuted(dtype: str) -> None:
    observations: dict[str, Any] = {}
    for tensor in ("numpy", "torch"):
        windows = WindowObservation(forage(MODES[0]), 3, tensor=tensor, dtype=dtype if tensor == "torch" else "float32")
        env = MemoryObservation(windows, 5, ["OBSTACLES", "KNOWN_EMPTY"], overview=(4, 5))
        env.reset(seed=1)
        observations[tensor] = env.step(np.zeros(8, np.int64))[0]
        for name, part in observations[tensor].items():
            assert tuple(part.shape[1:]) == env.single_observation_space[name].shape
            assert tuple(part.shape) == env.observation_space[name].shape
        env.close()
    for name, array in observations["numpy"].items():
        tensor = observations["torch"][name]
        assert tensor.dtype == getattr(torch, dtype)
        wide = torch.from_numpy(np.ascontiguousarray(array)).permute(0, 3, 1, 2)
        expected = (wide * 255).round() if dtype == "uint8" else wide
        assert torch.equal(tensor, expected.to(tensor.dtype))
    assert observations["torch"]["memory"].is_contiguous(memory_format=torch.channels_last)


def address(part: Any) -> int:
    return int(part.data_ptr() if isinstance(part, torch.Tensor) else part.ctypes.data)


@pytest.mark.parametrize("tensor", ["numpy", "torch"])
def test_every_observation_is_memory_of_its_own_unless_copy_is_off(tensor: Any) -> None:
    for copy in (True, False):
        env = MemoryObservation(WindowObservation(forage(MODES[0]), 2, tensor=tensor, copy=copy))
        kept = [env.reset(seed=0)[0], *(env.step(env.action_space.sample())[0] for _ in range(5))]
        for name in ("window", "memory", "overview"):
            assert len({address(one[name]) for one in kept}) == (6 if copy else 1)
        env.close()


def test_windows_and_everything_else_stay_as_they_are_without_memory() -> None:
    plain = WindowObservation(forage(MODES[0]), 3, tensor="numpy")
    env = MemoryObservation(WindowObservation(forage(MODES[0]), 3, tensor="numpy"), overview=None)
    one, other = plain.reset(seed=5), env.reset(seed=5)
    assert set(other[0]) == {"window", "memory"}
    np.testing.assert_array_equal(one[0], other[0]["window"])
    rng = np.random.default_rng(0)
    for _ in range(20):
        actions = rng.integers(0, 6, 8)
        one, other = plain.step(actions), env.step(actions)
        np.testing.assert_array_equal(one[0], other[0]["window"])
        for left, right in zip(one[1:4], other[1:4], strict=True):
            np.testing.assert_array_equal(left, right)
        assert one[4].keys() == other[4].keys()
    plain.close()
    env.close()


def test_the_overview_shows_what_was_seen_and_is_wiped_with_the_memory() -> None:
    core = forage(MODES[0])
    env = MemoryObservation(WindowObservation(core, 1, tensor="numpy"), channels=["OBSTACLES"], overview=(19, 23))
    first = env.reset(seed=0)[0]
    agents = core.agents
    for n in range(core.num_envs):
        y, x = int(agents.y[n]), int(agents.x[n])
        top, left = max(y - 1, 0), max(x - 1, 0)
        part = first["overview"][n, top : y + 2, left : x + 2, 0]
        ground = core.world.environmental.grid.read("OBSTACLES", top, min(y + 2, 19), left, min(x + 2, 23))
        np.testing.assert_allclose(part, ground, atol=CLOSE)
        assert np.count_nonzero(first["overview"][n]) == np.count_nonzero(part)
    assert env.memory.overview_shape == (19, 23)
    env.close()


def test_windows_are_written_next_to_where_they_are_wanted() -> None:
    env = MemoryObservation(WindowObservation(forage(MODES[0]), 2))
    slot = np.zeros((8, 5, 5, 7), np.float32)
    env.write_next_to(slot)
    observation = env.reset(seed=0)[0]
    assert address(observation["window"]) == slot.ctypes.data
    env.close()


def test_a_refused_action_changes_no_memory() -> None:
    env = MemoryObservation(WindowObservation(forage(MODES[0]), 2, tensor="numpy"), 9)
    env.reset(seed=0)
    agents = env.unwrapped.agents  # type: ignore[attr-defined]
    before = env.memory.observe(np.arange(8), agents.y, agents.x, 9)
    with pytest.raises(ActionError):
        env.step(np.full(8, 99))
    with pytest.raises(ConfigError):
        env.reset(options={"reset_mask": np.zeros(3, np.bool_)})
    np.testing.assert_array_equal(env.memory.observe(np.arange(8), agents.y, agents.x, 9), before)
    env.close()
    with pytest.raises(ClosedError):
        env.memory.forget()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"radius": -1}, ConfigError, "radius"),
        ({"channels": "TRAILS"}, ConfigError, r"pass \['TRAILS'\]"),
        ({"channels": []}, ConfigError, "one or more names"),
        ({"channels": ["DAMAGE_HEAT"]}, ChannelError, "only what windows show can be remembered, got 'DAMAGE_HEAT'"),
        ({"overview": (0, 4)}, ConfigError, "overview must be"),
    ],
)
def test_bad_arguments_are_refused_at_construction(arguments: dict[str, Any], error: Any, message: str) -> None:
    windows = WindowObservation(forage(MODES[0]), 2, tensor="numpy")
    with pytest.raises(error, match=message):
        MemoryObservation(windows, **arguments)
    assert windows.memory is None
    assert windows.reset(seed=0)[0].shape == (8, 5, 5, 7)
    windows.close()


def test_an_environment_without_a_world_or_lives_is_refused() -> None:
    plain = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")])
    with pytest.raises(ConfigError, match="a world and agents, got SyncVectorEnv"):
        MemoryObservation(plain)
    plain.close()


def test_anything_with_a_world_is_wrapped_in_windows_first() -> None:
    env = MemoryObservation(forage(MODES[0]))
    assert isinstance(env.env, WindowObservation)
    assert env.reset(seed=0)[0]["memory"].shape == (8, 4, 11, 11)
    env.close()


DOORS: dict[str, Callable[..., Any]] = {
    "single": lambda **a: gymnasium.make("memfarm/Forage-v0", **a).unwrapped,
    "batched": lambda **a: gymnasium.make_vec("memfarm/Forage-v0", num_envs=4, agents_per_world=2, **a),
    "parallel": lambda **a: forage_v0.parallel_env(agents=3, **a),
}


@pytest.mark.parametrize("door", list(DOORS))
def test_the_doors_have_memory_by_argument(door: str) -> None:
    env = DOORS[door](
        shape=(20, 20), radius=2, memory=True, memory_radius=4, memory_channels=("TRAILS",), overview=(4, 6)
    )
    space = {"parallel": lambda: env.observation_space("forager_0"), "single": lambda: env.observation_space}.get(
        door, lambda: env.single_observation_space
    )()
    assert {name: part.shape for name, part in space.items()} == {
        "window": (5, 5, 7),
        "memory": (9, 9, 1),
        "overview": (4, 6, 1),
    }
    observation = env.reset(seed=0)[0]
    if door == "parallel":
        observation = observation["forager_2"]
        assert observation in space
        observation = env.step(dict.fromkeys(env.agents, 0))[0]["forager_0"]
    if door != "batched":
        assert observation in space
    else:
        assert observation in env.observation_space
    env.close()
    with pytest.raises(ConfigError, match="memory_radius"):
        DOORS[door](memory=True, memory_radius=-1)
    with pytest.raises(ConfigError, match="did you mean 'memory'"):
        DOORS[door](memry=True)


def test_a_single_environment_with_memory_keeps_gymnasiums_contract() -> None:
    env = gymnasium.make("memfarm/Forage-v0", shape=(20, 20), memory=True)
    check_env(env.unwrapped)
    assert env.spec is not None
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.observation_space == env.observation_space
    again.close()
    env.close()


def test_memory_lies_where_the_configuration_says() -> None:
    for on_disk in (True, False):
        config = {"memmap": {"use_for_memory": on_disk}}
        env = gymnasium.make_vec("memfarm/Forage-v0", num_envs=2, shape=(20, 20), memory=True, config=config)
        assert isinstance(env, MemoryObservation)
        assert env.memory.grid.backend == ("memmap" if on_disk else "ram")
        env.close()
    assert MemmapConfig().use_for_memory
