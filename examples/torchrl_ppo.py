"""TorchRL's PPO on memfarm: one shared policy, through the native batched door or TorchRL's own PettingZooWrapper.

pip install 'memfarm[torchrl]'
python -m memfarm.examples.torchrl_ppo --iterations 15
python -m memfarm.examples.torchrl_ppo --door pettingzoo
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.envs import EnvBase
from torchrl.envs.libs.pettingzoo import PettingZooWrapper
from torchrl.modules import ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

from memfarm.envs import forage_v0
from memfarm.examples.meadow import MEADOW
from memfarm.trainers.torchrl import GridTorchEnv

ACTIONS = 6


@dataclass(frozen=True)
class Figures:
    """What an iteration told."""

    life: float  # mean return of a life
    loss: float


def native(agents: int = 64, **arguments: Any) -> EnvBase:
    """Every agent an element of the batch: 16 of them a world."""
    return GridTorchEnv(agents, agents_per_world=16, **{**MEADOW, **arguments})


def pettingzoo(agents: int = 16, **arguments: Any) -> EnvBase:
    """One world, its agents in the group "forager"; the dead are masked, and an episode goes on until all are done."""
    env = forage_v0.parallel_env(agents=agents, **{**MEADOW, **arguments})
    return PettingZooWrapper(env, use_mask=True, done_on_any=False)


class Learner:
    """PPO for agents whose entries lie under `group` (a key's first part), or at the root where it is empty."""

    def __init__(self, env: EnvBase, group: tuple[str, ...] = (), worlds_of_ticks: int = 1, seed: int = 0) -> None:
        torch.manual_seed(seed)
        env.set_seed(seed)
        self.env, self.group = env, group
        window = env.full_observation_spec[self._key("observation")].shape[-3:]
        width = window.numel()
        policy = nn.Sequential(nn.Flatten(-3), nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, ACTIONS))
        value = nn.Sequential(nn.Flatten(-3), nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, 1))
        self.critic = ValueOperator(value, in_keys=["observation"])
        self.loss = ClipPPOLoss(actor(policy, ()), self.critic, entropy_coeff=0.01, critic_coeff=0.5)
        self.optimizer = torch.optim.Adam(self.loss.parameters(), lr=2e-3)
        there = ValueOperator(value, in_keys=[self._key("observation")], out_keys=[self._key("state_value")])
        self.gae = GAE(gamma=0.95, lmbda=0.95, value_network=there)
        names = ("advantage", "value_target", "reward", "done", "terminated")
        self.gae.set_keys(value=self._key("state_value"), **{name: self._key(name) for name in names})
        ticks = MEADOW["max_cycles"] * worlds_of_ticks * max(env.batch_size.numel(), 1)
        self.collector = Collector(
            env, actor(policy, group), frames_per_batch=ticks, total_frames=-1, auto_register_policy_transforms=False
        )

    def _key(self, name: str) -> Any:
        return (*self.group, name) if self.group else name

    def train(self, iterations: int) -> Iterator[Figures]:
        """Collect, learn, and say what it brought, so many times."""
        for iteration, data in zip(range(iterations), self.collector, strict=False):
            with torch.no_grad():
                self.gae(data)
            live = self._live(data)
            figures = Figures(self._life(data), self._learn(live))
            print(f"iteration {iteration}: return of a life {figures.life:+.3f}, loss {figures.loss:.4f}")
            yield figures

    def _live(self, data: TensorDictBase) -> TensorDictBase:
        """The transitions of living agents, all in one row, at the root."""
        names = ("observation", "action", "action_log_prob", "advantage", "value_target")
        if not self.group:
            return data.select(*names).reshape(-1)
        agents = data[self.group]
        return agents.select(*names)[agents["mask"]]

    def _life(self, data: TensorDictBase) -> float:
        """All lives end with their world's episode, and batches are whole episodes: rewards a life."""
        after = data["next"][self.group] if self.group else data["next"]
        if not self.group:
            return float(after["reward"].sum() / after["done"].sum())
        alive = data[self.group]["mask"]
        ended = (after["done"].squeeze(-1) & alive).sum()
        return float(after["reward"].squeeze(-1)[alive].sum() / ended)

    def _learn(self, live: TensorDictBase) -> float:
        total, updates = 0.0, 0
        for _ in range(6):
            for rows in torch.randperm(len(live)).split(256):  # type: ignore[no-untyped-call]  # torch's own
                losses = self.loss(live[rows])
                loss = losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]
                self.optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.loss.parameters(), 0.5)
                self.optimizer.step()
                total, updates = total + float(loss.detach()), updates + 1
        return total / updates

    def close(self) -> None:
        """Close the collector and the worlds."""
        self.collector.shutdown()
        self.env.close(raise_if_closed=False)


def actor(policy: nn.Module, group: tuple[str, ...]) -> ProbabilisticActor:
    """`policy` as an actor that reads and writes under `group`; actors of one policy share its weights."""
    keys = {name: (*group, name) if group else name for name in ("observation", "logits", "action", "action_log_prob")}
    return ProbabilisticActor(
        TensorDictModule(policy, in_keys=[keys["observation"]], out_keys=[keys["logits"]]),
        in_keys={"logits": keys["logits"]},
        out_keys=[keys["action"]],
        distribution_class=torch.distributions.Categorical,
        return_log_prob=True,
        log_prob_key=keys["action_log_prob"],
    )


def make(door: str, seed: int = 0) -> Learner:
    """A learner at one of the doors: "native" or "pettingzoo"."""
    if door == "native":
        return Learner(native(), seed=seed)
    return Learner(pettingzoo(), ("forager",), worlds_of_ticks=4, seed=seed)


def main() -> None:
    """Train and print."""
    options = parse()
    learner = make(options.door, options.seed)
    for _ in learner.train(options.iterations):
        pass
    learner.close()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--door", choices=("native", "pettingzoo"), default="native")
    parser.add_argument("--iterations", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
