"""Sealed JSON: small files that say themselves whether every character is as it was written."""

import json
import os
import zlib
from pathlib import Path
from typing import Any, Final

from memfarm import files
from memfarm.errors import WorldFormatError

LARGEST: Final = 1 << 28  # bytes; one extent of a snapshot takes about 30


def write(path: Path, kind: str, body: dict[str, Any]) -> None:
    """Make the file `path`, of the format `kind`, which must not be there. Raises StorageError, OSError."""
    fd = files.open_plain(path, "w+")
    with os.fdopen(fd, "wb") as file:
        file.write(_sealed(kind, body))


def read(path: Path, kind: str) -> dict[str, Any]:
    """What `write` was given. Raises WorldFormatError on anything else, to the last bit."""
    try:
        text = files.read_text(path, LARGEST)
        body = json.loads(text)["body"]
    except OSError as error:
        raise WorldFormatError(f"{str(path)!r} must be a file that can be read: {error}") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise WorldFormatError(f"{str(path)!r} must be JSON of the format {kind}, got: {error!r:.200}") from error
    if not isinstance(body, dict) or text.encode() != _sealed(kind, body):
        raise WorldFormatError(f"{str(path)!r} is no {kind} of this memfarm: changed, foreign or newer")
    return body


def _sealed(kind: str, body: dict[str, Any]) -> bytes:
    inside = json.dumps(body, sort_keys=True)
    return f'{{"format": "{kind}", "crc32": {zlib.crc32(inside.encode())}, "body": {inside}}}\n'.encode()
