"""Maps of the MovingAI pathfinding benchmarks: files `NAME.map`, type octile.

The format: https://movingai.com/benchmarks/formats.html; the maps: Sturtevant, "Benchmarks for grid-based pathfinding",
IEEE Transactions on Computational Intelligence and AI in Games 4(2), 2012.
"""

import os
import re
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from memfarm.errors import TerrainError
from memfarm.sources import open_source, size_of

LETTERS: Final = b".G@OTSW"
"""Ground `. G`, out of bounds `@ O`, trees `T`, swamp `S`, water `W`."""

_MAX_SIDE: Final = 1 << 20
_SIZE: Final = re.compile(rb"(height|width)\s+(\d{1,9})")


def read_octile(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """The letters of an octile map: a new uint8 `(height, width)` of ASCII codes, every one in `LETTERS`.

    Raises TerrainError, with the line's number, for a file that is foreign, truncated, or of another size than it
    says. The header is checked against the file's size before anything is allocated.
    """
    try:
        with open_source(Path(path)) as file:
            return _read(file, Path(path))
    except OSError as error:
        raise TerrainError(f"an octile map must be a file that can be read, got {path}: {error.strerror}") from error


def _read(file: BinaryIO, path: Path) -> NDArray[np.uint8]:
    height, width = _header(file, path)
    left = size_of(file) - file.tell()
    needed = height * (width + 1) - 1  # the last line may lack its end
    if left < needed:
        raise TerrainError(
            f"{path}: a map of {height} x {width} needs {needed} bytes after its header, got {left}; the file is "
            "truncated, or its header is wrong"
        )
    letters = np.empty((height, width), np.uint8)
    for row in range(height):
        line = file.readline(width + 2).rstrip(b"\r\n")
        number = row + 5
        if len(line) != width:
            got = "more" if len(line) > width else len(line)
            raise TerrainError(f"{path}, line {number}: a row of this map has {width} letters, got {got}")
        foreign = line.translate(None, LETTERS)
        if foreign:
            column = line.index(foreign[:1]) + 1
            raise TerrainError(
                f"{path}, line {number}, column {column}: a map's letters are {' '.join(LETTERS.decode())}, "
                f"got {foreign[:1].decode('latin-1')!r}"
            )
        letters[row] = np.frombuffer(line, np.uint8)
    rest = file.read(64)
    if rest.strip():
        raise TerrainError(f"{path}, line {height + 5}: a map of height {height} ends here, got more: {rest[:20]!r}")
    return letters


def _header(file: BinaryIO, path: Path) -> tuple[int, int]:
    """(height, width) from the four lines of the header; the two sizes come in either order."""
    lines = [file.readline(80).strip() for _ in range(4)]
    if lines[0].split() != [b"type", b"octile"]:
        raise TerrainError(f"{path}, line 1: an octile map begins with 'type octile', got {lines[0][:40]!r}")
    sizes: dict[bytes, int] = {}
    for number, line in enumerate(lines[1:3], start=2):
        match = _SIZE.fullmatch(line)
        if match is None or match[1] in sizes or not 1 <= int(match[2]) <= _MAX_SIDE:
            raise TerrainError(
                f"{path}, line {number}: lines 2 and 3 are 'height N' and 'width N', N from 1 to {_MAX_SIDE}, "
                f"got {line[:40]!r}"
            )
        sizes[match[1]] = int(match[2])
    if lines[3] != b"map":
        raise TerrainError(f"{path}, line 4: the header ends with 'map', got {lines[3][:40]!r}")
    return sizes[b"height"], sizes[b"width"]
