"""The registry: every environment by its id, and how Gymnasium and PettingZoo learn of it."""

from typing import Final

import gymnasium
import pettingzoo

ENVIRONMENTS: Final = {"memfarm/Forage-v0": "memfarm.envs.forage_v0"}
"""Ids, and the modules that hold an environment's doors: `Single`, `batched`, `parallel_env`, `env`, `raw_env`.

The tests of `tests/test_env_contract.py` run over it: a new environment is tested by adding its line.
"""


def register() -> None:
    """Make the ids known to `gymnasium.make`, `gymnasium.make_vec` and `pettingzoo.make`; twice is fine."""
    for name, module in ENVIRONMENTS.items():
        if name not in gymnasium.registry:
            gymnasium.register(name, entry_point=f"{module}:Single", vector_entry_point=f"{module}:batched")
        if not hasattr(pettingzoo, "register"):  # before 1.27
            continue
        if name not in pettingzoo.parallel_registry:
            pettingzoo.register("parallel", name, entry_point=f"{module}:parallel_env")
        if name not in pettingzoo.aec_registry:
            pettingzoo.register("aec", name, entry_point=f"{module}:env")
