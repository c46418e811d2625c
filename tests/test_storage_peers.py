"""The benchmark of other storage runs, tiny: every kind that is installed gives the same windows, others are named."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.storage_peers_stores")


def test_every_storage_gives_the_windows_of_the_map(stores: ModuleType, tmp_path: Path) -> None:
    side, radius = 80, stores.RADIUS
    whole = np.concatenate([band for _, band in stores.bands(side)])
    y, x = np.random.default_rng(0).integers(radius, side - radius, (2, 9))
    expected = np.stack(
        [whole[b - radius : b + radius + 1, a - radius : a + radius + 1] for b, a in zip(y, x, strict=True)]
    )
    installed = {name: store for name, store in stores.STORES.items() if not store.missing}
    assert {"memfarm", "memfarm-threads", "memmap", "memmap-random"} <= installed.keys()
    for name, store in installed.items():
        store.make(tmp_path / name, side)
        np.testing.assert_allclose(store.cutter(tmp_path / name, side)(y, x), expected, atol=1e-6, err_msg=name)


def test_it_runs_and_names_what_is_not_installed(stores: ModuleType, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.storage_peers", "--quick"],
        cwd=ROOT,
        env={**os.environ, "MEMFARM_SCRATCH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if "stays in memory" in done.stderr:
        pytest.skip("the temp folder is a tmpfs")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for store in stores.STORES.values():
        assert [store.missing] == ["not installed" in line for line in lines if line.startswith(f"{store.title}  ")]
    assert list(tmp_path.iterdir()) == []
