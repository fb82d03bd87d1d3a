"""The three files of a COLMAP model, text and binary, as records.

Text has a line for each record (images have two) and comments after ``#``. Binary is packed, little
endian, and begins with the number of records, which is not believed: nothing is made of a size that
the file itself does not have. https://colmap.github.io/format.html
"""

import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

MODELS = {
    "SIMPLE_PINHOLE": (0, ("f", "cx", "cy")),
    "PINHOLE": (1, ("fx", "fy", "cx", "cy")),
    "SIMPLE_RADIAL": (2, ("f", "cx", "cy", "k1")),
    "RADIAL": (3, ("f", "cx", "cy", "k1", "k2")),
    "OPENCV": (4, ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2")),
    "OPENCV_FISHEYE": (5, ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4")),
    # Its k4 to k6 divide, unlike those of any other model: hence their names here.
    "FULL_OPENCV": (6, ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "d1", "d2", "d3")),
    "SIMPLE_RADIAL_FISHEYE": (8, ("f", "cx", "cy", "k1")),
    "RADIAL_FISHEYE": (9, ("f", "cx", "cy", "k1", "k2")),
}
"""The camera models that are read: their number in binary files, and their parameters in order."""

_UNREAD = {7: "FOV", 10: "THIN_PRISM_FISHEYE", 11: "RAD_TAN_THIN_PRISM_FISHEYE"}
_NAMES = _UNREAD | {number: name for name, (number, _) in MODELS.items()}


class Camera(NamedTuple):
    """A lens, which any number of images share."""

    number: int
    model: str
    width: float
    """Pixels; whole in a right file, as the height."""
    height: float
    parameters: tuple[float, ...]
    """As the model orders them: :data:`MODELS`, if it is one of them."""


class Image(NamedTuple):
    """A photo and its pose, ``camera_from_world``, in COLMAP's axes."""

    number: int
    quaternion: tuple[float, ...]
    """w, x, y, z."""
    translation: tuple[float, ...]
    camera: int
    name: str
    """Of its file, from the folder of images."""
    features: Float[np.ndarray, "n 3"]
    """Pixels from the upper left corner, x and y, and the number of the point that is seen there;
    -1 where none is."""


def read_cameras(path: Path) -> dict[int, Camera]:
    """The cameras by their numbers, from ``cameras.txt`` or ``cameras.bin``.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line or a record is not as it should be, or the file is cut off; or a binary
            file holds a model that is not read, so that its length is not known.
    """
    return _by_number(path, (_text_cameras if path.suffix == ".txt" else _binary_cameras)(path))


def read_images(path: Path) -> dict[int, Image]:
    """The images by their numbers, from ``images.txt`` or ``images.bin``; raises the same."""
    return _by_number(path, (_text_images if path.suffix == ".txt" else _binary_images)(path))


def read_points(path: Path) -> Float[np.ndarray, "P 4"]:
    """The points' numbers, ascending, and their places, from ``points3D.txt`` or ``points3D.bin``.

    Those that are finite; raises the same. Numbers are exact, as COLMAP counts from 1.
    """
    records = list((_text_points if path.suffix == ".txt" else _binary_points)(path))
    rows = np.array(records, np.float64).reshape(-1, 4)
    rows = rows[np.isfinite(rows).all(axis=1)]
    return rows[np.unique(rows[:, 0], return_index=True)[1]]


def unsupported(path: Path, camera: int, model: str) -> ValueError:
    """What to raise for a camera whose model is none of :data:`MODELS`."""
    return ValueError(
        f"{path}: camera {camera}: the model {model} is not supported; undistort the photos with "
        f"colmap image_undistorter --image_path images --input_path {path.parent} --output_path "
        "UNDISTORTED, and use that folder"
    )


Record = TypeVar("Record", Camera, Image)


def _by_number(path: Path, records: Iterable[Record]) -> dict[int, Record]:
    found: dict[int, Record] = {}
    for record in records:
        if record.number in found:
            raise ValueError(f"{path}: holds the number {record.number} twice; write it again")
        found[record.number] = record
    return found


def _text_cameras(path: Path) -> Iterator[Camera]:
    for where, line in _records(_lines(path)):
        with _expect(where, line, "CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]"):
            number, model, *numbers = line.split()
            width, height, *parameters = map(float, numbers)
            camera = Camera(int(number), model, width, height, tuple(parameters))
        yield camera


def _text_images(path: Path) -> Iterator[Image]:
    lines = _lines(path)
    for where, line in _records(lines):
        with _expect(where, line, "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"):
            number, w, x, y, z, *translation, camera, name = line.split(maxsplit=9)
            quaternion = tuple(map(float, (w, x, y, z)))
            tx, ty, tz = map(float, translation)
            pose = int(number), quaternion, (tx, ty, tz), int(camera), name
        # The points seen in it follow at once; where there are none, the line is there and empty.
        where, line = next(lines, ("", ""))
        with _expect(where, line, "the image's points as X Y POINT3D_ID ..., or an empty line"):
            features = np.array(line.split(), np.float64).reshape(-1, 3)
            if not np.isfinite(features).all():
                raise ValueError("no points")
        yield Image(*pose, features)


def _text_points(path: Path) -> Iterator[tuple[float, ...]]:
    for where, line in _records(_lines(path)):
        with _expect(where, line, "POINT3D_ID X Y Z R G B ERROR TRACK[]"):
            *words, _ = line.split(maxsplit=4)
            number, x, y, z = map(float, words)
        yield number, x, y, z


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a file, each after where it stands."""
    # Names are the bytes that the file system has, whatever their encoding.
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
            f"{where}: expected {form}, but found {line[:80]!r}; write the model again"
        ) from error


class _Binary:
    """A binary file and how far it has been read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path.read_bytes()
        self.place = 0

    def take(self, form: str) -> tuple:
        """What ``struct`` calls ``form``."""
        start = self.place
        self.skip(struct.calcsize(form))
        return struct.unpack_from(form, self.data, start)

    def skip(self, count: int) -> None:
        self.place += count
        if self.place > len(self.data):
            raise self.damaged(f"ends after {len(self.data)} bytes, where more must follow")

    def rows(self, kind: np.dtype, count: int) -> np.ndarray:
        """So many records of one kind, at once."""
        start = self.place
        self.skip(kind.itemsize * count)
        return np.frombuffer(self.data, kind, count, start)

    def text(self) -> str:
        """As far as a zero byte."""
        end = self.data.find(b"\0", self.place)
        if end < 0:
            raise self.damaged("ends within the name of an image")
        name = self.data[self.place : end]
        self.place = end + 1
        return os.fsdecode(name)

    def records(self) -> Iterator[int]:
        """Counts the records; whoever asks for the next one has read the one before."""
        (count,) = self.take("<Q")
        yield from range(count)
        if self.place != len(self.data):
            raise self.damaged(f"holds {len(self.data)} bytes, {self.place} for {count} records")

    def damaged(self, what: str) -> ValueError:
        return ValueError(f"{self.path}: {what}; copy the model again")


def _binary_cameras(path: Path) -> Iterator[Camera]:
    file = _Binary(path)
    for _ in file.records():
        number, kind, width, height = file.take("<IiQQ")
        model = _NAMES.get(kind, f"number {kind}")
        if model not in MODELS:
            raise unsupported(path, number, model)
        parameters = file.take(f"<{len(MODELS[model][1])}d")
        yield Camera(number, model, width, height, parameters)


def _binary_images(path: Path) -> Iterator[Image]:
    file = _Binary(path)
    for _ in file.records():
        number, *pose, camera = file.take("<I7dI")
        name = file.text()
        (count,) = file.take("<Q")
        rows = file.rows(np.dtype([("place", "<2f8"), ("point", "<i8")]), count)
        features = np.column_stack([rows["place"], rows["point"]])
        yield Image(number, tuple(pose[:4]), tuple(pose[4:]), camera, name, features)


def _binary_points(path: Path) -> Iterator[tuple[float, ...]]:
    file = _Binary(path)
    for _ in file.records():
        number, x, y, z, *_, track = file.take("<Q3d3BdQ")
        file.skip(8 * track)
        yield number, x, y, z
