"""A step that was taken, but whose answer found no room on the disk: the same call again completes it."""

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memfarm.errors import ActionError


class Unfinished:
    """What has happened of a step whose answer is still owed, and the actions that it was taken with."""

    def __init__(self) -> None:
        self._actions: NDArray[Any] | None = None
        self._result: Any = None

    def __bool__(self) -> bool:
        return self._actions is not None

    def owe(self, actions: ArrayLike, result: Any) -> None:
        """Keep the `result` of a step until `resume`."""
        self._actions, self._result = np.array(actions), result

    def resume(self, actions: ArrayLike) -> Any:
        """The result that is kept. Raises ActionError where the actions are not those it came from."""
        if self._actions is None or not np.array_equal(self._actions, actions):
            raise ActionError(_RULE)
        return self._result

    def drop(self) -> None:
        """Owe nothing."""
        self._actions = self._result = None


_RULE: Final = (
    "a step that found no room for what agents remember is completed by the same actions, got others; "
    "call step() again with those, or reset()"
)
