"""Mutated inputs for every parser of what lies on disk: each parses or is refused by name, in bounded memory and time.

MEMFARM_DOSE=full: 100,000 inputs a parser instead of 150 (MEMFARM_FUZZ_INPUTS names another number).
"""

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("bounds the address space, and measures it in /proc", allow_module_level=True)

from fuzz_parsers import PARSERS
from fuzz_run import CORPUS, made

pytestmark = pytest.mark.once

FULL = os.environ.get("MEMFARM_DOSE") == "full"
INPUTS = os.environ.get("MEMFARM_FUZZ_INPUTS", "100000" if FULL else "150")
RUN = Path(__file__).with_name("fuzz_run.py")
ROOT = Path(__file__).parents[2]
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
TEETH = """
import signal, sys, warnings
import numpy as np
import fuzz_run
from memfarm.errors import ConfigError

warnings.simplefilter("error")
signal.signal(signal.SIGPROF, fuzz_run._too_long)
fuzz_run.SECONDS = 0.2

def refuses():
    raise ConfigError("no")

def refuses_out_of_memory():
    try:
        bytearray(1 << 30)
    except MemoryError:
        raise ConfigError("no") from None

def hangs():
    while True:
        try:
            pass
        except Exception:
            pass

wrong = {
    "raises": lambda: {}["x"],
    "warns": lambda: warnings.warn("odd"),
    "allocates": lambda: np.ones(10_000_000),
    "maps": lambda: np.zeros(10_000_000),
    "hides it": refuses_out_of_memory,
    "hangs": hangs,
    "exits": lambda: sys.exit(0),
}
assert fuzz_run.verdict(lambda: np.zeros(1_000_000)) == "parsed"
assert fuzz_run.verdict(refuses) == "refused"
for name, read in wrong.items():
    assert fuzz_run.verdict(read) not in ("parsed", "refused"), name
"""


def run(folder: str, seed: int, *parsers: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(RUN), folder, INPUTS, str(seed), *parsers],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(20_000 if FULL else 300)
@pytest.mark.parametrize("parsers", [[name] for name in PARSERS] if FULL else [list(PARSERS)], ids=",".join)
def test_every_input_parses_or_is_refused(parsers: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    seed = 0 if os.environ.get("CI") else random.SystemRandom().randrange(10**6)
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=IN_MEMORY) as folder:
        done = run(folder, seed, *parsers)
        last = (Path(folder) / "progress").read_text() if (Path(folder) / "progress").exists() else "nothing"
    if FULL:
        with capsys.disabled():
            sys.stdout.write(f"\n{done.stdout}")
    assert done.returncode == 0, f"seed {seed}, last {last}:\n{done.stdout}\n{done.stderr[-2000:]}"
    assert done.stdout.count(" inputs ") == len(parsers)


def test_the_fuzzer_notices_what_it_is_there_for() -> None:
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{RUN.parent}"}
    done = subprocess.run(
        [sys.executable, "-c", TEETH], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", PARSERS)
def test_inputs_come_back_by_their_number(name: str) -> None:
    parser = PARSERS[name]
    pool = parser.seeds()
    inputs = [made(parser, name, pool, 5, index) for index in range(40)]
    assert inputs == [made(parser, name, pool, 5, index) for index in range(40)]
    assert len(set(inputs)) > 20  # and they differ


def test_the_corpus_is_small_and_all_of_it_is_replayed() -> None:
    kept = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in kept) < 200_000
    assert {path.parent.name for path in kept} <= {*PARSERS, "tiff"}
    assert len(kept) > 40
