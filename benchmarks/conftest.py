"""What every pytest-benchmark runs under: one core, one thread, and the name of its row."""

from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import benchmarks.one_thread  # noqa: F401 - before the files that are collected import NumPy
from benchmarks.timing import one_core


@pytest.fixture(scope="session", autouse=True)
def core() -> Iterator[int | None]:
    """The one core that all of it runs on."""
    with one_core() as number:
        yield number


@pytest.fixture
def benchmark(benchmark: BenchmarkFixture) -> BenchmarkFixture:
    """pytest-benchmark's own, which reports under the id of the row that `python -m benchmarks` prints."""
    benchmark.name = benchmark.name.replace("_", "-")
    return benchmark
