"""Curves, plots, profiles and pytest-benchmark: what is measured, what is drawn of it, and by which id."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]

Load = Callable[[str], ModuleType]

KERNEL = "memfarm/kernels.cpp:7"
SAMPLED = "run (flame_worker.py:40);sampled (flame_worker.py:16);step (benchmarks/foraging.py:47)"
STACKS = [
    f"{SAMPLED};cut (memfarm/windows.py:125);dispatch (pybind11.h:1);f (numpy.h:9);"
    f"memfarm::Windows::observe ({KERNEL});"
    "with_codec<memfarm::observe(int)::{lambda(auto)#1}> (memfarm/kernels.cpp:9);"
    "operator()<memfarm::U8> (memfarm/kernels.cpp:9);"
    "memfarm::assemble<3, (memfarm::Storage)1> (memfarm/kernels_direct.h:2);_mm512_mul_ps (avx512fintrin.h:1);"
    "memset (libc.so.6) 60",
    f"{SAMPLED};neighbours ({KERNEL});memfarm::Reader<memfarm::Map<float> >::value (memfarm/kernels_store.h:204) 20",
    f"{SAMPLED};add (numpy/_core/_multiarray_umath.so);0x7f (libc.so.6) 10",
    f"{SAMPLED};Place.reserve (memfarm/reserve.py:44);posix_fallocate (libc.so.6) 6",
    f"{SAMPLED} 4",
    "run (flame_worker.py:40);__init__ (benchmarks/foraging.py:30) 1000",
]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


# --- profiles


def test_a_stack_belongs_to_the_kernel_that_was_called_or_to_who_called_none(load: Load) -> None:
    stacks = load("stacks")
    found = list(stacks.read(STACKS, "sampled"))
    assert stacks.shares(found) == {
        "observe": 0.6, "neighbours": 0.2, "NumPy": 0.1, "room on the disk": 0.06, "Python": 0.04,
    }  # fmt: skip
    assert stacks.inside(found) == {"observe / assemble": 0.6, "neighbours / Reader::value": 0.2}


def test_a_stack_holds_no_plumbing_and_nothing_of_a_library_inside_a_kernel(load: Load) -> None:
    stack, count = next(load("stacks").read(STACKS, "sampled"))
    assert count == 60
    assert [(frame.name, frame.kind) for frame in stack] == [
        ("step", "Python"),
        ("cut", "Python"),
        ("Windows::observe", "kernel"),
        ("assemble", "kernel"),
    ]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("memfarm::take", "take"),
        ("void memfarm::open_neighbours<memfarm::U8>(memfarm::Store const&, int)", "open_neighbours"),
        ("memfarm::Reader<memfarm::Map<float> >::value", "Reader::value"),
        ("row_of<3, (memfarm::Storage)1>", "row_of"),
    ],
)
def test_a_kernels_function_is_shown_by_its_name(load: Load, name: str, shown: str) -> None:
    assert load("stacks").short(name) == shown


@pytest.mark.parametrize(("count", "said"), [(20, "above 25%: yes"), (200, "above 25%: no, neighbours is")])
def test_a_profile_says_whether_a_part_but_the_crop_is_large(
    load: Load,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    count: int,
    said: str,
) -> None:
    flame = load("flame")
    lines = [STACKS[0], STACKS[1].removesuffix("20") + str(count), *STACKS[2:]]
    monkeypatch.setattr(flame, "record", lambda *arguments: ("7 steps", lines))
    flame.main(10, 16, 1.0, 100, tmp_path / "figures" / "flame.png")
    printed = capsys.readouterr().out
    assert f"7 steps, {80 + count} samples" in printed
    assert said in printed
    assert size_of_png(tmp_path / "figures" / "flame.png")[0] > 700


def test_a_flame_graph_is_as_wide_as_its_samples(load: Load) -> None:
    stacks = load("stacks")
    root = stacks.tree(stacks.read(STACKS, "sampled"))
    (step,) = root.below.values()
    assert root.samples == step.samples == 100
    assert sum(node.samples for node in step.below.values()) == 96
    figure = load("flame_plot").drawn(root, "a step")
    widths = [round(patch.get_width(), 2) for patch in figure.axes[0].patches]
    assert sorted(widths, reverse=True) == [1.0, 0.6, 0.6, 0.6, 0.2, 0.2, 0.1, 0.06]


# --- curves


def test_every_point_is_another_and_sides_are_compared_after_the_same_steps(load: Load) -> None:
    curves = load("curves")
    points = list(curves.Plan().points())
    assert len(set(points)) == len(points)
    ours = [point for point in points if point.who == "memfarm"]
    assert {point.agents for point in ours if point.curve == "agents"} == {10**k for k in range(2, 7)}
    for crowd in (1_000, 10_000):
        of_crowd = [point for point in ours if point.curve == "side" and point.agents == crowd]
        assert [point.side for point in of_crowd] == [2**k for k in range(8, 17)]
        assert len({point.steps for point in of_crowd}) == 1


def test_points_are_measured_each_in_a_process_and_left_out_where_memory_is_short(
    load: Load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    curves = load("curves")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(curves, "why_missing", lambda package: "MAgent2 is not installed")
    plan = curves.Plan(agents=(6,), numpy_agents=0, side=32, sides=(32,), numpy_side=0, crowds=(), seconds=0.01)
    found = list(curves.measured(plan))
    printed = capsys.readouterr().out
    assert "MAgent2 is not installed" in printed
    assert [(point["who"], point["side"]) for point in found] == [("memfarm", 32), ("arrays", 32)]
    assert found[0]["low"] <= found[0]["rate"] <= found[0]["high"]
    assert found[0]["disk"] > 0
    plan = curves.Plan(agents=(10**9,), numpy_agents=0, side=32, sides=())
    assert list(curves.measured(plan)) == []
    assert "left out" in capsys.readouterr().out


def test_a_point_that_fails_is_named(load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    curves = load("curves")
    monkeypatch.setattr(curves.sys, "executable", "false")
    with pytest.raises(RuntimeError, match="memfarm, 1 agents in 8 x 8 failed"):
        curves._in_a_process(curves.Point("side", "memfarm", 1, 8), str(tmp_path), 0.01)


def test_arrays_are_really_there(load: Load) -> None:
    found = load("curve_point").arrays(0, 1024, Path(), 0, 0.0)
    assert found["anonymous"] == pytest.approx(8 * 4 * 1024**2, rel=0.05)


def test_numpy_windows_are_the_same_by_slices_and_by_sliding_views(load: Load) -> None:
    steps, foraging, dense = load("steps"), load("foraging"), load("dense")
    windows = []
    for cut in (dense.slices, dense.sliding):
        foragers = foraging.Foragers(40, shape=(16, 20), radius=5, warm_up=3)
        with dense.folder() as folder:
            by_hand = steps.NumPyForagers(foragers, folder, cut)
            windows.append([by_hand.step().clone().numpy() for _ in range(3)])
        foragers.close()
    np.testing.assert_array_equal(*windows)
    assert windows[0][-1][:, 1].any()  # allies


# --- plots


def points() -> list[dict[str, Any]]:
    """A few of each kind, as benchmarks.curves writes them."""
    made: list[dict[str, Any]] = []
    for who in ("memfarm", "numpy"):
        made += [{"curve": "agents", "who": who, "agents": 10**k, "side": 64, "rate": 1e4 * k} for k in (2, 3)]
    for side in (256, 512):
        for crowd in (10, 20):
            held = {"rate": 5e5 + crowd, "anonymous": 1e6, "disk": 2e6}
            made.append({"curve": "side", "who": "memfarm", "agents": crowd, "side": side, **held})
        made.append({"curve": "side", "who": "arrays", "agents": 0, "side": side, "anonymous": 32 * side**2, "disk": 0})
    return made


def test_lines_hold_the_points_of_one_who_and_one_crowd(load: Load) -> None:
    plots = load("plots")
    assert [(line.label, line.points) for line in plots.agents(points())] == [
        ("memfarm", [(100, 2e4), (1000, 3e4)]),
        ("NumPy, sliding views", [(100, 2e4), (1000, 3e4)]),
    ]
    assert [(line.label, line.points) for line in plots.side(points())] == [
        ("memfarm, 20 agents", [(256, 500_020), (512, 500_020)]),
        ("memfarm, 10 agents", [(256, 500_010), (512, 500_010)]),
    ]
    assert [line.points for line in plots.memory(points())] == [
        [(256, 3e6), (512, 3e6)],
        [(256, 32 * 256**2), (512, 32 * 512**2)],
    ]


def test_labels_at_the_same_height_are_moved_apart(load: Load) -> None:
    plots = load("plots")
    figure = plots.drawn(plots.side(points()), "", "side", "steps", "", binary=True)
    low, high = (text.xy[1] for text in figure.axes[0].texts)
    bottom, top = figure.axes[0].get_ylim()
    assert np.log(high / low) >= 0.05 * np.log(top / bottom)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.5, "0.5"), (20, "20"), (2_000, "2k"), (1.5e6, "1.5M"), (10**10, "10G")]
)
def test_a_tick_is_short(load: Load, value: float, text: str) -> None:
    assert load("plots").with_unit(value) == text


def test_three_figures_are_drawn_small_enough_for_a_repository(load: Load, tmp_path: Path) -> None:
    (tmp_path / "curves.json").write_text(json.dumps({"points": points()}))
    load("plots").main(tmp_path / "curves.json", tmp_path / "figures")
    drawn = sorted((tmp_path / "figures").iterdir())
    assert [path.name for path in drawn] == ["agents.png", "memory.png", "side.png"]
    for path in drawn:
        assert path.stat().st_size < 100_000
        assert size_of_png(path) == (1050, 600)


def size_of_png(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])


# --- pytest-benchmark


def test_pytest_benchmark_takes_no_part_in_the_tests(request: pytest.FixtureRequest) -> None:
    assert not request.config.pluginmanager.hasplugin("benchmark")


def test_hot_paths_run_by_the_ids_of_their_rows(tmp_path: Path) -> None:
    pytest.importorskip("pytest_benchmark")
    report = tmp_path / "report.json"
    chosen = "crop_stale and c1 or gather and n1000] or clock and 1024 or step_rules and n1000]"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--config-file=benchmarks/pytest.ini", "benchmarks", "-k", chosen),
            *("--benchmark-max-time=0.01", "--benchmark-min-rounds=1", f"--benchmark-json={report}"),
        ],
        cwd=ROOT,
        env={**os.environ, "MEMFARM_SCRATCH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    names = {found["name"] for found in json.loads(report.read_text())["benchmarks"]}
    assert names == {
        "crop-stale[1024-c1-n10000]",
        "clock[1024]",
        "gather[1024-n1000]",
        "step-rules[1024-n1000]",
    }
