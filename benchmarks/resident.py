"""Memory of this process, by kind: what it alone must hold, and what the system can write out and take back."""

from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")


def anonymous() -> int:
    """Bytes of anonymous memory in RAM (RssAnon). Raises OSError where the system has no /proc."""
    return _kinds()["RssAnon"]


def mapped() -> int:
    """Bytes in RAM of files that are mapped, and of shared memory."""
    kinds = _kinds()
    return kinds["RssFile"] + kinds["RssShmem"]


def _kinds() -> dict[str, int]:
    lines = (line.split() for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith("Rss"))
    return {key.rstrip(":"): int(size) * 1024 for key, size, _ in lines}
