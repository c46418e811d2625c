"""The PettingZoo door against one written agent by agent, and the roster that it deals by."""

from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from memfarm.envs import forage_v0
from memfarm.envs.doors.perception import perceive
from memfarm.envs.doors.roster import Roster
from memfarm.errors import ActionError

NAMES = [f"forager_{n}" for n in range(5)]
NUMBERS = {name: n for n, name in enumerate(NAMES)}
HARSH: dict[str, Any] = {"shape": (9, 9), "radius": 1, "start_energy": 0.1, "metabolism": 0.03, "max_cycles": 12}


class PlainDoor:
    """What the door promises, an agent at a time; shares the perception of all agents, none of what deals it out."""

    def __init__(self, agents: int, **arguments: Any) -> None:
        config = forage_v0.environment.CONFIG.from_arguments(None, **arguments)
        core = forage_v0.environment(config, agents_per_world=agents, autoreset_mode=AutoresetMode.DISABLED)
        self.perception = perceive(core)
        self.names = [f"forager_{n}" for n in range(agents)]

    def reset(self, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        observations, infos = self.perception.reset(seed=seed)
        self.agents = list(self.names)
        return self._observations(observations), self._infos(infos)

    def step(self, actions: dict[str, int]) -> tuple[dict[str, Any], ...]:
        row = np.zeros(len(self.names), np.int64)
        for name in self.agents:
            row[self.names.index(name)] = actions[name]
        observations, rewards, terminated, truncated, infos = self.perception.step(row)
        result: tuple[dict[str, Any], ...] = (
            self._observations(observations),
            {name: float(rewards[self.names.index(name)]) for name in self.agents},
            {name: bool(terminated[self.names.index(name)]) for name in self.agents},
            {name: bool(truncated[self.names.index(name)]) for name in self.agents},
            self._infos(infos),
        )
        self.agents = [name for name in self.agents if not (result[2][name] or result[3][name])]
        return result

    def _observations(self, together: Any) -> dict[str, Any]:
        if isinstance(together, dict):
            return {
                name: {part: array[self.names.index(name)].copy() for part, array in together.items()}
                for name in self.agents
            }
        return {name: together[self.names.index(name)].copy() for name in self.agents}

    def _infos(self, infos: dict[str, Any]) -> dict[str, Any]:
        return {name: {"action_mask": infos["action_mask"][self.names.index(name)].copy()} for name in self.agents}


def check_same(ours: Any, plain: Any) -> None:
    """Dicts have the same keys in the same order, arrays dtype and values; all else is equal and of one type."""
    assert type(ours) is type(plain)
    if isinstance(plain, dict):
        assert list(ours) == list(plain)
        for name, value in plain.items():
            check_same(ours[name], value)
    elif isinstance(plain, np.ndarray):
        assert ours.dtype == plain.dtype
        np.testing.assert_array_equal(ours, plain)
    else:
        assert ours == plain


@pytest.mark.parametrize("memory", [False, True], ids=["windows", "memory"])
@settings(max_examples=12)
@given(
    agents=st.integers(1, 6), seed=st.integers(0, 2**32), told=st.sampled_from(["in order", "shuffled", "the dead too"])
)
def test_whole_episodes_are_those_of_a_door_written_agent_by_agent(
    memory: bool, agents: int, seed: int, told: str
) -> None:
    arguments = {**HARSH, "memory": memory}
    door, plain = forage_v0.parallel_env(agents, **arguments), PlainDoor(agents, **arguments)
    random = np.random.default_rng(seed)
    for ours, theirs in zip(door.reset(seed=seed), plain.reset(seed), strict=True):
        check_same(ours, theirs)
    while door.agents:
        assert door.agents == plain.agents
        actions = {name: int(random.integers(6)) for name in plain.agents}
        expected = plain.step(actions)
        if told == "the dead too":
            actions = {name: actions.get(name, -99) for name in door.possible_agents}
        elif told == "shuffled":
            names = list(actions)
            actions = {names[n]: actions[names[n]] for n in random.permutation(len(names))}
        for ours, theirs in zip(door.step(actions), expected, strict=True):
            check_same(ours, theirs)
    assert plain.agents == []
    assert door.step({}) == ({}, {}, {}, {}, {})
    door.close()
    plain.perception.close()


def test_the_episodes_of_that_test_have_deaths_and_survivors() -> None:
    door = forage_v0.parallel_env(6, **HARSH)
    door.reset(seed=0)
    ended = []
    while door.agents:
        _, _, terminations, truncations, _ = door.step(dict.fromkeys(door.agents, 5))
        ended.append((sum(terminations.values()), sum(truncations.values())))
    deaths = [died for died, _ in ended]
    assert sum(deaths) > 0
    assert len(deaths) > 1, "some live on after the first step"
    assert any(died > 0 for died in deaths[:-1]), "some die before the others"
    door.close()


def test_no_two_dicts_or_arrays_of_a_step_are_one_memory() -> None:
    roster = Roster(NUMBERS, np.array([0, 2, 3]))
    together, masks, no = np.zeros((5, 2, 2, 1), np.float32), np.ones((5, 6), np.int8), np.zeros(5, np.bool_)
    dealt = (roster.observations(together), roster.infos(masks), roster.flags(no), roster.flags(no))
    assert dealt[2] is not dealt[3]
    dealt[2]["forager_0"] = True
    assert not dealt[3]["forager_0"]
    assert roster.flags(no) == {"forager_0": False, "forager_2": False, "forager_3": False}
    dealt[0]["forager_2"][:] = 1.0
    assert together.sum() == 4.0, "an observation is a view of its own row"
    assert together[2].sum() == 4.0
    dealt[1]["forager_3"]["action_mask"][:] = 0
    assert masks.sum(axis=1).tolist() == [6, 6, 6, 0, 6]


def test_who_leaves_is_dealt_nothing_and_the_others_keep_their_rows() -> None:
    everyone = Roster(NUMBERS, np.arange(5))
    nobody_over = np.zeros(5, np.bool_)
    assert everyone.without(nobody_over) is everyone
    over = np.array([False, True, False, False, True])
    three = everyone.without(over)
    assert three.names == ["forager_0", "forager_2", "forager_3"]
    assert three.without(over) is three, "who left before does not leave again"
    assert three.rewards(np.arange(5.0)) == {"forager_0": 0.0, "forager_2": 2.0, "forager_3": 3.0}
    assert three.flags(np.arange(5) == 3) == {"forager_0": False, "forager_2": False, "forager_3": True}
    assert three.flags(over) == dict.fromkeys(three.names, False)
    assert everyone.names == NAMES
    nobody = three.without(~over)
    assert nobody.names == []
    assert nobody.in_order({}).tolist() == [0] * 5


@pytest.mark.parametrize(
    ("actions", "row"),
    [
        ({"forager_0": 1, "forager_2": 2, "forager_3": 3}, [1, 0, 2, 3, 0]),
        ({"forager_3": 3, "forager_0": 1, "forager_2": 2}, [1, 0, 2, 3, 0]),
        ({"forager_4": 9, "forager_3": 3, "forager_0": 1, "forager_2": 2}, [1, 0, 2, 3, 0]),
        ({"forager_0": np.int32(1), "forager_2": np.array(2), "forager_3": np.uint8(3)}, [1, 0, 2, 3, 0]),
    ],
    ids=["in order", "shuffled", "the dead too", "integers of every kind"],
)
def test_actions_are_put_in_order(actions: dict[str, Any], row: list[int]) -> None:
    given: NDArray[Any] = Roster(NUMBERS, np.array([0, 2, 3])).in_order(actions)
    assert given.tolist() == row
    assert given.dtype.kind == "i"


@pytest.mark.parametrize(
    "names", [["forager_0", "forager_2"], ["forager_2", "forager_0"]], ids=["in order", "shuffled"]
)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"forager_2": [1, 2]}, "one integer"),
        ({"forager_0": [1], "forager_2": [2]}, r"got shape \(1,\) for each agent"),
        ({"forager_9": 1}, "no agent 'forager_9'"),
        ({"forager_2": None, "forager_22": 1}, "did you mean 'forager_2'"),
    ],
)
def test_what_is_no_action_is_refused_in_every_order(names: list[str], wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ActionError, match=message):
        Roster(NUMBERS, np.array([0, 2])).in_order({**dict.fromkeys(names, 0), **wrong})
