import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from memfarm.channels import GROUPS
from memfarm.errors import ChannelError, ConfigError, DTypeError, ShapeError
from memfarm.windows import WindowCutter
from memfarm.world import World
from memfarm.wrappers import DEFAULT_CHANNELS, WindowObservation
from memfarm.wrappers.tensors import DeviceTensors
from memfarm.wrappers.unit_box import UnitBox

COPIES = 2
HIDDEN = {"ALLIES_HP", "RESOURCES", "DAMAGE_HEAT", "TRAILS", "ALLY_SIGNAL"}


@dataclass
class Bodies:
    copy: NDArray[np.int32]
    y: NDArray[np.int32]
    x: NDArray[np.int32]
    alive: NDArray[np.bool_]
    hp: NDArray[np.float32]


class Crowd(VectorEnv[Any, Any, Any]):
    """Agents that drift about a world of random layers; an action of 9 kills, and one of 8 truncates."""

    def __init__(
        self,
        agents: int = 12,
        shape: tuple[int, int] = (13, 17),
        boundary: Any = "wall",
        seed: int = 0,
        mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.num_envs = agents
        self.metadata = {"autoreset_mode": mode}
        self.single_observation_space = spaces.Box(0, 1, (2,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, agents)
        self.single_action_space = spaces.Discrete(10)
        self.action_space = batch_space(self.single_action_space, agents)
        self.on_final: Any = None
        self.world = World(shape, copies=COPIES, boundary=boundary)
        for group in GROUPS:
            for name in self.world.grids[group].names:
                for copy in range(self.world.grids[group].copies):
                    values = self.rng.random(shape).astype(np.float32)
                    self.world.grids[group].write(name, values, copy=copy)
        cells = self.rng.choice(shape[0] * shape[1], agents, replace=False)
        y, x = np.divmod(cells.astype(np.int32), np.int32(shape[1]))
        copy = np.arange(agents, dtype=np.int32) % COPIES
        hp = self.rng.uniform(0.1, 1, agents).astype(np.float32)
        self.agents = Bodies(copy, y, x, self.rng.random(agents) < 0.8, hp)
        self.got: Any = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return np.zeros((self.num_envs, 2), np.float32), {"seed": seed, "options": options}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.got = actions
        self.world.advance()
        infos: dict[str, Any] = {}
        ended = np.asarray(actions) >= 8
        self.agents.alive &= np.asarray(actions) != 9
        if ended.any() and self.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP:
            index = np.flatnonzero(ended)
            infos = {"final_obs": np.full(self.num_envs, None, object), "_final_obs": ended}
            for n, row in zip(index, self.on_final(index), strict=True):
                infos["final_obs"][n] = row
            self.agents.alive |= ended
            self.agents.hp[ended] = 1.0
        nothing = np.zeros(self.num_envs)
        return np.zeros((self.num_envs, 2), np.float32), nothing, ended, ended, infos

    def close_extras(self, **kwargs: Any) -> None:
        self.world.close()


def reference(env: Crowd, channels: tuple[str, ...], radius: int, masked: bool = False) -> NDArray[np.float32]:
    """The windows as the contract words them: one agent, one channel, one np.pad at a time."""
    world, agents = env.world, env.agents
    height, width = world.shape
    side = 2 * radius + 1
    out = np.zeros((env.num_envs, side, side, len(channels)), np.float32)

    def window(layer: NDArray[np.float32], n: int, outside: float) -> NDArray[np.float32]:
        wide = {"wall": {"constant_values": outside}, "wrap": {}}[world.boundary]
        padded = np.pad(layer, radius, mode="constant" if wide else "wrap", **wide)
        return padded[agents.y[n] : agents.y[n] + side, agents.x[n] : agents.x[n] + side]

    def stored(name: str, n: int) -> NDArray[np.float32]:
        grid = world.grid_of(name)
        channel = world.channels[name]
        layer = grid.read(name, 0, height, 0, width, copy=agents.copy[n] if grid.copies > 1 else 0)
        return window((layer - channel.low) / (channel.high - channel.low), n, channel.outside)

    for n in range(env.num_envs):
        for c, name in enumerate(channels):
            if name == "SELF_HP":
                out[n, radius, radius, c] = agents.hp[n] * agents.alive[n]
                continue
            if name == "ALLIES_HP":
                layer = np.zeros(world.shape, np.float32)
                for m in np.flatnonzero(agents.alive & (agents.copy == agents.copy[n])):
                    layer[agents.y[m], agents.x[m]] = max(layer[agents.y[m], agents.x[m]], agents.hp[m])
                out[n, :, :, c] = window(layer, n, 0.0)
                out[n, radius, radius, c] = 0.0
            else:
                out[n, :, :, c] = stored(name, n)
            if masked and name in HIDDEN:
                out[n, :, :, c] *= stored("VISIBILITY", n)
    return out


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    env = Crowd()
    yield env
    env.close()


STILL = np.zeros(12, np.int64)


@given(
    seed=st.integers(0, 1000),
    boundary=st.sampled_from(["wall", "wrap"]),
    radius=st.integers(0, 4),
    masked=st.booleans(),
    channels=st.none()
    | st.lists(st.sampled_from([*DEFAULT_CHANNELS, "DAMAGE_HEAT", "CAPACITY"]), min_size=1, unique=True),
)
@settings(max_examples=40)
def test_windows_are_those_of_the_reference(
    seed: int, boundary: str, radius: int, masked: bool, channels: list[str] | None
) -> None:
    with_env = Crowd(seed=seed, boundary=boundary)
    try:
        env = WindowObservation(with_env, radius, channels, tensor="numpy", mask_by_visibility=masked)
        names = DEFAULT_CHANNELS if channels is None else tuple(channels)
        observation, _ = env.reset()
        np.testing.assert_allclose(observation, reference(with_env, names, radius, masked), atol=2e-6)
        observation = env.step(STILL)[0]
        np.testing.assert_allclose(observation, reference(with_env, names, radius, masked), atol=2e-5)
        assert observation in env.observation_space
    finally:
        with_env.close()


def test_a_dead_agent_sees_where_it_died_and_is_nobodys_ally(crowd: Crowd) -> None:
    crowd.agents.alive[:] = True
    crowd.agents.copy[:2] = 0
    crowd.agents.y[:2], crowd.agents.x[:2] = (5, 5), (5, 6)
    env = WindowObservation(crowd, 2, ["SELF_HP", "ALLIES_HP", "OBSTACLES"], tensor="numpy")
    before = env.reset()[0]
    assert before[0, 2, 3, 1] == crowd.agents.hp[1]
    after = env.step(np.where(np.arange(12) == 1, 9, 0))[0]
    assert after[0, 2, 3, 1] == 0.0
    assert after[1, 2, 2, 0] == 0.0
    assert after[0, 2, 2, 0] == crowd.agents.hp[0]
    np.testing.assert_array_equal(after[1, :, :, 2], before[1, :, :, 2])
    assert after[1, :, :, 2].any()


def of_dtype(arrays: NDArray[np.float32], dtype: str) -> torch.Tensor:
    """What windows `(N, S, S, C)` are as a tensor of `dtype`, by torch's own rounding."""
    tensor = torch.from_numpy(arrays).permute(0, 3, 1, 2)
    return (tensor * 255).round().to(torch.uint8) if dtype == "uint8" else tensor.to(getattr(torch, dtype))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "uint8"])
