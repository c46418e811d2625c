"""A worker's process, seen from the one that asks it."""

import json
import subprocess
import sys
import time
from types import TracebackType
from typing import Any, Final, Self

from benchmarks.peers.packages import ROOT, Package

_PATIENCE: Final = 60  # seconds, for a worker that was told to end


class WorldProcess:
    """`world` (a MODULE:CLASS of this package) in a process of the Python that has `package`, built and stepped once.

    Use it in a `with`, which ends the process. Raises RuntimeError where it ends by itself.
    """

    def __init__(self, package: Package, world: str, agents: int, side: int, radius: int) -> None:
        self._title = f"{package.title}'s process ({world}, {agents} agents)"
        self._crowd = agents
        self._process = subprocess.Popen(
            [package.python, "-m", "benchmarks.peers.worker", world, *map(str, (agents, side, radius))],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self._stepped(self._answer())
        except RuntimeError:
            self._end()
            raise

    @property
    def held(self) -> int:
        """Bytes that the process holds now: anonymous memory, and files without a name."""
        return int(self._ask("held")["held"])

    def steps(self, count: int) -> None:
        """Have it take `count` steps, and wait until it has; `agents` and `observed` are then of the last one."""
        self._stepped(self._ask(count))

    def steps_in(self, seconds: float) -> int:
        """How many steps take about `seconds`, one at least."""
        count = 1
        while True:
            start = time.perf_counter()
            self.steps(count)
            took = time.perf_counter() - start
            if took > seconds / 4:
                return max(1, round(count * seconds / took))
            count *= 2

    def check_all_there(self) -> None:
        """Raise RuntimeError where an agent got no observation in the last step: fewer would be less work."""
        if self.agents != self._crowd:
            raise RuntimeError(f"{self._title} must keep all its agents, {self.agents} are left")

    def _stepped(self, told: dict[str, Any]) -> None:
        self.agents: int = told["agents"]  # that got an observation
        self.observed: int = told["observed"]  # bytes of all observations

    def _ask(self, line: object) -> dict[str, Any]:
        if self._process.stdin is None:
            raise RuntimeError("the process was started without an input")
        print(line, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            raise RuntimeError(f"{self._title} ended; what it says is above")
        told: dict[str, Any] = json.loads(line)
        return told

    def _end(self) -> None:
        try:
            self._process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            print(f"{self._title} did not end within {_PATIENCE} s and was killed", file=sys.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
