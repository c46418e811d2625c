"""Mutations of `.npy` and `.npz` by their headers: sizes, dtypes, orders, and archives with right checksums."""

import io
import random
import struct
import zipfile
from collections.abc import Sequence

from fuzz_bytes import NUMBERS, TOKENS, mutated

DESCRIPTIONS = (
    *(
        "'<f4'",
        "'>f8'",
        "'<f2'",
        "'|u1'",
        "'<i8'",
        "'|b1'",
        "'<c16'",
        "'|O'",
        "'|S9'",
        "'<U4000000'",
        "'<M8[ns]'",
        "'|V8'",
    ),
    *(
        "'|V2147483647'",
        "''",
        "'q'",
        "'<f99'",
        "'float32'",
        "[('a', '<f4')]",
        "[('a', '|O')]",
        "[('a', '<f4', (9, 9))]",
    ),
    *("('<f4', (1000, 1000))", "None", "5", "['a']", "[('a', '<f4'), ('a', '<f4')]", "'\\d'", "'<f4,<f4'", "'<f4\\0'"),
    *("[('a', '<f4', (4000000, 4000000))]", "{'names': ['a'], 'formats': ['O']}", "b'<f4'", "'(3000,3000)f4'", "'>i2'"),
)
SHAPES = (
    *("(4, 5)", "(5, 4)", "(20,)", "()", "(0, 5)", "(4, 5,)", "(4L, 5L)", "[4, 5]", "(-4, 5)", "(4, -5)", "(4.0, 5)"),
    *("(True, 5)", "(4000000, 4000000)", "(9223372036854775807, 2)", "(4294967296, 4294967296)", "(99999, 99999)", "4"),
    *("(1,) * 9", "(2, 2, 5)", "(4, 5) # x", "'45'", "None", "(4096, 4096)", "(2048, 4096)", "((4, 5),)", "(4, 'x')"),
    *(
        "(" + "1, " * 40 + "20)",
        "(" + "1, " * 70 + "20)",
        "(0, 9223372036854775807)",
        "(4, 5",
        "-" * 900 + "1",
        "(" * 300,
    ),
)
KEYS = (
    *("{'descr': D, 'fortran_order': F, 'shape': S, }", "{'descr': D, 'fortran_order': F, 'shape': S}"),
    *("{'descr': D, 'fortran_order': F}", "{'descr': D, 'fortran_order': F, 'shape': S, 'x': 1}", "{D: F, 'shape': S}"),
    *("{'shape': S, 'fortran_order': F, 'descr': D}", "{'descr': D, 'descr': D, 'fortran_order': F, 'shape': S}", "S"),
    *(
        "[D, F, S]",
        "{'descr': D, 'fortran_order': F, 'shape': S}.x",
        "{1 if 1 else 2: D, 'shape': S}",
        "__import__('os')",
    ),
)


def head(rng: random.Random, room: int = 118) -> bytes:
    """A header that is whole but for what it says."""
    text = rng.choice(KEYS) if rng.random() < 0.3 else KEYS[0]
    text = text.replace("D", rng.choice(DESCRIPTIONS) if rng.random() < 0.5 else "'<f4'")
    text = text.replace("F", rng.choice(("True", "False", "False", "False", "0", "'x'", "None")))
    text = text.replace("S", rng.choice(SHAPES))
    raw = text.encode().ljust(room - 1) + b"\n"
    if rng.random() < 0.2:
        raw = mutated(rng, raw, [raw], (*TOKENS, *NUMBERS))
    version = rng.choice((1, 1, 1, 1, 2, 3, 4, 0, 255))
    length = len(raw) if rng.random() < 0.9 else rng.choice((0, 1, 10, 65535, 2**32 - 1))
    packed = struct.pack("<H", length & 0xFFFF) if version == 1 else struct.pack("<I", length)
    return b"\x93NUMPY" + bytes((version, rng.choice((0, 0, 0, 1)))) + packed + raw


def mutated_npy(rng: random.Random, pool: Sequence[bytes]) -> bytes:
    """An array file of the pool by its bytes, or a made one of an odd header."""
    if rng.random() < 0.4:
        return mutated(rng, rng.choice(pool), pool, DESCRIPTION_BYTES)
    return head(rng) + bytes(rng.choice((0, 79, 80, 80, 81, 160, 4096)))


DESCRIPTION_BYTES = tuple(text.encode() for text in (*DESCRIPTIONS, *SHAPES))


def _member(rng: random.Random, pool: Sequence[bytes]) -> bytes:
    kind = rng.random()
    if kind < 0.5:
        return mutated_npy(rng, [b"\x93NUMPY\x01\0\x06\0      "])
    if kind < 0.6:  # more than the archive's size says: rows of zeros that fold to nothing
        side = rng.choice((64, 512, 3000))
        text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({side}, {side})}}".encode().ljust(117) + b"\n"
        return b"\x93NUMPY\x01\0\x76\0" + text + bytes(min(side * side * 8, 1 << 20))
    return mutated(rng, rng.choice(pool), pool)


def mutated_npz(rng: random.Random, pool: Sequence[bytes]) -> bytes:
    """An archive of the pool by its bytes, or a made one of odd members, names and sizes."""
    if rng.random() < 0.4:
        return mutated(rng, rng.choice(pool), pool)
    out = io.BytesIO()
    names = (
        "elevation.npy",
        "elevation.npy",
        "dem.npy",
        "cell_size.npy",
        "dx.npy",
        "dy.npy",
        "../x.npy",
        "/x.npy",
        "x",
        "_",
    )
    with zipfile.ZipFile(out, "w") as archive:
        for name in {rng.choice(names): None for _ in range(rng.choice((1, 1, 2, 4)))}:
            member = _member(rng, pool)
            kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED)
            slow = (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2) if len(member) < 5000 and rng.random() < 0.1 else ()
            archive.writestr(zipfile.ZipInfo(name), member, compress_type=rng.choice((*slow, *kinds)), compresslevel=1)
    data = out.getvalue()
    if rng.random() < 0.5:  # the directory of the archive: sizes, methods, flags, offsets
        start = data.rfind(b"PK\1\2")
        at = start + rng.choice((8, 10, 16, 20, 24, 28, 30, 42, 54, 58, 62))
        new = rng.choice(
            (b"\0\0", b"\1\0", b"\x08\0", b"\x63\0", b"\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\x40", b"\x01")
        )
        data = data[:at] + new + data[at + len(new) :]
    return data
