"""The exceptions memfarm raises, one tree.

A message states the rule, what was got, and the remedy. Every class also derives from the
built-in exception that a caller who does not know memfarm would catch.
"""

import difflib
from collections.abc import Iterable


class MemfarmError(Exception):
    """Base of every error that memfarm raises on purpose."""


class ConfigError(MemfarmError, ValueError):
    """An argument or a configuration value breaks a rule; nothing was built."""


class ShapeError(MemfarmError, ValueError):
    """An array, a window or a coordinate does not fit the grid; nothing was written."""


class DTypeError(MemfarmError, TypeError):
    """An array's dtype cannot be used without losing what it says; nothing was written."""


class ValueRangeError(MemfarmError, ValueError):
    """A value is NaN, infinite, or outside what its channel or call allows; nothing was written."""


class ChannelError(MemfarmError, LookupError):
    """A channel or layer is unknown, or its name is taken."""


class ActionError(MemfarmError, ValueError):
    """An action is outside the action space; no agent moved."""


class ClosedError(MemfarmError, RuntimeError):
    """A grid, world or environment was used after `close()`."""


class ReadOnlyError(MemfarmError, PermissionError):
    """A write to something that was opened with mode "r"."""


class StorageError(MemfarmError, OSError):
    """A file or folder cannot be used as asked."""


class WorldFormatError(StorageError):
    """What lies on disk is not a world this version can read: foreign, truncated or newer."""


class WorldLockedError(StorageError):
    """Another writer holds the world; the message names its process."""


class DirtyWorldError(StorageError):
    """The world's writer died inside a step; the message names the last snapshot, if there is one."""


class TornReadError(StorageError):
    """A read beside a running writer found no whole tick in a bounded number of tries."""


class WorkerError(MemfarmError, RuntimeError):
    """A worker process of a sharded environment raised or died; the message names its shard."""


class TerrainError(MemfarmError, ValueError):
    """A raster, an octile map or a recipe cannot be made into terrain."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The tail of a message about an unknown `name`: the nearest known one, then all of them."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name.upper(), [n.upper() for n in names], n=1, cutoff=0.5)
    hint = ""
    if nearest:
        match = next(n for n in names if n.upper() == nearest[0])
        hint = f"did you mean {match!r}? "
    return f"{hint}known: {', '.join(names) if names else 'none'}"
