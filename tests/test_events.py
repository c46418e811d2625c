"""Events by both roads: stored and sparse channels show the same windows in the tick of an event, and the next."""

import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from memfarm import channels, register_channel
from memfarm.channels import GROUPS, Channel, Decay, Regrow, Static, unregister_channel
from memfarm.config import MemmapConfig
from memfarm.envs import forage_v0
from memfarm.envs.forage import STAY, Forage
from memfarm.errors import ChannelError, ClosedError, ConfigError, MemfarmError, ReadOnlyError, ShapeError
from memfarm.world import World

SHAPE, COPIES = (9, 11), 2
SMELL = Channel("SMELL", Decay(0.5, floor=0.01), high=4.0)
RAM = MemmapConfig(use_for_resources=False, use_for_environmental=False, use_for_temporal=False)
FIELDS = GROUPS["temporal"]

events = st.lists(
    st.tuples(
        st.integers(0, COPIES - 1),
        st.integers(0, SHAPE[0] - 1),
        st.integers(0, SHAPE[1] - 1),
        st.just(0.0) | st.floats(0.0625, 6.0, width=32),  # well above SMELL's floor, where roundings decide
    ),
    max_size=6,
)
batches = st.lists(st.tuples(st.booleans(), events), min_size=1, max_size=3)


def worlds(boundary: Any = "wall") -> tuple[World, World]:
    """The same world twice: SMELL stored, and SMELL sparse."""
    dense = World(SHAPE, copies=COPIES, memmap=RAM, boundary=boundary, channels={"temporal": (*FIELDS, SMELL)})
    sparse = World(SHAPE, copies=COPIES, memmap=RAM, boundary=boundary, channels={"temporal": FIELDS}, sparse=(SMELL,))
    return dense, sparse


def windows(world: World, masked: bool = False, normalize: bool = True, radius: int = 3) -> NDArray[np.float32]:
    """The windows around every cell of every copy."""
    copy, y, x = (axis.ravel() for axis in np.indices((COPIES, *SHAPE), np.int32))
    cutter = world.windows(("SMELL", "OBSTACLES"), radius, normalize=normalize, mask_by_visibility=masked)
    return cutter(copy, y, x)


def deposit(world: World, accumulate: bool, batch: list[tuple[int, int, int, float]]) -> None:
    table = np.array(batch, np.float64).reshape(-1, 4)
    copy, y, x = table[:, :3].astype(np.int32).T
    world.deposit_temporal_events("SMELL", (y, x, table[:, 3]), copy, accumulate)


@settings(max_examples=40)
@given(batches=batches, boundary=st.sampled_from(["wall", "wrap"]), masked=st.booleans(), normalize=st.booleans())
def test_both_roads_show_the_same_in_the_tick_of_the_event_and_the_next(
    batches: Any, boundary: str, masked: bool, normalize: bool
) -> None:
    pair = worlds(boundary)
    rng = np.random.default_rng(len(batches))
    visibility = rng.random(SHAPE)
    for world in pair:
        world.set_environmental_layer("VISIBILITY", visibility)
        for accumulate, batch in batches:
            deposit(world, accumulate, batch)
    for _ in range(2):
        dense, sparse = (windows(world, masked, normalize) for world in pair)
        np.testing.assert_allclose(sparse, dense, rtol=1e-6, atol=1e-6)
        for world in pair:
            world.advance()
    for world in pair:
        world.close()


@settings(max_examples=40)
@given(first=batches, second=batches)
def test_new_events_fall_on_what_is_left_of_the_last_tick(first: Any, second: Any) -> None:
    pair = worlds()
    for world in pair:
        for accumulate, batch in first:
            deposit(world, accumulate, batch)
        world.advance()
        for accumulate, batch in second:
            deposit(world, accumulate, batch)
    dense, sparse = (windows(world) for world in pair)
    np.testing.assert_allclose(sparse, dense, rtol=1e-6, atol=1e-6)
    for world in pair:
        world.close()


def test_a_stored_event_goes_on_fading_where_a_sparse_one_is_gone() -> None:
    dense, sparse = worlds()
    for world in (dense, sparse):
        deposit(world, True, [(1, 4, 5, 2.0)])
    seen = []
    for _ in range(4):
        seen.append([windows(world, normalize=False)[..., 0].max() for world in (dense, sparse)])
        dense.advance()
        sparse.advance()
    np.testing.assert_allclose(seen, [[2.0, 2.0], [1.0, 1.0], [0.5, 0.0], [0.25, 0.0]])
    dense.close()
    sparse.close()


