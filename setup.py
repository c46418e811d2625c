from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

# No -march=native: what is installed runs anywhere. No contraction: the kernels equal their NumPy twins bit for bit.
OPTIONS = {"extra_compile_args": ["-O3", "-ffp-contract=off", "-pthread"], "extra_link_args": ["-pthread"]}
OPTIONS["depends"] = sorted(str(header) for header in Path("memfarm").glob("**/*.h"))
setup(ext_modules=[Pybind11Extension("memfarm._kernels", ["memfarm/kernels.cpp"], cxx_std=17, **OPTIONS)])
