"""`python -m benchmarks.out_of_core`: a 64 GB world stepped by a process limited to 1 GB, and by one without a limit.

The limit is a control group's: `memory.max` (version 2) where that can be written, else `memory.limit_in_bytes`
(version 1), which also counts the pages of files that the process brought in. Where neither can be had, it says so and
measures nothing. The world is sparse, an open plain on which every agent stands in tiles of its own: what they touch is
several times the limit, what was never touched takes nothing. Takes minutes, 3 GiB of memory and 6 GiB of disk, which
must not be a tmpfs.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from benchmarks import dense
from benchmarks.foraging import plain_map
from benchmarks.rows import figure

_ROOT: Final = Path(__file__).parents[1]
_GROUPS: Final = (
    (Path("/sys/fs/cgroup"), "memory.max", "cgroup v2, memory.max"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "cgroup v1, memory.limit_in_bytes"),
)
_MB: Final = 1e6


@contextmanager
def limited(limit: int) -> Iterator[tuple[Path, str]]:
    """A control group that may use `limit` bytes of memory, and what kind it is; removed at the end.

    Raises OSError where no group can be made here.
    """
    tried = []
    for parent, file, kind in _GROUPS:
        group = parent / f"memfarm-bench-{os.getpid()}"
        try:
            group.mkdir()
        except OSError as error:
            tried.append(f"{kind}: {error.strerror}")
            continue
        try:
            if (group / file).exists():
                (group / file).write_text(str(limit), encoding="ascii")
                yield group, kind
                return
            tried.append(f"{kind}: no such controller")
        finally:
            group.rmdir()
    raise OSError(f"no control group can limit memory here ({'; '.join(tried)}); run it as root, or in one of your own")


def stepped(plain: Path, agents: int, steps: int, group: Path | None) -> dict[str, Any]:
    """What `agents` on the map `plain` took over `steps` steps, in a process of `group`."""
    command = [sys.executable, "-m", "benchmarks.out_of_core_worker", str(plain), str(agents), str(steps)]
    command += [] if group is None else [str(group / "cgroup.procs")]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the stepping process failed ({done.returncode}): {done.stderr[-2000:]}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def main(
    side: Annotated[int, typer.Option(min=16, help="Of the world, in cells.")] = 57_344,
    agents: Annotated[int, typer.Option(min=1)] = 200_000,
    steps: Annotated[int, typer.Option(min=1)] = 10,
    limit: Annotated[float, typer.Option(help="Of memory, in MB.")] = 1_000.0,
) -> None:
    """Print agent-steps/s, major faults and bytes read a step with the limit and without."""
    with dense.folder() as folder:
        plain = Path(plain_map(folder / "map", side))
        free = stepped(plain, agents, steps, None)
        try:
            with limited(int(limit * _MB)) as (group, kind):
                bound = stepped(plain, agents, steps, group)
        except OSError as error:
            print(f"not run with a limit: {error}")
            bound, kind = None, ""
    print(
        f"world {side} x {side}: {free['logical'] / 1e9:.1f} GB if every cell were written; {agents} agents, radius 2"
    )
    _tell("without a limit", free, agents)
    if bound is not None:
        _tell(f"with {limit:.0f} MB ({kind})", bound, agents)
        print(f"ratio: {free['seconds'] / bound['seconds']:.3f} of the unlimited agent-steps/s")
        print(f"same agents at the end: {'yes' if free['digest'] == bound['digest'] else 'NO'}")


def _tell(title: str, found: dict[str, Any], agents: int) -> None:
    print(
        f"{title}: {figure(agents / found['seconds'])} agent-steps/s (median step {figure(found['seconds'])} s); "
        "a step: "
        f"{figure(found['major_faults'])} major faults, {figure(found['read'] / _MB)} MB read, "
        f"{figure(found['written'] / _MB)} MB written; RssAnon {figure(found['anonymous'] / _MB)} MB, "
        f"RssFile {figure(found['mapped'] / _MB)} MB, scratch on the disk {figure(found['disk'] / _MB)} MB"
    )


if __name__ == "__main__":
    typer.run(main)
