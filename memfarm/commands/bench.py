"""`memfarm bench`: the figures, each beside its baseline."""

import subprocess
import sys
from pathlib import Path

import typer

import memfarm
from memfarm.errors import ConfigError


def bench(context: typer.Context) -> None:
    """Measure this machine: runs `python -m benchmarks` of the checkout, with the arguments given."""
    root = checkout(Path(memfarm.__path__[0]))
    raise typer.Exit(
        subprocess.run([sys.executable, "-m", "benchmarks", *context.args], cwd=root, check=False).returncode
    )


def checkout(package: Path) -> Path:
    """The checkout that `package` is imported from. Raises ConfigError where it was installed without one."""
    root = package.resolve().parent
    if not (root / "benchmarks").is_dir() or not (root / "pyproject.toml").is_file():
        raise ConfigError(
            f"the benchmarks are not installed with the package, got memfarm from {package}; "
            "clone the repository and run `make bench` there"
        )
    return root
