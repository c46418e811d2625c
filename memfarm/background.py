"""Snapshots in the background: a thread writes what a run held at one moment while the run goes on."""

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from memfarm import snapshot_files
from memfarm.pace import Pace
from memfarm.publishing import publish
from memfarm.snapshot_files import Later

Fill = Callable[[Path, Later, snapshot_files.Pace], None]
"""Writes all files of a snapshot into its new folder, seals and all."""


class Background:
    """A snapshot that is being made, of the moment that it was asked for; `wait()` for it. It is whole or absent.

    begin: takes note of what there is now. fill: writes it, in a thread. at_end: called there when it lies at `path`.
    A process that exits waits for the thread. Who does not wait hears of a failure from the world's next snapshot, or
    from its `close()`. Raises StorageError where `path` is taken, and what `begin` raises.
    """

    def __init__(
        self, path: str | os.PathLike[str], begin: Callable[[], Later], fill: Fill, at_end: Callable[[], None]
    ) -> None:
        self.path: Final = Path(path)
        self._error: BaseException | None = None
        self._told = False
        with ExitStack() as open_ends:
            folder = open_ends.enter_context(publish(path))
            later = begin()
            open_ends.callback(later.end)
            handed_over = open_ends.pop_all()
            open_ends.push(handed_over)  # where no thread can be started
            arguments = (folder, later, fill, at_end, handed_over)
            self._thread: Final = threading.Thread(target=self._make, args=arguments, name="memfarm-snapshot")
            self._thread.start()
            open_ends.pop_all()

    def _make(self, folder: Path, later: Later, fill: Fill, at_end: Callable[[], None], open_ends: ExitStack) -> None:
        try:
            with open_ends:
                fill(folder, later, Pace())
            at_end()
        except BaseException as error:  # noqa: BLE001 - nobody looks at a thread: `wait` raises it
            self._error = error

    @property
    def done(self) -> bool:
        """Whether it has come to its end, good or bad."""
        return not self._thread.is_alive()

    @property
    def error(self) -> BaseException | None:
        """What went wrong, if anything did until now."""
        return self._error

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the snapshot lies at `path`; False where it does not yet after `timeout` seconds.

        Raises what went wrong: StorageError (ENOSPC: the disk is full); there is no snapshot then.
        """
        self._thread.join(timeout)
        if not self.done:
            return False
        self._told = True
        self._raise()
        return True

    def join(self) -> None:
        """Wait for its end, whatever that is."""
        self._thread.join()

    def tell(self) -> None:
        """Raise what went wrong, if it did and `wait` has not."""
        if self.done and not self._told:
            self._told = True
            self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
