"""Criteria and the verdict over them: PASS, INCONCLUSIVE or FAIL."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

Status = Literal["PASS", "WARN", "FAIL"]
Verdict = Literal["PASS", "INCONCLUSIVE", "FAIL"]

EXIT: Final[dict[Verdict, int]] = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}
"""Exit statuses; 2 is that of an error."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One line of the report.

    name: what was looked at. figure: what was found, with units. limit: what it must be.
    noisy: whether the run itself was too noisy to tell (the line is then a WARN, the verdict INCONCLUSIVE).
    """

    name: str
    status: Status
    figure: str
    limit: str
    noisy: bool = False

    @classmethod
    def of(cls, name: str, holds: bool, figure: str, limit: str) -> "Criterion":
        """PASS where it holds, else FAIL."""
        return cls(name, "PASS" if holds else "FAIL", figure, limit)

    def to_dict(self) -> dict[str, Any]:
        """The line, JSON-able."""
        return asdict(self)


def verdict(criteria: Iterable[Criterion]) -> Verdict:
    """FAIL where one line fails, else INCONCLUSIVE where the run was too noisy for one, else PASS."""
    lines = list(criteria)
    if any(line.status == "FAIL" for line in lines):
        return "FAIL"
    return "INCONCLUSIVE" if any(line.noisy for line in lines) else "PASS"
