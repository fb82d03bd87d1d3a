"""The checks that config dataclasses make of their fields."""

import math


def require(condition: bool, name: str, value: object, expected: str) -> None:
    """Raise a ValueError that names the field, what was expected and what came."""
    if not condition:
        raise ValueError(f"{name} must be {expected}, but is {value!r}")


def require_positive(section: object, prefix: str, *names: str) -> None:
    """The same of several fields that must be finite and positive."""
    for name in names:
        value = getattr(section, name)
        require(math.isfinite(value) and value > 0, f"{prefix}.{name}", value, "positive")
