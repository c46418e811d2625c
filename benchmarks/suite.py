"""The benchmarks by name, the command line, and the table."""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import clock, crop, machine, memory, points, reset, rollout, sharding, sharing, size, snapshot, steps
from benchmarks.rows import Row
from benchmarks.sizes import FULL, QUICK, Sizes
from benchmarks.timing import one_core

BENCHMARKS: Final[dict[str, Callable[[Sizes], Iterator[Row]]]] = {
    "crop": crop.rows,
    "clock": clock.rows,
    "reset": reset.rows,
    "world-size": size.rows,
    "step": steps.rows,
    "points": points.rows,
    "memory": memory.rows,
    "sharing": sharing.rows,
    "rollout": rollout.rows,
    "shards": sharding.rows,
    "snapshot": snapshot.rows,
}

_WIDTH: Final = 150  # of the table where no terminal says


def main(
    only: Annotated[str, typer.Option(help=f"Some of {', '.join(BENCHMARKS)}, with commas between.")] = "",
    quick: Annotated[bool, typer.Option("--quick", help="Tiny worlds: whether it runs, not how fast.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows there too.", dir_okay=False)] = None,
) -> None:
    """Measure memfarm on this machine, each figure beside its baseline, on one core."""
    names = [name.strip() for name in only.split(",") if name.strip()] or list(BENCHMARKS)
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        raise typer.BadParameter(f"--only takes some of {', '.join(BENCHMARKS)}, got {', '.join(unknown)}")
    start, busy = time.perf_counter(), time.process_time()
    console = Console() if os.isatty(1) else Console(width=_WIDTH)
    with one_core() as core:
        described = machine.described(core)
        found = list(_run(names, QUICK if quick else FULL))
    console.print(_table([replace(row, goal=None) for row in found] if quick else found))
    console.print(" · ".join(f"{key} {value}" for key, value in described.items()), highlight=False)
    seconds = time.perf_counter() - start
    share = (time.process_time() - busy) / seconds
    if quick:
        console.print(f"--quick: tiny worlds; these figures say nothing but that everything runs · {seconds:.0f} s")
    else:
        reached = [row.reached for row in found if row.goal is not None]
        figures = f"{reached.count(True)} of {len(reached)} figures reached"
        console.print(f"{figures} · {seconds:.0f} s, {share:.0%} of them on the core")
    if json_file is not None:
        report = {"machine": described, "quick": quick, "rows": [row.as_json() for row in found]}
        json_file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _run(names: Sequence[str], sizes: Sizes) -> Iterator[Row]:
    """The rows of the benchmarks in `names`; what is going on is told on stderr, and seen in a terminal only."""
    with Console(stderr=True).status("") as status:
        for name in names:
            status.update(f"measuring {name} …")
            yield from BENCHMARKS[name](sizes)


def _table(rows: Sequence[Row]) -> Table:
    table = Table(title="memfarm: each figure beside its baseline, medians", show_lines=True)
    for heading in ("row", "ours", "baseline", "ratio", "to reach", "reached"):
        table.add_column(heading, justify="left" if heading in ("row", "baseline") else "right")
    for row in rows:
        table.add_row(*row.cells())
    return table
