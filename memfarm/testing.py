"""Conformance suites: subclass one in a test file, return your object, and pytest runs every test of the contract.

class TestMine(EnvContract):
    def make_batched(self, num_envs, **arguments): return my_doors.batched(num_envs, **arguments)
    def make_single(self, **arguments): return my_doors.Single(**arguments)
    def make_parallel(self, **arguments): return my_doors.parallel_env(**arguments)
"""

import hashlib
import itertools
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from memfarm.errors import ActionError, ClosedError

HEADINGS = (
    "Description",
    "Actions",
    "Observation",
    "Reward",
    "Starting state",
    "Episode end",
    "Arguments",
    "Version history",
)
"""The sections of an environment's docstring, in this order."""

_SAME_STEP, _NEXT_STEP, _DISABLED = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED
_CROWD: dict[str, Any] = {"shape": (10, 10), "map": {"kind": "flat"}, "radius": 2}
_CHILD = "import pickle, sys; print(pickle.load(sys.stdin.buffer).episode_digest())"


class EnvContract:
    """What every environment and its doors promise. The three makers are given the doors' keyword arguments."""

    ending: ClassVar[dict[str, Any]] = {"max_cycles": 40}
    """Arguments under which random agents see the ends of several episodes in 100 steps."""

    def make_batched(self, num_envs: int, **arguments: Any) -> VectorEnv[Any, Any, Any]:
        """The batched door: takes `agents_per_world` and `autoreset_mode` too, returns NumPy windows."""
        raise NotImplementedError

    def make_single(self, **arguments: Any) -> gymnasium.Env[Any, Any]:
        """The door of one agent."""
        raise NotImplementedError

    def make_parallel(self, **arguments: Any) -> Any:
        """The PettingZoo door: takes `agents` too."""
        raise NotImplementedError

    # --- determinism

    def episode_digest(self) -> str:
        """A digest of all that a run of several episodes returns; the same in every process."""
        digest = hashlib.sha256()
        env = self.make_batched(6, agents_per_world=3, autoreset_mode="SameStep", **self.ending)
        for step in _run(env, seed=7, steps=60):
            _feed(digest, step)
        env.close()
        parallel = self.make_parallel(agents=5, **self.ending)
        actions = _actions(parallel.action_space(""), 5, 60)
        _feed(digest, parallel.reset(seed=7))
        for row in actions:
            _feed(digest, parallel.step(dict(zip(parallel.possible_agents, row.tolist(), strict=True))))
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
        for _ in _run(used, seed=3, steps=25):
            pass
        for a, b in zip(_run(used, seed=9, steps=30), _run(new, seed=9, steps=30), strict=True):
            _same(a, b, "reset(seed) must begin as a new environment does")
        assert not np.array_equal(used.reset(seed=1)[0], new.reset(seed=2)[0]), "another seed must begin elsewhere"
        _close(used, new)

    def test_a_batch_equals_single_environments(self) -> None:
        batch = self.make_batched(3, autoreset_mode=_SAME_STEP, **self.ending)
        singles = [self.make_single(**self.ending) for _ in range(3)]
        first = [env.reset(seed=11 + n) for n, env in enumerate(singles)]
        steps = _run(batch, seed=11, steps=100)
        _same(next(steps)[0], np.stack([observation for observation, _ in first]), "first observations")
        ends = 0
        for actions, step in zip(_actions(batch.single_action_space, 3, 100), steps, strict=True):
            for n, env in enumerate(singles):
                observation, reward, terminated, truncated, info = env.step(actions[n])
                over = terminated or truncated
                assert (reward, terminated, truncated) == tuple(part[n] for part in step[1:4])
                if over:
                    ends += 1
                    _same(step[4]["final_obs"][n], observation, "final_obs")
                    _same(step[4]["final_info"]["action_mask"][n], info["action_mask"], "final_info")
                    observation, info = env.reset()
                _same(step[0][n], observation, "a batch's observations must be those of single environments")
                _same(step[4]["action_mask"][n], info["action_mask"], "a batch's action masks")
        assert ends >= 3, "`ending` must be arguments under which episodes end"
        _close(batch, *singles)

    def test_next_step_equals_single_environments_within_the_first_episode(self) -> None:
        batch = self.make_batched(3, autoreset_mode=_NEXT_STEP)
        singles = [self.make_single() for _ in range(3)]
        running = dict(enumerate(singles))
        for n, env in running.items():
            env.reset(seed=5 + n)
        steps = itertools.islice(_run(batch, seed=5, steps=40), 1, None)
        for actions, step in zip(_actions(batch.single_action_space, 3, 40), steps, strict=True):
            for n, env in list(running.items()):
                one = env.step(actions[n])
                _same(step[0][n], one[0], "a batch's observations must be those of single environments")
                assert one[1:4] == tuple(part[n] for part in step[1:4])
                if one[2] or one[3]:
                    del running[n]
        _close(batch, *singles)

    def test_the_order_of_agents_does_not_matter(self) -> None:
        count = 40
        ordered, shuffled = (
            self.make_batched(count, agents_per_world=count, autoreset_mode=_DISABLED, **_CROWD) for _ in range(2)
        )
        order = np.random.default_rng(0).permutation(count)
        for env in (ordered, shuffled):
            env.reset(seed=2)
        here = shuffled.unwrapped.agents  # type: ignore[attr-defined]
        here.y[:], here.x[:] = here.y[order], here.x[order]
        for actions in _actions(ordered.single_action_space, count, 40):
            left, right = ordered.step(actions), shuffled.step(actions[order])
            for a, b in zip(left[:4], right[:4], strict=True):
                _same(a[order], b, "who wins a cell must not depend on the agents' order")
        _close(ordered, shuffled)

    # --- observations, rewards, infos

    def test_observations_are_in_their_space_and_share_no_memory(self) -> None:
        env = self.make_batched(6, agents_per_world=3, autoreset_mode=_SAME_STEP, **self.ending)
        kept: list[NDArray[Any]] = []
        for step in _run(env, seed=0, steps=90):
            assert env.observation_space.contains(step[0]), "an observation must lie in the observation space"
            finals = [row for row in step[-1].get("final_obs", ()) if row is not None]
            assert all(env.single_observation_space.contains(row) for row in finals)
            kept = [*kept[-8:], step[0], *finals]
            assert not any(np.shares_memory(a, b) for a, b in itertools.combinations(kept, 2)), (
                "observations share memory"
            )
        env.close()

    def test_single_observations_are_in_their_space_and_share_no_memory(self) -> None:
        env = self.make_single(**self.ending)
        kept = [env.reset(seed=0)[0]]
        for action in _actions(env.action_space, 1, 60)[:, 0]:
            observation, reward, terminated, truncated, _ = env.step(action)
            assert (type(reward), type(terminated), type(truncated)) == (float, bool, bool)
            assert env.observation_space.contains(observation)
            assert not any(np.shares_memory(observation, other) for other in kept), "observations share memory"
            kept.append(env.reset()[0] if terminated or truncated else observation)
        env.close()

    def test_parallel_episodes_are_plain_and_their_ends_final(self) -> None:
        env = self.make_parallel(agents=6)
        last: tuple[Any, ...] = env.reset(seed=0)
        assert len({id(env.observation_space(agent)) for agent in env.possible_agents}) == 1, "one Space for all agents"
        assert len({id(env.action_space(agent)) for agent in env.possible_agents}) == 1, "one Space for all agents"
        steps = 0
        while env.agents:
            before = env.agents[:]
            step = env.step({agent: env.action_space(agent).sample() for agent in before})
            steps += 1
            observations, rewards, terminations, truncations, infos = step
            assert not any(a is b for a in step for b in last), "dictionaries must be new each step"
            assert all(list(part) == before for part in step), "every dictionary has the agents of before the step"
            assert {type(value) for value in rewards.values()} == {float}
            assert {type(value) for value in (*terminations.values(), *truncations.values())} == {bool}
            for agent, observation in observations.items():
                assert env.observation_space(agent).contains(observation)
                assert not any(np.shares_memory(observation, old) for old in last[0].values())
                assert infos[agent]["action_mask"].dtype == np.int8
            assert env.agents == [agent for agent in before if not (terminations[agent] or truncations[agent])]
            assert not any(truncations.values()) or not env.agents, "max_cycles truncates all who remain at once"
            assert env.state_space.contains(env.state())
            last = step
        assert steps <= 500
        env.close()

    # --- actions

    def test_integers_of_every_kind_and_lists_are_actions(self) -> None:
        kinds = (np.int8, np.int32, np.int64, np.uint8, list)
        envs = [self.make_batched(4) for _ in kinds]
        steps = [
            env.reset(seed=0) and env.step([1, 2, 3, 0] if kind is list else np.array([1, 2, 3, 0], kind))
            for env, kind in zip(envs, kinds, strict=True)
        ]
        for step in steps[1:]:
            _same(step, steps[0], "an action means the same in every integer dtype")
        _close(*envs)

    def test_refused_actions_change_nothing(self) -> None:
        env, twin = self.make_batched(3), self.make_batched(3)
        n = int(env.single_action_space.n)  # type: ignore[attr-defined]
        env.reset(seed=0)
        twin.reset(seed=0)
        for wrong in (
            [0.0, 1.0, 0.0],
            [0, 1],
            [[0, 1, 0]],
            [0, n, 0],
            [0, -1, 0],
            [True, False, True],
            "abc",
            [0, None, 1],
        ):
            with pytest.raises(ActionError):
                env.step(wrong)
        for bad in ([0, 10**9, 0], np.array([0, 2**64 - 1, 0], np.uint64)):
            with pytest.raises(ActionError, match=r"got \d+ for agent 1"):
                env.step(bad)
        for actions in _actions(env.single_action_space, 3, 5):
            _same(env.step(actions), twin.step(actions), "a refused step must change nothing")
        _close(env, twin)

    def test_actions_of_the_dead_are_ignored(self) -> None:
        for mode in (_NEXT_STEP, _DISABLED):
            env, twin = (self.make_batched(6, agents_per_world=3, autoreset_mode=mode) for _ in range(2))
            env.reset(seed=0)
            twin.reset(seed=0)
            over, seen = np.zeros(6, np.bool_), 0
            for actions in _actions(env.single_action_space, 6, 250):
                step = env.step(np.where(over, -1000, actions))
                _same(step, twin.step(actions), "what the dead are told to do must be ignored")
                over = step[2] | step[3]
                seen += int(over.sum())
            assert seen, "the test saw nobody die in 250 random steps; the environment's defaults are too mild for it"
            _close(env, twin)

    # --- life

    def test_the_ended_begin_anew_as_the_mode_says(self) -> None:
        env = self.make_batched(4, autoreset_mode=_DISABLED, **self.ending)
        *_, step = _run(env, seed=0, steps=45)
        over = step[2] | step[3]
        assert over.all(), "with autoreset off what ended must stay ended"
        mask = np.array([True, False, True, False])
        observations, _ = env.reset(options={"reset_mask": mask})
        _same(observations[~mask], step[0][~mask], "a reset_mask must leave the others as they are")
        after = env.step(np.zeros(4, np.int64))
        _same(after[2] | after[3], ~mask, "only those reset live on")
        env.close()
        env = self.make_batched(4, autoreset_mode=_NEXT_STEP, **self.ending)
        assert env.metadata["autoreset_mode"] is _NEXT_STEP
        over = np.zeros(4, np.bool_)
        for step in itertools.islice(_run(env, seed=0, steps=90), 1, None):
            assert not step[1][over].any(), "the step that begins an episode has reward 0"
            assert not (step[2] | step[3])[over].any(), "the step that begins an episode ends none"
            over = step[2] | step[3]
        env.close()

    def test_same_seed_same_process_nothing_shared(self) -> None:
        one, two = (self.make_batched(2, agents_per_world=2) for _ in range(2))
        one.reset(seed=4)
        two.reset(seed=4)
        core, other = one.unwrapped, two.unwrapped
        before = other.state()  # type: ignore[attr-defined]
        _same(core.state(), before, "same seed, same state")  # type: ignore[attr-defined]
        for actions in _actions(one.single_action_space, 2, 10):
            one.step(actions)
        core.world.scatter("DAMAGE_HEAT", 0, np.arange(9), np.arange(9), 1.0)  # type: ignore[attr-defined]
        _same(other.state(), before, "two environments must not share a cell")  # type: ignore[attr-defined]
        one.close()
        two.step([0, 0])
        two.close()

    def test_a_saved_environment_goes_on_to_the_last_byte(self, tmp_path: Path) -> None:
        for mode in (_NEXT_STEP, _SAME_STEP):
            env, other, third = (
                self.make_batched(6, agents_per_world=3, autoreset_mode=mode, **self.ending) for _ in range(3)
            )
            env.reset(seed=8)
            other.reset(seed=9)
            actions = _actions(env.single_action_space, 6, 120)
            ends = (env.step(row)[2:4] for row in actions)
            assert any((one | other).all() for one, other in ends), "`ending` must truncate everybody within 120 steps"
            env.save(tmp_path / mode.value)  # type: ignore[attr-defined]
            state, clone = env.get_state(), env.clone()  # type: ignore[attr-defined]
            now = env.look()  # type: ignore[attr-defined]
            _same(other.load(tmp_path / mode.value), now, "load() must give the observation and infos of that moment")  # type: ignore[attr-defined]
            _same(third.set_state(state), now, "set_state() must give the observation and infos of that moment")  # type: ignore[attr-defined]
            rule = "what follows must be what would have followed: own_arrays() names all arrays that outlive a step"
            for row in actions[:70]:
                step = env.step(row)
                for copy in (other, third, clone):
                    _same(copy.step(row), step, rule)
            begun = env.reset()
            for copy in (other, third, clone):
                _same(copy.reset(), begun, "an unseeded reset must go on from the last episode")
            _close(env, other, third, clone)

    def test_steps_of_a_clone_are_nothing_to_its_original(self) -> None:
        env, twin = (self.make_batched(6, agents_per_world=3, **self.ending) for _ in range(2))
        env.reset(seed=8)
        twin.reset(seed=8)
        for number, row in enumerate(_actions(env.single_action_space, 6, 60)):
            if number % 20 == 0:
                clone = env.clone()  # type: ignore[attr-defined]
                clone.step(row)
                clone.reset(seed=1)
                clone.close()
            _same(env.step(row), twin.step(row), "stepping, resetting or closing a clone must not change the original")
        _close(env, twin)

    def test_every_door_saves_and_loads(self, tmp_path: Path) -> None:
        single, other = self.make_single(), self.make_single()
        single.reset(seed=0)
        single.step(0)
        single.save(tmp_path / "single")  # type: ignore[attr-defined]
        _same(other.load(tmp_path / "single"), single.look(), "the single door must load what it saved")  # type: ignore[attr-defined]
        parallel, twin = self.make_parallel(agents=3), self.make_parallel(agents=3)
        parallel.reset(seed=0)
        parallel.save(tmp_path / "parallel")
        _same(twin.load(tmp_path / "parallel"), parallel.look(), "the parallel door must load what it saved")
        assert twin.agents == parallel.agents
        _close(single, other, parallel, twin)

    def test_after_close_every_use_is_refused(self) -> None:
        batch, single, parallel = self.make_batched(2), self.make_single(), self.make_parallel(agents=2)
        core = batch.unwrapped
        for env in (batch, single, parallel):
            env.reset(seed=0)
            env.close()
            env.close()
            with pytest.raises(ClosedError):
                env.reset(seed=0)
        uses = [lambda: batch.step([0, 0]), core.render, core.state, lambda: single.step(0), parallel.state]  # type: ignore[attr-defined]
        for use in (*uses, lambda: parallel.step(dict.fromkeys(parallel.agents, 0))):
            with pytest.raises(ClosedError):
                use()

    # --- the page

    def test_the_docstring_is_the_environments_page(self) -> None:
        env = self.make_batched(1)
        page = type(env.unwrapped).__doc__ or ""
        found = [line.strip().removeprefix("## ") for line in page.splitlines() if line.strip().startswith("## ")]
        assert tuple(found) == HEADINGS, f"the docstring's headings must be {HEADINGS}, got {found}"
        env.close()


