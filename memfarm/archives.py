"""Arrays of numbers in `.npy` and `.npz` files of others: sizes are checked before anything is allocated.

`numpy.load` allocates what a header or an archive's directory claims. Nothing here unpickles.
"""

import math
import zipfile
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from memfarm import npy_header
from memfarm.npy_header import Claim
from memfarm.sources import cells_allowed, size_of

_PIECE: Final = 1 << 20
_WIDEST: Final = 8  # bytes a number


def read_npy(file: BinaryIO) -> NDArray[Any]:
    """The array in a `.npy` file: a new one. Raises ValueError where it is none of numbers, or is cut short."""
    claim = _claim(file)
    return _read(file, claim, size_of(file) - file.tell())


class Archive:
    """An open `.npz` archive, whose arrays are read one at a time: `with Archive(file) as archive`.

    Raises ValueError, or what `zipfile` does, where it is broken. Members are stored or deflated, as numpy's are.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._size = size_of(file)
        self._zip = zipfile.ZipFile(file)
        members = [info for info in self._zip.infolist() if info.filename.endswith(".npy")]
        self._members = {info.filename.removesuffix(".npy"): info for info in members}

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *error: object) -> None:
        self._zip.close()

    @property
    def names(self) -> list[str]:
        """The names of its arrays."""
        return list(self._members)

    def ndim(self, name: str) -> int:
        """How many dimensions an array has; reads its header only."""
        with self._open(name) as member:
            return len(_claim(member)[0])

    def read(self, name: str) -> NDArray[Any]:
        """One array: a new one."""
        with self._open(name) as member:
            claim = _claim(member)
            cells = math.prod(claim[0])
            if cells > cells_allowed(self._size):
                raise ValueError(f"{name!r} says to unfold {self._size} bytes to {cells} numbers; save it as .npy")
            return _read(member, claim, self._members[name].file_size - member.tell())

    def _open(self, name: str) -> Any:
        info = self._members[name]
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name!r} must be stored or deflated, got method {info.compress_type}; use numpy.savez")
        return self._zip.open(info)


def _claim(file: BinaryIO) -> Claim:
    shape, fortran, dtype = npy_header.read(file)
    if dtype.itemsize > _WIDEST:
        raise ValueError(f"an array must hold real numbers of at most 64 bits, got {dtype}")
    return shape, fortran, dtype


def _read(file: BinaryIO, claim: Claim, left: int) -> NDArray[Any]:
    shape, fortran, dtype = claim
    size = math.prod(shape) * dtype.itemsize
    if size > left:
        raise ValueError(f"an array {dtype} of shape {shape} needs {size} bytes behind its header, got {left}")
    data = np.empty(size, np.uint8)
    at = 0
    while at < size:
        piece = file.read(min(_PIECE, size - at))
        if not piece:
            raise ValueError(f"an array {dtype} of shape {shape} needs {size} bytes behind its header, got {at}")
        data[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
        at += len(piece)
    return data.view(dtype).reshape(shape, order="F" if fortran else "C")
