"""Whole ticks: who writes marks what is under way, and who reads beside it notices and reads again.

`clock.npy` is int64 `(8,)`; docs/design/0004 names its words. The sequence number is odd while a write is under way, so
that two equal and even readings of it have nothing between them. It stays odd where the writer died.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, ParamSpec, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from memfarm import locks
from memfarm.errors import DirtyWorldError, ReadOnlyError, TornReadError
from memfarm.interrupts import DEFERRED
from memfarm.kernels import fence

TICK, SEQUENCE, ASKED, ANSWERED, WRITER = range(5)
WORDS: Final = 8

PATIENCE: Final = 10.0
"""Seconds that a reader pauses, all in all, on its way to a whole tick.

What it waits beyond its pauses, for a processor or a machine that stands still, does not count.
"""

_AT_ONCE: Final = 16  # tries before the first pause
_PAUSE: Final = (20e-6, 1e-3)  # seconds, the first one and the longest
_LOOK: Final = 256  # tries from one look at whether the writer lives to the next

P = ParamSpec("P")
T = TypeVar("T")


class OnClock(Protocol):
    """What a `Follower` moves to the tick that it reads: a ChannelGrid."""

    def stand_at(self, tick: int) -> None: ...


class Guard:
    """Brackets the writes of one world, whose `clock` (int64 `(8,)`) it moves; a grid of its own has one of its own.

    One thread writes a world at a time. `at_rest`, where set, is called after the outermost `writing()`.
    """

    def __init__(self, clock: NDArray[np.int64] | None = None) -> None:
        self._words = (np.zeros(WORDS, np.int64) if clock is None else clock).data
        self._depth = 0
        self._writing = _Writing(self)
        self.one_write: Final = _OneWrite(self)
        self.at_rest: Callable[[], None] | None = None

    @property
    def tick(self) -> int:
        """The clock's reading, in the file."""
        return int(self._words[TICK])

    @tick.setter
    def tick(self, tick: int) -> None:
        self._words[TICK] = tick

    @property
    def dirty(self) -> bool:
        """Whether a write is under way, or was when its writer died."""
        return bool(self._words[SEQUENCE] & 1)

    @property
    def sequence(self) -> int:
        """A number that moves with every write, odd while one is under way."""
        return int(self._words[SEQUENCE])

    def note_answers(self) -> None:
        """Note that what was asked for until now is being looked at."""
        self._words[ANSWERED] = self._words[ASKED]

    def writing(self) -> "_Writing":
        """A block of several writes that belong together; nests.

        Readers wait for its end, and so do Python's handlers of SIGINT and SIGTERM, in the main thread.
        """
        return self._writing

    def whole(self, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `read(*args)` returns, all of one tick: nobody else writes, so it is called once."""
        return read(*args, **kwargs)

    def follow(self, grid: OnClock) -> None:
        """Move `grid` along with the clock, where somebody else moves it."""

    def claim(self, pid: int) -> None:
        """Enter this process as the writer; 0 as it leaves, whole."""
        self._words[WRITER] = pid
        if not self._depth and self._words[SEQUENCE] & 1:
            self._words[SEQUENCE] += 1

    def close(self) -> None:
        """Let go of the clock; what it read last can still be read."""
        kept = np.array(self._words, np.int64).data
        self._words.release()
        self._words = kept
        self.at_rest = None


class _OneWrite:
    """The bracket of one compiled call. Inside `writing()` it does nothing.

    It keeps no count: a handler that raises between the call and the end of the bracket leaves the number odd, and the
    next write, or `claim`, makes it even again.
    """

    __slots__ = ("_guard",)

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def __enter__(self) -> None:
        guard = self._guard
        if not guard._depth:
            guard._words[SEQUENCE] |= 1
            fence()

    def __exit__(self, *_: object) -> None:
        guard = self._guard
        if not guard._depth:
            fence()
            guard._words[SEQUENCE] = (guard._words[SEQUENCE] | 1) + 1


class _Writing:
    """The bracket of many writes, see `Guard.writing`."""

    __slots__ = ("_guard",)

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def __enter__(self) -> None:
        guard = self._guard
        DEFERRED.__enter__()
        if not guard._depth:
            guard._words[SEQUENCE] |= 1
            fence()
        guard._depth += 1

    def __exit__(self, *_: object) -> None:
        guard = self._guard
        try:
            guard._depth -= 1
            if not guard._depth:
                fence()
                guard._words[SEQUENCE] = (guard._words[SEQUENCE] | 1) + 1
                if guard.at_rest is not None and guard._words[ASKED] != guard._words[ANSWERED]:
                    guard.at_rest()
        finally:
            DEFERRED.__exit__()


class Follower(Guard):
    """Reads beside a writer in another process: whatever `whole` returns is of one tick.

    Raises TornReadError where the writer leaves no room for `PATIENCE` seconds, and DirtyWorldError where it died
    inside a step.
    """

    def __init__(self, clock: NDArray[np.int64], folder: Path, died: Callable[[], DirtyWorldError]) -> None:
        super().__init__(clock)
        self._folder = folder
        self._died = died  # what to say where the writer did
        self._grids: list[OnClock] = []
        self._at = -1  # the tick that the grids stand at

    def writing(self) -> "_Writing":
        """Refuse."""
        raise ReadOnlyError(f"{str(self._folder)!r} was opened with mode='r', got a write; open it with 'r+' or 'c'")

    def follow(self, grid: OnClock) -> None:
        self._grids.append(grid)
        self._at = -1

    def whole(self, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `read(*args)` returns, all of one tick: called again where the writer came between. Nests."""
        if self._depth:
            return read(*args, **kwargs)
        words = self._words
        self._depth = 1
        try:
            for number in _tries():
                sequence = words[SEQUENCE]
                if sequence & 1:
                    if number % _LOOK == _LOOK - 1:
                        self._look()
                    continue
                fence()
                if words[TICK] != self._at:
                    self._stand_at(words[TICK])
                found = read(*args, **kwargs)
                fence()
                if words[SEQUENCE] == sequence:
                    return found
        finally:
            self._depth = 0
        raise self._no_room()

    def _look(self) -> None:
        if locks.writer_of(self._folder) is None and self.dirty:
            raise self._died()

    def _stand_at(self, tick: int) -> None:
        self._at = -1  # also where a grid refuses
        for grid in self._grids:
            grid.stand_at(tick)
        self._at = tick

    def _no_room(self) -> TornReadError:
        self._look()
        writer = locks.writer_of(self._folder) or "the last writer"
        return TornReadError(
            f"a read needs a moment between two steps, got none in {PATIENCE:g} s of {writer} "
            f"writing {str(self._folder)!r}; read less at a time, or ask for a snapshot with request_snapshot()"
        )


def _tries() -> Iterator[int]:
    """Count the tries of one read: some at once, then with growing pauses, `PATIENCE` seconds of them."""
    yield from range(_AT_ONCE)
    pause, longest = _PAUSE
    number, paused = _AT_ONCE, 0.0
    while paused < PATIENCE:
        time.sleep(pause)
        paused += pause
        pause = min(2 * pause, longest)
        yield number
        number += 1
