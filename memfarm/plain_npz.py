"""`.npz` files of plain arrays: nothing in them is executed, and no size in a header is believed unchecked."""

import io
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from memfarm import files
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
            size = file.seek(0, io.SEEK_END)
            return {info.filename.removesuffix(".npy"): _member(archive, info, size) for info in archive.infolist()}
    except WorldFormatError:
        raise
    except (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
        raise WorldFormatError(f"{str(path)!r} is no file of plain arrays: {error}") from error


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int) -> NDArray[Any]:
    if info.compress_type != zipfile.ZIP_STORED or not 0 <= info.file_size <= size:
        raise ValueError(f"{info.filename!r} must be stored as it is, got {info.file_size} bytes in a file of {size}")
    data = io.BytesIO(archive.read(info))  # checks the member's crc32
    if npy.read_magic(data) != (1, 0):
        raise ValueError(f"{info.filename!r} must be a version 1.0 .npy")
    shape, fortran, dtype = npy.read_array_header_1_0(data)
    here = data.tell()
    plain = dtype.kind in "biuf" and not fortran
    if not plain or math.prod(shape) * dtype.itemsize != info.file_size - here:
        raise ValueError(f"{info.filename!r} must hold exactly the numbers that its header says, got {dtype} {shape}")
    return np.frombuffer(data.getbuffer(), dtype, offset=here).reshape(shape).copy()
