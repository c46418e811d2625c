"""`memfarm validate`: is what lies in files as good as what lies in memory, on this machine?"""

import json
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from memfarm.commands.info import console

_STYLE: Final = {"PASS": "green", "WARN": "yellow", "FAIL": "bold red", "INCONCLUSIVE": "yellow"}


def validate(
    directory: Annotated[
        Path | None, typer.Option(help="a folder on the disk to validate; else the scratch folder", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:
    """Measure and check, in under half a minute, what worlds in files promise: time, memory, tensors, decay, files.

    Exit status: 0 PASS, 1 FAIL, 3 INCONCLUSIVE (the machine was too busy to tell; run it again).
    """
    from memfarm.validate.criteria import EXIT, verdict  # here: torch takes seconds to load
    from memfarm.validate.run import run

    start = time.perf_counter()
    found = []
    with Console(stderr=True).status("") as status:
        for criterion in run(directory):
            found.append(criterion)
            status.update(f"{len(found)} criteria, last: {criterion.name} …")
    seconds, said = time.perf_counter() - start, verdict(found)
    if as_json:
        report = {"verdict": said, "seconds": seconds, "criteria": [criterion.to_dict() for criterion in found]}
        typer.echo(json.dumps(report, indent=2))
        raise typer.Exit(EXIT[said])
    table = Table("", "criterion", "found", "must be", title_justify="left")
    for line in found:
        table.add_row(f"[{_STYLE[line.status]}]{line.status}[/]", line.name, escape(line.figure), escape(line.limit))
    terminal = console()
    terminal.print(table)
    terminal.print(f"[{_STYLE[said]}]{said}[/] · {len(found)} criteria · {seconds:.0f} s", highlight=False)
    raise typer.Exit(EXIT[said])
