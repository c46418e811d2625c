"""What every test runs under: a temp folder of its own session, no leftovers, a bounded hypothesis."""

import gc
import os
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("MPLBACKEND", "Agg")

settings.register_profile("memfarm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("memfarm"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "memfarm")

SHARED_MEMORY = Path("/dev/shm")
FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session", autouse=True)
def private_temp_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Point the temp folder, of this process and its children, into pytest's own.

    What another test run or another user leaves in /tmp is then no business of ours.
    """
    folder = tmp_path_factory.mktemp("temp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.delenv("MEMFARM_SCRATCH", raising=False)
        patch.setenv("MEMFARM_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def interrupts_arrive() -> Iterator[None]:
    """Have SIGINT as a terminal has it: a shell's background jobs ignore it, and so would the tests' children."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def no_shared_memory_left() -> Iterator[None]:
    """Fail the session that leaves a memfarm file in /dev/shm."""
    before = _named_memfarm(SHARED_MEMORY)
    yield
    left = _named_memfarm(SHARED_MEMORY) - before
    if left:
        pytest.fail(f"the tests left shared memory behind: {sorted(left)}", pytrace=False)


@pytest.fixture(autouse=True)
def no_leftovers(request: pytest.FixtureRequest, private_temp_folder: Path) -> Iterator[None]:
    """Fail a test that leaves memfarm files in the temp folder, or files there or in `tmp_path` open or mapped.

    Worlds held by fixtures of a wider scope are there before the test and do not count.
    """
    root = private_temp_folder.parent
    before = _leftovers(root, private_temp_folder)
    yield
    if request.node.stash.get(FAILED, False):
        return  # its traceback holds on to its worlds
    left = _leftovers(root, private_temp_folder) - before
    if left:
        gc.collect()  # a dropped world is closed by the collector
        left &= _leftovers(root, private_temp_folder)
    if left:
        pytest.fail("the test left behind:\n  " + "\n  ".join(sorted(left)), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell `no_leftovers` how the test went."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


def _named_memfarm(folder: Path) -> set[str]:
    return {str(path) for path in folder.glob("*memfarm*")} if folder.is_dir() else set()


def _leftovers(root: Path, temp: Path) -> set[str]:
    """Files of memfarm in the temp folder, and whatever under `root` this process holds open or mapped."""
    found = _named_memfarm(temp)
    for link in Path("/proc/self/fd").glob("*"):
        try:
            target = str(link.readlink())
        except OSError:  # the descriptor of the listing itself
            continue
        if target.startswith(f"{root}/"):
            found.add(f"open: {target} (descriptor {link.name})")
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:  # not Linux
        return found
    found.update(f"mapped: {line.split(maxsplit=5)[5]}" for line in maps.splitlines() if f"{root}/" in line)
    return found
