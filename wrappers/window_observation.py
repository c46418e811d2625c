"""WindowObservation: every agent sees the window of the world around it, as one torch tensor or NumPy array."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper
from numpy.typing import NDArray

from memfarm.channels import REMEMBERED, expand
from memfarm.config import MemmapConfig
from memfarm.errors import ConfigError, StorageError
from memfarm.memory import AgentMemory
from memfarm.stateful import Saved, Whole
from memfarm.windows import check_radius
from memfarm.world import World
from memfarm.wrappers.company import Company
from memfarm.wrappers.cutting import Cut, make_cutting
from memfarm.wrappers.inhabited import answer_on_final, inhabited, saved
from memfarm.wrappers.memory_state import MemoryState
from memfarm.wrappers.outlet import Outlet
from memfarm.wrappers.recollection import Recollection
from memfarm.wrappers.unfinished import Unfinished
from memfarm.wrappers.unit_box import UnitBox

if TYPE_CHECKING:
    _Wrapper = VectorWrapper[Any, Any, Any, Any, NDArray[Any]]
else:
    _Wrapper = VectorWrapper  # gymnasium before 1.4 has no type parameters

DEFAULT_CHANNELS: Final = ("SELF_HP", "ALLIES_HP", "RESOURCES", "OBSTACLES", "TERRAIN_COST", "VISIBILITY", "TRAILS")
"""What an agent sees unless told otherwise, in the order of the windows' channels."""


