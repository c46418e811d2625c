"""A step of foragers in compiled calls: what the world's own verbs make of it, and both kernels the same bytes."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from crowds import Crowd
from hypothesis import given, settings
from hypothesis import strategies as st

from memfarm import kernels, layout, reference
from memfarm.channels import Channel, Decay, Regrow, Static
from memfarm.envs.actions import checked
from memfarm.errors import ActionError, ChannelError
from memfarm.grid import ChannelGrid

SEEDS = st.integers(0, 2**63)
BELOW = 0.5
EAT = 5

Array = np.ndarray[Any, Any]


class Scene:
    """Three grids on one clock that were written here and there, and agents of which no two alive ones share a cell."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.rng = rng
        self.shape = int(rng.integers(1, 40)), int(rng.integers(1, 40))
        self.copies = int(rng.integers(1, 4))
        self.boundary: layout.Boundary = "wrap" if rng.random() < 0.5 else "wall"
        kinds = ("float32", "float16", "float64")
        dtypes = [str(rng.choice(["uint8", *kinds])), str(rng.choice(kinds)), str(rng.choice(kinds))]
        capacity = Channel("CAPACITY", Static())
        ground = (Channel("OBSTACLES", Static()), Channel("TERRAIN_COST", Static()), capacity)
        bounded = "CAPACITY" if rng.random() < 0.5 else 1.0
        food = (Channel("RESOURCES", Regrow(0.01, bounded), fill=0.5),)
        fields = (Channel("DAMAGE_HEAT", Decay(0.9)), Channel("TRAILS", Decay(0.8)))
        parts = ((1, ground, dtypes[0]), (self.copies, food, dtypes[1]), (self.copies, fields, dtypes[2]))
        self.grids = [
            ChannelGrid(self.shape, channels, copies=copies, dtype=dtype, boundary=self.boundary, backend="ram")
            for copies, channels, dtype in parts
        ]
        self.linked = bounded == "CAPACITY"
        if self.linked:
            self.grids[1].link("RESOURCES", self.grids[0])
        layers = {"OBSTACLES": rng.random(self.shape) < rng.choice([0.0, 0.3]), "TERRAIN_COST": rng.random(self.shape)}
        for name, layer in (layers | {"CAPACITY": rng.random(self.shape)}).items():
            if rng.random() < 0.8:
                self.grids[0].write(name, layer, 0, 0, 0)
        for grid in self.grids[1:]:
            grid.advance(int(rng.integers(0, 300)))
            for name in grid.names:
                where = (rng.integers(0, n, 20) for n in (self.copies, *self.shape))
                grid.scatter(name, *where, rng.random(20))
            grid.advance(int(rng.integers(0, 300)))
        crowd = Crowd(rng, self.copies, self.shape)
        self.copy, self.y, self.x = crowd.copy, crowd.y, crowd.x
        self.alive, self.live, self.keys = crowd.alive, crowd.live, crowd.keys
        self.actions = rng.integers(0, 6, len(crowd.y))
        self.energy = (rng.random(len(crowd.y)) * rng.choice([0.02, 1.0])).astype(np.float32)

    def kernels(self, module: ModuleType) -> tuple[list[Any], list[Array]]:
        """Grids of one of the two kernels over copies of the bytes, and these."""
        made, kept = [], []
        for grid in self.grids:
            parts = [array.copy() for array in grid._segments.arrays.values()]
            lanes = [layout.lane(channel) for channel in grid.channels]
            made.append(module.Grid(*parts, lanes, *self.shape, self.boundary == "wrap", grid.epoch))
            made[-1].set_tick(grid.tick)
            kept += parts
        if self.linked:
            made[1].link(0, made[0], 2)
        return made, kept


