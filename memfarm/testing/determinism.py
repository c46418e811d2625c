"""The same seed and the same actions give the same bytes, through every door and in every process."""

import hashlib
import itertools
import os
import pickle
import subprocess
import sys
from typing import Any, Final

import numpy as np
from gymnasium.vector import AutoresetMode

from memfarm.testing.doors import Doors
from memfarm.testing.runs import close_all, feed, random_actions, run, same

_CROWD: Final[dict[str, Any]] = {"shape": (10, 10), "map": {"kind": "flat"}, "radius": 2}
_CHILD: Final = "import pickle, sys; print(pickle.load(sys.stdin.buffer).episode_digest())"


class Determinism(Doors):
    """Batches, single environments and processes agree."""

    def episode_digest(self) -> str:
        """A digest of all that a run of several episodes returns; the same in every process."""
        digest = hashlib.sha256()
        env = self.make_batched(6, agents_per_world=3, autoreset_mode="SameStep", **self.ending)
        for step in run(env, seed=7, steps=60):
            feed(digest, step)
        env.close()
        parallel = self.make_parallel(agents=5, **self.ending)
        actions = random_actions(parallel.action_space(""), 5, 60)
        feed(digest, parallel.reset(seed=7))
        for row in actions:
            feed(digest, parallel.step(dict(zip(parallel.possible_agents, row.tolist(), strict=True))))
        parallel.close()
        return digest.hexdigest()

    def test_episodes_are_the_same_in_every_process(self) -> None:
        digests = set()
        for hash_seed in ("1", "2"):
            environ = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
            child = subprocess.run(
                [sys.executable, "-c", _CHILD], input=pickle.dumps(self), env=environ, capture_output=True, check=False
            )
            assert child.returncode == 0, child.stderr.decode()
            digests.add(child.stdout)
        assert len(digests) == 1, "same seed and actions must give the same bytes under every PYTHONHASHSEED"

    def test_a_seed_says_all_whatever_happened_before(self) -> None:
        used, new = self.make_batched(4, **self.ending), self.make_batched(4, **self.ending)
        for _ in run(used, seed=3, steps=25):
            pass
        for a, b in zip(run(used, seed=9, steps=30), run(new, seed=9, steps=30), strict=True):
            same(a, b, "reset(seed) must begin as a new environment does")
        assert not np.array_equal(used.reset(seed=1)[0], new.reset(seed=2)[0]), "another seed must begin elsewhere"
        close_all(used, new)

    def test_a_batch_equals_single_environments(self) -> None:
        batch = self.make_batched(3, autoreset_mode=AutoresetMode.SAME_STEP, **self.ending)
        singles = [self.make_single(**self.ending) for _ in range(3)]
        first = [env.reset(seed=11 + n) for n, env in enumerate(singles)]
        steps = run(batch, seed=11, steps=100)
        same(next(steps)[0], np.stack([observation for observation, _ in first]), "first observations")
        ends = 0
        for actions, step in zip(random_actions(batch.single_action_space, 3, 100), steps, strict=True):
            for n, env in enumerate(singles):
                observation, reward, terminated, truncated, info = env.step(actions[n])
                over = terminated or truncated
                assert (reward, terminated, truncated) == tuple(part[n] for part in step[1:4])
                if over:
                    ends += 1
                    same(step[4]["final_obs"][n], observation, "final_obs")
                    same(step[4]["final_info"]["action_mask"][n], info["action_mask"], "final_info")
                    observation, info = env.reset()
                same(step[0][n], observation, "a batch's observations must be those of single environments")
                same(step[4]["action_mask"][n], info["action_mask"], "a batch's action masks")
        assert ends >= 3, "`ending` must be arguments under which episodes end"
        close_all(batch, *singles)

    def test_next_step_equals_single_environments_within_the_first_episode(self) -> None:
        batch = self.make_batched(3, autoreset_mode=AutoresetMode.NEXT_STEP)
        singles = [self.make_single() for _ in range(3)]
        running = dict(enumerate(singles))
        for n, env in running.items():
            env.reset(seed=5 + n)
        steps = itertools.islice(run(batch, seed=5, steps=40), 1, None)
        for actions, step in zip(random_actions(batch.single_action_space, 3, 40), steps, strict=True):
            for n, env in list(running.items()):
                one = env.step(actions[n])
                same(step[0][n], one[0], "a batch's observations must be those of single environments")
                assert one[1:4] == tuple(part[n] for part in step[1:4])
                if one[2] or one[3]:
                    del running[n]
        close_all(batch, *singles)

    def test_the_order_of_agents_does_not_matter(self) -> None:
        count = 40
        ordered, shuffled = (
            self.make_batched(count, agents_per_world=count, autoreset_mode=AutoresetMode.DISABLED, **_CROWD)
            for _ in range(2)
        )
        order = np.random.default_rng(0).permutation(count)
        for env in (ordered, shuffled):
            env.reset(seed=2)
        here = shuffled.unwrapped.agents  # type: ignore[attr-defined]
        here.y[:], here.x[:] = here.y[order], here.x[order]
        for actions in random_actions(ordered.single_action_space, count, 40):
            left, right = ordered.step(actions), shuffled.step(actions[order])
            for a, b in zip(left[:4], right[:4], strict=True):
                same(a[order], b, "who wins a cell must not depend on the agents' order")
        close_all(ordered, shuffled)

    def test_same_seed_same_process_nothing_shared(self) -> None:
        one, two = (self.make_batched(2, agents_per_world=2) for _ in range(2))
        one.reset(seed=4)
        two.reset(seed=4)
        core, other = one.unwrapped, two.unwrapped
        before = other.state()  # type: ignore[attr-defined]
        same(core.state(), before, "same seed, same state")  # type: ignore[attr-defined]
        for actions in random_actions(one.single_action_space, 2, 10):
            one.step(actions)
        core.world.scatter("DAMAGE_HEAT", 0, np.arange(9), np.arange(9), 1.0)  # type: ignore[attr-defined]
        same(other.state(), before, "two environments must not share a cell")  # type: ignore[attr-defined]
        one.close()
        two.step([0, 0])
        two.close()
