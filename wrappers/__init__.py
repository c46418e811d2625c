"""Wrappers for anything with a world and agents; importing them never loads torch."""

from memfarm.wrappers.buffers import BufferPool
from memfarm.wrappers.memory_observation import MemoryObservation
from memfarm.wrappers.window_observation import DEFAULT_CHANNELS, WindowObservation

__all__ = ["DEFAULT_CHANNELS", "BufferPool", "MemoryObservation", "WindowObservation"]
