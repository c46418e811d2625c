"""What dead processes left in a folder of worlds: found by their names and marks, never taken from who is alive.

Alive is who holds a world's lock, and a process that runs under the pid that a name or a mark gives, unless it began
after what it should have made was last changed: then the number is another's by now. Processes of another machine
cannot be seen from here.
"""

import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from memfarm import locks
from memfarm.errors import StorageError, WorldLockedError
from memfarm.files import MARK, read_text
from memfarm.manifest import FILE

_PART: Final = re.compile(r"\..+\.part-(\d+)(?:-[0-9a-f]{8})?")
_SCRATCH: Final = re.compile(r"memfarm-(\d+)-\w{8}")
_WORLD: Final = re.compile(r".*_p\d+_\d+x\d+(?:_\d+)?")
_REWRITTEN: Final = re.compile(r"\.[\w.-]+\.json\.\w{8}")
_OURS: Final = re.compile(r"[^.].*\.(?:npy|npz|json)|lock|scratch|\.[\w.-]+\.json\.\w{8}")
_OUR_FOLDERS: Final = re.compile(r"part-\d+|memory|world|glimpses")
_DEEPEST: Final = 4
_LARGEST: Final = 1 << 12  # bytes of a mark
_CLOCKS: Final = 2.0  # seconds by which a file's clock and a process's may differ


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that nobody needs any more."""

    path: Path
    kind: str
    pid: int | None  # of the process that left it; None: unknown
    disk_bytes: int

    def to_dict(self) -> dict[str, Any]:
        return {"path": str(self.path), "kind": self.kind, "pid": self.pid, "disk_bytes": self.disk_bytes}


def find(folder: Path) -> list[Leftover]:
    """What lies in `folder`, or in the worlds in it, and was left by the dead; changes nothing, follows no link.

    Raises StorageError where there is no such folder.
    """
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise StorageError(
            error.errno, f"sweep needs a folder that can be read, got {str(folder)!r}: {error}"
        ) from error
    found = list(_in_world(folder)) if (folder / FILE).is_file() else []
    for path in inside:
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            continue
        left = _part_or_scratch(path) or _marked(path) or _unfinished(path)
        found.extend([left] if left is not None else _in_world(path))
    return found


def remove(left: Leftover) -> bool:
    """Remove it, if it is still what `find` saw; False where somebody has taken it up since. Raises StorageError."""
    world = left.path.parent if left.kind == _TEXT else left.path
    with ExitStack() as stack:
        try:
            if (world / locks.FILE).is_file():
                stack.callback(locks.WorldLock(world).release)
            if left.path.is_symlink() or not _still(left):
                return False
            if left.path.is_dir():
                shutil.rmtree(left.path)
            else:
                left.path.unlink()
        except WorldLockedError:
            return False
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError(error.errno, f"{str(left.path)!r} cannot be removed: {error}") from error
    return True


_TEXT: Final = "half-written text"


def _still(left: Leftover) -> bool:
    if left.kind == _TEXT:
        return left.path.is_file()
    return left.pid is None or not _runs(left.pid, left.path)


def _part_or_scratch(path: Path) -> Leftover | None:
    """A folder that was being made, by its name."""
    for pattern, kind in ((_PART, "unfinished copy"), (_SCRATCH, "scratch")):
        match = pattern.fullmatch(path.name)
        if match and _is_free(path, int(match[1])):
            return _leftover(path, kind, int(match[1]))
    return None


def _marked(path: Path) -> Leftover | None:
    """A world that was to be deleted when it closed, by its mark."""
    try:
        mark = json.loads(read_text(path / MARK, _LARGEST))
        pid = int(mark["pid"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return _leftover(path, "world to delete", pid) if _is_free(path, pid) else None


def _unfinished(path: Path) -> Leftover | None:
    """A world whose making did not come to its manifest, which is written last."""
    lock = path / locks.FILE
    if (path / FILE).exists() or not lock.is_file():
        return None
    try:
        text = read_text(lock, 20)
    except (OSError, ValueError):
        return None
    pid = int(text) if text.isascii() and text.isdigit() else None
    if not _WORLD.fullmatch(path.name) and not (path / "clock.npy").is_file():
        return None  # who knows whose lock that is
    return _leftover(path, "unfinished world", pid) if _is_free(path, pid) else None


def _in_world(path: Path) -> Iterator[Leftover]:
    """Texts that were being replaced in a world that nobody writes now."""
    if not (path / FILE).is_file() or _is_locked(path):
        return
    for text in sorted(path.iterdir()):
        status = text.lstat()
        if _REWRITTEN.fullmatch(text.name) and stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
            yield Leftover(text, _TEXT, None, status.st_blocks * 512)


def _is_free(path: Path, pid: int | None) -> bool:
    """Whether the folder holds nothing but what memfarm writes, and its owner is dead."""
    return (pid is None or not _runs(pid, path)) and not _is_locked(path) and all(_ours(path, 0))


def _is_locked(path: Path) -> bool:
    try:
        return locks.writer_of(path) is not None
    except StorageError:  # something that is no lock
        return True


def _ours(folder: Path, depth: int) -> Iterator[bool]:
    for path in folder.iterdir():
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode):
            yield depth < _DEEPEST and bool(_OUR_FOLDERS.fullmatch(path.name))
            yield from _ours(path, depth + 1)
        else:
            yield stat.S_ISREG(status.st_mode) and bool(_OURS.fullmatch(path.name))


def _runs(pid: int, path: Path) -> bool:
    """Whether the process that made `path` may still run."""
    try:
        began = psutil.Process(pid).create_time()
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return False
    except psutil.AccessDenied:
        return True
    return began <= path.lstat().st_ctime + _CLOCKS


def _leftover(path: Path, kind: str, pid: int | None) -> Leftover:
    blocks = sum(file.lstat().st_blocks for file in path.rglob("*"))
    return Leftover(path, kind, pid, blocks * 512)