@pytest.mark.parametrize("copy", [True, False])
def test_tensors_are_the_arrays_permuted_in_channels_last(crowd: Crowd, dtype: str, copy: bool) -> None:
    arrays = WindowObservation(crowd, 3, tensor="numpy").reset()[0]
    env = WindowObservation(crowd, 3, dtype=dtype, copy=copy)
    for tensor in (env.reset()[0], env.reset()[0]):
        assert tensor.shape == (12, 7, 7, 7)
        assert tensor.dtype == getattr(torch, dtype)
        assert tensor.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(tensor, of_dtype(arrays, dtype))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "uint8"])
def test_windows_are_cut_into_the_memory_of_their_tensor(
    crowd: Crowd, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, places = WindowCutter.__call__, []

    def noted(self: WindowCutter, *arguments: Any) -> Any:
        out = cut(self, *arguments)
        places.append((address(out), out.nbytes))
        return out

    monkeypatch.setattr(WindowCutter, "__call__", noted)
    env = WindowObservation(crowd, 2, dtype=dtype)
    kept = [env.reset()[0], env.step(STILL)[0]]
    assert places == [(address(one), one.nbytes) for one in kept]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "uint8"])
def test_another_device_gets_its_tensors_there(crowd: Crowd, dtype: str) -> None:
    env = WindowObservation(crowd, 3, device="meta", dtype=dtype)
    tensor = env.reset()[0]
    assert tensor.device.type == "meta"
    assert tensor.shape == (12, 7, 7, 7)
    assert tensor.dtype == getattr(torch, dtype)


