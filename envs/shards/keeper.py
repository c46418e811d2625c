"""The keeper: a small process between the parent and its workers, which starts them and never outlives the parent.

Not multiprocessing's fork server: that one imports the user's script again, keeps a socket file in the temp folder and
a tracker process, and a killed parent leaves the file behind. This one has nothing with a name.
"""

import gc
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Sequence
from typing import Final, NoReturn

from memfarm.envs.shards.worker import work

ENDED: Final = struct.Struct("<ii")
"""What the keeper says of a worker that ended: its shard, and its exit status, negative for a signal."""
GRACE: Final = b"g"
"""What the parent says to have the workers end: they may finish what they are at."""

_SECONDS: Final = 5.0  # how long GRACE is
_BOOT: Final = (
    "import json, sys; order = json.loads(sys.argv[1]); sys.path[:] = order.pop('path'); "
    "from memfarm.envs.shards.{module} import {name}; {name}(**order)"
)


def command(module: str, name: str, order: dict[str, object]) -> list[str]:
    """The command line of a new interpreter that calls `memfarm.envs.shards.<module>.<name>(**order)`."""
    import json

    warnings = [f"-W{option}" for option in sys.warnoptions]
    text = json.dumps({**order, "path": sys.path})
    return [sys.executable, *warnings, "-c", _BOOT.format(module=module, name=name), text]


def keep(parent: int, parent_fd: int, line_fds: list[int], board_fd: int, slots_fd: int, context: str) -> None:
    """Start a worker for every line, tell the parent of each that ends, and end them all when the parent is gone.

    parent: its pid. parent_fd: a socket to it. line_fds: the workers' lines. context: "forkserver" | "spawn".
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler has to be there, or nothing is written to the pipe
    gc.freeze()  # the workers share these pages: a collection would write to all of them
    workers: dict[int, int] = {}
    for shard, line_fd in enumerate(line_fds):
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _become_worker(line_fd, board_fd, slots_fd, [*line_fds, parent_fd, wake_read, wake_write], context)
        workers[pid] = shard
    for fd in (*line_fds, board_fd, slots_fd):
        os.close(fd)
    with socket.socket(fileno=parent_fd) as line:
        _watch(workers, line, wake_read, parent)


def _become_worker(line_fd: int, board_fd: int, slots_fd: int, others: Sequence[int], context: str) -> NoReturn:
    """Be a worker from here on, in this process or in a new interpreter in its place."""
    status = 1
    try:
        keeper = os.getppid()
        end_with_parent()
        for fd in set(others) - {line_fd}:
            os.close(fd)
        if os.getppid() != keeper:  # it ended before its end could be watched
            os._exit(1)
        order: dict[str, object] = {"line_fd": line_fd, "board_fd": board_fd, "slots_fd": slots_fd}
        if context == "spawn":
            for fd in (line_fd, board_fd, slots_fd):
                os.set_inheritable(fd, True)
            line = command("worker", "work", order)
            os.execv(line[0], line)
        work(line_fd, board_fd, slots_fd)
        status = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if status:
            sys.excepthook(*sys.exc_info())
        os._exit(status)


def end_with_parent() -> None:
    """Have the system kill this process when the one that started it ends; on Linux only."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG; survives an exec


def _watch(workers: dict[int, int], line: socket.socket, wake: int, parent: int) -> None:
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    poll.register(line, select.POLLIN)
    # The line alone would not do: a process that the parent forked holds its end as well.
    life = os.pidfd_open(parent) if hasattr(os, "pidfd_open") and os.getppid() == parent else None
    if life is not None:
        poll.register(life, select.POLLIN)
    deadline: float | None = None
    while workers:
        wait = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        ready = {fd for fd, _ in poll.poll(wait)}
        if wake in ready:
            os.read(wake, 4096)
            _reap(workers, line)
        if line.fileno() in ready and deadline is None and line.recv(1) == GRACE:
            deadline = time.monotonic() + _SECONDS
            poll.unregister(line)
        elif line.fileno() in ready or life in ready or (deadline is not None and time.monotonic() >= deadline):
            break
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    for pid in workers:
        os.waitpid(pid, 0)


def _reap(workers: dict[int, int], line: socket.socket) -> None:
    for pid, shard in list(workers.items()):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            del workers[pid]
            try:
                line.send(ENDED.pack(shard, os.waitstatus_to_exitcode(status)))
            except OSError:  # the parent is gone, and nobody asks
                return
