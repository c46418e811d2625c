"""WindowCutter: the plan of one observation, from channel names to one compiled call."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memfarm import arrays, layout
from memfarm.channels import REMEMBERED, SEEN, Channel, Static
from memfarm.errors import ChannelError, ConfigError, ShapeError, did_you_mean
from memfarm.events import SparseEvents
from memfarm.kernels import Grid, Windows

Points = tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]
Int32s = NDArray[np.int32]
PointColumn = tuple[int, Int32s, Int32s, Int32s, NDArray[np.float32], bool, Int32s | None]

MOST_THREADS: Final = 256
OUTPUTS: Final = (np.float32, np.float16, np.uint16, np.uint8)
"""What windows may be cut into; uint16: the bits of bfloat16, which NumPy lacks."""
GROUND: Final = frozenset({"OBSTACLES", "TERRAIN_COST", "VISIBILITY", "SELF_HP", "GOAL", *REMEMBERED})
"""What `mask_by_visibility` never hides: the ground itself, and the agent's own state and mind."""
NOT_AT_THE_CENTRE: Final = frozenset({"ALLIES_HP"})
"""Whose points are not painted into the centre of a window: nobody is an ally of its own."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a channel is stored: a compiled grid and the lane in it."""

    grid: Grid
    lane: int
    channel: Channel
    copies: int = 1


class Plan(NamedTuple):
    """What `kernels.Windows` is made of; docs/design/0001 says what each part means."""

    grids: list[Grid]
    columns: list[tuple[int, int]]
    radius: int
    scale: NDArray[np.float32]
    shift: NDArray[np.float32]
    visibility: tuple[int, int] | None
    hidden: list[bool]


class Request(NamedTuple):
    """What is asked of a `WindowCutter`, checked, as `kernels.Windows.observe` takes it."""

    copy: Int32s  # (N,)
    y: Int32s  # (N,)
    x: Int32s  # (N,)
    centres: list[tuple[int, NDArray[np.float32]]]
    points: list[PointColumn]


def _at_once(cut: Callable[..., None], *arguments: object) -> None:
    cut(*arguments)


class WindowCutter:
    """Cuts the windows around any number of cells in one call; made by `World.windows` or `ChannelGrid.observe`.

    channels: names, in the order of the last axis of what is cut.
    radius: cells seen on each side; S = 2 * radius + 1.
    """

    def __init__(
        self,
        stored: Mapping[str, Stored],
        channels: Sequence[str],
        radius: int,
        *,
        copies: int,
        shape: tuple[int, int],
        check_open: Callable[[], None],
        normalize: bool = False,
        mask_by_visibility: bool = False,
        sparse: SparseEvents | None = None,
        whole: Callable[..., None] = _at_once,
    ) -> None:
        check_radius(radius)
        self._events = {name: sparse for name in channels if sparse is not None and name in sparse.names}
        known = {*stored, *SEEN, *REMEMBERED, *(sparse.names if sparse is not None else ())}
        for name in channels:
            if name not in known:
                raise ChannelError(f"there is no channel {name!r}; {did_you_mean(name, known)}")
        if len(set(channels)) != len(channels) or not channels:
            raise ConfigError(f"channels must be one or more different names, got {list(channels)}")
        if mask_by_visibility and "VISIBILITY" not in stored:
            raise ConfigError("mask_by_visibility needs a stored VISIBILITY channel, got none; leave it off")
        self.channels: Final = tuple(channels)
        self.radius: Final = radius
        self._copies = copies
        self._shape = shape
        self._check_open = check_open
        self._whole = whole  # calls what it is given until it was of one tick
        self._index = {name: index for index, name in enumerate(self.channels)}
        self._seen = [name for name in self.channels if name not in stored and name not in self._events]
        self._normalize = normalize
        self.plan: Final = _plan(stored, self.channels, radius, normalize, mask_by_visibility)
        self._windows = Windows(*self.plan)

    @property
    def side(self) -> int:
        """S, the side of a window in cells."""
        return 2 * self.radius + 1

    def __call__(
        self,
        copy: ArrayLike,
        y: ArrayLike,
        x: ArrayLike,
        out: NDArray[Any] | None = None,
        centres: Mapping[str, ArrayLike] | None = None,
        points: Mapping[str, Points] | None = None,
        threads: int = 1,
        layers: Mapping[str, ArrayLike] | None = None,
    ) -> NDArray[Any]:
        """Cut the windows around the cells `(copy, y, x)`, int32 `(N,)`, into `out` `(N, S, S, C)`, one of `OUTPUTS`.

        out: written in place and returned; a new float32 array where None. float16 and uint16 (bfloat16's bits) are the
            float32 value rounded to nearest even; uint8 is 255 times a value in [0, 1] rounded so, what lies beyond
            cut off. What is rounded is what float32 would hold at last.
        centres: for channels no grid stores: the value `(N,)` at the centre cell, 0 around it.
        points: for channels no grid stores: `(copy, y, x, value)` arrays `(P,)`, each painted into every
            window that sees it (the larger value wins); ALLIES_HP leaves out the window's own centre cell.
        threads: how many threads share the batch; they end with the call.
        layers: for points that only some windows see: the layer `(N,)` that each window sees, any number of 0 or
            more (a team of a world, one agent). The first of the four arrays of such points is then their layer.
        Raises ShapeError, DTypeError, ValueRangeError or ChannelError before anything is written.
        """
        copy, y, x, centre_columns, columns = self.checked(copy, y, x, centres, points, layers)
        out = arrays.output(out, (len(copy), self.side, self.side, len(self.channels)), OUTPUTS)
        if not isinstance(threads, int) or not 1 <= threads <= MOST_THREADS:
            raise ConfigError(f"threads must be an int in [1, {MOST_THREADS}], got {threads!r}")
        self._whole(self._windows.observe, copy, y, x, out, centre_columns, columns, threads)
        return out

    def checked(
        self,
        copy: ArrayLike,
        y: ArrayLike,
        x: ArrayLike,
        centres: Mapping[str, ArrayLike] | None = None,
        points: Mapping[str, Points] | None = None,
        layers: Mapping[str, ArrayLike] | None = None,
    ) -> Request:
        """The arguments of a call, as its kernel takes them; arrays are copied where they need to be converted."""
        self._check_open()
        here = copy, y, x = arrays.cells(copy, y, x, copies=self._copies, shape=self._shape)
        count = len(copy)
        known: dict[int, NDArray[np.float32]] = {}  # by identity: agents' health is a centre here and a point there
        centre_columns = [
            (self._column(name), _numbers(name, values, (count,), known)) for name, values in (centres or {}).items()
        ]
        points, layers = points or {}, layers or {}
        if not layers.keys() <= points.keys():
            raise ChannelError(f"layers are of points, got layers of {sorted(layers)} and points of {sorted(points)}")
        columns = [self._point_column(name, parts, layers.get(name), here, known) for name, parts in points.items()]
        columns += [self._event_column(name, sparse) for name, sparse in self._events.items()]
        return Request(copy, y, x, centre_columns, columns)

    def _point_column(
        self,
        name: str,
        parts: Points,
        layer: ArrayLike | None,
        here: arrays.Cells,
        known: dict[int, NDArray[np.float32]],
    ) -> PointColumn:
        if len(parts) != 4:
            raise ShapeError(f"points of {name} must be (copy, y, x, values), got {len(parts)} parts")
        if layer is None and all(part is axis for part, axis in zip(parts, here, strict=False)):
            copy, y, x = here  # the agents themselves
        else:
            copies = self._copies if layer is None else layout.MOST_COPIES
            copy, y, x = arrays.cells(*parts[:3], copies=copies, shape=self._shape)
        values = _numbers(name, parts[3], copy.shape, known)
        count = len(here[0])
        seen = None if layer is None else _layers(layer, count)
        if seen is not None and len(seen) != count:
            raise ShapeError(f"the layers of {name} must be one a window, ({count},), got ({len(seen)},)")
        return self._column(name), copy, y, x, values, name in NOT_AT_THE_CENTRE, seen

    def _event_column(self, name: str, sparse: SparseEvents) -> PointColumn:
        copy, y, x, values = sparse.points(name)
        if self._normalize:
            values /= np.float32(sparse.channel(name).high)
        return self._index[name], copy, y, x, values, False, None

    def _column(self, name: str) -> int:
        if name not in self._seen:
            known = ", ".join(self._seen) or "channels that come from agents"
            raise ChannelError(f"centres and points are for {known}, got {name!r}")
        return self._index[name]


