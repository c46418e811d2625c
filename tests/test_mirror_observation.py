"""WindowObservation(world=...): the tensors of a mirrored world are those of the kernels, whatever happens to it."""

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from memfarm.envs.forage import Forage
from memfarm.errors import ConfigError, DTypeError, ShapeError
from memfarm.wrappers import DEFAULT_CHANNELS, MemoryObservation, WindowObservation
from memfarm.wrappers.tensors import DTYPES

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")),
]
CHANNELS = (*DEFAULT_CHANNELS, "ENEMIES_HP", "GOAL", "DAMAGE_HEAT")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Have torch work alone: its threads wait for each other where the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def forage(mode: AutoresetMode = AutoresetMode.NEXT_STEP, **world: Any) -> Forage:
    """Two crowded worlds of two teams that starve soon."""
    return Forage(
        {
            "world": {"shape": (24, 20), "max_cycles": 9, **world},
            "agents": {"teams": 2, "goals": True, "start_energy": 0.1, "metabolism": 0.03},
        },
        worlds=2,
        agents_per_world=12,
        autoreset_mode=mode,
    )


@pytest.fixture
def made() -> Iterator[list[Forage]]:
    """Environments to be closed."""
    envs: list[Forage] = []
    yield envs
    for env in envs:
        env.close()


def pair(
    made: list[Forage], device: str = "cpu", mode: AutoresetMode = AutoresetMode.NEXT_STEP, **arguments: Any
) -> tuple[WindowObservation, WindowObservation]:
    """The same environment twice: cut by the kernels, and from a mirror."""
    cores = forage(mode), forage(mode)
    made.extend(cores)
    cut = WindowObservation(cores[0], 3, CHANNELS, **arguments)
    return cut, WindowObservation(cores[1], 3, CHANNELS, world=device, device=device, **arguments)


def same(expected: torch.Tensor, got: torch.Tensor) -> None:
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(got.cpu().contiguous().view(torch.uint8), expected.contiguous().view(torch.uint8))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("copy", [True, False], ids=["copy", "one"])
def test_steps_and_resets_look_the_same(made: list[Forage], device: str, dtype: str, copy: bool) -> None:
    cut, mirrored = pair(made, device, dtype=dtype, copy=copy, mask_by_visibility=copy)
    assert mirrored.observation_space == cut.observation_space
    rng = np.random.default_rng(0)
    same(cut.reset(seed=3)[0], mirrored.reset(seed=3)[0])
    kept = []
    for _ in range(11):  # past deaths and the end of the episode
        actions = rng.integers(0, 6, 24)
        expected, *rest = cut.step(actions)
        got, *others = mirrored.step(torch.from_numpy(actions))
        same(expected, got)
        np.testing.assert_array_equal(rest[0], others[0])
        kept.append(got)
    assert len({tensor.data_ptr() for tensor in kept}) == (len(kept) if copy else 1)
    same(cut.reset()[0], mirrored.reset()[0])


@pytest.mark.parametrize("device", DEVICES)
def test_last_windows_of_ended_agents_look_the_same(made: list[Forage], device: str) -> None:
    cut, mirrored = pair(made, device, AutoresetMode.SAME_STEP)
    cut.reset(seed=1)
    mirrored.reset(seed=1)
    ended = 0
    for _ in range(12):
        *_, expected = cut.step(np.full(24, 1))
        *_, got = mirrored.step(np.full(24, 1))
        rows = np.flatnonzero(expected.get("_final_obs", np.zeros(24, bool)))
        for row in rows:
            assert torch.equal(expected["final_obs"][row], got["final_obs"][row].cpu())
        ended += len(rows)
    assert ended > 0


