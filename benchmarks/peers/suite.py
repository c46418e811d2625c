"""The command line, and the table of memfarm beside its peers."""

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

from benchmarks import machine
from benchmarks.peers import cells, imports, steps
from benchmarks.peers.sizes import FULL, QUICK, Sizes
from benchmarks.rows import Row
from benchmarks.timing import one_core

PARTS: Final[dict[str, Callable[[Sizes], Iterator[Row]]]] = {
    "steps": steps.rows,
    "cells": cells.rows,
    "import": imports.rows,
}

_WIDTH: Final = 150  # of the table where no terminal says


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Tiny worlds: whether it runs, not how fast.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows there too.", dir_okay=False)] = None,
) -> None:
    """Measure memfarm in turn with MAgent2, POGEMA, PettingZoo's pursuit and packages that store, on one core."""
    start = time.perf_counter()
    console = Console() if os.isatty(1) else Console(width=_WIDTH)
    with one_core() as core:
        described = machine.described(core)
        found = list(_run(QUICK if quick else FULL))
    console.print(table([replace(row, goal=None) for row in found] if quick else found))
    console.print(" · ".join(f"{key} {value}" for key, value in described.items()), highlight=False)
    seconds = time.perf_counter() - start
    if quick:
        console.print(f"--quick: tiny worlds; these figures say nothing but that everything runs · {seconds:.0f} s")
    else:
        reached = [row.reached for row in found if row.reached is not None]
        console.print(f"{reached.count(True)} of {len(reached)} figures reached · {seconds:.0f} s")
    if json_file is not None:
        report = {"machine": described, "quick": quick, "rows": [row.as_json() for row in found]}
        json_file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def table(rows: Sequence[Row]) -> Table:
    """The rows as people read them; a peer that is missing is named in its own."""
    drawn = Table(title="memfarm beside other packages, medians", show_lines=True)
    drawn.add_column("row", min_width=max((len(row.id) for row in rows), default=0))
    for heading in ("memfarm", "peer", "ratio", "to reach", "reached"):
        drawn.add_column(heading, justify="left" if heading == "peer" else "right")
    for row in rows:
        drawn.add_row(*row.cells())
    return drawn


def _run(sizes: Sizes) -> Iterator[Row]:
    """All rows; what is going on is told on stderr, and seen in a terminal only."""
    with Console(stderr=True).status("") as status:
        for name, part in PARTS.items():
            status.update(f"measuring {name} …")
            yield from part(sizes)
