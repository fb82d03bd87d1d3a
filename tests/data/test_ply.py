import struct

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from nerf_jax.data.ply import read_points

POINTS = [[1.5, -2.0, 3.25], [4.0, 5.0, 6.0]]
PROPERTIES = ["uchar red", "double z", "float y", "float x"]
ROWS = [(255, 3.25, -2.0, 1.5), (0, 6.0, 5.0, 4.0)]


def ply(form="ascii", count=2, properties=PROPERTIES, body=None, more="") -> bytes:
    lines = ["ply", f"format {form} 1.0", "comment made by hand", f"element vertex {count}"]
    lines += [f"property {each}" for each in properties]
    header = "\n".join([*lines, *more.splitlines(), "end_header\n"]).encode()
    if body is not None:
        return header + body
    if form == "ascii":
        return header + "\n".join(" ".join(map(str, row)) for row in ROWS).encode()
    order = "<" if form == "binary_little_endian" else ">"
    return header + b"".join(struct.pack(f"{order}Bdff", *row) for row in ROWS)


FORMS = ["ascii", "binary_little_endian", "binary_big_endian"]


@pytest.mark.parametrize("form", FORMS)
def test_points_are_read_as_written(tmp_path, form):
    path = tmp_path / "points.ply"
    path.write_bytes(ply(form))
    np.testing.assert_array_equal(read_points(path), POINTS)
    faces = "element face 1\nproperty list uchar int vertex_indices"
    path.write_bytes(ply(form, more=faces) + (b"\n3 0 1 2" if form == "ascii" else b"rest"))
    np.testing.assert_array_equal(read_points(path), POINTS)
    path.write_bytes(ply(form, count=0, body=b""))
    assert read_points(path).shape == (0, 3)
    path.write_bytes(ply(form).replace(b"\n", b"\r\n", 9) if form == "ascii" else ply(form))
    np.testing.assert_array_equal(read_points(path), POINTS)


def test_points_that_are_nowhere_are_left_out(tmp_path):
    path = tmp_path / "points.ply"
    path.write_bytes(ply(properties=["float x", "float y", "float z"], body=b"nan 0 0\n1 2 3\n"))
    np.testing.assert_array_equal(read_points(path), [[1, 2, 3]])


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", r"is no PLY file"),
        (b"ply\nformat ascii 1.0\n", r"is no PLY file"),
        (ply().replace(b"ascii", b"compressed"), r"format must be one of .* 'compressed'"),
        (ply().replace(b"vertex", b"face"), r"'element vertex N', but that is 'element face 2'"),
        (ply(count=-2), r"'element vertex N', but that is 'element vertex -2'"),
        (ply(count="9" * 5000), r"'element vertex N'"),
        (ply(properties=["float x", "float y"]), r"must have x, y and z.* has 'x, y'"),
        (ply(properties=["float x"] * 3), r"each property once, but has 'x, x, x'"),
        (ply(properties=["list uchar int x"]), r"must be one number.* 'property list uchar int x'"),
        (ply(count=3), r"cut off: it must hold 3 vertices, but ends after 2"),
        (ply(count=10**17), r"cut off: it must hold 10+ vertices, but ends after 2"),
        (ply("binary_little_endian", count=10**17), r"cut off: .* but ends after 2"),
        (ply(body=b"1 2 3 4 5 6 7 eight"), r"must be numbers, but .*eight"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, contents, message):
    path = tmp_path / "points.ply"
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=rf"points\.ply: .*{message}") as error:
        read_points(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


@hypothesis.given(
    strategies.sampled_from(FORMS),
    strategies.integers(0, 400),
    strategies.integers(0, 400),
    strategies.binary(max_size=8),
)
@hypothesis.settings(max_examples=300, deadline=None)
def test_damaged_files_give_points_or_a_clear_error(tmp_path_factory, form, start, length, put):
    path = tmp_path_factory.getbasetemp() / "damaged.ply"
    right = ply(form)
    path.write_bytes(right[:start] + put + right[start + length :])
    told = None
    try:
        points = read_points(path)
    except ValueError as error:
        told = str(error)
    if told is not None:
        assert str(path) in told
        return
    assert points.ndim == 2
    assert np.isfinite(points).all()
