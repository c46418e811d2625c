"""Checks of docs/seeds.md on time, environments and what agents see and remember."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from seeds_registry import check, forage, world

from memfarm.channels import AGENTFARM, GROUPS, TRAILS, Channel, Decay, register_channel, unregister_channel
from memfarm.envs import forage_v0
from memfarm.envs.forage import EAT, STAY, Forage
from memfarm.errors import ConfigError
from memfarm.memory import AgentMemory
from memfarm.world import World
from memfarm.wrappers.memory_observation import MemoryObservation


@check("A11", "A23", "B31", "C05", "C18")
def tensors(tmp_path: Path) -> None:
    env = forage(tensor="torch", dtype="float16", radius=2)
    env.reset(seed=0)
    layer = np.zeros((24, 24))
    layer[::2] = 1.0
    core: Any = env.unwrapped
    core.set_environmental_layer("TERRAIN_COST", layer)
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


@check("A26", "B22")
def no_dense_step(tmp_path: Path) -> None:
    made = World((1 << 16, 1 << 16))
    made.deposit_temporal_events("TRAILS", [(60_000, 60_000, 1.0)])
    made.advance(3)
    assert made.gather("TRAILS", 0, [60_000], [60_000])[0] == pytest.approx(0.9**3)
    assert made.temporal.grid.stats().live == 1
    made.close()


@check("A29", "C02")
def memories(tmp_path: Path) -> None:
    made = World((1 << 12, 1 << 12))
    memory = AgentMemory(made, 100, ["RESOURCES"])
    windows = np.full((1, 3, 3, 1), 0.5, np.float32)
    memory.see([7], [4000], [4000], windows, ["RESOURCES"])
    assert memory.observe([7, 8], [4000, 4000], [4000, 4000], 1).max(axis=(1, 2, 3)).tolist() == [0.5, 0.0]
    stats = memory.grid.stats()
    assert stats.logical_bytes > 3 << 30
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


@check("B28")
def padding(tmp_path: Path) -> None:
    made = world()
    made.set_environmental_layer("OBSTACLES", np.zeros((40, 56)))
    inside, corner = made.observe([0, 0], [20, 0], [20, 0], 1, ["OBSTACLES"])[..., 0]
    assert inside.tolist() == [[0.0] * 3] * 3
    assert corner.tolist() == [[1.0] * 3, [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]  # beyond the wall is a wall
    made.close()


@check("C14")
def agentfarm(tmp_path: Path) -> None:
    assert len(AGENTFARM) == 13
    env = gymnasium.make("memfarm/Forage-v0", channels="agentfarm", radius=3, shape=(24, 24))
    seen, _ = env.reset(seed=0)
    assert seen.shape == (7, 7, 13)
    env.close()
