"""What mutations start from: a few small valid files of each kind."""

import io
import json
import re
import tempfile
import zlib
from pathlib import Path

import numpy as np
import yaml
from fuzz_pictures import header, png, tiff
from PIL import Image

from memfarm import checksums, storage
from memfarm.config import SimulationConfig
from memfarm.envs.forage_config import ForageConfig
from memfarm.world import World

HILL = np.add.outer(np.arange(6.0) ** 2, 3.0 * np.arange(9.0)).astype(np.float32)
ARENA = Path(__file__).parents[1] / "data" / "arena.map"
FILES = ("clock", "temporal", "temporal.stamps", "temporal.copies", "environmental.stamps", "resources")


def npy() -> list[bytes]:
    return [_saved(HILL.astype(dtype)) for dtype in ("<f4", ">f8", "<i2", "|u1")] + [_saved(np.asfortranarray(HILL))]


def _saved(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npz() -> list[bytes]:
    place = {"xmin": -84.4, "xmax": -84.1, "ymin": 60.1, "ymax": 59.9}
    found = []
    for save in (np.savez, np.savez_compressed):
        for arrays in (
            {"elevation": HILL},
            {"dem": HILL, "dx": 1 / 1200, "dy": 0.001, **place},
            {"a": HILL, "cell_size": 2.0},
        ):
            out = io.BytesIO()
            save(out, **arrays)
            found.append(out.getvalue())
    return found


def pictures() -> list[bytes]:
    found = [png((b"IHDR", header(3, 2, 8)), (b"IDAT", zlib.compress(b"\0\1\2\3" * 2)), (b"IEND", b""))]
    for grey in (HILL.astype(np.uint8), (HILL * 300).astype(np.uint16)):
        out = io.BytesIO()
        Image.fromarray(grey).save(out, format="PNG")
        found.append(out.getvalue())
    return found


def tiffs() -> list[bytes]:
    """Plain ones; with rasterio also tiled, compressed and georeferenced ones."""
    found = [tiff(4, 4, {}, HILL[:4, :4].tobytes())]
    for how in ("tiff_deflate", "tiff_lzw", "packbits", "jpeg", "group4"):
        out = io.BytesIO()
        picture = Image.fromarray(HILL.astype(np.uint8))
        (picture.convert("1") if how == "group4" else picture).save(out, format="TIFF", compression=how)
        found.append(out.getvalue())
    return found


def geotiffs() -> list[bytes]:
    import rasterio
    from rasterio.io import MemoryFile

    found = []
    profile = {"driver": "GTiff", "height": 6, "width": 9, "count": 1, "dtype": "float32", "nodata": -9999.0}
    place = {"crs": "EPSG:32616", "transform": rasterio.Affine(30, 0, 4e5, 0, -30, 5e6)}
    tiled = {"tiled": True, "blockxsize": 16, "blockysize": 16}
    for options in (
        {},
        {"compress": "deflate", "predictor": 3, **tiled},
        {"compress": "lzw"},
        {"compress": "zstd"},
        {"BIGTIFF": "YES"},
    ):
        with MemoryFile() as memory:
            with memory.open(**profile, **place, **options) as file:
                file.write(HILL, 1)
            found.append(memory.read())
    return found


def octile() -> list[bytes]:
    return [
        ARENA.read_bytes(),
        b"type octile\nheight 2\nwidth 3\nmap\n.G@\nTSW\n",
        b"type octile\r\nwidth 1\r\nheight 1\r\nmap\r\n.",
    ]


def configurations() -> list[bytes]:
    values = ForageConfig().to_dict()
    recipe = {"world": {"map": {"kind": "noise", "shape": [64, 64], "seed": 0}, "boundary": "wrap"}}
    partial = {
        "observation": {"radius": 3, "channels": ["TRAILS", "SELF_HP"]},
        "memmap": {"dtype": {"temporal": "float16"}},
    }
    return [json.dumps(value).encode() for value in (values, SimulationConfig().to_dict(), recipe, partial, {})]


def yamls() -> list[bytes]:
    plain = [json.loads(text) for text in configurations()]
    return [*configurations(), *(yaml.safe_dump(value).encode() for value in plain), MERGED]


MERGED = b"memmap: {}\nobservation:\n  <<: &a {radius: 3}\n  gamma_dmg: 1e-3\nworld: # here\n  shape: [64,\n    64]\n"


def recipes() -> list[bytes]:
    ground = {"max_slope": 22.0, "food_slope": 9.0, "food_share": 0.5, "patch_size": 16, "patchiness": 0.75}
    ground |= {"hollow_radius": 8, "canopy": 0.4, "hollow": 0.3}
    noise = {
        "kind": "noise",
        "shape": [9, 11],
        "seed": 0,
        "feature_size": 8,
        "octaves": 3,
        "height": 90.0,
        "cell_size": 30.0,
    }
    found = [noise, {**noise, **ground, "water_share": 0.1}, {"kind": "flat", "shape": [5, 4], "capacity": 0.5}]
    found.append({"kind": "octile", "path": str(ARENA), "seed": 1, "swamp_cost": 0.5, "food_share": 0.3, "canopy": 0.1})
    found.append(
        {"kind": "raster", "path": "hill.npy", "shape": [4, 4], "cell_size": 30.0, "water_level": 1.0, **ground}
    )
    return [json.dumps(value).encode() for value in found]


def headers() -> list[bytes]:
    shapes = ((2, 2, 3, 16, 16, 4), (8,), (1, 2))
    return [
        storage.header(shape, np.dtype(dtype)) + bytes(64)
        for shape, dtype in zip(shapes, ("<f4", "<i8", "<u8"), strict=True)
    ]


def world_files() -> list[bytes]:
    """Every file of a world folder, each behind its name and a line's end."""
    with tempfile.TemporaryDirectory() as place:
        folder = small_world(Path(place) / "w")
        return [path.name.encode() + b"\n" + path.read_bytes() for path in sorted(folder.iterdir())]


def plain_npz_files() -> list[bytes]:
    found = []
    for arrays in ({"hp": HILL, "alive": HILL > 4}, {"keys": np.arange(3, dtype=np.uint64), "tick": np.int32(5)}, {}):
        out = io.BytesIO()
        np.savez(out, **arrays)
        found.append(out.getvalue())
    return found


def sealed_files() -> list[bytes]:
    """The checksums of a snapshot."""
    with tempfile.TemporaryDirectory() as folder:
        world = World.open(small_world(Path(folder) / "world"))
        world.snapshot(Path(folder) / "snapshot")
        world.close()
        return [(Path(folder) / "snapshot" / checksums.FILE).read_bytes()]


def resealed(data: bytes) -> bytes:
    """A sealed file whose seal fits whatever its body has become."""
    head, _, body = data.partition(b'"body": ')
    inside = body[:-2]
    return re.sub(rb'"crc32": \d+', b'"crc32": %d' % zlib.crc32(inside), head) + b'"body": ' + inside + b"}\n"


def manifests() -> list[bytes]:
    return [data.partition(b"\n")[2] for data in world_files() if data.startswith(b"world.json\n")]


def small_world(folder: Path) -> Path:
    """A world folder with something in every layer, closed."""
    world = World((20, 37), copies=2, path=folder, seed=3)
    world.scatter("TRAILS", [0, 1], [3, 19], [4, 36], [1.0, 0.5])
    world.take("RESOURCES", 0, 5, 5, 0.5)
    world.set_environmental_layer("OBSTACLES", np.eye(20, 37))
    world.advance(3)
    world.close()
    return folder
