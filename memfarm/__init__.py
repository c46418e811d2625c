"""Reinforcement-learning worlds for thousands of agents, kept in memory-mapped channel grids.

Importing memfarm registers its environments with Gymnasium and PettingZoo::

    import gymnasium, memfarm
    env = gymnasium.make_vec("memfarm/Forage-v0", num_envs=1024, agents_per_world=256, tensor="torch")

What is not here is reached by its module: `memfarm.terrain`, `memfarm.managers`, `memfarm.wrappers`, …
"""

from memfarm.channels import Channel, Decay, Recover, Regrow, Static, register_channel
from memfarm.config import MemmapConfig, ObservationConfig, SimulationConfig
from memfarm.envs.base import GridEnv
from memfarm.envs.doors.registry import register
from memfarm.errors import MemfarmError
from memfarm.grid import ChannelGrid
from memfarm.world import World
from memfarm.wrappers import WindowObservation

__version__ = "0.1.0"

__all__ = [
    "Channel",
    "ChannelGrid",
    "Decay",
    "GridEnv",
    "MemfarmError",
    "MemmapConfig",
    "ObservationConfig",
    "Recover",
    "Regrow",
    "SimulationConfig",
    "Static",
    "WindowObservation",
    "World",
    "register_channel",
]

register()
