"""What is told while episodes run and when they end, and what is refused."""

import itertools
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from memfarm.errors import ActionError, ClosedError
from memfarm.testing.doors import Doors
from memfarm.testing.runs import close_all, random_actions, run, same


class Episodes(Doors):
    """Observations, actions, ends of episodes, and the end of all."""

    def test_observations_are_in_their_space_and_share_no_memory(self) -> None:
        env = self.make_batched(6, agents_per_world=3, autoreset_mode=AutoresetMode.SAME_STEP, **self.ending)
        kept: list[NDArray[Any]] = []
        for step in run(env, seed=0, steps=90):
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
        for action in random_actions(env.action_space, 1, 60)[:, 0]:
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

    def test_integers_of_every_kind_and_lists_are_actions(self) -> None:
        kinds = (np.int8, np.int32, np.int64, np.uint8, list)
        envs = [self.make_batched(4) for _ in kinds]
        steps = [
            env.reset(seed=0) and env.step([1, 2, 3, 0] if kind is list else np.array([1, 2, 3, 0], kind))
            for env, kind in zip(envs, kinds, strict=True)
        ]
        for step in steps[1:]:
            same(step, steps[0], "an action means the same in every integer dtype")
        close_all(*envs)

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
        for actions in random_actions(env.single_action_space, 3, 5):
            same(env.step(actions), twin.step(actions), "a refused step must change nothing")
        close_all(env, twin)

    def test_actions_of_the_dead_are_ignored(self) -> None:
        for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED):
            env, twin = (self.make_batched(6, agents_per_world=3, autoreset_mode=mode) for _ in range(2))
            env.reset(seed=0)
            twin.reset(seed=0)
            over, seen = np.zeros(6, np.bool_), 0
            for actions in random_actions(env.single_action_space, 6, 250):
                step = env.step(np.where(over, -1000, actions))
                same(step, twin.step(actions), "what the dead are told to do must be ignored")
                over = step[2] | step[3]
                seen += int(over.sum())
            assert seen, "the test saw nobody die in 250 random steps; the environment's defaults are too mild for it"
            close_all(env, twin)

    def test_the_ended_begin_anew_as_the_mode_says(self) -> None:
        env = self.make_batched(4, autoreset_mode=AutoresetMode.DISABLED, **self.ending)
        *_, step = run(env, seed=0, steps=45)
        over = step[2] | step[3]
        assert over.all(), "with autoreset off what ended must stay ended"
        mask = np.array([True, False, True, False])
        observations, _ = env.reset(options={"reset_mask": mask})
        same(observations[~mask], step[0][~mask], "a reset_mask must leave the others as they are")
        after = env.step(np.zeros(4, np.int64))
        same(after[2] | after[3], ~mask, "only those reset live on")
        env.close()
        env = self.make_batched(4, autoreset_mode=AutoresetMode.NEXT_STEP, **self.ending)
        assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
        over = np.zeros(4, np.bool_)
        for step in itertools.islice(run(env, seed=0, steps=90), 1, None):
            assert not step[1][over].any(), "the step that begins an episode has reward 0"
            assert not (step[2] | step[3])[over].any(), "the step that begins an episode ends none"
            over = step[2] | step[3]
        env.close()

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
