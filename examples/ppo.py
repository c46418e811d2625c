"""PPO with one policy shared by a whole population of agents, in one file.

    python examples/ppo.py                                     # 1,024 foragers in 4 worlds of seeded noise
    memfarm build heights.npy worlds/valley && python examples/ppo.py --map worlds/valley     # on real ground
    python examples/ppo.py --resume runs/ppo/checkpoint.pt --agent-steps 8000000              # train on
    OMP_WAIT_POLICY=passive python examples/ppo.py             # several times faster on a busy machine
    tensorboard --logdir runs/ppo

`gym.make_vec` steps all agents of all worlds in one call, and writes what they see straight into the rollout's tensor:
`env.write_next_to(slot)`. Schulman et al., "Proximal Policy Optimization Algorithms", 2017; the details follow
Huang et al., "The 37 Implementation Details of Proximal Policy Optimization", 2022.
"""

import argparse
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import memfarm
from memfarm.advantages import estimate
from memfarm.stateful import Saved

gym.register_envs(memfarm)


@dataclass(frozen=True)
class Settings:
    """PPO's numbers."""

    steps: int = 32  # ticks of a rollout, at least 2
    epochs: int = 2
    minibatches: int = 24
    learning_rate: float = 2e-3  # at the start; falls to a tenth
    gamma: float = 0.98
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy_weight: float = 0.01  # at the start; falls to a tenth
    value_weight: float = 0.5
    reward_scale: float = 1.0
    max_grad_norm: float = 0.5
    seed: int = 0
    device: str = "cpu"


