"""The kernels built in other ways, each beside the installed ones, and the kernels' tests run on each build.

`make test-clones` and `make sanitize` call it. A build is a folder `build/variants/NAME/memfarm` of links to the
package and a `_kernels` of its own; first on the path, it takes the place of the package, in child processes too.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import pybind11
import typer

from benchmarks.rows import figure

ROOT: Final = Path(__file__).parents[1]
BUILT: Final = ROOT / "build" / "variants"
TESTS: Final = tuple(
    f"tests/test_{name}.py"
    for name in (
        "kernels_twins", "kernels_common_windows", "kernels_narrow_windows", "reference_windows", "reference_eager",
        "grid_stateful", "grid", "walkers", "foragers",
    )
)  # fmt: skip

_NO_512: Final = ("-DMEMFARM_NO_DIRECT", "-DMEMFARM_NO_512")
_SANITIZERS: Final = (
    "-O1",
    "-g1",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
)
_AVX2: Final = '-DMEMFARM_CLONES=__attribute__((target("arch=x86-64-v3")))'
_AVX512: Final = '-DMEMFARM_CLONES=__attribute__((target("arch=x86-64-v4")))'
_V4: Final = ("avx512f", "avx512bw", "avx512vl", "avx512dq")


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to build the kernels: what it is for, its flags after the installed ones, what the processor must have."""

    why: str
    flags: tuple[str, ...]
    needs: tuple[str, ...] = ()

    @property
    def sanitized(self) -> bool:
        return "-fno-sanitize-recover=all" in self.flags


VARIANTS: Final = {
    "installed": Variant("as they are installed", ()),
    "avx512": Variant("the AVX-512 clone for every window, common ones too", ("-DMEMFARM_NO_DIRECT", _AVX512), _V4),
    "avx2": Variant("the AVX2 clone, as a processor without AVX-512 runs it", (*_NO_512, _AVX2), ("avx2", "fma")),
    "baseline": Variant("the baseline clone, as any x86-64 runs it", (*_NO_512, "-DMEMFARM_CLONES=")),
    "sanitized": Variant("address and undefined-behaviour sanitizers", (*_SANITIZERS, _AVX512), _V4),
    "sanitized-baseline": Variant(
        "the same without the fast path of AVX-512", (*_SANITIZERS, *_NO_512, "-DMEMFARM_CLONES=")
    ),
    "lines": Variant("as they are installed, with the lines of what was inlined, for profiles", ("-g1",)),
    "guard": Variant(
        "the AVX2 clone with symbols, to count its instructions", (*_NO_512, _AVX2, "-g1"), ("avx2", "fma")
    ),
}


def build(name: str) -> Path:
    """Build the variant where a source is newer than it; returns the folder to put first on the path.

    Raises RuntimeError, with what the compiler said, where it does not compile.
    """
    home = BUILT / name
    package, target = home / "memfarm", home / "memfarm" / f"_kernels{sysconfig.get_config_var('EXT_SUFFIX')}"
    flags, made_with = " ".join(VARIANTS[name].flags), home / "flags"
    sources = [*(ROOT / "memfarm").glob("kernels*.cpp"), *(ROOT / "memfarm").glob("**/*.h")]
    newest = max(source.stat().st_mtime for source in sources)
    known = made_with.read_text(encoding="utf-8") if made_with.exists() else None
    if not target.exists() or target.stat().st_mtime < newest or known != flags:
        shutil.rmtree(home, ignore_errors=True)
        package.mkdir(parents=True)
        _compile(VARIANTS[name].flags, target)
        made_with.write_text(flags, encoding="utf-8")
    _link(package)
    return home


