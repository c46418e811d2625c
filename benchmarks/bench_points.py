"""Single cells, read and written; what is measured is the rows' own call."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.points import Points
from benchmarks.sizes import FULL


@pytest.fixture(params=[1_000, FULL.crop_agents, 100_000], ids=lambda agents: f"{FULL.step_side}-n{agents}")
def points(request: pytest.FixtureRequest) -> Iterator[Points]:
    with closing(Points(FULL.step_side, request.param)) as found:
        yield found


def gather(benchmark: BenchmarkFixture, points: Points) -> None:
    benchmark(points.gather)


def scatter(benchmark: BenchmarkFixture, points: Points) -> None:
    benchmark(points.scatter)


def take(benchmark: BenchmarkFixture, points: Points) -> None:
    benchmark(points.take)


def deposit(benchmark: BenchmarkFixture, points: Points) -> None:
    benchmark(points.deposit)
