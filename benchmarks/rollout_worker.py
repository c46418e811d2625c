"""One PPO iteration over a rollout in files or in memory, its times told; a process of its own, to be measured.

`python -m benchmarks.rollout_worker memmap|ram AGENTS STEPS SIDE THREADS` prints one line of JSON when it is done.
"""

import json
import sys
import time
from typing import Any

import gymnasium as gym
import torch
from torch import nn

import memfarm
from memfarm.examples.ppo import Policy, draw
from memfarm.rollout import MemmapRollout, Minibatch

_BATCH = 8192
_CLIP = 0.2
_CHANNELS, _WINDOW, _ACTIONS = 7, 11, 6


def main(backend: str, agents: int, steps: int, side: int, threads: int) -> None:
    gym.register_envs(memfarm)
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    random = torch.Generator().manual_seed(0)
    env: Any = gym.make_vec(
        "memfarm/Forage-v0", num_envs=agents, agents_per_world=agents, shape=(side, side), map={"kind": "flat"}
    )
    policy = Policy(_CHANNELS, _WINDOW, _ACTIONS)
    start = time.perf_counter()
    made: Any = backend
    rollout = MemmapRollout(steps, agents, (_WINDOW, _WINDOW, _CHANNELS), _ACTIONS, backend=made)
    last_values = collect(env, policy, rollout, random)
    collected = time.perf_counter()
    rollout.returns(last_values, 0.98, 0.95)
    losses = train(policy, rollout, random)
    trained = time.perf_counter()
    found = {"collect": collected - start, "train": trained - collected, "updates": len(losses), "loss": losses[-1]}
    print(json.dumps(found), flush=True)
    rollout.close()
    env.close()


@torch.no_grad()
def collect(env: Any, policy: Policy, rollout: MemmapRollout, random: torch.Generator) -> torch.Tensor:
    """Fill the rollout; what is expected of where it ends."""
    env.write_next_to(rollout.slot(0))
    _, infos = env.reset(seed=0)
    rollout.begin(infos["action_mask"])
    while not rollout.full:
        t = len(rollout)
        logprobs, values = policy(rollout.windows(t), torch.from_numpy(rollout.masks[t]))
        actions = draw(logprobs, random)
        env.write_next_to(rollout.slot(t + 1))
        _, rewards, terminations, truncations, infos = env.step(actions.numpy())
        chosen = logprobs.gather(1, actions[:, None]).squeeze(1)
        rollout.add(actions, chosen, values, rewards, terminations, truncations, infos["action_mask"])
    end = rollout.steps
    expected: torch.Tensor = policy(rollout.windows(end), torch.from_numpy(rollout.masks[end]))[1]
    return expected


def train(policy: Policy, rollout: MemmapRollout, random: torch.Generator) -> list[float]:
    """One epoch of PPO; the loss of each update."""
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    losses = []
    for batch in rollout.minibatches(_BATCH, random):
        loss = ppo_loss(policy, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def ppo_loss(policy: Policy, batch: Minibatch) -> torch.Tensor:
    logprobs, values = policy(batch.observations, batch.masks)
    gains = (batch.advantages - batch.advantages.mean()) / (batch.advantages.std() + 1e-8)
    ratio = (logprobs.gather(1, batch.actions[:, None]).squeeze(1) - batch.logprobs).exp()
    gain = torch.min(gains * ratio, gains * ratio.clamp(1 - _CLIP, 1 + _CLIP)).mean()
    entropy = -(logprobs.exp() * logprobs).sum(1).mean()
    return -gain + 0.5 * (values - batch.returns).square().mean() - 0.01 * entropy


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
