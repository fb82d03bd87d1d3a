"""Constraints on config fields: declared in their annotations, checked at construction."""

import math
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def require(condition: bool, name: str, value: object, expected: str) -> None:
    """Raise a ValueError that names the field, the expected values and the given one."""
    if not condition:
        raise ValueError(f"{name} must be {expected}, but is {value!r}")


@dataclass(frozen=True)
class Constraint:
    """A condition on a field's value: ``width: Annotated[int, POSITIVE] = 64``."""

    expected: str
    holds: Callable[[Any], bool]

    def require(self, name: str, value: Any) -> None:
        """Raise a ValueError unless the condition holds."""
        require(self.holds(value), name, value, self.expected)


POSITIVE = Constraint("positive", lambda value: 0 < value < math.inf)
NON_NEGATIVE = Constraint("finite and at least 0", lambda value: 0 <= value < math.inf)
BELOW_ONE = Constraint("in [0, 1)", lambda value: 0 <= value < 1)
NOT_EMPTY = Constraint("not empty", lambda value: len(value) > 0)


def at_least(minimum: int) -> Constraint:
    """The value is not below ``minimum``."""
    return Constraint(f"at least {minimum}", lambda value: value >= minimum)


def below_power_of_two(exponent: int) -> Constraint:
    """The value is below 2^exponent."""
    return Constraint(f"below 2^{exponent}", lambda value: value < 2**exponent)


def num_bytes(size: str) -> int:
    """The bytes of a size such as ``2GB``, ``1.5 GiB`` or ``500M``; 0 if it is none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT])(i?)B?", size.strip(), re.IGNORECASE)
    if match is None:
        return 0
    power = 1 + "KMGT".index(match[2].upper())
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


BYTES = Constraint("a size such as 2GB or 500MiB", lambda size: num_bytes(size) > 0)


class Section:
    """Base of the config dataclasses: checks the constraints of their fields.

    A field whose default is None may be None.
    """

    prefix = ""
    """The section's name in error messages: ``prefix.field``."""

    def __post_init__(self) -> None:
        for name, hint in typing.get_type_hints(type(self), include_extras=True).items():
            value = getattr(self, name)
            if value is None and getattr(type(self), name, 0) is None:
                continue
            for constraint in getattr(hint, "__metadata__", ()):
                constraint.require(f"{self.prefix}.{name}", value)
