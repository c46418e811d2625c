import functools
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import memfarm.validate.run
from memfarm import cli
from memfarm.errors import StorageError
from memfarm.grid import ChannelGrid
from memfarm.memory import AgentMemory
from memfarm.validate import behaviour, latency, memory_use, tensors
from memfarm.validate.criteria import EXIT, Criterion, verdict
from memfarm.validate.pairs import LIMIT, QUIET, Comparison, compare, median_interval, one_core
from memfarm.validate.resident import Resident
from memfarm.validate.scale import QUICK, Scale
from memfarm.validate.structures import STRUCTURES, Temporal
from memfarm.world import World

Run = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def validate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`memfarm validate` on tiny worlds; its exit status and stdout."""
    monkeypatch.setattr(memfarm.validate.run, "run", functools.partial(memfarm.validate.run.run, scale=QUICK))

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["memfarm", "validate", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), capsys.readouterr().out

    return run


def noisy(ratio: float, noise: float, seed: int, rounds: int = 60, control: float = 1.0) -> Comparison:
    """Times of rounds in which a neighbour takes the core for one sample in ten, for up to twenty times as long."""
    rng = np.random.default_rng(seed)
    spikes = np.where(rng.random((3, rounds)) < 0.1, rng.uniform(2, 20, (3, rounds)), 1.0)
    times = 1e-3 * np.exp(noise * rng.standard_normal((3, rounds))) * spikes
    return Comparison(files=times[0] * ratio, ram=times[1], control=times[2] * control)


# --- the rule


@settings(max_examples=200)
@given(st.floats(0.8, 1.1), st.floats(0.0, 0.05), st.integers(0, 2**32))
def test_a_quiet_machine_passes(ratio: float, noise: float, seed: int) -> None:
    assert noisy(ratio, noise, seed).outcome == "PASS"


@settings(max_examples=300)
@given(st.floats(0.5, 1.1), st.floats(0.0, 2.0), st.integers(0, 2**32), st.integers(30, 300))
def test_noise_alone_never_fails(ratio: float, noise: float, seed: int, rounds: int) -> None:
    assert noisy(ratio, noise, seed, rounds).outcome != "FAIL"


@settings(max_examples=200)
@given(st.floats(2.0, 10.0), st.floats(0.0, 0.1), st.integers(0, 2**32))
def test_a_slowdown_of_two_fails(ratio: float, noise: float, seed: int) -> None:
    assert noisy(ratio, noise, seed).outcome == "FAIL"


@pytest.mark.parametrize("control", [1.0 + 1.2 * QUIET, 1.0 - 1.2 * QUIET])
def test_where_two_of_a_kind_differ_nothing_can_be_told(control: float) -> None:
    told = noisy(1.0, 0.01, 0, control=control)
    assert told.outcome == "NOISY"
    line = latency.time_criterion("grid", told)
    assert (line.status, line.noisy) == ("WARN", True)
    assert verdict([line]) == "INCONCLUSIVE"


def test_what_two_of_a_kind_differ_by_is_no_slowdown() -> None:
    assert noisy(1.5, 0.01, 0, control=1.5).outcome == "NOISY"
    assert noisy(2.0, 0.01, 0, control=1.5).outcome == "FAIL"


@settings(max_examples=30)
@given(st.integers(11, 200), st.integers(0, 2**32))
def test_the_median_lies_in_its_interval(rounds: int, seed: int) -> None:
    ratios = np.random.default_rng(seed).lognormal(size=rounds)
    low, high = median_interval(ratios)
    assert ratios.min() <= low <= np.median(ratios) <= high <= ratios.max()


def test_the_interval_holds_the_true_median_nearly_always() -> None:
    rng = np.random.default_rng(0)
    missed = sum(not low <= 1.0 <= high for low, high in (median_interval(rng.lognormal(size=40)) for _ in range(2000)))
    assert missed <= 10  # one in a thousand is 2, or 3 with the rounding of ranks


def test_all_three_are_called_equally_often_in_every_order() -> None:
    calls: list[int] = []

    def work(case: int) -> None:
        calls.append(case)
        time.sleep(0.002)

    compare(*(functools.partial(work, case) for case in range(3)), seconds=0.05)
    assert {calls.count(case) for case in range(3)} == {len(calls) // 3}
    rounds = [tuple(calls[at : at + 3]) for at in range(len(calls) - 18, len(calls), 3)]
    assert set(rounds) == set(itertools.permutations(range(3)))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process")
def test_one_core_is_kept_and_given_back() -> None:
    before = os.sched_getaffinity(0)
    with one_core():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_a_verdict_is_its_worst_line() -> None:
    good, warned = Criterion.of("a", True, "", ""), Criterion("b", "WARN", "", "")
    loud, bad = Criterion("c", "WARN", "", "", noisy=True), Criterion.of("d", False, "", "")
    assert verdict([good, warned]) == "PASS"
    assert verdict([good, loud]) == "INCONCLUSIVE"
    assert verdict([loud, bad]) == "FAIL"
    assert len({*EXIT.values(), 2}) == 4  # 2 is an error's


# --- the whole


def test_validate_reports_every_structure_and_fails_nowhere(validate: Run, tmp_path: Path) -> None:
    status, out = validate("--json", "--directory", tmp_path)
    report = json.loads(out)
    lines = {line["name"]: line for line in report["criteria"]}
    assert [name for name, line in lines.items() if line["status"] == "FAIL"] == []
    assert status == EXIT[report["verdict"]]
    for structure in ("resources", "environmental", "temporal", "memory", "observe()"):
        assert f"time: {structure}" in lines
        assert lines[f"same bytes: {structure}"]["status"] == "PASS"
        assert lines[f"tensors: {structure}"]["status"] == "PASS"
    for name in ("memory: filled worlds", "decay: once a step", "files: each group on its own", "cleaning up"):
        assert lines[name]["status"] == "PASS"
    assert list(tmp_path.iterdir()) == []


def twice_as_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every call into grids that lie in files take twice its time."""

    def slowed(work: Callable[..., Any], in_files: Callable[[Any], bool]) -> Callable[..., Any]:
        @functools.wraps(work)
        def slow(self: Any, *arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            result = work(self, *arguments, **named)
            end = 2 * time.perf_counter() - start
            while in_files(self) and time.perf_counter() < end:
                pass
            return result

        return slow

    for name in ("observe", "window", "gather", "scatter", "take", "stamp_windows"):
        slow = slowed(getattr(ChannelGrid, name), lambda grid: grid.backend == "memmap")
        monkeypatch.setattr(ChannelGrid, name, slow)
    cut = World.windows

    def windows(self: World, *arguments: Any, **named: Any) -> Any:
        cutter = cut(self, *arguments, **named)
        if any(grid.backend == "memmap" for grid in self.grids.values()):
            cutter.__class__ = type(
                "Slow", (type(cutter),), {"__call__": slowed(type(cutter).__call__, lambda _: True)}
            )
        return cutter

    monkeypatch.setattr(World, "windows", windows)


@pytest.mark.timeout(900)  # a busy machine takes all three turns, each of them slowly
def test_a_planted_slowdown_of_two_fails_every_structure(validate: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    twice_as_slow(monkeypatch)
    missing = {f"time: {structure.name}" for structure in STRUCTURES}
    for _ in range(3):  # a machine that is busy with other things may leave a line undecided, but never let it pass
        status, out = validate("--json")
        report = json.loads(out)
        by_status = {line["name"]: line["status"] for line in report["criteria"]}
        assert [name for name, said in by_status.items() if name.startswith("time:") and said == "PASS"] == []
        failed = {name for name, said in by_status.items() if said == "FAIL"}
        assert (report["verdict"], status) == (("FAIL", 1) if failed else ("INCONCLUSIVE", 3))
        missing -= failed
        if not missing:
            return
    pytest.skip(f"the machine is too busy to measure {', '.join(sorted(missing))}; none of them passed")


def test_the_table_says_the_verdict(validate: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [Criterion.of("a", True, "1 [of] 1", "1"), Criterion("b", "WARN", "too noisy", "quiet", noisy=True)]
    monkeypatch.setattr(memfarm.validate.run, "run", lambda directory: iter(lines))
    status, out = validate()
    assert status == 3
    assert "INCONCLUSIVE · 2 criteria" in out
    assert "1 [of] 1" in out


def test_a_folder_that_cannot_be_used_is_an_error(validate: Run, tmp_path: Path) -> None:
    assert validate("--directory", tmp_path / "missing")[0] == 2


# --- that each criterion can fail


def failing(lines: Iterator[Criterion]) -> list[str]:
    return [line.name for line in lines if line.status == "FAIL"]


def test_decay_twice_a_step_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    advance = World.advance
    monkeypatch.setattr(World, "advance", lambda self, ticks=1: advance(self, 2 * ticks))
    assert behaviour.decay_in_step(tmp_path).status == "FAIL"


def test_files_that_stay_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("memfarm.files.remove", lambda paths: None)
    monkeypatch.setattr("memfarm.files.remove_folder", lambda folder: None)
    assert behaviour.cleaned_up(tmp_path).status == "FAIL"


def test_a_group_that_is_not_where_it_should_be_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("memfarm.managers.GroupManager.has_memmap", True)
    assert behaviour.groups_apart(tmp_path).status == "FAIL"


def test_writes_that_are_not_kept_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened = World.open
    monkeypatch.setattr(World, "open", lambda path, mode="r": opened(path, "c"))
    assert behaviour.reopened(tmp_path).status == "FAIL"


def test_layers_in_memory_fail_where_files_were_promised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    in_memory = memory_use.stored(None)
    monkeypatch.setattr(memory_use, "stored", lambda folder: in_memory)
    assert "memory: filled worlds" in failing(memory_use.criteria(tmp_path, QUICK))


def test_pages_that_the_system_took_back_are_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Resident, "since", lambda self, before: Resident(0, 0))
    assert memory_use.filled_worlds(tmp_path, QUICK).status == "WARN"
    assert memory_use.large_windows(tmp_path, QUICK).status == "WARN"


def test_empty_windows_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nothing(self: AgentMemory, *arguments: Any, out: NDArray[np.float32], **named: Any) -> NDArray[np.float32]:
        out[:] = 0
        return out

    monkeypatch.setattr(AgentMemory, "observe", nothing)
    assert failing(tensors.criteria(tmp_path, QUICK)) == ["tensors: memory"]


def test_backends_that_differ_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Forgetful(Temporal):
        def _change(self, y: Any, x: Any) -> None:
            if self._world.temporal.has_memmap:
                super()._change(y, x)

    monkeypatch.setattr(latency, "STRUCTURES", (Forgetful,))
    quick = Scale(side=64, agents=20, seconds=0.01)
    assert "same bytes: temporal" in failing(latency.criteria(tmp_path, quick))


# --- memory on every system


@pytest.mark.parametrize("system", ["Linux", "macOS", "Windows"])
def test_memory_is_told_apart_on_every_system(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    basic = SimpleNamespace(rss=100, shared=30) if system == "Linux" else SimpleNamespace(rss=100)
    process = SimpleNamespace(memory_info=lambda: basic, memory_full_info=lambda: SimpleNamespace(uss=70))
    monkeypatch.setattr(psutil, "Process", lambda: process)
    assert Resident.now() == Resident(anonymous=70, mapped=30)


def test_a_system_that_does_not_tell_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse() -> None:
        raise psutil.AccessDenied(1)

    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=1), memory_full_info=refuse)
    monkeypatch.setattr(psutil, "Process", lambda: process)
    with pytest.raises(StorageError, match="own memory"):
        Resident.now()
    lines = list(memory_use.criteria(tmp_path, QUICK))
    assert {line.status for line in lines} == {"WARN"}
    assert verdict(lines) == "PASS"


def test_anonymous_and_mapped_memory_are_what_was_written(tmp_path: Path) -> None:
    size = 64 << 20  # above what malloc takes from memory that was freed before
    before = Resident.now()
    memory = np.ones(size, np.uint8)
    in_memory = Resident.now().since(before)
    file = np.memmap(tmp_path / "file", np.uint8, "w+", shape=(size,))
    file[:] = 1
    in_both = Resident.now().since(before)
    del memory, file
    assert in_memory.anonymous == pytest.approx(size, rel=0.1)
    assert in_both.mapped - in_memory.mapped == pytest.approx(size, rel=0.1)
    assert in_both.anonymous == pytest.approx(size, rel=0.1)


def test_the_limits_are_those_of_the_seeds() -> None:
    assert LIMIT == 1.25
