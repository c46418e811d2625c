"""Maps from recipes: each is built once a machine, and mapped by every process that asks for the same ground.

A map lies in the cache folder under its key, a hash of all that decides its bytes. It is built beside that name,
brought to the disk and renamed, by whoever holds the key's lock: what lies under a key is whole, and what lies beside
it, while nobody else holds the lock, is of a builder that died.

The lock is filelock's: the system's own, which ends with its process. Who waits for it asks twenty times a second.
"""

import hashlib
import json
import os
import shutil
import stat
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from memfarm import layout, manifest, publishing, terrain
from memfarm.channels import standard_channels
from memfarm.config import MemmapConfig
from memfarm.errors import StorageError, TerrainError
from memfarm.manifest import GridEntry
from memfarm.sources import open_source
from memfarm.world import World

_FORMAT: Final = 1  # of the cache folder
_LOCK: Final = ".lock"
_PIECE: Final = 1 << 20  # bytes read at a time
_RULE: Final = (
    "maps are kept in a folder of one's own (MEMFARM_CACHE, else $XDG_CACHE_HOME/memfarm or ~/.cache/memfarm)"
)


def folder() -> Path:
    """Where maps are kept: `MEMFARM_CACHE`, else `memfarm` in `$XDG_CACHE_HOME` or `~/.cache`. It need not exist.

    Raises StorageError where there is no home.
    """
    given = os.environ.get("MEMFARM_CACHE")
    if given:
        return Path(given).absolute()
    try:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise StorageError(f"{_RULE}: {error}; set MEMFARM_CACHE") from error
    return Path(caches).absolute() / "memfarm"


@contextmanager
def held(recipe: Mapping[str, Any], boundary: layout.Boundary, memmap: MemmapConfig) -> Iterator[Path | None]:
    """The world folder with the ground that `terrain.from_recipe(recipe)` makes, built if nobody has yet.

    boundary, memmap: of the world that is to lie on it; of `memmap` only the dtype counts.
    While the block lasts nobody clears the map away; what has mapped it by then keeps it. None, after a warning: the
    cache folder cannot be used, the caller builds a ground of its own.
    Raises what `terrain.from_recipe` raises.
    """
    with ExitStack() as stack:
        yield _found_or_built(stack, recipe, boundary, memmap)


def _found_or_built(
    stack: ExitStack, recipe: Mapping[str, Any], boundary: layout.Boundary, memmap: MemmapConfig
) -> Path | None:
    """The map's folder; `stack` then holds its lock, where the folder lets it."""
    dtype = memmap.dtype_of("environmental")
    name = key(recipe, boundary, dtype)
    try:
        cache = _checked_folder()
        place = cache / name
        try:
            stack.enter_context(_lock(cache / f"{name}{_LOCK}"))
        except OSError:
            if not place.is_dir():  # else: a cache that may only be read is as good
                raise
        if not place.is_dir():
            _sweep(cache, name)
            _build(place, recipe, boundary, dtype)
            if key(recipe, boundary, dtype) != name:
                shutil.rmtree(place)
                raise TerrainError(
                    f"a recipe's file must stay as it is while it is read, got {recipe['path']!r} changed"
                )
    except OSError as error:
        warnings.warn(f"{_RULE}, which fails: {error}; this world builds a ground of its own", stacklevel=4)
        return None
    return place


def key(recipe: Mapping[str, Any], boundary: layout.Boundary, dtype: str) -> str:
    """The name of a recipe's map: 40 hexadecimal digits, the same for recipes, and files, that make the same bytes.

    Raises TerrainError for a recipe that is none, or whose file cannot be read.
    """
    arguments = terrain.completed(recipe)
    channels = standard_channels()["environmental"]
    said = {
        "versions": [_FORMAT, manifest.VERSION, terrain.VERSION],
        "recipe": {name: _plain(value) for name, value in arguments.items() if name != "path"},
        "source": _content(arguments["path"]) if "path" in arguments else None,
        "boundary": boundary,
        "grid": GridEntry.of(channels, 1, dtype, "memmap").model_dump(mode="json"),
    }
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _plain(value: Any) -> Any:
    """A value of a recipe as JSON writes it, one text for all numbers and sequences that are equal."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, bool | str) or value is None:
        return value
    if hasattr(value, "__float__") and float(value).is_integer():
        return int(value)
    return float(value) if hasattr(value, "__float__") else repr(value)  # what is no number is refused by its builder


def _content(path: str | os.PathLike[str]) -> list[str]:
    """What a source file says: its suffix, which tells its format, and a digest of its bytes."""
    try:
        with open_source(Path(path)) as file:
            digest = hashlib.sha256()
            while piece := file.read(_PIECE):
                digest.update(piece)
            return [Path(path).suffix.lower(), digest.hexdigest()]
    except OSError as error:
        raise TerrainError(f"{path}: a terrain's file must be one that can be read: {error}") from error


def _checked_folder() -> Path:
    """The cache folder, made if need be. Raises StorageError where somebody else could put maps into it."""
    cache = folder()
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = cache.lstat()
    except OSError as error:
        raise StorageError(error.errno, f"{str(cache)!r} cannot be made or read: {error}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise StorageError(
            f"{str(cache)!r} must be a folder, not a link, of user {os.geteuid()}, which nobody else may write, "
            f"got user {found.st_uid}, mode {stat.filemode(found.st_mode)}"
        )
    return cache


def _lock(path: Path) -> FileLock:
    return FileLock(path, mode=0o600)


def _build(place: Path, recipe: Mapping[str, Any], boundary: layout.Boundary, dtype: str) -> None:
    ground = terrain.from_recipe(recipe)
    with publishing.publish(place) as part:
        World(terrain=ground, path=part, boundary=boundary, memmap=MemmapConfig(dtype={"environmental": dtype})).close()


def _sweep(cache: Path, held_key: str) -> None:
    """Remove what dead builders left: what is not named by a key whose lock somebody else holds."""
    for part in cache.glob(".*.part-*"):
        name = part.name[1:].partition(".part-")[0]
        if name == held_key:
            shutil.rmtree(part)
            continue
        try:
            with _lock(cache / f"{name}{_LOCK}").acquire(blocking=False):
                shutil.rmtree(part, ignore_errors=True)  # a builder may have come to its end meanwhile
        except Timeout:  # it lives
            continue


# --- what the command line shows


def entries() -> dict[Path, int]:
    """The maps in the cache, each with the bytes that it takes on the disk."""
    places = sorted(place for place in _checked_folder().glob("[!.]*") if (place / manifest.FILE).is_file())
    return {place: sum(file.stat().st_blocks * 512 for file in place.iterdir()) for place in places}


def clear() -> int:
    """Remove every map that nobody is building or opening right now, and what dead builders left; how many maps.

    Worlds that have mapped one keep it until they close.
    """
    cache, removed = _checked_folder(), 0
    locks = {*cache.glob(f"*{_LOCK}"), *(place.with_name(place.name + _LOCK) for place in entries())}
    for lock in sorted(locks):
        place = lock.with_name(lock.name.removesuffix(_LOCK))
        try:
            with _lock(lock).acquire(blocking=False):
                for part in cache.glob(f".{place.name}.part-*"):
                    shutil.rmtree(part)
                if place.is_dir():
                    doomed = place.with_name(publishing.part_name(place.name))  # gone at once, and not file by file
                    place.rename(doomed)
                    shutil.rmtree(doomed)
                    removed += 1
                lock.unlink()  # who waits for it sees that, and makes a new one
        except Timeout:
            continue
    return removed
