"""Environments that go on where they were saved, to the last byte: in any process, backend, and number of parts."""

import hashlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from other_python import run_python
from resumed_runs import AGENTS, MEMORY, PLAIN, SETTINGS, digest_of, make, run

from memfarm.envs import forage_v0
from memfarm.envs.snapshots import publish, write_index
from memfarm.errors import ConfigError, MemfarmError, WorldFormatError

ROOT = Path(__file__).parents[1]
FULL = os.environ.get("MEMFARM_DOSE") == "full"
pytestmark = pytest.mark.timeout(3600 if FULL else 300)

# --- across a kill

SAVES_AND_DIES = """
import os, signal, sys
from resumed_runs import SETTINGS, make, run
kind, backend, folder, first = sys.argv[1:]
env = make(backend=backend, **SETTINGS[kind])
env.reset(seed=11)
for digest in run(env, 0, int(first)):
    print(digest, flush=True)
env.save(folder)
os.kill(os.getpid(), signal.SIGKILL)
"""
LOADS = """
import sys
from resumed_runs import SETTINGS, digest_of, make, run
kind, backend, folder, first, last = sys.argv[1:]
env = make(backend=backend, **SETTINGS[kind])
print(digest_of(env.load(folder)))
for digest in run(env, int(first), int(last)):
    print(digest)
env.close()
"""


def child(program: str, status: int, *arguments: object) -> list[str]:
    done = run_python("-c", program, *arguments, timeout=250)
    assert done.returncode == status, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("backend", ["memmap", "ram"])
@pytest.mark.parametrize("kind", ["memory", "rich"] if FULL else ["rich"])
def test_steps_saved_killed_and_loaded_elsewhere_are_those_of_one_run(tmp_path: Path, kind: str, backend: str) -> None:
    first, last = (400, 1000) if FULL else (60, 150)
    env = make(backend=backend, **SETTINGS[kind])
    env.reset(seed=11)
    whole = list(run(env, 0, first))
    now = digest_of(env.look())
    whole += [now, *run(env, first, last)]
    env.close()
    before = child(SAVES_AND_DIES, -signal.SIGKILL, kind, backend, tmp_path / "kept", first)
    for where in ("memmap", "ram") if FULL else (backend,):
        after = child(LOADS, 0, kind, where, tmp_path / "kept", first, last)
        assert [*before, *after] == whole, f"from {backend} to {where}"
    digest = hashlib.sha256("".join(whole).encode()).hexdigest()[:16]
    print(f"{kind}, {backend}: {first} steps + save + kill + load + {last - first}: {digest} as in one run")  # noqa: T201


# --- across parts


@given(data=st.data(), kind=st.sampled_from(sorted(SETTINGS)), backend=st.sampled_from(["memmap", "ram"]))
@settings(max_examples=40 if FULL else 4)
def test_any_parts_load_into_any_number_of_environments(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, kind: str, backend: str
) -> None:
    worlds = 5
    dealt = data.draw(st.sampled_from([(5,), (2, 3), (1, 3, 1), (1, 1, 1, 1, 1)]), label="parts saved")
    taken = data.draw(st.sampled_from([(5,), (3, 2), (1, 4), (2, 1, 2)]), label="environments loaded")
    folder = tmp_path_factory.mktemp("parts")
    whole = make(worlds, backend, **SETTINGS[kind])
    whole.reset(seed=2)
    shards = [make(count, backend, **SETTINGS[kind]) for count in dealt]
    for shard, start in zip(shards, starts(dealt), strict=True):
        shard.reset(seed=2 + start)
    actions = np.random.default_rng(0).integers(0, 6, (85, worlds * AGENTS))
    for row in actions[:65]:
        whole.step(row)
        for shard, part in zip(shards, parts(row, dealt), strict=True):
            shard.step(part)
    with publish(folder / "kept") as inside:
        for number, shard in enumerate(shards):
            shard.save_part(inside / f"part-{number}")
        write_index(inside, {f"part-{number}": count for number, count in enumerate(dealt)})
    loaded = [make(count, "memmap", **SETTINGS[kind]) for count in taken]
    seen = [env.load(folder / "kept", start) for env, start in zip(loaded, starts(taken), strict=True)]
    for (windows, _), expected in zip(seen, parts(whole.look()[0], taken), strict=True):
        assert digest_of(windows) == digest_of(expected)
    for row in actions[65:]:
        step = whole.step(row)
        for env, part, *expected in zip(
            loaded, parts(row, taken), *(parts(what, taken) for what in step[:4]), strict=True
        ):
            got = env.step(part)
            assert [digest_of(one) for one in got[:4]] == [digest_of(one) for one in expected]
    for env in (whole, *shards, *loaded):
        env.close()
    shutil.rmtree(folder)


def starts(counts: tuple[int, ...]) -> list[int]:
    return [sum(counts[:n]) for n in range(len(counts))]