class Policy(nn.Module):
    """What to do and what to expect, from a window: two small convolutions, then two heads."""

    def __init__(self, channels: int, side: int, actions: int) -> None:
        super().__init__()
        self.see = nn.Sequential(
            nn.Conv2d(channels, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten()
        )
        with torch.no_grad():
            features = self.see(torch.zeros(1, channels, side, side)).shape[1]
        self.think = nn.Sequential(nn.Linear(features, 64), nn.ReLU())
        self.act = nn.Linear(64, actions)
        self.value = nn.Linear(64, 1)
        for head, gain in ((self.act, 0.01), (self.value, 1.0)):
            nn.init.orthogonal_(head.weight, gain)
            nn.init.zeros_(head.bias)

    def forward(self, windows: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities (B, A) and values (B,) of windows (B, C, S, S); `mask` (B, A) is True where legal."""
        thought = self.think(self.see(windows))
        logits = self.act(thought).masked_fill(~mask, -1e9)
        return F.log_softmax(logits, dim=-1), self.value(thought).squeeze(-1)


class Rollout:
    """What T ticks of N agents leave behind; `windows` is written by the environment itself."""

    def __init__(self, steps: int, shape: tuple[int, int, int, int], actions: int) -> None:
        agents, channels, side, _ = shape
        self.windows = torch.zeros(steps + 1, agents, side, side, channels)  # one more: where the last tick led
        self.masks = torch.zeros(steps + 1, agents, actions, dtype=torch.bool)
        self.actions = torch.zeros(steps, agents, dtype=torch.int64)
        self.logprobs = torch.zeros(steps, agents)
        self.values = torch.zeros(steps + 1, agents)
        self.rewards = torch.zeros(steps, agents)
        self.terminated = torch.zeros(steps, agents, dtype=torch.bool)
        self.done = torch.zeros(steps + 1, agents, dtype=torch.bool)  # the life ended before this tick, which resets it


def advantages(rollout: Rollout, gamma: float, gae_lambda: float) -> Tensor:
    """Generalised advantage estimates (T, N): `memfarm.advantages.estimate` says how lives' ends are treated."""
    rewards, values, terminated, done = (
        part.numpy() for part in (rollout.rewards, rollout.values, rollout.terminated, rollout.done[1:])
    )
    return torch.from_numpy(estimate(rewards, values, terminated, done & ~terminated, gamma, gae_lambda))


class Learner:
    """A policy, its optimiser, and the environment that it learns in."""

    def __init__(self, env: Any, settings: Settings) -> None:
        self.env, self.settings = env, settings
        self.device = torch.device(settings.device)
        self.random = torch.Generator().manual_seed(settings.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            channels, side, _ = env.single_observation_space.shape
            actions = int(env.single_action_space.n)
            self.policy = Policy(channels, side, actions).to(self.device)
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=settings.learning_rate, eps=1e-5)
        self.rollout = Rollout(settings.steps, env.observation_space.shape, actions)
        self.agent_steps = 0
        self.seconds = {"env": 0.0, "policy": 0.0, "update": 0.0}
        env.write_next_to(self.rollout.windows[0])
        _, infos = env.reset(seed=settings.seed)
        self.rollout.masks[0] = torch.from_numpy(infos["action_mask"]) > 0

    def iterate(self, progress: float) -> dict[str, float]:
        """One rollout and what is learned from it; `progress` in [0, 1] is the share of the training that is over."""
        self.collect()
        start = time.perf_counter()
        statistics = self.update(1.0 - 0.9 * min(progress, 1.0))
        self.seconds["update"] += time.perf_counter() - start
        statistics["reward"] = float(self.rollout.rewards.mean()) / self.settings.reward_scale
        return statistics

    @torch.no_grad()
    def collect(self) -> None:
        """Fill the rollout: T ticks of all agents."""
        ticks, start = self.rollout, time.perf_counter()
        for t in range(self.settings.steps):
            logprobs, values = self._look(t)
            ticks.values[t] = values
            ticks.actions[t] = draw(logprobs, self.random)
            ticks.logprobs[t] = logprobs.gather(1, ticks.actions[t, :, None]).squeeze(1)
            start = self._clock("policy", start)
            self.env.write_next_to(ticks.windows[t + 1])
            _, rewards, terminated, truncated, infos = self.env.step(ticks.actions[t].numpy())
            ticks.rewards[t] = torch.from_numpy(rewards) * self.settings.reward_scale
            ticks.terminated[t] = torch.from_numpy(terminated)
            ticks.done[t + 1] = torch.from_numpy(terminated | truncated)
            ticks.masks[t + 1] = torch.from_numpy(infos["action_mask"]) > 0
            start = self._clock("env", start)
        ticks.values[-1] = self._look(self.settings.steps)[1]
        self._clock("policy", start)
        self.agent_steps += ticks.actions.numel()

    def update(self, anneal: float) -> dict[str, float]:
        """Improve the policy on the rollout, then carry its end over to the start of the next one."""
        ticks, numbers = self.rollout, self.settings
        gains = advantages(ticks, numbers.gamma, numbers.gae_lambda)
        returns = (gains + ticks.values[:-1]).flatten()
        windows, masks = ticks.windows.flatten(0, 1), ticks.masks.flatten(0, 1)
        actions, logprobs = ticks.actions.flatten(), ticks.logprobs.flatten()
        live = (~ticks.done[:-1]).flatten().nonzero().squeeze(1)  # a tick that only reset a life teaches nothing
        gains = gains.flatten()
        gains = (gains - gains[live].mean()) / (gains[live].std(correction=0) + 1e-8)
        for group in self.optimizer.param_groups:
            group["lr"] = numbers.learning_rate * anneal
        sums: dict[str, float] = dict.fromkeys(("policy_loss", "value_loss", "entropy", "kl"), 0.0)
        updates = 0
        for _ in range(numbers.epochs):
            order = live[torch.randperm(len(live), generator=self.random)]
            for batch in order.chunk(numbers.minibatches):
                parts = (windows[batch].permute(0, 3, 1, 2), masks[batch], actions[batch], logprobs[batch])
                losses = self._losses(*parts, gains[batch], returns[batch])
                loss = losses["policy_loss"] + numbers.value_weight * losses["value_loss"]
                loss = loss - numbers.entropy_weight * anneal * losses["entropy"]
                self.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch's own
                nn.utils.clip_grad_norm_(self.policy.parameters(), numbers.max_grad_norm)
                self.optimizer.step()
                updates += 1
                for name, value in losses.items():
                    sums[name] += float(value.detach())
        for kept in (ticks.windows, ticks.masks, ticks.done):
            kept[0] = kept[-1]
        return {name: value / updates for name, value in sums.items()}

    def _losses(
        self, windows: Tensor, mask: Tensor, action: Tensor, old: Tensor, gain: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        windows, mask, action, old, gain, target = (
            part.to(self.device) for part in (windows, mask, action, old, gain, target)
        )
        logprobs, values = self.policy(windows, mask)
        log_ratio = logprobs.gather(1, action[:, None]).squeeze(1) - old
        ratio = log_ratio.exp()
        clipped = ratio.clamp(1 - self.settings.clip, 1 + self.settings.clip)
        return {
            "policy_loss": -torch.min(gain * ratio, gain * clipped).mean(),
            "value_loss": (values - target).square().mean(),
            "entropy": -(logprobs.exp() * logprobs).sum(1).mean(),
            "kl": (ratio - 1 - log_ratio).mean(),
        }

    def _look(self, t: int) -> tuple[Tensor, Tensor]:
        windows = self.rollout.windows[t].permute(0, 3, 1, 2).to(self.device)
        logprobs, values = self.policy(windows, self.rollout.masks[t].to(self.device))
        return logprobs.cpu(), values.cpu()

    def _clock(self, what: str, start: float) -> float:
        now = time.perf_counter()
        self.seconds[what] += now - start
        return now

    def save(self, path: Path) -> None:
        """Write everything that learning goes on from, the worlds into a folder beside; till then the old one stays."""
        worlds = path.with_name(f"{path.stem}-{self.agent_steps}-{secrets.token_hex(4)}")
        if isinstance(self.env, Saved):
            self.env.save(worlds)
        state = {
            "worlds": worlds.name if worlds.exists() else None,
            "done": self.rollout.done[0],
            "settings": asdict(self.settings),
            "policy": self.policy.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "agent_steps": self.agent_steps,
            "random": self.random.get_state(),
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)
        for older in path.parent.glob(f"{path.stem}-*-*"):
            if older != worlds:
                shutil.rmtree(older)

    def load(self, path: Path) -> None:
        """Go on from what `save` wrote, in the same worlds: as if learning had never stopped."""
        state: Mapping[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        self.policy.load_state_dict(state["policy"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.agent_steps = int(state["agent_steps"])
        self.random.set_state(state["random"].cpu())
        if state["worlds"] is not None:
            self.env.write_next_to(self.rollout.windows[0])
            _, infos = self.env.load(path.with_name(state["worlds"]))
            self.rollout.masks[0] = torch.from_numpy(infos["action_mask"]) > 0
            self.rollout.done[0] = state["done"]


def draw(logprobs: Tensor, random: torch.Generator) -> Tensor:
    """One action each, (N,), with the given log-probabilities (N, A): exponential races."""
    return (logprobs.exp() / torch.empty_like(logprobs).exponential_(generator=random)).argmax(1)


def main() -> None:
    """Train, with a progress bar, a TensorBoard log, and a checkpoint now and then."""
    from torch.utils.tensorboard import SummaryWriter  # here: slow to import, and whoever imports Learner needs neither
    from tqdm import tqdm

    options = parse()
    torch.set_num_threads(options.threads)
    env = gym.make_vec(
        "memfarm/Forage-v0",
        num_envs=options.agents,
        agents_per_world=options.agents // options.worlds,
        tensor="torch",
        **({"map": options.map} if options.map else {"shape": tuple(options.shape)}),
    )
    learner = Learner(env, Settings(seed=options.seed, device=options.device))
    if options.resume:
        learner.load(options.resume)
    options.out.mkdir(parents=True, exist_ok=True)
    log = SummaryWriter(str(options.out))
    bar = tqdm(total=options.agent_steps, initial=learner.agent_steps, unit="step", unit_scale=True)
    saved = time.perf_counter()
    while learner.agent_steps < options.agent_steps:
        for name, value in learner.iterate(learner.agent_steps / options.agent_steps).items():
            log.add_scalar(name, value, learner.agent_steps)
            if name == "reward":
                bar.set_postfix_str(f"reward {value:+.4f} a tick")
        bar.update(learner.agent_steps - bar.n)
        if time.perf_counter() - saved > 60:
            learner.save(options.out / "checkpoint.pt")
            saved = time.perf_counter()
    learner.save(options.out / "checkpoint.pt")
    bar.close()
    log.close()
    env.close()
    total = sum(learner.seconds.values())
    shares = ", ".join(f"{name} {spent / total:.0%}" for name, spent in learner.seconds.items())
    print(f"{options.out / 'checkpoint.pt'}: {learner.agent_steps:,} agent-steps; time: {shares}")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--agents", type=int, default=1024, help="in all worlds together")
    parser.add_argument("--worlds", type=int, default=4, help="a divisor of --agents")
    parser.add_argument("--map", help="a world folder, made by `memfarm build`; else seeded noise")
    parser.add_argument("--shape", type=int, nargs=2, default=(128, 128), metavar=("H", "W"), help="of seeded noise")
    parser.add_argument("--agent-steps", type=int, default=4_000_000, help="where training ends, resumed or not")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="where the policy lives")
    parser.add_argument("--threads", type=int, default=2, help="torch's, on the CPU")
    parser.add_argument("--out", type=Path, default=Path("runs/ppo"))
    parser.add_argument("--resume", type=Path, metavar="CHECKPOINT")
    return parser.parse_args()


if __name__ == "__main__":
    main()
