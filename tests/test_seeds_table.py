"""One case a row of docs/seeds.md: what it names is there, and a check of its own holds."""

import ast
import functools
import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import seeds_of_layers
import seeds_of_sight
import seeds_of_validation
from seeds_registry import CHECKS, ROOT


@dataclass(frozen=True)
class Row:
    key: str
    says: str
    here: list[str]  # dotted names
    tests: list[str]  # file::function
    changed: str


def rows() -> list[Row]:
    found = []
    for line in (ROOT / "docs" / "seeds.md").read_text(encoding="utf-8").splitlines():
        if re.match(r"\| [A-Z]\d\d \|", line):
            key, says, here, tests, changed = (cell.strip() for cell in line.strip("|").split(" | "))
            found.append(Row(key, says, re.findall(r"`([^`]+)`", here), re.findall(r"`([^`]+)`", tests), changed))
    return found


ROWS = rows()
REGISTERED = (seeds_of_layers, seeds_of_sight, seeds_of_validation)  # by being imported


@functools.cache
def functions_of(name: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / name).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def named(dotted: str) -> object:
    """What a dotted name means: a module, what it holds, and that one's attributes or fields."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            fields = {**getattr(found, "model_fields", {}), **getattr(found, "__annotations__", {})}
            if name in fields:
                found = fields[name]
            else:
                found = getattr(found, name)
        return found
    raise ModuleNotFoundError(dotted)


@pytest.mark.parametrize("row", ROWS, ids=[row.key for row in ROWS])
def test_a_row_holds(row: Row, tmp_path: Path) -> None:
    assert row.here, "a row names where it lives"
    assert row.tests, "a row names the test that holds it"
    assert row.says
    assert row.changed
    for dotted in row.here:
        assert named(dotted) is not None
    for test in row.tests:
        file, function = test.split("::")
        assert function in functions_of(file), f"there is no {test}"
    assert row.key in CHECKS, f"{row.key} has no check of its own"
    CHECKS[row.key](tmp_path)


def test_every_check_has_its_row_and_every_row_its_key() -> None:
    keys = [row.key for row in ROWS]
    assert len(set(keys)) == len(keys) > 80
    assert set(CHECKS) == set(keys)
    for letter in "ABC":  # none is left out
        numbers = [int(key[1:]) for key in keys if key[0] == letter]
        assert numbers == list(range(1, len(numbers) + 1))
