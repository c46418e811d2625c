"""The wheel holds memfarm and nothing else, and the sdist builds into the same wheel."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
WRITTEN_BY_TOOLS = (".*", "__pycache__", "build", "dist", "runs", "*.egg-info", "*.so")
pytestmark = pytest.mark.once


def python(*arguments: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """Start this interpreter, its warnings and its paths untouched by the test session's."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MEMFARM_"))}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        env=kept | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


def build(kind: str, source: Path, target: Path, compiler: Path) -> subprocess.Popen[str]:
    return python("-m", "build", "--no-isolation", f"--{kind}", "--outdir", str(target), cwd=source, CXX=str(compiler))


def hasty_compiler(folder: Path) -> Path:
    """The C++ compiler, without its optimiser: what is in a wheel is in question here, not how fast it is."""
    script = folder / "c++"
    script.write_text(f'#!/bin/sh\nexec {os.environ.get("CXX", "g++")} "$@" -O0\n')
    script.chmod(0o700)
    return script


def copy_of_the_tree(target: Path) -> Path:
    """The project as it lies here, symlinks included, without what tools wrote into it."""
    return Path(shutil.copytree(ROOT, target, symlinks=True, ignore=shutil.ignore_patterns(*WRITTEN_BY_TOOLS)))


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


@pytest.fixture(scope="session")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sdist, the wheel built from the tree, and the wheel built from the sdist alone."""
    folder = tmp_path_factory.mktemp("packaging")
    compiler = hasty_compiler(folder)
    # From two copies, so that the two builds share nothing.
    with build("wheel", copy_of_the_tree(folder / "tree"), folder / "from_tree", compiler) as from_tree:
        finish(build("sdist", copy_of_the_tree(folder / "again"), folder, compiler))
        sdist = only(folder, "*.tar.gz")
        with tarfile.open(sdist) as archive:
            archive.extractall(folder / "unpacked", filter="data")
        finish(build("wheel", only(folder / "unpacked", "*"), folder / "from_sdist", compiler))
        finish(from_tree)
    return {
        "sdist": sdist,
        "wheel": only(folder / "from_tree", "*.whl"),
        "wheel from sdist": only(folder / "from_sdist", "*.whl"),
    }


@pytest.fixture(scope="session")
def installed(artefacts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the wheel lies as pip would lay it into site-packages."""
    target = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(artefacts["wheel"]) as wheel:
        wheel.extractall(target)
    return target


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


def test_the_wheels_only_top_level_name_is_memfarm(artefacts: dict[str, Path]) -> None:
    tops = {PurePosixPath(name).parts[0] for name in contents(artefacts["wheel"])}
    assert "memfarm" in tops
    assert [top for top in tops - {"memfarm"} if not re.fullmatch(r"memfarm-[\w.]+\.dist-info", top)] == []


def test_the_wheel_holds_every_module_of_the_tree_and_no_source_of_the_kernels(artefacts: dict[str, Path]) -> None:
    packed = {name for name in contents(artefacts["wheel"]) if ".dist-info/" not in name}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "memfarm").glob("*.py*")}
    for package in (folder for folder in (ROOT / "memfarm").iterdir() if folder.is_dir()):  # links too
        modules |= {
            f"memfarm/{package.name}/{path.relative_to(package.resolve())}" for path in package.resolve().rglob("*.py")
        }
    (compiled,) = {name for name in packed if name.endswith((".so", ".pyd"))}
    assert compiled.startswith("memfarm/_kernels.")
    assert packed == modules | {compiled, "memfarm/py.typed"}
    assert "memfarm/_kernels.pyi" in packed


def test_the_sdist_builds_into_the_same_wheel(artefacts: dict[str, Path]) -> None:
    tree, sdist = contents(artefacts["wheel"]), contents(artefacts["wheel from sdist"])
    assert sorted(tree) == sorted(sdist)
    compared = {name for name in tree if not name.endswith((".so", ".pyd", "/RECORD"))}
    assert [name for name in sorted(compared) if tree[name] != sdist[name]] == []


def test_the_sdist_holds_what_the_kernels_are_built_from(artefacts: dict[str, Path]) -> None:
    with tarfile.open(artefacts["sdist"]) as archive:
        packed = {str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in archive.getnames()}
    sources = {path for pattern in ("*.cpp", "*.h") for path in (ROOT / "memfarm").rglob(pattern)}
    needed = {str(path.relative_to(ROOT)) for path in sources}
    assert "memfarm/kernels.cpp" in needed
    assert needed | {"LICENSE", "README.md", "constraints.txt", "setup.py", "tests/conftest.py"} <= packed
    assert not any(name.endswith((".so", ".pyc")) for name in packed)


FINDS = """
import importlib.util, sys
sys.path[:0] = {paths!r}
found = [name for name in ("envs", "wrappers") if importlib.util.find_spec(name)]
assert not found, found
assert importlib.util.find_spec("memfarm.envs") and importlib.util.find_spec("memfarm.wrappers")
import memfarm._kernels
print(memfarm.__file__)
"""


def test_no_module_envs_or_wrappers_beside_the_installed_wheel(installed: Path) -> None:
    output = finish(python("-c", FINDS.format(paths=[str(installed)]), cwd=Path("/")))
    assert Path(output.split()[-1]).is_relative_to(installed)


def test_no_module_envs_or_wrappers_in_this_environment() -> None:
    finish(python("-c", FINDS.format(paths=[]), cwd=Path("/")))


def test_the_symlinks_lead_to_the_packages_at_the_top() -> None:
    for package in ("envs", "wrappers"):
        link = ROOT / "memfarm" / package
        assert link.is_symlink()
        assert link.readlink() == Path("..", package)


def test_every_package_is_listed() -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {"memfarm"}
    for top in (folder for folder in (ROOT / "memfarm").iterdir() if folder.is_dir()):  # links too
        folders = {path.parent.relative_to(top.resolve()) for path in top.resolve().rglob("*.py")}
        found |= {".".join(("memfarm", top.name, *folder.parts)) for folder in folders}
    assert set(table["packages"]) == found


def test_what_is_installed_for_memfarm_is_what_constraints_txt_pins() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pinned: dict[str, str] = {canonicalize_name(name): version for name, version in pins.items()}
    pending = [("memfarm", "dev"), ("memfarm", "demo")]
    seen: set[tuple[str, str]] = set()
    wrong: list[str] = []
    while pending:
        name, extra = pending.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        if name != "memfarm":
            version = metadata.version(name).partition("+")[0]
            if pinned.get(name) != version:
                wrong.append(f"{name}=={version}")
        for requirement in map(Requirement, metadata.requires(name) or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                pending += [(canonicalize_name(requirement.name), each) for each in ("", *requirement.extras)]
    assert sorted(set(wrong)) == []
