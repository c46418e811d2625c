"""The demo from end to end: a world from a map, training, evaluation, and what is left behind."""

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import gymnasium as gym
import numpy as np
import torch
from matplotlib import get_data_path
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import memfarm
from memfarm.demo.evaluation import Score, evaluate
from memfarm.demo.film import film
from memfarm.demo.policies import Chooser, GreedyChooser, LearnedChooser, RandomChooser
from memfarm.demo.report import Curve, Memory, Results, draw_curve, write_report
from memfarm.envs.forage_config import ForageConfig
from memfarm.errors import ConfigError, StorageError
from memfarm.examples.ppo import Learner, Settings
from memfarm.manifest import FILE

gym.register_envs(memfarm)

HELD_OUT: Final = 1_000_000
"""The first seed of the evaluation; training has small ones."""
SEEDS: Final = 8
TICKS: Final = 500
"""Length of an episode, in training and evaluation."""
FILM: Final = {"start": 120, "ticks": 100, "side": 48}
"""When the film begins, how long it lasts, and the cells that it shows on a side."""


@dataclass(frozen=True)
class Options:
    """What the demo can be told; see `memfarm demo --help`."""

    map: Path | None
    shape: tuple[int, int] | None
    agents: int
    worlds: int
    seconds: float
    device: str
    out: Path
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)  # overrides of the configuration, by their paths

    def __post_init__(self) -> None:
        if self.worlds < 1 or self.agents < 1 or self.agents % self.worlds:
            raise ConfigError(
                f"agents must be a multiple of worlds={self.worlds}, at least 1 a world, got {self.agents}"
            )
        if not self.seconds > 0.0:
            raise ConfigError(f"seconds must be above 0, got {self.seconds}")
        self.config(None)  # refuses a wrong setting before anything is made
        try:
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"device must be one that torch can use here, got {self.device!r}: {reason}") from error

    def config(self, directory: str | None) -> ForageConfig:
        """The settings on top of the defaults, with new worlds in `directory`, or as scratch."""
        return ForageConfig().with_overrides({**self.settings, "memmap.directory": directory})


def run(options: Options, console: Console) -> Results:
    """Train, evaluate, and write `world/`, `learning_curve.png`, `forage.gif` and `report.md` into `options.out`."""
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    world = out / "world"
    _check_replaceable(world)
    source, ground = _ground(options)
    before = Memory.now()
    with _folder_beside(world) as part:
        env = make(options.agents, options.worlds, map=ground, config=options.config(str(part)))
        learner = Learner(env, Settings(seed=options.seed, device=options.device))
        curve = train(learner, options.seconds, console)
        core = env.unwrapped
        info, memory = core.world.info(), Memory.now()
        env.close()
        _replace(world, next(part.iterdir()))
    console.print(f"Evaluating on {SEEDS} held-out seeds")
    trained = LearnedChooser(learner.policy, options.device, options.seed)
    scores = _scores(options, str(world), trained, console)
    results = Results(
        source=source,
        info=info,
        scores=scores,
        curve=curve,
        rollout_ticks=learner.settings.steps,
        episode_ticks=TICKS,
        agents=options.agents,
        seconds=learner.seconds,
        agent_steps=learner.agent_steps,
        memory_before=before,
        memory=memory,
        first_seed=HELD_OUT,
        device=options.device,
    )
    draw_curve(results, out / "learning_curve.png")
    write_report(results, out / "report.md")
    env = make(options.agents, 1, map=str(world), config=options.config(None))
    film(env, trained, out / "forage.gif", seed=HELD_OUT + SEEDS, **FILM)
    env.close()
    return results


def make(agents: int, worlds: int, **arguments: Any) -> Any:
    """A batched Forage whose windows are tensors."""
    return gym.make_vec(
        "memfarm/Forage-v0",
        num_envs=agents,
        agents_per_world=agents // worlds,
        max_cycles=TICKS,
        tensor="torch",
        **arguments,
    )


def train(learner: Learner, seconds: float, console: Console) -> Curve:
    """Train for `seconds` of wall time; the rewards on the way."""
    curve, start, over = Curve(), time.perf_counter(), 0.0
    columns = (TextColumn("Training"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=1.0)
        while over < 1.0:
            reward = learner.iterate(over)["reward"]
            curve.add(learner.agent_steps, reward)
            over = (time.perf_counter() - start) / seconds
            text = f"{learner.agent_steps:,} agent-steps, reward {reward * TICKS:+.2f} per {TICKS} ticks"
            progress.update(task, completed=min(over, 1.0), description=text)
    console.print(f"Trained for {learner.agent_steps:,} agent-steps in {time.perf_counter() - start:.0f} s")
    return curve


def _scores(options: Options, world: str, trained: Chooser, console: Console) -> dict[str, Score]:
    """Every policy in the same worlds, as crowded as those of the training; they share the trained world's ground."""
    env = make(options.agents // options.worlds * SEEDS, SEEDS, map=world, config=options.config(None))
    core = env.unwrapped
    body = core.config.agents
    greedy = GreedyChooser(
        env.channels,
        bite=body.bite,
        food_energy=body.food_energy,
        terrain_weight=body.terrain_weight,
        rng=np.random.default_rng([options.seed, 1]),
    )
    choosers: dict[str, Chooser] = {
        "trained": trained,
        "greedy": greedy,
        "random": RandomChooser(np.random.default_rng([options.seed, 2])),
    }
    scores = {}
    for name, choose in choosers.items():
        scores[name] = evaluate(env, choose, seed=HELD_OUT, ticks=TICKS)
        console.print(f"  {name:8s} {scores[name]}", highlight=False)
    env.close()
    return scores


def _ground(options: Options) -> tuple[str, str | dict[str, Any]]:
    """What the ground is, in words, and the `map` argument that makes it."""
    path = options.map
    name = path.name if path else "the Jacksboro fault, Tennessee (matplotlib's elevation model)"
    if path is None:
        path = Path(get_data_path()) / "sample_data" / "jacksboro_fault_dem.npz"
    if path.is_dir():
        if options.shape is not None:
            raise ConfigError(f"a world folder has its own shape, got shape={options.shape} for {path}; leave it out")
        return name, str(path)
    recipe: dict[str, Any] = {"kind": "octile" if path.suffix.lower() == ".map" else "raster", "path": str(path)}
    return name, recipe if options.shape is None else {**recipe, "shape": options.shape}


def _check_replaceable(world: Path) -> None:
    if world.exists() and not (world / FILE).is_file():
        raise StorageError(f"the demo replaces the world of its last run, got {world} without a {FILE}; remove it")


@contextmanager
def _folder_beside(world: Path) -> Iterator[Path]:
    """A folder for a world that is still at work; it goes away, and what was left in it, whatever happens."""
    part = world.parent / f".{world.name}.part-{os.getpid()}"
    part.mkdir(mode=0o700)
    try:
        yield part
    finally:
        shutil.rmtree(part)


def _replace(world: Path, made: Path) -> None:
    if world.exists():
        shutil.rmtree(world)
    made.rename(world)