def test_looking_often_never_makes_a_channel_decay_twice() -> None:
    dense, sparse = worlds()
    for world in (dense, sparse):
        deposit(world, True, [(0, 4, 5, 1.0)])
        world.advance()
        for _ in range(5):
            assert windows(world, normalize=False)[..., 0].max() == 0.5
        world.close()


def test_several_ticks_at_once_pass_for_sparse_events_too() -> None:
    _, sparse = worlds()
    deposit(sparse, True, [(0, 0, 0, 1.0)])
    sparse.advance(0)
    assert windows(sparse)[..., 0].any()
    sparse.advance(2)
    assert not windows(sparse)[..., 0].any()
    sparse.close()


def test_a_reset_forgets_the_events_of_its_copies_only() -> None:
    _, sparse = worlds()
    for copy in range(COPIES):
        deposit(sparse, True, [(copy, 2, 3, 1.0)])
    sparse.advance()
    for copy in range(COPIES):
        deposit(sparse, True, [(copy, 5, 5, 1.0)])
    sparse.reset([1])
    copy, *_ = sparse.sparse.points("SMELL")
    assert copy.tolist() == [0, 0]
    sparse.reset()
    assert sparse.sparse.points("SMELL")[0].size == 0
    sparse.close()


def test_below_its_floor_an_event_is_nothing() -> None:
    _, sparse = worlds()
    deposit(sparse, True, [(0, 2, 3, 0.015)])
    assert windows(sparse)[..., 0].any()
    sparse.advance()
    assert not windows(sparse)[..., 0].any()
    sparse.close()


@pytest.mark.parametrize(
    ("bad", "copy", "error"),
    [
        (([1.0], [2], [1.0]), 0, "integers"),
        (([1], [2], [-1.0]), 0, "at least 0"),
        (([1], [2], [np.nan]), 0, "finite"),
        (([1], [99], [1.0]), 0, "must lie in"),
        (([1], [2], [1.0]), 7, "must lie in"),
        (([1, 1], [2, 2], [1.0]), 0, "one value each"),
        ([(1, 2)], 0, "triples"),
    ],
)
def test_a_bad_event_is_refused_and_nothing_is_left(bad: Any, copy: int, error: str) -> None:
    _, sparse = worlds()
    with pytest.raises(MemfarmError, match=error):
        sparse.deposit_temporal_events("SMELL", bad, copy)
    assert sparse.sparse.points("SMELL")[0].size == 0
    sparse.close()


def test_what_cannot_be_sparse_is_refused() -> None:
    with pytest.raises(ConfigError, match="follows Decay"):
        World(SHAPE, memmap=RAM, sparse=(Channel("A"),))
    with pytest.raises(ChannelError, match="TRAILS"):
        World(SHAPE, memmap=RAM, sparse=(channels.TRAILS,))
    with pytest.raises(ChannelError, match="again"):
        World(SHAPE, memmap=RAM, sparse=(SMELL, SMELL))
    world = World(SHAPE, memmap=RAM)
    with pytest.raises(ChannelError, match="did you mean 'TRAILS'"):
        world.deposit_temporal_events("TRAIL", [(0, 0, 1.0)])
    world.close()


def test_a_world_opened_to_read_takes_no_sparse_event(tmp_path: Any) -> None:
    World(SHAPE, path=tmp_path / "w", channels={"temporal": FIELDS}).close()
    world = World(path=tmp_path / "w", memmap=MemmapConfig(mode="r"), sparse=(SMELL,))
    with pytest.raises(ReadOnlyError, match="an event"):
        world.deposit_temporal_events("SMELL", [(0, 0, 1.0)])
    world.close()


# --- environments


def episode(**arguments: Any) -> NDArray[np.float32]:
    """All windows of a short episode, with TRAILS and DAMAGE_HEAT among them."""
    env = gym.make_vec(
        "memfarm/Forage-v0",
        num_envs=6,
        agents_per_world=3,
        shape=(8, 8),
        channels=("TRAILS", "DAMAGE_HEAT", "RESOURCES"),
        start_energy=0.02,
        config={"memmap": {"dtype": "float32"}},  # what a sparse channel shows is not rounded
        **arguments,
    )
    rng = np.random.default_rng(3)
    seen = [env.reset(seed=1)[0]]
    for _ in range(12):
        seen.append(env.step(rng.integers(0, 6, 6))[0])
    env.close()
    return np.stack(seen)


