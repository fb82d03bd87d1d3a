"""JSON objects written by other programs, read field by field.

Every value is checked when it is read. An error is one line with the file, the field, the
expected value and the value found.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from nerf_jax.data.intrinsics import MAX_FLOAT32

# Rotations are written with 6 to 16 digits; a larger error means that it is not a rotation.
_ROTATION_TOLERANCE = 1e-3
# Exporters may leave part of an object's scale in the matrix; ray directions are normalized anyway.
_SCALE_TOLERANCE = 0.05


@dataclass(frozen=True)
class Fields:
    """One JSON object. A field that is ``null`` counts as absent."""

    where: str
    """The prefix of field names in messages: the file and the path to the object."""
    values: Mapping[str, Any]

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def error(self, name: str, expected: str) -> ValueError:
        """An error for a field: "<name> must <expected>, but is <value>"."""
        return ValueError(
            f"{self.where}{name} must {expected}, but is {_shorten(self.values.get(name))}"
        )

    def number(
        self, name: str, default: float | None = None, expected: str = "be a finite number"
    ) -> float:
        """A number within the range of float32; the default, if any, if the field is absent."""
        if default is not None and name not in self:
            return default
        value = _number(self.values.get(name))
        if not abs(value) <= MAX_FLOAT32:  # true for nan
            raise self.error(name, expected)
        return value

    def angle(self, name: str, expected: str) -> float:
        """A field of view in radians."""
        expected = f"be {expected} in radians, between 0.001 and 3.14"
        value = self.number(name, expected=expected)
        if not 1e-3 <= value <= 3.14:
            raise self.error(name, expected)
        return value

    def text(self, name: str, expected: str) -> str:
        """A string that is not empty."""
        value = self.values.get(name)
        if not isinstance(value, str) or not value:
            raise self.error(name, expected)
        return value

    def texts(self, name: str, expected: str) -> list[str]:
        """A list of strings."""
        value = self.values.get(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(name, expected)
        return value

    def vector(self, name: str, size: int) -> Float[np.ndarray, " size"]:
        """A list of ``size`` numbers."""
        value = self.values.get(name)
        numbers = np.array([_number(item) for item in value] if isinstance(value, list) else [])
        if len(numbers) != size or not np.all(np.abs(numbers) <= MAX_FLOAT32):
            raise self.error(name, f"be {size} finite numbers")
        return numbers

    def objects(self, name: str, kind: str) -> list["Fields"]:
        """A list of at least one object."""
        value = self.values.get(name)
        if not isinstance(value, list) or not value:
            raise self.error(name, f"be a list of at least one {kind}")
        for index, item in enumerate(value):
            if not isinstance(item, dict):
                raise ValueError(
                    f"{self.where}{name}[{index}] must be an object, but is {_shorten(item)}"
                )
        return [Fields(f"{self.where}{name}[{i}].", item) for i, item in enumerate(value)]

    def pose(self, name: str = "transform_matrix") -> Float[np.ndarray, "3 4"]:
        """``world_from_camera``, checked to be a rotation and a translation."""
        where = f"{self.where}{name}"
        matrix = _matrix(self.values.get(name), where)
        rotation = matrix[:3, :3]
        gram = rotation.T @ rotation
        scale = math.sqrt(np.trace(gram) / 3)
        if (
            abs(scale - 1) > _SCALE_TOLERANCE
            or np.abs(gram / scale**2 - np.eye(3)).max() > _ROTATION_TOLERANCE
            or np.linalg.det(rotation) < 0
        ):
            raise ValueError(
                f"{where} must rotate without scaling, shearing or mirroring: its upper left 3x3, "
                f"times its transpose, should be the identity, but {_shorten(rotation.tolist())} "
                "is not; export the cameras with unit scale"
            )
        return matrix[:3]


def read_object(path: Path) -> Fields:
    """Read the JSON object in a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON, or not an object.
    """
    try:
        # Editors on Windows begin a file with a byte order mark.
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # invalid UTF-8 is a ValueError too
        raise ValueError(f"{path}: is not JSON ({error}); copy or download it again") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a JSON object, found {_shorten(value)}")
    return Fields(f"{path}: ", value)


def _shorten(value: Any) -> str:
    """A JSON value, shortened for an error message."""
    if value is None:
        return "missing"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _matrix(rows: Any, where: str) -> Float[np.ndarray, "4 4"]:
    """Four rows of four finite numbers, the last of them 0, 0, 0, 1; it may be absent."""
    rows = [*rows, [0, 0, 0, 1]] if isinstance(rows, list) and len(rows) == 3 else rows
    lists = rows if isinstance(rows, list) else []
    if [len(row) if isinstance(row, list) else 0 for row in lists] != [4] * 4:
        raise ValueError(f"{where} must be four rows of four numbers, but is {_shorten(rows)}")
    matrix = np.array([[_number(value) for value in row] for row in rows])
    finite = np.abs(matrix) <= MAX_FLOAT32  # false for nan
    if not finite.all():
        i, j = np.argwhere(~finite)[0]
        raise ValueError(
            f"{where}[{i}][{j}] must be a finite number, but is {_shorten(rows[i][j])}"
        )
    if np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise ValueError(f"{where}[3] must be [0, 0, 0, 1], but is {rows[3]}")
    return matrix


def _number(value: Any) -> float:
    """A JSON number as a float; nan for any other value, and for a number that is too large."""
    try:
        return float(value) if type(value) in (int, float) else math.nan
    except OverflowError:
        return math.nan
