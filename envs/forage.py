"""Forage: walk, eat what grows, do not starve."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from memfarm.envs import placement
from memfarm.envs.base import GridEnv
from memfarm.envs.forage_config import ForageConfig
from memfarm.envs.foragers import EAST, EAT, NORTH, SOUTH, STAY, WEST, Foragers
from memfarm.envs.rules import Flags

__all__ = ["EAST", "EAT", "NORTH", "SOUTH", "STAY", "WEST", "Forage"]

_CONTEST, _FIRST_GOAL, _NEXT_GOAL = 4, 5, 6  # streams of a world's key


class Forage(GridEnv):
    """Foragers on a map live off food that regrows, and starve where they do not find it.

    ## Description
    Food (RESOURCES) grows back towards what each cell can bear (CAPACITY), slowly. Living costs energy every step, and
    walking on steep ground costs more. Agents leave TRAILS that fade, see a window around themselves, and stand in each
    other's way. One agent learns where to go; many learn what is left to them. Where one starves, DAMAGE_HEAT is left.
    With `teams=` they are dealt into teams that see each other apart; with `goals=True` each has a cell to go to.

    ## Actions
    `Discrete(6)`: 0 stay, 1 north (y - 1), 2 south, 3 west, 4 east, 5 eat.

    A move needs a cell inside the world, walkable (OBSTACLES below 0.5) and free at the start of the step; of several
    agents that want the same cell a draw picks one, whatever their order. A move that fails is a stay. Eating takes at
    most `bite` from the cell's RESOURCES. `info["action_mask"]`, int8 `(6,)`, is 1 where an action would do something.

    ## Observation
    The doors: the window around the agent, float32 `(S, S, C)` in [0, 1], S = 2 * radius + 1, by default C = 7: SELF_HP
    (own energy, in the centre cell), ALLIES_HP, RESOURCES, OBSTACLES, TERRAIN_COST, VISIBILITY, TRAILS. `channels=`
    picks others, in any order; "agentfarm" the 13 of `memfarm.channels.AGENTFARM`. This class itself: the agent's own
    state, float32 `(3,)` in [0, 1]: energy, y, x.

    ## Reward
    `energy_weight * (energy eaten - energy spent)`, less `death_penalty` on death, plus `goal_reward` where a goal is
    reached. What is eaten counts in full, also what `max_energy` leaves no room for.

        eaten = food_energy * food taken
        spent = metabolism + terrain_weight * TERRAIN_COST of the cell walked onto, if it moved
        energy = min(energy + eaten - spent, max_energy)

    ## Starting state
    Every agent on a free walkable cell of its own, drawn with the seed, with `start_energy`. All food fully grown, no
    trails.

    ## Episode end
    Termination: the agent's energy is 0 or less. With several agents a world goes on and the batched door gives the
    agent a new life in it. Truncation: after `max_cycles` steps, of all agents of a world at once.

    ## Arguments
    `map=None` (a folder of `memfarm build`, a recipe for `terrain.from_recipe`, or None: hills), `shape=None` (that of
    the map; 64 x 64 without one), `boundary="wall"` or `"wrap"`, `max_cycles=500`, `sparse_channels=()`; `radius=5`,
    `channels=None`, `mask_by_visibility=False`, `gamma_dmg`, `gamma_trail`, `gamma_sig`; energy: `max_energy=1.0`,
    `start_energy=0.5`, `metabolism=0.004`, `terrain_weight=0.003`, `bite=0.25`, `food_energy=0.15`; `teams=1`,
    `goals=False`; reward: `energy_weight=1.0`, `death_penalty=1.0`, `goal_reward=0.5`; `config=` a whole
    `ForageConfig`, dict or path; `render_mode="rgb_array"` or `"ansi"`.

        gymnasium.make("memfarm/Forage-v0", radius=3)
        gymnasium.make_vec("memfarm/Forage-v0", num_envs=1024, agents_per_world=256, tensor="torch")
        memfarm.envs.forage_v0.parallel_env(agents=64)

    ## Version history
    v0: the first.
    """

    CONFIG = ForageConfig
    NAME = "forage_v0"
    AGENT = "forager"
    ACTIONS = ("stay", "north", "south", "west", "east", "eat")
    OWN = ("energy", "y", "x")

    def _build(self) -> None:
        config = ForageConfig.load(self.config)
        self._body, self._weights = config.agents, config.reward
        self.agents.team[:] = self._slot % self._body.teams
        self._energy = np.zeros(self.num_envs, np.float32)
        self._foragers = Foragers(self._body, self.num_envs)

    def own_arrays(self) -> dict[str, NDArray[Any]]:
        """What a state holds beside the agents: their energy."""
        return {"energy": self._energy}

    def _spawn(self, index: NDArray[np.intp]) -> None:
        self._energy[index] = self._body.start_energy
        self.agents.hp[index] = np.float32(self._body.start_energy) / np.float32(self._body.max_energy)
        self._aim(index, _FIRST_GOAL)

    def _aim(self, index: NDArray[np.intp], stream: int) -> None:
        """Give the agents at `index` a walkable cell to go to, drawn from their world's key, if they have goals."""
        if self._body.goals and index.size:
            nobody = np.zeros(self.num_envs, np.bool_)
            draws = self._draws(stream, self._slot[index], index)
            cells = placement.place(self.world, self.agents.copy[index], draws, self.agents, nobody)
            self.agents.goal[index] = np.stack(cells, axis=1)

    def _act(self, actions: NDArray[np.int64], live: Flags) -> None:
        self._foragers.act(self.world, self.agents, actions, live, self._world_draws(_CONTEST), self._energy)

    def _settle(self, live: Flags) -> tuple[NDArray[np.float32], Flags]:
        reward, died = self._foragers.settle(self.world, self.agents, live, self._energy, self._weights)
        if self._body.goals:
            agents = self.agents
            there = live & ~died & (agents.goal[:, 0] == agents.y) & (agents.goal[:, 1] == agents.x)
            reward[there] += np.float32(self._weights.goal_reward)
            self._aim(np.flatnonzero(there), _NEXT_GOAL)
        return reward, died

    def _masks(self) -> Flags:
        return self._foragers.look(self.world, self.agents)

    def _own(self) -> NDArray[np.float32]:
        agents, (height, width) = self.agents, self.world.shape
        own = np.empty((self.num_envs, len(self.OWN)), np.float32)
        own[:, 0] = agents.hp
        own[:, 1] = agents.y / max(height - 1, 1)
        own[:, 2] = agents.x / max(width - 1, 1)
        return own
