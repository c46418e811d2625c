"""Programs that keep taking snapshots, and are killed on the way; shared by the tests of both kinds of snapshot."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def killed(program: str, folder: Path, within: float, chance: random.Random) -> int:
    """Kill the program `within` seconds of a random one of its first snapshots; how many it has said it took.

    It says "made" when it begins, and then a line a snapshot. folder: its argument.
    """
    command = [sys.executable, "-c", program, str(folder)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == "made\n"
            said = [child.stdout.readline() for _ in range(chance.randrange(3))]  # however slow the machine is
            time.sleep(chance.uniform(0, within))
        finally:
            child.kill()
        said += child.stdout.read().split()
    assert child.returncode == -signal.SIGKILL
    return len(said)
