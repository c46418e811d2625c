"""What keeping a structure in files costs in time, against keeping it in memory, in one run."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np

from memfarm.validate.criteria import Criterion, Status
from memfarm.validate.pairs import LIMIT, QUIET, Comparison, compare
from memfarm.validate.scale import Scale
from memfarm.validate.structures import STRUCTURES, Structure


def criteria(folder: Path, scale: Scale) -> Iterator[Criterion]:
    """Two lines a structure: its time, and whether both backends hold the same bytes after the same work."""
    for structure in STRUCTURES:
        with ExitStack() as stack:
            files, ram, control = (
                stack.enter_context(closing(structure(where, scale))) for where in (folder, None, None)
            )
            comparison = compare(files, ram, control, scale.seconds)
            yield time_criterion(structure.name, comparison)
            yield _same_bytes(structure.name, files, ram)


def time_criterion(name: str, comparison: Comparison) -> Criterion:
    """The line of a structure's time."""
    low, high = comparison.interval
    figure = (
        f"{comparison.ratio:.2f}x ({low:.2f} to {high:.2f}), {np.median(comparison.files) * 1e6:,.0f} µs in files; "
        f"memory against memory {comparison.noise:.2f}x; {len(comparison.ram)} rounds"
    )
    outcome = comparison.outcome
    status: Status = "WARN" if outcome == "NOISY" else outcome
    if outcome == "NOISY":
        figure = f"too noisy to tell: {figure}"
    limit = f"{LIMIT}x, memory against memory within {QUIET:.0%}"
    return Criterion(f"time: {name}", status, figure, limit, noisy=outcome == "NOISY")


def _same_bytes(name: str, files: Structure, ram: Structure) -> Criterion:
    ours, theirs = files.windows(), ram.windows()
    different = int((ours != theirs).sum())
    figure = f"{different:,} of {ours.size:,} cells of windows differ"
    return Criterion.of(f"same bytes: {name}", different == 0, figure, "none")
