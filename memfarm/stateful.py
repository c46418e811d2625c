"""Snapshots of environments: what an environment and its wrappers hold, as states in memory and as parts of a folder.

A snapshot is a folder `{env.json, part-0/, part-1/, ...}`. Each part holds a run of worlds, as a world's snapshot with
more beside it, sealed with checksums; the index says how many worlds each part has.
"""

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol, Self, overload

import numpy as np
from numpy.typing import NDArray

from memfarm import checksums, files, sealed, states
from memfarm.background import Background
from memfarm.errors import ConfigError, WorldFormatError
from memfarm.publishing import publish
from memfarm.snapshot_files import Later, Pace, Written
from memfarm.states import State
from memfarm.world import World

INDEX: Final = "env.json"
_KIND: Final = "memfarm-env-1"
_ONE: Final = "part-0"

Worlds = NDArray[np.int64]


class Stateful(Protocol):
    """One thing of an environment that has a state of its own: its world, its agents, what these remember."""

    def take(self) -> State:
        """All of it, in memory of its own."""

    def check(self, state: State) -> None:
        """Raise ConfigError or WorldFormatError unless `put` can take `state`."""

    def put(self, state: State) -> None:
        """Be what `state` says; it was checked."""

    def write(self, folder: Path) -> Written:
        """Write it into a new part."""

    def later(self) -> Later:
        """The same as it is now, for another thread to write; whoever asks sees to its `end`."""

    def read(self, part: "Part", worlds: Worlds) -> State:
        """The state of some worlds of a part that was written so."""

    def join(self, states: Sequence[State]) -> State:
        """The worlds of all states, one after the other."""


class Part:
    """A part of a snapshot, opened to be read."""

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder
        self.world: Final = World.open(folder, "r")


