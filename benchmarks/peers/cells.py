"""What a cell takes: by how much more a process holds when its world is larger and the rest is the same."""

from collections.abc import Iterator
from typing import Final

from benchmarks.crop import RADIUS
from benchmarks.peers.packages import OURS, Package, why_missing
from benchmarks.peers.process import WorldProcess
from benchmarks.peers.sizes import Growth, Sizes
from benchmarks.rows import Row

_AGENTS: Final = 8


def rows(sizes: Sizes) -> Iterator[Row]:
    """Each peer beside a world of ours of the same sides, every cell of all channels written."""
    for growth in sizes.growths:
        yield compared(growth)


def compared(growth: Growth) -> Row:
    """The row of one peer; without a baseline where its package is missing."""
    missing = why_missing(growth.package)
    ours = _grown(OURS, "forage:Written", growth.sides)
    theirs = None if missing else _grown(growth.package, growth.theirs, growth.sides)
    small, large = growth.sides
    return Row(
        id=f"cells-{growth.id}[{small}-{large}]",
        what="a world written all over: memory and nameless files",
        unit="B/cell",
        ours=ours,
        versus=missing or f"{growth.package.title}, whose layers are dense",
        baseline=theirs,
        ratio=None if theirs is None else ours / theirs,
    )


def _grown(package: Package, world: str, sides: tuple[int, int]) -> float:
    """Bytes a cell between a world of the first side and one of the second."""
    held = []
    for side in sides:
        with WorldProcess(package, world, _AGENTS, side, RADIUS) as process:
            held.append(process.held)
    small, large = sides
    return (held[1] - held[0]) / (large**2 - small**2)
