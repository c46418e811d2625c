"""The clock and the reset of a large world; what is measured is the rows' own call."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import dense
from benchmarks.clock import world_with_events
from benchmarks.foraging import Foragers
from benchmarks.reset import ROUNDS, foragers_on_a_plain
from benchmarks.sizes import FULL
from memfarm.world import World

SIDES: Final = (1024, FULL.clock_side)


@pytest.fixture
def folder() -> Iterator[Path]:
    with dense.folder() as found:
        yield found


@pytest.fixture
def world(request: pytest.FixtureRequest, folder: Path) -> Iterator[World]:
    with closing(world_with_events(request.param, folder / "world")) as found:
        yield found


@pytest.fixture
def foragers(request: pytest.FixtureRequest, folder: Path) -> Iterator[Foragers]:
    with closing(foragers_on_a_plain(request.param, FULL.reset_agents, folder)) as found:
        yield found


@pytest.mark.parametrize("world", SIDES, indirect=True, ids=str)
def clock(benchmark: BenchmarkFixture, world: World) -> None:
    benchmark(world.advance)


@pytest.mark.parametrize("foragers", SIDES, indirect=True, ids=str)
def reset(benchmark: BenchmarkFixture, foragers: Foragers) -> None:
    benchmark.pedantic(foragers.world.reset, setup=lambda: foragers.walk(FULL.reset_steps), rounds=ROUNDS)


@pytest.mark.parametrize("foragers", SIDES, indirect=True, ids=lambda side: f"{side}-n{FULL.reset_agents}")
def reset_env(benchmark: BenchmarkFixture, foragers: Foragers) -> None:
    benchmark.pedantic(foragers.env.reset, setup=lambda: foragers.walk(FULL.reset_steps), rounds=ROUNDS)
