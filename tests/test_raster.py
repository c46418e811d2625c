"""Rasters: files of every format against what was put in, resampling against a slow reference."""

import os
import sys
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from memfarm.errors import TerrainError
from memfarm.raster import load_raster, resample
from memfarm.terrain import load

pytestmark = pytest.mark.once

HILL = np.add.outer(np.arange(6.0) ** 2, 3.0 * np.arange(9.0)).astype(np.float32)


class TestFiles:
    @pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int16, np.uint8, ">f4"])
    def test_npy(self, tmp_path, dtype):
        np.save(tmp_path / "hill.npy", HILL.astype(dtype))
        elevation, cell_size = load_raster(tmp_path / "hill.npy")
        np.testing.assert_array_equal(elevation, HILL)
        assert elevation.dtype == np.float32
        assert cell_size is None
        elevation[0, 0] = 5.0  # ours, not a view of the file
        assert np.load(tmp_path / "hill.npy")[0, 0] == 0

    def test_npy_keeps_what_is_no_data(self, tmp_path):
        np.save(tmp_path / "hill.npy", np.array([[1.0, np.nan]]))
        np.testing.assert_array_equal(load_raster(tmp_path / "hill.npy")[0], [[1.0, np.nan]])

    @pytest.mark.parametrize(
        ("arrays_", "cell_size"),
        [
            ({"elevation": HILL, "other": HILL + 1}, None),
            ({"dem": HILL, "dx": 10.0, "dy": 40.0}, 20.0),
            ({"dem": HILL, "cell_size": 12.5}, 12.5),
            ({"dem": HILL, "cell_size": -1.0}, None),
            ({"elevation": HILL, "dx": 30.0, "dy": 30.0, "xmin": 4e5, "xmax": 4.1e5, "ymin": 5e6, "ymax": 5.1e6}, 30.0),
        ],
    )
    def test_npz(self, tmp_path, arrays_, cell_size):
        np.savez(tmp_path / "hill.npz", **arrays_)
        elevation, got = load_raster(tmp_path / "hill.npz")
        np.testing.assert_array_equal(elevation, HILL)
        assert got == cell_size

    def test_degrees_become_metres(self, tmp_path):
        degrees = {"dx": 1 / 1200, "dy": -1 / 1200, "xmin": -84.4, "xmax": -84.1, "ymin": 60.1, "ymax": 59.9}
        np.savez(tmp_path / "hill.npz", elevation=HILL, **degrees)
        cell_size = load_raster(tmp_path / "hill.npz")[1]
        # a degree at 60 N: 111.41 km north, 55.80 km east
        assert cell_size == pytest.approx(np.sqrt(111412 * 55800) / 1200, rel=1e-4)

    def test_a_real_place(self):
        path = pytest.importorskip("matplotlib.cbook").get_sample_data("jacksboro_fault_dem.npz", asfileobj=False)
        elevation, cell_size = load_raster(path)
        assert elevation.shape == (344, 403)
        assert cell_size == pytest.approx(83.0, abs=1.0)
        made = load(path)
        walkable = made.obstacles == 0
        assert 0.75 <= walkable.mean() <= 0.97
        assert 0.05 < made.capacity[walkable].mean() < 0.25
        assert load(path, shape=(32, 48)).shape == (32, 48)

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_png(self, tmp_path, dtype):
        grey = (HILL * (300 if dtype == np.uint16 else 1)).astype(dtype)
        Image.fromarray(grey).save(tmp_path / "hill.png")
        elevation, cell_size = load_raster(tmp_path / "hill.png")
        np.testing.assert_array_equal(elevation, grey)
        assert cell_size is None

    def test_a_colour_picture_is_refused(self, tmp_path):
        Image.new("RGB", (4, 4)).save(tmp_path / "hill.png")
        with pytest.raises(TerrainError, match=r"hill\.png: .*grey.*RGB"):
            load_raster(tmp_path / "hill.png")


