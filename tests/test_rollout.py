"""MemmapRollout: what was written comes back, batch by batch; ends of lives; what a kill and a full disk leave."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from advantages_by_hand import advantages_by_hand
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import memfarm
from memfarm import advantages
from memfarm.errors import (
    ClosedError,
    ConfigError,
    DTypeError,
    ShapeError,
    StorageError,
    ValueRangeError,
    WorldFormatError,
    WorldLockedError,
)
from memfarm.rollout import MemmapRollout, Minibatch

gym.register_envs(memfarm)

ROOT = Path(__file__).parents[1]
STEPS, AGENTS, WINDOW, ACTIONS = 6, 5, (3, 3, 2), 4
PARTS = ("observations", "masks", "actions", "logprobs", "values", "advantages", "returns")


@pytest.fixture(params=["scratch", "named", "ram"])
def rollout(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MemmapRollout]:
    made = make(
        tmp_path / "rollout" if request.param == "named" else None, "ram" if request.param == "ram" else "memmap"
    )
    yield made
    made.close()


def make(path: Path | None = None, backend: Any = "memmap", agents: int = AGENTS) -> MemmapRollout:
    return MemmapRollout(STEPS, agents, WINDOW, ACTIONS, path=path, backend=backend)


def tick(rollout: MemmapRollout, random: np.random.Generator) -> dict[str, NDArray[Any]]:
    """What a tick of made-up agents adds, after its windows were put into their slot."""
    n = rollout.agents
    rollout.slot(len(rollout) + 1)[:] = random.random((n, *WINDOW), np.float32)
    ended = random.random(n) < 0.3
    terminated = ended & (random.random(n) < 0.5)
    return {
        "actions": random.integers(0, ACTIONS, n),
        "logprobs": random.standard_normal(n, np.float32),
        "values": random.standard_normal(n, np.float32),
        "rewards": random.standard_normal(n),
        "terminations": terminated,
        "truncations": ended & ~terminated,
        "masks": random.integers(0, 2, (n, ACTIONS), np.int8),
    }


def filled(rollout: MemmapRollout, seed: int = 0, steps: int = STEPS) -> list[dict[str, NDArray[Any]]]:
    """Collect `steps` ticks; what was added, each with the windows and masks before it."""
    random = np.random.default_rng(seed)
    before = random.integers(0, 2, (rollout.agents, ACTIONS), np.int8)
    rollout.slot(0)[:] = random.random((rollout.agents, *WINDOW), np.float32)
    rollout.begin(before)
    log = []
    for t in range(steps):
        windows = rollout.slot(t).copy()
        added = tick(rollout, random)
        rollout.add(**added)
        log.append({**added, "windows": windows, "before": before})
        before = added["masks"]
    return log


def batches(rollout: MemmapRollout, size: int, seed: int = 0, **options: Any) -> list[Minibatch]:
    return list(rollout.minibatches(size, torch.Generator().manual_seed(seed), **options))


@pytest.mark.parametrize(("size", "chunk"), [(1, 1), (7, 1), (8, 3), (1000, 32), (4, 100)])
def test_minibatches_are_all_that_was_collected_once_and_as_it_was(
    rollout: MemmapRollout, size: int, chunk: int
) -> None:
    log = filled(rollout)
    total = rollout.returns(np.zeros(AGENTS), 0.9, 0.8)
    seen: list[int] = []
    for batch in batches(rollout, size, chunk=chunk):
        assert len(batch.rows) <= size
        seen += batch.rows.tolist()
        assert batch.observations.is_contiguous(memory_format=torch.channels_last) or len(batch.rows) == 1
        for row, (t, n) in enumerate(zip(*np.divmod(batch.rows.numpy(), AGENTS), strict=True)):
            there = log[t]
            got = {part: getattr(batch, part)[row].numpy() for part in PARTS}
            np.testing.assert_array_equal(got["observations"], there["windows"][n].transpose(2, 0, 1))
            np.testing.assert_array_equal(got["masks"], there["before"][n] != 0)
            assert got["actions"] == there["actions"][n]
            assert got["logprobs"] == there["logprobs"][n]
            assert got["values"] == there["values"][n]
            assert got["advantages"] == rollout.advantages[t, n]
            assert got["returns"] == total[t, n]
    assert sorted(seen) == np.flatnonzero(~rollout.resting[:STEPS]).tolist()


def test_a_tick_that_only_began_a_life_is_not_learned_from(rollout: MemmapRollout) -> None:
    log = filled(rollout)
    rollout.returns(np.zeros(AGENTS), 0.9, 0.8)
    seen = {int(row) for batch in batches(rollout, 4) for row in batch.rows}
    for t, there in enumerate(log[:-1]):
        for n in range(AGENTS):
            ended = bool(there["terminations"][n] or there["truncations"][n])
            assert ((t + 1) * AGENTS + n in seen) != ended


def test_the_order_is_random_and_the_generators_own(rollout: MemmapRollout) -> None:
    filled(rollout)
    rollout.returns(np.zeros(AGENTS), 0.9, 0.8)
    orders = [[batch.rows.tolist() for batch in batches(rollout, 4, seed, chunk=1)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != sorted(orders[0])


def test_minibatches_that_are_kept_do_not_change(rollout: MemmapRollout) -> None:
    filled(rollout)
    rollout.returns(np.zeros(AGENTS), 0.9, 0.8)
    kept, copies = [], []
    for batch in rollout.minibatches(4, torch.Generator()):
        kept.append(batch)
        copies.append(batch.observations.clone())
    filled(rollout, seed=9)
    for batch, copy in zip(kept, copies, strict=True):
        assert torch.equal(batch.observations, copy)


def test_all_backends_give_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for path, backend in ((None, "memmap"), (tmp_path / "named", "memmap"), (None, "ram")):
        rollout = make(path, backend)
        filled(rollout)
        rollout.returns(np.ones(AGENTS), 0.9, 0.8)
        found.append([getattr(batch, part).numpy().tobytes() for batch in batches(rollout, 7) for part in PARTS])
        rollout.close()
    assert found[0] == found[1] == found[2]


def test_the_end_of_a_rollout_is_the_start_of_the_next(rollout: MemmapRollout) -> None:
    log = filled(rollout)
    last = rollout.slot(STEPS).copy()
    rollout.returns(np.zeros(AGENTS), 0.9, 0.8)
    rollout.carry_over()
    assert len(rollout) == 0
    np.testing.assert_array_equal(rollout.windows(0).permute(0, 2, 3, 1).numpy(), last)
    np.testing.assert_array_equal(rollout.masks[0], log[-1]["masks"] != 0)
    np.testing.assert_array_equal(rollout.resting[0], log[-1]["terminations"] | log[-1]["truncations"])
    with pytest.raises(ConfigError, match="returns"):
        batches(rollout, 4)


def test_an_environment_cuts_its_windows_into_the_slots() -> None:
    env = gym.make_vec("memfarm/Forage-v0", num_envs=6, agents_per_world=6, radius=2, tensor="torch")
    rollout = MemmapRollout(4, 6, (5, 5, 7), 6)
    env.write_next_to(rollout.slot(0))  # type: ignore[attr-defined]
    seen, infos = env.reset(seed=0)
    rollout.begin(infos["action_mask"])
    while not rollout.full:
        t = len(rollout)
        assert seen.data_ptr() == rollout.windows(t).data_ptr()
        env.write_next_to(rollout.slot(t + 1))  # type: ignore[attr-defined]
        seen, rewards, terminations, truncations, infos = env.step(np.full(6, 5))
        expected = seen.clone()
        zeros = torch.zeros(6)
        rollout.add(torch.full((6,), 5), zeros, zeros, rewards, terminations, truncations, infos["action_mask"])
        assert torch.equal(rollout.windows(t + 1), expected)
    env.close()
    rollout.close()


# --- advantages


@given(seed=st.integers(0, 10**6), gamma=st.floats(0, 1), lam=st.floats(0, 1), steps=st.integers(1, 12))
def test_advantages_are_the_surprises_up_to_the_end_of_the_life(
    seed: int, gamma: float, lam: float, steps: int
) -> None:
    random = np.random.default_rng(seed)
    rewards, values = (random.standard_normal((steps + more, 4), np.float32) for more in (0, 1))
    ended = random.random((steps, 4)) < 0.3
    terminated = ended & (random.random((steps, 4)) < 0.5)
    got = advantages.estimate(rewards, values, terminated, ended & ~terminated, gamma, lam)
    expected = advantages_by_hand(rewards, values, terminated, ended & ~terminated, gamma, lam)
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_a_rollout_that_is_not_full_is_estimated_as_far_as_it_goes(rollout: MemmapRollout) -> None:
    log = filled(rollout, steps=3)
    last = np.linspace(-1, 1, AGENTS)
    total = rollout.returns(last, 0.9, 0.8)
    values = np.stack([*(there["values"] for there in log), last])
    rest = [np.stack([there[name] for there in log]) for name in ("rewards", "terminations", "truncations")]
    expected = advantages_by_hand(rest[0], values, rest[1], rest[2], 0.9, 0.8)
    np.testing.assert_allclose(total, expected + values[:-1], atol=1e-5)
    assert sum(len(batch.rows) for batch in batches(rollout, 4)) == (~rollout.resting[:3]).sum()


# --- what is refused


def test_a_refused_tick_changes_nothing(rollout: MemmapRollout) -> None:
    filled(rollout, steps=2)
    before = {name: getattr(rollout, name).copy() for name in ("masks", "resting", "actions", "rewards", "values")}
    good = tick(rollout, np.random.default_rng(1))
    for name, wrong, error in (
        ("actions", np.zeros(AGENTS), ShapeError),
        ("actions", np.zeros(AGENTS + 1, int), ShapeError),
        ("rewards", np.full(AGENTS, np.nan), ValueRangeError),
        ("values", np.zeros((2, AGENTS)), ShapeError),
        ("terminations", np.zeros(AGENTS), DTypeError),
        ("masks", np.zeros((AGENTS, 1), bool), ShapeError),
    ):
        with pytest.raises(error):
            rollout.add(**{**good, name: wrong})
    assert len(rollout) == 2
    for name, values in before.items():
        np.testing.assert_array_equal(getattr(rollout, name), values)


def test_a_full_rollout_takes_no_tick_and_a_new_tick_needs_new_returns(rollout: MemmapRollout) -> None:
    filled(rollout, steps=STEPS - 1)
    rollout.returns(np.zeros(AGENTS), 0.9, 0.8)
    random = np.random.default_rng(0)
    rollout.add(**tick(rollout, random))
    with pytest.raises(ConfigError, match="returns"):
        batches(rollout, 4)
    with pytest.raises(ConfigError, match="full"):
        rollout.add(
            **{name: np.zeros(AGENTS) for name in ("actions", "logprobs", "values", "rewards")},
            terminations=np.zeros(AGENTS, bool),
            truncations=np.zeros(AGENTS, bool),
            masks=np.zeros((AGENTS, 4)),
        )


@pytest.mark.parametrize(
    "wrong", [(0, 1, WINDOW, 1), (1, 1.5, WINDOW, 1), (1, 1, (3, 3), 1), (1, 1, (3, 0, 1), 1), (1, 1, WINDOW, True)]
)
def test_sizes_are_whole_numbers_of_at_least_one(wrong: Any) -> None:
    with pytest.raises(ConfigError):
        MemmapRollout(*wrong)


def test_a_closed_rollout_says_so(rollout: MemmapRollout) -> None:
    filled(rollout)
    rollout.close()
    rollout.close()
    for use in (lambda: len(rollout), lambda: rollout.slot(0), rollout.flush, rollout.carry_over):
        with pytest.raises(ClosedError):
            use()


# --- its folder


def test_a_kept_rollout_goes_on_where_it_was(tmp_path: Path) -> None:
    whole, kept = make(), make(tmp_path / "kept")
    filled(whole)
    random = np.random.default_rng(0)
    before = random.integers(0, 2, (AGENTS, ACTIONS), np.int8)
    kept.slot(0)[:] = random.random((AGENTS, *WINDOW), np.float32)
    kept.begin(before)
    for t in range(STEPS):
        assert len(kept) == t
        kept.add(**tick(kept, random))
        kept.close()
        kept = MemmapRollout.open(tmp_path / "kept")
    for rollout in (whole, kept):
        rollout.returns(np.ones(AGENTS), 0.9, 0.8)
    for one, other in zip(batches(whole, 7), batches(kept, 7), strict=True):
        assert all(torch.equal(getattr(one, part), getattr(other, part)) for part in PARTS)
    whole.close()
    kept.close()


def test_one_process_has_a_kept_rollout(tmp_path: Path) -> None:
    rollout = make(tmp_path / "kept")
    with pytest.raises(WorldLockedError):
        MemmapRollout.open(tmp_path / "kept")
    rollout.close()
    MemmapRollout.open(tmp_path / "kept").close()


@pytest.mark.parametrize("name", ["observations", "masks", "rewards", "progress"])
def test_a_truncated_or_foreign_file_is_named(tmp_path: Path, name: str) -> None:
    make(tmp_path / "kept").close()
    path = tmp_path / "kept" / f"{name}.npy"
    data = path.read_bytes()
    for wrong in (data[:-1], data[:100], b"something else", b"\x93NUMPY" + data[6:4000]):
        path.write_bytes(wrong)
        with pytest.raises(WorldFormatError, match=name):
            MemmapRollout.open(tmp_path / "kept")
    path.unlink()
    with pytest.raises(StorageError, match=name):
        MemmapRollout.open(tmp_path / "kept")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "memfarm-world"}', "\xff", "[" * 100_000], ids=lambda text: text[:10]
)
def test_a_folder_that_holds_no_rollout_is_refused(tmp_path: Path, text: str) -> None:
    make(tmp_path / "kept").close()
    (tmp_path / "kept" / "rollout.json").write_text(text, encoding="latin-1")
    with pytest.raises(WorldFormatError, match="kept"):
        MemmapRollout.open(tmp_path / "kept")
    with pytest.raises(WorldFormatError):
        MemmapRollout.open(tmp_path / "nowhere")


def test_impossible_progress_is_refused(tmp_path: Path) -> None:
    for done in ([-1, -1], [STEPS + 1, 0], [2, 3]):
        rollout = make(tmp_path / "kept")
        rollout._progress[:] = done
        rollout.close()
        with pytest.raises(WorldFormatError, match="ticks"):
            MemmapRollout.open(tmp_path / "kept")
        shutil.rmtree(tmp_path / "kept")


# --- processes

KILLED = """
import fcntl, os, random, signal, sys, time
from pathlib import Path
import numpy as np
from memfarm.rollout import MemmapRollout

