"""`python -m benchmarks.profile_step`: where a Forage step's time goes, by part and by function.

By cProfile. It does not see the kernels' methods, so each is wrapped into a function of its name before anything is
measured. A call costs it about a microsecond, which is counted with Python: the last line says how much longer a
profiled step takes. Of a kernel's inside it knows nothing.
"""

import cProfile
import pstats
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import typer

from benchmarks.crop import RADIUS
from benchmarks.foraging import Foragers
from benchmarks.timing import one_core
from memfarm import _kernels
from memfarm.validate.pairs import no_garbage_collection

KERNELS: Final = {
    "observe": "crop: windows, points in them",
    "neighbours": "masks",
    "take": "take, scatter, gather",
    "scatter": "take, scatter, gather",
    "gather": "take, scatter, gather",
    "contest": "contest, draws",
    "hash_draws": "contest, draws",
    "missing": "room on the disk",
    "missing_windows": "room on the disk",
    "posix_fallocate": "room on the disk",
    "first_outside": "checks of coordinates",
}
"""Kernel, as cProfile names it -> part of the step."""

_PYTHON: Final = "Python"
_NUMPY: Final = "NumPy"
_LISTED: Final = 12

Stats = Mapping[tuple[str, int, str], tuple[int, int, float, float, object]]


def part_of(file: str, name: str) -> str:
    """The part of the step that a function's own time belongs to."""
    if file == __file__ and name in KERNELS:
        return KERNELS[name]
    for kernel, part in KERNELS.items():
        if file == "~" and kernel in name.replace(">", " ").split(".")[-1].split():
            return part
    return _NUMPY if "numpy" in (name if file == "~" else file) else _PYTHON


def wrap_kernels() -> None:
    """Put a function that cProfile sees, of the same name, around each method of the compiled kernels."""
    for owner in (_kernels.Grid, _kernels.Windows):
        for name in KERNELS.keys() & vars(owner).keys():
            setattr(owner, name, _named(name, getattr(owner, name)))


def _named(name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        return kernel(*args)

    call.__code__ = call.__code__.replace(co_name=name)
    return call


def shares(stats: Stats) -> dict[str, float]:
    """Seconds of each part, largest first."""
    found: defaultdict[str, float] = defaultdict(float)
    for (file, _, name), (_, _, own, _, _) in stats.items():
        found[part_of(file, name)] += own
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def main(
    agents: Annotated[int, typer.Option(min=1)] = 10_000,
    side: Annotated[int, typer.Option(min=16)] = 1024,
    steps: Annotated[int, typer.Option(min=1)] = 200,
) -> None:
    """Print the parts of a step by their share, then the functions that take most themselves."""
    wrap_kernels()
    with one_core(), no_garbage_collection():
        foragers = Foragers(agents, shape=(side, side), radius=RADIUS)
        plain = _seconds(foragers, steps)
        profile = cProfile.Profile()
        profile.enable()
        profiled = _seconds(foragers, steps)
        profile.disable()
        foragers.close()
    stats: Stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    found = shares(stats)
    total = sum(found.values())
    print(f"a step of {agents} agents in {side} x {side}: {plain / steps * 1e3:.2f} ms\n\n| part | share |\n|---|---|")
    for part, seconds in found.items():
        print(f"| {part} | {seconds / total:.1%} |")
    print("\n| function, its own time | share | calls a step |\n|---|---|---|")
    for (file, line, name), (_, calls, own, _, _) in sorted(stats.items(), key=lambda item: -item[1][2])[:_LISTED]:
        where = name if file == "~" else f"{file.rpartition('/')[2]}:{line} {name}"
        print(f"| `{where}` | {own / total:.1%} | {calls / steps:.1f} |")
    print(f"\nprofiled, a step takes {profiled / plain:.2f} times as long")


def _seconds(foragers: Foragers, steps: int) -> float:
    start = time.perf_counter()
    foragers.walk(steps)
    return time.perf_counter() - start


if __name__ == "__main__":
    typer.run(main)
