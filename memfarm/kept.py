"""Kept: a world's manifest and its snapshots, taken by its writer for itself and for readers who ask."""

import functools
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Literal, overload

from memfarm import checksums, locks, publishing, requests, snapshots
from memfarm.background import Background, Fill
from memfarm.config import MemmapConfig
from memfarm.errors import ConfigError
from memfarm.grid import ChannelGrid
from memfarm.layered import Layered
from memfarm.layout import Boundary
from memfarm.manifest import GridEntry, Manifest
from memfarm.snapshot_files import Later, Pace, Written


class Kept(Layered):
    """What a `World` is on the disk."""

    boundary: Boundary
    seed: int
    _memmap: MemmapConfig
    _map: str | None  # the folder of the world whose ground this one sees
    _shared_map: "Kept | None"
    _behind: Background | None = None  # the last snapshot in the background

    @overload
    def snapshot(self, path: str | os.PathLike[str], *, background: Literal[False] = False) -> None: ...

    @overload
    def snapshot(self, path: str | os.PathLike[str], *, background: Literal[True]) -> Background: ...

    def snapshot(self, path: str | os.PathLike[str], *, background: bool = False) -> Background | None:
        """Keep the world as it is now in a new folder `path`: `World.open(path)` opens it. It is whole or absent.

        Costs what was written since the last reset, whatever the world measures; holes stay holes. Every byte has a
        checksum, which opening verifies. With a `map` the ground stays there. Raises StorageError (ENOSPC: disk full),
        ConfigError where this is a reader beside a running writer.
        background: return at once, and write it while the world goes on: `.wait()` on what is returned. Meanwhile up to
        64 MiB a grid of tiles that are written before their turn wait in memory. The next snapshot, and `close()`, wait
        for it.
        """
        self._check_may_keep()
        if background:
            return self.keep_behind(path, self.later, _fill, Path(path))
        self._finish_behind()
        with publishing.publish(path) as folder:
            checksums.write(folder, self.write_into(folder))
        self.remember_snapshot(Path(path))
        return None

    def keep_behind(
        self, path: str | os.PathLike[str], begin: Callable[[], Later], fill: Fill, last: Path
    ) -> Background:
        """Have a thread make the snapshot `path` of this world, and more, which has the world's part at `last`."""
        if self._memmap.mode == "r":
            raise ConfigError("a snapshot in the background is taken by who writes the world; leave background out")
        self._finish_behind()
        self._behind = Background(path, begin, fill, functools.partial(self.remember_snapshot, last))
        return self._behind

    def _finish_behind(self) -> None:
        """Wait for the snapshot in the background. Raises what went wrong there, if nobody has heard of it."""
        if self._behind is not None:
            self._behind.join()
            self._behind.tell()

    def _check_may_keep(self) -> None:
        self.check_open()
        if self.path is not None and self._memmap.mode == "r" and locks.writer_of(self.path) is not None:
            raise ConfigError("a snapshot beside a running writer is the writer's to take; use request_snapshot()")

    def remember_snapshot(self, path: Path) -> None:
        """Note in a named world's folder that `path` is its last snapshot, which `recover=True` goes back to."""
        if self.path is not None and self._owned():
            snapshots.remember(self.path, path)

    def request_snapshot(self, path: str | os.PathLike[str], timeout: float = 60.0) -> None:
        """Have this world's writer, in another process, take a snapshot to the new folder `path`; wait until it is.

        timeout: seconds; it is taken at the end of the step that is under way. Raises StorageError where there is no
        writer (any more), none that steps, or none that can; ConfigError where the path exists or is in the world.
        """
        self.check_open()
        if self.path is None or self._memmap.mode != "r":
            raise ConfigError("a request goes from a reader to a writer; this process has the world: use snapshot()")
        requests.ask(self.path, Path(path), timeout)

    def answer_requests(self) -> None:
        """Take the snapshots that readers asked for; done by itself after each step, tick or `writing()`."""
        self.check_open()
        if self.path is not None and self._owned():
            self._guard.note_answers()  # first: a snapshot comes by here
            requests.answer(self.path, self.snapshot)

    def write_into(self, folder: Path) -> Written:
        """Write a snapshot's files into a new folder, for who publishes and seals it with others of its own."""
        self.check_open()
        return self.in_one_tick(self._write_into, folder)

    def _write_into(self, folder: Path) -> Written:
        own = {group: grid.stock() for group, grid in self._own_grids().items()}
        return snapshots.write(folder, self._manifest(), self.tick, own, self.sparse)

    def later(self) -> Later:
        """What `write_into` would write now, for a thread that writes it while the world goes on."""
        self.check_open()
        own = self._own_grids()
        frame = snapshots.frame(self._manifest(), self.tick, "environmental" in own, self.sparse)
        copied = (functools.partial(Later.of, grid) for grid in own.values())
        return Later.join([lambda: frame, *copied])

    def _own_grids(self) -> dict[str, ChannelGrid]:
        return {g: grid for g, grid in self.grids.items() if g != "environmental" or not self.ground_is_shared}

    @property
    def ground_is_shared(self) -> bool:
        """Whether the ground is a map's, and as it is there."""
        return self._shared_map is not None and not self.environmental.grid.changed

    @property
    def ground_is_writable(self) -> bool:
        """Whether the ground is this world's own, or may become it."""
        return self.environmental.grid.writable

    def check_alike(self, other: "Kept") -> None:
        """Raise WorldFormatError unless world `other` was made with the same shape, edge, dtypes and channels."""
        mine, its = self._manifest(), other._manifest()
        asked = its.model_copy(update={"copies": mine.copies, "grids": _with_copies_of(its, mine)})
        mine.check_same(asked, str(self.path))

    def _write_manifest(self, folder: Path) -> None:
        self._manifest().write(folder)

    def _manifest(self) -> Manifest:
        grids = {
            group: GridEntry.of(grid.channels, grid.copies, grid.dtype, grid.backend)
            for group, grid in self.grids.items()
        }
        return Manifest(
            shape=self.shape,
            copies=self.copies,
            boundary=self.boundary,
            seed=self.seed,
            tick=self.tick,
            map=self._map if self.ground_is_shared else None,
            grids=grids,
        )


def _with_copies_of(manifest: Manifest, other: Manifest) -> dict[str, GridEntry]:
    return {g: e.model_copy(update={"copies": other.grids[g].copies}) for g, e in manifest.grids.items()}


def _fill(folder: Path, later: Later, pace: Pace) -> None:
    checksums.write(folder, later.write(folder, pace), pace)


def serve(world: weakref.ref[Kept]) -> None:
    """Take what readers of `world` asked for, if it is still there."""
    there = world()
    if there is not None:
        there.answer_requests()
