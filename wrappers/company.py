"""What agents are to each other and to themselves: the channels that no world stores."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memfarm.errors import ConfigError
from memfarm.windows import Points

Rows = NDArray[np.integer[Any]]


@dataclass(slots=True)
class Sight:
    """What a WindowCutter is given beside the cells that it cuts around; see there."""

    centres: dict[str, ArrayLike] = field(default_factory=dict)
    points: dict[str, Points] = field(default_factory=dict)
    layers: dict[str, ArrayLike] = field(default_factory=dict)


_NEEDS: Final = {"ENEMIES_HP": "team", "GOAL": "goal"}


class Company:
    """SELF_HP, ALLIES_HP, ENEMIES_HP and GOAL, as a WindowCutter takes them.

    Allies are the other living agents of one's team and world (of one's world, where agents have no `team`), enemies
    those of the other teams. A goal is seen by the agent whose it is, as 1 at its cell.

    channels: those that are observed. agents: the environment's (`wrappers.window_observation.Agents`), which has a
        `team` `(N,)` where ENEMIES_HP is among them and a `goal` `(N, 2)` where GOAL is. Raises ConfigError.
    """

    def __init__(self, agents: Any, channels: Sequence[str]) -> None:
        for channel, part in _NEEDS.items():
            if channel in channels and not hasattr(agents, part):
                raise ConfigError(f"{channel} needs agents with a {part}, got {type(agents).__name__}; leave it out")
        self._channels: Final = frozenset(channels)
        self._teamed: Final = hasattr(agents, "team") and not self._channels.isdisjoint(("ALLIES_HP", "ENEMIES_HP"))
        self._hp: Final = np.zeros(len(agents.hp), np.float32)

    def sight(self, agents: Any, rows: Rows | None = None) -> Sight:
        """What the windows of all agents show of them, or the windows of those at index `rows` `(M,)`."""
        np.multiply(agents.hp, agents.alive, out=self._hp)  # painting 0 is painting nothing: the dead are no allies
        sight = Sight()
        if "SELF_HP" in self._channels:
            sight.centres["SELF_HP"] = _chosen(self._hp, rows)
        teams = int(agents.team.max()) + 1 if self._teamed else 1
        if teams > 1:
            self._add_teams(sight, agents, teams, rows)
        elif "ALLIES_HP" in self._channels:
            sight.points["ALLIES_HP"] = (agents.copy, agents.y, agents.x, self._hp)
        if "GOAL" in self._channels:
            goal, alive = _chosen(agents.goal, rows), _chosen(agents.alive, rows)
            window = np.flatnonzero(alive & (goal[:, 0] >= 0))
            sight.points["GOAL"] = (window, goal[window, 0], goal[window, 1], 1.0)
            sight.layers["GOAL"] = np.arange(len(goal))  # each window sees its own agent's goal alone
        return sight

    def _add_teams(self, sight: Sight, agents: Any, teams: int, rows: Rows | None) -> None:
        """Every team of every world is a layer of its own, that its agents look at; enemies stand in all but theirs."""
        home = agents.copy * np.int32(teams) + agents.team
        if "ALLIES_HP" in self._channels:
            sight.points["ALLIES_HP"] = (home, agents.y, agents.x, self._hp)
            sight.layers["ALLIES_HP"] = _chosen(home, rows)
        if "ENEMIES_HP" in self._channels:
            others = [agents.copy * np.int32(teams) + (agents.team + n) % teams for n in range(1, teams)]
            y, x, hp = (np.tile(values, teams - 1) for values in (agents.y, agents.x, self._hp))
            sight.points["ENEMIES_HP"] = (np.concatenate(others), y, x, hp)
            sight.layers["ENEMIES_HP"] = _chosen(home, rows)


def _chosen(values: NDArray[Any], rows: Rows | None) -> NDArray[Any]:
    return values if rows is None else values[rows]