def test_an_environment_takes_the_sparse_road_by_its_configuration() -> None:
    dense, sparse = episode(), episode(sparse_channels=("TRAILS",))
    np.testing.assert_array_equal(dense[..., 2], sparse[..., 2])  # the same episode
    np.testing.assert_array_equal(dense[1, ..., 0], sparse[1, ..., 0])  # the first steps' trails
    fresh = np.isclose(dense[..., 0], 0.9, atol=1e-6)
    assert fresh.any()
    np.testing.assert_allclose(sparse[..., 0], np.where(fresh, np.float32(0.9), 0.0), atol=1e-6)
    assert (dense[2:, ..., 0] > 0).sum() > (sparse[2:, ..., 0] > 0).sum()


def test_sparse_channels_are_not_stored() -> None:
    env = gym.make("memfarm/Forage-v0", sparse_channels=["TRAILS", "ALLY_SIGNAL"], shape=(8, 8))
    assert env.unwrapped.world.temporal.names == ("DAMAGE_HEAT",)  # type: ignore[attr-defined]
    env.reset(seed=0)
    env.step(STAY)
    env.close()


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (["TRAIL"], "did you mean 'TRAILS'"),
        (["OBSTACLES"], "there is no channel 'OBSTACLES'"),
        (["TRAILS", "TRAILS"], "different names"),
        ([channel.name for channel in FIELDS], "leave one out"),
    ],
)
def test_wrong_sparse_channels_are_refused(names: list[str], error: str) -> None:
    with pytest.raises(MemfarmError, match=error):
        Forage({"world": {"sparse_channels": names, "shape": (8, 8)}})


def test_an_environment_takes_events_for_each_of_its_worlds() -> None:
    env = Forage({"world": {"shape": (8, 8), "map": {"kind": "flat"}}}, worlds=3)
    env.reset(seed=0)
    env.deposit_temporal_events("ALLY_SIGNAL", ([1, 2], [3, 4], [0.5, 0.25]), copy=[0, 2])
    signal = [env.world.temporal.get_window("ALLY_SIGNAL", 0, 8, 0, 8, copy=copy) for copy in range(3)]
    assert [float(layer.sum()) for layer in signal] == [0.5, 0.0, 0.25]
    env.step(np.zeros(3, np.int64))
    faded = env.world.temporal.get_window("ALLY_SIGNAL", 1, 2, 3, 4, copy=0)
    np.testing.assert_allclose(faded, 0.5 * 0.92, rtol=1e-6)
    env.close()
    with pytest.raises(ClosedError):
        env.deposit_temporal_events("ALLY_SIGNAL", [(0, 0, 1.0)])


def test_an_environment_takes_a_layer_for_all_of_its_worlds() -> None:
    env = gym.make_vec("memfarm/Forage-v0", num_envs=2, shape=(8, 8), map={"kind": "flat"}, channels=["OBSTACLES"])
    wall = np.zeros((8, 8))
    wall[:, 4] = 1.0
    env.unwrapped.set_environmental_layer("OBSTACLES", wall)  # type: ignore[attr-defined]
    seen, _ = env.reset(seed=0)
    agents = env.unwrapped.agents  # type: ignore[attr-defined]
    for n in range(2):
        column = 5 + 4 - agents.x[n]  # of the wall, in the window
        assert seen[n, 5, column, 0] == 1.0
    with pytest.raises(ShapeError):
        env.unwrapped.set_environmental_layer("OBSTACLES", wall[:4])  # type: ignore[attr-defined]
    env.close()


def test_the_other_doors_take_events_and_layers_too() -> None:
    single = gym.make("memfarm/Forage-v0", shape=(8, 8), channels=["ALLY_SIGNAL"]).unwrapped
    many = forage_v0.parallel_env(agents=2, shape=(8, 8), channels=["ALLY_SIGNAL"])
    for env in (single, many):
        env.reset(seed=0)
        env.set_environmental_layer("TERRAIN_COST", np.full((8, 8), 0.5))  # type: ignore[attr-defined]
        env.deposit_temporal_events("ALLY_SIGNAL", [(2, 2, 1.0)])  # type: ignore[attr-defined]
        assert env.world.gather("ALLY_SIGNAL", 0, 2, 2) == 1.0  # type: ignore[attr-defined]
        assert env.world.gather("TERRAIN_COST", 0, 7, 7) == pytest.approx(0.5, abs=0.01)  # type: ignore[attr-defined]
        env.close()


# --- channels of one's own


