"""`memfarm cache`: the maps that recipes were built into, and their end."""

from typing import Annotated

import typer
from rich.table import Column, Table

from memfarm import map_cache
from memfarm.commands.info import console
from memfarm.manifest import Manifest
from memfarm.sizes import in_words


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="remove every map that nobody is opening right now")] = False,
) -> None:
    """List the maps that were built from recipes, or remove them; worlds that have mapped one keep it."""
    if clear:
        removed = map_cache.clear()
        console().print(f"{map_cache.folder()}: {removed} map{'s' * (removed != 1)} removed", highlight=False)
        return
    found = map_cache.entries()
    if not found:
        console().print(f"{map_cache.folder()}: no maps", highlight=False)
        return
    table = Table(
        "map", "shape", Column("on disk", justify="right"), title=str(map_cache.folder()), title_justify="left"
    )
    for place, size in found.items():
        height, width = Manifest.read(place).shape
        table.add_row(place.name, f"{height} x {width}", in_words(size))
    console().print(table)
