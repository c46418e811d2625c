"""The benchmarks run, tiny: every row is there, with its figures and its baseline, and nothing is left behind."""

import importlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
BASELESS = {"clock-writes", "shards-supersuit"}  # a count that needs none; what need not be installed


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("bench")
    scratch = folder / "scratch"
    scratch.mkdir()
    done = run("--quick", "--json", str(folder / "rows.json"), scratch=scratch)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((folder / "rows.json").read_text())
    return SimpleNamespace(printed=done.stdout, report=report, scratch=scratch)


def run(*arguments: str, scratch: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env={**os.environ, "MEMFARM_SCRATCH": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    monkeypatch.syspath_prepend(str(ROOT))
    app = typer.Typer()
    app.command()(importlib.import_module("benchmarks.suite").main)
    return app


@pytest.fixture
def rows_module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.rows")


@pytest.fixture
def timing(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.timing")


def test_every_figure_has_its_row_and_its_id(quick: SimpleNamespace) -> None:
    ids = [row["id"] for row in quick.report["rows"]]
    assert len(set(ids)) == len(ids)
    assert ids == [
        "crop[64-c7-n50]",
        "crop-slices[64-c7-n50]",
        "crop-sliding[64-c7-n50]",
        "crop-into-float16[64-c7-n50]",
        "crop-into-bfloat16[64-c7-n50]",
        "crop-into-uint8[64-c7-n50]",
        "crop-stale[64-c7-n50]",
        "crop[64-c7-n50-float32]",
        "crop[96-c7-n50]",
        "crop-slices[96-c7-n50]",
        "crop-sliding[96-c7-n50]",
        "crop-into-float16[96-c7-n50]",
        "crop-into-bfloat16[96-c7-n50]",
        "crop-into-uint8[96-c7-n50]",
        "crop-stale[96-c7-n50]",
        "crop[96-c7-n50-float32]",
        "clock[128]",
        "clock-writes[128]",
        "reset[128]",
        "reset-env[128-n10]",
        "world-size[512-n8]",
        "world-size-disk[512-n8]",
        "step[48-n10]",
        "step-rules[48-n10]",
        "step-windows[48-n10]",
        "step[48-n20]",
        "step-rules[48-n20]",
        "step-windows[48-n20]",
        "step-pettingzoo[48-n8]",
        "gather[48-n50]",
        "scatter[48-n50]",
        "take[48-n50]",
        "deposit[48-n50]",
        "memory-untouched[64]",
        "memory-written[64]",
        "sharing[128-w2]",
        "rollout-memory[n8-t4]",
        "rollout-read[n8-t4]",
        "shards[48-n32]",
        "shards-apart[48-n32]",
        "shards[32-n32]",
        "shards-apart[32-n32]",
        "shards-async[32-n3]",
        "shards-supersuit[48-n8]",
        "shards-halves[48-n32]",
        "snapshot[128]",
        "snapshot-disk[128]",
        "snapshot-step[128-n8]",
        "snapshot-call[128-n8]",
    ]


def test_every_row_has_a_baseline_of_the_same_run(quick: SimpleNamespace) -> None:
    for row in quick.report["rows"]:
        assert math.isfinite(row["ours"]), row
        if row["id"].partition("[")[0] not in BASELESS:
            assert row["baseline"] > 0, row
            assert math.isfinite(row["ratio"]), row
            assert row["versus"], row


def test_what_does_not_depend_on_the_machine_is_reached_even_when_tiny(quick: SimpleNamespace) -> None:
    rows = {row["id"]: row for row in quick.report["rows"]}
    assert rows["clock-writes[128]"]["ours"] == 0
    assert rows["clock-writes[128]"]["reached"]
    assert rows["memory-untouched[64]"]["ours"] < rows["memory-written[64]"]["ours"]


def test_the_table_shows_every_row_and_says_that_quick_proves_nothing(quick: SimpleNamespace) -> None:
    for row in quick.report["rows"]:
        assert row["id"] in quick.printed
    assert "figures reached" not in quick.printed
    assert "these figures say nothing" in quick.printed


def test_nothing_is_left_in_the_scratch_folder(quick: SimpleNamespace) -> None:
    assert list(quick.scratch.iterdir()) == []


def test_only_runs_what_it_names_and_gives_back_the_cores(command: typer.Typer) -> None:
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    done = CliRunner().invoke(command, ["--quick", "--only", "memory"])
    assert done.exit_code == 0, done.output
    assert "memory-written[64]" in done.output
    assert "crop[" not in done.output
    assert cores is None or os.sched_getaffinity(0) == cores


def test_only_refuses_what_it_does_not_know(command: typer.Typer) -> None:
    refused = CliRunner().invoke(command, ["--only", "memory,krop"])
    assert refused.exit_code == 2
    assert "krop" in refused.output


@pytest.mark.parametrize(
    ("goal", "ours", "ratio", "reached"),
    [
        ({"of": "ours", "most": 10.0}, 10.0, 99.0, True),
        ({"of": "ours", "most": 10.0}, 10.1, 0.0, False),
        ({"of": "ratio", "least": 20.0}, 0.0, 20.0, True),
        ({"of": "ratio", "least": 20.0}, 99.0, 19.9, False),
        ({"of": "ratio", "least": 20.0}, 99.0, None, None),
        (None, 1.0, 1.0, None),
    ],
)
def test_a_goal_is_reached_or_not(
    rows_module: ModuleType, goal: dict[str, Any] | None, ours: float, ratio: float | None, reached: bool | None
) -> None:
    row = rows_module.Row(
        id="a[1]", what="", unit="s", ours=ours, ratio=ratio, goal=None if goal is None else rows_module.Goal(**goal)
    )
    assert row.reached is reached
    assert row.as_json()["reached"] is reached
    assert row.cells()[-1] == {True: "[green]yes[/green]", False: "[red]no[/red]", None: "-"}[reached]


def test_a_ratio_is_taken_within_each_round(timing: ModuleType) -> None:
    slowing = np.array([1.0, 2.0, 4.0])  # a machine that slows down while it is measured
    assert timing.Times(3 * slowing).over(timing.Times(slowing)) == 3.0


def test_cases_take_turns(timing: ModuleType) -> None:
    called: list[str] = []

    def busy(name: str) -> None:
        called.append(name)
        timing.time.sleep(2e-3)  # longer than a sample: called once a round

    times = timing.in_turns({"a": lambda: busy("a"), "b": lambda: busy("b")}, seconds=0.0, least=4)
    assert "".join(called) == "aabb" + "ab" + "ba" + "ab" + "ba"
    assert all(len(t.seconds) == 4 and t.median >= 2e-3 for t in times.values())


@pytest.mark.parametrize(("stretch", "calls"), [({}, 1), ({"stretch": 0.25}, 250)])
def test_a_short_call_is_repeated_within_its_sample(
    timing: ModuleType, monkeypatch: pytest.MonkeyPatch, stretch: dict[str, float], calls: int
) -> None:
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    seen: list[float] = []

    def call() -> None:  # takes a thousandth of a second, but the first two, which take twenty
        seen.append(now[0])
        now[0] += 1e-3 if len(seen) > 2 else 20e-3

    samples: list[int] = []
    sample = timing._sample
    monkeypatch.setattr(timing, "_sample", lambda case, repeats: (samples.append(repeats), sample(case, repeats))[1])
    times = timing.in_turns({"call": call}, seconds=0.0, least=1, **stretch)
    assert samples[-1] == pytest.approx(calls, abs=1)
    assert len(seen) <= 4 + 3 * calls  # beforehand, in ever longer samples
    assert times["call"].median == pytest.approx(1e-3)
