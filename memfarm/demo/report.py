"""What the demo leaves behind for people: the learning curve and the report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from memfarm.demo.evaluation import Score
from memfarm.sizes import Sizes, in_words


@dataclass(frozen=True)
class Memory:
    """A process's resident memory in bytes: `anon` is its own, `file` is of mapped files and shared memory."""

    anon: int
    file: int

    @classmethod
    def now(cls) -> "Memory":
        """RssAnon and RssFile of this process, as Linux counts them (`psutil`: rss and shared)."""
        found = psutil.Process().memory_info()
        return cls(found.rss - found.shared, found.shared)


@dataclass
class Curve:
    """Rewards over training: the mean reward an agent got a tick, rollout by rollout."""

    agent_steps: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)

    def add(self, agent_steps: int, reward: float) -> None:
        self.agent_steps.append(agent_steps)
        self.rewards.append(reward)

    def returns(self, rollouts: int, ticks: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Agent-steps and returns of an episode of `ticks`, as means over the last `rollouts`; float64, new."""
        sums = np.concatenate([[0.0], np.cumsum(self.rewards)])
        ends = np.arange(1, len(sums))
        starts = np.maximum(0, ends - max(1, rollouts))
        return np.array(self.agent_steps, np.float64), (sums[ends] - sums[starts]) / (ends - starts) * ticks


@dataclass(frozen=True)
class Results:
    """Everything that the report tells."""

    source: str
    info: dict[str, Any]  # World.info() at the end of the training
    scores: Mapping[str, Score]  # "trained", "greedy", "random"
    curve: Curve
    rollout_ticks: int
    episode_ticks: int
    agents: int
    seconds: Mapping[str, float]  # env, policy, update
    agent_steps: int
    memory_before: Memory
    memory: Memory
    first_seed: int
    device: str


def draw_curve(results: Results, path: Path) -> None:
    """Draw returns against agent-steps, with the evaluated policies as level lines."""
    figure = Figure(figsize=(8.0, 4.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    steps, returns = results.curve.returns(results.episode_ticks // results.rollout_ticks, results.episode_ticks)
    axes.plot(steps / 1e6, returns, color="#1a7a30", linewidth=2.2, label="in training, mean of an episode")
    lines = {"trained": ("#2a78c8", "-"), "greedy": ("#c8641e", "--"), "random": ("#777777", ":")}
    for name, score in results.scores.items():
        colour, style = lines[name]
        axes.axhline(score.mean, color=colour, linestyle=style, linewidth=1.6, label=f"{name}, held-out seeds: {score}")
    axes.set_xlabel("agent-steps (millions)")
    axes.set_ylabel(f"return of an agent in {results.episode_ticks} ticks")
    axes.set_title(f"{results.agents:,} foragers on {results.source}")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(left=0.0)
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    figure.savefig(path)


def write_report(results: Results, path: Path) -> None:
    """Write the report in Markdown."""
    path.write_text(report(results), encoding="utf-8")


def report(results: Results) -> str:
    """The report in Markdown."""
    scores, info = results.scores, results.info
    spent = sum(results.seconds.values())
    height, width = info["shape"]
    sizes = Sizes.of(info)
    seeds = len(scores["trained"].returns)
    rows = [
        f"| {name} | {score} | {score.returns.min():.2f} | {score.returns.max():.2f} |"
        for name, score in scores.items()
    ]
    shares = [f"| {name} | {time:.1f} s | {time / spent:.0%} |" for name, time in results.seconds.items()]
    return "\n".join(
        [
            "# A population learns to forage",
            "",
            f"{results.agents:,} agents in {info['copies']} worlds of {height} x {width} cells, made from "
            f"{results.source}, learned with one shared policy (PPO, on {results.device}) for {spent:.0f} s: "
            f"{results.agent_steps:,} agent-steps. `learning_curve.png` shows how, `forage.gif` what came of it, and "
            f"`memfarm info world` reads the world that they left.",
            "",
            "![learning curve](learning_curve.png)",
            "![the trained population](forage.gif)",
            "",
            "## Returns",
            "",
            f"The return of an agent is its summed reward in {results.episode_ticks} ticks; who starves gets a new "
            f"life and goes on counting. Mean over agents, ± standard error over {seeds} held-out seeds "
            f"({results.first_seed} to {results.first_seed + seeds - 1}), the same for every policy.",
            "",
            "| policy | return | lowest seed | highest seed |",
            "|---|---|---|---|",
            *rows,
            "",
            f"The trained policy is {_distance(scores['trained'], scores['random'])} above the random one and reaches "
            f"{scores['trained'].mean / scores['greedy'].mean:.0%} of the return of the greedy one, which walks to "
            "the food in sight that pays best per tick.",
            "",
            "## Speed",
            "",
            f"{results.agent_steps / spent:,.0f} agent-steps/s in training, all told; the environment alone "
            f"{results.agent_steps / results.seconds['env']:,.0f}.",
            "",
            "| part | time | share |",
            "|---|---|---|",
            *shares,
            "",
            "## Memory",
            "",
            "| what | size |",
            "|---|---|",
            f"| the world, logical | {sizes.logical} |",
            f"| the world, real size on disk | {sizes.disk} |",
            f"| tiles ever written | {info['written_share']:.1%} |",
            f"| RssAnon, training | {_words(results.memory.anon, results.memory_before.anon)} |",
            f"| RssFile, training | {_words(results.memory.file, results.memory_before.file)} |",
            "",
            "RssAnon is the process's own memory, torch's and the rollout's; RssFile counts the mapped pages of the "
            "world, which the kernel can drop and share, and of libraries. In brackets: before the world was made.",
            "",
        ]
    )


def _words(now: int, before: int) -> str:
    return f"{in_words(now)} ({in_words(before)})"


def _distance(score: Score, other: Score) -> str:
    error = np.hypot(score.standard_error, other.standard_error)
    apart = score.mean - other.mean
    return f"{apart / error:.1f} standard errors" if error > 0 else f"{apart:.2f}"