@pytest.mark.parametrize("tensor", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "uint8"])
def test_every_observation_is_memory_of_its_own_unless_copy_is_off(crowd: Crowd, tensor: Any, dtype: str) -> None:
    if tensor == "numpy":
        dtype = "float32"
    env = WindowObservation(crowd, 1, tensor=tensor, dtype=dtype)
    kept = [env.reset()[0], *(env.step(STILL)[0] for _ in range(5))]
    places = [address(one) for one in kept]
    assert len(set(places)) == 6
    snapshots = [one.clone() if tensor == "torch" else one.copy() for one in kept]
    env.step(STILL)
    assert all(bool((one == then).all()) for one, then in zip(kept, snapshots, strict=True))
    del kept
    assert address(env.step(STILL)[0]) in places, "memory that nothing refers to is used again"
    lent = WindowObservation(crowd, 1, tensor=tensor, dtype=dtype, copy=False)
    assert len({address(one) for one in [lent.reset()[0], lent.step(STILL)[0], lent.step(STILL)[0]]}) == 1


def address(one: Any) -> int:
    return int(one.data_ptr() if isinstance(one, torch.Tensor) else one.ctypes.data)


def test_spaces_describe_what_is_returned(crowd: Crowd) -> None:
    arrays = WindowObservation(crowd, 2, tensor="numpy")
    assert arrays.single_observation_space == spaces.Box(0, 1, (5, 5, 7), np.float32)
    assert arrays.observation_space == batch_space(arrays.single_observation_space, 12)
    assert arrays.reset()[0] in arrays.observation_space
    tensors = WindowObservation(crowd, 2, ["TRAILS", "RESOURCES"])
    assert tensors.single_observation_space.shape == (2, 5, 5)
    assert tensors.observation_space.shape == (12, 2, 5, 5)
    assert tensors.reset()[0].numpy() in tensors.observation_space
    assert WindowObservation(crowd, 2, dtype="float16").observation_space.dtype == np.float16
    assert WindowObservation(crowd, 2, dtype="bfloat16").observation_space.dtype == np.float32
    colours = WindowObservation(crowd, 2, dtype="uint8")
    assert colours.observation_space == spaces.Box(0, 255, (12, 7, 5, 5), np.uint8)
    assert colours.reset()[0].numpy() in colours.observation_space
    assert arrays.action_space == crowd.action_space


