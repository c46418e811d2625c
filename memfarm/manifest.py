"""The `world.json` of a world folder: what lies there, in plain words."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memfarm import files, layout
from memfarm.channels import GROUPS, Channel
from memfarm.errors import MemfarmError, WorldFormatError

FILE: Final = "world.json"
VERSION: Final = 1
_LARGEST: Final = 1 << 20  # bytes; a manifest takes a few kB
_LONGEST_WAY: Final = 8  # from map to map


class GridEntry(BaseModel):
    """One grid of the world: how it is stored, and its channels."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    copies: int = Field(ge=1, le=layout.MOST_COPIES)
    dtype: Literal["float16", "float32", "float64", "uint8", "int32"]
    backend: Literal["memmap", "ram"]
    tile: tuple[int, int] = Field(strict=False)  # (side in cells, lanes)
    channels: tuple[dict[str, Any], ...] = Field(strict=False)

    @classmethod
    def of(cls, channels: Sequence[Channel], copies: int, dtype: str, backend: str) -> "GridEntry":
        """The entry of a grid with these channels. Raises ConfigError or ChannelError where none can be made."""
        layout.check_grid(channels, copies, dtype, "wall")
        lanes = layout.lane_count(len(channels))
        return cls.model_validate(
            {
                "copies": int(copies),
                "dtype": dtype,
                "backend": backend,
                "tile": (layout.tile_side(lanes, np.dtype(dtype).itemsize), lanes),
                "channels": [channel.to_dict() for channel in channels],
            }
        )

    def parsed_channels(self) -> tuple[Channel, ...]:
        return tuple(Channel.from_dict(channel) for channel in self.channels)

    def names(self) -> tuple[str, ...]:
        return tuple(channel["name"] for channel in self.channels)

    def last_tick(self) -> int:
        return layout.last_tick(layout.epoch_length(self.parsed_channels(), self.dtype))

    def plan(self) -> dict[str, Any]:
        """What a group's manager is made with."""
        on_disk = self.backend == "memmap"
        return {
            "channels": self.parsed_channels(),
            "dtype": self.dtype,
            "copies": self.copies,
            "on_disk": on_disk,
        }


class Manifest(BaseModel):
    """A world folder's manifest; `tick` is the clock's reading when it was last flushed or closed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["memfarm-world"] = "memfarm-world"
    version: int = VERSION
    shape: tuple[int, int] = Field(strict=False)
    copies: int = Field(ge=1, le=layout.MOST_COPIES)
    boundary: Literal["wall", "wrap"]
    seed: int
    tick: int = Field(ge=0)
    map: str | None  # the world folder that holds the environmental grid; None: this one
    grids: dict[str, GridEntry]

    def write(self, folder: Path) -> None:
        """Replace the folder's manifest, whole or not at all."""
        files.write_atomically(folder / FILE, self.text())

    def text(self) -> str:
        """The file's contents."""
        return json.dumps(self.model_dump(mode="json"), indent=2) + "\n"

    def check_same(self, asked: "Manifest", where: str) -> None:
        """Raise WorldFormatError unless the world that lies in `where` (this one) is the one asked for."""
        for key in ("shape", "copies", "boundary"):
            if getattr(self, key) != getattr(asked, key):
                raise WorldFormatError(f"{where!r} was made with {key}={getattr(self, key)}, got {getattr(asked, key)}")
        for group, entry in self.grids.items():
            wanted = asked.grids[group]
            for key, there, got in (
                ("dtype", entry.dtype, wanted.dtype),
                ("copies", entry.copies, wanted.copies),
                ("channels", entry.names(), wanted.names()),
                *((c["name"], c, w) for c, w in zip(entry.channels, wanted.channels, strict=False)),
            ):
                if there != got:
                    raise WorldFormatError(f"{where!r} was made with {group} {key}={there}, got {got}")

    def check_map(self, folder: Path | None) -> None:
        """Raise WorldFormatError where the map of the world in `folder`, or its map's, leads back or on and on."""
        seen = set() if folder is None else {folder.resolve()}
        manifest = self
        while manifest.map is not None:
            place = Path(manifest.map)
            manifest = Manifest.read(place)
            if place.resolve() in seen or len(seen) > _LONGEST_WAY:
                raise WorldFormatError(f"a world's map must end at one with its own ground, got {self.map!r} again")
            seen.add(place.resolve())

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """The manifest of a world folder. Raises WorldFormatError where there is none that this version reads."""
        path = folder / FILE
        try:
            data = json.loads(files.read_text(path, _LARGEST), object_pairs_hook=_once)
        except OSError as error:
            raise WorldFormatError(f"{str(folder)!r} must be a world folder with a {FILE}: {error}") from error
        except (ValueError, RecursionError) as error:
            raise WorldFormatError(f"{str(path)!r} must be JSON, got: {error}") from error
        if not isinstance(data, dict) or data.get("format") != "memfarm-world":
            raise WorldFormatError(f"{str(path)!r} is not the manifest of a memfarm world")
        if data.get("version") != VERSION:
            raise WorldFormatError(
                f"{str(path)!r} must have format version {VERSION}, got {data.get('version')!r:.80}; use its memfarm"
            )
        try:
            manifest = cls.model_validate(data)
            layout.check_shape(manifest.shape)
            for name, entry in manifest.grids.items():
                files.safe_name(name, "a grid's name")
                if entry != GridEntry.of(entry.parsed_channels(), entry.copies, entry.dtype, entry.backend):
                    raise WorldFormatError(f"the {name} of {str(path)!r} must say what its channels say, got {entry}")
            if set(manifest.grids) != set(GROUPS):
                raise WorldFormatError(f"{str(path)!r} must list the grids {list(GROUPS)}, got {list(manifest.grids)}")
        except (ValidationError, MemfarmError) as error:
            raise WorldFormatError(f"{str(path)!r} is not a manifest of memfarm: {error!s:.1000}") from error
        return manifest


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found
