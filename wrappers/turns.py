"""Buffers that take turns: one is filled while what was asked of the others is still being read."""

from collections.abc import Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

T = TypeVar("T")


class End(Protocol):
    """The end of something asked of a device: a `torch.cuda.Event`."""

    def synchronize(self) -> None:
        """Wait for it."""


class Turns(Generic[T]):
    """Lends each of `buffers` in its turn, when all that was read from it before has been read.

    mark: an event behind all that the device was asked for until now; None: a read has ended when it was asked for.
    """

    def __init__(self, buffers: Sequence[T], mark: Callable[[], End] | None = None) -> None:
        self._buffers: Final = buffers
        self._mark: Final = mark
        self._reads: Final[list[End | None]] = [None] * len(buffers)
        self._at = -1

    def take(self) -> T:
        """The next buffer, of unspecified contents; waits where the device still reads it."""
        self._at = (self._at + 1) % len(self._buffers)
        end, self._reads[self._at] = self._reads[self._at], None
        if end is not None:
            end.synchronize()
        return self._buffers[self._at]

    def is_lent(self, buffer: object) -> bool:
        """Whether `buffer` is what `take()` returned last."""
        return self._at >= 0 and buffer is self._buffers[self._at]

    def read(self) -> None:
        """Note that the device has been asked to read the buffer lent last."""
        self._reads[self._at] = None if self._mark is None else self._mark()
