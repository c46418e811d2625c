"""Mutations of PNG and TIFF by their parts: chunks with right checksums, tags, bombs."""

import io
import random
import struct
import zlib
from collections.abc import Sequence
from functools import cache

from fuzz_bytes import WORDS, mutated

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
Chunk = tuple[bytes, bytes]


@cache
def bomb(megabytes: int) -> bytes:
    """A zlib stream that unfolds to so many megabytes of zeros."""
    return zlib.compress(bytes(megabytes << 20), 9)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(width: int, height: int, depth: int, colour: int = 0) -> bytes:
    return struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)


def png(*chunks: Chunk) -> bytes:
    return _SIGNATURE + b"".join(chunk(*part) for part in chunks)


def _chunks(data: bytes) -> list[Chunk]:
    found, at = [], len(_SIGNATURE)
    while at + 12 <= len(data):
        size = struct.unpack(">I", data[at : at + 4])[0]
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def _odd_chunk(rng: random.Random) -> Chunk:
    return rng.choice(
        (
            (
                b"IHDR",
                header(
                    rng.choice((0, 1, 5, 65535, 2**31 - 1)),
                    rng.choice((0, 1, 40000, 2**31)),
                    rng.choice((1, 8, 16, 99)),
                ),
            ),
            (b"IHDR", header(12_000, 12_000, 16)),
            (b"IDAT", bomb(rng.choice((1, 8, 100)))),
            (b"IDAT", b""),
            (b"zTXt", b"Comment\0\0" + bomb(100)),
            (b"iTXt", b"Comment\0\1\0\0\0" + bomb(100)),
            (b"iCCP", b"icc\0\0" + bomb(100)),
            (b"tEXt", b"k" * 80 + b"\0" + b"v" * 3000),
            (b"PLTE", bytes(rng.randrange(800))),
            (b"tRNS", bytes(rng.randrange(8))),
            (b"acTL", struct.pack(">II", rng.choice((0, 2, 2**31)), 0)),
            (b"fcTL", bytes(26)),
            (b"fdAT", bytes(4) + bomb(1)),
            (b"pHYs", bytes(rng.randrange(12))),
            (b"gAMA", b""),
            (b"eXIf", b"II*\0" + bytes(20)),
            (b"IEND", b""),
            (bytes(rng.randrange(256) for _ in range(4)), bytes(9)),
        )
    )


def mutated_png(rng: random.Random, pool: Sequence[bytes]) -> bytes:
    """A picture of the pool with chunks changed, added, dropped and moved, most of them with right checksums."""
    data = rng.choice(pool)
    if rng.random() < 0.3:
        return mutated(rng, data, pool)
    chunks = _chunks(data) or [_odd_chunk(rng)]
    for _ in range(rng.choice((1, 1, 2, 3))):
        at, kind = rng.randrange(len(chunks)), rng.randrange(6)
        if kind == 0 and len(chunks) > 1:
            del chunks[at]
        elif kind == 1:
            chunks.insert(at, _odd_chunk(rng))
        elif kind == 2:
            chunks[at] = _odd_chunk(rng)
        elif kind == 3:
            chunks[at] = (chunks[at][0], mutated(rng, chunks[at][1], pool))
        elif kind == 4:
            rng.shuffle(chunks)
        else:
            chunks.insert(at, rng.choice(chunks))
    data = png(*chunks)
    return mutated(rng, data, pool) if rng.random() < 0.1 else data


_SIZE_OF_TYPE = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_TAGS = (254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 322, 323, 324, 325, 330, 338, 339, 347)
_TAGS += (33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113, 50674, 65000)


def tiff(width: int, height: int, tags: dict[int, tuple[int, bytes]], body: bytes) -> bytes:
    """A little-endian TIFF of one strip of float32; `tags`: by number, their type and bytes, over the usual ones."""
    usual = {256: width, 257: height, 258: 32, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(body), 339: 3}
    entries = {tag: (4, struct.pack("<I", value)) for tag, value in usual.items()} | tags
    out = io.BytesIO()
    place = 8 + len(body) + len(body) % 2
    table = struct.pack("<H", len(entries))
    tail, after = b"", place + 2 + 12 * len(entries) + 4
    for tag, (kind, value) in sorted(entries.items()):
        count = len(value) // _SIZE_OF_TYPE.get(kind, 1)
        if len(value) > 4:
            table += struct.pack("<HHII", tag, kind, count, after + len(tail))
            tail += value + b"\0" * (len(value) % 2)
        else:
            table += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    out.write(struct.pack("<2sHI", b"II", 42, place) + body.ljust(place - 8, b"\0") + table + bytes(4) + tail)
    return out.getvalue()


def mutated_tiff(rng: random.Random, pool: Sequence[bytes]) -> bytes:
    """A TIFF of the pool by its bytes, by one entry of its table of tags, or a made one of odd tags."""
    kind = rng.random()
    data = rng.choice(pool)
    if kind < 0.35:
        return mutated(rng, data, pool)
    if kind < 0.7 and data[:4] == b"II*\0" and len(data) > 8:
        table = struct.unpack("<I", data[4:8])[0]
        if table + 2 < len(data):
            count = min(struct.unpack("<H", data[table : table + 2])[0], (len(data) - table - 2) // 12)
            for _ in range(rng.choice((1, 1, 2, 3)) if count else 0):
                at = table + 2 + 12 * rng.randrange(count) + rng.choice((0, 2, 4, 8, 8))
                new = rng.choice(WORDS)[:4] if rng.random() < 0.7 else struct.pack("<I", rng.randrange(2**16))
                data = data[:at] + new + data[at + len(new) :]
            return data
    odd = {
        rng.choice(_TAGS): (rng.choice((3, 4, 4, 12, 2, 16, 99)), struct.pack("<Q", _odd(rng))[: rng.choice((2, 4, 8))])
        for _ in range(rng.choice((1, 2, 4)))
    }
    return tiff(rng.choice((4, 1, 9)), rng.choice((4, 1, 9)), odd, bytes(rng.choice((64, 16, 400))))


def _odd(rng: random.Random) -> int:
    return rng.choice(
        (0, 1, 2, 5, 8, 16, 255, 4096, 32773, 34712, 34887, 50000, 65535, 10**6, 2**31 - 1, 2**32 - 1, 2**63)
    )
