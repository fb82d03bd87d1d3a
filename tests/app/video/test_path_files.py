"""Camera-path files: those of nerfstudio, round trips, and invalid fields."""

import copy
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from nerf_jax.app.video.path_files import read_path
from nerf_jax.cameras import project
from nerf_jax.data.normalize import move
from nerf_jax.types import Cameras
from tests.test_cameras import some_cameras

SIZE = (60, 80)
BOUNDS = (0.5, 9.0)
SIMILARITY = np.eye(4)
SIMILARITY[:3, :3] = 0.25 * Rotation.from_euler("xyz", [0.4, -1.1, 2.0]).as_matrix()
SIMILARITY[:3, 3] = [3.0, -0.5, 1.0]

# As nerfstudio's viewer exports it, including the fields of its editor.
NERFSTUDIO = {
    "camera_type": "perspective",
    "render_height": 60,
    "render_width": 80,
    "fps": 24,
    "seconds": 2,
    "is_cycle": False,
    "smoothness_value": 0.5,
    "keyframes": [{"matrix": "[1, 0]", "fov": 50, "aspect": 1.3333, "properties": "[]"}],
    "crop": None,
    "camera_path": [
        {
            "camera_to_world": [1, 0, 0, 0.5, 0, 1, 0, -2, 0, 0, 1, 4, 0, 0, 0, 1],
            "fov": 50,
            "aspect": 1.3333,
        },
        {
            "camera_to_world": [[0, 0, 1, 3], [0, 1, 0, 1], [-1, 0, 0, 2], [0, 0, 0, 1]],
            "fov": 90.0,
            "aspect": 1.3333,
        },
    ],
}


def write(path, content) -> None:
    path.write_text(json.dumps(content))


def write_cameras(path, cameras, size_hw, fps, world_from_original) -> None:
    """The inverse of ``read_path``."""
    height, width = size_hw
    poses = move(np.linalg.inv(world_from_original), cameras).world_from_camera
    fovs = np.degrees(2 * np.arctan(0.5 * height / np.asarray(cameras.focal, float)[:, 1]))
    frames = [
        {"camera_to_world": [*pose.ravel().tolist(), 0.0, 0.0, 0.0, 1.0], "fov": float(fov)}
        for pose, fov in zip(poses, fovs, strict=True)
    ]
    size = {"render_height": height, "render_width": width}
    write(path, {**size, "fps": fps, "camera_path": frames})


def square_cameras() -> Cameras:
    """Cameras that the format can hold: square pixels and a central principal point."""
    cameras = some_cameras(4)
    focal = np.repeat(cameras.focal[:, :1], 2, axis=1)
    return cameras._replace(focal=focal, principal=np.full((4, 2), [40, 30], np.float32))


def test_a_path_of_nerfstudio(tmp_path):
    write(tmp_path / "path.json", NERFSTUDIO)
    cameras, size_hw, fps = read_path(tmp_path / "path.json", BOUNDS, np.eye(4))
    assert (size_hw, fps) == (SIZE, 24.0)
    poses = [[[1, 0, 0, 0.5], [0, 1, 0, -2], [0, 0, 1, 4]]]
    poses += [[[0, 0, 1, 3], [0, 1, 0, 1], [-1, 0, 0, 2]]]
    np.testing.assert_array_equal(cameras.world_from_camera, poses)
    tangents = np.tan(np.radians([25, 45]))
    np.testing.assert_allclose(cameras.focal, np.repeat(30 / tangents, 2).reshape(2, 2), rtol=1e-6)
    np.testing.assert_array_equal(cameras.principal, [[40, 30], [40, 30]])
    np.testing.assert_allclose(cameras.near, 0.5)
    np.testing.assert_allclose(cameras.far, 9)


