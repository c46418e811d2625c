from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from memfarm.channels import OBSTACLES, RESOURCES, TERRAIN_COST, TRAILS, Channel
from memfarm.errors import ConfigError, ShapeError
from memfarm.render import render_ansi, render_rgb


@dataclass
class Field:
    """A world of plain arrays that counts the cells it is asked for."""

    shape: tuple[int, int]
    layers: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    asked: int = 0

    @property
    def channels(self) -> dict[str, Channel]:
        return {channel.name: channel for channel in (OBSTACLES, RESOURCES, TERRAIN_COST, TRAILS)}

    def gather(self, name: str, copy: ArrayLike, y: ArrayLike, x: ArrayLike) -> NDArray[Any]:
        y, x = np.asarray(y), np.asarray(x)
        assert y.dtype == x.dtype == np.int32
        assert y.min() >= 0
        assert x.min() >= 0
        assert y.max() < self.shape[0]
        assert x.max() < self.shape[1]
        self.asked += y.size
        if name not in self.layers:
            return np.zeros(y.size, np.float32)
        return self.layers[name][y, x]


@dataclass
class Crowd:
    copy: NDArray[np.int32]
    y: NDArray[np.int32]
    x: NDArray[np.int32]
    alive: NDArray[np.bool_]
    hp: NDArray[np.float32]


def crowd(*cells: tuple[int, int], hp: float = 1.0, copy: int = 0) -> Crowd:
    y, x = (np.array([cell[axis] for cell in cells], np.int32) for axis in (0, 1))
    n = len(cells)
    return Crowd(np.full(n, copy, np.int32), y, x, np.ones(n, bool), np.full(n, hp, np.float32))


def cell_colour(image: NDArray[np.uint8], world: Field, y: int, x: int) -> NDArray[np.float64]:
    """The mean colour of one cell of a picture of the whole world."""
    size = image.shape[0] // world.shape[0]
    return image[y * size : (y + 1) * size, x * size : (x + 1) * size].mean((0, 1))


def one_cell(shape: tuple[int, int], y: int, x: int, value: float = 1.0) -> NDArray[np.float32]:
    layer = np.zeros(shape, np.float32)
    layer[y, x] = value
    return layer


