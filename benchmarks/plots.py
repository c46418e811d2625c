"""`python -m benchmarks.plots`: the curves of docs/performance.md, drawn from what `benchmarks.curves` measured."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from PIL import Image

from benchmarks.curves import FIGURES

INK: Final = "#33383f"
FAINT: Final = "#dfe3e8"
_SIZE: Final = (7.0, 4.0)  # inches: 700 pixels wide at 100 dots an inch
DPI: Final = 150
_COLOURS: Final = 64
_GAP: Final = 0.055  # of the height, between two labels
_DECADES: Final = 300  # more than so many times from the lowest to the highest: powers of 10 alone get a tick
_UNITS: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"))

WHO: Final = {
    "memfarm": ("memfarm", "#1f6fb4"),
    "magent2": ("MAgent2", "#c8553d"),
    "numpy": ("NumPy, sliding views", "#7a8490"),
    "arrays": ("float32 arrays, one a channel", "#7a8490"),
}
"""Who was measured -> the label and the colour."""

Points = Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a figure: its points as `(x, y)`, in order, and the label that stands at its end."""

    label: str
    colour: str
    points: list[tuple[float, float]]
    style: str = "-"


def agents(points: Points) -> list[Line]:
    """Agent-steps/s by agents."""
    rates = [point for point in points if point["curve"] == "agents"]
    return [Line(WHO[who][0], WHO[who][1], _of(rates, who, "agents", "rate")) for who in WHO if who in _who(rates)]


def side(points: Points) -> list[Line]:
    """Agent-steps/s by the side of the world, for each number of agents."""
    rates = [point for point in points if point["curve"] == "side" and "rate" in point]
    lines = []
    for who in WHO:
        crowds = sorted({point["agents"] for point in rates if point["who"] == who})
        for crowd, style in zip(reversed(crowds), ("-", "--"), strict=False):
            line = _of([point for point in rates if point["agents"] == crowd], who, "side", "rate")
            lines.append(Line(f"{WHO[who][0]}, {crowd:,} agents", WHO[who][1], line, style))
    return lines


def memory(points: Points) -> list[Line]:
    """Bytes of memory and disk by the side of the world, with the fewest agents."""
    held = [point for point in points if point["curve"] == "side" and "anonymous" in point]
    fewest = fewest_agents(points)
    held = [{**point, "bytes": point["anonymous"] + point["disk"]} for point in held if point["agents"] in (fewest, 0)]
    return [Line(WHO[who][0], WHO[who][1], _of(held, who, "side", "bytes")) for who in WHO if who in _who(held)]


def fewest_agents(points: Points) -> int:
    """The smaller crowd of those that stepped in worlds of every side."""
    return min(point["agents"] for point in points if point["curve"] == "side" and point["agents"])


def drawn(lines: Sequence[Line], title: str, across: str, up: str, unit: str, binary: bool) -> Figure:
    """Lines on two logarithmic axes, each with its label at its end.

    across, up: what the axes are. unit: of the ticks upward. binary: whether `across` goes by powers of 2, or of 10.
    """
    figure = Figure(figsize=_SIZE, dpi=DPI, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    for line in lines:
        x, y = zip(*line.points, strict=True)
        axes.plot(x, y, line.style, color=line.colour, linewidth=2, marker="o", markersize=4, clip_on=False)
    axes.set_xscale("log", base=2 if binary else 10)
    axes.set_yscale("log")
    _dress(axes, title, across, up, unit)
    _label_ends(axes, lines)
    return figure


def _dress(axes: Axes, title: str, across: str, up: str, unit: str) -> None:
    axes.set_title(title, loc="left", color=INK, fontsize=12)
    axes.set_xlabel(across, color=INK, fontsize=11)
    axes.set_ylabel(up, color=INK, fontsize=11)
    axes.set_xticks(sorted({x for line in axes.lines for x in line.get_xdata()}))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high > _DECADES * low else (1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: with_unit(y) + unit))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.tick_params(colors=INK, labelsize=10, length=0)
    axes.grid(color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _label_ends(axes: Axes, lines: Sequence[Line]) -> None:
    """A label right of each line's last point, pushed up where it would lie on the one below."""
    ends = sorted(lines, key=lambda line: line.points[-1][1])
    low, high = map(math.log, axes.get_ylim())
    least = -math.inf
    for line in ends:
        x, y = line.points[-1]
        at = max((math.log(y) - low) / (high - low), least)
        least = at + _GAP
        axes.annotate(
            line.label,
            (x, math.exp(low + at * (high - low))),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=line.colour,
            fontsize=10,
            annotation_clip=False,
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )


def with_unit(value: float) -> str:
    """A round number in few characters: 20, 3k, 1.5M."""
    size, letter = next(((size, letter) for size, letter in _UNITS if value >= size), (1.0, ""))
    return f"{value / size:g}{letter}"


def _of(points: Iterable[dict[str, Any]], who: str, x: str, y: str) -> list[tuple[float, float]]:
    return sorted((point[x], point[y]) for point in points if point["who"] == who)


def _who(points: Points) -> set[str]:
    return {point["who"] for point in points}


def save(figure: Figure, path: Path) -> None:
    """Write a PNG of few colours, which is a small file."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(_COLOURS).save(path, optimize=True)
    print(path)


def main(
    json_file: Annotated[Path, typer.Option("--json", help="What benchmarks.curves wrote.")] = FIGURES / "curves.json",
    folder: Annotated[Path, typer.Option(help="Where the figures go.")] = FIGURES,
) -> None:
    """Draw the three figures."""
    points = json.loads(json_file.read_text(encoding="utf-8"))["points"]
    world = next(point["side"] for point in points if point["curve"] == "agents")
    rate = "agent-steps/s"
    by_agents = drawn(agents(points), f"Forage, {world:,} x {world:,} cells", "agents", rate, "", binary=False)
    by_side = drawn(side(points), "Forage on an open plain", "side of the world, cells", rate, "", binary=True)
    title = f"Memory and disk, {fewest_agents(points):,} agents"
    by_memory = drawn(memory(points), title, "side of the world, cells", "", "B", binary=True)
    folder.mkdir(parents=True, exist_ok=True)
    save(by_agents, folder / "agents.png")
    save(by_side, folder / "side.png")
    save(by_memory, folder / "memory.png")


if __name__ == "__main__":
    typer.run(main)