def test_a_unit_box_is_a_box_without_the_memory() -> None:
    import copy
    import pickle

    space = UnitBox((100_000, 7, 11, 11))
    assert space.low.base is not None
    assert space.low.strides == space.bounded_above.strides == (0, 0, 0, 0)
    small = UnitBox((2, 3), np.float16)
    assert small == spaces.Box(0, 1, (2, 3), np.float16)
    assert UnitBox((2, 3), np.uint8) == spaces.Box(0, 255, (2, 3), np.uint8)
    assert repr(small) == repr(spaces.Box(0, 1, (2, 3), np.float16))
    small.seed(3)
    for twin in (pickle.loads(pickle.dumps(small)), copy.deepcopy(small)):
        assert twin == small
        assert twin.low.strides == (0, 0)
        np.testing.assert_array_equal(twin.sample(), copy.deepcopy(small).sample())
    assert small.sample() in small
    assert np.full((2, 3), 1.5, np.float16) not in small
    assert small.is_bounded()


@pytest.mark.parametrize("form", ["array", "tensor NHWC", "tensor NCHW"])
@pytest.mark.parametrize("tensor", ["numpy", "torch"])
@pytest.mark.parametrize("radius", [0, 2, 3])  # 3: the side is the number of channels
def test_windows_are_written_next_to_where_they_are_wanted(crowd: Crowd, form: str, tensor: Any, radius: int) -> None:
    side = 2 * radius + 1
    rollout = np.full((4, 12, side, side, 7), -1, np.float32)
    env = WindowObservation(crowd, radius, tensor=tensor)
    for slot in rollout[:3]:
        buffer = {
            "array": slot,
            "tensor NHWC": torch.from_numpy(slot),
            "tensor NCHW": torch.from_numpy(slot).permute(0, 3, 1, 2),
        }[form]
        env.write_next_to(buffer)
        observation = env.step(STILL)[0]
        assert address(observation) == slot.ctypes.data
        np.testing.assert_allclose(slot, reference(crowd, DEFAULT_CHANNELS, radius), atol=2e-5)
    assert (rollout[3] == -1).all()
    before = rollout.copy()
    assert address(env.step(STILL)[0]) not in [slot.ctypes.data for slot in rollout]
    np.testing.assert_array_equal(rollout, before)


def test_one_channel_may_be_written_next_to_as_well(crowd: Crowd) -> None:
    env = WindowObservation(crowd, 1, ["TRAILS"])
    rollout = torch.zeros(12, 1, 3, 3)
    env.write_next_to(rollout)
    env.reset()
    np.testing.assert_allclose(rollout.permute(0, 2, 3, 1).numpy(), reference(crowd, ("TRAILS",), 1), atol=2e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "uint8"])
def test_rounded_windows_are_written_next_to_in_float32(crowd: Crowd, dtype: str) -> None:
    env = WindowObservation(crowd, 2, dtype=dtype)
    slot = np.zeros((12, 5, 5, 7), np.float32)
    env.write_next_to(slot)
    observation = env.reset()[0]
    np.testing.assert_allclose(slot, reference(crowd, DEFAULT_CHANNELS, 2), atol=2e-6)
    assert torch.equal(observation, of_dtype(slot, dtype))


@pytest.mark.parametrize(
    ("buffer", "error"),
    [
        (np.zeros((12, 5, 5, 6), np.float32), ShapeError),
        (np.zeros((12, 5, 5, 7), np.float64), DTypeError),
        (np.zeros((12, 7, 5, 5), np.float32).transpose(0, 2, 3, 1), ShapeError),
        (np.broadcast_to(np.float32(0), (12, 5, 5, 7)), ShapeError),
        (torch.zeros(12, 7, 5, 5), ShapeError),
        (torch.zeros(12, 5, 5), ShapeError),
        (torch.zeros(12, 5, 5, 7, dtype=torch.float16), DTypeError),
        (torch.zeros(12, 5, 5, 7, device="meta"), DTypeError),
        (torch.zeros(12, 5, 5, 7, requires_grad=True), DTypeError),
        ([1, 2], DTypeError),
        (None, DTypeError),
    ],
)
def test_a_buffer_that_does_not_fit_is_refused_and_changes_nothing(crowd: Crowd, buffer: Any, error: Any) -> None:
    env = WindowObservation(crowd, 2)
    with pytest.raises(error):
        env.write_next_to(buffer)
    np.testing.assert_allclose(
        env.reset()[0].permute(0, 2, 3, 1).numpy(), reference(crowd, DEFAULT_CHANNELS, 2), atol=2e-6
    )


