"""What the trainers' tests share. Each file runs only where its trainer is: `make test-adapters` makes those places."""

import contextlib
import importlib.util
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import psutil
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors on many threads wait for each other

_NEEDS = {"rllib": "ray", "sb3": "stable_baselines3", "tianshou": "tianshou", "torchrl": "torchrl"}
collect_ignore_glob = [f"test_{name}*.py" for name, module in _NEEDS.items() if not importlib.util.find_spec(module)]
_LOUD = {  # modules that warn of their own code, and what one of them says in the name of `abc`
    "ray": ("ignore:::ray",),
    "stable_baselines3": ("ignore:::stable_baselines3", "ignore:::supersuit"),
    "tianshou": ("ignore:::tianshou", "ignore:::sensai"),
    "torchrl": ("ignore:::torchrl", "ignore:::tensordict", "ignore:Creating .* which inherits from WeightUpdaterBase"),
}


class Told(Protocol):
    """What the examples tell of an iteration."""

    life: float
    loss: float


Learned = Callable[[str, Iterable[Told], float], list[float]]
_LEARNED: list[str] = []


@pytest.fixture
def learned() -> Learned:
    """Check that every loss is finite and that the last three iterations' lives return more than the first three's."""

    def check(what: str, told: Iterable[Told], margin: float) -> list[float]:
        figures = list(told)
        assert len(figures) >= 6, figures
        assert all(math.isfinite(each.loss) and math.isfinite(each.life) for each in figures), figures
        lives = [each.life for each in figures]
        first, last = float(np.mean(lives[:3])), float(np.mean(lives[-3:]))
        _LEARNED.append(f"{what}: return of a life {first:+.3f} -> {last:+.3f} in {len(lives)} iterations")
        assert last > first + margin, (what, lives)
        return lives

    return check


@pytest.fixture(scope="session")
def ray_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home for Ray's token and results: one for the session, for a process reads its token once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture
def ray_folder(ray_home: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short folder (sockets lie in it) for all that Ray writes; fails if a process of Ray's outlives the test."""
    with tempfile.TemporaryDirectory(prefix="mf", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "ray").mkdir()
        monkeypatch.setenv("RAY_TMPDIR", name)
        yield folder
        deadline = time.monotonic() + 120
        while (left := _living(name)) and time.monotonic() < deadline:
            time.sleep(0.2)
        for process in left:
            process.kill()
        assert not left, f"Ray left processes behind: {left}"


def _living(folder: str) -> list[psutil.Process]:
    """Other processes that were told of `folder`."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            told = process.environ().get("RAY_TMPDIR") == folder
            if told and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.fixture
def one_node(ray_folder: Path) -> Iterator[None]:
    """A Ray of this machine alone."""
    import ray

    ray.init(num_cpus=3, include_dashboard=False, object_store_memory=200 * 2**20, log_to_driver=False)
    yield
    ray.shutdown()


def pytest_configure(config: pytest.Config) -> None:
    """Leave the trainers' warnings about themselves to them; ours stay errors."""
    for module, filters in _LOUD.items():
        if importlib.util.find_spec(module):
            for line in filters:
                config.addinivalue_line("filterwarnings", line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the learning figures beneath the tests."""
    for line in _LEARNED:
        terminalreporter.write_line(f"learned: {line}")
