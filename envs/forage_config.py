"""What Forage can be told: energy, food and rewards, and their defaults."""

from collections.abc import Mapping
from typing import Annotated, Final, Self

from pydantic import Field, field_validator, model_validator

from memfarm.config import AgentsConfig, MemmapConfig, RewardConfig, SimulationConfig

_Positive = Annotated[float, Field(gt=0.0, le=1e6)]
_Weight = Annotated[float, Field(ge=0.0, le=1e6)]


class ForageAgents(AgentsConfig):
    """The bodies of Forage's agents, in units of energy.

    max_energy: what a body can store. start_energy: what it is born with, at most `max_energy`.
    metabolism: spent every step. terrain_weight: spent on a step onto ground of TERRAIN_COST 1.
    bite: how much of RESOURCES one meal takes at most. food_energy: energy of one unit of RESOURCES.
    teams: how many teams the agents of a world are dealt into, one after the other; those of another are enemies.
    goals: whether each agent has a cell of its own to go to, and another when it has got there.
    """

    max_energy: _Positive = 1.0
    start_energy: _Positive = 0.5
    metabolism: _Weight = 0.004
    terrain_weight: _Weight = 0.003
    bite: _Positive = 0.25
    food_energy: _Weight = 0.15
    teams: Annotated[int, Field(ge=1, le=64)] = 1
    goals: bool = False

    @model_validator(mode="after")
    def _born_within_bounds(self) -> Self:
        if self.start_energy > self.max_energy:
            raise ValueError(f"must have start_energy of at most max_energy={self.max_energy}")
        return self


class ForageReward(RewardConfig):
    """What Forage rewards.

    energy_weight: reward of a unit of energy gained, and price of one spent. death_penalty: price of a death.
    goal_reward: reward of getting to one's goal.
    """

    energy_weight: _Weight = 1.0
    death_penalty: _Weight = 1.0
    goal_reward: _Weight = 0.5


_STORED: Final = {"temporal": "float16"}


class ForageConfig(SimulationConfig):
    """The configuration of Forage; the sections that it does not name are `SimulationConfig`'s.

    memmap: where it says no dtype, the fields (TRAILS, DAMAGE_HEAT, ALLY_SIGNAL) are float16: half the memory, and less
        of it to wait for, at a resolution of 1/2048 of each value.
    """

    agents: ForageAgents = ForageAgents()
    reward: ForageReward = ForageReward()
    memmap: MemmapConfig = MemmapConfig(dtype=_STORED)

    @field_validator("memmap", mode="before")
    @classmethod
    def _narrow_fields(cls, memmap: object) -> object:
        if isinstance(memmap, MemmapConfig) and "dtype" not in memmap.model_fields_set:
            return memmap.model_copy(update={"dtype": _STORED})
        if isinstance(memmap, Mapping) and "dtype" not in memmap:
            return {**memmap, "dtype": _STORED}
        return memmap
