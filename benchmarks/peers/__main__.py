"""`python -m benchmarks.peers`: measure beside other packages, print one table."""

import typer

import benchmarks.one_thread  # noqa: F401 - before NumPy, which the next line loads; the processes it starts inherit it
from benchmarks.peers.suite import main

if __name__ == "__main__":
    typer.run(main)
