"""A GIF of a population, where most of it is."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from memfarm.demo.policies import Chooser
from memfarm.render import Viewport, render_rgb

_COLOURS: Final = 192


def film(env: Any, choose: Chooser, path: Path, *, seed: int, start: int, ticks: int, side: int) -> None:
    """Film world 0 of `env` for `ticks` from tick `start` on, in the square of `side` cells with most agents then."""
    core = env.unwrapped
    windows, infos = env.reset(seed=seed)
    frames: list[NDArray[np.uint8]] = []
    viewport: Viewport = (0, 1, 0, 1)
    for tick in range(start + ticks):
        if tick == start:
            viewport = crowded(core.agents, core.world.shape, side)
        if tick >= start:
            frames.append(render_rgb(core.world, core.agents, 0, viewport, max_side=448))
        windows, _, _, _, infos = env.step(choose(windows, infos["action_mask"] > 0))
    write_gif(frames, path)


def crowded(agents: Any, shape: tuple[int, int], side: int) -> Viewport:
    """The square of `side` cells (or the world, where that is smaller) with most of world 0's agents."""
    height, width = min(side, shape[0]), min(side, shape[1])
    here = agents.alive & (agents.copy == 0)
    counts = np.zeros((shape[0] + 1, shape[1] + 1), np.int64)
    np.add.at(counts, (agents.y[here] + 1, agents.x[here] + 1), 1)
    sums = counts.cumsum(axis=0).cumsum(axis=1)
    inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    y0, x0 = (int(at) for at in np.unravel_index(inside.argmax(), inside.shape))
    return y0, y0 + height, x0, x0 + width


def write_gif(frames: list[NDArray[np.uint8]], path: Path, milliseconds: int = 80) -> None:
    """Write frames uint8 `(h, w, 3)` as a looping GIF with one palette, without dithering: small, and still."""
    sample = Image.fromarray(np.concatenate(frames[:: max(1, len(frames) // 4)]))
    palette = sample.quantize(_COLOURS, method=Image.Quantize.MAXCOVERAGE)
    first, *rest = (Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    first.save(path, save_all=True, append_images=rest, duration=milliseconds, loop=0, optimize=False)
