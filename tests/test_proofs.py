"""What proves the kernels, itself: the guard fails at 10 %, builds know their processor."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest
import typer

pytestmark = pytest.mark.once
ROOT = Path(__file__).parents[1]


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("pybind11")
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.guard")


@pytest.mark.parametrize(("share", "passes"), [(0.5, True), (1.0, True), (1.09, True), (1.11, False)])
def test_the_guard_fails_at_a_tenth_more(
    guard: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], share: float, passes: bool
) -> None:
    baseline = json.loads(guard.BASELINE.read_text())
    assert baseline["instructions"].keys() == guard.KERNELS.keys()
    assert all(count > 50 for count in baseline["instructions"].values())
    counts = {**baseline["instructions"], "take": baseline["instructions"]["take"] * share}
    monkeypatch.setattr(guard, "count", lambda home: counts)
    monkeypatch.setattr(guard.shutil, "which", lambda name: name)
    monkeypatch.setattr(guard.variants, "lacking", lambda name, flags: [])
    monkeypatch.setattr(guard.variants, "build", lambda name: Path())
    monkeypatch.setattr(guard.variants, "compiler_version", lambda: baseline["compiler"])
    if passes:
        guard.main(write=False, runs=1)
    else:
        with pytest.raises(typer.Exit):
            guard.main(write=False, runs=1)
        assert "take above" in capsys.readouterr().out


def test_the_guard_says_where_it_cannot_run(
    guard: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guard.shutil, "which", lambda name: None)
    guard.main(write=False, runs=1)
    assert "not run, this machine has no valgrind" in capsys.readouterr().out


def test_a_build_is_not_run_where_the_processor_lacks_what_it_needs(guard: ModuleType) -> None:
    assert guard.variants.lacking("avx2", frozenset({"avx2"})) == ["fma"]
    assert guard.variants.lacking("baseline", frozenset()) == []
