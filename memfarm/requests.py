"""Snapshots that a reader asks for and the writer takes, by two small files in the world's folder.

A reader leaves `request-<token>.json` and raises a number in the clock, which is all that the writer looks at between
its steps; the writer leaves `answer-<token>.json`.
"""

import json
import os
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from memfarm import files, guard, locks, storage
from memfarm.errors import ConfigError, MemfarmError, StorageError

_NAME: Final = re.compile(r"(?:request|answer)-([0-9a-f]{16})\.json")
_LARGEST: Final = 1 << 16  # bytes of a request
_PAUSE: Final = (1e-3, 0.05)  # seconds between two looks for an answer, the first one and the longest


def ask(folder: Path, target: Path, timeout: float) -> None:
    """Have the writer of the world in `folder` take a snapshot to `target`; returns when it lies there.

    timeout: seconds. Raises StorageError where there is no writer (any more), where the time is over, or with what
    the writer says; ConfigError where the path cannot be one.
    """
    target = target.absolute()
    check_target(folder, target)
    _check_writer(folder)
    token = secrets.token_hex(8)
    request, answer = folder / f"request-{token}.json", folder / f"answer-{token}.json"
    end = time.monotonic() + timeout
    pause, longest = _PAUSE
    try:
        files.write_atomically(request, json.dumps({"path": str(target)}))
        _ring(folder)
        while not answer.exists():
            if time.monotonic() > end:
                raise StorageError(
                    f"a writer takes a snapshot at the end of a step, got none in {timeout:g} s from {folder}; "
                    "raise the timeout, or let the writer step"
                )
            time.sleep(pause)
            pause = min(2 * pause, longest)
            if not answer.exists():
                _check_writer(folder)
                _ring(folder)  # two who raise the number at once may raise it by one
        error = json.loads(files.read_text(answer, _LARGEST)).get("error")
        if error:
            raise StorageError(f"the writer of {str(folder)!r} could not take the snapshot: {error}")
    finally:
        files.remove([request, answer])


def check_target(folder: Path, target: Path) -> None:
    """Raise ConfigError unless `target` is a path where a snapshot of the world in `folder` can go."""
    parent = target.parent.resolve()
    if folder.resolve() in (parent, *parent.parents):
        raise ConfigError(f"a snapshot lies outside of its world's folder, got {str(target)!r}; choose another place")
    if os.path.lexists(target):
        raise ConfigError(f"a snapshot needs a new path, got {str(target)!r}, which exists; choose another one")


def _check_writer(folder: Path) -> None:
    if locks.writer_of(folder) is None:
        raise StorageError(
            f"a requested snapshot is taken by the world's writer, and {str(folder)!r} has none; open it with 'r+' and "
            "take it there"
        )


def _ring(folder: Path) -> None:
    """Raise the number of requests, where the last one that was raised has been answered."""
    fd = files.open_plain(folder / "clock.npy", "r+")
    try:
        words = np.frombuffer(os.pread(fd, 8 * guard.WORDS, storage.HEADER), np.int64)
        if words[guard.ASKED] == words[guard.ANSWERED]:
            os.pwrite(fd, (words[guard.ASKED] + 1).tobytes(), storage.HEADER + 8 * guard.ASKED)
    finally:
        os.close(fd)


def answer(folder: Path, take: Callable[[Path], None]) -> None:
    """Take the snapshots that were asked for; what goes wrong is the asker's to hear, and never the writer's."""
    for request in sorted(folder.glob("request-*.json")):
        found = _NAME.fullmatch(request.name)
        if found is None:
            continue
        reply = {"error": _taken(folder, request, take)}
        try:
            files.write_atomically(folder / f"answer-{found[1]}.json", json.dumps(reply))
        except OSError:  # no room for an answer: the asker's time runs out, and the run goes on
            continue
        finally:
            files.remove([request])


def _taken(folder: Path, request: Path, take: Callable[[Path], None]) -> str | None:
    """Take one; what went wrong, if anything did."""
    try:
        target = Path(json.loads(files.read_text(request, _LARGEST))["path"])
        if not target.is_absolute():
            raise ConfigError(f"a request names an absolute path, got {str(target)!r}")
        check_target(folder, target)
        take(target)
    except (MemfarmError, OSError) as error:
        return str(error) or type(error).__name__
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        return f"a request is JSON with a path, got {error!r:.200}"
    return None


def leftovers(folder: Path) -> list[Path]:
    """The requests and answers of readers who are gone."""
    return [path for path in folder.glob("*-*.json") if _NAME.fullmatch(path.name)]
