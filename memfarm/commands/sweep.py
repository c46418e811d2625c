"""`memfarm sweep`: what dead processes left in a folder of worlds."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from memfarm import leftovers
from memfarm.commands.info import console
from memfarm.sizes import in_words


def sweep(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="a folder with worlds in it")],
    delete: Annotated[bool, typer.Option("--delete", help="remove what is listed")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:
    """List what dead processes left in DIR: unfinished copies and worlds, scratch, worlds to be deleted on close.

    Never what is alive, and never a finished world that is to stay. Run it on the machine whose processes write there.
    """
    found = leftovers.find(directory)
    gone = [delete and leftovers.remove(left) for left in found]
    if as_json:
        listed = [{**left.to_dict(), "deleted": done} for left, done in zip(found, gone, strict=True)]
        typer.echo(json.dumps(listed, indent=2))
        return
    if not found:
        console().print(f"{directory}: nothing was left behind", highlight=False)
        return
    table = Table(Column("left behind", overflow="fold"), "what it is", "by process", "on disk", "")
    for left, done in zip(found, gone, strict=True):
        pid = "" if left.pid is None else str(left.pid)
        what = "deleted" if done else "kept: in use by now" if delete else ""
        table.add_row(str(left.path.relative_to(directory)), left.kind, pid, in_words(left.disk_bytes), what)
    console().print(table)
    if not delete:
        console().print("remove all this with --delete")