@pytest.mark.parametrize("world_from_original", [np.eye(4), SIMILARITY])
def test_round_trip(tmp_path, world_from_original):
    cameras = square_cameras()._replace(
        near=np.full(4, 0.5, np.float32), far=np.full(4, 9.0, np.float32)
    )
    write_cameras(tmp_path / "a.json", cameras, SIZE, 30.0, world_from_original)
    found = read_path(tmp_path / "a.json", BOUNDS, world_from_original)
    assert (found.size_hw, found.fps) == (SIZE, 30.0)
    for one, other in zip(found.cameras[:5], cameras[:5], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_path_is_independent_of_the_world(tmp_path):
    """A point of the files projects to the same pixel in the worlds of two training runs."""
    write_cameras(tmp_path / "a.json", square_cameras(), SIZE, 30.0, np.eye(4))
    there = read_path(tmp_path / "a.json", BOUNDS, SIMILARITY).cameras
    point = np.array([0.3, -0.2, 0.1, 1.0])
    moved = (SIMILARITY @ point)[:3].astype(np.float32)
    for image in range(4):
        one = project(square_cameras(), image, jnp.asarray(point[:3], jnp.float32))[0]
        other = project(there, image, jnp.asarray(moved))[0]
        np.testing.assert_allclose(one, other, atol=1e-2)


def test_seconds_give_the_frame_rate_without_fps(tmp_path):
    without = {name: value for name, value in NERFSTUDIO.items() if name != "fps"}
    write(tmp_path / "a.json", without)
    assert read_path(tmp_path / "a.json", BOUNDS, np.eye(4)).fps == 1.0
    del without["seconds"]
    write(tmp_path / "a.json", without)
    assert read_path(tmp_path / "a.json", BOUNDS, np.eye(4)).fps is None


def changed(keys: tuple, value: object) -> dict:
    """The path of nerfstudio with one value changed, or removed if it is ``...``."""
    content = copy.deepcopy(NERFSTUDIO)
    place = content
    for key in keys[:-1]:
        place = place[key]
    if value is ...:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    return content


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("camera_path", ..., r"camera_path must be a list of at least one camera, .* missing"),
        ("camera_path", [], r"camera_path must be a list of at least one camera, but is \[\]"),
        ("camera_path.1", 3, r"camera_path\[1\] must be an object, but is 3"),
        ("camera_path.1.fov", ..., r"camera_path\[1\].fov must be a field of view .* missing"),
        ("camera_path.0.fov", 180, r"camera_path\[0\].fov must be .* between 0.1 and 179.9"),
        ("camera_path.1.camera_to_world", ..., r"\[1\].camera_to_world must be four rows"),
        ("camera_path.0.camera_to_world", [1] * 15, r"\[0\].camera_to_world must be four ro"),
        (
            "camera_path.0.camera_to_world.5",
            float("nan"),
            r"\[0\].camera_to_world\[1\]\[1\] must be a finite number, but is nan",
        ),
        ("camera_path.0.camera_to_world.0", 3, r"must rotate without scaling"),
        (
            "camera_path.0.camera_to_world.3",
            3e38,
            r"\[0\].camera_to_world must be within the range of float32",
        ),
        ("render_height", 0, r"render_height must be a whole number of pixels, 1 to 32768, .* 0"),
        ("render_width", 20.5, r"render_width must be a whole number"),
        ("render_width", "80", r"render_width must be a whole number .* '80'"),
        ("fps", -1, r"fps must be positive"),
        ("camera_type", "equirectangular", r"camera_type must be 'perspective', .*rectangular"),
    ],
)
def test_an_invalid_field_is_named_with_its_frame(tmp_path, field, value, expected):
    keys = tuple(int(key) if key.isdigit() else key for key in field.split("."))
    write(tmp_path / "path.json", changed(keys, value))
    with pytest.raises(ValueError, match=rf"path\.json: .*{expected}") as raised:
        read_path(tmp_path / "path.json", BOUNDS, np.diag([4.0, 4, 4, 1]))
    assert "\n" not in str(raised.value)


def test_files_that_are_no_camera_paths(tmp_path):
    with pytest.raises(OSError, match=r"nowhere\.json: no such camera-path file"):
        read_path(tmp_path / "nowhere.json", BOUNDS, np.eye(4))
    (tmp_path / "a.json").write_text('{"camera_path": [')
    with pytest.raises(ValueError, match=r"a\.json: is not JSON"):
        read_path(tmp_path / "a.json", BOUNDS, np.eye(4))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
PLACES = [
    *((name,) for name in NERFSTUDIO),
    *(("camera_path", i, name) for i in (0, 1) for name in ("camera_to_world", "fov", "aspect")),
    *(("camera_path", 0, "camera_to_world", i) for i in range(16)),
    *(("camera_path", 1, "camera_to_world", i) for i in range(4)),
    ("camera_path", 0),
]


@pytest.mark.slow
@settings(max_examples=300, deadline=None, derandomize=True)
@given(keys=st.sampled_from(PLACES), value=st.just(...) | ANYTHING)
def test_any_content_is_read_or_rejected_in_one_line(tmp_path_factory, keys, value):
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    write(path, changed(keys, value))
    try:
        cameras, size_hw, fps = read_path(path, BOUNDS, SIMILARITY)
    except ValueError as error:
        message = str(error)
    else:
        message = ""
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(cameras))
        assert cameras.world_from_camera.dtype == np.float32
        assert min(size_hw) >= 1
        assert fps is None or 0 < fps <= 1000
    assert not message or re.fullmatch(rf".*fuzzed\.json: .*{keys[0]}.*", message)
