"""The machine that figures are from, in a few words each."""

import os
import platform
from pathlib import Path

import numpy as np
import torch

from memfarm.kernels import CHOICE


def described(core: int | None) -> dict[str, str]:
    """Processor, core (of `one_core`), load, and the versions that matter."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return {
        "processor": _processor(),
        "core": "not pinned" if core is None else f"{core} of {os.cpu_count()}",
        "load": f"{load:.1f} before",
        "kernels": CHOICE,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
