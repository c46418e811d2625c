"""What a world is to be: its arguments, checked and agreed into a manifest, and the folder it gets."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from memfarm import files, layout
from memfarm.channels import GROUPS, Channel
from memfarm.config import MemmapConfig
from memfarm.errors import ConfigError, ShapeError, did_you_mean
from memfarm.manifest import GridEntry, Manifest

GROUND_DTYPE: Final = "uint8"
"""Storage of the environmental group: masks and costs in [0, 1], a byte each."""


class Layers(Protocol):
    """What a world can be made from: `memfarm.terrain.Terrain`, or anything with such layers."""

    @property
    def shape(self) -> tuple[int, int]: ...

    def layers(self) -> Mapping[str, NDArray[np.float32]]: ...


def plan(
    shape: tuple[int, int] | None,
    copies: int,
    memmap: MemmapConfig,
    seed: int,
    boundary: layout.Boundary,
    terrain: Layers | None,
    map_folder: str | os.PathLike[str] | None,
    channels: Mapping[str, Sequence[Channel]] | None,
    there: Manifest | None,
) -> Manifest:
    """The manifest of the world that these arguments of `World` ask for.

    Raises ConfigError, ShapeError, ChannelError, or WorldFormatError where the map is none.
    """
    if terrain is not None and map_folder is not None:
        raise ConfigError("a world's ground is a terrain or a map, got both; leave one out")
    layout.check_boundary(boundary)
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool):
        raise ConfigError(f"seed must be an int, got {seed!r}")
    ground = None if map_folder is None else Manifest.read(Path(map_folder))
    grids = _entries(channels, copies, memmap, None if ground is None else ground.grids["environmental"])
    return Manifest(
        shape=_agreed_shape(shape, [part.shape for part in (terrain, ground, there) if part is not None]),
        copies=int(copies),
        boundary=boundary,
        seed=int(seed),
        tick=0,
        map=None if map_folder is None else str(Path(map_folder).absolute()),
        grids=grids,
    )


def _entries(
    channels: Mapping[str, Sequence[Channel]] | None, copies: int, memmap: MemmapConfig, ground: GridEntry | None
) -> dict[str, GridEntry]:
    """How each group of a world is to be stored: its `channels`, else the `ground` of a map, else the standard ones."""
    for name in channels or {}:
        if name not in GROUPS:
            raise ConfigError(f"a group of channels is one of {', '.join(GROUPS)}, got {did_you_mean(name, GROUPS)}")
    if ground is not None and channels is not None and "environmental" in channels:
        raise ConfigError("the environmental channels are the map's own, got others; leave them out")

    def entry(group: str, copies: int, dtype: str, on_disk: bool) -> GridEntry:
        return GridEntry.of(
            (channels or GROUPS).get(group, GROUPS[group]), copies, dtype, "memmap" if on_disk else "ram"
        )

    return {
        "resources": entry("resources", copies, memmap.dtype, memmap.use_for_resources),
        "environmental": ground or entry("environmental", 1, GROUND_DTYPE, memmap.use_for_environmental),
        "temporal": entry("temporal", copies, memmap.dtype, memmap.use_for_temporal),
    }


def existing(path: str | os.PathLike[str] | None, memmap: MemmapConfig, terrain: Layers | None) -> Manifest:
    """The manifest of the world in `path` that is to be opened. Raises ConfigError or WorldFormatError."""
    if path is None:
        raise ConfigError(f"memmap.mode={memmap.mode!r} opens a world that exists, got no path; pass path=DIR")
    if terrain is not None:
        raise ConfigError(f"memmap.mode={memmap.mode!r} opens a world with its ground, got a terrain; leave it out")
    return Manifest.read(Path(path))


def _agreed_shape(asked: tuple[int, int] | None, found: list[tuple[int, int]]) -> tuple[int, int]:
    shapes = {*found, *([] if asked is None else [layout.check_shape(asked)])}
    if not shapes:
        raise ConfigError("a world needs a shape=(height, width), a terrain or a map, got none of them")
    if len(shapes) > 1:
        raise ShapeError(f"shape must be that of the ground, {found[0]}, got {asked}; leave shape out to take it")
    return layout.check_shape(shapes.pop())


def make_folder(
    path: str | os.PathLike[str] | None,
    memmap: MemmapConfig,
    name: str,
    shape: tuple[int, int],
    simulation_id: str | None,
) -> Path | None:
    """The folder of a new world, made: `path`, or one of its own in `memmap.directory`; None: scratch."""
    if path is not None:
        return files.given_folder(Path(path))
    if memmap.directory is not None:
        return files.new_folder(Path(memmap.directory), name, shape, simulation_id=simulation_id)
    return None
