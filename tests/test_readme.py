"""What the README shows runs as it stands there, in its order, in an empty folder."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from other_python import run_python

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
NOT_HERE = ("make", "memfarm validate")  # these have tests of their own, and take longer than a snippet may
RUN = "import os, sys; os.chdir(sys.argv[1]); sys.path.insert(0, ''); exec(compile(sys.argv[2], 'README.md', 'exec'))"


def test_every_snippet_runs(tmp_path: Path) -> None:
    np.save(tmp_path / "heights.npy", np.add.outer(np.arange(40.0) ** 2, np.arange(60.0)).astype(np.float32) / 200)
    (tmp_path / "forage.yaml").write_text("world: {shape: [64, 64]}\n")
    program, commands = ["import memfarm.cli"], 0
    for language, text in BLOCKS:
        if language == "python":
            program.append(text)
            continue
        for line in text.splitlines():
            if line and not line.startswith(NOT_HERE):
                program.append(f"memfarm.cli.app({shlex.split(line, comments=True)[1:]!r}, standalone_mode=False)")
                commands += 1
    assert commands >= 5
    assert len(program) > 15
    done = run_python(
        "-c", RUN, tmp_path, "\n".join(program), MEMFARM_CACHE=tmp_path / "cache", MEMFARM_SCRATCH=tmp_path
    )
    assert done.returncode == 0, done.stderr
