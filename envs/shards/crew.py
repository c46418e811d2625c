"""The crew: a parent's worker processes, what it tells them, and what becomes of them when one fails."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from memfarm.envs.shards import line as talk
from memfarm.envs.shards.arguments import Context
from memfarm.envs.shards.keeper import ENDED, GRACE, command, keep
from memfarm.envs.shards.memory import new_memory
from memfarm.errors import WorkerError

_SERIAL: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_NEWS: Final = 30.0  # seconds that the keeper has to say how a worker ended, on a machine that runs out of memory too
_LAST: Final = 1.0  # seconds that a killed keeper's workers have to end


class WorkerTraceback(Exception):
    """The traceback of an error in a worker, as text."""


@dataclass(frozen=True, slots=True)
class _Raised:
    """An answer that is an error."""

    summary: str
    traceback: str


@dataclass
class _Handles:
    """What is to be given back, whichever way the crew ends."""

    owner: int
    lines: list[socket.socket]
    keeper_line: socket.socket
    keeper: "subprocess.Popen[bytes]"
    memory: list[int] = field(default_factory=list)

    def end(self, grace: bool) -> None:
        """Have all processes end, and wait for it; with `grace` they may finish what they are at. Twice is fine."""
        if os.getpid() == self.owner and self.keeper.returncode is None:
            if grace:
                with contextlib.suppress(OSError):  # it is gone already
                    self.keeper_line.send(GRACE)
            else:
                self.keeper_line.close()
            for line in self.lines:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_WR)
            self.keeper.wait()
            for line in self.lines:
                _wait_for_end(line)
        for line in (*self.lines, self.keeper_line):
            line.close()
        while self.memory:
            os.close(self.memory.pop())


def _wait_for_end(line: socket.socket) -> None:
    """Wait until nobody holds the other end: a killed keeper's workers are killed by the system, a moment later."""
    line.settimeout(_LAST)
    with contextlib.suppress(OSError):
        while line.recv(1 << 16):
            pass


