"""A flame graph as a figure: each frame as wide as its share of the samples, on top of the frame that called it."""

from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmarks.plots import DPI, INK
from benchmarks.stacks import Kind, Node

COLOURS: Final[dict[Kind, str]] = {"Python": "#cfe1f2", "kernel": "#f7c98b", "library": "#d9dde2"}
_WIDTH: Final = 7.0  # inches
_ROW: Final = 0.19  # inches
_NARROWEST: Final = 0.004  # of the whole: what is narrower is not drawn
_LETTER: Final = 0.0089  # of the whole, the width of one


def drawn(root: Node, title: str) -> Figure:
    """The frames below `root`, callers at the bottom, the widest at the left."""
    rows = root.depth - 1
    figure = Figure(figsize=(_WIDTH, 0.75 + _ROW * rows), dpi=DPI, layout="constrained", facecolor="white")
    axes = figure.add_subplot(xlim=(0.0, 1.0), ylim=(0.0, rows))
    axes.set_axis_off()
    axes.set_title(title, loc="left", color=INK, fontsize=12)
    _put(axes, root, 0.0, 0, root.samples)
    patches = [Patch(facecolor=colour, label=kind) for kind, colour in COLOURS.items()]
    figure.legend(
        handles=patches, loc="outside lower left", ncols=len(patches), frameon=False, labelcolor=INK, fontsize=9
    )
    return figure


def _put(axes: Axes, node: Node, left: float, row: int, samples: int) -> None:
    for frame, below in sorted(node.below.items(), key=lambda item: -item[1].samples):
        width = below.samples / samples
        if width >= _NARROWEST:
            bar = axes.barh(row + 0.5, width, 0.94, left, color=COLOURS[frame.kind], edgecolor="white", linewidth=0.4)
            text = _fitting(f"{frame.name} {width:.0%}", frame.name, width)
            axes.text(left + 0.003, row + 0.48, text, va="center", color=INK, fontsize=7, clip_path=bar[0])
            _put(axes, below, left, row + 1, samples)
        left += width


def _fitting(text: str, shorter: str, width: float) -> str:
    """`text`, `shorter`, or its last name, whichever there is room for; nothing where there is no room."""
    last = shorter.replace("::", ".").rpartition(".")[2]
    return next((each for each in (text, shorter, last) if len(each) * _LETTER < width), "")
