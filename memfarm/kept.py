"""Kept: a world's manifest and its snapshots, taken by its writer for itself and for readers who ask."""

import os
import weakref
from pathlib import Path

from memfarm import checksums, locks, publishing, requests, snapshots
from memfarm.config import MemmapConfig
from memfarm.errors import ConfigError
from memfarm.layered import Layered
from memfarm.layout import Boundary
from memfarm.manifest import GridEntry, Manifest


class Kept(Layered):
    """What a `World` is on the disk."""

    boundary: Boundary
    seed: int
    _memmap: MemmapConfig
    _map: str | None  # the folder of the world whose ground this one sees
    _shared_map: "Kept | None"

    def snapshot(self, path: str | os.PathLike[str]) -> None:
        """Keep the world as it is now in a new folder `path`: `World.open(path)` opens it. It is whole or absent.

        Costs what was written since the last reset, whatever the world measures; holes stay holes. Every byte has a
        checksum, which opening verifies. With a `map` the ground stays there. Raises StorageError (ENOSPC: disk full),
        ConfigError where this is a reader beside a running writer.
        """
        self.check_open()
        if self.path is not None and self._memmap.mode == "r" and locks.writer_of(self.path) is not None:
            raise ConfigError("a snapshot beside a running writer is the writer's to take; use request_snapshot()")
        with publishing.publish(path) as folder:
            checksums.write(folder, self.write_into(folder))
        self.remember_snapshot(Path(path))

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

    def write_into(self, folder: Path) -> snapshots.Written:
        """Write a snapshot's files into a new folder, for who publishes and seals it with others of its own."""
        self.check_open()
        return self.in_one_tick(self._write_into, folder)

    def _write_into(self, folder: Path) -> snapshots.Written:
        own = {g: grid.stock() for g, grid in self.grids.items() if g != "environmental" or not self.ground_is_shared}
        return snapshots.write(folder, self._manifest(), self.tick, own, self.sparse)

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


def serve(world: weakref.ref[Kept]) -> None:
    """Take what readers of `world` asked for, if it is still there."""
    there = world()
    if there is not None:
        there.answer_requests()
