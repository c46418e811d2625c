"""Roster: who takes part, and how what comes for all agents together is dealt out by name."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from memfarm.envs.doors.perception import Observation, each
from memfarm.envs.rules import Flags
from memfarm.errors import ActionError, did_you_mean

T = TypeVar("T")


class Roster:
    """Some of N agents by name: those at index `numbers` `(M,)`, ascending. It never changes.

    everyone: the numbers of all N by name, in their order. `names` are those of the M.
    What is dealt out is a new dict of these, in their order.
    """

    def __init__(self, everyone: Mapping[str, int], numbers: NDArray[np.intp]) -> None:
        self._everyone: Final = everyone
        self._numbers: Final = numbers
        self._rows: Final[Sequence[int] | None] = None if len(numbers) == len(everyone) else numbers.tolist()
        order = list(everyone)
        self.names: Final = [order[n] for n in numbers.tolist()]
        self._none: Final = dict.fromkeys(self.names, False)

    def observations(self, together: Any) -> dict[str, Observation]:
        """An observation each, views of those of all: an array `(N, ...)` or a dict of such arrays."""
        return self._dealt(each(together, self._rows))

    def rewards(self, column: NDArray[np.floating[Any]]) -> dict[str, float]:
        """A float each, of `column` `(N,)`."""
        return self._dealt(self._mine(column).tolist())

    def flags(self, column: Flags) -> dict[str, bool]:
        """A bool each, of `column` `(N,)`."""
        mine = self._mine(column)
        if not mine.any():  # as in most steps, and to copy a dict takes a tenth of the time of making it
            return self._none.copy()
        return self._dealt(mine.tolist())

    def infos(self, masks: NDArray[np.int8]) -> dict[str, dict[str, Any]]:
        """An info each: its row of `masks` `(N, actions)`, a view."""
        return self._dealt([{"action_mask": mask} for mask in each(masks, self._rows)])

    def in_order(self, actions: Mapping[str, Any]) -> NDArray[Any]:
        """The actions `(N,)` by number, 0 for who takes no part, whatever that one was told; the core checks the rest.

        Raises ActionError where a name is missing or unknown, or where an action is not one thing.
        """
        given = self._given(actions)
        if self._rows is None:
            return given
        together = np.zeros(len(self._everyone), given.dtype if self.names else np.int64)
        together[self._numbers] = given
        return together

    def without(self, over: Flags) -> "Roster":
        """Those who are not `over` `(N,)`; the same roster where nobody leaves."""
        leave = self._mine(over)
        return Roster(self._everyone, self._numbers[~leave]) if leave.any() else self

    def _given(self, actions: Mapping[str, Any]) -> NDArray[Any]:
        """The actions `(M,)` of those who take part."""
        if list(actions) == self.names:  # as who goes through `agents` makes it: need not be looked up
            return _one_each(list(actions.values()))
        try:
            given = _one_each([actions[name] for name in self.names])
        except KeyError as error:
            raise ActionError(
                f"every living agent needs an action, got none for {error.args[0]!r}; pass one for each of env.agents"
            ) from None
        if len(actions) != len(self.names):
            for name in actions:
                if name not in self._everyone:
                    raise ActionError(f"there is no agent {name!r}; {did_you_mean(str(name), self.names)}")
        return given

    def _dealt(self, values: Iterable[T]) -> dict[str, T]:
        """One of `values` each, in a new dict: the copy of one that has the names already need not grow."""
        dealt: dict[str, Any] = self._none.copy()
        dealt.update(zip(self.names, values, strict=True))
        return dealt

    def _mine(self, column: NDArray[Any]) -> NDArray[Any]:
        return column if self._rows is None else column[self._numbers]


def _one_each(given: list[Any]) -> NDArray[Any]:
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise ActionError(f"an action must be one integer, got {given!r:.80}") from error
    if array.shape != (len(given),):
        raise ActionError(f"an action must be one integer, got shape {array.shape[1:]} for each agent")
    return array
