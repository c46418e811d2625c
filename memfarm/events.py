"""Events: what happens at a cell in one tick, and the sparse road by which it is seen without being stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memfarm import arrays
from memfarm.channels import Channel, Decay, find
from memfarm.errors import ChannelError, ConfigError, DTypeError, ShapeError, WorldFormatError

Events = tuple[ArrayLike, ArrayLike, ArrayLike] | Sequence[tuple[int, int, float]] | NDArray[Any]
Parsed = tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]
Keys = NDArray[np.int64]
Values = NDArray[np.float64]

_PARTS: Final = ("keys", "own", "seen", "old_keys", "old")  # of what is kept, as `_Marks` has them
_MIN: Final = -(2**31)
_MAX: Final = 2**31 - 1  # coordinates beyond int32 are outside every world


def parsed(events: Events) -> Parsed:
    """Events as y, x and values 0 or more, `(N,)`: from a tuple of three arrays or lists, or from triples `(N, 3)`.

    Raises ShapeError, DTypeError or ValueRangeError.
    """
    if isinstance(events, tuple) and len(events) == 3 and all(isinstance(part, np.ndarray | list) for part in events):
        y, x, values = events
        shape = arrays.shape_of("events' values", values)
        return np.asarray(y), np.asarray(x), arrays.numbers("a deposit", values, shape, np.float64, least=0)
    shape = arrays.shape_of("events", events)
    if shape == (0,):
        shape = (0, 3)
    if len(shape) != 2 or shape[1] != 3:
        raise ShapeError(f"events must be (y, x, value) arrays or a sequence of such triples, got shape {shape}")
    table = arrays.numbers("events", np.asarray(events).reshape(shape), shape, np.float64)
    where = table[:, :2]
    if np.any(where != np.rint(where)):
        raise DTypeError(f"an event's y and x must be whole numbers, got {where[where != np.rint(where)][0]}")
    values = arrays.numbers("a deposit", table[:, 2], shape[:1], np.float64, least=0)
    return where[:, 0].clip(_MIN, _MAX).astype(np.int64), where[:, 1].clip(_MIN, _MAX).astype(np.int64), values


@dataclass(slots=True)
class _Marks:
    """What the events of two ticks left of one channel, by cell: sorted keys, each once."""

    keys: Keys  # (M,) cells that this tick's events fell on
    own: Values  # (M,) what they left
    seen: Values  # (M,) the same, on top of what was left of the tick before
    old_keys: Keys  # (L,) cells of the tick before
    old: Values  # (L,) what is left there

    @classmethod
    def none(cls) -> "_Marks":
        keys, values = np.zeros(0, np.int64), np.zeros(0)
        return cls(keys, values, values, keys, values)


class SparseEvents:
    """Temporal channels that no grid stores: their events are painted into the windows that see them.

    An event is seen in its own tick, and in the next one as what its law leaves of it: in the observation that ends
    the step it fell into. A stored channel shows the same then; afterwards it goes on fading, and here there is
    nothing left. Costs what the events of two ticks cost, whatever the world measures.

    channels: each under `Decay`. shape: (height, width) of the world. copies: worlds of the batch.
    """

    def __init__(self, channels: Sequence[Channel], shape: tuple[int, int], copies: int) -> None:
        for channel in channels:
            if not isinstance(channel.law, Decay):
                raise ConfigError(f"a sparse channel follows Decay, got {channel.name} under {channel.law}; store it")
        self.channels: Final = tuple(channels)
        self.names: Final = tuple(channel.name for channel in channels)
        self._shape = shape
        self._copies = copies
        self._marks: dict[str, _Marks] = {name: _Marks.none() for name in self.names}

    def channel(self, name: str) -> Channel:
        """The sparse channel `name`; ChannelError names the nearest right one."""
        return self.channels[find(self.channels, name)]

    def deposit(self, name: str, events: Events, copy: ArrayLike = 0, accumulate: bool = True) -> None:
        """Leave `events`, as `TemporalGridManager.deposit` takes them, at this tick; up to the channel's highest value.

        accumulate: add to what is there (False: the larger of both stays). copy: the world, or one an event `(N,)`.
        """
        high = self.channel(name).high
        y, x, values = parsed(events)
        where = arrays.cells(copy, y, x, copies=self._copies, shape=self._shape)
        if len(where[0]) != len(values):
            raise ShapeError(f"events must have one value each, got {len(values)} for {len(where[0])} cells")
        marks, alike = self._marks[name], np.add if accumulate else np.maximum
        keys, group = np.unique(self._keys(*where), return_inverse=True)
        every = np.union1d(marks.keys, keys)
        left = np.zeros(len(keys))
        alike.at(left, group, values)
        own = _at(every, marks.keys, marks.own)
        seen = np.where(
            np.isin(every, marks.keys), _at(every, marks.keys, marks.seen), _at(every, marks.old_keys, marks.old)
        )
        new = _at(every, keys, left)
        marks.own, marks.seen = (np.minimum(alike(now, new), high) for now in (own, seen))
        marks.keys = every

    def advance(self, ticks: int) -> None:
        """Let `ticks` pass: one fades this tick's events and forgets the tick before, two forget both."""
        if ticks == 0:
            return
        for channel in self.channels:
            marks = self._marks[channel.name]
            if not marks.keys.size and not marks.old_keys.size:
                continue
            faded = _Marks.none()
            if ticks == 1:
                faded.old_keys, faded.old = marks.keys, marks.own * channel.law.alpha
            self._marks[channel.name] = faded

    def reset(self, copies: ArrayLike | None = None) -> None:
        """Forget the events of `copies` (indices or a bool mask; None: all)."""
        gone = None if copies is None else arrays.indices("copies", copies, self._copies)
        for name, marks in self._marks.items():
            if gone is None:
                self._marks[name] = _Marks.none()
                continue
            new, old = (~np.isin(self._cells(keys)[0], gone) for keys in (marks.keys, marks.old_keys))
            self._marks[name] = _Marks(
                marks.keys[new], marks.own[new], marks.seen[new], marks.old_keys[old], marks.old[old]
            )

    def points(self, name: str) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
        """What there is to see of a channel now: copy, y, x int32, values float32 `(P,)`, each cell once; new."""
        marks, floor = self._marks[name], self.channel(name).floor
        old = ~np.isin(marks.old_keys, marks.keys)
        values = np.concatenate([marks.seen, marks.old[old]]).astype(np.float32)
        values[values < np.float32(floor)] = 0.0
        copy, y, x = self._cells(np.concatenate([marks.keys, marks.old_keys[old]]))
        return copy, y, x, values

    def state(self, copies: Keys | None = None) -> dict[str, NDArray[Any]]:
        """All that is kept of `copies` (None: all), numbered as they are given: `set_state` takes it. New arrays."""
        cells = self._shape[0] * self._shape[1]
        chosen = np.arange(self._copies) if copies is None else copies
        number = np.full(self._copies, -1, np.int64)
        number[chosen] = np.arange(len(chosen))
        state: dict[str, NDArray[Any]] = {}
        for name, marks in self._marks.items():
            for keys, values in (("keys", ("own", "seen")), ("old_keys", ("old",))):
                own = getattr(marks, keys)
                at = number[own // cells] * cells + own % cells
                order = np.flatnonzero(at >= 0)[np.argsort(at[at >= 0], kind="stable")]
                state[f"{name}.{keys}"] = at[order]
                state.update({f"{name}.{part}": getattr(marks, part)[order] for part in values})
        return state

    def check_state(self, state: Mapping[str, NDArray[Any]], copies: int) -> None:
        """Raise WorldFormatError unless `set_state` can take `state`, of so many copies."""
        cells = copies * self._shape[0] * self._shape[1]
        for name in self.names:
            for keys, values in (("keys", ("own", "seen")), ("old_keys", ("old",))):
                at = state.get(f"{name}.{keys}")
                if (
                    at is None
                    or (at.dtype, at.ndim) != (np.dtype(np.int64), 1)
                    or (np.diff(at) <= 0).any()
                    or (at.size and not 0 <= at[0] <= at[-1] < cells)
                ):
                    raise WorldFormatError(f"the {keys} of {name} must be cells of {copies} copies, got {at}")
                for part in values:
                    found = state.get(f"{name}.{part}")
                    if found is None or (found.dtype, found.shape) != (np.dtype(np.float64), at.shape):
                        raise WorldFormatError(f"{name} must have a number {part} for each cell, got {found}")

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Be what `state` says, of all copies. Raises WorldFormatError, and nothing has changed then."""
        self.check_state(state, self._copies)
        for name in self.names:
            self._marks[name] = _Marks(*(state[f"{name}.{part}"].copy() for part in _PARTS))

    def _keys(self, copy: NDArray[np.int32], y: NDArray[np.int32], x: NDArray[np.int32]) -> Keys:
        keys: Keys = (copy.astype(np.int64) * self._shape[0] + y) * self._shape[1] + x
        return keys

    def _cells(self, keys: Keys) -> arrays.Cells:
        rows, x = np.divmod(keys, self._shape[1])
        copy, y = np.divmod(rows, self._shape[0])
        return copy.astype(np.int32), y.astype(np.int32), x.astype(np.int32)


def _at(wanted: Keys, keys: Keys, values: Values) -> Values:
    """The values at the `wanted` keys, 0 where `keys` (sorted) have none; new."""
    if not keys.size:
        return np.zeros(len(wanted))
    index = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[index] == wanted, values[index], 0.0)


def check_sparse(sparse: Sequence[Channel], stored: Sequence[str]) -> None:
    """Raise ChannelError where a channel is both stored and sparse, or sparse twice."""
    names = [channel.name for channel in sparse]
    for name in names:
        if name in stored or names.count(name) > 1:
            raise ChannelError(f"a channel is stored once or sparse once, got {name!r} again; leave one out")
