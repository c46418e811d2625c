"""Checks of single options, as they come out of a JSON recipe or a caller's hands: rule, got, remedy.

Every check returns the value as a plain Python number, and raises ConfigError where it breaks its rule.
"""

import math
import operator

from memfarm.errors import ConfigError
from memfarm.section import short


def number(name: str, value: object, low: float, high: float) -> float:
    """`value` as a float, if it is a real number in [low, high]."""
    if isinstance(value, bool) or not hasattr(value, "__float__") or isinstance(value, str):
        raise ConfigError(f"{name} must be a number, got {short(value)}")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not low <= result <= high or not math.isfinite(result):
        raise ConfigError(f"{name} must be in [{low:g}, {high:g}], got {short(value)}")
    return result


def whole(name: str, value: object, low: int, high: int = 1 << 30) -> int:
    """`value` as an int, if it is a whole number in [low, high]."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ConfigError(f"{name} must be a whole number, got {short(value)}")
    result = operator.index(value)
    if not low <= result <= high:
        raise ConfigError(f"{name} must be in [{low}, {high}], got {short(value)}")
    return result


def seed(value: object) -> int:
    """`value` as a seed: a whole number of at most 64 bits."""
    return whole("seed", value, 0, (1 << 64) - 1)


def shape(value: object) -> tuple[int, int]:
    """`value` as (height, width) in cells, each at least 1: a tuple or a list of two whole numbers."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ConfigError(f"shape must be (height, width), got {short(value)}")
    return whole("shape's height", value[0], 1), whole("shape's width", value[1], 1)
