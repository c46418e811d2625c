"""Every parser of what lies on disk, as the fuzzer sees it: how an input is made, where it goes, what reads it."""

import contextlib
import json
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import fuzz_seeds
import numpy as np
from fuzz_arrays import mutated_npy, mutated_npz
from fuzz_bytes import mutated
from fuzz_pictures import mutated_png, mutated_tiff
from fuzz_trees import YAML_TOKENS, mutated_json, mutated_yaml

from memfarm import checksums, config_files, plain_npz, storage, terrain
from memfarm.envs.forage_config import ForageConfig
from memfarm.errors import ConfigError
from memfarm.manifest import Manifest
from memfarm.octile import read_octile
from memfarm.raster import load_raster
from memfarm.world import World

Mutate = Callable[[random.Random, Sequence[bytes]], bytes]


@dataclass(frozen=True)
class Parser:
    """One parser: its valid inputs, how they are mutated, and how one is put into a folder and read."""

    seeds: Callable[[], list[bytes]]
    mutate: Mutate
    read: Callable[[Path, bytes], object]


def _file(name: str, read: Callable[[Path], object]) -> Callable[[Path, bytes], object]:
    def written(folder: Path, data: bytes) -> object:
        (folder / name).write_bytes(data)
        return read(folder / name)

    return written


def _bytes(tokens: Sequence[bytes]) -> Mutate:
    return lambda rng, pool: mutated(rng, rng.choice(pool), pool, tokens)


def _header(path: Path) -> object:
    fd = os.open(path, os.O_RDONLY)
    try:
        return storage.read_header(fd, path)
    finally:
        os.close(fd)


def _settings(folder: Path, data: bytes) -> object:
    return ForageConfig().with_overrides(config_files.settings([data.decode("utf-8", "replace")]))


def _recipe(folder: Path, data: bytes) -> object:
    """A recipe for at most 64 x 64 cells: how large a world is to be is the caller's to say."""
    if not (folder / "hill.npy").exists():
        np.save(folder / "hill.npy", fuzz_seeds.HILL)
    try:
        recipe = json.loads(data)
    except (ValueError, RecursionError):
        raise ConfigError("no JSON: not the recipe's concern") from None
    if not isinstance(recipe, dict):
        raise ConfigError("no mapping: not the recipe's concern")
    if recipe.get("path") == "hill.npy":
        recipe["path"] = str(folder / "hill.npy")
    shape = recipe.get("shape")
    if isinstance(shape, list):
        recipe["shape"] = [min(side, 64) if isinstance(side, int) else side for side in shape]
    return terrain.from_recipe(recipe)


def _world(folder: Path, data: bytes) -> object:
    """Put one file into a world's folder, open it as it says it is, look around in it, and put the old one back."""
    place = folder / "world"
    if not place.exists():
        fuzz_seeds.small_world(place)
    name, _, content = data.partition(b"\n")
    path = place / name.decode("latin-1")
    if path.parent != place or path not in place.iterdir():
        raise ConfigError("another file: not the world's concern")
    kept = path.read_bytes()
    path.write_bytes(content)
    try:
        world = World.open(place, "r")
        try:
            world.observe([0, 1], [0, 19], [36, 5], 5)
            world.gather("TRAILS", [0, 1], [3, 19], [4, 36])
            return world.info()
        finally:
            world.close()
    finally:
        path.unlink()  # a new file: the old one may still be mapped
        path.write_bytes(kept)


def _mutated_world(rng: random.Random, pool: Sequence[bytes]) -> bytes:
    name, _, content = rng.choice(pool).partition(b"\n")
    same = [data.partition(b"\n")[2] for data in pool]
    changed = mutated_json(rng, [content]) if name.endswith(b".json") else mutated(rng, content, same)
    return name + b"\n" + changed


def _snapshot(folder: Path, data: bytes) -> object:
    """Put a `checksums.json` into a snapshot, and check the snapshot against it."""
    place = folder / "snapshot"
    if not place.exists():
        world = World.open(fuzz_seeds.small_world(folder / "world"))
        world.snapshot(place)
        world.close()
    (place / checksums.FILE).write_bytes(data)
    return checksums.verify(place)


def _mutated_seal(rng: random.Random, pool: Sequence[bytes]) -> bytes:
    """By its bytes, or by its body under a seal that fits: what only whoever writes on purpose can make."""
    data = rng.choice(pool)
    if rng.random() < 0.25:
        return mutated(rng, data, pool)
    head, mark, body = data.partition(b'"body": ')
    if not mark:
        return mutated(rng, data, pool)
    changed = mutated_json(rng, [body[:-2]])
    with contextlib.suppress(ValueError, RecursionError):  # as `sealed` writes it
        changed = json.dumps(json.loads(changed), sort_keys=True).encode()
    return fuzz_seeds.resealed(head + mark + changed + b"}\n")


OCTILE = (
    b"type octile",
    b"height ",
    b"width ",
    b"map\n",
    b"\n",
    b"\r\n",
    b".",
    b"@",
    b"S",
    b"\x85",
    b"height 1000000\n",
)

PARSERS = {
    "manifest": Parser(
        fuzz_seeds.manifests, mutated_json, lambda f, d: _file("world.json", lambda p: Manifest.read(p.parent))(f, d)
    ),
    "world": Parser(fuzz_seeds.world_files, _mutated_world, _world),
    "grid-header": Parser(fuzz_seeds.headers, mutated_npy, _file("grid.npy", _header)),
    "octile": Parser(fuzz_seeds.octile, _bytes(OCTILE), _file("made.map", read_octile)),
    "npy": Parser(fuzz_seeds.npy, mutated_npy, _file("hill.npy", load_raster)),
    "npz": Parser(fuzz_seeds.npz, mutated_npz, _file("hill.npz", load_raster)),
    "plain-npz": Parser(fuzz_seeds.plain_npz_files, mutated_npz, _file("agents.npz", plain_npz.read)),
    "sealed": Parser(fuzz_seeds.sealed_files, _mutated_seal, _snapshot),
    "png": Parser(fuzz_seeds.pictures, mutated_png, _file("hill.png", load_raster)),
    "json": Parser(fuzz_seeds.configurations, mutated_json, _file("config.json", ForageConfig.load)),
    "yaml": Parser(fuzz_seeds.yamls, mutated_yaml, _file("config.yaml", ForageConfig.load)),
    "setting": Parser(
        lambda: [b"world.shape=[64, 64]", b"observation.radius=3", b"memmap={dtype: float16}"],
        _bytes(YAML_TOKENS),
        _settings,
    ),
    "recipe": Parser(fuzz_seeds.recipes, mutated_json, _recipe),
}
if find_spec("rasterio") is not None:
    PARSERS["tiff"] = Parser(
        lambda: fuzz_seeds.tiffs() + fuzz_seeds.geotiffs(), mutated_tiff, _file("hill.tif", load_raster)
    )
