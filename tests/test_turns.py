"""Buffers that take turns are never lent while the device still reads them."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from memfarm.wrappers.tensors import DeviceTensors
from memfarm.wrappers.turns import Turns


class Card:
    """A device that reads what it was asked to only when it is waited for, or when all is over."""

    def __init__(self) -> None:
        self.got: list[NDArray[np.float32]] = []
        self._asked: list[tuple[int, NDArray[np.float32]]] = []
        self._number = 0

    def ask(self, buffer: NDArray[np.float32]) -> None:
        self._asked.append((self._number, buffer))

    def mark(self) -> "Mark":
        self._number += 1
        return Mark(self, self._number)

    def go_on(self, number: int) -> None:
        while self._asked and self._asked[0][0] < number:
            self.got.append(self._asked.pop(0)[1].copy())

    def finish(self) -> None:
        self.go_on(self._number + 1)


class Mark:
    def __init__(self, card: Card, number: int) -> None:
        self._card, self._number = card, number

    def synchronize(self) -> None:
        self._card.go_on(self._number)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_buffer_is_lent_while_it_is_read_and_as_many_reads_are_under_way_as_there_are_buffers(count: int) -> None:
    card = Card()
    turns = Turns([np.zeros(3, np.float32) for _ in range(count)], card.mark)
    for step in range(7):
        buffer = turns.take()
        assert turns.is_lent(buffer)
        assert len(card.got) == max(0, step + 1 - count), "waited for no more than the buffer's own read"
        buffer[:] = step
        card.ask(buffer)
        turns.read()
    card.finish()
    assert [one.tolist() for one in card.got] == [[step] * 3 for step in range(7)]


def test_a_buffer_that_was_not_read_is_lent_at_once() -> None:
    card = Card()
    turns = Turns([np.zeros(3, np.float32) for _ in range(2)], card.mark)
    first, second = turns.take(), turns.take()
    assert first is not second
    assert turns.is_lent(second)
    assert not turns.is_lent(first)
    assert turns.take() is first


def test_nothing_is_lent_before_it_was_taken() -> None:
    buffer = np.zeros(3, np.float32)
    assert not Turns([buffer]).is_lent(buffer)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_copies_to_a_card_that_overlap_the_next_windows_are_whole() -> None:
    device = torch.device("cuda")
    outlet = DeviceTensors((256, 11, 11, 7), device, "float32", True)
    busy = torch.rand(4096, 4096, device=device)
    tensors = []
    for step in range(6):
        windows = outlet.buffer()
        windows[:] = step
        busy = busy @ busy.clamp(0, 1e-3)  # the copy waits behind this
        tensors.append(outlet.hand_out(windows))
    assert [(float(tensor.min()), float(tensor.max())) for tensor in tensors] == [(n, n) for n in map(float, range(6))]