SAID = b"." * 100

def write(path):
    rollout, n = MemmapRollout(400, 50, (5, 5, 3), 4, path=path), 50
    rollout.slot(0)[:] = 0
    rollout.begin(np.ones((n, 4), bool))
    while not rollout.full:
        os.write(1, SAID)  # waits where 40 of them are not read yet, however busy the machine is
        t = len(rollout)
        rollout.slot(t + 1)[:] = t + 1
        all_t, no = np.full(n, t), np.zeros(n, bool)
        rollout.add(all_t, all_t, all_t, all_t, no, no, np.full((n, 4), t % 2))

half_way = 0
for moment in range(int(sys.argv[2])):
    path = Path(sys.argv[1]) / str(moment)
    reader, writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    if (child := os.fork()) == 0:
        os.dup2(writer, 1)
        write(path)
        os._exit(0)
    os.close(writer)
    for _ in range(random.randrange(2, 350)):
        assert os.read(reader, len(SAID))
    time.sleep(random.uniform(0.0, 0.001))
    os.kill(child, signal.SIGKILL)
    os.close(reader)
    os.waitpid(child, 0)
    rollout = MemmapRollout.open(path)
    done = np.arange(len(rollout))
    for array in (rollout.actions, rollout.rewards, rollout.values, rollout.logprobs):
        assert (array[: len(done)] == done[:, None]).all()
    for t in range(len(rollout) + 1):
        assert (rollout.slot(t) == t).all()
    half_way += 0 < len(rollout) < rollout.steps
    rollout.close()
