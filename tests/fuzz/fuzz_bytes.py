"""Mutations that know no format: flipped bits, cut, repeated and spliced pieces, odd numbers, tokens."""

import random
import re
import struct
from collections.abc import Callable, Sequence

NUMBERS = (
    *(b"0", b"-1", b"1", b"-0", b"00", b"007", b"2147483647", b"2147483648", b"-2147483649", b"4294967296"),
    *(b"9223372036854775807", b"18446744073709551616", b"9" * 40, b"9" * 5000, b"1e400", b"-1e400", b"1e-400"),
    *(
        b"0.5",
        b"1.0",
        b".5",
        b"1.",
        b"nan",
        b"NaN",
        b"inf",
        b"-Infinity",
        b"Infinity",
        b"0x10",
        b"0b1",
        b"1_000",
        b"1e5",
        b"0x" + b"f" * 5000,
    ),
)
WORDS = tuple(
    struct.pack(form, value)
    for form in ("<H", ">H", "<I", ">I", "<Q", ">Q")
    for value in (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
    if value < 256 ** struct.calcsize(form)
)
TOKENS = (
    b"\0",
    b"\n",
    b"\r\n",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b" ",
    b"\t",
    b"'",
    b'"',
    b"\\",
    b"../",
    b"/",
)
LONGEST = 1 << 16
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")

Mutation = Callable[[random.Random, bytes, Sequence[bytes], Sequence[bytes]], bytes]


def _place(rng: random.Random, data: bytes) -> int:
    """A position; half of them near the beginning, where headers are."""
    return rng.randrange(min(len(data), 256) + 1) if rng.random() < 0.5 else rng.randrange(len(data) + 1)


def _piece(rng: random.Random, data: bytes) -> tuple[int, int]:
    start = _place(rng, data)
    return start, min(len(data), start + rng.choice((1, 2, 4, 8, 16, 64, 1024)))


def flip(rng: random.Random, data: bytes, pool: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    changed = bytearray(data or b"\0")
    changed[min(_place(rng, data), len(changed) - 1)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite(rng: random.Random, data: bytes, pool: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    start, new = _place(rng, data), rng.choice(WORDS)
    return data[:start] + new + data[start + len(new) :]


def insert(rng: random.Random, data: bytes, pool: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    start, new = _place(rng, data), rng.choice((*TOKENS, *tokens))
    return data[:start] + new + data[start:]


def repeat(rng: random.Random, data: bytes, pool: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    start, end = _piece(rng, data)
    times = rng.choice((1, 1, 2, 10, 500))
    return data[:start] + data[start:end] * times + data[start:]


def delete(rng: random.Random, data: bytes, pool: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    start, end = _piece(rng, data)
    return data[:start] + data[end:]


def cut(rng: random.Random, data: bytes, pool: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    return data[: _place(rng, data)]


def splice(rng: random.Random, data: bytes, pool: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    other = rng.choice(pool)
    return data[: _place(rng, data)] + other[_place(rng, other) :]


def renumber(rng: random.Random, data: bytes, pool: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    found = list(_NUMBER.finditer(data, 0, 8192))
    if not found:
        return insert(rng, data, pool, tokens)
    match = rng.choice(found)
    return data[: match.start()] + rng.choice(NUMBERS) + data[match.end() :]


MUTATIONS: tuple[Mutation, ...] = (flip, overwrite, insert, repeat, delete, cut, splice, renumber, renumber)


def mutated(rng: random.Random, data: bytes, pool: Sequence[bytes], tokens: Sequence[bytes] = ()) -> bytes:
    """`data` after one to five mutations, at most 64 KiB; `pool`: what can be spliced in."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        data = rng.choice(MUTATIONS)(rng, data, pool, tokens)
    return data[:LONGEST]
