"""`memfarm demo`: watch a population learn on a real place."""

import importlib.util
import os
from pathlib import Path
from typing import Annotated

import typer

from memfarm import config_files
from memfarm.commands.info import console
from memfarm.errors import ConfigError


def demo(
    map: Annotated[  # noqa: A002 - the doors' own word
        Path | None,
        typer.Option(help="a raster, an octile .map or a world folder; else the Jacksboro fault", show_default=False),
    ] = None,
    agents: Annotated[int, typer.Option(help="in all worlds together")] = 1024,
    worlds: Annotated[int, typer.Option(help="a divisor of --agents")] = 4,
    shape: Annotated[
        tuple[int, int] | None, typer.Option(help="resample a raster to this height and width", show_default=False)
    ] = None,
    seconds: Annotated[float, typer.Option(help="of training; evaluation comes on top")] = 110.0,
    device: Annotated[str, typer.Option(help="where the policy lives: cpu, cuda")] = "cpu",
    out: Annotated[Path, typer.Option(help="the folder for what it leaves behind")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="of the training")] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="a setting of the configuration, such as memmap.dtype=float16; as often as wanted",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a population in a world made from a real elevation map, and report how it did."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("the demo draws with matplotlib, which is not installed; pip install 'memfarm[demo]'")
    # torch's threads that spin while they wait slow each other down several times where another program is at work
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from memfarm.demo.run import Options, run  # here: torch takes seconds to load, and no other command needs it

    terminal = console()
    options = Options(
        map=map,
        shape=shape,
        agents=agents,
        worlds=worlds,
        seconds=seconds,
        device=device,
        out=out,
        seed=seed,
        settings=config_files.settings(settings or ()),
    )
    run(options, terminal)
    for name in ("report.md", "learning_curve.png", "forage.gif", "world"):
        terminal.print(f"  {out / name}", highlight=False)
