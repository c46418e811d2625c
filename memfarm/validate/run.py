"""A whole validation: every criterion, one after the other, on one core, in a folder that is removed again."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from memfarm.errors import StorageError
from memfarm.validate import behaviour, latency, memory_use, tensors
from memfarm.validate.criteria import Criterion
from memfarm.validate.pairs import one_core
from memfarm.validate.scale import FULL, Scale


def run(directory: Path | None = None, scale: Scale = FULL) -> Iterator[Criterion]:
    """Every criterion as it is found, cleaning up last.

    directory: where the files lie, so that its disk is what is validated; None: `MEMFARM_SCRATCH`, else the system's
    temp folder. Raises StorageError where no folder can be made there.
    """
    where = directory or os.environ.get("MEMFARM_SCRATCH") or None
    try:
        temporary = tempfile.TemporaryDirectory(prefix="memfarm-validate-", dir=where)
    except OSError as error:
        raise StorageError(f"the files need a folder that can be written, got {str(where)!r}: {error}") from error
    with temporary as name, one_core():
        folder = Path(name)
        for part in (memory_use, latency, tensors, behaviour):
            yield from part.criteria(folder, scale)