def environment(name: str, home: Path) -> dict[str, str]:
    """This process's environment, with the variant in `home` first on the path and what its sanitizers need."""
    changed = {"PYTHONPATH": str(home), "PYTHONDONTWRITEBYTECODE": "1", "MEMFARM_KERNELS": "compiled"}
    if VARIANTS[name].sanitized:
        changed |= {
            "LD_PRELOAD": _library("libasan.so"),
            "PYTHONMALLOC": "malloc",  # else small blocks lie in Python's own pools, where nothing guards their ends
            # CPython does not free everything at its end. Reports go to files: pytest takes what goes to stderr.
            "ASAN_OPTIONS": f"detect_leaks=0:log_path={home / 'report'}",
            "UBSAN_OPTIONS": f"print_stacktrace=1:log_path={home / 'report'}",
        }
    return {**os.environ, **changed}


def lacking(name: str, flags: frozenset[str]) -> list[str]:
    """What the variant needs and a processor with `flags` does not have."""
    return [need for need in VARIANTS[name].needs if need not in flags]


def compiler_version() -> str:
    """The compiler that builds variants, in its own words."""
    done = subprocess.run([_compiler(), "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def processor_flags() -> frozenset[str]:
    """What the processor can do, as Linux lists it; empty elsewhere."""
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else ():
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def main(
    names: Annotated[list[str], typer.Argument(help=f"Some of {', '.join(VARIANTS)}.")],
    tests: Annotated[str, typer.Option(help="What pytest runs.")] = " ".join(TESTS),
) -> None:
    """Build variants of the kernels and run the kernels' tests on each; fails where a test does."""
    unknown = sorted(set(names) - set(VARIANTS))
    if unknown:
        raise typer.BadParameter(f"a variant is one of {', '.join(VARIANTS)}, got {', '.join(unknown)}")
    failed = [name for name in names if not _passes(name, tests.split())]
    if failed:
        raise typer.Exit(1)


def _passes(name: str, tests: Sequence[str]) -> bool:
    missing = lacking(name, processor_flags())
    if missing:
        print(f"{name}: not run, this processor has no {', '.join(missing)}", flush=True)
        return True
    home = build(name)
    env = environment(name, home)
    used = _used(env)
    if not used.is_relative_to(home):
        raise RuntimeError(f"the tests of {name} must run on the kernels in {home}, got {used}")
    print(f"{name}: {VARIANTS[name].why} ({figure(used.stat().st_size / 2**20)} MiB)", flush=True)
    options = ["-q", "-p", "no:cacheprovider", *tests]
    passed = subprocess.run([_script("pytest"), *options], cwd=ROOT, env=env, check=False).returncode == 0
    reports = sorted(home.glob("report*"))
    for report in reports:
        print(report.read_text(encoding="utf-8"))
        report.unlink()
    return passed and not reports


def _used(env: Mapping[str, str]) -> Path:
    """The kernels that a process of `env` gets; it runs elsewhere than in the root, whose package would come first."""
    command = [sys.executable, "-c", "import memfarm._kernels as k; print(k.__file__)"]
    done = subprocess.run(command, cwd=BUILT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the kernels cannot be loaded: {done.stderr}")
    return Path(done.stdout.strip())


def _compile(flags: Sequence[str], target: Path) -> None:
    include = [f"-I{folder}" for folder in (sysconfig.get_path("include"), pybind11.get_include())]
    installed = ["-O3", "-ffp-contract=off", "-pthread", "-std=c++17", "-fvisibility=hidden", "-shared", "-fPIC"]
    source = str(ROOT / "memfarm" / "kernels.cpp")
    command = [_compiler(), *installed, *flags, *include, source, "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-4000:]}")


def _link(package: Path) -> None:
    """Links to all that the package has now, but to its kernels."""
    for entry in (ROOT / "memfarm").iterdir():
        link = package / entry.name
        if entry.suffix not in (".so", ".cpp", ".h") and entry.name != "__pycache__" and not link.is_symlink():
            link.symlink_to(entry)


def _compiler() -> str:
    return os.environ.get("CXX", "g++")


def _library(name: str) -> str:
    done = subprocess.run([_compiler(), f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _script(name: str) -> str:
    return str(Path(sys.executable).parent / name)


if __name__ == "__main__":
    typer.run(main)
