"""`python -m benchmarks`: measure, print one table."""

import typer

import benchmarks.one_thread  # noqa: F401 - before NumPy and torch, which the next line loads
from benchmarks.suite import main

if __name__ == "__main__":
    typer.run(main)