class Crew:
    """`shards` worker processes and their keeper; they end with this object, with `end()`, or with this process.

    context: "forkserver": the workers are forks of the keeper, which has loaded memfarm and nothing else of the user's;
        "spawn": each is an interpreter of its own.
    """

    def __init__(self, shards: int, context: Context) -> None:
        self.timeout: float | None = None
        """Seconds that a worker may take to answer; None: as long as it wants."""
        self._answers: dict[int, Any] = {}
        board, slots = new_memory(), new_memory()
        pairs = [socket.socketpair() for _ in range(shards + 1)]
        (ours, theirs) = pairs.pop()
        order = {
            "parent": os.getpid(),
            "parent_fd": theirs.fileno(),
            "line_fds": [far.fileno() for _, far in pairs],
            "board_fd": board,
            "slots_fd": slots,
            "context": context,
        }
        given = [theirs.fileno(), *(far.fileno() for _, far in pairs), board, slots]
        try:
            keeper = subprocess.Popen(
                command("keeper", keep.__name__, order),
                stdin=subprocess.DEVNULL,
                pass_fds=given,
                env={**_SERIAL, **os.environ},  # a shard has a core; what the user has set stays
                process_group=0,  # an interrupt at the terminal is the parent's to answer
            )
        except BaseException:
            for near, _ in pairs:
                near.close()
            ours.close()
            os.close(board)
            os.close(slots)
            raise
        finally:
            theirs.close()
            for _, far in pairs:
                far.close()
        self.board_fd: Final = board
        self.slots_fd: Final = slots
        self._lines: Final = [near for near, _ in pairs]
        self._keeper_line: Final = ours
        self._keeper: Final = keeper
        self._handles: Final = _Handles(os.getpid(), self._lines, ours, keeper, [board, slots])
        self._finalizer: Final = weakref.finalize(self, self._handles.end, True)
        self._shard_of: Final = {line.fileno(): shard for shard, line in enumerate(self._lines)}
        self._poll: Final = select.poll()
        for fd in (*self._shard_of, ours.fileno()):
            self._poll.register(fd, select.POLLIN)

    @property
    def owner(self) -> int:
        """The process that may use it."""
        return self._handles.owner

    @property
    def ended(self) -> bool:
        """Whether its processes have ended."""
        return not self._handles.memory

    @property
    def keeper_pid(self) -> int:
        """The process that started the workers."""
        return self._keeper.pid

    def tell(self, shard: int, sign: bytes, payload: Any = None) -> None:
        """Have a shard do something; `collect` waits for it. Raises WorkerError where it is gone."""
        try:
            talk.tell(self._lines[shard], sign, payload)
        except talk.HungUpError:
            self._fail(shard)

    def ask(self, name: str, *given: Any, survive: bool = False) -> list[Any]:
        """Have all shards answer a request by its name: their answers."""
        shards = range(len(self._lines))
        for shard in shards:
            self.tell(shard, talk.CALL, (name, given, {}))
        try:
            return self.collect(shards, survive)
        except KeyboardInterrupt:  # nobody would take the answers
            self._handles.end(grace=True)
            raise

    def collect(self, shards: Iterable[int], survive: bool = False) -> list[Any]:
        """Wait until all of `shards` have answered: what belongs to each one's answer, or None.

        survive: one that raises has changed nothing, and the crew goes on.
        Raises WorkerError where one of the crew raises, dies, or takes too long; all have ended then.
        """
        wanted = list(shards)
        missing = set(wanted) - self._answers.keys()
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        while missing:
            left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            ready = self._poll.poll(left)
            if not ready:
                self._too_late(min(missing))
            for fd, _ in ready:
                shard = self._shard_of.get(fd)
                if shard is None:
                    self._fail(None)
                else:
                    self._hear(shard, survive)
                    missing.discard(shard)
        answers = [self._answers.pop(shard) for shard in wanted]
        for shard, answer in zip(wanted, answers, strict=True):
            if isinstance(answer, _Raised):
                raise self._error(shard, answer, "the environment goes on")
        return answers

    def end(self) -> None:
        """Have the workers close their environments and end; twice is fine."""
        self._handles.end(grace=True)
        self._finalizer.detach()

    def _hear(self, shard: int, survive: bool) -> None:
        try:
            sign, answer = talk.hear(self._lines[shard])
        except talk.HungUpError:
            self._fail(shard)
        except BaseException:  # interrupted in the middle of an answer
            self._handles.end(grace=False)
            raise
        if sign == talk.RAISED:
            answer = _Raised(*answer)
            if not survive:
                self._handles.end(grace=True)
                raise self._error(shard, answer, "all shards have ended, make a new environment")
        self._answers[shard] = answer

    def _error(self, shard: int, raised: "_Raised", then: str) -> WorkerError:
        error = WorkerError(f"shard {shard} of {len(self._lines)} raised {raised.summary}; {then}")
        error.__cause__ = WorkerTraceback(f"in the worker of shard {shard}:\n{raised.traceback}")
        return error

    def _too_late(self, shard: int) -> NoReturn:
        self._handles.end(grace=False)
        raise WorkerError(
            f"shard {shard} of {len(self._lines)} must answer within timeout={self.timeout} s, got nothing; "
            "all shards have ended, give it more time"
        )

    def _fail(self, shard: int | None) -> NoReturn:
        """Find out who died, of what; end the others, and raise."""
        ended = self._news(shard)
        shards = len(self._lines)
        self._handles.end(grace=False)
        if not ended:
            how = _how(self._keeper.returncode)
            raise WorkerError(f"the process that keeps shards 0 to {shards - 1} {how}; all shards have ended with it")
        shard = shard if shard in ended else next(iter(ended))
        raise WorkerError(
            f"shard {shard} of {shards} {_how(ended[shard])}; all shards have ended, make a new environment"
        )

    def _news(self, shard: int | None) -> dict[int, int]:
        """What the keeper says of who ended, `shard` among them; nothing where the keeper itself is gone."""
        ended: dict[int, int] = {}
        self._keeper_line.settimeout(_NEWS)
        while not ended or (shard is not None and shard not in ended):
            try:
                said = self._keeper_line.recv(ENDED.size, socket.MSG_WAITALL)
            except OSError:
                break
            if len(said) < ENDED.size:
                break
            number, status = ENDED.unpack(said)
            ended[number] = status
        return ended


def _how(status: int | None) -> str:
    """How a process ended, from its exit status."""
    if status is None:
        return "ended"
    if status >= 0:
        return f"ended with exit status {status}"
    name = signal.Signals(-status).name
    why = " (the system sends it when memory runs out)" if name == "SIGKILL" else ""
    return f"was killed by {name}{why}"
