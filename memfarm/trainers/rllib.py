"""Ray RLlib (new API stack): a native MultiAgentEnv over the PettingZoo door.

    from ray.rllib.algorithms.ppo import PPOConfig
    from memfarm.trainers.rllib import homogeneous, restored

    config = homogeneous(PPOConfig(), environment="memfarm/Forage-v0", agents=16, radius=3)
    algo = config.env_runners(num_env_runners=2).build_algo()
    algo.train()
    algo = restored(algo.save_to_path("/data/checkpoint"))

Runners are Ray's processes: each makes its own world. A map's ground is shared by all runners of a node, and scratch
lies on the node's own disk: `MEMFARM_CACHE` and `MEMFARM_SCRATCH` in a node's environment say where.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from memfarm.envs.doors.perception import Observation
from memfarm.trainers.doors import parallel_door

POLICY: Final = "shared"
"""The one module that all agents of `homogeneous` act by."""

ByName = dict[str, Any]


class GridMultiAgentEnv(MultiAgentEnv):  # type: ignore[misc]  # Ray is not there when memfarm is checked
    """Many agents in one world, as RLlib's new API stack wants them.

    config: `environment`, an id, and the arguments of its PettingZoo door (`agents=16`, `shape`, `map`, `radius`, …).

    Observations are windows, float32 `(S, S, C)` in [0, 1], what the CNN catalog expects; a dict a step, fresh. Who
    dies is told so once and is gone; `"__all__"` is said when nobody is left or time is up. `infos[agent]` holds
    "action_mask". Agents keep the order of `possible_agents`. Raises ConfigError, ActionError.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        arguments = {"environment": "memfarm/Forage-v0", **(config or {})}
        self._door: Final = parallel_door(arguments.pop("environment"), **arguments)
        self.possible_agents = self._door.possible_agents[:]
        self.agents: list[str] = []
        self.observation_spaces: dict[str, spaces.Space[Any]] = {
            name: self._door.observation_space(name) for name in self.possible_agents
        }
        self.action_spaces: dict[str, spaces.Space[Any]] = {
            name: self._door.action_space(name) for name in self.possible_agents
        }
        self.render_mode = self._door.render_mode
        super().__init__()

    def reset(
        self, *, seed: int | None = None, options: ByName | None = None
    ) -> tuple[dict[str, Observation], dict[str, ByName]]:
        """Begin an episode with all agents."""
        windows, infos = self._door.reset(seed=seed, options=options)
        self.agents = self._door.agents[:]
        return windows, infos

    def step(
        self, action_dict: ByName
    ) -> tuple[dict[str, Observation], dict[str, float], dict[str, bool], dict[str, bool], dict[str, ByName]]:
        """Let every living agent act once."""
        windows, rewards, terminated, truncated, infos = self._door.step(action_dict)
        self.agents = self._door.agents[:]
        over = not self.agents
        late = any(truncated.values())
        return (
            windows,
            rewards,
            {**terminated, "__all__": over and not late},
            {**truncated, "__all__": over and late},
            infos,
        )

    def state(self) -> NDArray[np.float32]:
        """The whole world, float32 `(Ph, Pw, C)`: see `GridEnv.state`."""
        return self._door.state()

    def render(self) -> Any:
        """The whole world as `render_mode` says."""
        return self._door.render()

    def close(self) -> None:
        """Close the world; twice is fine."""
        self._door.close()


def homogeneous(config: AlgorithmConfig, **arguments: Any) -> AlgorithmConfig:
    """`config` with this environment and one module, POLICY, that all agents share; the same object.

    arguments: what GridMultiAgentEnv is told: `environment`, `agents`, `shape`, …
    """
    return config.environment(GridMultiAgentEnv, env_config=arguments).multi_agent(
        policies={POLICY}, policy_mapping_fn=_shared
    )


def restored(checkpoint: str | Path) -> Algorithm:
    """The algorithm that `save_to_path` left in the folder `checkpoint`, its remote runners acting as it had learned.

    `Algorithm.from_checkpoint` of Ray 2.60 leaves the first weights to remote runners: their first batch would be
    sampled by a policy that knows nothing.
    """
    algo = Algorithm.from_checkpoint(str(Path(checkpoint).absolute()))
    learned = algo.learner_group.get_state(components="learner/rl_module", inference_only=True)["learner"]
    weights = {"rl_module": learned["rl_module"]}  # without their number: taken in any case
    # Waits for every runner; `sync_weights` drops a call to a runner that is still starting.
    algo.env_runner_group.foreach_env_runner(lambda runner: runner.set_state(weights), local_env_runner=False)
    return algo


def _shared(agent: str, *_: Any, **__: Any) -> str:
    """Every agent's module: at the top of a module, so that a checkpoint finds it again."""
    return POLICY
