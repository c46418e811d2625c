"""What a world is to be: its arguments, checked and agreed into a manifest, and the folder it gets."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from memfarm import files, layout
from memfarm.channels import GROUPS, Channel, standard_channels
from memfarm.config import MemmapConfig
from memfarm.errors import ConfigError, ShapeError, did_you_mean
from memfarm.manifest import FILE, GridEntry, Manifest


class Layers(Protocol):
    """What a world can be made from: `memfarm.terrain.Terrain`, or anything with such layers."""

    @property
    def shape(self) -> tuple[int, int]: ...

    def layers(self) -> Mapping[str, NDArray[np.float32]]: ...


@dataclass(frozen=True, slots=True)
class Ground:
    """Layers as they are: what a copy of a world is made from."""

    shape: tuple[int, int]
    values: Mapping[str, NDArray[np.float32]]

    def layers(self) -> Mapping[str, NDArray[np.float32]]:
        """The layers by channel, `(height, width)` each."""
        return self.values


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

    standard = standard_channels()

    def entry(group: str, copies: int, on_disk: bool) -> GridEntry:
        stored = (channels or standard).get(group, standard[group])
        return GridEntry.of(stored, copies, memmap.dtype_of(group), "memmap" if on_disk else "ram")

    return {
        "resources": entry("resources", copies, memmap.use_for_resources),
        "environmental": ground or entry("environmental", 1, memmap.use_for_environmental),
        "temporal": entry("temporal", copies, memmap.use_for_temporal),
    }


def check_map_mode(mode: str, map_folder: object, path: object, memmap: MemmapConfig) -> None:
    """Raise ConfigError unless a world may have a map's ground like that."""
    if mode not in ("r", "c"):
        raise ConfigError(f"map_mode must be 'r' or 'c', got {mode!r}")
    if mode == "c" and (map_folder is None or path is not None or memmap.directory is not None):
        raise ConfigError(
            "map_mode='c' is for a map under a world that is not kept: what is written to the ground ends with it; "
            "leave out path and memmap.directory, or map_mode"
        )


def existing_folder(path: str | os.PathLike[str] | None, memmap: MemmapConfig, terrain: Layers | None) -> Path:
    """The folder of the world that is to be opened: `path`, else `memmap.directory`, or the one world folder in it.

    Raises ConfigError, or WorldFormatError where there is none.
    """
    if terrain is not None:
        raise ConfigError(f"memmap.mode={memmap.mode!r} opens a world with its ground, got a terrain; leave it out")
    if path is not None:
        return Path(path)
    if memmap.directory is None:
        raise ConfigError(f"memmap.mode={memmap.mode!r} opens a world that exists, got no path; pass path=DIR")
    directory = Path(memmap.directory)
    inside = [] if (directory / FILE).is_file() else sorted(found.parent for found in directory.glob(f"*/{FILE}"))
    if len(inside) > 1:
        names = ", ".join(folder.name for folder in inside)
        raise ConfigError(f"memmap.directory must hold one world to open, got {names}; name one of these folders")
    return inside[0] if inside else directory


def _agreed_shape(asked: tuple[int, int] | None, found: list[tuple[int, int]]) -> tuple[int, int]:
    shapes = {*found, *([] if asked is None else [layout.check_shape(asked)])}
    if not shapes:
        raise ConfigError("a world needs a shape=(height, width), a terrain or a map, got none of them")
    if len(shapes) > 1:
        raise ShapeError(f"shape must be that of what is built on or opened, {found[0]}, got {asked}; leave it out")
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
