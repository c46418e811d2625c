"""The packages that memfarm is measured beside, and the Python that has each."""

import functools
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

_PEERS: Final = ROOT / ".venv-adapters/peers/bin/python"
_POGEMA: Final = ROOT / ".venv-adapters/pogema/bin/python"


@dataclass(frozen=True, slots=True)
class Package:
    """A package by the name that the table gives it, the module that its users import, and a Python that has it."""

    title: str
    module: str
    python: Path


OURS: Final = Package("memfarm", "memfarm.envs.forage_v0", Path(sys.executable))
MAGENT2: Final = Package("MAgent2", "magent2.environments.battle_v4", _PEERS)
POGEMA: Final = Package("POGEMA", "pogema", _POGEMA)
PURSUIT: Final = Package("PettingZoo's pursuit", "pettingzoo.sisl.pursuit_v5", _PEERS)
ZARR: Final = Package("zarr", "zarr", _PEERS)
TENSORSTORE: Final = Package("tensorstore", "tensorstore", _PEERS)
H5PY: Final = Package("h5py", "h5py", _PEERS)


@functools.cache
def why_missing(package: Package) -> str | None:
    """Why `package` cannot be measured here, for people to read; None where it can."""
    if not package.python.is_file():
        return f"{package.title} is not installed; make bench-peers installs it"
    tried = subprocess.run(
        [package.python, "-c", f"import {package.module}"], capture_output=True, text=True, check=False
    )
    if tried.returncode == 0:
        return None
    reason = (tried.stderr.strip().splitlines() or [f"status {tried.returncode}"])[-1]
    return f"{package.title} does not import: {reason}"
