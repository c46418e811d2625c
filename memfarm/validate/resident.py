"""Memory of this process by kind, through psutil: what it alone must hold, and what the system can take back."""

from dataclasses import dataclass
from typing import Self

import psutil

from memfarm.errors import StorageError


@dataclass(frozen=True, slots=True)
class Resident:
    """Bytes in RAM: anonymous memory, and pages of mapped files (which the system writes out when it needs room)."""

    anonymous: int
    mapped: int

    @classmethod
    def now(cls) -> Self:
        """What this process holds now. Raises StorageError where the system does not say.

        Linux: `rss - shared` and `shared` (RssAnon, RssFile with RssShmem of proc(5)). macOS and Windows: `uss`, the
        pages of nobody else, and the rest.
        """
        process = psutil.Process()
        try:
            basic = process.memory_info()
            if hasattr(basic, "shared"):
                return cls(basic.rss - basic.shared, basic.shared)
            own = process.memory_full_info().uss
        except (psutil.Error, AttributeError) as error:
            raise StorageError(f"the system must tell a process's own memory, got {error!r}") from error
        return cls(own, basic.rss - own)

    def since(self, before: "Resident") -> "Resident":
        """By how much both grew."""
        return Resident(self.anonymous - before.anonymous, self.mapped - before.mapped)
