"""Pictures of a world: `render_rgb` paints a viewport or the whole world, `render_ansi` prints it as text.

Both look at a lattice of cells of bounded size, so that a picture costs the same for every size of world.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memfarm.channels import OBSTACLES, RESOURCES, TERRAIN_COST, TRAILS, Channel
from memfarm.errors import ConfigError, ShapeError

Viewport = tuple[int, int, int, int]
"""(y0, y1, x0, x1): rows y0 to y1 and columns x0 to x1 of a world, ends left out."""

Pixels = NDArray[np.float32]

_PLAIN: Final = np.array([222, 211, 182], np.float32)
_STEEP: Final = np.array([133, 116, 99], np.float32)
_ROCK: Final = np.array([62, 59, 66], np.float32)
_SCARCE: Final = np.array([176, 200, 110], np.float32)
_RICH: Final = np.array([26, 122, 48], np.float32)
_TRAIL: Final = np.array([247, 244, 250], np.float32)
_OUTLINE: Final = np.array([24, 20, 32], np.uint8)
_HP_COLOURS: Final = np.array([[214, 40, 57], [255, 160, 32], [255, 236, 140], [64, 196, 255]], np.float32)
"""Starving, hungry, getting by, well fed: at equal distances of hp."""

_LARGEST_CELL: Final = 32  # pixels
_LARGEST_SIDE: Final = 4096  # pixels


class Painted(Protocol):
    """What a picture needs of a world: its shape, its channels, and the values of cells."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def channels(self) -> Mapping[str, Channel]: ...

    def gather(self, name: str, copy: ArrayLike, y: ArrayLike, x: ArrayLike) -> NDArray[Any]: ...


class Population(Protocol):
    """What a picture needs of agents, arrays of one length N; `hp` is in [0, 1]."""

    @property
    def copy(self) -> NDArray[np.int32]: ...  # (N,)

    @property
    def y(self) -> NDArray[np.int32]: ...  # (N,)

    @property
    def x(self) -> NDArray[np.int32]: ...  # (N,)

    @property
    def alive(self) -> NDArray[np.bool_]: ...  # (N,)

    @property
    def hp(self) -> NDArray[np.float32]: ...  # (N,)


