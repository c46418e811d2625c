"""Steps of Forage, whole and without windows, and through PettingZoo's door; what is measured is the rows' own call."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.crop import RADIUS
from benchmarks.foraging import Foragers
from benchmarks.sizes import FULL
from benchmarks.steps import ParallelForagers

_SHAPE = (FULL.step_side, FULL.step_side)


def _id(agents: int) -> str:
    return f"{FULL.step_side}-n{agents}"


@pytest.fixture(params=[*FULL.step_agents, 100_000], ids=_id)
def foragers(request: pytest.FixtureRequest) -> Iterator[Foragers]:
    with closing(Foragers(request.param, shape=_SHAPE, radius=RADIUS)) as found:
        yield found


@pytest.fixture(params=[FULL.door_agents], ids=_id)
def parallel(request: pytest.FixtureRequest) -> Iterator[ParallelForagers]:
    with closing(ParallelForagers(request.param, shape=_SHAPE, radius=RADIUS)) as found:
        yield found


def step(benchmark: BenchmarkFixture, foragers: Foragers) -> None:
    benchmark(foragers.step)


def step_rules(benchmark: BenchmarkFixture, foragers: Foragers) -> None:
    benchmark(foragers.step_without_windows)


def step_pettingzoo(benchmark: BenchmarkFixture, parallel: ParallelForagers) -> None:
    benchmark(parallel.step)
