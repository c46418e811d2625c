"""`memfarm build`: a named map from an elevation, an octile map or noise."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from memfarm import terrain
from memfarm.commands.info import console
from memfarm.errors import StorageError
from memfarm.manifest import FILE, Manifest
from memfarm.publishing import publish
from memfarm.sizes import Sizes
from memfarm.world import World


def build(
    source: Annotated[str, typer.Argument(help=".npy, .npz, .png, .tif or MovingAI .map; or the word noise")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="the folder to make")],
    shape: Annotated[tuple[int, int] | None, typer.Option(help="height and width in cells", show_default=False)] = None,
    cell_size: Annotated[float | None, typer.Option(help="metres of a cell of the source", show_default=False)] = None,
    water_level: Annotated[float | None, typer.Option(help="metres; below is water", show_default=False)] = None,
    food_share: Annotated[float | None, typer.Option(help="share of the cells with food", show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="of noise, and of where food grows")] = 0,
    boundary: Annotated[Literal["wall", "wrap"], typer.Option(help="what an edge does")] = "wall",
    force: Annotated[bool, typer.Option("--force", help="replace the world that lies in DIR")] = False,
) -> None:
    """Make a map: a world folder that environments open with map=DIR, shared by all that do."""
    _check_free(directory, force)
    given = {"shape": shape, "cell_size": cell_size, "water_level": water_level, "food_share": food_share}
    arguments = {name: value for name, value in given.items() if value is not None}
    ground = _ground(source, {**arguments, "seed": seed})
    with publish(directory, replace=force) as part:
        world = World(terrain=ground, path=part, seed=seed, boundary=boundary)
        sizes = Sizes.of(world.info())
        world.close()
    height, width = ground.shape
    walkable, food = 1.0 - ground.obstacles.mean(), (ground.capacity > 0).mean()
    console().print(
        f"{directory}: {height} x {width} cells, {walkable:.0%} walkable, {food:.0%} with food, {sizes.disk} on disk",
        highlight=False,
    )


def _ground(source: str, arguments: dict[str, Any]) -> terrain.Terrain:
    if source == "noise":
        return terrain.from_recipe({"kind": "noise", "shape": (64, 64), **arguments})
    return terrain.load(source, **arguments)


def _check_free(directory: Path, force: bool) -> None:
    """Raise StorageError where something lies that must not be replaced: only a world may be, and only by `force`."""
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return
    if not force:
        raise StorageError(f"{directory} must be new or empty; remove it, or replace the world in it with --force")
    if directory.is_symlink() or not (directory / FILE).is_file():
        raise StorageError(f"--force replaces a world folder, got {directory} without a {FILE}; remove it yourself")
    Manifest.read(directory)
