"""Channels and laws: what they accept, what they say, and the way to JSON and back."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memfarm import layout
from memfarm.channels import GROUPS, RESOURCES, Channel, Decay, Recover, Regrow, Static, find
from memfarm.errors import ChannelError, ConfigError

shares = st.floats(1e-6, 1.0)
laws = st.one_of(
    st.just(Static()),
    st.builds(Decay, st.floats(0, 0.999), st.floats(0, 0.5)),
    st.builds(Regrow, shares, st.one_of(st.floats(0.01, 1.0), st.just("LIMIT"))),
    st.builds(Recover, shares, st.one_of(st.floats(0.01, 1.0), st.just("LIMIT"))),
)


@given(laws, st.floats(0, 1), st.floats(0, 1))
def test_to_json_and_back(law: Static | Decay | Regrow | Recover, fill: float, outside: float) -> None:
    channel = Channel("A_1", law, fill=fill, outside=outside)
    assert Channel.from_dict(json.loads(json.dumps(channel.to_dict()))) == channel


def test_numpy_numbers_are_plain_in_json() -> None:
    channel = Channel("A", Decay(np.float32(0.5)), high=np.float64(2), fill=np.int64(1))  # type: ignore[arg-type]
    assert Channel.from_dict(json.loads(json.dumps(channel.to_dict()))) == channel


@given(laws, st.floats(0, 1), st.integers(0, 50))
def test_a_law_is_its_affine_map(law: Static | Decay | Regrow | Recover, value: float, ticks: int) -> None:
    for _ in range(ticks):
        value = min(max(law.alpha * value + law.beta, 0), 1)
    assert 0 <= value <= 1
    if isinstance(law, Static | Decay):
        assert law.beta == 0


BAD_NUMBERS = [math.nan, math.inf, -math.inf, "0.5", None, True, 10**400, 1e39, [0.5]]


@pytest.mark.parametrize("number", BAD_NUMBERS, ids=repr)
@pytest.mark.parametrize(
    "make",
    [
        Decay,
        lambda v: Decay(0.5, v),
        Regrow,
        Recover,
        lambda v: Channel("A", low=v),
        lambda v: Channel("A", high=v),
        lambda v: Channel("A", fill=v),
        lambda v: Channel("A", outside=v),
    ],
    ids=["gamma", "floor", "regrow", "recover", "low", "high", "fill", "outside"],
)
def test_numbers_that_are_none(make: Any, number: Any) -> None:
    with pytest.raises(ConfigError, match="must be"):
        make(number)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Decay(1.0),
        lambda: Decay(-0.1),
        lambda: Decay(0.5, -1.0),
        lambda: Regrow(0.0),
        lambda: Regrow(1.1),
        lambda: Regrow(1e-300),
        lambda: Recover(0.1, 0.0),
        lambda: Regrow(0.1, math.nan),
        lambda: Channel("A", Regrow(0.1, 2.0)),
        lambda: Channel("A", low=1.0, high=1.0),
        lambda: Channel("A", fill=1.5),
        lambda: Channel("A", outside=-0.5),
        lambda: Channel("A", Decay(0.5), low=-1.0),
        lambda: Channel("A", "Decay"),  # type: ignore[arg-type]
    ],
)
def test_impossible_laws_and_ranges(make: Any) -> None:
    with pytest.raises(ConfigError, match="got"):
        make()


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A/B", "../x", "Ä", "A" * 65, " A", "A\n", 5, None])
def test_names_that_are_none(name: Any) -> None:
    with pytest.raises(ChannelError, match="letter"):
        Channel(name)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"name": "A"},
        {"name": "A", "law": "Static"},
        {"name": "A", "law": {"kind": "Grow"}},
        {"name": "A", "law": {"kind": "Decay"}},
        {"name": "A", "law": {"kind": "Decay", "gamma": 0.5, "half_life": 3}},
        {"name": "A", "law": {"kind": "Decay", "gamma": "x"}},
        {"name": "A", "law": {"kind": "Static"}, "colour": 1},
        {"name": "A", "law": {"kind": "Static"}, "high": 10**400},
        {"name": "A", "law": {"kind": ["Static"]}},
        {"law": {"kind": "Static"}},
    ],
    ids=str,
)
def test_foreign_descriptions(data: dict[str, Any]) -> None:
    with pytest.raises((ConfigError, ChannelError)):
        Channel.from_dict(data)


def test_find_names_the_nearest() -> None:
    assert find(GROUPS["temporal"], "TRAILS") == 1
    with pytest.raises(ChannelError, match="did you mean 'TRAILS'"):
        find(GROUPS["temporal"], "trail")


def test_capacity_and_floor() -> None:
    assert RESOURCES.capacity == "CAPACITY"
    assert Channel("A", Decay(0.5, 0.1), high=3.0).capacity == 3.0
    assert (Channel("A", Decay(0.5, 0.1)).floor, RESOURCES.floor) == (0.1, 0.0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@given(law=laws, high=st.floats(1.0, 6e4))
def test_an_epoch_keeps_its_bounds(dtype: str, law: Static | Decay | Regrow | Recover, high: float) -> None:
    epoch = layout.epoch_length([Channel("A", law, high=high)], dtype)
    if isinstance(law, Static):
        assert epoch == 0
        return
    assert 1 <= epoch <= 4096
    if isinstance(law, Regrow):
        assert epoch == 1 or law.rate * epoch <= {"float16": 1, "float32": 16, "float64": 2**20}[dtype]
    elif epoch > 1:
        assert law.alpha**epoch * (1 + 1e-9) >= (1e-4 if dtype == "float16" else 1e-30) * high


@pytest.mark.parametrize(("channels", "lanes"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (9, 16)])
@pytest.mark.parametrize("dtype", layout.VALUES)
def test_a_tile_is_a_page(channels: int, lanes: int, dtype: str) -> None:
    assert layout.lane_count(channels) == lanes
    item = np.dtype(dtype).itemsize
    side = layout.tile_side(lanes, item)
    assert side * side * lanes * item <= 4096 or side == 4
    assert (2 * side) ** 2 * lanes * item > 4096
