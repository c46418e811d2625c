"""What the stamps of a grid can say; docs/design/0001 has their layout."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from memfarm.sparse_copy import Runs, close_gaps

_PIECE: Final = 1 << 20  # stamps looked at together
_GAP: Final = 1 << 16  # bytes of zeros that are sooner read than skipped
_AT_ONCE: Final = 1 << 16  # copies
_EPOCH: Final = np.uint64(0xFFFFFFFF)
_COUNT: Final = np.uint64(32)


def resets_are_past(resets: NDArray[np.int64], tick: int) -> bool:
    """Whether each copy's count of resets can be one, and the last was at `tick` or before.

    Looked at up to the first that is wrong: a forged file may claim billions of copies and be a hole.
    """
    parts = (resets[first : first + _AT_ONCE] for first in range(0, len(resets), _AT_ONCE))
    return all(np.all((part >= (1, 0)) & (part <= (2**32 - 1, tick))) for part in parts)


def are_past(stamps: NDArray[np.uint64], resets: NDArray[np.int64], tick: int, epoch: int, pages: Runs) -> bool:
    """Whether every tile was written at `tick` or before, and after no more resets than its copy had.

    stamps: `(copies, TY, TX)`. resets: `(copies, 2)`, how many, and the tick of the last. pages: byte ranges of the
    stamps, outside of which they are zero.
    """
    flat = stamps.reshape(-1)
    for first, size in close_gaps(pages, _GAP).tolist():
        end = -(-(first + size) // flat.itemsize)
        for start in range(first // flat.itemsize, end, _PIECE):
            index = np.flatnonzero(flat[start : min(start + _PIECE, end)]) + start
            if not _in_range(flat[index], resets[index // stamps[0].size], tick, epoch):
                return False
    return True


def _in_range(written: NDArray[np.uint64], resets: NDArray[np.int64], tick: int, epoch: int) -> bool:
    counts, epochs = (written >> _COUNT).astype(np.int64), (written & _EPOCH).astype(np.int64)
    live = counts == resets[:, 0]
    first = resets[:, 1] // epoch + 1 if epoch else np.ones_like(epochs)
    last = tick // epoch + 1 if epoch else 1
    possible = (counts > 0) & (counts <= resets[:, 0]) & (epochs > 0)
    return bool((possible & (~live | ((epochs >= first) & (epochs <= last)))).all())
