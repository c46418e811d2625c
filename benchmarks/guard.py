"""`make bench-guard`: instructions of the hot kernels, counted by callgrind, against benchmarks/guard.json.

Counts, not times: a busy machine changes nothing. valgrind knows no AVX-512, so that what is counted is the AVX2 clone;
the fast path of AVX-512 is not guarded by this. Counts of another compiler are not compared.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer

from benchmarks import variants
from benchmarks.guard_worker import AGENTS, CALLS
from benchmarks.rows import figure

BASELINE: Final = Path(__file__).with_name("guard.json")
MOST: Final = 1.10
"""How many times the baseline's instructions are still let through."""

KERNELS: Final = {
    "observe": "memfarm::Windows::observe(",
    "gather": "memfarm::gather(",
    "scatter": "memfarm::scatter(",
    "take": "memfarm::take(",
    "forage_walk": "memfarm::forage_walk(",
    "forage_eat": "memfarm::forage_eat(",
    "forage_look": "memfarm::forage_look(",
}
_LINE: Final = re.compile(r"^\s*([\d,]+) \([^)]*\)\s+(\S.*)$")


def count(home: Path) -> dict[str, float]:
    """Instructions of each kernel for one agent, what it calls included. Raises RuntimeError where one was not seen."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "callgrind.out"
        command = ["valgrind", "--tool=callgrind", "--vgdb=no", f"--callgrind-out-file={written}"]
        env = {**variants.environment("guard", home), "PYTHONHASHSEED": "0", "PYTHONSAFEPATH": "1"}
        env["PYTHONPATH"] = os.pathsep.join([str(home), str(variants.ROOT)])
        _run([*command, sys.executable, "-m", "benchmarks.guard_worker"], env, Path(folder))
        listing = _run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", str(written)], env, Path(folder))
    counts: dict[str, float] = {}
    for line in listing.splitlines():
        found = _LINE.match(line)
        for kernel, name in KERNELS.items():
            if found and f":{name}" in found[2]:
                # A function has a line for each file that it is made of; the entry's is the one that counts all.
                counts[kernel] = max(counts.get(kernel, 0.0), int(found[1].replace(",", "")) / (AGENTS * CALLS))
    if counts.keys() != KERNELS.keys():
        raise RuntimeError(f"callgrind must see every kernel, got none of {sorted(KERNELS.keys() - counts.keys())}")
    return counts


def main(
    write: Annotated[bool, typer.Option("--write", help="Make what is counted now the baseline.")] = False,
    runs: Annotated[int, typer.Option(help="Count so many times and print how far the counts lie apart.")] = 1,
) -> None:
    """Count the instructions of the hot kernels; fails where one takes 10 % more than its baseline."""
    lacking = [name for name in ("valgrind", "callgrind_annotate") if shutil.which(name) is None]
    lacking += variants.lacking("guard", variants.processor_flags())
    if lacking:
        print(f"bench-guard: not run, this machine has no {', '.join(lacking)}")
        return
    home, compiler = variants.build("guard"), variants.compiler_version()
    counted = [count(home) for _ in range(runs)]
    largest = {kernel: max(counts[kernel] for counts in counted) for kernel in KERNELS}
    if runs > 1:
        for kernel, most in largest.items():
            least = min(counts[kernel] for counts in counted)
            print(f"{kernel}: {runs} runs, from {least:.2f} to {most:.2f}, {(most - least) / least:.3%} apart")
    if write:
        report = {"compiler": compiler, "instructions": {kernel: round(n, 1) for kernel, n in largest.items()}}
        BASELINE.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    baseline = json.loads(BASELINE.read_text(encoding="utf-8"))
    if baseline["compiler"] != compiler:
        print(f"bench-guard: not compared, the baseline is of {baseline['compiler']}, this is {compiler}")
        return
    slower = _compare(largest, baseline["instructions"])
    if slower:
        print(
            f"bench-guard: {', '.join(slower)} above {MOST:.2f} times the baseline; find out why, or --write a new one"
        )
        raise typer.Exit(1)


def _compare(counts: dict[str, float], baseline: dict[str, float]) -> list[str]:
    """Prints each kernel's count beside its baseline; returns those that take too many."""
    print("instructions an agent, AVX2 clone (valgrind has no AVX-512)")
    slower = []
    for kernel, now in counts.items():
        ratio = now / baseline[kernel]
        print(f"{kernel:>11}  {figure(now):>8}  baseline {figure(baseline[kernel]):>8}  {ratio:.3f}x")
        if ratio > MOST:
            slower.append(kernel)
    return slower


def _run(command: list[str], env: dict[str, str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed ({done.returncode}): {done.stderr[-3000:]}")
    return done.stdout


if __name__ == "__main__":
    typer.run(main)
