"""What agents are to each other and to themselves: the channels that no world stores."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memfarm.errors import ConfigError
from memfarm.windows import Points

Rows = NDArray[np.integer[Any]]
Sight = tuple[dict[str, ArrayLike], dict[str, Points], dict[str, ArrayLike]]

_NEEDS: Final = {"ENEMIES_HP": "team", "GOAL": "goal"}


class Company:
    """SELF_HP, ALLIES_HP, ENEMIES_HP and GOAL, as a WindowCutter takes them.

    Allies are the other living agents of one's team and world (of one's world, where agents have no `team`), enemies
    those of the other teams. A goal is seen by the agent whose it is, as 1 at its cell.

    channels: those that are observed. agents: the environment's (`wrappers.window_observation.Agents`), which has a
        `team` `(N,)` where ENEMIES_HP is among them and a `goal` `(N, 2)` where GOAL is. Raises ConfigError.
    """

    def __init__(self, agents: Any, channels: Sequence[str]) -> None:
        for channel, field in _NEEDS.items():
            if channel in channels and not hasattr(agents, field):
                raise ConfigError(f"{channel} needs agents with a {field}, got {type(agents).__name__}; leave it out")
        self._channels: Final = frozenset(channels)
        self._teamed: Final = hasattr(agents, "team") and not self._channels.isdisjoint(("ALLIES_HP", "ENEMIES_HP"))
        self._hp: Final = np.zeros(len(agents.hp), np.float32)

    def sight(self, agents: Any, rows: Rows | None = None) -> Sight:
        """Centres, points and layers for the windows of all agents, or of those at index `rows` `(M,)`."""
        np.multiply(agents.hp, agents.alive, out=self._hp)  # painting 0 is painting nothing: the dead are no allies
        centres: dict[str, ArrayLike] = {}
        points: dict[str, Points] = {}
        layers: dict[str, ArrayLike] = {}
        if "SELF_HP" in self._channels:
            centres["SELF_HP"] = _chosen(self._hp, rows)
        teams = int(agents.team.max()) + 1 if self._teamed else 1
        if teams > 1:
            self._add_teams(agents, teams, rows, points, layers)
        elif "ALLIES_HP" in self._channels:
            points["ALLIES_HP"] = (agents.copy, agents.y, agents.x, self._hp)
        if "GOAL" in self._channels:
            self._add_goals(agents, rows, points, layers)
        return centres, points, layers

    def _add_teams(
        self, agents: Any, teams: int, rows: Rows | None, points: dict[str, Points], layers: dict[str, ArrayLike]
    ) -> None:
        """Every team of every world is a layer of its own, that its agents look at; enemies stand in all but theirs."""
        home = agents.copy * np.int32(teams) + agents.team
        sight = _chosen(home, rows)
        if "ALLIES_HP" in self._channels:
            points["ALLIES_HP"], layers["ALLIES_HP"] = (home, agents.y, agents.x, self._hp), sight
        if "ENEMIES_HP" in self._channels:
            others = [agents.copy * np.int32(teams) + (agents.team + n) % teams for n in range(1, teams)]
            y, x, hp = (np.tile(values, teams - 1) for values in (agents.y, agents.x, self._hp))
            points["ENEMIES_HP"], layers["ENEMIES_HP"] = (np.concatenate(others), y, x, hp), sight

    def _add_goals(
        self, agents: Any, rows: Rows | None, points: dict[str, Points], layers: dict[str, ArrayLike]
    ) -> None:
        """Every agent is a layer of its own, in which its goal stands."""
        own = np.arange(len(agents.hp), dtype=np.int32)
        aims = own[agents.alive & (agents.goal[:, 0] >= 0)]
        if aims.size:
            y, x = agents.goal[aims].T
            points["GOAL"] = (aims, y, x, np.ones(len(aims), np.float32))
            layers["GOAL"] = _chosen(own, rows)


def _chosen(values: NDArray[Any], rows: Rows | None) -> NDArray[Any]:
    return values if rows is None else values[rows]