@pytest.mark.parametrize(
    "kind", [("numpy", "float32"), ("torch", "float32"), ("torch", "bfloat16"), ("torch", "uint8")]
)
@pytest.mark.parametrize("copy", [True, False])
def test_ended_agents_last_windows_come_before_their_next_life(kind: tuple[Any, str], copy: bool) -> None:
    core = Crowd(mode=AutoresetMode.SAME_STEP)
    env = WindowObservation(core, 2, tensor=kind[0], dtype=kind[1], copy=copy)
    before = env.reset()[0]
    died = int(np.flatnonzero(core.agents.alive)[0])
    hp = core.agents.hp.copy()
    after, *_, infos = env.step(np.where(np.arange(12) == died, 9, 0))
    final = infos["final_obs"][died]
    assert type(final) is type(after)
    assert final.dtype == after.dtype
    assert final.shape == env.single_observation_space.shape
    centre = (2, 2, 0) if kind[0] == "numpy" else (0, 2, 2)
    assert final[centre] == 0.0
    assert after[(died, *centre)] == (255 if kind[1] == "uint8" else 1.0), "the next life"
    assert hp[died] < 1.0
    assert [n for n in range(12) if infos["final_obs"][n] is not None] == [died]
    del before
    kept = final.clone() if kind[0] == "torch" else final.copy()
    env.step(np.full(12, 8))
    assert bool((final == kept).all()), "no later step writes there"
    core.close()


def test_the_last_windows_of_a_few_are_those_rows_of_all(crowd: Crowd) -> None:
    env = WindowObservation(crowd, 2, tensor="numpy")
    rows = np.array([3, 1, 11])
    np.testing.assert_array_equal(env.final_windows(rows), env.reset()[0][rows])


def test_same_step_without_on_final_is_refused() -> None:
    core = Crowd(mode=AutoresetMode.SAME_STEP)
    del core.on_final
    with pytest.raises(ConfigError, match="on_final"):
        WindowObservation(core)
    core.close()


def test_a_dropped_wrapper_lets_its_memory_and_its_environment_go() -> None:
    core = Crowd()
    first = WindowObservation(core, tensor="numpy")
    second = WindowObservation(core, tensor="numpy")
    gone = weakref.ref(first)
    gc.disable()
    try:
        del first
        assert gone() is None
        assert core.on_final is not None, "the second one's"
        del second
        assert core.on_final is None
    finally:
        gc.enable()
    core.close()


def test_infos_flags_seeds_and_actions_pass_through(crowd: Crowd) -> None:
    env = WindowObservation(crowd, 1)
    assert env.reset(seed=3, options={"a": 1})[1] == {"seed": 3, "options": {"a": 1}}
    env.step(torch.full((12,), 2))
    assert type(crowd.got) is np.ndarray
    np.testing.assert_array_equal(crowd.got, np.full(12, 2))
    env.step(STILL)
    assert crowd.got is STILL


