"""Plain files and folders: opened without following links, named so that they stay where they belong."""

import errno
import json
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from memfarm.errors import ConfigError, StorageError

Mode = Literal["w+", "r+", "r", "c"]

MARK: Final = "delete_on_close.json"
_PLAIN: Final = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # no link is followed, no pipe waited for
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_SCRATCH_RULE: Final = "scratch needs a folder that can be written (MEMFARM_SCRATCH, else the temp folder)"


def open_plain(path: Path, mode: Mode) -> int:
    """A descriptor of a grid's file, new (0600) where mode is "w+". Raises StorageError; follows no link."""
    flags = {
        "w+": os.O_RDWR | os.O_CREAT | os.O_EXCL,
        "r+": os.O_RDWR,
        "r": os.O_RDONLY,
        "c": os.O_RDONLY,
    }[mode]
    try:
        fd = os.open(path, flags | _PLAIN, 0o600)
    except FileExistsError as error:
        raise StorageError(
            f"a new grid needs a new file, got {str(path)!r} which exists; use mode='r+' to go on writing it"
        ) from error
    except FileNotFoundError as error:
        if mode == "w+":
            raise StorageError(f"a grid file needs a folder that exists, got {str(path.parent)!r}; make it") from error
        raise StorageError(f"there is no grid file {str(path)!r}; build the world first (mode='w+')") from error
    except OSError as error:
        raise StorageError(
            error.errno, f"a grid file must be a plain file that may be opened with mode={mode!r}: {error}"
        ) from error
    return _plain_file(fd, path)


def _plain_file(fd: int, path: Path) -> int:
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise StorageError(f"{str(path)!r} must be a plain file, got a folder, a pipe or a device; remove it")


def read_text(path: Path, largest: int) -> str:
    """The text of a plain file of at most `largest` bytes. Raises OSError, StorageError, UnicodeDecodeError."""
    fd = _plain_file(os.open(path, os.O_RDONLY | _PLAIN), path)
    with os.fdopen(fd, "rb") as file:
        data = file.read(min(os.fstat(fd).st_size, largest) + 1)  # `read` takes the room of all that it may read
    if len(data) > largest:
        raise StorageError(f"{str(path)!r} must be at most {largest} bytes, got more; it is none of memfarm's")
    return data.decode("utf-8")


def remove(paths: Iterable[Path]) -> None:
    """Remove files; those that are gone already do not matter."""
    for path in paths:
        path.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder if it is empty: what somebody else put there stays."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def scratch_folder() -> Path:
    """Where scratch goes: `MEMFARM_SCRATCH`, else the system's temp folder."""
    return Path(os.environ.get("MEMFARM_SCRATCH") or tempfile.gettempdir())


def open_scratch() -> int:
    """An open file without a name, so that no kill can leave it behind."""
    folder = scratch_folder()
    if hasattr(os, "O_TMPFILE"):
        try:
            return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise StorageError(error.errno, f"{_SCRATCH_RULE}: {error}") from error
    try:
        private = Path(
            tempfile.mkdtemp(prefix=f"memfarm-{os.getpid()}-", dir=folder)
        )  # 0700; for file systems without O_TMPFILE
    except OSError as error:
        raise StorageError(error.errno, f"{_SCRATCH_RULE}: {error}") from error
    try:
        return os.open(private / "scratch", os.O_RDWR | os.O_CREAT | os.O_EXCL | _PLAIN, 0o600)
    finally:
        shutil.rmtree(private)  # the file lives on without a name


def safe_name(name: str, what: str) -> str:
    """`name` as part of a file name: unsafe characters become `-`; what could leave the folder is refused."""
    if not isinstance(name, str) or not name or set(name) == {"."} or any(sign in name for sign in "/\\\0"):
        raise ConfigError(f"{what} must be a plain name that stays in its folder, got {name!r}; leave out separators")
    return _UNSAFE.sub("-", name).lstrip(".") or "-"


def new_folder(
    directory: Path,
    name: str,
    shape: tuple[int, int],
    *,
    namespace: str | None = None,
    simulation_id: str | None = None,
) -> Path:
    """Make `[namespace_]name[_simid]_p<pid>_<H>x<W>[_n]` in `directory`, 0700, and return it.

    `_n` keeps two worlds of one process apart.
    """
    parts = [
        *([] if namespace is None else [safe_name(namespace, "namespace")]),
        safe_name(name, "name"),
        *([] if simulation_id is None else [safe_name(simulation_id, "simulation_id")]),
        f"p{os.getpid()}",
        f"{shape[0]}x{shape[1]}",
    ]
    base = "_".join(parts)
    directory = directory.absolute()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in range(1, sys.maxsize):
            folder = directory / (base if number == 1 else f"{base}_{number}")
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:
                continue
            return folder
    except OSError as error:
        raise StorageError(error.errno, f"a world folder cannot be made in {str(directory)!r}: {error}") from error
    raise StorageError(f"no free name for a world folder in {str(directory)!r}")


def given_folder(folder: Path) -> Path:
    """Make `folder` (0700), or take it as it is where it is empty; absolute. Raises StorageError on anything else."""
    folder = folder.absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        empty = not any(folder.iterdir())
    except ValueError as error:  # a zero byte, or half of a surrogate pair
        raise StorageError(errno.EINVAL, f"a world folder must be a path, got {str(folder)!r}: {error}") from error
    except OSError as error:
        raise StorageError(
            error.errno, f"a world folder must be one that can be made and written, got {str(folder)!r}: {error}"
        ) from error
    if not empty:
        raise StorageError(
            f"a new world needs a new or empty folder, got {str(folder)!r}; remove it, or open it with World.open"
        )
    return folder


def mark_to_delete(folder: Path) -> None:
    """Note in a world's folder that it ends with this process, for `memfarm sweep` after one that could not say so."""
    write_atomically(folder / MARK, json.dumps({"pid": os.getpid()}) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by `text` in one rename, so that a reader sees the old or the new, never a part.

    Raises StorageError with the system's errno; the old text is there then.
    """
    try:
        fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            _write_all(fd, text.encode("utf-8"))
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(error.errno, f"{str(path)!r} cannot be replaced: {error}; make room, or allow it") from error


def _write_all(fd: int, data: bytes) -> None:
    """Have `data` on the disk, and close the file."""
    try:
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
    finally:
        os.close(fd)