@settings(max_examples=60)
@given(height=st.integers(1, 90), width=st.integers(1, 90), max_side=st.integers(16, 200))
def test_a_picture_has_the_proportions_of_its_world_and_stays_in_bounds(height: int, width: int, max_side: int) -> None:
    world = Field((height, width))
    image = render_rgb(world, crowd((height - 1, width - 1)), max_side=max_side)
    assert image.dtype == np.uint8
    assert image.flags.owndata
    assert max(image.shape[:2]) <= max_side
    if max(height, width) <= max_side:
        cell = min(max_side // max(height, width), 32)
        assert image.shape == (height * cell, width * cell, 3)
    else:
        scale = max_side / max(height, width)
        assert image.shape[0] == max(1, int(height * scale + 1e-9))
        assert image.shape[1] == max(1, int(width * scale + 1e-9))
    assert world.asked <= 4 * 4 * max_side**2


def test_the_cost_of_a_picture_does_not_depend_on_the_world() -> None:
    asked = []
    for side in (1 << 11, 1 << 20):
        world = Field((side, side))
        assert render_rgb(world, crowd((0, 0)), max_side=64).shape == (64, 64, 3)
        asked.append(world.asked)
    assert asked[0] == asked[1]


def test_each_layer_shows_in_its_own_colour() -> None:
    shape = (9, 9)
    nobody = crowd()
    plain = render_rgb(Field(shape), nobody)
    ground = cell_colour(plain, Field(shape), 4, 4)
    shown = {}
    for name in ("OBSTACLES", "RESOURCES", "TERRAIN_COST", "TRAILS"):
        world = Field(shape, {name: one_cell(shape, 4, 4)})
        image = render_rgb(world, nobody)
        shown[name] = cell_colour(image, world, 4, 4)
        np.testing.assert_array_equal(cell_colour(image, world, 1, 1), ground)
    assert shown["OBSTACLES"].sum() < 0.5 * ground.sum()
    assert shown["RESOURCES"][1] > 1.5 * max(shown["RESOURCES"][0], shown["RESOURCES"][2])
    assert shown["TERRAIN_COST"].sum() < ground.sum() < shown["TRAILS"].sum()


def test_more_food_is_greener() -> None:
    def greenness(amount: float) -> float:
        world = Field((5, 5), {"RESOURCES": one_cell((5, 5), 2, 2, amount)})
        colour = cell_colour(render_rgb(world, crowd()), world, 2, 2)
        return float(colour[1] - (colour[0] + colour[2]) / 2)

    amounts = [greenness(amount) for amount in (0.0, 0.1, 0.4, 0.7, 1.0)]
    assert amounts == sorted(set(amounts))


@settings(max_examples=40)
@given(height=st.integers(2, 60), width=st.integers(2, 60), data=st.data())
def test_an_agent_is_painted_where_its_cell_is(height: int, width: int, data: st.DataObject) -> None:
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    max_side = data.draw(st.sampled_from([24, 64, 160]))
    empty = render_rgb(Field((height, width)), crowd(), max_side=max_side)
    image = render_rgb(Field((height, width)), crowd((y, x)), max_side=max_side)
    changed = np.argwhere((image != empty).any(-1))
    centre = (changed.min(0) + changed.max(0) + 1) / 2
    expected = (np.array([y, x]) + 0.5) / (height, width) * image.shape[:2]
    dot = max(image.shape[0] / height, 5)
    assert (abs(centre - expected) <= dot / 2 + 1).all()
    assert (np.ptp(changed, axis=0) < 1.4 * dot + 2).all()


def test_the_dead_and_those_of_other_copies_and_those_outside_the_viewport_are_not_painted() -> None:
    world = Field((20, 20))
    empty = render_rgb(world, crowd(), viewport=(0, 10, 0, 10))
    dead = crowd((3, 3))
    dead.alive[:] = False
    for nobody in (dead, crowd((3, 3), copy=1), crowd((10, 3)), crowd((3, 10))):
        np.testing.assert_array_equal(render_rgb(world, nobody, viewport=(0, 10, 0, 10)), empty)
    assert (render_rgb(world, crowd((3, 3)), viewport=(0, 10, 0, 10)) != empty).any()
    assert (render_rgb(world, crowd((3, 3), copy=2), copy=2, viewport=(0, 10, 0, 10)) != empty).any()


def test_hunger_reddens() -> None:
    world = Field((9, 9))
    starving, fed = (render_rgb(world, crowd((4, 4), hp=hp)) for hp in (0.0, 1.0))
    middle = starving.shape[0] // 2
    assert starving[middle, middle, 0] > 2 * int(starving[middle, middle, 2])
    assert fed[middle, middle, 2] > 2 * int(fed[middle, middle, 0])


def test_a_dense_crowd_leaves_the_ground_visible() -> None:
    rng = np.random.default_rng(0)
    cells = [(int(y), int(x)) for y, x in rng.integers(0, 256, (4000, 2))]
    world = Field((256, 256))
    image = render_rgb(world, crowd(*cells), max_side=256)
    empty = render_rgb(world, crowd(), max_side=256)
    assert (image != empty).any(-1).sum() == len(set(cells))


def test_a_viewport_is_the_crop_of_the_whole_picture() -> None:
    rng = np.random.default_rng(1)
    shape = (32, 32)
    layers = {name: rng.random(shape, np.float32) for name in ("RESOURCES", "TRAILS", "OBSTACLES")}
    world = Field(shape, layers)
    whole = render_rgb(world, crowd((10, 12)), max_side=256)
    part = render_rgb(world, crowd((10, 12)), viewport=(8, 24, 4, 20), max_side=128)
    # the light needs the neighbour to the north and to the west, which the crop's first row and column lack
    np.testing.assert_array_equal(part[8:, 8:], whole[72:192, 40:160])


@pytest.mark.parametrize("viewport", [(0, 0, 0, 5), (5, 3, 0, 5), (-1, 3, 0, 5), (0, 11, 0, 5), (0, 5, 0, 11)])
def test_a_viewport_outside_the_world_is_refused(viewport: tuple[int, int, int, int]) -> None:
    for render in (render_rgb, render_ansi):
        with pytest.raises(ShapeError, match="viewport"):
            render(Field((10, 10)), crowd(), viewport=viewport)


@pytest.mark.parametrize("max_side", [0, -1, 15, 1 << 20])
def test_a_size_that_makes_no_picture_is_refused(max_side: int) -> None:
    with pytest.raises(ConfigError, match="max_side"):
        render_rgb(Field((10, 10)), crowd(), max_side=max_side)
    with pytest.raises(ConfigError, match="max_cols"):
        render_ansi(Field((10, 10)), crowd(), max_cols=0)


def test_text_shows_each_cell_of_a_small_world() -> None:
    shape = (4, 5)
    food = one_cell(shape, 1, 1, 0.1) + one_cell(shape, 1, 2, 0.5) + one_cell(shape, 1, 3, 0.9)
    world = Field(shape, {"OBSTACLES": one_cell(shape, 0, 4), "RESOURCES": food, "TERRAIN_COST": one_cell(shape, 2, 0)})
    agents = crowd((3, 0), (3, 4))
    agents.hp[1] = 0.1
    assert render_ansi(world, agents).split("\n") == [". . . . #", ". : + * .", "^ . . . .", "@ . . . o", ""]


@settings(max_examples=40)
@given(height=st.integers(1, 500), width=st.integers(1, 500), max_cols=st.integers(8, 100))
def test_text_fits_its_columns_and_shows_the_agent(height: int, width: int, max_cols: int) -> None:
    world = Field((height, width))
    text = render_ansi(world, crowd((height - 1, width // 2)), max_cols=max_cols)
    lines = text.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= max_cols
    assert len(lines) <= 2 * max_cols
    assert text.count("@") == 1
    assert "@" in lines[-1]