class TestGeoTiff:
    @pytest.mark.parametrize(
        ("crs", "side", "cell_size"),
        [("EPSG:32616", 30.0, 30.0), ("EPSG:4326", 1 / 1200, 65.7), ("EPSG:2274", 100.0, 30.48), (None, 1.0, None)],
    )
    def test_elevation_units_and_no_data(self, tmp_path, crs, side, cell_size):
        rasterio = pytest.importorskip("rasterio")
        transform = None if crs is None else rasterio.Affine(side, 0, 0.0, 0, -side, 60.0 + 3 * side)
        profile = {"driver": "GTiff", "height": 6, "width": 9, "count": 1, "dtype": "float32", "nodata": -9999.0}
        values = HILL.copy()
        values[2, 3] = -9999.0
        place = {"crs": crs, "transform": transform} if crs else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(tmp_path / "hill.tif", "w", **profile, **place) as file:
                file.write(values, 1)
        elevation, got = load_raster(tmp_path / "hill.tif")
        assert np.isnan(elevation[2, 3])
        assert np.isnan(elevation).sum() == 1
        np.testing.assert_array_equal(elevation[3:], HILL[3:])
        assert got == (None if cell_size is None else pytest.approx(cell_size, rel=2e-3))

    def test_without_rasterio_the_extra_is_named(self, tmp_path, monkeypatch):
        (tmp_path / "hill.tif").write_bytes(b"II*\0")
        monkeypatch.setitem(sys.modules, "rasterio", None)
        with pytest.raises(TerrainError, match=r"pip install memfarm\[geo\]"):
            load_raster(tmp_path / "hill.tif")


def cut(path, length):
    os.truncate(path, length)


BROKEN = {
    "empty.npy": lambda path: path.write_bytes(b""),
    "cut.npy": lambda path: (np.save(path, np.zeros((50, 50))), cut(path, 3000)),
    "foreign.npy": lambda path: path.write_bytes(b"type octile"),
    "pickle.npy": lambda path: np.save(path, np.array([[{}]], dtype=object)),
    "text.npy": lambda path: np.save(path, np.array([["a"]])),
    "line.npy": lambda path: np.save(path, np.zeros(5)),
    "void.npy": lambda path: np.save(path, np.zeros((0, 5))),
    "huge.npy": lambda path: path.write_bytes(
        b"\x93NUMPY\x01\x00\x76\x00"
        + b"{'descr': '<f8', 'fortran_order': False, 'shape': (4000000, 4000000)}".ljust(117)
        + b"\n"
    ),
    "header.npy": lambda path: path.write_bytes(
        b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': ('<f8', ".ljust(117) + b"\n"
    ),
    "infinite.npy": lambda path: np.save(path, np.array([[1.0, np.inf]])),
    "far.npy": lambda path: np.save(path, np.array([[1.0, 1e300]])),
    "empty.npz": lambda path: path.write_bytes(b""),
    "foreign.npz": lambda path: path.write_bytes(b"\x80\x04N."),
    "cut.npz": lambda path: (np.savez(path, elevation=np.zeros((50, 50))), cut(path, 3000)),
    "none.npz": lambda path: np.savez(path, a=np.zeros(3)),
    "two.npz": lambda path: np.savez(path, a=HILL, b=HILL),
    "pickle.npz": lambda path: np.savez(path, elevation=np.array([[{}]], dtype=object)),
    "word.npz": lambda path: np.savez(path, elevation=HILL, cell_size=np.array("wide")),
    "empty.png": lambda path: path.write_bytes(b""),
    "foreign.png": lambda path: Image.new("L", (4, 4)).save(path, format="GIF"),
    "cut.png": lambda path: (Image.effect_noise((64, 64), 50).save(path), cut(path, 600)),
    "header.png": lambda path: (Image.new("L", (4, 4)).save(path), cut(path, 20)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_by_name(tmp_path, name):
    BROKEN[name](tmp_path / name)
    with pytest.raises(TerrainError, match=name.replace(".", r"\.")):
        load_raster(tmp_path / name)


@pytest.mark.parametrize("name", ["empty.tif", "foreign.tiff", "cut.tif"])
def test_a_broken_geotiff_is_refused_by_name(tmp_path, name):
    pytest.importorskip("rasterio")
    Image.effect_noise((64, 64), 50).save(tmp_path / name, format="PNG" if "foreign" in name else "TIFF")
    if "foreign" not in name:
        cut(tmp_path / name, 0 if "empty" in name else 2000)
    with pytest.raises(TerrainError, match=name.replace(".", r"\.")):
        load_raster(tmp_path / name)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".png", ".tif"])
