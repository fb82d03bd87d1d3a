"""The three files of a COLMAP model, text and binary, as records.

A text file has one line for each record (two for images) and comments after ``#``. A binary file is
packed, little endian, and begins with the number of records. This number is not trusted: no memory
is allocated for more data than the file holds. https://colmap.github.io/format.html
"""

# Not read with pycolmap: of 400 damaged models, 33 made it hang, 38 were read without an error, and
# none of its 241 errors named the file.

import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

from nerf_jax.data.intrinsics import PANORAMA

MODELS = {
    "SIMPLE_PINHOLE": (0, ("f", "cx", "cy")),
    "PINHOLE": (1, ("fx", "fy", "cx", "cy")),
    "SIMPLE_RADIAL": (2, ("f", "cx", "cy", "k1")),
    "RADIAL": (3, ("f", "cx", "cy", "k1", "k2")),
    "OPENCV": (4, ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2")),
    "OPENCV_FISHEYE": (5, ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4")),
    # Its k4 to k6 are coefficients of a denominator, unlike any other model's: named d1 to d3 here.
    "FULL_OPENCV": (6, ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "d1", "d2", "d3")),
    "SIMPLE_RADIAL_FISHEYE": (8, ("f", "cx", "cy", "k1")),
    "RADIAL_FISHEYE": (9, ("f", "cx", "cy", "k1", "k2")),
    "SIMPLE_FISHEYE": (14, ("f", "cx", "cy")),
    "FISHEYE": (15, ("fx", "fy", "cx", "cy")),
}
"""The supported camera models: their code in binary files, and their parameters in order."""

_UNSUPPORTED = {
    7: "FOV",
    10: "THIN_PRISM_FISHEYE",
    11: "RAD_TAN_THIN_PRISM_FISHEYE",
    12: "SIMPLE_DIVISION",
    13: "DIVISION",
    16: "EUCM",
    17: "EQUIRECTANGULAR",
}
_NAMES = _UNSUPPORTED | {code: name for name, (code, _) in MODELS.items()}


class Camera(NamedTuple):
    """Intrinsics, which any number of images share."""

    id: int
    model: str
    width: float
    """Pixels, not yet checked to be whole."""
    height: float
    parameters: tuple[float, ...]
    """In the order of the model."""


class Image(NamedTuple):
    """A photo and its pose, ``camera_from_world``, in COLMAP's axes."""

    id: int
    quaternion: tuple[float, ...]
    """w, x, y, z."""
    translation: tuple[float, ...]
    camera_id: int
    name: str
    """Path of the file in the folder of images."""
    features: Float[np.ndarray, "n 3"]
    """Column and row in pixels, and the id of the point observed there; -1 if none."""


def read_cameras(path: Path) -> dict[int, Camera]:
    """Read the cameras, by id, from ``cameras.txt`` or ``cameras.bin``.

    Raises:
        OSError: the file cannot be read.
        ValueError: a record is malformed, or the file is truncated; or a binary file contains an
            unsupported model, whose number of parameters is unknown.
    """
    return _by_id(path, (_text_cameras if path.suffix == ".txt" else _binary_cameras)(path))


def read_images(path: Path) -> dict[int, Image]:
    """Read the images, by id, from ``images.txt`` or ``images.bin``; raises the same."""
    return _by_id(path, (_text_images if path.suffix == ".txt" else _binary_images)(path))


def read_points(path: Path) -> Float[np.ndarray, "P 4"]:
    """Read the ids, ascending, and positions from ``points3D.txt`` or ``points3D.bin``.

    Positions that are not finite are dropped. Raises the same.
    """
    records = list((_text_points if path.suffix == ".txt" else _binary_points)(path))
    rows = np.array(records, np.float64).reshape(-1, 4)  # float64 holds COLMAP's ids exactly
    rows = rows[np.isfinite(rows).all(axis=1)]
    return rows[np.unique(rows[:, 0], return_index=True)[1]]


def unsupported(path: Path, camera_id: int, model: str) -> ValueError:
    """The error for a camera whose model is not in :data:`MODELS`."""
    if model == "EQUIRECTANGULAR":
        return ValueError(f"{path}: camera {camera_id} {PANORAMA}")
    return ValueError(
        f"{path}: camera {camera_id}: the model {model} is not supported; undistort the photos "
        f"with colmap image_undistorter --image_path images --input_path {path.parent} "
        "--output_path UNDISTORTED, and use that folder"
    )


Record = TypeVar("Record", Camera, Image)


def _by_id(path: Path, records: Iterable[Record]) -> dict[int, Record]:
    found: dict[int, Record] = {}
    for record in records:
        if record.id in found:
            raise ValueError(f"{path}: contains the id {record.id} twice; export the model again")
        found[record.id] = record
    return found


def _text_cameras(path: Path) -> Iterator[Camera]:
    for where, line in _records(_lines(path)):
        with _expect(where, line, "CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]"):
            camera_id, model, *numbers = line.split()
            width, height, *parameters = map(float, numbers)
            camera = Camera(int(camera_id), model, width, height, tuple(parameters))
        yield camera


def _text_images(path: Path) -> Iterator[Image]:
    lines = _lines(path)
    for where, line in _records(lines):
        with _expect(where, line, "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"):
            image_id, w, x, y, z, *translation, camera_id, name = line.split(maxsplit=9)
            quaternion = tuple(map(float, (w, x, y, z)))
            tx, ty, tz = map(float, translation)
            pose = int(image_id), quaternion, (tx, ty, tz), int(camera_id), name
        # The next line holds the image's points; it is empty if there are none.
        where, line = next(lines, ("", ""))
        with _expect(where, line, "the image's points as X Y POINT3D_ID ..., or an empty line"):
            features = np.array(line.split(), np.float64).reshape(-1, 3)
            if not np.isfinite(features).all():
                raise ValueError("not finite")
        yield Image(*pose, features)


def _text_points(path: Path) -> Iterator[tuple[float, ...]]:
    for where, line in _records(_lines(path)):
        with _expect(where, line, "POINT3D_ID X Y Z R G B ERROR TRACK[]"):
            *words, _ = line.split(maxsplit=4)
            point_id, x, y, z = map(float, words)
        yield point_id, x, y, z


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Location and text of each line."""
    # The names of photos are bytes of the file system, in any encoding.
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            yield f"{path}:{number}", line.strip()


def _records(lines: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    return ((where, line) for where, line in lines if line and not line.startswith("#"))


@contextmanager
def _expect(where: str, line: str, form: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(
            f"{where}: expected {form}, but found {line[:80]!r}; export the model again"
        ) from error


class _Binary:
    """A binary file and the position up to which it has been read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path.read_bytes()
        self.position = 0

    def take(self, form: str) -> tuple:
        """Read values of a ``struct`` format."""
        start = self.position
        self.skip(struct.calcsize(form))
        return struct.unpack_from(form, self.data, start)

    def skip(self, count: int) -> None:
        self.position += count
        if self.position > len(self.data):
            raise self.damaged(f"ends after {len(self.data)} bytes, but more must follow")

    def text(self) -> str:
        """Read a string that ends with a zero byte."""
        end = self.data.find(b"\0", self.position)
        if end < 0:
            raise self.damaged("ends within the name of an image")
        name = self.data[self.position : end]
        self.position = end + 1
        return os.fsdecode(name)

    def records(self) -> Iterator[int]:
        """Count the records. The caller reads each record before it requests the next."""
        (count,) = self.take("<Q")
        yield from range(count)
        if self.position != len(self.data):
            raise self.damaged(
                f"holds {len(self.data)} bytes, but its {count} records end at {self.position}"
            )

    def damaged(self, problem: str) -> ValueError:
        return ValueError(f"{self.path}: {problem}; copy the model again")


def _binary_cameras(path: Path) -> Iterator[Camera]:
    file = _Binary(path)
    for _ in file.records():
        camera_id, code, width, height = file.take("<IiQQ")
        model = _NAMES.get(code, f"number {code}")
        if model not in MODELS:
            raise unsupported(path, camera_id, model)
        parameters = file.take(f"<{len(MODELS[model][1])}d")
        yield Camera(camera_id, model, width, height, parameters)


_FEATURE = np.dtype([("pixel", "<2f8"), ("point", "<i8")])


def _binary_images(path: Path) -> Iterator[Image]:
    file = _Binary(path)
    for _ in file.records():
        image_id, *pose, camera_id = file.take("<I7dI")
        name = file.text()
        (count,) = file.take("<Q")
        start = file.position
        file.skip(_FEATURE.itemsize * count)
        rows = np.frombuffer(file.data, _FEATURE, count, start)
        features = np.column_stack([rows["pixel"], rows["point"]])
        yield Image(image_id, tuple(pose[:4]), tuple(pose[4:]), camera_id, name, features)


def _binary_points(path: Path) -> Iterator[tuple[float, ...]]:
    file = _Binary(path)
    for _ in file.records():
        point_id, x, y, z, *_, track = file.take("<Q3d3BdQ")
        file.skip(8 * track)
        yield point_id, x, y, z
