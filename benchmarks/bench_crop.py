"""The windows, by side of the world, agents, channels and dtypes; what is measured is the rows' own call."""

from contextlib import closing
from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.crop import Crop, name_of
from benchmarks.sizes import FULL

CASES: Final = (
    (1024, 1_000),
    (1024, 10_000),
    (1024, 100_000),
    (4096, 10_000),
    (1024, 10_000, 1),
    (1024, 10_000, 3),
    (1024, 10_000, 7, "float32"),
    (1024, 10_000, 7, "float16"),
    (1024, 10_000, 7, "float64"),
)
"""(side, agents, channels, storage dtype), as `Crop` takes them."""

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: name_of(*case))
in_each_world = pytest.mark.parametrize(
    "case", [(side, FULL.crop_agents) for side in FULL.crop_sides], ids=lambda case: name_of(*case)
)


@every_case
def crop(benchmark: BenchmarkFixture, case: tuple[int, int]) -> None:
    with closing(Crop(*case)) as windows:
        benchmark(windows)


@every_case
def crop_stale(benchmark: BenchmarkFixture, case: tuple[int, int]) -> None:
    with closing(Crop(*case)) as windows:
        windows.age()
        benchmark(windows)


@in_each_world
def crop_into_float16(benchmark: BenchmarkFixture, case: tuple[int, int]) -> None:
    _into(benchmark, case, "float16")


@in_each_world
def crop_into_bfloat16(benchmark: BenchmarkFixture, case: tuple[int, int]) -> None:
    _into(benchmark, case, "bfloat16")


@in_each_world
def crop_into_uint8(benchmark: BenchmarkFixture, case: tuple[int, int]) -> None:
    _into(benchmark, case, "uint8")


def _into(benchmark: BenchmarkFixture, case: tuple[int, int], dtype: str) -> None:
    with closing(Crop(*case)) as windows:
        benchmark(windows.into(dtype))
