"""MirrorCutter: the windows of `WindowCutter`, cut on a torch device from mirrors of the grids' tiles."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import torch
from numpy.typing import ArrayLike

from memfarm.grid import ChannelGrid
from memfarm.windows import PointColumn, Points, Request, WindowCutter
from memfarm.world import World
from memfarm.wrappers.mirror import MirroredGrid, check_fits, sent
from memfarm.wrappers.mirror_lanes import MirroredLanes

_TOGETHER: Final = 1 << 20  # cells of windows that are cut together


class _Around(NamedTuple):
    """The cells of M windows, int64 `(M, S, S)`; beyond a wall y and x are those of the nearest cell inside."""

    inside: torch.Tensor  # bool (M, S, S)
    copy: torch.Tensor
    y: torch.Tensor
    x: torch.Tensor


class _SortedPoints(NamedTuple):
    """Points of one column, by cell and then by value."""

    column: int
    keys: torch.Tensor  # int64 (P,): of a layer's cell
    values: torch.Tensor  # float32 (P,)
    skip_centre: bool
    layer: torch.Tensor | None  # int64 (N,): the layer that each window sees; None: its copy


class MirrorCutter:
    """Cuts the windows that `cutter`, one of `world`, would cut, to the same bytes.

    It mirrors the grids that the windows show, with those that hold their capacities, and brings the mirrors up to date
    at each call. Raises ConfigError where they do not fit on the device.
    """

    def __init__(self, world: World, cutter: WindowCutter, device: torch.device) -> None:
        self.device: Final = device
        self._world: Final = world
        self._cutter: Final = cutter
        self._mirrors: Final = _mirrors(world, _shown(world, cutter), device)
        self._parts: Final = _parts(world, _shown(world, cutter), self._mirrors)
        plan, stored = cutter.plan, [name for names, _ in self._parts for name in names]
        order = [stored.index(name) if name in stored else len(stored) for name in cutter.channels]
        self._order: Final = torch.tensor(order, device=device)
        self._scale: Final = sent(plan.scale, device)
        self._shift: Final = sent(plan.shift, device)
        self._visibility: Final = None if plan.visibility is None else stored.index("VISIBILITY")
        self._hidden: Final = plan.hidden
        dimmed = [hides and name in stored for hides, name in zip(plan.hidden, cutter.channels, strict=True)]
        self._dimmed: Final = torch.tensor(dimmed, device=device)

    def __call__(
        self,
        copy: ArrayLike,
        y: ArrayLike,
        x: ArrayLike,
        out: torch.Tensor,
        centres: Mapping[str, ArrayLike] | None = None,
        points: Mapping[str, Points] | None = None,
        threads: int = 1,
        layers: Mapping[str, ArrayLike] | None = None,
    ) -> torch.Tensor:
        """Cut windows as `WindowCutter` does into `out`, `(N, S, S, C)` on the device, of any of its dtypes."""
        self._world.in_one_tick(self._observe, out, self._cutter.checked(copy, y, x, centres, points, layers))
        return out

    def _observe(self, out: torch.Tensor, request: Request) -> None:
        for mirror in self._mirrors.values():
            mirror.catch_up()
        where = [sent(axis, self.device).long() for axis in (request.copy, request.y, request.x)]
        centres = [(column, sent(values, self.device)) for column, values in request.centres]
        points = [self._sorted(column) for column in request.points if len(column[1])]
        together = max(1, _TOGETHER // self._cutter.side**2)
        for part in (slice(start, start + together) for start in range(0, len(out), together)):
            around = self._around(*(axis[part] for axis in where))
            windows, visible = self._stored(around)
            for layer in points:
                self._paint(windows, layer, around, None if layer.layer is None else layer.layer[part], visible)
            for column, values in centres:
                windows[:, self._cutter.radius, self._cutter.radius, column] = values[part]
            out[part] = (windows * 255.0).clamp(0.0, 255.0).round() if out.dtype == torch.uint8 else windows

    def _around(self, copy: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> _Around:
        height, width = self._world.shape
        offset = torch.arange(-self._cutter.radius, self._cutter.radius + 1, device=self.device)
        shape = (len(copy), len(offset), len(offset))
        wy, wx = (y[:, None] + offset)[:, :, None].expand(shape), (x[:, None] + offset)[:, None, :].expand(shape)
        whose = copy[:, None, None].expand(shape)
        if self._world.boundary == "wrap":
            return _Around(torch.ones_like(wy, dtype=torch.bool), whose, wy % height, wx % width)
        inside = (wy >= 0) & (wy < height) & (wx >= 0) & (wx < width)
        return _Around(inside, whose, wy.clamp(0, height - 1), wx.clamp(0, width - 1))

    def _stored(self, around: _Around) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The windows' columns, those from agents 0, float32 `(M, S, S, C)`; and their VISIBILITY, where it hides."""
        inside, *where = around
        seen = [torch.where(inside[..., None], lanes.decode(*where), lanes.outside).float() for _, lanes in self._parts]
        nothing = torch.zeros((*inside.shape, 1), device=self.device)
        found = torch.cat([*seen, nothing], dim=-1)
        windows = found.index_select(-1, self._order) * self._scale + self._shift
        if self._visibility is None:
            return windows, None
        visible = found[..., self._visibility]
        return torch.where(self._dimmed, windows * visible[..., None], windows), visible

    def _sorted(self, points: PointColumn) -> _SortedPoints:
        column, *where, values, skip_centre, seen = points
        value = sent(values, self.device)
        key = self._keys(*(sent(axis, self.device).long() for axis in where))
        by_value = value.argsort(stable=True)
        order = by_value[key[by_value].argsort(stable=True)]
        layer = None if seen is None else sent(seen, self.device).long()
        return _SortedPoints(column, key[order], value[order], skip_centre, layer)

    def _keys(self, layer: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        height, width = self._world.shape
        return (layer * height + y) * width + x

    def _paint(
        self,
        windows: torch.Tensor,
        points: _SortedPoints,
        around: _Around,
        layer: torch.Tensor | None,
        visible: torch.Tensor | None,
    ) -> None:
        """Show the largest point of each cell in the windows of those who see its layer."""
        key = self._keys(around.copy if layer is None else layer[:, None, None], around.y, around.x)
        last = torch.searchsorted(points.keys, key, right=True) - 1
        found = last.clamp(min=0)
        painted = around.inside & (last >= 0) & (points.keys[found] == key)
        if points.skip_centre:
            painted[:, self._cutter.radius, self._cutter.radius] = False
        value = points.values[found]
        if visible is not None and self._hidden[points.column]:
            value = value * visible
        before = windows[..., points.column]
        windows[..., points.column] = torch.where(painted & (value > before), value, before)


def _shown(world: World, cutter: WindowCutter) -> list[str]:
    """The stored channels that the windows show, and VISIBILITY where it hides."""
    hides = ["VISIBILITY"] if cutter.plan.visibility is not None else []
    return [name for name in dict.fromkeys([*cutter.channels, *hides]) if name in world.channels]


def _source(world: World, name: str) -> str | None:
    """The channel that holds the capacity of channel `name`, if one does."""
    capacity = world.channels[name].capacity
    return capacity if isinstance(capacity, str) else None


def _mirrors(world: World, shown: Sequence[str], device: torch.device) -> dict[ChannelGrid, MirroredGrid]:
    sources = (_source(world, name) for name in shown)
    needed = dict.fromkeys(world.grid_of(name) for name in (*shown, *sources) if name is not None)
    check_fits(needed, device)
    return {grid: MirroredGrid(grid, device) for grid in needed}


def _parts(
    world: World, shown: Sequence[str], mirrors: Mapping[ChannelGrid, MirroredGrid]
) -> list[tuple[list[str], MirroredLanes]]:
    """The channels that are shown by the grid that stores them, and their lanes there."""
    parts = []
    for grid, mirror in mirrors.items():
        names = [name for name in shown if name in grid.names]
        linked = {name: source for name in names if (source := _source(world, name)) is not None}
        sources = {name: MirroredLanes(mirrors[world.grid_of(source)], [source], {}) for name, source in linked.items()}
        if names:
            parts.append((names, MirroredLanes(mirror, names, sources)))
    return parts