def parts(rows: Any, counts: tuple[int, ...]) -> list[Any]:
    """The rows of each environment's agents."""
    if isinstance(rows, dict):
        cut = {name: parts(what, counts) for name, what in rows.items()}
        return [{name: cut[name][n] for name in cut} for n in range(len(counts))]
    return np.split(rows, [start * AGENTS for start in starts(counts)[1:]])


# --- refusals


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    env = make(2, **MEMORY)
    env.reset(seed=0)
    list(run(env, 0, 10))
    env.save(tmp_path / "kept")
    env.close()
    return tmp_path / "kept"


def spoil(kept: Path, name: str) -> None:
    path = kept / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


MISFITS: dict[str, tuple[Callable[[], Any], str]] = {
    "rules": (
        lambda: make(2, **{**MEMORY, "max_cycles": 61}),
        r"world\.max_cycles must be as it was saved, 60, got 61",
    ),
    "food": (lambda: make(2, **MEMORY, bite=0.5), r"agents\.bite"),
    "worlds": (lambda: make(3, **MEMORY), "holds 2 worlds, got a load of 3"),
    "agents": (lambda: forage_v0.batched(10, agents_per_world=5, **MEMORY), "agents_per_world"),
    "mode": (lambda: make(2, **MEMORY, autoreset_mode="SameStep"), "autoreset_mode"),
    "shape": (lambda: make(2, **{**MEMORY, "shape": (31, 40)}), "shape"),
    "another memory": (lambda: make(2, **{**MEMORY, "memory_channels": ("OBSTACLES",)}), "channels"),
    "another overview": (lambda: make(2, **{**MEMORY, "overview": (4, 4)}), "shapes|overview"),
    "fading": (lambda: make(2, **MEMORY, gamma_trail=0.5), "temporal"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_what_does_not_fit_is_refused_and_nothing_changes(kept: Path, misfit: str) -> None:
    maker, message = MISFITS[misfit]
    env, twin = maker(), maker()
    for one in (env, twin):
        one.reset(seed=5)
        list(run(one, 0, 3))
    with pytest.raises(MemfarmError, match=message):
        env.load(kept)
    assert list(run(env, 3, 20)) == list(run(twin, 3, 20))
    env.close()
    twin.close()


@pytest.mark.parametrize(
    "name",
    [
        "env.json",
        "part-0/agents.npz",
        "part-0/agents.json",
        "part-0/memory/memory.npy",
        "part-0/memory.npz",
        "part-0/memory.json",
    ],
)
def test_a_damaged_snapshot_is_refused_and_nothing_changes(kept: Path, name: str) -> None:
    spoil(kept, name)
    env, twin = make(2, **MEMORY), make(2, **MEMORY)
    for one in (env, twin):
        one.reset(seed=5)
    with pytest.raises(WorldFormatError, match=Path(name).name.replace(".", r"\.")):
        env.load(kept)
    assert list(run(env, 0, 15)) == list(run(twin, 0, 15))
    env.close()
    twin.close()


@pytest.mark.parametrize("first", [-1, 1, 2**40, 0.0, True, "0"])
def test_first_is_the_number_of_a_world_that_there_is(kept: Path, first: Any) -> None:
    env = make(2, **MEMORY)
    with pytest.raises(ConfigError):
        env.load(kept, first)
    env.close()


def test_what_was_remembered_may_be_left_out_but_not_made_up(kept: Path, tmp_path: Path) -> None:
    forgetful, env = make(2, **PLAIN), make(2, **MEMORY)
    windows, _ = forgetful.load(kept)
    assert digest_of(env.load(kept)[0]["window"]) == digest_of(windows)
    forgetful.save(tmp_path / "without")
    with pytest.raises(WorldFormatError, match=r"memory\.json"):
        env.load(tmp_path / "without")
    forgetful.close()
    env.close()


def test_deaths_in_a_shard_of_one_agent_keep_its_memory_in_step(tmp_path: Path) -> None:
    arguments = {**MEMORY, "start_energy": 0.05, "max_cycles": 500}
    whole, one = forage_v0.batched(3, **arguments), forage_v0.batched(1, **arguments)
    whole.reset(seed=6)
    one.reset(seed=7)
    lives = whole.unwrapped.agents.life.copy()
    for number in range(80):
        row = np.random.default_rng(number).integers(0, 6, 3)
        assert digest_of(parts_of(whole.step(row), 1)) == digest_of(parts_of(one.step(row[1:2]), 0))
    assert (whole.unwrapped.agents.life - lives).min() >= 1, "everybody must have died on the way"
    whole.save(tmp_path / "kept")
    one.load(tmp_path / "kept", 1)
    whole.close()
    one.close()


def parts_of(step: Any, agent: int) -> list[Any]:
    """What a step gives one agent."""
    windows, *columns = step[:4]
    return [{name: rows[agent] for name, rows in windows.items()}, *(column[agent] for column in columns)]


def test_a_state_of_something_else_is_refused(kept: Path) -> None:
    env = make(2, **MEMORY)
    env.reset(seed=0)
    for state in ({}, None, {"world": {}}, [1]):
        with pytest.raises(WorldFormatError, match="state of this environment"):
            env.set_state(state)
    good = env.get_state()
    for broken in (
        {**good, "world": {}},
        {**good, "agents": {"arrays": {}}},
        {**good, "agents": None},
        {**good, "memory": {**good["memory"], "grids": {}}},
        {**good, "world": {**good["world"], "tick": good["world"]["tick"] + 1}},
        {**good, "agents": {**good["agents"], "generator": {"bit_generator": "MT19937"}}},
    ):
        with pytest.raises((WorldFormatError, ConfigError)):
            env.set_state(broken)
    assert digest_of(env.get_state()["agents"]["arrays"]) == digest_of(good["agents"]["arrays"])
    other = make(2, **PLAIN)
    other.reset(seed=0)
    with pytest.raises(WorldFormatError, match="memory"):
        env.set_state(other.get_state())
    env.close()
    other.close()


def test_agents_outside_the_world_are_refused() -> None:
    env = make(2, **PLAIN)
    env.reset(seed=0)
    state = env.get_state()
    state["agents"]["arrays"]["agents.x"][3] = 40
    with pytest.raises(WorldFormatError, match="inside"):
        env.set_state(state)
    env.close()


# --- the other doors


@pytest.mark.parametrize("arguments", [PLAIN, MEMORY], ids=["plain", "memory"])
def test_the_single_door_saves_loads_and_clones(tmp_path: Path, arguments: dict[str, Any]) -> None:
    env, other = forage_v0.Single(**arguments), forage_v0.Single(**arguments)
    env.reset(seed=4)
    actions = np.random.default_rng(0).integers(0, 6, 60).tolist()
    for action in actions[:20]:
        env.step(action)
    env.save(tmp_path / "kept")
    clone = env.clone()
    loaded = other.load(tmp_path / "kept")
    assert digest_of(loaded) == digest_of(env.look()) == digest_of(clone.look())
    for action in actions[20:]:
        steps = [digest_of(one.step(action)) for one in (env, other, clone)]
        assert len(set(steps)) == 1
    for one in (env, other, clone):
        one.close()


@pytest.mark.parametrize("arguments", [PLAIN, MEMORY], ids=["plain", "memory"])
def test_the_parallel_door_saves_loads_and_clones_with_its_dead(tmp_path: Path, arguments: dict[str, Any]) -> None:
    arguments = {**arguments, "start_energy": 0.1, "max_cycles": 200}
    env, other = forage_v0.parallel_env(8, **arguments), forage_v0.parallel_env(8, **arguments)
    env.reset(seed=4)
    random = np.random.default_rng(0)
    while len(env.agents) > 5:
        env.step({agent: int(random.integers(0, 5)) for agent in env.agents})
    env.save(tmp_path / "kept")
    clone = env.clone()
    loaded = other.load(tmp_path / "kept")
    assert other.agents == env.agents == clone.agents
    assert digest_of(loaded) == digest_of(env.look()) == digest_of(clone.look())
    while env.agents:
        actions = {agent: int(random.integers(0, 5)) for agent in env.agents}
        steps = [digest_of(one.step(actions)) for one in (env, other, clone)]
        assert len(set(steps)) == 1
        assert other.agents == env.agents == clone.agents
    for one in (env, other, clone):
        one.close()


def test_torch_windows_are_loaded_into_a_slot(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    env = make(2, tensor="torch", **PLAIN)
    env.reset(seed=3)
    list(run(env, 0, 5))
    env.save(tmp_path / "kept")
    slot = torch.zeros(env.num_envs, 7, 7, 7)
    env.write_next_to(slot)
    windows, _ = env.load(tmp_path / "kept")
    assert windows.data_ptr() == slot.data_ptr()
    assert torch.equal(windows, env.look()[0])
    env.close()


def test_learning_goes_on_in_its_worlds_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from memfarm.examples.ppo import Learner, Settings

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    numbers = Settings(steps=8, minibatches=2, seed=3)
    learner, resumed = (Learner(make(2, tensor="torch", **PLAIN), numbers) for _ in range(2))
    for _ in range(3):
        learner.iterate(0.0)
    learner.save(tmp_path / "checkpoint.pt")
    learner.save(tmp_path / "checkpoint.pt")
    assert len(list(tmp_path.iterdir())) == 2, "worlds that a later checkpoint replaced must go"
    resumed.load(tmp_path / "checkpoint.pt")
    for _ in range(2):
        assert learner.iterate(0.5) == resumed.iterate(0.5)
    both = (torch.nn.utils.parameters_to_vector(one.policy.parameters()) for one in (learner, resumed))
    assert torch.equal(*both)
    for one in (learner, resumed):
        one.env.close()
    torch.set_num_threads(threads)