print(half_way)
"""

NO_ROOM = """
import os, subprocess, sys
from pathlib import Path

disk = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=True)
os.environ["MEMFARM_SCRATCH"] = str(disk)
import errno
import numpy as np
from memfarm.errors import StorageError
from memfarm.rollout import MemmapRollout

for path in (None, disk / "kept"):
    try:
        MemmapRollout(100, 100, (5, 5, 3), 4, path=path)
    except StorageError as error:
        assert error.errno == errno.ENOSPC, error
    else:
        raise SystemExit("3 MB were taken from a disk of 2")
    assert not list(disk.iterdir())
MemmapRollout(10, 100, (5, 5, 3), 4).slot(10)[:] = 1.0
"""


def run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)


def test_a_killed_writer_leaves_whole_ticks(tmp_path: Path) -> None:
    moments = 200 if os.environ.get("MEMFARM_DOSE") == "full" else 15
    done = run([sys.executable, "-W", "error", "-c", KILLED, str(tmp_path), str(moments)])
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == moments


def test_no_room_is_an_error_at_construction_and_leaves_nothing(tmp_path: Path) -> None:
    own = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    if shutil.which("unshare") is None or run([*own, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]).returncode:
        pytest.skip("needs root or user namespaces, to mount a small tmpfs")
    done = run([*own, sys.executable, "-W", "error", "-c", NO_ROOM, str(tmp_path)])
    assert done.returncode == 0, done.stderr


def test_a_worker_that_returns_numpy_imports_no_torch() -> None:
    script = """
