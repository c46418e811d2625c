"""Terrain: rasters, noise and recipes against slow, obvious references; and what each refuses."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from memfarm import growth, relief, terrain
from memfarm.errors import ConfigError, DTypeError, ShapeError, TerrainError, ValueRangeError
from memfarm.noise import fractal_noise
from memfarm.terrain import Terrain, from_elevation, from_noise, from_recipe, load

pytestmark = pytest.mark.once

HILL = np.add.outer(np.arange(6.0) ** 2, 3.0 * np.arange(9.0)).astype(np.float32)
SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
HEIGHTS = arrays.arrays(np.float32, SHAPES, elements=st.integers(-100, 3000) | st.just(np.nan))


def same(one: Terrain, other: Terrain) -> bool:
    return all(one.layers()[name].tobytes() == other.layers()[name].tobytes() for name in one.layers())


def largest_component(walkable: np.ndarray) -> int:
    left, largest = set(zip(*(i.tolist() for i in np.nonzero(walkable)), strict=True)), 0
    while left:
        edge = [left.pop()]
        size = 0
        while edge:
            y, x = edge.pop()
            size += 1
            around = {(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)} & left
            left -= around
            edge.extend(around)
        largest = max(largest, size)
    return largest


class TestTerrain:
    def test_layers_are_copies_by_channel_and_read_only(self):
        given = np.zeros((3, 4), np.float32)
        made = Terrain(given, given, given, given)
        given[:] = 1.0
        assert made.shape == (3, 4)
        assert list(made.layers()) == ["OBSTACLES", "TERRAIN_COST", "CAPACITY", "VISIBILITY"]
        for layer in made.layers().values():
            assert layer.dtype == np.float32
            assert not layer.any()
            with pytest.raises(ValueError, match="read-only"):
                layer[0, 0] = 1.0

    def test_survives_pickling(self):
        made = from_noise((8, 8), seed=1)
        assert same(made, pickle.loads(pickle.dumps(made)))

    @pytest.mark.parametrize(
        ("layer", "error"),
        [
            (np.zeros((4, 3)), ShapeError),
            (np.zeros(3), ShapeError),
            (np.full((3, 4), np.nan), ValueRangeError),
            (np.full((3, 4), np.inf), ValueRangeError),
            (np.full((3, 4), -0.1), ValueRangeError),
            (np.full((3, 4), 2), ValueRangeError),
            (np.full((3, 4), "a"), DTypeError),
            (np.zeros((3, 4), complex), DTypeError),
        ],
    )
    def test_what_is_no_layer_is_refused(self, layer, error):
        good = np.zeros((3, 4))
        for position in range(1, 4):
            layers = [good] * 4
            layers[position] = layer
            with pytest.raises(error, match=list(Terrain.__dataclass_fields__)[position]):
                Terrain(*layers)

    def test_an_empty_world_is_refused(self):
        with pytest.raises(ShapeError, match="at least one cell"):
            Terrain(*[np.zeros((0, 4))] * 4)


class TestRelief:
    @settings(deadline=None, max_examples=40)
    @given(SHAPES, st.floats(-5, 5), st.floats(-5, 5), st.floats(0.5, 100))
    def test_a_plane_is_as_steep_everywhere_as_it_is(self, shape, south, east, cell_size):
        rise = cell_size * np.add.outer(south * np.arange(shape[0]), east * np.arange(shape[1]))
        got = relief.slope(rise.astype(np.float32), 0, shape[0], cell_size)
        expected = np.hypot(south * (shape[0] > 1), east * (shape[1] > 1))
        np.testing.assert_allclose(got, np.full(shape, expected), rtol=1e-4, atol=1e-4)

    def test_slope_weighs_neighbours_as_horn_does(self):
        land = np.zeros((5, 5), np.float32)
        land[1, 2] = 8.0  # north of the centre: weight 2 of 8
        got = relief.slope(land, 0, 5, 1.0)
        assert got[2, 2] == 2.0
        assert got[2, 1] == np.float32(np.hypot(1.0, 1.0))  # north-east of it: weight 1 in both directions
        assert got[1, 2] == 0.0

    @settings(deadline=None, max_examples=40)
    @given(HEIGHTS, st.integers(1, 4), st.data())
    def test_deviation_is_that_from_the_square_around(self, land, radius, data):
        y0 = data.draw(st.integers(0, land.shape[0] - 1))
        y1 = data.draw(st.integers(y0 + 1, land.shape[0]))
        got = relief.deviation(land, y0, y1, radius, level=0.5)
        for y, x in np.ndindex(y1 - y0, land.shape[1]):
            here = land[y0 + y, x]
            square = land[max(y0 + y - radius, 0) : y0 + y + radius + 1, max(x - radius, 0) : x + radius + 1]
            known = square[~np.isnan(square)].astype(np.float64)
            if not np.isnan(here):
                assert got[y, x] == pytest.approx((here - known.mean()) / (known.std() + 0.5), abs=1e-3)

    def test_bands_do_not_show(self, monkeypatch):
        land = 100.0 * fractal_noise((40, 30), np.random.default_rng(5))
        whole = from_elevation(land, cell_size=5.0)
        monkeypatch.setattr(growth, "_BAND", 7)
        for name, layer in from_elevation(land, cell_size=5.0).layers().items():
            np.testing.assert_allclose(layer, whole.layers()[name], atol=1e-5)


class TestElevation:
    def test_obstacles_are_steep_wet_or_unknown(self):
        land = np.zeros((12, 12))
        land[:, 8:] = 100.0  # a cliff
        land[0, 0] = -1.0  # the water's own level is wet
        land[5, 2] = np.nan
        made = from_elevation(land, cell_size=10.0, water_level=-1.0)
        expected = np.zeros((12, 12), bool)
        expected[:, 7:9] = expected[0, 0] = expected[5, 2] = True
        np.testing.assert_array_equal(made.obstacles, expected)

    def test_cost_is_the_gradient_against_the_steepest(self):
        land = np.tile(np.arange(9.0), (9, 1))
        made = from_elevation(land, cell_size=10.0, max_slope=45.0)
        np.testing.assert_allclose(made.terrain_cost, 0.1, rtol=1e-5)

    def test_masked_cells_are_no_data(self):
        land = np.ma.masked_equal(np.array([[0, 0, 0], [0, -9999, 0], [0, 0, 0]], np.int16), -9999)
        made = from_elevation(land)
        assert made.obstacles.sum() == made.obstacles[1, 1] == 1.0

    @settings(deadline=None, max_examples=60)
    @given(HEIGHTS, st.floats(0, 1), st.integers(0, 5), st.none() | st.integers(0, 500))
    def test_any_elevation_makes_layers_in_range(self, land, patchiness, seed, water_level):
        options = {"cell_size": 500.0, "patchiness": patchiness, "seed": seed, "water_level": water_level}
        before = land.copy()
        try:
            made = from_elevation(land, **options)
        except TerrainError as error:
            assert "walkable" in str(error)  # noqa: PT017 - either outcome is right, each in its own way
            return
        Terrain(**{field: getattr(made, field) for field in Terrain.__dataclass_fields__})
        assert same(made, from_elevation(land, **options))
        np.testing.assert_array_equal(land, before)
        blocked = made.obstacles == 1
        assert (blocked[np.isnan(land)]).all()
        assert (made.capacity[blocked] == 0).all()
        assert (made.terrain_cost[blocked] == 1).all()
        assert made.capacity.max() > 0.999

    def test_food_prefers_flat_hollows(self):
        y, x = np.mgrid[-20:21, -20:21]
        bowl = 0.02 * (x * x + y * y)
        made = from_elevation(bowl, patchiness=0.0, max_slope=80.0)
        assert made.capacity[20, 20] > 0.9
        assert made.capacity[0, 0] == 0.0
        assert made.visibility[20, 20] < 0.7 < made.visibility[0, 0]

    def test_hollows_and_growth_hide_up_to_their_shares(self):
        pit = np.zeros((21, 21))
        pit[10, 10] = -3.0
        options = {"patchiness": 0.0, "max_slope": 80.0}
        made = from_elevation(pit, canopy=0.0, hollow=0.2, **options)
        assert made.visibility[10, 10] == pytest.approx(0.8)
        assert made.visibility[0, 0] == 1.0
        made = from_elevation(pit, canopy=0.5, hollow=0.0, **options)
        np.testing.assert_allclose(made.visibility, 1.0 - 0.5 * made.capacity)

    def test_equal_ground_without_patches_is_equally_rich(self):
        assert (from_elevation(np.zeros((5, 5)), patchiness=0.0).capacity == 1.0).all()

    @pytest.mark.parametrize("share", [0.1, 0.3, 0.9])
    def test_food_grows_on_its_share_of_the_ground(self, share):
        made = from_noise((64, 64), seed=2, food_share=share)
        walkable = made.obstacles == 0
        assert (made.capacity[walkable] > 0).mean() == pytest.approx(share, abs=0.01)

    @pytest.mark.parametrize(
        ("land", "options", "error", "message"),
        [
            (np.zeros(4), {}, ShapeError, "H, W"),
            (np.zeros((0, 4)), {}, ShapeError, "at least one cell"),
            (np.full((2, 2), np.inf), {}, ValueRangeError, "finite"),
            (np.full((2, 2), 1e300), {}, ValueRangeError, "finite"),
            (np.full((2, 2), "x"), {}, DTypeError, "real numbers"),
            (np.full((2, 2), np.nan), {}, TerrainError, "walkable"),
            (HILL, {"max_slope": 1.0}, TerrainError, "is cell_size right"),
            (HILL, {"cell_size": 0.0}, ConfigError, "cell_size"),
            (HILL, {"cell_size": np.nan}, ConfigError, "cell_size"),
            (HILL, {"cell_size": "10"}, ConfigError, "cell_size"),
            (HILL, {"max_slope": 90.0}, ConfigError, "max_slope"),
            (HILL, {"food_slope": -1}, ConfigError, "food_slope"),
            (HILL, {"food_share": 0}, ConfigError, "food_share"),
            (HILL, {"patchiness": 1.5}, ConfigError, "patchiness"),
            (HILL, {"patch_size": 1}, ConfigError, "patch_size"),
            (HILL, {"patch_size": 2.5}, ConfigError, "patch_size"),
            (HILL, {"hollow_radius": 0}, ConfigError, "hollow_radius"),
            (HILL, {"canopy": 2}, ConfigError, "canopy"),
            (HILL, {"hollow": -1}, ConfigError, "hollow"),
            (HILL, {"water_level": np.inf}, ConfigError, "water_level"),
            (HILL, {"seed": -1}, ConfigError, "seed"),
            (HILL, {"seed": True}, ConfigError, "seed"),
        ],
    )
    def test_what_makes_no_ground_is_refused(self, land, options, error, message):
        with pytest.raises(error, match=message):
            from_elevation(land, **{"cell_size": 30.0} | options)


class TestNoise:
    @pytest.mark.parametrize("seed", range(12))
    def test_the_default_world_is_pleasant(self, seed):
        made = from_noise((64, 64), seed=seed)
        walkable = made.obstacles == 0
        assert walkable.mean() >= 0.8
        assert largest_component(walkable) >= 0.95 * walkable.sum()
        food = made.capacity[walkable]
        assert 0.05 < food.mean() < 0.25  # most cells hold little
        assert 0.01 < (food > 0.7).mean() < 0.15  # some are rich

    def test_same_seed_same_bytes_in_another_process(self):
        code = (
            "import hashlib; from memfarm.terrain import from_noise\n"
            "layers = from_noise((33, 47), seed=9).layers().values()\n"
            "print(hashlib.sha256(b''.join(layer.tobytes() for layer in layers)).hexdigest())"
        )
        root = Path(__file__).parents[1]
        runs = [
            subprocess.run(
                [sys.executable, "-c", code],
                cwd=root,
                env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for hash_seed in ("1", "2")
        ]
        assert runs[0] == runs[1]

    def test_seeds_differ(self):
        assert not same(from_noise((16, 16), seed=1), from_noise((16, 16), seed=2))

    @settings(deadline=None, max_examples=30)
    @given(SHAPES, st.integers(2, 20), st.integers(1, 6), st.floats(0.1, 1.0))
    def test_fields_stay_in_range(self, shape, feature_size, octaves, persistence):
        options = {"feature_size": feature_size, "octaves": octaves, "persistence": persistence}
        field = fractal_noise(shape, np.random.default_rng(3), **options)
        assert field.shape == shape
        assert field.dtype == np.float32
        assert np.abs(field).max() <= 1.0
        assert field.tobytes() == fractal_noise(shape, np.random.default_rng(3), **options).tobytes()

    def test_fields_are_smooth_and_centred(self):
        field = fractal_noise((256, 256), np.random.default_rng(0), feature_size=32, octaves=1)
        assert abs(field.mean()) < 0.05
        assert 0.15 < field.std() < 0.4
        for axis in (0, 1):
            assert np.abs(np.diff(field, axis=axis)).max() < 0.15
            assert np.abs(np.diff(field, n=2, axis=axis)).max() < 0.02  # no crease along the lattice

    def test_any_shape_at_all(self):
        for shape in ((1, 1), (1, 40), (40, 1), (3, 129)):
            assert from_noise(shape, seed=4).shape == shape

    @pytest.mark.parametrize(
        ("shape", "options", "message"),
        [
            ((0, 4), {}, "shape's height must be in"),
            ((4, 4, 4), {}, "shape must be"),
            ((4, 4.0), {}, "shape's width must be a whole number"),
            ("44", {}, "shape must be"),
            ((4, 4), {"octaves": 0}, "octaves"),
            ((4, 4), {"feature_size": 1}, "feature_size"),
            ((4, 4), {"water_share": 1.0}, "water_share"),
            ((4, 4), {"height": -1}, "height"),
        ],
    )
    def test_what_makes_no_world_is_refused(self, shape, options, message):
        with pytest.raises(ConfigError, match=message):
            from_noise(shape, **options)

    @pytest.mark.parametrize("options", [{"feature_size": 1}, {"octaves": 0}, {"persistence": 0.0}])
    def test_what_makes_no_field_is_refused(self, options):
        with pytest.raises(ConfigError, match=next(iter(options))):
            fractal_noise((4, 4), np.random.default_rng(0), **options)


class TestRecipe:
    RECIPES = (
        {"kind": "noise", "shape": [12, 9], "seed": 3, "max_slope": 30, "water_share": 0},
        {"kind": "flat", "shape": [3, 4], "capacity": 0.5},
        {"kind": "raster", "path": "HILL", "shape": [4, 5], "cell_size": 10, "water_level": 0.5},
    )

    @pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe["kind"])
    def test_a_recipe_survives_json(self, recipe, tmp_path):
        np.save(tmp_path / "hill.npy", HILL)
        recipe = dict(recipe) | ({"path": str(tmp_path / "hill.npy")} if "path" in recipe else {})
        made = from_recipe(json.loads(json.dumps(recipe)))
        assert made.shape == tuple(recipe["shape"])
        assert same(made, from_recipe(recipe))

    def test_flat_is_open(self):
        made = terrain.flat((2, 3))
        assert not made.obstacles.any()
        assert not made.terrain_cost.any()
        assert (made.capacity == 1).all()
        assert (made.visibility == 1).all()

    def test_the_recipe_is_left_as_it_was(self):
        recipe = {"kind": "flat", "shape": [2, 2]}
        from_recipe(recipe)
        assert recipe == {"kind": "flat", "shape": [2, 2]}

    @pytest.mark.parametrize(
        ("recipe", "message"),
        [
            ({}, "got None.*known: flat, noise, octile, raster"),
            ({"kind": "nose"}, "did you mean 'noise'"),
            ({"kind": ["noise"]}, "kind must be a known one"),
            ({"kind": "noise", "shape": [4, 4], "sed": 1}, "did you mean 'seed'"),
            ({"kind": "noise", "shape": [4, 4], "maxslope": 1}, "did you mean 'max_slope'"),
            ({"kind": "noise", "seed": 1}, "needs 'shape'"),
            ({"kind": "raster"}, "needs 'path'"),
            ({"kind": "raster", "path": 3}, "path must be a string"),
            ({"kind": "octile", "path": "a.map", "water_level": 1}, "no argument 'water_level'"),
            ({"kind": "flat", "shape": [4, 4], "seed": 1}, "no argument 'seed'"),
        ],
    )
    def test_what_is_no_recipe_is_refused(self, recipe, message):
        with pytest.raises(TerrainError, match=message):
            from_recipe(recipe)

    def test_load_names_the_suffixes(self, tmp_path):
        (tmp_path / "dem.xyz").touch()
        with pytest.raises(TerrainError, match=r"\.map, \.npy.*got '.*dem\.xyz'"):
            load(tmp_path / "dem.xyz")
        with pytest.raises(TerrainError, match="there is no 'worlds/valley'"):
            load("worlds/valley")
        with pytest.raises(TerrainError, match="did you mean 'water_level'"):
            load("dem.npy", water_levle=3)
