"""`memfarm demo | validate | build | info | cache | sweep | bench` on the command line."""

import sys

import typer
from rich.console import Console
from rich.markup import escape

from memfarm.commands.bench import bench
from memfarm.commands.build import build
from memfarm.commands.cache import cache
from memfarm.commands.demo import demo
from memfarm.commands.info import info
from memfarm.commands.sweep import sweep
from memfarm.commands.validate import validate
from memfarm.errors import MemfarmError

app = typer.Typer(
    name="memfarm",
    help="Reinforcement-learning worlds for thousands of agents, kept in memory-mapped channel grids.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(demo)
app.command()(validate)
app.command()(build)
app.command()(info)
app.command()(cache)
app.command()(sweep)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(bench)


def main() -> None:
    """Run the command line; an error of memfarm's own is one line on stderr and exit status 2."""
    try:
        app()
    except MemfarmError as error:
        line = " ".join(str(error).split())
        Console(stderr=True, soft_wrap=True).print(f"[bold red]memfarm:[/] {escape(line)}", highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