import sys
import gymnasium as gym, numpy as np, memfarm
env = gym.make_vec("memfarm/Forage-v0", num_envs=4, agents_per_world=2, tensor="numpy")
env.reset(seed=0)
env.step(np.zeros(4, np.int64))
env.close()
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=ROOT, check=True, timeout=120)


def test_only_the_windows_at_work_are_resident() -> None:
    rollout = MemmapRollout(16, 200, (11, 11, 7), ACTIONS)  # 0.7 MB a tick
    one = rollout.slot(0).nbytes
    zeros, no = np.zeros(200, np.float32), np.zeros(200, bool)
    rollout.slot(0)[:] = 0.0
    rollout.begin(np.ones((200, ACTIONS), bool))
    while not rollout.full:
        rollout.slot(len(rollout) + 1)[:] = 0.5
        rollout.add(np.zeros(200, int), zeros, zeros, zeros, no, no, np.ones((200, ACTIONS), bool))
    rollout.returns(zeros, 0.9, 0.9)
    assert resident(rollout) < 3 * one
    for batch in rollout.minibatches(256, torch.Generator()):
        assert (batch.observations[batch.rows >= 200] == 0.5).all()
    assert resident(rollout) < 3 * one
    rollout.close()


def resident(rollout: MemmapRollout) -> int:
    """Bytes in RAM of the map that the windows lie in."""
    start, found = rollout.observations.ctypes.data, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = line.split()[0]
        if "-" in head and not head.endswith(":"):
            low, high = (int(end, 16) for end in head.split("-"))
            found = low <= start < high
        elif found and head == "Rss:":
            return int(line.split()[1]) * 1024
    raise AssertionError("the map is not there")
