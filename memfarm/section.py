"""Section: a typed, frozen part of a configuration, whose refusals name the key, what it got and what is allowed.

Nothing is ever coerced (`True` is not 1, `"5"` is not 5) and no number is NaN or infinite.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from memfarm.errors import ConfigError, did_you_mean

_DEEPEST: Final = 32
_MOST_LINES: Final = 50  # of a message


class Section(BaseModel):
    """Base of every section: frozen, strict, unknown keys refused. Subclass it with typed fields and defaults.

    Sequences are kept as tuples, so declare them as such. `ConfigError` where a value breaks its field's type.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    def __init__(self, **values: Any) -> None:
        plain = {key: _plain(value, key) for key, value in values.items()}
        try:
            super().__init__(**plain)
        except ValidationError as error:
            lines = list(_messages(type(self), error))
            more = [f"and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
            raise ConfigError("\n".join([*lines[:_MOST_LINES], *more])) from None

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise ConfigError(f"a configuration is frozen, got {name}={value!r}; make another one with with_overrides()")

    def to_dict(self) -> dict[str, Any]:
        """All values, nested, as a new dict of JSON types (tuples become lists)."""
        return self.model_dump(mode="json")


def _messages(model: type[Section], error: ValidationError) -> Iterator[str]:
    """One line a broken rule: path, what is allowed, what was got."""
    issues = error.errors(include_url=False)
    nested = {issue["loc"][0] for issue in issues if any(isinstance(key, int) for key in issue["loc"][1:])}
    for issue in issues:
        if issue["type"] == "literal_error" and issue["loc"][0] in nested:
            continue  # the other member of a union, when it is an item that is wrong
        # names after the first are the members of a union that were tried; a rule on the whole section has no path
        parts = [str(key) for n, key in enumerate(issue["loc"]) if n == 0 or isinstance(key, int)]
        path = ".".join(parts) or model.__name__
        cause = issue.get("ctx", {}).get("error")
        within = section_of(model, path)
        if issue["type"] == "extra_forbidden":
            yield f"there is no key {path!r:.200}; {did_you_mean(path, model.model_fields)}"
        elif within and isinstance(cause, ConfigError):
            yield from (_prefixed(path, line, within.__name__) for line in str(cause).splitlines())
        else:
            yield f"{path} {cause or _rule(issue['msg'])}, got {short(issue['input'])}"


def section_of(model: type[Section], field: str) -> type[Section] | None:
    """The class of the section in `field`, None where it holds a value."""
    annotation = model.model_fields[field].annotation if field in model.model_fields else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def _rule(message: str) -> str:
    """Pydantic's message as the rule of a key: "Input should be ..." is "must be ..."."""
    message = re.sub(r"^\w+ should ", "must ", message.replace(" after validation", ""))
    return message.replace("valid tuple", "list").replace("Field required", "must be given")


def _prefixed(path: str, line: str, section: str) -> str:
    """A section's own `line`, as seen from the section around it."""
    unknown = "there is no key '"
    if line.startswith(unknown):
        return f"{unknown}{path}.{line.removeprefix(unknown)}"
    return f"{path}{line.removeprefix(section)}" if line.startswith(f"{section} ") else f"{path}.{line}"


def short(value: object) -> str:
    """The `repr` of a value, cut to what a message can carry."""
    try:
        text = repr(value)
    except ValueError:  # Python spells out no int of more than 4,300 digits
        return "an endless number"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _plain(value: object, path: str, depth: int = 0) -> Any:
    """`value` in Python's own JSON types, copied, sequences as tuples; sections as they are. Raises ConfigError."""
    if depth > _DEEPEST:
        raise ConfigError(f"{path} must not be nested deeper than {_DEEPEST} levels")
    if value is None or isinstance(value, bool | int | str | Section):
        return value
    if isinstance(value, np.bool_ | np.integer | np.floating):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{path} must be finite, got {value!r}")
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, os.PathLike):
        return _plain(os.fspath(value), path)
    if isinstance(value, list | tuple):
        return tuple(_plain(item, f"{path}.{index}", depth + 1) for index, item in enumerate(value))
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError(f"{path} must have strings as keys, got {short(key)}")
        return {key: _plain(item, f"{path}.{key}", depth + 1) for key, item in value.items()}
    raise ConfigError(f"{path} must be a number, a string, a list or a mapping, got {short(value)}")
