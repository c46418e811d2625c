"""What is compared, and how large: as the figures are asked for, or tiny, to see that everything runs."""

from dataclasses import dataclass
from typing import Final

from benchmarks.peers.packages import MAGENT2, POGEMA, PURSUIT, Package
from benchmarks.rows import Goal

_HALF_AS_FAST_AGAIN: Final = Goal("ratio", least=1.5)


@dataclass(frozen=True, slots=True)
class Pair:
    """A world of ours and a peer's, each a MODULE:CLASS of this package, with as many agents in as many cells.

    what: how ours is stepped. versus: how the peer's is.
    """

    id: str
    what: str
    ours: str
    versus: str
    package: Package
    theirs: str
    agents: int
    side: int
    goal: Goal | None = None


@dataclass(frozen=True, slots=True)
class Growth:
    """A peer's world in which every cell is in use, at two sides in cells."""

    id: str
    package: Package
    theirs: str
    sides: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Sizes:
    """seconds: for a pair. sample: seconds of consecutive steps before it is the other's turn. starts: of an import."""

    pairs: tuple[Pair, ...]
    growths: tuple[Growth, ...]
    seconds: float
    sample: float
    starts: int


def _engine(agents: int, side: int, goal: Goal | None = None) -> Pair:
    what, versus = "Forage, batched door, torch windows", "MAgent2's engine, all that a step asks of it"
    return Pair("magent2", what, "forage:Batched", versus, MAGENT2, "magent:Engine", agents, side, goal)


def _door(agents: int, side: int, goal: Goal | None = None) -> Pair:
    what, versus = "Forage, parallel_env", "MAgent2's own PettingZoo door"
    return Pair("magent2-pettingzoo", what, "forage:Parallel", versus, MAGENT2, "magent:Parallel", agents, side, goal)


def _pogema(agents: int, side: int) -> Pair:
    what, versus = "Forage, batched door, torch windows", "POGEMA, its own lists"
    return Pair("pogema", what, "forage:Batched", versus, POGEMA, "pogema:Lists", agents, side)


def _pursuit(agents: int, side: int) -> Pair:
    what, versus = "Forage, parallel_env", "PettingZoo's pursuit, parallel_env"
    return Pair("pursuit", what, "forage:Parallel", versus, PURSUIT, "pursuit:Parallel", agents, side)


def _growths(magent2: tuple[int, int], pogema: tuple[int, int], pursuit: tuple[int, int]) -> tuple[Growth, ...]:
    return (
        Growth("magent2", MAGENT2, "magent:Engine", magent2),
        Growth("pogema", POGEMA, "pogema:Lists", pogema),
        Growth("pursuit", PURSUIT, "pursuit:Parallel", pursuit),
    )


FULL: Final = Sizes(
    pairs=(
        _engine(1_000, 1024, Goal("ratio", least=1.0)),
        _engine(10_000, 1024, _HALF_AS_FAST_AGAIN),
        _engine(100_000, 1024, _HALF_AS_FAST_AGAIN),
        _engine(10_000, 4096, _HALF_AS_FAST_AGAIN),
        _door(1_000, 1024, Goal("ours", least=1.2e6)),
        _pogema(1_000, 512),
        _pursuit(64, 128),
    ),
    growths=_growths((512, 2048), (256, 512), (256, 1024)),
    seconds=12.0,
    sample=0.15,
    starts=5,
)
QUICK: Final = Sizes(
    pairs=(_engine(20, 64), _door(10, 64), _pogema(8, 32), _pursuit(4, 32)),
    growths=_growths((64, 256), (64, 256), (64, 256)),
    seconds=0.05,
    sample=0.01,
    starts=1,
)
