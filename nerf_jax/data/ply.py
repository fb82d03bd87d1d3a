"""The points of a PLY file: places, and nothing else of what such a file may hold.

A file begins with a header in ASCII that declares elements (``vertex`` is the points) and their
properties; the values follow as text, or as packed binary.
"""

import itertools
from pathlib import Path

import numpy as np
from jaxtyping import Float

_KINDS = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_LONGEST_HEADER = 2**16


def read_points(path: Path) -> Float[np.ndarray, "P 3"]:
    """The x, y and z of the vertices, those that are finite.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no PLY file, its vertices do not come first, or it is cut off.
    """
    data = path.read_bytes()
    end = data.find(b"end_header", 0, _LONGEST_HEADER)
    body = data.find(b"\n", end) + 1
    if not data.startswith(b"ply") or end < 0 or body == 0:
        raise ValueError(f"{path}: is no PLY file: it must begin with 'ply' and a header")
    form, count, vertex = _read_header(path, data[:end].decode("ascii", "replace"))
    if form == "ascii":
        return _finite(_read_text(path, data[body:], count, vertex))
    held = (len(data) - body) // vertex.itemsize
    if held < count:  # before any memory is asked for
        raise _cut_off(path, count, held)
    rows = np.frombuffer(data[body : body + count * vertex.itemsize], vertex)
    return _finite(np.stack([rows[axis].astype(np.float64) for axis in "xyz"], axis=1))


def _read_header(path: Path, header: str) -> tuple[str, int, np.dtype]:
    """The format, the number of vertices, and what each of them is made of."""
    lines = [words for words in map(str.split, header.splitlines()) if words]
    form = next((words[1] for words in lines if words[0] == "format" and len(words) == 3), "")
    if form not in _ORDERS:
        raise ValueError(f"{path}: format must be one of {', '.join(_ORDERS)}, but is {form!r:.80}")
    lines = [words for words in lines if words[0] in ("element", "property")]
    match lines:
        case [["element", "vertex", number], *rest] if number.isdecimal() and len(number) < 19:
            count = int(number)
        case _:
            found = " ".join(lines[0]) if lines else "missing"
            raise ValueError(
                f"{path}: must start with 'element vertex N', but that is {found!r:.80}"
            )
    properties = list(itertools.takewhile(lambda words: words[0] == "property", rest))
    for words in properties:
        if len(words) != 3 or words[1] not in _KINDS:
            raise ValueError(
                f"{path}: a vertex's property must be one number, of {', '.join(_KINDS)}, but is "
                f"{' '.join(words)!r:.80}"
            )
    names = [words[2] for words in properties]
    if not {"x", "y", "z"} <= set(names) or len(set(names)) < len(names):
        raise ValueError(
            f"{path}: a vertex must have x, y and z, each property once, but has "
            f"{', '.join(names)!r:.80}"
        )
    kinds = [_ORDERS[form] + _KINDS[words[1]] for words in properties]
    return form, count, np.dtype(list(zip(names, kinds, strict=True)))


def _read_text(
    path: Path, body: bytes, count: int, vertex: np.dtype
) -> Float[np.ndarray, "count 3"]:
    names = list(vertex.names or ())
    words = body.split()
    if len(words) < count * len(names):
        raise _cut_off(path, count, len(words) // len(names))
    try:
        rows = np.array([float(word) for word in words[: count * len(names)]])
    except ValueError as error:
        raise ValueError(f"{path}: a vertex must be numbers, but {error}") from error
    return rows.reshape(count, len(names))[:, [names.index(axis) for axis in "xyz"]]


def _finite(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "P 3"]:
    """Scanners write NaN where they saw nothing."""
    return points[np.isfinite(points).all(axis=1)]


def _cut_off(path: Path, count: int, held: int) -> ValueError:
    return ValueError(
        f"{path}: is cut off: it must hold {count} vertices, but ends after {held}; copy or "
        "download the file again"
    )
