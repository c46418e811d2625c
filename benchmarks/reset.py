"""Beginning anew in a large world that was lived in, against zeroing one of its layers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks import dense
from benchmarks.foraging import Foragers, plain_map
from benchmarks.rows import Goal, Row
from benchmarks.sizes import Sizes
from benchmarks.timing import Times, once

ROUNDS: Final = 5


def rows(sizes: Sizes) -> Iterator[Row]:
    """`World.reset()` and the environment's `reset()`, each after so many steps of Forage; the median of 5."""
    side, agents, steps = sizes.clock_side, sizes.reset_agents, sizes.reset_steps
    with dense.folder() as folder:
        foragers = foragers_on_a_plain(side, agents, folder)
        times = _measure(foragers, steps, dense.whole_layer(folder, side))
        foragers.close()
    zeroing = times.get("zeroing")
    texts = {
        "world": (f"reset[{side}]", f"World.reset() after {steps} steps of {agents} agents"),
        "env": (f"reset-env[{side}-n{agents}]", "the environment's reset(): agents placed, windows cut"),
    }
    for case, (name, what) in texts.items():
        yield Row(
            id=name,
            what=what,
            unit="ms",
            ours=times[case].median * 1e3,
            versus="zeroing 1 float32 layer, np.memmap" if zeroing else "not run: the disk is too full",
            baseline=zeroing.median * 1e3 if zeroing else None,
            ratio=zeroing.over(times[case]) if zeroing else None,
            faster=True,
            goal=Goal("ours", most=5.0) if case == "world" else None,
            spread=times[case].spread,
        )


def foragers_on_a_plain(side: int, agents: int, folder: Path) -> Foragers:
    """Agents in a world whose ground, a map in `folder`, is one open plain."""
    return Foragers(agents, map=plain_map(folder / "map", side))


def _measure(foragers: Foragers, steps: int, layer: dense.Layer | None) -> dict[str, Times]:
    """Single calls, each of a world that was lived in since the last."""
    samples: dict[str, list[float]] = {"world": [], "env": []}
    if layer is not None:
        samples["zeroing"] = []
    for _ in range(ROUNDS):
        foragers.walk(steps)
        samples["world"].append(once(foragers.world.reset))
        foragers.walk(steps)
        samples["env"].append(once(foragers.env.reset))
        if layer is not None:
            samples["zeroing"].append(once(lambda: layer.fill(0.0)))
    return {case: Times(np.array(values)) for case, values in samples.items()}