class WindowObservation(Saved, _Wrapper):
    """Replaces a vector environment's observations by the agents' windows, cut in one compiled call.

    env: any vector environment whose `unwrapped` has a `world` (`memfarm.world.World`) and `agents` (`Agents`).
    radius: cells seen on each side; S = 2 * radius + 1.
    channels: names of world channels, SELF_HP (own health, centre cell only), ALLIES_HP and ENEMIES_HP (health of the
        other living agents of one's team, and of the other teams), GOAL (1 at the agent's goal), KNOWN_EMPTY and
        LANDMARKS (what the agent remembers, see `AgentMemory`), in the order of the windows' channels; "agentfarm":
        the 13 of `memfarm.channels.AGENTFARM`, masked by visibility; None: `DEFAULT_CHANNELS`.
    tensor: "torch": tensors `(N, C, S, S)` in channels_last strides. "numpy": float32 arrays `(N, S, S, C)`.
    device, dtype: any torch device; float32, float16, bfloat16, or uint8 (0 to 255 for 0 to 1), rounded to nearest even
        as the windows are cut. NumPy knows only "cpu" and "float32".
    world: a torch device, the same as `device`, that holds a mirror of the world's layers and cuts the windows itself,
        to the same bytes: only what was written crosses to it. Agents remember nothing then. None: the processor cuts
        them, and they cross.
    mask_by_visibility: scale what lies in a cell (allies, resources, fields) by the cell's VISIBILITY.
    copy: every observation is memory of its own, kept as long as anything refers to it. False: one buffer, and each
        reset or step overwrites the observation before it.
    threads: threads that share the cutting; they end with each call.
    gamma_known: the share of KNOWN_EMPTY that is left after a tick. memmap: `use_for_memory`, whether what agents
        remember lies in scratch files or in anonymous memory.
    mapped_above: bytes above which a batch of windows, and what is converted from it on the CPU, lies in a mapped file
        without a name, not in anonymous memory; None: never.

    Values are shares of each channel's range, in [0, 1]. A dead agent sees the place where it died, with SELF_HP 0, and
    is nobody's ally. Rewards, flags and infos stay as the environment gives them; actions may be tensors. Spaces are
    NumPy's and describe what is returned (bfloat16, which NumPy lacks, as float32).

    Under `AutoresetMode.SAME_STEP` the environment asks for the last windows of ended agents through its attribute
    `on_final`, which this wrapper sets to a function of their indices `(M,)`, and puts them in `infos["final_obs"]`.

    Raises ConfigError or ChannelError at construction.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        radius: int = 5,
        channels: Sequence[str] | Literal["agentfarm"] | None = None,
        *,
        tensor: Literal["torch", "numpy"] = "torch",
        device: str = "cpu",
        world: str | None = None,
        dtype: str = "float32",
        mask_by_visibility: bool = False,
        copy: bool = True,
        threads: int = 1,
        gamma_known: float = 0.98,
        memmap: MemmapConfig | None = None,
        mapped_above: int | None = None,
    ) -> None:
        core = inhabited(env)
        check_radius(radius)
        if not isinstance(threads, int) or threads < 1:
            raise ConfigError(f"threads must be an int of at least 1, got {threads!r}")
        super().__init__(env)
        self.channels: Final = DEFAULT_CHANNELS if channels is None else expand(channels)
        self.radius: Final = radius
        self._core: Final = core
        self._mask_by_visibility: Final = mask_by_visibility or channels == "agentfarm"
        self._threads: Final = threads
        self._company: Final = Company(core.agents, self.channels)
        self._gamma_known: Final = gamma_known
        self._memmap: Final = memmap or MemmapConfig()
        self._recollection: Recollection | None = None
        self._also: tuple[str, ...] = ()
        self._overview: tuple[int, int] | None = None
        kind = (tensor, str(device), str(dtype).removeprefix("torch."), copy, mapped_above)
        self._mirrored_on: Final = None if world is None else str(world)
        self._cutting: Final = make_cutting(self._mirrored_on, *kind)
        self._world, self._cutter = self._plan()
        side = 2 * radius + 1
        self._shape: Final = (env.num_envs, side, side, len(self.channels))
        self._kind: Final = kind
        self._outlet: Final = self.another_outlet(self._shape)
        self._next: Any = None  # memory that the next windows are cut into
        self._unfinished: Final = Unfinished()
        self._begun: dict[str, Any] | None = None  # infos of a reset whose windows are still owed
        single = self.another_space(self._shape[1:])
        self.single_observation_space = single
        self.observation_space = UnitBox((env.num_envs, *single.shape), single.dtype)
        answer_on_final(core, self.final_windows, self.metadata)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment; the first windows and its infos.

        Where the disk is full (StorageError) the same reset, with room, begins the same episode.
        """
        self._unfinished.drop()
        again = seed is None and not options
        infos = self._begun if again and self._begun is not None else self.env.reset(seed=seed, options=options)[1]
        self._begun = infos
        self._catch_up()
        if self._recollection is not None and seed is not None:
            self._recollection.anew = True
        windows = self._observe()
        self._begun = None
        return windows, infos

    def step(self, actions: Any) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Step the environment with `actions`, an array or a tensor; the windows after it, and the rest as it is.

        Where the disk is full (StorageError) the step has not happened, or, where only what agents remember found no
        room, its answer is still owed: with room the same actions give it, others are refused (ActionError).
        """
        actions, self._begun = self._outlet.actions(actions), None
        taken = self._unfinished.resume(actions) if self._unfinished else self.env.step(actions)
        try:
            windows = self._observe()
        except StorageError:  # no room for what agents remember
            self._unfinished.owe(actions, taken)
            raise
        self._unfinished.drop()
        _, rewards, terminations, truncations, infos = taken
        return windows, rewards, terminations, truncations, infos

    def write_next_to(self, buffer: Any) -> None:
        """Have the next reset or step cut its windows into `buffer`, a slot of a rollout say, without a copy.

        buffer: a writable C-contiguous float32 array `(N, S, S, C)`, or a float32 CPU tensor of that memory
            (contiguous so, or `(N, C, S, S)` in channels_last strides). What is returned then is `buffer`'s memory, or
            converted from it where another device or dtype was asked for. It counts for one call. Where `world` is
            given: such a tensor of that device and of the dtype that was asked for.
        Raises ShapeError or DTypeError; the next call is then not changed.
        """
        self._next = self._cutting.memory_of(buffer, self._shape)

    def whole(self) -> Whole:
        """What a state is made of: the environment's, and what its agents remember."""
        whole: Whole = saved(self._core).whole()
        self._catch_up()
        return whole if self._recollection is None else whole.with_more(memory=MemoryState(self._recollection))

    def resume(self) -> None:
        """Owe no answer of a step before."""
        self._unfinished.drop()

    def look(self) -> tuple[Any, dict[str, Any]]:
        """The windows and infos of this moment; in `write_next_to`'s buffer, if there is one."""
        self._unfinished.drop()  # a state may have been put back
        self._begun = None
        _, infos = saved(self._core).look()
        return self._observe(see=False), infos

    def clone(self) -> Self:
        """A new environment of windows in the same state, see `GridEnv.clone`."""
        core = saved(self._core).clone()
        try:
            clone = self.around(core)
            if self._recollection is not None:
                clone.whole().copy(self.whole(), "memory")
        except BaseException:
            core.close()
            raise
        return clone

    def around(self, env: VectorEnv[Any, Any, Any]) -> Self:
        """A wrapper like this one around another environment."""
        clone = self._maker()(env)
        if self._also or self._overview is not None:
            clone.remember(self._also, self._overview)
        return clone

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the recipe: the copy is a new environment, to be reset."""
        return (self._maker(), (self.env,))

    def _maker(self) -> Callable[..., Self]:
        tensor, device, dtype, copy, mapped_above = self._kind
        return functools.partial(
            type(self),
            radius=self.radius,
            channels=self.channels,
            tensor="torch" if tensor == "torch" else "numpy",
            device=device,
            world=self._mirrored_on,
            dtype=dtype,
            mask_by_visibility=self._mask_by_visibility,
            copy=copy,
            threads=self._threads,
            gamma_known=self._gamma_known,
            memmap=self._memmap,
            mapped_above=mapped_above,
        )

    def close(self, **kwargs: Any) -> None:
        """Close the environment; observations already handed out stay."""
        self._next = None
        self._forget_all()
        super().close(**kwargs)

    def _plan(self) -> tuple[World, Cut]:
        world, masked = self._core.world, self._mask_by_visibility
        cutter = world.windows(self.channels, self.radius, normalize=True, mask_by_visibility=masked)
        if self._also or not set(REMEMBERED).isdisjoint(self.channels):
            if not self._cutting.remembers:
                raise ConfigError(
                    f"what agents remember is kept by the processor, got world={self._mirrored_on!r}; leave out world, "
                    f"or what is remembered ({', '.join((*self._also, *REMEMBERED))})"
                )
            new = Recollection(
                world,
                self._core.agents,
                self.channels,
                self.radius,
                also=self._also,
                overview=self._overview,
                masked=masked,
                gamma_known=self._gamma_known,
                memmap=MemmapConfig(use_for_memory=self._memmap.use_for_memory),  # scratch: it ends with this wrapper
            )
            self._forget_all()
            self._recollection = new
        return world, self._cutting.cutter(cutter, world)

    def remember(self, channels: Sequence[str], overview: tuple[int, int] | None = None) -> None:
        """Have the agents remember `channels` of their windows from now on, from nothing: see `AgentMemory`.

        Raises ConfigError or ChannelError where that cannot be; they then remember what they did.
        """
        before = self._also, self._overview
        self._also, self._overview = tuple(channels), overview
        try:
            self._world, self._cutter = self._plan()
        except BaseException:
            self._also, self._overview = before
            raise

    @property
    def remembered(self) -> tuple[str, ...]:
        """The channels that `remember` was told of."""
        return self._also

    @property
    def memory(self) -> AgentMemory | None:
        """What the agents remember; None where they remember nothing."""
        return None if self._recollection is None else self._recollection.memory

    def _forget_all(self) -> None:
        if self._recollection is not None:
            self._recollection.close()

    def _observe(self, see: bool = True) -> Any:
        lend = self._outlet.buffer if self._recollection is None else self._outlet.buffer32
        windows = lend() if self._next is None else self._next
        self._cut(windows, see=see)
        self._next = None
        return self._outlet.hand_out(windows)

    def _catch_up(self) -> None:
        if self._core.world is not self._world:
            self._world, self._cutter = self._plan()

    def _cut(self, out: Any, rows: NDArray[np.integer[Any]] | None = None, see: bool = True) -> None:
        """Cut the windows of all agents, or of those at index `rows` `(M,)`, into `out` `(N or M, S, S, C)`.

        out: memory of `self._cutting`. see: whether the agents see them now; otherwise they have.
        """
        self._catch_up()
        agents = self._core.agents
        sight = self._company.sight(agents, rows)
        copy, y, x = agents.copy, agents.y, agents.x
        if rows is not None:
            copy, y, x = copy[rows], y[rows], x[rows]
        self._cutter(copy, y, x, out, sight.centres, sight.points, self._threads, sight.layers)
        if self._recollection is not None and see:
            self._recollection.fill(out, agents, rows)
        elif self._recollection is not None:
            self._recollection.show(out, np.arange(len(out), dtype=np.int32), y, x)

    def final_windows(self, rows: NDArray[np.integer[Any]]) -> Any:
        """The windows of the agents at index `rows` `(M,)`, where they are now, in their order; memory of its own."""
        windows = self.new_array((len(rows), *self._shape[1:]))
        self._cut(windows, rows)
        return self._outlet.hand_out_fresh(windows)

    def new_array(self, shape: tuple[int, ...]) -> Any:
        """A new float32 array of unspecified contents, where a batch of windows of that size would lie.

        Where `world` is given, a tensor there of the dtype that was asked for.
        """
        return self._cutting.new(shape)

    def another_outlet(self, shape: tuple[int, int, int, int]) -> Outlet:
        """What hands out float32 arrays of `shape` `(N, S, S, C)` as windows are handed out here."""
        return self._cutting.outlet(shape)

    def another_space(self, shape: tuple[int, int, int]) -> UnitBox:
        """The space of what such an outlet hands out for one agent; `shape` is `(S, S, C)`."""
        tensor, _, dtype, *_ = self._kind
        single = shape if tensor == "numpy" else (shape[2], *shape[:2])
        return UnitBox(single, "float32" if dtype == "bfloat16" else dtype)
