"""An environment saved, loaded or cloned goes on as if nothing had been."""

from pathlib import Path

from gymnasium.vector import AutoresetMode

from memfarm.testing.doors import Doors
from memfarm.testing.runs import close_all, random_actions, same


class Saving(Doors):
    """Snapshots, states and clones, through every door."""

    def test_a_saved_environment_goes_on_to_the_last_byte(self, tmp_path: Path) -> None:
        for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
            env, other, third = (
                self.make_batched(6, agents_per_world=3, autoreset_mode=mode, **self.ending) for _ in range(3)
            )
            env.reset(seed=8)
            other.reset(seed=9)
            actions = random_actions(env.single_action_space, 6, 120)
            ends = (env.step(row)[2:4] for row in actions)
            assert any((one | other).all() for one, other in ends), "`ending` must truncate everybody within 120 steps"
            env.save(tmp_path / mode.value)  # type: ignore[attr-defined]
            state, clone = env.get_state(), env.clone()  # type: ignore[attr-defined]
            now = env.look()  # type: ignore[attr-defined]
            same(other.load(tmp_path / mode.value), now, "load() must give the observation and infos of that moment")  # type: ignore[attr-defined]
            same(third.set_state(state), now, "set_state() must give the observation and infos of that moment")  # type: ignore[attr-defined]
            rule = "what follows must be what would have followed: own_arrays() names all arrays that outlive a step"
            for row in actions[:70]:
                step = env.step(row)
                for copy in (other, third, clone):
                    same(copy.step(row), step, rule)
            begun = env.reset()
            for copy in (other, third, clone):
                same(copy.reset(), begun, "an unseeded reset must go on from the last episode")
            close_all(env, other, third, clone)

    def test_steps_of_a_clone_are_nothing_to_its_original(self) -> None:
        env, twin = (self.make_batched(6, agents_per_world=3, **self.ending) for _ in range(2))
        env.reset(seed=8)
        twin.reset(seed=8)
        for number, row in enumerate(random_actions(env.single_action_space, 6, 60)):
            if number % 20 == 0:
                clone = env.clone()  # type: ignore[attr-defined]
                clone.step(row)
                clone.reset(seed=1)
                clone.close()
            same(env.step(row), twin.step(row), "stepping, resetting or closing a clone must not change the original")
        close_all(env, twin)

    def test_every_door_saves_and_loads(self, tmp_path: Path) -> None:
        single, other = self.make_single(), self.make_single()
        single.reset(seed=0)
        single.step(0)
        single.save(tmp_path / "single")  # type: ignore[attr-defined]
        same(other.load(tmp_path / "single"), single.look(), "the single door must load what it saved")  # type: ignore[attr-defined]
        parallel, twin = self.make_parallel(agents=3), self.make_parallel(agents=3)
        parallel.reset(seed=0)
        parallel.save(tmp_path / "parallel")
        same(twin.load(tmp_path / "parallel"), parallel.look(), "the parallel door must load what it saved")
        assert twin.agents == parallel.agents
        close_all(single, other, parallel, twin)
