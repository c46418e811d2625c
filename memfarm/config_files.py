"""Configurations as text: YAML and JSON files, and `KEY=VALUE` settings of a command line."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from memfarm.errors import ConfigError


def read(path: Path) -> Any:
    """What a `.yaml`, `.yml` or `.json` file says. Raises ConfigError, also where a key comes twice."""
    if path.suffix not in (".yaml", ".yml", ".json"):
        raise ConfigError(f"a configuration file must end in .yaml, .yml or .json, got {path.name!r}")
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            return json.loads(text, object_pairs_hook=_once)
        return yaml.load(text, _Loader)
    except OSError as error:
        raise ConfigError(f"a configuration file must be readable, got {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"a configuration file must be {path.suffix[1:].upper()}: {error}") from None


def settings(assignments: Sequence[str]) -> dict[str, Any]:
    """The overrides that `KEY=VALUE` texts stand for: `["memmap.dtype=float16"]` is `{"memmap.dtype": "float16"}`.

    A value is YAML: `world.shape=[64, 64]`, `world.map=null`. Raises ConfigError.
    """
    pairs = []
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"a setting must be KEY=VALUE, such as memmap.dtype=float16, got {text!r}")
        try:
            pairs.append((key.strip(), yaml.load(value, _Loader)))
        except yaml.YAMLError as error:
            raise ConfigError(f"the value of {key.strip()} must be YAML, got {value!r}: {error}") from None
    return _once(pairs)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigError(f"a key must come once, got {key!r} {keys.count(key)} times")
    return dict(pairs)


class _Loader(yaml.SafeLoader):
    """YAML in which `1e-3` is a number, as its version 1.2 has it, and a key comes once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As SafeLoader's, for keys that differ."""
        _once([(key.value, None) for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        return super().construct_mapping(node, deep)


_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
