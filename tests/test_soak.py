"""The soak, in small: a second round of lives leaves the process as the first did, and what grows is found."""

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytestmark = pytest.mark.once

if sys.platform != "linux":
    pytest.skip("the soak reads /proc", allow_module_level=True)


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    return importlib.import_module("benchmarks.soak")


def test_a_second_round_of_lives_leaves_nothing_more(
    soak: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMFARM_SCRATCH", str(tmp_path))
    watched = {gauge.name: gauge for gauge in soak.gauges(tmp_path)}
    exact = ["file descriptors", "threads", "threads of the system", "disk, named files", "disk, files without a name"]
    held = []
    for _ in range(2):
        for number in range(8):
            soak.life(number, tmp_path)
        held.append({name: watched[name].read() for name in exact})
    assert held[0] == held[1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file descriptors", "disk, files without a name", "disk, named files", "memory maps"])
def test_what_a_life_leaves_is_found(soak: ModuleType, tmp_path: Path, name: str) -> None:
    gauge = next(gauge for gauge in soak.gauges(tmp_path) if gauge.name == name)
    before = gauge.read()
    with (tmp_path / "left").open("w+b") as file:
        file.write(bytes(1 << 16))
        file.flush()
        os.fsync(file.fileno())
        mapped = np.memmap(file, np.uint8, "r+")
        if "without" in name:
            (tmp_path / "left").unlink()
        assert gauge.read() > before
        del mapped


@pytest.mark.parametrize(("grows", "flat"), [(0.0, True), (0.002, False), (-0.5, True)])
def test_a_line_tells_growth_from_noise(soak: ModuleType, grows: float, flat: bool) -> None:
    times = np.arange(0.0, 3600.0, 10.0)
    noise = np.random.default_rng(1).normal(0, 3.0, len(times))
    gauge = soak.Gauge("memory", "MiB", lambda: 0.0, 4.0)
    found = soak.Finding.of(gauge, times, 150.0 + noise + grows * times)
    assert found.flat is flat
    assert found.drift == pytest.approx(grows * times[-1], abs=3 * found.error + 1e-9)
