from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Float32s = NDArray[np.float32]
Bools = NDArray[np.bool_]

class Grid:
    def __init__(
        self,
        tiles: NDArray[Any],
        stamps: NDArray[np.uint64],
        copies: NDArray[np.int64],
        lanes: Sequence[dict[str, float | bool]],
        height: int,
        width: int,
        wrap: bool,
        epoch: int,
    ) -> None: ...
    def link(self, lane: int, source: Grid, source_lane: int) -> None: ...
    def set_tick(self, tick: int) -> None: ...
    def neighbours(
        self,
        lane: int,
        copy: Int32s,
        y: Int32s,
        x: Int32s,
        alive: NDArray[np.bool_],
        below: float,
        out: NDArray[np.bool_],
    ) -> None: ...
    def walk(
        self,
        blocked: int,
        price: int,
        below: float,
        copy: Int32s,
        y: Int32s,
        x: Int32s,
        heading: NDArray[np.int64],
        live: NDArray[np.bool_],
        alive: NDArray[np.bool_],
        keys: NDArray[np.uint64],
    ) -> NDArray[Any]: ...
    def place(
        self,
        lane: int,
        below: float,
        copy: Int32s,
        draws: NDArray[np.uint64],
        their_copy: Int32s,
        their_y: Int32s,
        their_x: Int32s,
        alive: NDArray[np.bool_],
        rounds: int,
    ) -> tuple[Int32s, Int32s, NDArray[np.bool_]]: ...
    def gather(self, lane: int, copy: Int32s, y: Int32s, x: Int32s, out: NDArray[Any]) -> None: ...
    def scatter(
        self,
        lane: int,
        copy: Int32s,
        y: Int32s,
        x: Int32s,
        values: NDArray[np.float64],
        how: int,
        low: float,
        high: float,
    ) -> None: ...
    def take(
        self,
        lane: int,
        copy: Int32s,
        y: Int32s,
        x: Int32s,
        amount: NDArray[np.float64],
        out: NDArray[np.float64],
    ) -> None: ...
    def read(self, copy: int, y0: int, x0: int, lanes: Int32s, out: NDArray[Any]) -> None: ...
    def write(self, copy: int, y0: int, x0: int, lanes: Int32s, values: NDArray[Any]) -> None: ...
    def stamp_windows(
        self,
        lanes: Int32s,
        copy: Int32s,
        y: Int32s,
        x: Int32s,
        radius: int,
        values: NDArray[np.float32],
        how: int,
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        seen: NDArray[np.bool_] | None = None,
    ) -> None: ...
    def settle(self) -> int: ...
    def missing(self, copy: Int32s, y: Int32s, x: Int32s) -> NDArray[np.int64]: ...
    def missing_windows(
        self, copy: Int32s, y: Int32s, x: Int32s, radius: int, seen: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]: ...

class Windows:
    def __init__(
        self,
        grids: Sequence[Grid],
        columns: Sequence[tuple[int, int]],
        radius: int,
        scale: NDArray[np.float32],
        shift: NDArray[np.float32],
        visibility: tuple[int, int] | None,
        hidden: Sequence[bool],
    ) -> None: ...
    def observe(
        self,
        copy: Int32s,
        y: Int32s,
        x: Int32s,
        out: NDArray[Any],
        centres: Sequence[tuple[int, NDArray[np.float32]]],
        points: Sequence[tuple[int, Int32s, Int32s, Int32s, NDArray[np.float32], bool, Int32s | None]],
        threads: int,
    ) -> None: ...

def narrow(values: NDArray[np.float32], out: NDArray[Any]) -> None: ...
def first_outside(copy: Int32s, y: Int32s, x: Int32s, copies: int, height: int, width: int) -> int: ...
def hash_draws(keys: NDArray[np.uint64], stream: int) -> NDArray[np.uint64]: ...
def fence() -> None: ...
def first_beyond(actions: Int64s, live: Bools, choices: int) -> int: ...
def forage_walk(
    ground: Grid,
    blocked: int,
    price: int,
    below: float,
    food: Grid,
    fields: Grid | None,
    trails: int,
    copy: Int32s,
    y: Int32s,
    x: Int32s,
    actions: Int64s,
    live: Bools,
    alive: Bools,
    energy: Float32s,
    keys: NDArray[np.uint64],
    living: float,
    effort: float,
    to_y: Int32s,
    to_x: Int32s,
    spent: Float32s,
) -> tuple[Int64s, Int64s]: ...
def forage_eat(
    food: Grid,
    lane: int,
    fields: Grid | None,
    trails: int,
    copy: Int32s,
    y: Int32s,
    x: Int32s,
    actions: Int64s,
    live: Bools,
    bite: float,
    energy: float,
    eaten: Float32s,
) -> None: ...
def forage_settle(
    fields: Grid | None,
    heat: int,
    copy: Int32s,
    y: Int32s,
    x: Int32s,
    live: Bools,
    eaten: Float32s,
    spent: Float32s,
    energy: Float32s,
    hp: Float32s,
    most: float,
    weight: float,
    penalty: float,
) -> tuple[Float32s, Bools, int]: ...
def forage_look(
    ground: Grid,
    blocked: int,
    below: float,
    food: Grid,
    lane: int,
    copy: Int32s,
    y: Int32s,
    x: Int32s,
    alive: Bools,
    masks: Bools,
) -> None: ...
