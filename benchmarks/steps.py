"""Steps of Forage through its doors, against NumPy windows around the same rules."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks import dense
from benchmarks.crop import RADIUS
from benchmarks.foraging import FOREVER, Foragers
from benchmarks.rows import Goal, Row
from benchmarks.sizes import Sizes
from benchmarks.timing import in_turns
from memfarm.envs import forage_v0

_STORED: Final = ("RESOURCES", "OBSTACLES", "TERRAIN_COST", "VISIBILITY", "TRAILS")
IMMORTAL: Final[dict[str, Any]] = {"metabolism": 0.0, "terrain_weight": 0.0}
"""For PettingZoo's door, which the dead leave for good: the number of agents would fall."""

_COLUMNS: Final = 2 + len(_STORED)  # SELF_HP and ALLIES_HP before them


class NumPyForagers:
    """The same rules, with windows as they are written by hand: `cut` from np.memmap layers with a margin of zeros.

    Generous to the baseline: its layers stand still, where a world of its own would also have to decay and regrow.
    """

    def __init__(self, foragers: Foragers, folder: Path, cut: dense.Cut) -> None:
        self._foragers = foragers
        self._cut = cut
        stored = dense.mapped_copy(foragers.world, _STORED, folder, margin=RADIUS)
        self._stored = dict(enumerate(stored.values(), start=2))
        self._allies = dense.mapped_layer(folder / "ALLIES_HP.dat", stored[_STORED[0]].shape)
        self._stood = (np.zeros(0, np.int32), np.zeros(0, np.int32))
        side = 2 * RADIUS + 1
        self._out = np.empty((foragers.core.num_envs, _COLUMNS, side, side), np.float32)

    def step(self) -> torch.Tensor:
        """A step of the rules, then the windows `(N, C, S, S)` in the order of `WindowObservation`."""
        self._foragers.step_without_windows()
        agents = self._foragers.core.agents
        self._allies[self._stood] = 0.0
        self._stood = (agents.y + RADIUS, agents.x + RADIUS)
        self._allies[self._stood] = agents.hp
        self._out[:, 0] = 0.0
        self._out[:, 0, RADIUS, RADIUS] = agents.hp
        self._cut({1: self._allies, **self._stored}, (agents.copy, *self._stood), RADIUS, self._out)
        self._out[:, 1, RADIUS, RADIUS] = 0.0
        return torch.from_numpy(self._out)


class ParallelForagers:
    """One world of `agents` in PettingZoo's parallel door, who act at random.

    The dicts of actions are made beforehand.
    """

    def __init__(self, agents: int, **arguments: Any) -> None:
        self.env = forage_v0.parallel_env(agents=agents, max_cycles=FOREVER, **IMMORTAL, **arguments)
        self.last: Any = self.env.reset(seed=0)
        choices = self.env.action_space(self.env.possible_agents[0]).n
        draws = np.random.default_rng(0).integers(0, choices, (64, agents)).tolist()
        self._actions = itertools.cycle([dict(zip(self.env.possible_agents, row, strict=True)) for row in draws])

    def step(self) -> None:
        self.last = self.env.step(next(self._actions))

    def close(self) -> None:
        """Close the environment. Raises RuntimeError where agents died, as their steps were then cheaper."""
        left, agents = len(self.env.agents), len(self.env.possible_agents)
        self.env.close()
        if left != agents:
            raise RuntimeError(f"all agents must live through the measurement, got {left} of {agents}")


def rows(sizes: Sizes) -> Iterator[Row]:
    """The batched door with each number of agents, then the door of PettingZoo."""
    for agents in sizes.step_agents:
        yield from _batched(sizes, agents)
    yield from _pettingzoo(sizes)


def _batched(sizes: Sizes, agents: int) -> Iterator[Row]:
    shape = (sizes.step_side, sizes.step_side)
    whole, bare, sliced = (Foragers(agents, shape=shape, radius=RADIUS) for _ in range(3))
    with dense.folder() as folder:
        slicing = NumPyForagers(sliced, folder, dense.slices)
        cases = {"ours": whole.step, "rules": bare.step_without_windows, "slices": slicing.step}
        times = in_turns(cases, seconds=3 * sizes.seconds, least=10, stretch=sizes.stretch)
        name = f"{sizes.step_side}-n{agents}"
        ours, rules, each = times["ours"], times["rules"], 1e9 / agents
        yield Row(
            id=f"step[{name}]",
            what="Forage, batched door, torch windows included",
            unit="agent-steps/s",
            ours=agents / ours.median,
            versus="same rules, one slice per agent and channel",
            baseline=agents / times["slices"].median,
            ratio=times["slices"].over(ours),
            faster=True,
            goal=Goal("ours", least=0.7e6),
            spread=ours.spread,
        )
        shares = {"rules": rules.median, "windows": ours.median - rules.median}
        for part, seconds in shares.items():
            yield Row(
                id=f"step-{part}[{name}]",
                what="of which the rules" if part == "rules" else "of which the windows and what hands them out",
                unit="ns/agent",
                ours=seconds * each,
                versus="the whole step",
                baseline=ours.median * each,
                ratio=seconds / ours.median,
                spread=rules.spread if part == "rules" else None,
            )
    for foragers in (whole, bare, sliced):
        foragers.close()


def _pettingzoo(sizes: Sizes) -> Iterator[Row]:
    agents, shape = sizes.door_agents, (sizes.step_side, sizes.step_side)
    batched = Foragers(agents, shape=shape, radius=RADIUS, **IMMORTAL)
    parallel = ParallelForagers(agents, shape=shape, radius=RADIUS)
    cases = {"ours": parallel.step, "batched": batched.step}
    times = in_turns(cases, seconds=sizes.seconds, least=10, stretch=sizes.stretch)
    yield Row(
        id=f"step-pettingzoo[{sizes.step_side}-n{agents}]",
        what="Forage, parallel_env, dicts of NumPy windows",
        unit="agent-steps/s",
        ours=agents / times["ours"].median,
        versus="the batched door",
        baseline=agents / times["batched"].median,
        ratio=times["batched"].over(times["ours"]),
        faster=True,
        goal=Goal("ours", least=1.2e6),
        spread=times["ours"].spread,
    )
    parallel.close()
    batched.close()
