"""The tables of tags of a TIFF file, looked through before libtiff allocates what they claim."""

import struct
from typing import BinaryIO, Final

_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value by its type's number."""

_MOST_TABLES: Final = 1000
_BANDS: Final = 277  # the tag SamplesPerPixel
_MOST_BANDS: Final = 1024  # GDAL takes a kilobyte for each


def check_tags(file: BinaryIO, size: int) -> None:
    """Raise ValueError unless what each table claims fits into the file's `size` bytes, in not too many bands."""
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    magic = struct.unpack_from(f"{order}H", head, 2)[0] if order and len(head) >= 8 else 0
    if magic not in (42, 43):
        raise ValueError("a TIFF file begins with II or MM and 42 or 43")
    many, place, entry = ("H", "I", f"{order}HHI4s") if magic == 42 else ("Q", "Q", f"{order}HHQ8s")
    if len(head) < (8 if magic == 42 else 16):
        raise ValueError("a TIFF file is truncated")
    at = struct.unpack_from(f"{order}{place}", head, 4 if magic == 42 else 8)[0]
    seen: set[int] = set()
    while at and at not in seen and at < size:
        seen.add(at)
        if len(seen) > _MOST_TABLES:
            raise ValueError(f"a TIFF file must have at most {_MOST_TABLES} directories")
        file.seek(at)
        count = _number(file, f"{order}{many}")
        if count * struct.calcsize(entry) > size - at:
            raise ValueError(f"a directory of {count} tags at byte {at} does not fit the file's {size} bytes")
        table = file.read(count * struct.calcsize(entry))
        claimed = 0
        for tag, kind, values, first in struct.iter_unpack(entry, table):
            claimed += _SIZES.get(kind, 1) * values
            if tag == _BANDS and struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", first)[0] > _MOST_BANDS:
                raise ValueError(f"a TIFF file must have at most {_MOST_BANDS} bands")
        if claimed > size:
            raise ValueError(f"the tags of a directory claim {claimed} bytes of the file's {size}")
        at = _number(file, f"{order}{place}")


def _number(file: BinaryIO, form: str) -> int:
    """The next whole number; 0 where the file ends."""
    data = file.read(struct.calcsize(form))
    return int(struct.unpack(form, data)[0]) if len(data) == struct.calcsize(form) else 0
