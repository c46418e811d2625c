"""`.npz` files of plain arrays: nothing in them is executed, and no size in a header is believed unchecked."""

import io
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memfarm import files, npy_header
from memfarm.errors import WorldFormatError


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Make the file `path`, which must not be there, of named arrays (numbers and bools; stored, not compressed)."""
    fd = files.open_plain(path, "w+")
    with os.fdopen(fd, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of such a file by name; new. Raises WorldFormatError on any other file, and on a truncated one."""
    try:
        fd = files.open_plain(path, "r")
        with os.fdopen(fd, "rb") as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            _check(members, file.seek(0, io.SEEK_END))
            return {info.filename.removesuffix(".npy"): _member(archive, info) for info in members}
    except (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
        raise WorldFormatError(f"{str(path)!r} is no file of plain arrays: {error}") from error


def _check(members: list[zipfile.ZipInfo], size: int) -> None:
    for info in members:
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise ValueError(f"{info.filename!r} must be stored as it is, not compressed")
    if sum(info.file_size for info in members) > size:  # they may claim the same bytes
        raise ValueError(f"its members must lie beside each other, got more than its {size} bytes in all")


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    data = io.BytesIO(archive.read(info))  # checks the member's crc32
    shape, fortran, dtype = npy_header.read(data)
    here = data.tell()
    if fortran or math.prod(shape) * dtype.itemsize != info.file_size - here:
        raise ValueError(f"{info.filename!r} must hold exactly the numbers that its header says, got {dtype} {shape}")
    return np.frombuffer(data.getbuffer(), dtype, offset=here).reshape(shape).copy()
