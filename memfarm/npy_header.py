"""The header of a `.npy` file of numbers, matched as text: nothing in it is evaluated."""

import math
import re
from typing import Any, BinaryIO, Final

import numpy as np

MAGIC: Final = b"\x93NUMPY\x01\x00"
_LONGEST: Final = 10_000
_ITEM: Final = (
    r"'(descr|fortran_order|shape)':"
    r"('[<>|=]?[fiub]\d{1,2}'|True|False|\((?:\d{1,19}L?,)*(?:\d{1,19}L?)?\))(?:,|(?=\}))"
)
_HEADER: Final = re.compile(rf"\{{(?:{_ITEM}){{3}}\}}")

Claim = tuple[tuple[int, ...], bool, np.dtype[Any]]
"""What a header says: the shape, whether it is in Fortran's order, and the dtype."""


def read(file: BinaryIO) -> Claim:
    """What a `.npy` file claims to hold; the data comes next. Raises ValueError on any other file."""
    if file.read(len(MAGIC)) != MAGIC:  # later versions are for tables, and may claim a header of 4 GiB
        raise ValueError("an array of numbers is a .npy file of version 1.0")
    length = int.from_bytes(file.read(2), "little")
    text = file.read(min(length, _LONGEST))
    if len(text) != length:
        raise ValueError(f"a header of {length} bytes must be there, and at most {_LONGEST}, got {len(text)}")
    return parsed(text)


def parsed(text: bytes) -> Claim:
    """What the text of a header says. Raises ValueError unless it describes an array of real numbers."""
    plain = "".join(text.decode("ascii").split())
    said = dict(re.findall(_ITEM, plain)) if _HEADER.fullmatch(plain) else {}
    descr, order, sides = (said.get(key, "") for key in ("descr", "fortran_order", "shape"))
    if descr[:1] != "'" or order not in ("True", "False") or sides[:1] != "(":
        raise ValueError(f"a header says descr, fortran_order and shape of an array of numbers, got {text[:200]!r}")
    shape = tuple(int(side.rstrip("L")) for side in sides[1:-1].split(",") if side)
    if len(shape) > 32 or math.prod(shape) > 2**63:
        raise ValueError(f"a shape has at most 32 sides and fits the memory, got {sides[:200]}")
    try:
        dtype = np.dtype(descr[1:-1])
    except TypeError as error:
        raise ValueError(f"a header's descr must be a dtype, got {descr}") from error
    return shape, order == "True", dtype