def test_a_new_world_is_seen(crowd: Crowd) -> None:
    env = WindowObservation(crowd, 1, tensor="numpy")
    env.reset()
    old, crowd.world = crowd.world, World(crowd.world.shape, copies=COPIES)
    old.close()
    observation = env.reset()[0]
    np.testing.assert_allclose(observation, reference(crowd, DEFAULT_CHANNELS, 1), atol=2e-6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"radius": -1}, ConfigError, "radius"),
        ({"radius": True}, ConfigError, "radius"),
        ({"channels": "TRAILS"}, ConfigError, r"pass \['TRAILS'\]"),
        ({"channels": []}, ConfigError, "channels"),
        ({"channels": ["TRAIL"]}, ChannelError, "did you mean 'TRAILS'"),
        ({"channels": ["TRAILS", "TRAILS"]}, ConfigError, "different"),
        ({"tensor": "jax"}, ConfigError, "'torch' or 'numpy', got 'jax'"),
        ({"dtype": "float64"}, ConfigError, "float32, float16, bfloat16, uint8, got 'float64'"),
        ({"device": "nowhere"}, ConfigError, "'nowhere'"),
        ({"tensor": "numpy", "dtype": "float16"}, ConfigError, "float16 on cpu"),
        ({"tensor": "numpy", "device": "cuda"}, ConfigError, "float32 on cuda"),
        ({"threads": 0}, ConfigError, "threads"),
    ],
)
def test_bad_arguments_are_refused_at_construction(
    crowd: Crowd, arguments: dict[str, Any], error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        WindowObservation(crowd, **arguments)
    assert crowd.on_final is None


@pytest.mark.parametrize("copy", [True, False])
def test_tensors_of_a_device_are_copies_of_the_one_buffer_on_the_host(copy: bool) -> None:
    outlet = DeviceTensors((2, 3, 3, 4), torch.device("cpu"), "bfloat16", copy)  # the host plays the device
    results = []
    for buffer, bits in ((outlet.buffer(), 0x3E80), (outlet.buffer32(), 0.5)):
        buffer[:] = bits
        results.append(outlet.hand_out(buffer))
    final = outlet.hand_out_fresh(buffer)
    buffer[:] = 1.0
    outlet.buffer()[:] = 0x3F80
    assert [float(tensor.mean()) for tensor in results] == ([0.25, 0.5] if copy else [0.5, 0.5])
    assert float(final.mean()) == 0.5
    for tensor in (*results, final):
        assert tensor.shape == (2, 4, 3, 3)
        assert tensor.dtype == torch.bfloat16
        assert tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_this_machine_lacks_is_refused(crowd: Crowd) -> None:
    with pytest.raises(ConfigError, match="device must be one that torch can use here"):
        WindowObservation(crowd, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint8"])
@pytest.mark.parametrize("copy", [True, False])
def test_an_accelerators_tensors_are_the_arrays(crowd: Crowd, dtype: str, copy: bool) -> None:
    env = WindowObservation(crowd, 3, device="cuda", dtype=dtype, copy=copy)
    first = env.reset()[0]
    second = env.step(STILL)[0]
    assert (first.data_ptr() == second.data_ptr()) is not copy
    assert second.is_contiguous(memory_format=torch.channels_last)
    expected = torch.from_numpy(reference(crowd, DEFAULT_CHANNELS, 3)).permute(0, 3, 1, 2)
    torch.testing.assert_close(second.cpu().float(), expected, atol=5e-3, rtol=0)


def test_an_environment_without_a_world_is_refused() -> None:
    import gymnasium

    plain = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")])
    with pytest.raises(ConfigError, match="a world and agents, got SyncVectorEnv"):
        WindowObservation(plain)
    plain.close()
    with pytest.raises(ConfigError, match="got int"):
        WindowObservation(3)  # type: ignore[arg-type]


def test_numpy_windows_never_load_torch() -> None:
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "import numpy as np\n"
        "from types import SimpleNamespace as S\n"
        "from gymnasium.vector import VectorEnv\n"
        "from memfarm.world import World\n"
        "from memfarm.wrappers import WindowObservation\n"
        "class E(VectorEnv):\n"
        "    num_envs = 1\n"
        "    metadata = {}\n"
        "    world = World((8, 8))\n"
        "    agents = S(copy=np.zeros(1, 'i4'), y=np.zeros(1, 'i4'), x=np.zeros(1, 'i4'), alive=np.ones(1, bool),\n"
        "               hp=np.ones(1, 'f4'))\n"
        "    def reset(self, **_): return None, {}\n"
        "env = WindowObservation(E(), 1, tensor='numpy')\n"
        "env.write_next_to(np.zeros((1, 3, 3, 7), 'f4'))\n"
        "sys.exit(bool(env.reset()[0][0, 1, 1, 0] != 1.0))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
