"""Steps of a peer's world in turn with steps of ours, and the bytes of what each hands out."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from benchmarks.crop import RADIUS
from benchmarks.peers.packages import OURS, why_missing
from benchmarks.peers.process import WorldProcess
from benchmarks.peers.sizes import Pair, Sizes
from benchmarks.rows import Row
from benchmarks.timing import Times, in_turns


def rows(sizes: Sizes) -> Iterator[Row]:
    """Of each pair: agent-steps/s, and the bytes that an agent is handed a step."""
    for pair in sizes.pairs:
        yield from compared(pair, sizes.seconds, sizes.sample)


def compared(pair: Pair, seconds: float, sample: float) -> Iterator[Row]:
    """The two rows of a pair; without a baseline where its package is missing.

    sample: seconds of consecutive steps before it is the other's turn, so that each has its caches for itself.
    """
    missing = why_missing(pair.package)
    with ExitStack() as both:
        cases = {"ours": both.enter_context(WorldProcess(OURS, pair.ours, pair.agents, pair.side, RADIUS))}
        if missing is None:
            theirs = WorldProcess(pair.package, pair.theirs, pair.agents, pair.side, RADIUS)
            cases["theirs"] = both.enter_context(theirs)
        counts = {name: case.steps_in(sample) for name, case in cases.items()}
        taken = in_turns({name: partial(case.steps, counts[name]) for name, case in cases.items()}, seconds=seconds)
        for case in cases.values():
            case.check_all_there()
        times = {name: Times(taken[name].seconds / counts[name]) for name in cases}
        observed = {name: case.observed / pair.agents for name, case in cases.items()}
    size = f"{pair.side}-n{pair.agents}"
    yield Row(
        id=f"steps-{pair.id}[{size}]",
        what=pair.what,
        unit="agent-steps/s",
        ours=pair.agents / times["ours"].median,
        versus=missing or pair.versus,
        baseline=None if missing else pair.agents / times["theirs"].median,
        ratio=None if missing else times["theirs"].over(times["ours"]),
        faster=True,
        goal=pair.goal,
        spread=times["ours"].spread,
    )
    yield Row(
        id=f"bytes-{pair.id}[{size}]",
        what="handed out a step",
        unit="B/agent",
        ours=observed["ours"],
        versus=missing or "the same",
        baseline=None if missing else observed["theirs"],
        ratio=None if missing else observed["ours"] / observed["theirs"],
    )
