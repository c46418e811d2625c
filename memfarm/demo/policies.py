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
_ACTIONS, _UNIT, _NO_WAY = 8, 4096, np.int32(1 << 29)


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
        price = np.float32(1.0) + np.float32(self._ticks_per_cost) * layers["TERRAIN_COST"]
        effort, first = ways(blocked, price, masks)
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

    blocked, price: `(N, S, S)`, where nobody can walk and what walking onto a cell costs, to 1 / 4096. masks: `(N, A)`,
    the moves that are legal now. Returns float32 `(N, S, S)`, infinite where no way leads, and int64 `(N, S, S)`, new.
    Bellman-Ford: each round lets the ways grow by a cell or more, until none gets cheaper. A way is one integer, its
    cost in the high bits and the action it begins with in the low ones, so that the cheaper is the smaller.
    """
    agents, side, _ = blocked.shape
    middle = side // 2
    toll = np.where(blocked, _NO_WAY, np.rint(price * _UNIT).astype(np.int32) * _ACTIONS)
    way = np.full((agents, side + 2, side + 2), _NO_WAY, np.int32)  # with a rim that nobody gets onto
    for action, dy, dx in MOVES:
        first = np.where(masks[:, action], toll[:, middle + dy, middle + dx] + action, _NO_WAY)
        way[:, middle + 1 + dy, middle + 1 + dx] = np.minimum(first, _NO_WAY)
    toll[:, middle, middle] = _NO_WAY
    here = way[:, 1:-1, 1:-1]
    grows = True
    while grows:
        before = here.copy()
        for _, dy, dx in MOVES:
            np.minimum(here, way[:, 1 + dy : side + 1 + dy, 1 + dx : side + 1 + dx] + toll, out=here)
        grows = bool((here < before).any())
    cost = np.where(here < _NO_WAY, (here // _ACTIONS).astype(np.float32) / np.float32(_UNIT), np.float32(np.inf))
    cost[:, middle, middle] = 0.0
    return cost, (here % _ACTIONS).astype(np.int64)
