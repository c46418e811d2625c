"""Import it before NumPy and torch: their libraries get one thread each, which they read once, when they are loaded."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
