"""`memfarm info`: what a world folder holds."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from memfarm.sizes import Sizes
from memfarm.world import World


def info(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="a world folder")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of tables")] = False,
) -> None:
    """Say what a world folder holds: shape, clock, channels and their laws, sizes, share of tiles written."""
    world = World.open(directory)
    try:
        found = world.info()
    finally:
        world.close()
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    console().print(_summary(found), _grids(found), _channels(found), sep="\n")


def console() -> Console:
    """The terminal, or plain text at a fixed width where stdout is none."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=120)


def _summary(found: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    height, width = found["shape"]
    sizes = Sizes.of(found)
    rows = {
        "world": found["path"],
        "shape": f"{height} x {width} cells",
        "copies": found["copies"],
        "boundary": found["boundary"],
        "tick": found["tick"],
        "seed": found["seed"],
        "map": found["map"] or "its own",
        "size": f"{sizes.logical} logical, {sizes.disk} on disk",
        "tiles written": _share(found["written_share"]),
    }
    for name, value in rows.items():
        table.add_row(f"[bold]{name}[/]", str(value))
    return table


def _grids(found: dict[str, Any]) -> Table:
    table = Table("grid", "copies", "dtype", "kept in", "logical", "on disk", "tiles", "written", title_justify="left")
    for name, grid in found["grids"].items():
        sizes = Sizes.of(grid)
        kept = "files" if grid["backend"] == "memmap" else "memory"
        tiles, written = f"{grid['tiles']:,}", _share(grid["written_share"])
        table.add_row(name, str(grid["copies"]), grid["dtype"], kept, sizes.logical, sizes.disk, tiles, written)
    return table


def _channels(found: dict[str, Any]) -> Table:
    table = Table("channel", "grid", Column("law", no_wrap=True), "range", "never written", "beyond the edge")
    for group, grid in found["grids"].items():
        for channel in grid["channels"]:
            span = f"{channel['low']:g} to {channel['high']:g}"
            law = _law(channel["law"])
            table.add_row(channel["name"], group, law, span, f"{channel['fill']:g}", f"{channel['outside']:g}")
    return table


def _law(law: dict[str, Any]) -> str:
    arguments = ", ".join(f"{key}={value}" for key, value in law.items() if key != "kind")
    return f"{law['kind']}({arguments})"


def _share(share: float) -> str:
    return f"{share:.1%}"
