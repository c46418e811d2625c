"""Snapshots of environments, for whoever puts one together from parts: `publish` a folder, fill it, `write_index`."""

from memfarm.publishing import publish
from memfarm.stateful import write_index

__all__ = ["publish", "write_index"]
