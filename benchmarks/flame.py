"""`make flame`: where a Forage step's time goes, by part, down into the kernels, and a flame graph of it.

py-spy samples a process that steps on kernels built like the installed ones, but for debug lines: these name what the
compiler inlined. Shares of samples, not times: a process that is sampled is slower. Needs the right to trace a child.
"""

import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer

import benchmarks.one_thread  # noqa: F401 - the process that this one starts inherits it
from benchmarks import flame_plot, flame_worker, plots, stacks, variants
from benchmarks.curves import FIGURES

VARIANT: Final = "lines"
MOST: Final = 0.25
"""The share that no part but the crop should go beyond."""

_LISTED: Final = 0.02  # what is inside a kernel is listed from this share on


def record(agents: int, side: int, seconds: float, rate: int) -> tuple[str, list[str]]:
    """What the sampled process said, and py-spy's raw stacks. Raises RuntimeError without py-spy, or where it fails."""
    spy = Path(sysconfig.get_path("scripts")) / "py-spy"
    if not spy.exists():
        raise RuntimeError(f"profiles need py-spy, there is no {spy}; install it (pip install 'memfarm[bench]')")
    home = variants.build(VARIANT)
    env = variants.environment(VARIANT, home) | {"PYTHONSAFEPATH": "1"}
    env["PYTHONPATH"] = f"{home}:{variants.ROOT}"
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "stacks"
        command = [str(spy), "record", "--native", "--format", "raw"]
        command += ["--rate", str(rate), "--output", str(written), "--"]
        command += [sys.executable, "-m", flame_worker.__name__, str(agents), str(side), str(seconds)]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"py-spy failed ({done.returncode}): {done.stderr[-3000:]}")
        return _last_line(done.stdout), written.read_text(encoding="utf-8").splitlines()


def _last_line(text: str) -> str:
    """py-spy prints on stdout too."""
    return next(line for line in text.splitlines() if " steps of " in line)


def main(
    agents: Annotated[int, typer.Option(min=1)] = 10_000,
    side: Annotated[int, typer.Option(min=16)] = 1024,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long it is sampled.")] = 20.0,
    rate: Annotated[int, typer.Option(min=1, help="Samples a second.")] = 200,
    png: Annotated[Path, typer.Option(help="Where the flame graph goes.", dir_okay=False)] = FIGURES / "flame.png",
) -> None:
    """Print the parts of a step by their share, then what is inside the kernels, and draw the flame graph."""
    typer.echo("sampling; kernels that are not built yet take a minute or two", err=True)
    said, lines = record(agents, side, seconds, rate)
    found = list(stacks.read(lines, flame_worker.sampled.__name__))
    samples = sum(count for _, count in found)
    print(f"{said}, {samples} samples\n\n| part of a step | share |\n|---|---|")
    shares = stacks.shares(found)
    for part, share in shares.items():
        print(f"| {part} | {share:.1%} |")
    print("\n| kernel / function in it, with what that calls | share |\n|---|---|")
    for name, share in stacks.inside(found).items():
        if share >= _LISTED:
            print(f"| {name} | {share:.1%} |")
    large = [part for part, share in shares.items() if share > MOST and part != stacks.CROP]
    print(f"\nno part but the crop above {MOST:.0%}: {f'no, {large[0]} is' if large else 'yes'}")
    png.parent.mkdir(parents=True, exist_ok=True)
    plots.save(flame_plot.drawn(stacks.tree(found), f"A Forage step, {agents:,} agents in {side:,} x {side:,}"), png)


if __name__ == "__main__":
    typer.run(main)