@pytest.mark.parametrize("device", DEVICES)
def test_a_state_a_clone_and_a_pickled_recipe_look_the_same(made: list[Forage], device: str) -> None:
    cut, mirrored = pair(made, device)
    for env in (cut, mirrored):
        env.reset(seed=5)
        env.step(np.full(24, 5))
    state = mirrored.get_state()
    before = mirrored.look()[0]
    clone = mirrored.clone()
    for _ in range(3):
        mirrored.step(np.full(24, 2))
    mirrored.set_state(state)
    same(before.cpu(), mirrored.look()[0])
    expected = cut.step(np.full(24, 3))[0]
    same(expected, mirrored.step(np.full(24, 3))[0])
    same(expected, clone.step(np.full(24, 3))[0])
    clone.close()
    anew = pickle.loads(pickle.dumps(mirrored))
    same(cut.reset(seed=8)[0], anew.reset(seed=8)[0])
    anew.close()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", ["NHWC", "NCHW"])
def test_windows_are_cut_straight_into_a_tensor_there(made: list[Forage], device: str, form: str) -> None:
    cut, mirrored = pair(made, device)
    rollout = torch.full((3, 24, 7, 7, len(CHANNELS)), -1.0, device=device)
    slot = rollout[1] if form == "NHWC" else rollout[1].permute(0, 3, 1, 2)
    mirrored.write_next_to(slot)
    got = mirrored.reset(seed=2)[0]
    assert got.data_ptr() == rollout[1].data_ptr()
    same(cut.reset(seed=2)[0], rollout[1].permute(0, 3, 1, 2))
    assert (rollout[::2] == -1.0).all()
    assert mirrored.step(np.zeros(24, np.int64))[0].data_ptr() != rollout[1].data_ptr(), "for one call"


@pytest.mark.parametrize(
    ("buffer", "error"),
    [
        (np.zeros((24, 7, 7, len(CHANNELS)), np.float32), DTypeError),
        (torch.zeros(24, 7, 7, len(CHANNELS), dtype=torch.float16), DTypeError),
        (torch.zeros(24, 7, 7, len(CHANNELS), device="meta"), DTypeError),
        (torch.zeros(24, 7, 7, len(CHANNELS), requires_grad=True), DTypeError),
        (torch.zeros(24, 7, 7, 3), ShapeError),
        (torch.zeros(24, len(CHANNELS), 7, 7), ShapeError),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(made: list[Forage], buffer: Any, error: Any) -> None:
    cut, mirrored = pair(made)
    with pytest.raises(error, match="write_next_to takes"):
        mirrored.write_next_to(buffer)
    same(cut.reset(seed=2)[0], mirrored.reset(seed=2)[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tensor": "numpy"}, "needs tensor='torch', got 'numpy'"),
        ({"device": "meta"}, "need the same device, got 'meta'"),
        ({"world": "nowhere"}, "world must be one that torch can use here, such as 'cpu', got 'nowhere'"),
        ({"device": "nowhere"}, "device must be one that torch can use here"),
        ({"dtype": "float64"}, "got 'float64'"),
        ({"channels": ("TRAILS", "KNOWN_EMPTY")}, "kept by the processor, got world='cpu'; leave out world"),
        ({"channels": "agentfarm"}, "kept by the processor"),
    ],
)
def test_what_a_mirror_cannot_do_is_refused(made: list[Forage], arguments: dict[str, Any], message: str) -> None:
    made.append(forage())
    with pytest.raises(ConfigError, match=message):
        WindowObservation(made[0], **{"world": "cpu", **arguments})


def test_memories_beside_a_mirror_are_refused_and_the_windows_stay(made: list[Forage]) -> None:
    cut, mirrored = pair(made)
    with pytest.raises(ConfigError, match="kept by the processor"):
        MemoryObservation(mirrored)
    same(cut.reset(seed=2)[0], mirrored.reset(seed=2)[0])


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_card_that_is_not_there_is_refused(made: list[Forage]) -> None:
    made.append(forage())
    with pytest.raises(ConfigError, match="world must be one that torch can use here"):
        WindowObservation(made[0], world="cuda", device="cuda")
