"""The chunks of a PNG picture that its pixels come from; the others may unfold to megabytes of text and profiles."""

import io
from typing import BinaryIO, Final

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_NEEDED: Final = (b"IHDR", b"PLTE", b"IDAT", b"IEND")


def pixels_only(file: BinaryIO, size: int) -> io.BytesIO:
    """A copy of a picture of `size` bytes, without all that no pixel needs. Raises ValueError where it is none."""
    if file.read(8) != _SIGNATURE:
        raise ValueError("a PNG picture begins with its signature")
    picture, kind = io.BytesIO(_SIGNATURE), b""
    picture.seek(8)
    while kind != b"IEND":
        head = file.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if len(head) != 8 or length + 4 > size - file.tell():
            raise ValueError("a PNG picture is truncated")
        if (kind == b"IHDR") != (picture.tell() == 8):
            raise ValueError("a PNG picture has one header, and it comes first")
        if kind in _NEEDED:
            picture.write(head + file.read(length + 4))
        else:
            file.seek(length + 4, io.SEEK_CUR)
    picture.seek(0)
    return picture