@pytest.fixture
def smell() -> Any:
    register_channel(SMELL)
    yield SMELL
    unregister_channel("SMELL")


def test_a_registered_channel_is_stored_observed_deposited_and_decays(smell: Channel) -> None:
    env = gym.make_vec(
        "memfarm/Forage-v0", num_envs=2, shape=(8, 8), map={"kind": "flat"}, channels=["SMELL", "TRAILS"], radius=8
    )
    env.reset(seed=0)
    env.unwrapped.deposit_temporal_events("SMELL", [(3, 4, 2.0)], copy=1)  # type: ignore[attr-defined]
    stay = np.zeros(2, np.int64)
    assert [env.step(stay)[0][..., 0].max(axis=(1, 2)).tolist() for _ in range(3)] == [
        [0.0, 0.25],
        [0.0, 0.125],
        [0.0, 0.0625],
    ]
    env.close()


def test_a_registered_channel_can_be_sparse(smell: Channel) -> None:
    env = gym.make("memfarm/Forage-v0", shape=(8, 8), channels=["SMELL"], sparse_channels=["SMELL"], radius=8).unwrapped
    env.reset(seed=0)
    env.deposit_temporal_events("SMELL", [(3, 4, 2.0)])  # type: ignore[attr-defined]
    assert [env.step(STAY)[0].max() for _ in range(2)] == [0.25, 0.0]
    env.close()


def test_registered_channels_of_the_other_groups_are_stored_too() -> None:
    water = Channel("WATER", Regrow(0.5, 2.0), high=2.0, fill=2.0)
    register_channel(water, group="resources")
    register_channel(Channel("SOIL", Static(), fill=0.25), group="environmental")
    try:
        world = World(SHAPE, memmap=RAM)
        assert world.resources.names == ("RESOURCES", "WATER")
        assert world.observe(0, 1, 1, 0, ["SOIL", "WATER"])[0, 0, 0].tolist() == pytest.approx([0.25, 2.0], abs=0.01)
        assert world.take("WATER", 0, 1, 1, 1.5).tolist() == [1.5]
        world.advance()
        assert world.gather("WATER", 0, 1, 1).tolist() == [1.5]
        world.close()
    finally:
        unregister_channel("WATER")
        unregister_channel("SOIL")
    world = World(SHAPE, memmap=RAM)
    assert list(world.channels) == [channel.name for group in GROUPS.values() for channel in group]
    world.close()


def test_one_world_alone_gets_a_channel_explicitly() -> None:
    world = World(SHAPE, memmap=RAM, channels={"temporal": (*FIELDS, SMELL)})
    world.deposit_temporal_events("SMELL", [(0, 0, 9.0)])
    assert world.gather("SMELL", 0, 0, 0) == SMELL.high
    world.close()


@pytest.mark.parametrize(
    "name", ["TRAILS", "RESOURCES", "OBSTACLES", "SELF_HP", "GOAL", "KNOWN_EMPTY", "LANDMARKS", "SMELL"]
)
def test_a_name_that_is_taken_is_refused(smell: Channel, name: str) -> None:
    with pytest.raises(ChannelError, match=f"'{name}' again"):
        register_channel(Channel(name))


@pytest.mark.parametrize(
    ("channel", "group", "error"),
    [
        (SMELL, "smells", "temporal"),
        (SMELL, "environmental", "Static"),
        ("SMELL", "temporal", "takes a Channel"),
    ],
)
def test_what_cannot_be_registered_is_refused(channel: Any, group: str, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        register_channel(channel, group=group)
    with pytest.raises(ChannelError, match="no registered channel"):
        unregister_channel("SMELL")


def test_a_named_world_keeps_its_sparse_channels_where_it_is_sent(tmp_path: Any) -> None:
    world = World(SHAPE, path=tmp_path / "w", sparse=(SMELL,))
    world.flush()
    there = pickle.loads(pickle.dumps(world))
    assert there.sparse.channels == (SMELL,)
    there.close()
    world.close()
    with pytest.raises(ChannelError, match="TRAILS"):
        World.open(tmp_path / "w", sparse=(channels.TRAILS,))


def test_a_scratch_world_is_remade_with_the_channels_it_had(smell: Channel) -> None:
    world = World(SHAPE, memmap=RAM)
    recipe = pickle.dumps(world)
    unregister_channel("SMELL")
    again = pickle.loads(recipe)
    assert again.channels == world.channels
    register_channel(SMELL)
    world.close()
    again.close()
