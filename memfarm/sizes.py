"""Sizes for people: bytes in words."""

from dataclasses import dataclass
from typing import Any


def in_words(size: int) -> str:
    """`3 MiB` for 3145728: bytes in the largest unit that leaves at least 1 in front, three digits."""
    value, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


@dataclass(frozen=True)
class Sizes:
    """What `World.info()`, or one of its grids, says about bytes, in words."""

    logical: str
    disk: str

    @classmethod
    def of(cls, found: dict[str, Any]) -> "Sizes":
        return cls(in_words(found["logical_bytes"]), in_words(found["disk_bytes"]))
