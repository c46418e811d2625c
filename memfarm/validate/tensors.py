"""Whether windows of what lies in files are tensors like any other."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import torch

from memfarm.validate.criteria import Criterion
from memfarm.validate.scale import Scale
from memfarm.validate.structures import CROWDS, STRUCTURES, Observe, Structure


def criteria(folder: Path, scale: Scale) -> Iterator[Criterion]:
    """A line a structure, on windows in which every structure has something to show."""
    for structure in STRUCTURES:
        with closing(structure(folder, scale)) as made:
            for _ in range(CROWDS):
                made()
            yield _tensor(made)


def _tensor(structure: Structure) -> Criterion:
    windows = structure.windows()
    count, side, _, depth = windows.shape
    shown = int((windows != 0).sum())
    if isinstance(structure, Observe):
        tensor = structure.tensor()
    else:
        tensor = torch.from_numpy(windows).permute(0, 3, 1, 2)
    kernel = torch.ones(1, depth, side, side)
    convolved = torch.nn.functional.conv2d(tensor, kernel).flatten().double().numpy()
    sums = windows.astype(np.float64).sum(axis=(1, 2, 3))
    error = float(np.abs(convolved - sums).max())
    same = tensor.dtype == torch.float32 and tensor.shape == (count, depth, side, side)
    shared = tensor.data_ptr() == windows.ctypes.data
    figure = (
        f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}, {shown / windows.size:.0%} not 0, "
        f"{'no' if shared else 'a'} copy, conv2d off by {error:.1g}"
    )
    holds = same and shared and shown > 0 and error <= 1e-4 * max(1.0, float(sums.max()))
    return Criterion.of(f"tensors: {structure.name}", holds, figure, "not empty, no copy, conv2d equal to NumPy's sums")