def step(module: Any, scene: Scene, grids: list[Any], trails: int, heat: int) -> dict[str, Any]:
    """Everything that a step of the kernels gives, by name."""
    ground, food, fields = grids
    count = len(scene.y)
    found: dict[str, Any] = {name: np.zeros(count, np.int32) for name in ("y", "x")}
    found |= {name: np.zeros(count, np.float32) for name in ("spent", "eaten", "hp")}
    found["energy"] = scene.energy.copy()
    found["food_tiles"], found["field_tiles"] = module.forage_walk(
        ground, 0, 1, BELOW, food, fields, trails, scene.copy, scene.y, scene.x, scene.actions, scene.live,
        scene.alive, scene.energy, scene.keys, 0.01, 0.05, found["y"], found["x"], found["spent"],
    )  # fmt: skip
    here = scene.copy, found["y"], found["x"]
    module.forage_eat(food, 0, fields, trails, *here, scene.actions, scene.live, 0.3, 0.5, found["eaten"])
    found["rewards"], found["died"], found["deaths"] = module.forage_settle(
        fields, heat, *here, scene.live, found["eaten"], found["spent"], found["energy"], found["hp"], 0.9, 1.5, 2.0
    )
    found["masks"] = np.zeros((count, 6), np.bool_)
    module.forage_look(ground, 0, BELOW, food, 0, *here, scene.alive, found["masks"])
    return found


@pytest.mark.once
@settings(deadline=None, max_examples=150)
@given(seed=SEEDS)
def test_both_kernels_give_the_same_bytes(seed: int) -> None:
    scene = Scene(seed)
    compiled = pytest.importorskip("memfarm._kernels")
    trails, heat = int(scene.rng.choice([-1, 1])), int(scene.rng.choice([-1, 0]))
    outs = []
    for module in (reference, compiled):
        grids, arrays = scene.kernels(module)
        grids[2] = None if trails < 0 and heat < 0 else grids[2]
        found = step(module, scene, grids, trails, heat)
        outs.append(found | {f"bytes {n}": array for n, array in enumerate(arrays)})
    twin, fast = outs
    for name in twin:
        assert np.asarray(twin[name]).dtype == np.asarray(fast[name]).dtype, name
        assert np.asarray(twin[name]).tobytes() == np.asarray(fast[name]).tobytes(), name


@settings(deadline=None, max_examples=100)
@given(seed=SEEDS)
def test_a_step_is_what_the_grids_own_verbs_make_of_it(seed: int) -> None:
    scene, plain = Scene(seed), Scene(seed)
    found = step(kernels, scene, [grid.compiled([grid.names[0]]) for grid in scene.grids], 1, 0)

    ground, food, fields = plain.grids
    y, x, live = plain.y, plain.x, plain.live
    cost = ground.walk(
        "OBSTACLES", "TERRAIN_COST", BELOW, plain.copy, y, x, plain.actions, live, plain.alive, plain.keys
    )
    eats = live & (plain.actions == EAT)
    here = plain.copy, y, x
    at = [tuple(axis[chosen] for axis in here) for chosen in (eats, live)]
    assert np.array_equal(found["food_tiles"], food.compiled().missing(*at[0]))
    assert np.array_equal(found["field_tiles"], fields.compiled().missing(*at[1]))
    spent = live * np.float32(0.01) + np.float32(0.05) * cost.astype(np.float32)
    eaten = np.zeros(len(y), np.float32)
    eaten[eats] = 0.5 * food.take("RESOURCES", *at[0], 0.3)
    fields.scatter("TRAILS", *at[1], 1.0, how="max")
    change = eaten - spent
    energy = np.where(live, np.minimum(plain.energy + change, np.float32(0.9)), plain.energy)
    died = live & (energy <= 0)
    energy[died] = 0
    fields.scatter("DAMAGE_HEAT", *(axis[died] for axis in here), 1.0, how="add")
    rewards = np.float32(1.5) * change
    rewards[died] -= np.float32(2)
    masks = np.ones((len(y), 6), np.bool_)
    masks[:, 1:5] = ground.neighbours("OBSTACLES", *here, plain.alive, BELOW)
    masks[:, 5] = (food.gather("RESOURCES", *here) > 0) & plain.alive

    expected = {"y": y, "x": x, "spent": spent, "eaten": eaten, "energy": energy, "hp": energy / np.float32(0.9)}
    expected |= {"rewards": rewards, "died": died, "deaths": died.sum(), "masks": masks}
    for name, value in expected.items():
        assert np.array_equal(found[name], value), name
    for one, other in zip(scene.grids, plain.grids, strict=True):
        for copy in range(one.copies):
            for name in one.names:
                assert np.array_equal(
                    *(grid.read(name, 0, scene.shape[0], 0, scene.shape[1], copy) for grid in (one, other))
                )


