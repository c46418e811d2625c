"""What `make bench-peers` does where no peer is installed: workers, ratios, the table, and saying what is missing."""

import ast
import importlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
WINDOW = 4 * 11 * 11 * 7

Load = Callable[[str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture
def absent(load: Load) -> Any:
    return load("peers.packages").Package("Nobody's", "no_such_module", ROOT / "no-such-venv/bin/python")


class Idle:
    """Stands in for a process: `steps_in` answers what the test says of the world, nothing is run."""

    counts: dict[str, int]
    held_by: Callable[[int], float]

    def __init__(self, package: Any, world: str, agents: int, side: int, radius: int) -> None:
        self.agents, self.observed, self.world, self.side = agents, 100 * agents, world, side

    @property
    def held(self) -> float:
        return type(self).held_by(self.side)

    def steps(self, count: int) -> None:
        pass

    def steps_in(self, seconds: float) -> int:
        return self.counts[self.world]

    def check_all_there(self) -> None:
        pass

    def __enter__(self) -> "Idle":
        return self

    def __exit__(self, *error: object) -> None:
        pass


@pytest.fixture
def pair(load: Load, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A pair of worlds of which ours takes 10 steps a sample, the other 2, and a sample 1 s."""
    steps, sizes, packages = load("peers.steps"), load("peers.sizes"), load("peers.packages")
    Idle.counts = {"a:Ours": 10, "a:Theirs": 2}
    monkeypatch.setattr(steps, "WorldProcess", Idle)
    monkeypatch.setattr(steps, "in_turns", lambda cases, seconds: {name: steps.Times(np.ones(3)) for name in cases})
    here = packages.Package("Here", "json", Path(sys.executable))
    return sizes.Pair("here", "what", "a:Ours", "versus", here, "a:Theirs", agents=4, side=8)


def test_a_ratio_is_of_single_steps_however_many_a_sample_has(load: Load, pair: Any) -> None:
    speed, size = load("peers.steps").compared(pair, seconds=0.0, sample=0.0)
    assert speed.id == "steps-here[8-n4]"
    assert (speed.ours, speed.baseline, speed.ratio, speed.faster) == (40.0, 8.0, 5.0, True)
    assert size.id == "bytes-here[8-n4]"
    assert (size.ours, size.baseline, size.ratio, size.faster) == (100.0, 100.0, 1.0, False)


def test_a_peer_that_is_missing_is_named_and_ours_is_measured_all_the_same(load: Load, pair: Any, absent: Any) -> None:
    alone = load("peers.sizes").Pair("x", "what", pair.ours, "versus", absent, pair.theirs, pair.agents, pair.side)
    rows = list(load("peers.steps").compared(alone, seconds=0.0, sample=0.0))
    assert [row.ours for row in rows] == [40.0, 100.0]
    for row in rows:
        assert (row.baseline, row.ratio) == (None, None)
        assert row.versus == "Nobody's is not installed; make bench-peers installs it"
    console = Console(width=200, record=True, file=SimpleNamespace(write=len, flush=lambda: None))  # type: ignore[arg-type]
    console.print(load("peers.suite").table(rows))
    assert console.export_text().count("Nobody's is not installed; make bench-peers installs it") == 2


def test_a_peer_that_does_not_import_says_why(load: Load) -> None:
    packages = load("peers.packages")
    broken = packages.Package("Broken", "no_such_module", Path(sys.executable))
    assert packages.why_missing(broken) == (
        "Broken does not import: ModuleNotFoundError: No module named 'no_such_module'"
    )
    assert packages.why_missing(packages.Package("There", "json", Path(sys.executable))) is None


def test_a_cell_takes_what_the_larger_world_holds_more(
    load: Load, monkeypatch: pytest.MonkeyPatch, absent: Any
) -> None:
    cells, sizes, packages = load("peers.cells"), load("peers.sizes"), load("peers.packages")
    monkeypatch.setattr(cells, "WorldProcess", Idle)
    monkeypatch.setattr(Idle, "held_by", lambda side: 5e6 + 24 * side**2, raising=False)
    here = packages.Package("Here", "json", Path(sys.executable))
    row = cells.compared(sizes.Growth("here", here, "a:Theirs", (16, 64)))
    assert (row.id, row.ours, row.baseline, row.ratio) == ("cells-here[16-64]", 24.0, 24.0, 1.0)
    row = cells.compared(sizes.Growth("x", absent, "a:Theirs", (16, 64)))
    assert (row.ours, row.baseline, row.ratio) == (24.0, None, None)
    assert "not installed" in row.versus


def test_imports_take_turns_and_leave_out_who_is_missing(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    imports, packages, sizes = load("peers.imports"), load("peers.packages"), load("peers.sizes")
    turns: list[str] = []

    def seconds_of(package: Any) -> float:
        turns.append(package.title)
        return 0.3 if package is packages.OURS else 0.1

    monkeypatch.setattr(imports, "seconds_of", seconds_of)
    monkeypatch.setattr(imports, "why_missing", lambda package: None if package is packages.ZARR else "gone")
    rows = {row.id: row for row in imports.rows(sizes.Sizes((), (), seconds=0.0, sample=0.0, starts=2))}
    assert turns == ["memfarm", "zarr"] * 2
    assert rows["import[zarr]"].ratio == pytest.approx(3.0)
    assert rows["import[zarr]"].ours == pytest.approx(300.0)
    assert {row.versus for row in rows.values() if row.baseline is None} == {"gone"}
    assert len(rows) == len(imports.PEERS)


def test_an_import_is_timed_in_a_new_process_and_fails_aloud(load: Load) -> None:
    imports, packages = load("peers.imports"), load("peers.packages")
    assert imports.seconds_of(packages.Package("There", "this", Path(sys.executable))) > 0  # it prints a poem
    with pytest.raises(RuntimeError, match=r"(?s)Broken does not import: .*ModuleNotFoundError"):
        imports.seconds_of(packages.Package("Broken", "no_such_module", Path(sys.executable)))


@pytest.fixture
def forage(load: Load) -> Iterator[Any]:
    packages = load("peers.packages")
    with load("peers.process").WorldProcess(packages.OURS, "forage:Written", 6, 32, 5) as process:
        yield process


def test_a_worker_steps_when_asked_and_tells_what_it_handed_out_and_holds(forage: Any) -> None:
    assert (forage.agents, forage.observed) == (6, 6 * WINDOW)
    forage.steps(3)
    assert (forage.agents, forage.observed) == (6, 6 * WINDOW)
    forage.check_all_there()
    assert forage.steps_in(1e-4) >= 1
    assert forage.held > 20 * 32**2
    forage.agents = 5
    with pytest.raises(RuntimeError, match="must keep all its agents, 5 are left"):
        forage.check_all_there()


def test_a_worker_that_ends_is_said(load: Load, capfd: pytest.CaptureFixture[str]) -> None:
    packages, process = load("peers.packages"), load("peers.process")
    with pytest.raises(RuntimeError, match=r"memfarm's process \(nowhere:Nothing, 6 agents\) ended"):
        process.WorldProcess(packages.OURS, "nowhere:Nothing", 6, 32, 5)
    assert "No module named 'benchmarks.peers.nowhere'" in capfd.readouterr().err


def test_what_is_handed_out_is_summed_through_lists_tuples_and_dicts(load: Load) -> None:
    eight = np.zeros(2, np.float32)
    assert load("peers.worker").handed_out({"a": eight, "b": [eight, (eight,)]}) == 24


def test_actions_are_the_same_whatever_form_they_take(load: Load) -> None:
    drawn = load("peers.drawn")
    batches, lists, dicts = drawn.batches(3, 5), drawn.lists(3, 5), drawn.dicts("abc", 5)
    for _ in range(100):
        batch = next(batches)
        assert batch.shape == (3,)
        assert batch.dtype == np.int32
        assert next(lists) == batch.tolist()
        assert next(dicts) == dict(zip("abc", batch.tolist(), strict=True))


def test_every_world_that_is_compared_is_there(load: Load) -> None:
    sizes = load("peers.sizes")
    named = {"forage:Written"}
    for size in (sizes.FULL, sizes.QUICK):
        named |= {world for pair in size.pairs for world in (pair.ours, pair.theirs)}
        named |= {growth.theirs for growth in size.growths}
    for world in named:
        module, _, name = world.partition(":")
        tree = ast.parse((ROOT / f"benchmarks/peers/{module}.py").read_text())
        (made,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
        defined = {node.name for node in made.body if isinstance(node, ast.FunctionDef)}
        assert made.bases or {"__init__", "agents", "step"} <= defined, world


def test_quick_and_full_runs_compare_the_same(load: Load) -> None:
    sizes = load("peers.sizes")
    kinds = [{(pair.id, pair.ours, pair.theirs) for pair in size.pairs} for size in (sizes.FULL, sizes.QUICK)]
    assert kinds[0] == kinds[1]
    growths = [[(growth.id, growth.theirs) for growth in size.growths] for size in (sizes.FULL, sizes.QUICK)]
    assert growths[0] == growths[1]


@pytest.mark.parametrize(
    ("name", "packages"),
    [("peers", {"magent2", "zarr", "tensorstore", "h5py"}), ("pogema", {"pogema", "numpy", "pydantic"})],
)
def test_what_is_installed_is_pinned(name: str, packages: set[str]) -> None:
    lines = (ROOT / f"requirements/{name}.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins), pins
    assert packages <= {pin.partition("==")[0] for pin in pins}


def test_the_command_prints_the_table_and_writes_the_rows(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    suite, rows = load("peers.suite"), load("rows")
    goal = rows.Goal("ratio", least=2.0)
    row = rows.Row("steps-x[1]", "what", "steps/s", ours=3.0, versus="x", baseline=1.0, ratio=3.0, goal=goal)
    monkeypatch.setattr(suite, "PARTS", {"steps": lambda sizes: iter([row])})
    app = typer.Typer()
    app.command()(suite.main)
    full = CliRunner().invoke(app, ["--json", str(tmp_path / "rows.json")])
    assert full.exit_code == 0, full.output
    assert "steps-x[1]" in full.output
    assert "1 of 1 figures reached" in full.output
    report = json.loads((tmp_path / "rows.json").read_text())
    assert [(each["id"], each["ratio"], each["reached"]) for each in report["rows"]] == [("steps-x[1]", 3.0, True)]
    quick = CliRunner().invoke(app, ["--quick"])
    assert "these figures say nothing" in quick.output
    assert "figures reached" not in quick.output
