"""Ctrl-C and SIGTERM wait for the end of a step.

A handler of Python's runs between any two lines of Python, and most of them raise: an exception in the middle of a
step would leave half of it done. While a block of `DEFERRED` runs, what arrives is noted; the handler is called at its
end, when everything is whole.
"""

import _signal  # type: ignore[import-not-found]  # the bare calls: signal.signal's enums cost ten times as much
import os
from collections.abc import Callable
from signal import SIG_IGN, SIGINT, SIGTERM
from threading import get_ident, main_thread
from types import FrameType
from typing import Any, Final

_WAITING: Final = (int(SIGINT), int(SIGTERM))
_IGNORED: Final = int(SIG_IGN)

Arrived = list[tuple[Any, int, FrameType | None]]  # handler, signal, frame


class Deferred:
    """A block that no handler of SIGINT and SIGTERM interrupts; nests; does nothing outside the main thread.

    Handlers are called at the end of the outermost block, as they were when it began; SIGTERM's default, to end the
    process, waits as well. A handler that was set by other than Python, and an ignored signal, stay as they are.
    """

    __slots__ = ("_arrived", "_before", "_catch", "_depth", "_main")

    def __init__(self) -> None:
        self._depth = 0  # of the main thread: no other one comes here
        self._before: list[tuple[int, Any]] = []
        self._arrived: Arrived = []
        self._catch: Callable[[int, FrameType | None], None] = self._note
        self._find_main()

    def _find_main(self) -> None:
        self._main = main_thread().ident

    def __enter__(self) -> None:
        if get_ident() != self._main:
            return
        self._depth += 1
        if self._depth == 1:
            try:
                for number in _WAITING:
                    handler = _signal.getsignal(number)
                    if handler is not None and handler != _IGNORED:
                        self._before.append((number, handler))
                        _signal.signal(number, self._catch)
            except BaseException:  # one arrived before its handler was taken over
                self._depth = 0
                self._restore()
                raise

    def __exit__(self, *_: object) -> None:
        if not self._depth or get_ident() != self._main:
            return
        self._depth -= 1
        if self._depth == 0:
            try:
                self._restore()
            finally:
                if self._arrived:
                    arrived, self._arrived = self._arrived, []
                    _call(arrived)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._arrived.append((dict(self._before)[number], number, frame))

    def _restore(self) -> None:
        try:
            while self._before:
                number, handler = self._before[-1]
                mine = _signal.signal(number, handler)
                self._before.pop()
                if mine is not self._catch:  # the block set one of its own
                    _signal.signal(number, mine)
        except BaseException:  # one that is back was called at once, and raised: the others come back all the same
            self._restore()
            raise


def _call(arrived: Arrived) -> None:
    """Call the handlers one after the other, also where one raises."""
    (handler, number, frame), *rest = arrived
    try:
        if callable(handler):
            handler(number, frame)
        else:
            _signal.raise_signal(number)
    finally:
        if rest:
            _call(rest)


DEFERRED: Final = Deferred()
"""The block of this process."""

os.register_at_fork(after_in_child=DEFERRED._find_main)  # a child's main thread is the one that forked
