"""Pace: work in the background that leaves most of the time to what it runs beside."""

import time
from typing import Final

_SHARE: Final = 1 / 3  # of the time, at most
_LEAST: Final = 1e-3  # seconds; a shorter sleep is saved up


class Pace:
    """Call it between two pieces of work, of one thread: it sleeps so long that the thread is busy a third of the time.

    What it waits for counts as well: the interpreter's lock, which both threads need, and the disk.
    """

    def __init__(self) -> None:
        self._since = time.monotonic()

    def __call__(self) -> None:
        owed = (time.monotonic() - self._since) * (1 / _SHARE - 1)
        if owed >= _LEAST:
            time.sleep(owed)
            self._since = time.monotonic()


def at_once() -> None:
    """The pace of work that somebody waits for: none."""
