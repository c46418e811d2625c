"""`python -m benchmarks.million`: 1,000,000 agents in a 32768 x 32768 world, beside 10,000 in the same one.

Takes a few minutes, about 10 GiB of memory (two batches of windows of 3.4 GB, as a trainer holds them) and 10 GiB of
disk.
"""

import time
from collections.abc import Iterator
from typing import Annotated, Final

import typer

from benchmarks import dense, disk, resident
from benchmarks.crop import RADIUS
from benchmarks.foraging import Foragers, plain_map
from benchmarks.rows import Goal, Row, figure
from benchmarks.timing import in_turns, one_core

_MB: Final = 1e6
_ROUNDS: Final = 5


def rows(many: int, few: int, side: int, warm_up: int) -> Iterator[Row]:
    """A step of `many` agents against one of `few` in a world of that side, and what the many take."""
    with dense.folder() as folder:
        yield from _measure(plain_map(folder / "map", side), many, few, side, warm_up)


def _measure(plain: str, many: int, few: int, side: int, warm_up: int) -> Iterator[Row]:
    few_foragers = Foragers(few, warm_up=warm_up, map=plain, radius=RADIUS)
    before = _memory()
    start = time.perf_counter()
    foragers = Foragers(many, warm_up=warm_up, map=plain, radius=RADIUS)
    began = time.perf_counter() - start
    cases = {"many": foragers.step, "few": few_foragers.step}
    times = in_turns(cases, seconds=0.0, least=_ROUNDS)
    after = _memory()
    windows = foragers.last[0].nbytes
    ours, baseline = times["many"].median / many, times["few"].median / few
    yield Row(
        id=f"million[{side}-n{many}]",
        what=f"a Forage step, windows included: {figure(times['many'].median)} s",
        unit="ns/agent",
        ours=ours * 1e9,
        versus=f"{few} agents in the same world, {figure(times['few'].median * 1e3)} ms",
        baseline=baseline * 1e9,
        ratio=times["many"].over(times["few"]) * few / many,
        goal=Goal("ratio", most=2.0),
        spread=times["many"].spread,
    )
    kinds = ("anonymous RAM (RssAnon)", "mapped RAM, which the system can take back (RssFile)", "scratch on the disk")
    for kind, at_first, then in zip(kinds, before, after, strict=True):
        yield Row(
            id=f"million-{kind.split()[0]}[{side}-n{many}]",
            what=kind,
            unit="MB",
            ours=(then - at_first) / _MB,
            versus="one batch of their windows",
            baseline=windows / _MB,
            ratio=(then - at_first) / windows,
        )
    print(f"{many} agents were born and took {warm_up} steps in {began:.1f} s")
    foragers.close()
    few_foragers.close()


def _memory() -> tuple[int, int, int]:
    return resident.anonymous(), resident.mapped(), disk.taken_by_scratch()


def main(
    agents: Annotated[int, typer.Option(min=1)] = 1_000_000,
    few: Annotated[int, typer.Option(min=1)] = 10_000,
    side: Annotated[int, typer.Option(min=16, help="Of the world, in cells.")] = 32_768,
    warm_up: Annotated[int, typer.Option(min=1, help="Steps before it is measured.")] = 4,
) -> None:
    """Print what a step of a million agents takes, for an agent, and the memory and disk of it."""
    with one_core():
        for row in rows(agents, few, side, warm_up):
            baseline = f"{figure(row.baseline or 0.0)} {row.unit} {row.versus}"
            reached = "" if row.goal is None else f", to reach ≤ 2: {'yes' if row.reached else 'no'}"
            print(f"{row.id}: {row.what}: {figure(row.ours)} {row.unit}; {baseline}; {row.ratio or 0.0:.3g}x{reached}")


if __name__ == "__main__":
    typer.run(main)
