"""Memory of a process, by kind: what it alone must hold, and what the system can write out and take back."""

from pathlib import Path
from typing import Final

_THIS: Final = "self"


def anonymous(process: int | str = _THIS) -> int:
    """Bytes of a process's anonymous memory in RAM (RssAnon). Raises OSError where there is no /proc of it."""
    return _kinds(process)["RssAnon"]


def mapped() -> int:
    """Bytes in RAM of files that are mapped, and of shared memory, of this process."""
    kinds = _kinds(_THIS)
    return kinds["RssFile"] + kinds["RssShmem"]


def _kinds(process: int | str) -> dict[str, int]:
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    lines = (line.split() for line in status.splitlines() if line.startswith("Rss"))
    return {key.rstrip(":"): int(size) * 1024 for key, size, _ in lines}
