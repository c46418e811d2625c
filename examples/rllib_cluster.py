"""PPO on a Ray cluster: one map a node, scratch on each node's own disk, and nodes that may die.

On every machine, with its own disks in its own environment:

    export MEMFARM_CACHE=/nvme/memfarm MEMFARM_SCRATCH=/nvme/scratch
    ray start --head                      # the first machine
    ray start --address=HEAD:6379         # the others

and on the first:

    python -m memfarm.examples.rllib_cluster --address auto --runners 64 --shape 4096 4096

The map travels as its recipe, never as its cells: whichever env runner of a node comes first builds it there, the
others of that node map the same file. What a world changes is its runner's own, in scratch files without a name, which
end with the process, whatever ends it. A node that dies takes its runners along; the others go on sampling, and Ray
starts them again as soon as any node has room for them.
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig

from memfarm.examples.meadow import MEADOW
from memfarm.examples.rllib_ppo import Figures, configure


def configure_cluster(runners: int, agents: int = 16, shape: tuple[int, int] = (256, 256), seed: int = 0) -> PPOConfig:
    """PPO whose env runners, one CPU each, lie on whatever nodes have room, and may be lost."""
    recipe = {"kind": "noise", "shape": list(shape), "seed": seed}
    arguments = {**MEADOW, "shape": shape, "map": recipe}
    config = configure(runners, agents, seed, **arguments)
    config.env_runners(num_cpus_per_env_runner=1, sample_timeout_s=60)
    config.fault_tolerance(
        restart_failed_env_runners=True,
        num_consecutive_env_runner_failures_tolerance=10**6,  # a node may be away for long
        env_runner_health_probe_timeout_s=10,
        env_runner_restore_timeout_s=60,
    )
    return config


@dataclass(frozen=True)
class Runner:
    """Where an env runner lives."""

    node: str
    pid: int
    maps: tuple[str, ...]  # files of the node's map cache that it has mapped


def where(algo: Algorithm) -> list[Runner]:
    """The living env runners, and what each of them shares with the others of its node."""
    return [Runner(*told) for told in algo.env_runner_group.foreach_env_runner(_here, local_env_runner=False)]


def _here(_: Any) -> tuple[str, int, tuple[str, ...]]:
    cache = os.environ.get("MEMFARM_CACHE", "memfarm")
    lines = Path("/proc/self/maps").read_text().splitlines()
    paths = {line.split(maxsplit=5)[5] for line in lines if cache in line and line.endswith(".npy")}
    return ray.get_runtime_context().get_node_id(), os.getpid(), tuple(sorted(paths))


def train(algo: Algorithm, iterations: int) -> Iterator[tuple[Figures, list[Runner]]]:
    """Train; after each iteration what it brought and who was there."""
    for _ in range(iterations):
        figures, runners = Figures.of(algo.train()), where(algo)
        nodes = len({runner.node for runner in runners})
        print(
            f"iteration {algo.iteration}: return of a life {figures.life:+.3f}, loss {figures.loss:.4f}, "
            f"{len(runners)} runners on {nodes} nodes",
            flush=True,
        )
        yield figures, runners


def main() -> None:
    """Train on the cluster at `--address`, or on this machine alone."""
    options = parse()
    alone: dict[str, Any] = {"num_cpus": options.runners + 1, "include_dashboard": False}
    ray.init(**({"address": options.address} if options.address else alone))
    algo = configure_cluster(options.runners, options.agents, tuple(options.shape), options.seed).build_algo()
    for _ in train(algo, options.iterations):
        pass
    algo.stop()
    ray.shutdown()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--address", help="of a running cluster, or 'auto'; else this machine alone")
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--runners", type=int, default=2, help="env runners on all nodes together, a CPU each")
    parser.add_argument("--agents", type=int, default=16, help="in a runner's world")
    parser.add_argument("--shape", type=int, nargs=2, default=(256, 256), metavar=("H", "W"))
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