def test_an_absent_file_is_refused_by_name(tmp_path, suffix):
    if suffix == ".tif":
        pytest.importorskip("rasterio")
    with pytest.raises(TerrainError, match="absent"):
        load_raster(tmp_path / f"absent{suffix}")


def test_a_foreign_suffix_is_refused(tmp_path):
    with pytest.raises(TerrainError, match=r"did you mean '\.png'"):
        load_raster(tmp_path / "hill.pngg")


def test_a_member_of_an_archive_that_is_damaged_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "hill.npz", elevation=np.arange(2500.0).reshape(50, 50))
    with zipfile.ZipFile(tmp_path / "hill.npz") as archive:
        start = archive.infolist()[0].header_offset
    content = bytearray((tmp_path / "hill.npz").read_bytes())
    content[start + 200 : start + 260] = bytes(60)
    (tmp_path / "hill.npz").write_bytes(content)
    with pytest.raises(TerrainError, match=r"hill\.npz"):
        load_raster(tmp_path / "hill.npz")


class TestResample:
    LAND = arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8),
        elements=st.integers(-50, 50),
    )

    @settings(deadline=None, max_examples=60)
    @given(LAND, st.data())
    def test_shrinking_takes_the_mean_of_the_area(self, land, data):
        shape = tuple(data.draw(st.integers(1, side)) for side in land.shape)
        # each cell as many equal ones, then whole blocks of them
        fine = np.kron(land.astype(np.float64), np.ones(shape))
        blocks = fine.reshape(shape[0], land.shape[0], shape[1], land.shape[1])
        np.testing.assert_allclose(resample(land, shape), blocks.mean(axis=(1, 3)), atol=1e-4)

    @settings(deadline=None, max_examples=60)
    @given(LAND, st.integers(0, 9), st.integers(0, 9))
    def test_growing_draws_lines_between_the_centres(self, land, more_rows, more_columns):
        shape = (land.shape[0] + more_rows, land.shape[1] + more_columns)
        got = resample(land, shape)

        def lines(values, length):
            at = (np.arange(length) + 0.5) * len(values) / length - 0.5
            return np.interp(at, np.arange(len(values)), values)

        wide = np.stack([lines(row, shape[1]) for row in land])
        expected = np.stack([lines(column, shape[0]) for column in wide.T], axis=1)
        np.testing.assert_allclose(got, expected, atol=1e-3)
        assert got.dtype == np.float32
        assert got.flags.c_contiguous

    def test_the_same_shape_is_the_same_land_in_a_new_array(self):
        got = resample(HILL, HILL.shape)
        np.testing.assert_array_equal(got, HILL)
        assert not np.shares_memory(got, HILL)

    def test_no_data_has_no_weight(self):
        land = np.array([[1.0, np.nan, np.nan, np.nan, 5.0, 7.0]], np.float32)
        np.testing.assert_array_equal(resample(land, (1, 3)), [[1.0, np.nan, 6.0]])
        np.testing.assert_array_equal(resample(land[:, :3], (1, 1)), [[np.nan]])
        assert np.isnan(resample(land, (1, 60))[0, 20:30]).all()
        np.testing.assert_array_equal(resample(np.full((2, 2), np.nan, np.float32), (3, 3)), np.full((3, 3), np.nan))

    def test_the_ground_of_a_resampled_file_keeps_its_slope(self, tmp_path):
        np.savez(tmp_path / "ramp.npz", elevation=np.tile(np.arange(64.0), (64, 1)), cell_size=10.0)
        for shape in ((64, 64), (16, 16), (128, 128)):
            made = load(tmp_path / "ramp.npz", shape=shape, max_slope=45.0)
            np.testing.assert_allclose(made.terrain_cost[:, 2:-2], 0.1, rtol=1e-3)
