"""Nothing that is read from a disk can run code: what the sources call, looked up in their syntax trees."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path for part in ("memfarm", "envs", "wrappers", "examples", "benchmarks") for path in (ROOT / part).rglob("*.py")
)
BETWEEN_OWN_PROCESSES = {
    "memfarm/testing/determinism.py",
    "envs/sharded.py",
    "envs/shards/worker.py",
    "envs/shards/line.py",
}
"""What may import pickle: it goes through pipes between a parent and its own workers, and never to a file."""

BANNED = ("pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve")
CODE = ("eval", "exec", "compile", "__import__")


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call and the name it goes by: `np.load`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def faults(path: str, text: str) -> list[str]:
    """What a source does that could run code from a file."""
    tree = ast.parse(text)
    found = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [
            f"imports {name}" for name in names if name.split(".")[0] in BANNED and path not in BETWEEN_OWN_PROCESSES
        ]
    for name, call in calls(tree):
        said = {word.arg: ast.unparse(word.value) for word in call.keywords}
        if name in ("np.load", "numpy.load") and said.get("allow_pickle") != "False":
            found.append(f"{name} without allow_pickle=False")
        if name == "torch.load" and said.get("weights_only") != "True":
            found.append("torch.load without weights_only=True")
        if (
            name.startswith("yaml.")
            and name.endswith("load")
            and name != "yaml.safe_load"
            and "_Loader" not in ast.unparse(call)
        ):
            found.append(f"{name} with another loader than memfarm's safe one")
        if name in CODE:
            found.append(f"calls {name}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_can_run_what_it_reads(path: Path) -> None:
    assert faults(str(path.relative_to(ROOT)), path.read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from cloudpickle import loads",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "torch.load(path)",
        "yaml.load(text, yaml.Loader)",
        "yaml.unsafe_load(text)",
        "eval(text)",
    ],
)
def test_a_source_that_could_is_found(text: str) -> None:
    assert len(faults("memfarm/made_up.py", text)) == 1


def test_the_yaml_loader_builds_plain_data_only() -> None:
    from memfarm import config_files

    assert issubclass(config_files._Loader, config_files.yaml.SafeLoader)
