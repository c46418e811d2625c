"""Checks of docs/seeds.md on `memfarm validate` and what it measures."""

import functools
import re
from pathlib import Path

import numpy as np
import torch
from seeds_registry import ROOT, check

from memfarm.commands.bench import checkout
from memfarm.validate.criteria import EXIT, Criterion, verdict
from memfarm.validate.pairs import LIMIT, Comparison
from memfarm.validate.resident import Resident
from memfarm.validate.run import run
from memfarm.validate.scale import QUICK
from memfarm.validate.structures import STRUCTURES
from memfarm.wrappers.mapped_buffers import mapped_array


@functools.cache
def validated() -> dict[str, Criterion]:
    """The lines of a quick `memfarm validate`, once for all rows that look at it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {line.name: line for line in run(scale=QUICK)}
    finally:
        torch.set_num_threads(threads)


def passed(name: str) -> None:
    assert validated()[name].status == "PASS", validated()[name]


@check("A14", "A24", "B36", "C12")
def whole_validation(tmp_path: Path) -> None:
    lines = validated()
    assert [line for line in lines.values() if line.status == "FAIL"] == []
    kinds = {name.split(":")[0] for name in lines}
    assert kinds == {"memory", "time", "same bytes", "tensors", "decay", "files", "cleaning up"}
    assert all(line.figure and line.limit for line in lines.values())
    assert verdict(lines.values()) in EXIT
    for structure in STRUCTURES:
        passed(f"tensors: {structure.name}")
    for name in ("remembered", "large windows"):
        passed(f"memory: {name}")


@check("A15", "A17", "A22", "B33", "C15")
def times(tmp_path: Path) -> None:
    assert LIMIT == 1.25
    names = ["resources", "environmental", "temporal", "memory", "observe()"]
    assert [structure.name for structure in STRUCTURES] == names
    for name in names:
        assert re.search(r"\d\.\d\dx \(.*memory against memory", validated()[f"time: {name}"].figure)
        passed(f"same bytes: {name}")
    once, slow = np.full(60, 1e-3), np.full(60, 2e-3)
    assert Comparison(once, once, once).outcome == "PASS"
    assert Comparison(slow, once, once).outcome == "FAIL"


@check("A16", "A31", "C11")
def resident(tmp_path: Path) -> None:
    now = Resident.now()
    assert now.anonymous > 1 << 20
    assert now.mapped > 1 << 20


@check("A18", "B34", "C16")
def validated_tensors(tmp_path: Path) -> None:
    for structure in STRUCTURES:
        passed(f"tensors: {structure.name}")
        share = re.search(r"(\d+)% not 0, no copy", validated()[f"tensors: {structure.name}"].figure)
        assert share
        assert int(share[1]) > 0


@check("A21", "A25", "B35", "C17")
def memory_scales(tmp_path: Path) -> None:
    passed("memory: filled worlds")
    passed("memory: vast world")


@check("B30")
def groups_apart(tmp_path: Path) -> None:
    passed("files: each group on its own")
    assert "8 of 8" in validated()["files: each group on its own"].figure


@check("B39")
def verdicts(tmp_path: Path) -> None:
    assert EXIT == {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}
    once, half = np.full(60, 1e-3), np.full(60, 5e-4)
    assert Comparison(once, once, half).outcome == "NOISY"
    assert verdict([Criterion("a", "WARN", "", "", noisy=True)]) == "INCONCLUSIVE"


@check("C03")
def large_windows(tmp_path: Path) -> None:
    passed("memory: large windows")
    tensor = torch.from_numpy(mapped_array((16, 16), np.float32))
    tensor += 1.0
    assert float(tensor.sum()) == 256.0


@check("C10")
def benchmarks(tmp_path: Path) -> None:
    assert (checkout(ROOT / "memfarm") / "benchmarks" / "__main__.py").is_file()
