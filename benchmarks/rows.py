"""What a benchmark reports: a figure, its baseline, their ratio, and the figure to reach."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.markup import escape


@dataclass(frozen=True, slots=True)
class Goal:
    """What a row's own figure, or its ratio, should be at most and at least."""

    of: Literal["ours", "ratio"]
    most: float | None = None
    least: float | None = None

    def reached_by(self, value: float) -> bool:
        """Whether `value` keeps the bound."""
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    id: `name[parameters]`, the same in every run. unit: of `ours` and of `baseline`. what: what `ours` did.
    versus: what the baseline did. ratio: how many times the baseline's time (or size) ours is where `faster` is False,
    how many times as fast where it is True. goal: what DESIGN section 9 asks for; None where it asks nothing.
    spread: distance of the quartiles of `ours` as a share of its median.
    """

    id: str
    what: str
    unit: str
    ours: float
    versus: str = ""
    baseline: float | None = None
    ratio: float | None = None
    faster: bool = False
    goal: Goal | None = None
    spread: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None where there is no goal, or nothing to hold it against."""
        if self.goal is None:
            return None
        value = self.ours if self.goal.of == "ours" else self.ratio
        return None if value is None else self.goal.reached_by(value)

    def cells(self) -> tuple[str, ...]:
        """The row as the table's texts."""
        spread = "" if self.spread is None else f"± {self.spread / 2:.0%}"
        baseline = "-" if self.baseline is None else f"{figure(self.baseline)} {self.unit}"
        return (
            f"[bold]{escape(self.id)}[/bold]\n[dim]{escape(self.what)}[/dim]",
            f"{figure(self.ours)} {self.unit}\n[dim]{spread}[/dim]",
            f"{baseline}\n[dim]{escape(self.versus)}[/dim]",
            self._ratio_text(),
            self._goal_text(),
            {True: "[green]yes[/green]", False: "[red]no[/red]", None: "-"}[self.reached],
        )

    def as_json(self) -> dict[str, Any]:
        """The row with `reached`, JSON-able."""
        return {**asdict(self), "reached": self.reached}

    def _ratio_text(self) -> str:
        if self.ratio is None:
            return "-"
        return f"{figure(self.ratio)}x {'as fast' if self.faster else 'of it'}"

    def _goal_text(self) -> str:
        if self.goal is None:
            return "-"
        unit = f" {self.unit}" if self.goal.of == "ours" else "x"
        bounds = (("≤", self.goal.most), ("≥", self.goal.least))
        return " and ".join(f"{sign} {figure(bound)}{unit}" for sign, bound in bounds if bound is not None)


def figure(value: float) -> str:
    """Three digits that mean something: 0.0123, 1.23, 12.3, 1,234."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