class WorldState:
    """A world as a `Stateful`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def take(self) -> State:
        return states.take(self._world)

    def check(self, state: State) -> None:
        states.check(self._world, state)

    def put(self, state: State) -> None:
        states.put(self._world, state)

    def write(self, folder: Path) -> Written:
        return self._world.write_into(folder)

    def later(self) -> Later:
        return self._world.later()

    def read(self, part: Part, worlds: Worlds) -> State:
        part.world.check_alike(self._world)
        return states.take(part.world, worlds)

    def join(self, parts: Sequence[State]) -> State:
        return states.join(parts, self._world)


@dataclass(frozen=True, slots=True)
class Whole:
    """All that the state of an environment, with its wrappers, is made of."""

    world: World
    more: Mapping[str, Stateful]

    def things(self) -> dict[str, Stateful]:
        """Each by its name; the world first."""
        return {"world": WorldState(self.world), **self.more}

    def with_more(self, **more: Stateful) -> Self:
        """The same with something that a wrapper adds."""
        return type(self)(self.world, {**self.more, **more})

    def take(self) -> State:
        """The state of all things, by their names."""
        self.world.check_open()
        return {name: thing.take() for name, thing in self.things().items()}

    def put(self, state: State) -> None:
        """Put a state of all things back. Raises ConfigError or WorldFormatError, and nothing has changed then."""
        self.world.check_open()
        things = self.things()
        if not isinstance(state, Mapping) or set(state) != set(things):
            got = sorted(state) if isinstance(state, Mapping) else type(state).__name__
            raise WorldFormatError(f"the state of this environment has {sorted(things)}, got {got}; make it as it was")
        for name, thing in things.items():
            try:
                thing.check(state[name])
            except (KeyError, TypeError, AttributeError) as error:
                raise WorldFormatError(f"the state of the {name} is not as get_state() gives it: {error!r}") from error
        for name, thing in things.items():
            thing.put(state[name])

    def copy(self, other: "Whole", name: str) -> None:
        """Have one thing be as that of `other` is."""
        state = other.more[name].take()
        self.more[name].check(state)
        self.more[name].put(state)

    def write_part(self, part: Path) -> None:
        """Write all things into the new folder `part`. Raises StorageError, OSError."""
        self.world.check_open()
        part.mkdir(mode=0o700)
        written: Written = {}
        for thing in self.things().values():
            written |= thing.write(part)
        checksums.write(part, written)

    def later(self) -> Later:
        """All things as they are now, to be written behind the run. Whoever asks sees to its `end`."""
        self.world.check_open()
        return Later.join([thing.later for thing in self.things().values()])

    def read(self, path: Path, first: int) -> State:
        """The state that a snapshot has of this many worlds, from number `first` on, whatever parts hold them.

        Raises ConfigError or WorldFormatError.
        """
        self.world.check_open()
        things = self.things()
        found: dict[str, list[State]] = {name: [] for name in things}
        for folder, chosen in _parts(path, first, self.world.copies):
            with _opened(folder) as part:
                if chosen[-1] >= part.world.copies:
                    raise WorldFormatError(f"{str(folder)!r} has no world {chosen[-1]}, only {part.world.copies}")
                for name, thing in things.items():
                    found[name].append(thing.read(part, chosen))
        return {name: thing.join(found[name]) for name, thing in things.items()}


class Saved:
    """Saving, loading and copying for environments, wrappers and doors, each as the outermost one."""

    def whole(self) -> Whole:
        """What the state is made of."""
        raise NotImplementedError

    def look(self) -> tuple[Any, dict[str, Any]]:
        """The observation and infos of this moment, as the step or reset before gave them; nothing changes."""
        raise NotImplementedError

    def resume(self) -> None:
        """Take note that another state was put in place."""

    @overload
    def save(self, path: str | os.PathLike[str], *, background: Literal[False] = False) -> None: ...

    @overload
    def save(self, path: str | os.PathLike[str], *, background: Literal[True]) -> Background: ...

    def save(self, path: str | os.PathLike[str], *, background: bool = False) -> Background | None:
        """Make a snapshot in the new folder `path`, whole or not at all: worlds, agents, memories, generator, counters.

        Costs what was written in the worlds, whatever they measure. Raises StorageError (ENOSPC: the disk is full).
        background: of this moment, but written while the environment goes on; see `World.snapshot`.
        """
        whole = self.whole()
        part = Path(path) / _ONE
        if background:
            fill = functools.partial(_fill, whole.world.copies)
            return whole.world.keep_behind(path, whole.later, fill, part)
        with publish(path) as folder:
            whole.write_part(folder / _ONE)
            write_index(folder, {_ONE: whole.world.copies})
        whole.world.remember_snapshot(part)
        return None

    def save_part(self, folder: str | os.PathLike[str]) -> None:
        """Write these worlds into the new folder `folder`, one of several parts: not atomic, and without an index.

        `memfarm.envs.snapshots` has what makes a snapshot of parts. Raises StorageError, OSError.
        """
        self.whole().write_part(Path(folder))

    def load(self, path: str | os.PathLike[str], first: int = 0) -> tuple[Any, dict[str, Any]]:
        """Go on from a snapshot, with its worlds from number `first` on; the observation and infos of that moment.

        What follows is what would have followed there, to the last byte, whatever backend, process or number of parts
        it was saved from. The environment must have been made with the same configuration (what is stored where, and
        what is perceived, aside) and number of agents in a world. Everything is copied: `path` stays as it is.
        Raises ConfigError or WorldFormatError, and nothing has changed then.
        """
        whole = self.whole()
        return self.set_state(whole.read(Path(path), first))

    def get_state(self) -> State:
        """All that `set_state` needs to go on from here: a dict of plain arrays, numbers and strings, all copies."""
        return self.whole().take()

    def set_state(self, state: State) -> tuple[Any, dict[str, Any]]:
        """Go on from what `get_state` gave, here or in an environment like this; that moment's observation and infos.

        Raises ConfigError or WorldFormatError, and nothing has changed then.
        """
        self.whole().put(state)
        self.resume()
        return self.look()


def _fill(worlds: int, folder: Path, later: Later, pace: Pace) -> None:
    part = folder / _ONE
    part.mkdir(mode=0o700)
    checksums.write(part, later.write(part, pace), pace)
    write_index(folder, {_ONE: worlds})


def write_index(folder: Path, parts: Mapping[str, int]) -> None:
    """Write the index of a snapshot: its parts by name, in the order of their worlds, and how many each has."""
    sealed.write(folder / INDEX, _KIND, {"parts": [[name, count] for name, count in parts.items()]})


@contextmanager
def _opened(folder: Path) -> Iterator[Part]:
    part = Part(folder)
    try:
        yield part
    finally:
        part.world.close()


def _parts(path: Path, first: int, worlds: int) -> list[tuple[Path, Worlds]]:
    """The parts that hold the worlds `[first, first + worlds)`, and which of their own these are."""
    entries = sealed.read(path / INDEX, _KIND).get("parts")
    if not isinstance(entries, list) or not all(_plain(entry) for entry in entries):
        raise WorldFormatError(f"{str(path / INDEX)!r} must list parts and counts of worlds, got {entries!r:.200}")
    if not isinstance(first, int | np.integer) or isinstance(first, bool) or first < 0:
        raise ConfigError(f"first must be the number of a world, 0 or more, got {first!r}")
    total = sum(count for _, count in entries)
    if first + worlds > total:
        raise ConfigError(f"{str(path)!r} holds {total} worlds, got a load of {worlds} from number {first} on")
    chosen: list[tuple[Path, Worlds]] = []
    start = 0
    for name, count in entries:
        least, most = max(first - start, 0), min(first + worlds - start, count)
        if least < most:
            if (path / name).is_symlink():
                raise WorldFormatError(f"a part must be a folder of its own, got the link {str(path / name)!r}")
            chosen.append((path / name, np.arange(least, most)))
        start += count
    return chosen


def _plain(entry: Any) -> bool:
    if not isinstance(entry, list) or len(entry) != 2 or type(entry[1]) is not int or entry[1] < 1:
        return False
    return isinstance(entry[0], str) and files.safe_name(entry[0], "a part") == entry[0]
