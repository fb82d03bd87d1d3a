"""Nested dataclasses to JSON values and back."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

T = TypeVar("T")


def near_miss(word: str, known: Iterable[str]) -> str:
    """``" Did you mean ...?"`` with the known words most similar to an unknown one, or ``""``."""
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def to_dict(config: object) -> dict[str, Any]:
    """The config as JSON values; :func:`from_dict` is the inverse."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            return to_dict(value)
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    return {
        item.name: plain(getattr(config, item.name))
        for item in dataclasses.fields(typing.cast(Any, config))
    }


def from_dict(cls: type[T], values: Any, where: str = "config") -> T:
    """A config dataclass from the JSON values of :func:`to_dict`.

    Raises:
        ValueError: an unknown field or a wrong type; the message gives its full path.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected a table of fields, found {values!r}")
    hints = typing.get_type_hints(cls)
    for name in values:
        if name not in hints:
            raise ValueError(f"{where}.{name}: no such field.{near_miss(name, hints)}")
    return cls(**{name: _parse(hints[name], v, f"{where}.{name}") for name, v in values.items()})


def _parse(hint: Any, value: Any, where: str) -> Any:
    """``value`` as the type ``hint``, for the types that occur in configs."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, where)
    if origin is types.UnionType:
        if value is None and type(None) in arguments:
            return None
        choices = [choice for choice in arguments if choice is not type(None)]
        if len(choices) > 1:  # dataclasses, distinguished by their first field: `method`, `kind`
            return from_dict(_choose(choices, value, where), value, where)
        return _parse(choices[0], value, where)
    if origin is Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list | tuple):
        items = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(items) == len(value):
            return tuple(_parse(item, v, where) for item, v in zip(items, value, strict=True))
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    expected = hint.__name__ if isinstance(hint, type) and origin is None else str(hint)
    raise ValueError(f"{where}: expected {expected}, found {value!r}")


def _choose(choices: list[Any], value: Any, where: str) -> Any:
    tag = dataclasses.fields(choices[0])[0].name
    by_tag = {str(dataclasses.fields(choice)[0].default): choice for choice in choices}
    found = value.get(tag) if isinstance(value, dict) else value
    if not isinstance(found, str) or found not in by_tag:
        raise ValueError(f"{where}.{tag}: expected one of {', '.join(by_tag)}, found {found!r}")
    return by_tag[found]
