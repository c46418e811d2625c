"""`python -m benchmarks`: measure, print one table."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # here, before the imports: the libraries read them once, when they are loaded

import typer  # noqa: E402

from benchmarks.suite import main  # noqa: E402

if __name__ == "__main__":
    typer.run(main)
