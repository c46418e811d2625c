"""A full disk is an exception, never a signal, and whatever it refused has not happened.

Each test plays a scene of full_disk.py on a tmpfs of 32 MB, filled up to every number of free pages in turn.
"""

import itertools
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("full_disk.py")
ROOT = Path(__file__).parents[2]
FULL = os.environ.get("MEMFARM_DOSE") == "full"
RUNS = [
    ("plain", "NextStep", "scratch"),
    ("sparse", "SameStep", "named"),
    ("memory", "NextStep", "named"),
    ("memory", "SameStep", "scratch"),
]
if FULL:
    modes = ("NextStep", "SameStep", "Disabled")
    RUNS = list(itertools.product(("plain", "sparse", "memory"), modes, ("scratch", "named")))
OWN_MOUNTS = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]


def can_mount() -> bool:
    probe = [*OWN_MOUNTS, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt"]
    try:
        return subprocess.run(probe, capture_output=True, check=False, timeout=60).returncode == 0
    except OSError:
        return False


pytestmark = pytest.mark.skipif(not can_mount(), reason="needs root or user namespaces, to mount a small tmpfs")


def play(tmp_path: Path, *scene: str) -> subprocess.CompletedProcess[str]:
    disk, roomy = tmp_path / "disk", tmp_path / "roomy"
    disk.mkdir()
    roomy.mkdir()
    return subprocess.run(
        [*OWN_MOUNTS, sys.executable, "-W", "error", str(SCRIPT), str(disk), str(roomy), *scene],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def counted(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    assert done.returncode == 0, f"ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    numbers = {word: int(number) for word, number in re.findall(r"(\w+) (\d+)", done.stdout)}
    print(done.stdout)  # noqa: T201 - shown with -s
    return numbers


@pytest.mark.parametrize("named", ["scratch", "named"])
def test_a_refused_write_changes_nothing(tmp_path: Path, named: str) -> None:
    numbers = counted(play(tmp_path, "grids", named))
    assert len(numbers) == 5
    assert min(numbers.values()) >= 6


def test_without_reserving_it_would_be_a_signal(tmp_path: Path) -> None:
    assert play(tmp_path, "careless").returncode in (-signal.SIGBUS, 128 + signal.SIGBUS)


def test_a_full_disk_can_be_read(tmp_path: Path) -> None:
    assert counted(play(tmp_path, "reads"))["read"] == 3


def test_files_with_holes_are_healed_or_refused(tmp_path: Path) -> None:
    assert counted(play(tmp_path, "holes"))["refused"] >= 3


def test_a_world_may_outgrow_its_disk(tmp_path: Path) -> None:
    numbers = counted(play(tmp_path, "outgrown"))
    assert numbers["refused"] == 2
    assert numbers["tiles"] > 3000


@pytest.mark.parametrize(("kind", "autoreset", "where"), RUNS)
def test_a_refused_step_has_not_happened(tmp_path: Path, kind: str, autoreset: str, where: str) -> None:
    numbers = counted(play(tmp_path, "env_run", kind, autoreset, where, "100" if FULL else "25"))
    assert numbers["refused"] >= 10
    assert numbers["late"] > 0 or kind != "memory"


@pytest.mark.parametrize("what", ["scratch", "named", "env", "build", "snapshot"])
def test_what_finds_no_room_is_not_made(tmp_path: Path, what: str) -> None:
    assert counted(play(tmp_path, "constructors", what))["refused"] >= 3