def _actions(space: Any, agents: int, steps: int) -> NDArray[np.int64]:
    return np.random.default_rng(1).integers(0, space.n, (steps, agents))


def _run(env: VectorEnv[Any, Any, Any], *, seed: int, steps: int) -> Iterator[tuple[Any, ...]]:
    """What reset and then `steps` steps of random actions return."""
    yield env.reset(seed=seed)
    for actions in _actions(env.single_action_space, env.num_envs, steps):
        yield env.step(actions)


def _same(a: Any, b: Any, rule: str) -> None:
    """Fail with `rule` unless two results are equal to the last byte."""
    left, right = hashlib.sha256(), hashlib.sha256()
    _feed(left, a)
    _feed(right, b)
    assert left.digest() == right.digest(), f"{rule}; got {a!r:.200} and {b!r:.200}"


def _feed(digest: Any, value: Any) -> None:
    """Feed whatever an environment returns, dictionaries in their own order, into a digest."""
    if isinstance(value, dict):
        for key, item in value.items():
            digest.update(str(key).encode())
            _feed(digest, item)
    elif isinstance(value, tuple | list) or (isinstance(value, np.ndarray) and value.dtype == object):
        for item in value:
            _feed(digest, item)
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    else:
        digest.update(repr(value).encode())


def _close(*envs: Any) -> None:
    for env in envs:
        env.close()
