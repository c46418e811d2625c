"""What foragers do to the grids of their world: all agents of a batch, in a few compiled calls a step."""

from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from memfarm import arrays
from memfarm.channels import find
from memfarm.envs.agents import Agents
from memfarm.envs.forage_config import ForageAgents, ForageReward
from memfarm.envs.placement import WALKABLE_BELOW
from memfarm.envs.rules import Flags
from memfarm.grid import ChannelGrid
from memfarm.kernels import Grid, forage_eat, forage_look, forage_settle, forage_walk
from memfarm.touched import NO_TILES
from memfarm.world import World

STAY, NORTH, SOUTH, WEST, EAST, EAT = range(6)
"""The actions, as the kernels know them."""


class Sites(NamedTuple):
    """Where in a world foragers walk, find food, and leave trails."""

    world: World
    ground: ChannelGrid
    blocked: int  # lanes
    price: int
    food: ChannelGrid
    resources: int
    fields: ChannelGrid | None  # None: neither of these is stored
    trails: int  # negative: not stored
    heat: int

    @classmethod
    def of(cls, world: World) -> Self:
        """Raises ChannelError where the world lacks a channel that is not temporal."""
        ground, food = world.grid_of("OBSTACLES"), world.grid_of("RESOURCES")
        blocked, price = (find(ground.channels, name) for name in ("OBSTACLES", "TERRAIN_COST"))
        resources = find(food.channels, "RESOURCES")
        grid = world.temporal.grid
        trails, heat = (find(grid.channels, name) if name in grid.names else -1 for name in ("TRAILS", "DAMAGE_HEAT"))
        fields = None if trails < 0 and heat < 0 else grid
        return cls(world, ground, blocked, price, food, resources, fields, trails, heat)

    def fields_to_write(self, name: str) -> Grid | None:
        """The compiled grid of the fields, if channel `name` is among them."""
        return None if self.fields is None or name not in self.fields.names else self.fields.compiled([name])


class Foragers:
    """The population's step, part by part; `count` agents, whose arrays the callers hand in."""

    def __init__(self, body: ForageAgents, count: int) -> None:
        self._body: Final = body
        self._eaten = np.zeros(count, np.float32)  # in this step, units of energy
        self._spent = np.zeros(count, np.float32)
        self._to_y = np.zeros(count, np.int32)
        self._to_x = np.zeros(count, np.int32)
        self._here: arrays.Cells = (self._to_y, self._to_y, self._to_x)  # where they came to, with their worlds
        self._sites: Sites | None = None

    def _at(self, world: World) -> Sites:
        if self._sites is None or self._sites.world is not world:
            self._sites = Sites.of(world)
        return self._sites

    def act(
        self,
        world: World,
        agents: Agents,
        actions: NDArray[np.int64],
        live: Flags,
        keys: NDArray[np.uint64],
        energy: NDArray[np.float32],
    ) -> None:
        """Who is `live` walks, eats, and leaves a trail; `agents` move in place. Notes what it costs and brings.

        keys: uint64 `(copies,)`, what contests for a cell are drawn from. Where the disk has no room (StorageError) no
        cell has changed, though agents have moved.
        """
        at, body = self._at(world), self._body
        copy, y, x = _cells(world, agents)
        food_tiles, field_tiles = world.in_one_tick(
            forage_walk,
            at.ground.compiled(),
            at.blocked,
            at.price,
            WALKABLE_BELOW,
            at.food.compiled(),
            None if at.fields is None else at.fields.compiled(),
            at.trails,
            copy,
            y,
            x,
            actions,
            live,
            agents.alive,
            energy,
            keys,
            body.metabolism,
            body.terrain_weight,
            self._to_y,
            self._to_x,
            self._spent,
        )
        agents.y[...], agents.x[...] = self._to_y, self._to_x
        here = self._here = copy, self._to_y, self._to_x
        at.food.reserve_tiles(food_tiles, lambda: _where(here, live & (actions == EAT)))
        if at.fields is not None:
            at.fields.reserve_tiles(field_tiles, lambda: _where(here, live))
        food, fields = at.food.compiled(["RESOURCES"]), at.fields_to_write("TRAILS")
        forage_eat(
            food, at.resources, fields, at.trails, *here, actions, live, body.bite, body.food_energy, self._eaten
        )
        if at.trails < 0:
            copy, y, x = _where(here, live)
            world.deposit_temporal_events("TRAILS", (y, x, np.ones(len(y))), copy, accumulate=False)

    def settle(
        self, world: World, agents: Agents, live: Flags, energy: NDArray[np.float32], weights: ForageReward
    ) -> tuple[NDArray[np.float32], Flags]:
        """Add what `act` noted to `energy`, in place, and to its share `agents.hp`; DAMAGE_HEAT where they die.

        Rewards float32 `(N,)`, and who died.
        """
        at, here = self._at(world), self._here
        if at.fields is not None:  # what was reserved; an epoch may have begun since
            at.fields.reserve_tiles(NO_TILES, lambda: _where(here, live))
        rewards, died, deaths = forage_settle(
            at.fields_to_write("DAMAGE_HEAT"),
            at.heat,
            *here,
            live,
            self._eaten,
            self._spent,
            energy,
            agents.hp,
            self._body.max_energy,
            weights.energy_weight,
            weights.death_penalty,
        )
        if deaths and at.heat < 0:
            copy, y, x = _where(here, died)
            world.deposit_temporal_events("DAMAGE_HEAT", (y, x, np.ones(len(y))), copy)
        return rewards, died

    def look(self, world: World, agents: Agents) -> Flags:
        """Which of the six actions would do something now, bool `(N, 6)`; new."""
        at = self._at(world)
        here = _cells(world, agents)
        masks = np.empty((len(agents), EAT + 1), np.bool_)
        world.in_one_tick(
            forage_look,
            at.ground.compiled(),
            at.blocked,
            WALKABLE_BELOW,
            at.food.compiled(),
            at.resources,
            *here,
            agents.alive,
            masks,
        )
        return masks


def _cells(world: World, agents: Agents) -> arrays.Cells:
    return arrays.cells(agents.copy, agents.y, agents.x, copies=world.copies, shape=world.shape)


def _where(cells: arrays.Cells, chosen: Flags) -> arrays.Cells:
    copy, y, x = cells
    return copy[chosen], y[chosen], x[chosen]
