"""Slots: where a batch of observations goes, so that what was handed out before stays as it is."""

import weakref
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from memfarm.envs.shards.layout import Part, Parts, size_of, views
from memfarm.envs.shards.memory import Pages
from memfarm.wrappers.buffers import BufferPool

Place = tuple[int, int, int]  # extent, its length, offset


class Slots:
    """Shared memory for the observations of `rows` agents, a slot for each batch that is still referred to.

    copy: False: two slots, taken in turn, whoever refers to them.
    """

    def __init__(self, fd: int, parts: Sequence[Part], rows: int, copy: bool, grown: list[int]) -> None:
        self._parts: Final = parts
        self._rows: Final = rows
        self._size: Final = size_of(parts, rows)
        self._pages: Final = Pages(fd, self._size, grown)
        self._places: dict[int, Place] = {}  # by address
        if copy:
            self._take = BufferPool((self._size,), np.uint8, make=self._make).take
        else:
            self._two = [self._make(), self._make()]
            self._take = self._in_turn

    def take(self) -> tuple[Parts, Place]:
        """The parts of a batch, of unspecified contents, and where its slot lies."""
        raw = self._take()
        return views(raw, self._parts, self._rows), self._places[_address(raw)]

    def _in_turn(self) -> NDArray[Any]:
        self._two.reverse()
        return self._two[0]

    def _make(self) -> NDArray[Any]:
        array, place, give_back = self._pages.take()
        self._places[_address(array)] = place
        weakref.finalize(array, give_back).atexit = False
        return array


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
