"""Another Python process that has the tree and the tests beside this file on its path."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
PATH = f"{TESTS.parent}{os.pathsep}{TESTS}"


def run_python(*arguments: object, timeout: float = 120, **environ: object) -> "subprocess.CompletedProcess[str]":
    """Run Python with `arguments`, warnings as errors and `environ` beside this process's, to its end."""
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": PATH, **{name: str(value) for name, value in environ.items()}},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