def test_where_no_trails_are_left_only_those_who_may_die_write() -> None:
    scene = Scene(5)
    scene.energy[::2] = 0.0
    fields = scene.grids[2]
    unwritten = ChannelGrid(scene.shape, fields.channels, copies=scene.copies, dtype=fields.dtype, backend="ram")
    grids = [grid.compiled([grid.names[0]]) for grid in (*scene.grids[:2], unwritten)]
    found = step(kernels, scene, grids, -1, 0)
    may_die = scene.live & (scene.energy <= found["spent"])
    assert 0 < may_die.sum() < scene.live.sum()
    side = layout.tile_side(2, np.dtype(fields.dtype).itemsize)
    tiles = {
        (int(c), int(y) // side, int(x) // side)
        for c, y, x in zip(*(axis[may_die] for axis in (scene.copy, found["y"], found["x"])), strict=True)
    }
    assert len(found["field_tiles"]) == len(tiles)


def test_walking_again_from_the_same_cells_leads_to_the_same_cells() -> None:
    scene = Scene(5)
    ground, food, fields = (grid.compiled() for grid in scene.grids)
    ends = []
    for _ in range(2):  # as where a writer of the ground came between
        to_y, to_x, spent = np.zeros_like(scene.y), np.zeros_like(scene.x), np.zeros(len(scene.y), np.float32)
        kernels.forage_walk(
            ground, 0, 1, BELOW, food, fields, 1, scene.copy, scene.y, scene.x, scene.actions, scene.live,
            scene.alive, scene.energy, scene.keys, 0.01, 0.05, to_y, to_x, spent,
        )  # fmt: skip
        ends.append((to_y.tolist(), to_x.tolist(), spent.tolist()))
    assert ends[0] == ends[1]
    assert ends[0][:2] != (scene.y.tolist(), scene.x.tolist())


def test_a_kernel_does_not_write_what_bounds_another_channel() -> None:
    ground = ChannelGrid((4, 4), (Channel("CAPACITY", Static()),), backend="ram")
    food = ChannelGrid((4, 4), (Channel("RESOURCES", Regrow(0.1, "CAPACITY")),), backend="ram")
    food.link("RESOURCES", ground)
    with pytest.raises(ChannelError, match="cannot change the capacity of 'RESOURCES'"):
        ground.compiled(["CAPACITY"])
    assert food.compiled(["RESOURCES"]) is food.compiled()


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (-1, np.int64),
        (6, np.int64),
        (2**62, np.int64),
        (-(2**62), np.int64),
        (-1, np.int8),
        (6, np.uint8),
        (6, np.uint64),
    ],
)
def test_an_action_beyond_is_named_unless_nobody_takes_it(value: int, dtype: type[np.integer[Any]]) -> None:
    actions = np.array([0, 5, value, 1], dtype)
    with pytest.raises(ActionError, match=rf"got {value} for agent 2"):
        checked(actions, np.ones(4, np.bool_), 6)
    live = np.array([True, True, False, True])
    assert checked(actions, live, 6)[[0, 1, 3]].tolist() == [0, 5, 1]


def test_the_largest_unsigned_actions_are_beyond() -> None:
    with pytest.raises(ActionError, match=f"got {2**64 - 1} for agent 0"):
        checked(np.array([2**64 - 1], np.uint64), np.ones(1, np.bool_), 6)
