"""Configurations as text: YAML and JSON files, and `KEY=VALUE` settings of a command line."""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from memfarm import sources
from memfarm.errors import ConfigError


def read(path: Path) -> Any:
    """What a `.yaml`, `.yml` or `.json` file of at most 256 KiB says. ConfigError, also where a key comes twice."""
    if path.suffix not in (".yaml", ".yml", ".json"):
        raise ConfigError(f"a configuration file must end in .yaml, .yml or .json, got {path.name!r}")
    try:
        text = sources.read_text(path, _LARGEST)
    except OSError as error:
        raise ConfigError(f"a configuration file must be readable, got {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"a configuration file must be {path.suffix[1:].upper()}: {error}") from None
    parse = _json if path.suffix == ".json" else _yaml
    return _parsed(parse, text, f"a configuration file must be {path.suffix[1:].upper()}")


def settings(assignments: Sequence[str]) -> dict[str, Any]:
    """The overrides that `KEY=VALUE` texts stand for: `["memmap.dtype=float16"]` is `{"memmap.dtype": "float16"}`.

    A value is YAML: `world.shape=[64, 64]`, `world.map=null`. Raises ConfigError.
    """
    pairs = []
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"a setting must be KEY=VALUE, such as memmap.dtype=float16, got {text[:80]!r}")
        parsed = _parsed(_yaml, value, f"the value of {key.strip()[:80]} must be YAML, got {value[:80]!r}")
        pairs.append((key.strip(), parsed))
    return _once(pairs)


def _parsed(parse: Callable[[str], Any], text: str, rule: str) -> Any:
    try:
        return parse(text)
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError, *_ODD_SCALARS) as error:
        raise ConfigError(f"{rule}: {str(error)[:1000] or type(error).__name__}") from None


_LARGEST: Final = 1 << 18  # bytes
_MOST: Final = 20_000  # values
_DEEPEST: Final = 32  # levels of brackets
_ODD_SCALARS: Final = (AttributeError, KeyError, IndexError, TypeError, OverflowError)
"""What PyYAML raises for a scalar that is not what its tag says."""


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_once)


def _yaml(text: str) -> Any:
    return yaml.load(text, _Loader)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        key, times = Counter(keys).most_common(1)[0]
        raise ConfigError(f"a key must come once, got {key!r:.80} {times} times")
    return dict(pairs)


class _Loader(yaml.SafeLoader):
    """YAML in which `1e-3` is a number, as its version 1.2 has it, a key comes once, and aliases cannot multiply."""

    def get_single_node(self) -> Any:
        """As SafeLoader's, for a text of a bounded number of values."""
        node = super().get_single_node()
        if node is not None and _count(node, {}) > _MOST:
            raise ConfigError(f"a text must say at most {_MOST} values, its aliases written out; got more")
        return node

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        """As SafeLoader's, not too deep: it looks at every open bracket for each token."""
        if self.flow_level >= _DEEPEST:
            raise ConfigError(f"a text must not be nested deeper than {_DEEPEST} levels")
        super().fetch_flow_collection_start(token)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As SafeLoader's, for keys that differ."""
        _once([(key.value, None) for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        return super().construct_mapping(node, deep)


def _count(node: yaml.Node, counts: dict[int, int]) -> int:
    """How many values `node` has with every alias written out. Raises ConfigError where that never ends."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in counts:
        counts[id(node)] = 0  # not known yet
        inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        counts[id(node)] = 1 + sum(_count(part, counts) for part in inner)
    if not counts[id(node)]:
        raise ConfigError("what an anchor names must not be nested in itself")
    return counts[id(node)]


_FLOAT: Final = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
