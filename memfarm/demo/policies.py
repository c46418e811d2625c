"""The policies that the demo compares: a random one, a hand-written greedy one, and what PPO has learned."""

from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memfarm.examples.ppo import Policy, draw

Windows = NDArray[np.float32]
Masks = NDArray[np.bool_]
Actions = NDArray[np.int64]

MOVES: Final = ((1, -1, 0), (2, 1, 0), (3, 0, -1), (4, 0, 1))
"""Forage's moves: action, rows, columns."""
EAT: Final = 5


class Chooser(Protocol):
    """Actions int64 `(N,)` for windows `(N, C, S, S)` and masks bool `(N, A)`, True where an action is legal."""

    def __call__(self, windows: Tensor, masks: Masks) -> Actions: ...


class RandomChooser:
    """Any legal action, each as likely."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def __call__(self, windows: Tensor, masks: Masks) -> Actions:
        chosen: Actions = np.where(masks, self._rng.random(masks.shape), -1.0).argmax(1)
        return chosen


class LearnedChooser:
    """Actions drawn from a trained policy."""

    def __init__(self, policy: Policy, device: str, seed: int) -> None:
        self._policy, self._device = policy, torch.device(device)
        self._random = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def __call__(self, windows: Tensor, masks: Masks) -> Actions:
        logprobs, _ = self._policy(windows.to(self._device), torch.from_numpy(masks).to(self._device))
        chosen: Actions = draw(logprobs.cpu(), self._random).numpy()
        return chosen


class GreedyChooser:
    """Walk to the food in sight that pays best per tick, around obstacles and others; eat what pays better here.

    Food `f` that is `d` away pays `f / (d + f / bite)` a tick: what it holds over the time to get there and to eat it.
    `d` is the shortest way in the window: a tick a cell and, for its TERRAIN_COST, what a tick of eating would pay for.
    With nothing in sight it goes straight on, and turns now and then.

    channels: what the windows hold, in order. bite, food_energy, terrain_weight: the environment's own.
    """

    def __init__(
        self,
        channels: tuple[str, ...],
        *,
        bite: float,
        food_energy: float,
        terrain_weight: float,
        rng: np.random.Generator,
        turning: float = 0.05,
    ) -> None:
        self._at = {name: channels.index(name) for name in ("RESOURCES", "OBSTACLES", "TERRAIN_COST", "ALLIES_HP")}
        self._bite, self._rng, self._turning = bite, rng, turning
        self._ticks_per_cost = terrain_weight / (food_energy * bite)
        self._heading = np.zeros(0, np.int64)

    def __call__(self, windows: Tensor, masks: Masks) -> Actions:
        layers = {name: windows[:, at].cpu().numpy() for name, at in self._at.items()}
        food = layers["RESOURCES"]
        middle = food.shape[1] // 2
        blocked = (layers["OBSTACLES"] >= 0.5) | (layers["ALLIES_HP"] > 0.0)
        effort, first = ways(blocked, 1.0 + self._ticks_per_cost * layers["TERRAIN_COST"], masks)
        pays = np.where(np.isfinite(effort), food / (effort + food / self._bite + 1e-6), 0.0)
        pays[:, middle, middle] = 0.0
        agents = np.arange(len(food))
        flat = pays.reshape(len(food), -1)
        best = flat.argmax(1)
        walking = first.reshape(len(food), -1)[agents, best]
        actions = np.where(flat[agents, best] > 0.02 * self._bite, walking, self._roam(masks))
        here = np.minimum(food[:, middle, middle], self._bite)
        return np.where(masks[:, EAT] & (here > 0.0) & (here >= flat[agents, best]), EAT, actions)

    def _roam(self, masks: Masks) -> Actions:
        """Straight on where that is legal, else any legal move."""
        agents = np.arange(len(masks))
        if len(self._heading) != len(masks):
            self._heading = self._rng.integers(1, 5, len(masks))
        any_move = 1 + np.where(masks[:, 1:5], self._rng.random((len(masks), 4)), -1.0).argmax(1)
        turns = ~masks[agents, self._heading] | (self._rng.random(len(masks)) < self._turning)
        self._heading = np.where(turns, any_move, self._heading)
        return np.where(masks[agents, self._heading], self._heading, 0)


def ways(blocked: NDArray[np.bool_], price: Windows, masks: Masks) -> tuple[Windows, Actions]:
    """The cheapest ways from the middle of each window: what they cost and the actions they begin with.

    blocked, price: `(N, S, S)`, where nobody can walk and what walking onto a cell costs. masks: `(N, A)`, the moves
    that are legal now. Returns float32 `(N, S, S)`, infinite where no way leads, and int64 `(N, S, S)`. New arrays.
    Bellman-Ford: each round lets the ways grow by a cell or more, until none gets cheaper.
    """
    agents, side, _ = blocked.shape
    middle = side // 2
    cost = np.full((agents, side + 2, side + 2), np.inf, np.float32)  # a rim nobody gets onto
    first = np.zeros(cost.shape, np.int8)
    cost[:, middle + 1, middle + 1] = 0.0
    toll = np.where(blocked, np.float32(np.inf), price.astype(np.float32))
    for action, dy, dx in MOVES:
        inner = (slice(None), middle + 1 + dy, middle + 1 + dx)
        cost[inner] = np.where(masks[:, action], toll[:, middle + dy, middle + dx], np.inf)
        first[inner] = action
    toll[:, middle, middle] = np.inf
    here, named = cost[:, 1:-1, 1:-1], first[:, 1:-1, 1:-1]
    for _ in range(side * side):
        changed = False
        for _, dy, dx in MOVES:
            beside = (slice(None), slice(1 + dy, side + 1 + dy), slice(1 + dx, side + 1 + dx))
            # a way from the middle itself must begin with a legal move, which stands there already
            reached = cost[beside] + toll
            shorter = reached < here
            shorter[:, middle - dy, middle - dx] = False
            if shorter.any():
                np.copyto(here, reached, where=shorter)
                np.copyto(named, first[beside], where=shorter)
                changed = True
        if not changed:
            break
    return here.copy(), named.astype(np.int64)
