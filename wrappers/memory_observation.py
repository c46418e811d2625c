"""MemoryObservation: what every agent remembers of the world, beside what it sees of it now."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from gymnasium.spaces import Dict
from gymnasium.vector import VectorEnv, VectorWrapper
from numpy.typing import NDArray

from memfarm.errors import ConfigError
from memfarm.memory import DEFAULT_MEMORY, AgentMemory
from memfarm.stateful import Saved, Whole
from memfarm.windows import check_radius
from memfarm.wrappers.inhabited import answer_on_final, inhabited, saved
from memfarm.wrappers.unit_box import UnitBox
from memfarm.wrappers.window_observation import WindowObservation

if TYPE_CHECKING:
    _Wrapper = VectorWrapper[Any, Any, Any, Any, NDArray[Any]]
else:
    _Wrapper = VectorWrapper  # gymnasium before 1.4 has no type parameters

Observation = dict[str, Any]


class MemoryObservation(Saved, _Wrapper):
    """Makes observations dicts: the agents' windows, and what they remember of the world in this life.

    env: a `WindowObservation`; anything else with a world and agents is wrapped in one, with its defaults.
    radius: cells of memory on each side, which may be more than the eye sees; None: that of the windows.
    channels: what is remembered, of what the windows show, see `memfarm.memory.AgentMemory`; None: `DEFAULT_MEMORY`,
        as far as the windows show it.
    overview: (rows, columns) of the coarse view of the whole memory; None leaves it out.

    `observation["window"]` is what the windows are without this wrapper. `observation["memory"]` is the agent's memory
    around it, `(N, M, M, Cm)` or as tensors `(N, Cm, M, M)`, M = 2 * radius + 1, and `observation["overview"]` all of
    it, `(N, rows, columns, Cm)` or `(N, Cm, rows, columns)`: arrays or tensors, device, dtype and `copy` as of the
    windows, each memory of its own. What an agent sees in a step is in them already. Values are in [0, 1]; 0 is also
    what an agent knows nothing of. Spaces are `gymnasium.spaces.Dict`.

    A new life, after a death or a reset, begins with an empty memory: one increment an agent. In every autoreset mode
    the last observation of a life still has its memory. Needs agents that count their lives (`agents.life`). Raises
    ConfigError or ChannelError at construction.
    """

    env: WindowObservation

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        radius: int | None = None,
        channels: Sequence[str] | None = None,
        *,
        overview: tuple[int, int] | None = (16, 16),
    ) -> None:
        windows = env if isinstance(env, WindowObservation) else WindowObservation(env)
        if radius is not None:
            check_radius(radius)
        if isinstance(channels, str):
            raise ConfigError(f"channels must be a sequence of names, got {channels!r}; pass [{channels!r}]")
        if channels is None:
            channels = [name for name in DEFAULT_MEMORY if name in (*windows.channels, "KNOWN_EMPTY")]
        if not channels:
            raise ConfigError("channels must be one or more names, got none; leave the wrapper out")
        windows.remember(channels, overview)
        self._overview: Final = overview
        super().__init__(windows)
        self.memory_radius: Final = windows.radius if radius is None else radius
        self._core: Final = inhabited(windows)
        self._everyone: Final = np.arange(windows.num_envs, dtype=np.int32)
        side, depth = 2 * self.memory_radius + 1, len(self.memory.channels)
        self._memories: Final = windows.another_outlet((windows.num_envs, side, side, depth))
        view = (2 * windows.radius + 1, 2 * windows.radius + 1, len(windows.channels))
        spaces = {"window": windows.another_space(view), "memory": windows.another_space((side, side, depth))}
        self._overviews = None
        if overview is not None:
            square = self.memory.overview_side
            self._overviews = windows.another_outlet((windows.num_envs, square, square, depth))
            spaces["overview"] = windows.another_space((*self.memory.overview_shape, depth))
        self.single_observation_space = Dict(dict(spaces))
        self.observation_space = Dict(
            {name: UnitBox((windows.num_envs, *space.shape), space.dtype) for name, space in spaces.items()}
        )
        answer_on_final(self._core, self.final_observations, self.metadata)

    @property
    def memory(self) -> AgentMemory:
        """What the agents remember."""
        memory = self.env.memory
        if memory is None:
            raise ConfigError("the windows remember nothing any more, got another remember(); make a new wrapper")
        return memory

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels of the windows, in their order; those of the memory are `memory.channels`."""
        return self.env.channels

    @property
    def radius(self) -> int:
        """Cells that the windows show on each side."""
        return self.env.radius

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment; the first observation and its infos."""
        buffers = self._buffers()
        windows, infos = self.env.reset(seed=seed, options=options)
        return self._beside(windows, *buffers), infos

    def step(self, actions: Any) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Step the environment with `actions`, an array or a tensor; the observation after it, the rest as it is."""
        buffers = self._buffers()
        windows, rewards, terminations, truncations, infos = self.env.step(actions)
        return self._beside(windows, *buffers), rewards, terminations, truncations, infos

    def write_next_to(self, buffer: Any) -> None:
        """Have the next reset or step cut its windows into `buffer`: see `WindowObservation.write_next_to`."""
        self.env.write_next_to(buffer)

    def whole(self) -> Whole:
        """What a state is made of: the environment's, and what its agents remember."""
        return self.env.whole()

    def resume(self) -> None:
        """Owe no answer of a step before."""
        self.env.resume()

    def look(self) -> tuple[Any, dict[str, Any]]:
        """The observation and infos of this moment."""
        buffers = self._buffers()
        windows, infos = self.env.look()
        return self._beside(windows, *buffers), infos

    def clone(self) -> Self:
        """A new environment of windows and memories in the same state, see `GridEnv.clone`."""
        core = saved(self._core).clone()
        try:
            windows = self.env.around(core)
            clone = type(self)(windows, self.memory_radius, self.env.remembered, overview=self._overview)
            clone.whole().copy(self.whole(), "memory")
        except BaseException:
            core.close()
            raise
        return clone

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the recipe: the copy is a new environment, to be reset."""
        make = functools.partial(
            type(self), radius=self.memory_radius, channels=self.env.remembered, overview=self._overview
        )
        return (make, (self.env,))

    def final_observations(self, rows: NDArray[np.integer[Any]]) -> list[Observation]:
        """The observation of each agent at index `rows` `(M,)`, where it is now, in their order; memory of its own."""
        parts = {"window": self.env.final_windows(rows)}
        memories, index = self.memory, rows.astype(np.int32)
        y, x = self._core.agents.y[index], self._core.agents.x[index]
        depth, side = len(memories.channels), 2 * self.memory_radius + 1
        around = self.env.new_array((len(rows), side, side, depth))
        parts["memory"] = self._memories.hand_out_fresh(memories.observe(index, y, x, self.memory_radius, out=around))
        if self._overviews is not None:
            square = self.env.new_array((len(rows), *[memories.overview_side] * 2, depth))
            memories.overview(index, square)
            parts["overview"] = self._cut(self._overviews.hand_out_fresh(square))
        return [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]

    def _buffers(self) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """What memory and overview are written into: had before the step, which a full disk then finds undone."""
        return self._memories.buffer(), None if self._overviews is None else self._overviews.buffer()

    def _beside(self, windows: Any, around: NDArray[np.float32], square: NDArray[np.float32] | None) -> Observation:
        """`windows` with the memories of all agents, which have seen them."""
        agents = self._core.agents
        self.memory.observe(self._everyone, agents.y, agents.x, self.memory_radius, out=around)
        observation = {"window": windows, "memory": self._memories.hand_out(around)}
        if self._overviews is not None and square is not None:
            self.memory.overview(self._everyone, square)
            observation["overview"] = self._cut(self._overviews.hand_out(square))
        return observation

    def _cut(self, square: Any) -> Any:
        """The overview in a square of arrays `(N, D, D, C)` or tensors `(N, C, D, D)`: a view."""
        return self.memory.cut_overview(square, 1 if isinstance(square, np.ndarray) else 2)
