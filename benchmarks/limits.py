"""A bound on the memory of a process: a control group, version 2 where it can be written, else version 1.

Both count what a process allocates and the pages of files that it brought in, so that what lies beyond is on the disk.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_GROUPS: Final = (
    (Path("/sys/fs/cgroup"), "memory.max", "cgroup v2, memory.max"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "cgroup v1, memory.limit_in_bytes"),
)


class NoGroupError(Exception):
    """No control group can be made here."""


@contextmanager
def limited(limit: int) -> Iterator[tuple[Path, str]]:
    """The `cgroup.procs` of a new group that may use `limit` bytes of memory, and what kind it is; removed at the end.

    Raises NoGroupError.
    """
    tried = []
    for parent, file, kind in _GROUPS:
        group = parent / f"memfarm-bench-{os.getpid()}"
        try:
            group.mkdir()
        except OSError as error:
            tried.append(f"{kind}: {error.strerror}")
            continue
        try:
            refused = _refused(group / file, limit)
            if not refused:
                yield group / "cgroup.procs", kind
                return
            tried.append(f"{kind}: {refused}")
        finally:
            group.rmdir()
    raise NoGroupError(f"{'; '.join(tried)}; run it as root, or in a group of your own")


def _refused(file: Path, limit: int) -> str:
    """Set the limit; why that cannot be, or nothing."""
    if not file.exists():
        return "no such controller"
    try:
        file.write_text(str(limit), encoding="ascii")
    except OSError as error:
        return str(error.strerror)
    return ""


def join(procs: str) -> None:
    """Put this process into the group whose `cgroup.procs` that is; before it imports or maps anything large."""
    Path(procs).write_text(str(os.getpid()), encoding="ascii")
