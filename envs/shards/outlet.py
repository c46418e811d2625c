"""How a sharded environment's observations leave: as NumPy arrays, or as tensors of the same memory."""

from typing import Any, Final, Protocol

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from memfarm.envs.shards.layout import Parts, observation
from memfarm.errors import ConfigError
from memfarm.wrappers.unit_box import UnitBox

_IMAGE: Final = 3  # dimensions of one agent's window: rows, columns, channels


class Outlet(Protocol):
    """What turns the parts of a batch into what the caller gets."""

    def hand_out(self, parts: Parts) -> Any: ...

    def actions(self, actions: Any) -> Any: ...

    def space(self, single: spaces.Space[Any]) -> spaces.Space[Any]: ...


class Arrays:
    """NumPy's outlet: the parts as they are."""

    def hand_out(self, parts: Parts) -> Any:
        """The array, or a dict of them."""
        return observation(parts)

    def actions(self, actions: Any) -> Any:
        """The actions as they are."""
        return actions

    def space(self, single: spaces.Space[Any]) -> spaces.Space[Any]:
        """The space of what is handed out for one agent whose observation is in `single`."""
        return single


class Tensors:
    """torch's outlet: views; windows `(N, S, S, C)` as `(N, C, S, S)` in channels_last strides."""

    def __init__(self) -> None:
        import torch  # enters with tensors only

        self._torch: Final = torch

    def hand_out(self, parts: Parts) -> Any:
        """The tensor, or a dict of them."""
        return observation({name: self._tensor(array) for name, array in parts.items()})

    def actions(self, actions: Any) -> Any:
        """A tensor of any device as an array, anything else as it is."""
        return actions.detach().cpu().numpy() if isinstance(actions, self._torch.Tensor) else actions

    def space(self, single: spaces.Space[Any]) -> spaces.Space[Any]:
        """The space of what is handed out for one agent whose observation is in `single`."""
        if isinstance(single, spaces.Dict):
            return spaces.Dict({name: self.space(one) for name, one in single.spaces.items()})
        if single.shape is not None and len(single.shape) == _IMAGE:
            return UnitBox((single.shape[2], *single.shape[:2]), np.dtype(single.dtype))
        return single

    def _tensor(self, array: NDArray[Any]) -> Any:
        tensor = self._torch.from_numpy(array)
        return tensor.permute(0, 3, 1, 2) if array.ndim == _IMAGE + 1 else tensor


def make_outlet(tensor: str) -> Outlet:
    """The outlet of that name."""
    if tensor == "torch":
        return Tensors()
    if tensor != "numpy":
        raise ConfigError(f"tensor must be 'numpy' or 'torch', got {tensor!r}")
    return Arrays()


def batched(single: spaces.Space[Any], count: int) -> spaces.Space[Any]:
    """The space of `count` observations in `single`, without bounds for each where they are all [0, 1]."""
    if isinstance(single, UnitBox):
        return UnitBox((count, *single.shape), single.dtype)
    if isinstance(single, spaces.Dict):
        return spaces.Dict({name: batched(one, count) for name, one in single.spaces.items()})
    return batch_space(single, count)