def _numbers(
    name: str, values: ArrayLike, shape: tuple[int, ...], known: dict[int, NDArray[np.float32]]
) -> NDArray[np.float32]:
    """`arrays.numbers`, once for each array that is handed in twice."""
    found = known.get(id(values))
    if found is None or found.shape != shape:
        found = known[id(values)] = arrays.numbers(name, values, shape, np.float32)
    return found


def _layers(layer: ArrayLike, count: int) -> Int32s:
    nowhere = np.zeros(count, np.int32) if np.shape(layer) == (count,) else 0
    return arrays.cells(layer, nowhere, nowhere, copies=layout.MOST_COPIES, shape=(1, 1))[0]


def check_stored(channels: Sequence[str]) -> None:
    """Raise ChannelError where one of `channels` comes from the agents, who are not asked here."""
    seen = [name for name in channels if name in (*SEEN, "KNOWN_EMPTY")]
    if seen:
        raise ChannelError(f"{', '.join(seen)} come from agents, not from a grid; hand them to World.windows()")


def check_radius(radius: int) -> None:
    """Raise ConfigError unless `radius` is an int of at least 0 (and windows fit 32-bit arithmetic)."""
    if not isinstance(radius, int | np.integer) or isinstance(radius, bool) or not 0 <= radius <= 16_383:
        raise ConfigError(f"radius must be an int in [0, 16383], got {radius!r}")


def _plan(
    stored: Mapping[str, Stored], channels: tuple[str, ...], radius: int, normalize: bool, mask_by_visibility: bool
) -> Plan:
    grids: list[Grid] = []

    def place(name: str) -> tuple[int, int]:
        if name not in stored:
            return -1, 0
        grid = stored[name].grid
        if not any(grid is known for known in grids):
            grids.append(grid)
        return next(i for i, known in enumerate(grids) if known is grid), stored[name].lane

    columns = [place(name) for name in channels]
    visibility = place("VISIBILITY") if mask_by_visibility else None
    if not grids:  # nothing stored is asked for: any grid tells the world's shape
        place(next(iter(stored)))
    scale = np.ones(len(channels), np.float32)
    shift = np.zeros(len(channels), np.float32)
    for index, name in enumerate(channels):
        if normalize and name in stored:
            channel = stored[name].channel
            scale[index] = 1.0 / (channel.high - channel.low)
            shift[index] = -channel.low / (channel.high - channel.low)
    hidden = [mask_by_visibility and _lies_in_a_cell(name, stored) for name in channels]
    return Plan(grids, columns, radius, scale, shift, visibility, hidden)


def _lies_in_a_cell(name: str, stored: Mapping[str, Stored]) -> bool:
    """Whether a channel tells of what lies in a cell (hidden in the dark), not of the ground."""
    if name in GROUND:
        return False
    return name not in stored or not isinstance(stored[name].channel.law, Static)