def render_rgb(
    world: Painted,
    agents: Population,
    copy: int = 0,
    viewport: Viewport | None = None,
    max_side: int = 512,
) -> NDArray[np.uint8]:
    """Paint a viewport (None: the whole world) of one copy: a new uint8 `(h, w, 3)`, no side above `max_side` pixels.

    Ground from sand (level) to brown (steep), lit from the north-west; obstacles dark; food green, deeper where there
    is more; trails pale; agents as dots from red (starving) over yellow to blue (well fed). Small worlds are enlarged
    by whole pixels, large ones are looked at on a lattice, each pixel the mean of at most four cells. Reads, never
    writes. Raises ShapeError for a viewport outside the world, ConfigError for `max_side` outside 16 to 4096.
    """
    y0, y1, x0, x1 = _checked_viewport(world, viewport)
    if not 16 <= max_side <= _LARGEST_SIDE:
        raise ConfigError(f"max_side must be from 16 to {_LARGEST_SIDE} pixels, got {max_side}")
    longest = max(y1 - y0, x1 - x0)
    cell = min(max_side // longest, _LARGEST_CELL)
    rows, columns = (_pixels(length, longest, max_side) for length in (y1 - y0, x1 - x0))
    ground = _paint_ground(world, copy, _lattice(y0, y1, rows), _lattice(x0, x1, columns))
    image = np.repeat(np.repeat(ground, max(cell, 1), axis=0), max(cell, 1), axis=1)
    seen = _seen(agents, copy, y0, y1, x0, x1)
    if seen.size:
        y = _position(agents.y[seen], y0, y1, image.shape[0])
        x = _position(agents.x[seen], x0, x1, image.shape[1])
        size = _dot_size(cell, seen.size, image.shape[0] * image.shape[1])
        _paint_dots(image, y, x, _hp_colours(agents.hp[seen]), size)
    return image


def render_ansi(
    world: Painted, agents: Population, copy: int = 0, viewport: Viewport | None = None, max_cols: int = 78
) -> str:
    """Print a viewport (None: the whole world) of one copy as lines of at most `max_cols` characters.

    `@` an agent, `o` a hungry one (hp below a third), `#` an obstacle, `:` `+` `*` little, some, much food, `^` steep
    ground, `.` open ground. Worlds too wide are looked at on a lattice, with half as many rows as
    their shape asks for: characters are twice as tall as wide. Raises ShapeError, ConfigError.
    """
    y0, y1, x0, x1 = _checked_viewport(world, viewport)
    if max_cols < 8:
        raise ConfigError(f"max_cols must be at least 8 characters, got {max_cols}")
    height, width = y1 - y0, x1 - x0
    squeeze = max(1.0, width / max_cols, height / (2 * max_cols))
    columns = max(1, math.floor(width / squeeze))
    rows = height if squeeze == 1.0 else max(1, math.floor(height / (2.0 * squeeze)))
    y, x = _centres(y0, y1, rows), _centres(x0, x1, columns)
    letters = np.full((rows, columns), ".")
    letters[_values(world, TERRAIN_COST.name, copy, y, x) > 0.6] = "^"
    food = _values(world, RESOURCES.name, copy, y, x)
    for least, letter in ((0.05, ":"), (1 / 3, "+"), (2 / 3, "*")):
        letters[food >= least] = letter
    letters[_values(world, OBSTACLES.name, copy, y, x) >= 0.5] = "#"
    seen = _seen(agents, copy, y0, y1, x0, x1)
    row, column = _position(agents.y[seen], y0, y1, rows), _position(agents.x[seen], x0, x1, columns)
    letters[row, column] = "@"
    hungry = agents.hp[seen] < 1 / 3
    letters[row[hungry], column[hungry]] = "o"
    gap = " " if 2 * columns - 1 <= max_cols else ""
    return "\n".join(gap.join(line) for line in letters) + "\n"


def _checked_viewport(world: Painted, viewport: Viewport | None) -> Viewport:
    height, width = world.shape
    y0, y1, x0, x1 = (0, height, 0, width) if viewport is None else viewport
    if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
        raise ShapeError(
            f"a viewport is (y0, y1, x0, x1) with 0 <= y0 < y1 <= {height} and 0 <= x0 < x1 <= {width}, got {viewport}"
        )
    return y0, y1, x0, x1


def _pixels(length: int, longest: int, max_side: int) -> int:
    """Lattice points of a side of `length` cells: one a cell where they fit, else its share of `max_side`."""
    return length if longest <= max_side else max(1, length * max_side // longest)


def _lattice(start: int, end: int, points: int) -> NDArray[np.int64]:
    """Cells to look at along one side, `(samples, points)`: one a point, two where a point stands for several."""
    if end - start < 2 * points:
        return _centres(start, end, points)[None]
    return _centres(start, end, 2 * points).reshape(points, 2).T


def _centres(start: int, end: int, points: int) -> NDArray[np.int64]:
    """The middle cells of `points` equal parts of `start..end`."""
    return start + ((2 * np.arange(points, dtype=np.int64) + 1) * (end - start)) // (2 * points)


def _position(cells: NDArray[np.int32], start: int, end: int, pixels: int) -> NDArray[np.int64]:
    """The pixels in which the middles of `cells` lie."""
    return ((2 * (cells.astype(np.int64) - start) + 1) * pixels) // (2 * (end - start))


def _values(world: Painted, name: str, copy: int, y: NDArray[np.int64], x: NDArray[np.int64]) -> Pixels:
    """A channel on the lattice y times x as shares of its range, float32 `(len(y), len(x))`; 0 if not stored."""
    if name not in world.channels:
        return np.zeros((y.size, x.size), np.float32)
    channel = world.channels[name]
    where = [np.ascontiguousarray(part.ravel(), np.int32) for part in np.meshgrid(y, x, indexing="ij")]
    values = world.gather(name, np.full(y.size * x.size, copy, np.int32), *where).astype(np.float32)
    return ((values - channel.low) / (channel.high - channel.low)).reshape(y.size, x.size)


def _paint_ground(world: Painted, copy: int, y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The colours without agents, uint8 `(points of y, points of x, 3)`: the mean over the lattice's samples."""
    samples = [_paint_cells(world, copy, ys, xs) for ys in y for xs in x]
    mean: Pixels = np.mean(samples, axis=0)
    return np.clip(np.rint(mean), 0, 255).astype(np.uint8)


def _paint_cells(world: Painted, copy: int, y: NDArray[np.int64], x: NDArray[np.int64]) -> Pixels:
    cost = _values(world, TERRAIN_COST.name, copy, y, x)
    rock = (_values(world, OBSTACLES.name, copy, y, x) >= 0.5).astype(np.float32)
    food = _values(world, RESOURCES.name, copy, y, x)
    trail = _values(world, TRAILS.name, copy, y, x)
    colour = _blend(_PLAIN, _STEEP, cost)
    colour = _blend(colour, _blend(_SCARCE, _RICH, food), np.minimum(1.0, 2.5 * food))
    colour = _blend(colour, _TRAIL, 0.45 * trail)
    colour = _blend(colour, _ROCK, rock)
    return colour * _light(np.where(rock > 0, np.float32(1.0), cost))[..., None]


def _light(height: Pixels) -> Pixels:
    """How bright a cell is under a light from the north-west, about 1: an emboss of `height`."""
    south, east = (
        np.diff(height, axis=axis, prepend=height.take([0], axis)).astype(np.float32, copy=False) for axis in (0, 1)
    )
    light: Pixels = 1.0 + 0.16 * np.tanh(1.5 * (south + east))
    return light


def _blend(start: Pixels, end: Pixels, share: Pixels) -> Pixels:
    """`start` where share is 0, `end` where it is 1: `(h, w, 3)`."""
    part = share[..., None]
    mixed: Pixels = start * (1.0 - part) + end * part
    return mixed


def _seen(agents: Population, copy: int, y0: int, y1: int, x0: int, x1: int) -> NDArray[np.int64]:
    inside = (agents.y >= y0) & (agents.y < y1) & (agents.x >= x0) & (agents.x < x1)
    return np.flatnonzero(inside & agents.alive & (agents.copy == copy))


def _hp_colours(hp: NDArray[np.float32]) -> NDArray[np.uint8]:
    stops = np.linspace(0.0, 1.0, len(_HP_COLOURS))
    return np.stack([np.rint(np.interp(hp, stops, part)) for part in _HP_COLOURS.T], axis=-1).astype(np.uint8)


def _dot_size(cell: int, agents: int, pixels: int) -> int:
    """Pixels across a dot: that of a cell, but visible in a large world, and a single pixel in a dense crowd."""
    return max(cell, 3 if 100 * agents <= pixels else 1)


def _paint_dots(
    image: NDArray[np.uint8], y: NDArray[np.int64], x: NDArray[np.int64], colours: NDArray[np.uint8], size: int
) -> None:
    """Paint discs of about `size` pixels around `(y, x)`, dark outlines first, in place; cut off at the edges."""
    radius = 0.5 if size < 3 else max(1.45, 0.42 * size)
    outline = 0.0 if size < 3 else radius + max(0.85, 0.08 * size)
    reach = math.ceil(max(radius, outline))
    middle = 0.5 if size > 2 and size % 2 == 0 else 0.0
    for limit, colour in ((outline, np.broadcast_to(_OUTLINE, colours.shape)), (radius, colours)):
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                if math.hypot(dy + middle, dx + middle) < limit:
                    ys, xs = y + dy, x + dx
                    inside = (ys >= 0) & (ys < image.shape[0]) & (xs >= 0) & (xs < image.shape[1])
                    image[ys[inside], xs[inside]] = colour[inside]
