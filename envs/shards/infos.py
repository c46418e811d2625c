"""One infos dict of the shards' own: what is rare comes pickled, and is put together here."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from memfarm.envs.shards.dealing import Share


def merged(told: Sequence[tuple[Share, Mapping[str, Any] | None]], first: int, rows: int) -> dict[str, Any]:
    """The shards' infos as one of `rows` agents, of whom `first` is number 0; arrays `(rows, ...)`, new.

    A shard that does not tell of a key, or of its `_key`, has 0, False or None there.
    """
    found: dict[str, Any] = {}
    keys = dict.fromkeys(key for _, infos in told for key in infos or ())
    for key in keys:
        values = [(share, infos[key]) for share, infos in told if infos is not None and key in infos]
        if isinstance(values[0][1], Mapping):
            found[key] = merged(values, first, rows)
        else:
            found[key] = _column(values, first, rows)
    return found


def _column(values: Sequence[tuple[Share, Any]], first: int, rows: int) -> Any:
    arrays = [(share, value) for share, value in values if isinstance(value, np.ndarray) and len(value) == share.count]
    if len(arrays) < len(values):  # not of the agents: each agent of the shard has it
        arrays = [(share, _repeated(value, share.count)) for share, value in values]
    sample = arrays[0][1]
    column = np.full((rows, *sample.shape[1:]), None if sample.dtype == object else 0, sample.dtype)
    for share, value in arrays:
        column[share.first - first : share.first - first + share.count] = value
    return column


def _repeated(value: Any, count: int) -> Any:
    if isinstance(value, np.ndarray) and len(value) == count:
        return value
    column = np.full(count, None, object)
    for row in range(count):
        column[row] = value
    return column
