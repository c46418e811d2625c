"""Mutations of JSON and YAML by their tree: wrong types, odd numbers, doubled keys, deep nesting, bombs."""

import copy
import json
import random
from collections.abc import Sequence
from typing import Any

from fuzz_bytes import LONGEST, mutated


class Raw(str):
    """Text that stands in a tree as it is, whether or not it is JSON."""


class Pairs(list):  # type: ignore[type-arg]
    """An object's keys and values in order; a key may come twice."""


SCALARS: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        1.5,
        -0.0,
        5e-324,
        2**31,
        2**31 - 1,
        2**63,
        2**64,
        -(2**63),
        10**30,
        1e308,
        -1e308,
    ),
    *("", " ", "\0", "a\0b", "..", "../x", "/etc/passwd", "/dev/zero", "x" * 5000, "\ud800", "é", "float32", "uint8"),
    *("memmap", "ram", "wrap", "Decay", "Regrow", "CAPACITY", "TRAILS", "object", "<f4", "__class__", "nan", "1"),
    *(
        Raw("NaN"),
        Raw("Infinity"),
        Raw("-Infinity"),
        Raw("1e400"),
        Raw("9" * 400),
        Raw("9" * 5000),
        Raw("-" + "9" * 5000),
    ),
    *(Raw("1" + "0" * 308 + ".5"), Raw('"\\ud800"'), Raw('"\\u0000"'), Raw("[" * 60 + "]" * 60), Raw("[" * 1500)),
    *(Raw('{"a":' * 40 + "1" + "}" * 40), Raw('{"a":' * 3000), Raw(""), Raw("'"), Raw("//"), Raw("1 2")),
    *([], [[]], Pairs(), [1, 2], [0, 0], [-1, 5], [2**31 - 1, 2**31 - 1], [2**40, 2**40], [1.0, 2.0], ["1", "2"]),
)
"""What any value of a tree may be replaced by."""

YAML_TOKENS = (
    *(
        b"&a ",
        b"*a",
        b"*a ",
        b"<<: *a\n",
        b"<<: ",
        b"? ",
        b"- ",
        b": ",
        b"|\n",
        b">-\n",
        b"---\n",
        b"...\n",
        b"%YAML 9.9\n",
    ),
    *(b"!!timestamp 2001-99-99", b"2001-13-13", b"2001-01-01T99:99:99Z", b"!!binary ====", b"!!int x", b"!!float y"),
    *(
        b"!!bool maybe",
        b"!!null z",
        b"!!set {a, b}",
        b"!!omap [a: 1]",
        b"!!pairs [a: 1]",
        b"!!map [1]",
        b"!!seq {a: 1}",
    ),
    *(b"!!python/object/apply:os.system ['true']", b"!!python/name:os.system", b"!unknown x", b"!<tag:x> y", b"!!"),
    *(b".nan", b".inf", b"-.INF", b"~", b"yes", b"0o17", b"0x_", b"0b_", b"1:99:99", b"1_0", b"_1", b"190:20:30.15"),
    *(
        b"{a: &a [*a]}",
        b"[1, 2]: 3\n",
        b"{[a]: 1}",
        b"{{a: 1}: 2}",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"\xef\xbb\xbf",
        b"\t",
    ),
    *(b"&a [1,1,1,1,1,1,1,1,1]\n", b"&b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n", b"\xff\xfe", b"@", b"`", b"#", b'"\\xZZ"'),
)


def parsed(data: bytes) -> Any:
    return json.loads(data, object_pairs_hook=Pairs)


def _places(node: Any, found: list[tuple[Any, int]]) -> list[tuple[Any, int]]:
    """Every (container, index) in a tree."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            found.append((node, index))
            _places(item[1] if isinstance(node, Pairs) else item, found)
    return found


def _set(node: Any, index: int, value: Any) -> None:
    node[index] = (node[index][0], value) if isinstance(node, Pairs) else value


def _scalar(rng: random.Random) -> Any:
    value = rng.choice(SCALARS)
    return copy.deepcopy(value) if isinstance(value, list) else value  # what is changed later must not be the one above


def _change(rng: random.Random, tree: Any) -> Any:
    places = _places(tree, [])
    if not places or rng.random() < 0.02:
        return _scalar(rng)
    node, index = rng.choice(places)
    kind = rng.randrange(7)
    if kind <= 2:
        _set(node, index, _scalar(rng))
    elif kind == 3:
        del node[index]
    elif kind == 4:  # doubled, so that a key comes twice
        node.insert(index, node[index])
    elif kind == 5:  # something of elsewhere
        other, at = rng.choice(places)
        if at < len(other):
            item = other[at]
            _set(node, index, json.loads(written(item[1] if isinstance(other, Pairs) else item), strict=False))
    elif isinstance(node, Pairs):
        node[index] = (rng.choice(("", "x", "__class__", "kind", "\0", "../x", "a" * 300)), node[index][1])
    else:
        node.extend([node[index]] * rng.choice((1, 3, 200)))
    return tree


def written(node: Any) -> str:
    if isinstance(node, Raw):
        return str(node)
    if isinstance(node, Pairs):
        return "{" + ", ".join(f"{json.dumps(key)}: {written(value)}" for key, value in node) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(map(written, node)) + "]"
    if isinstance(node, dict):
        return written(Pairs(node.items()))
    return json.dumps(node)


def mutated_json(rng: random.Random, pool: Sequence[bytes]) -> bytes:
    """A JSON text of the pool: changed by its tree (four of five), by its bytes, or both."""
    data = rng.choice(pool)
    if rng.random() < 0.8:
        try:
            tree = parsed(data)
            for _ in range(rng.choice((1, 1, 2, 4))):
                tree = _change(rng, tree)
            data = written(tree).encode("utf-8", "surrogatepass")
        except (ValueError, RecursionError):  # it is one that is no JSON, or has become one
            data = mutated(rng, data, pool)
    if rng.random() < 0.25:
        data = mutated(rng, data, pool)
    return data[:LONGEST]


def mutated_yaml(rng: random.Random, pool: Sequence[bytes]) -> bytes:
    """A YAML text of the pool: a third through JSON, which is YAML, the others by bytes and tokens."""
    if rng.random() < 0.33:
        return mutated_json(rng, [data for data in pool if data.startswith(b"{")])
    return mutated(rng, rng.choice(pool), pool, YAML_TOKENS)
