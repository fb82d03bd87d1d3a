import json
import math
import shutil

import hypothesis
import jax
import numpy as np
import pytest
from PIL import Image

from nerf_jax.cameras import cast_rays
from nerf_jax.config import DataConfig
from nerf_jax.data import transforms
from tests.data import damage


def _edit(root, change):
    """Change the transforms of the training split, in place or by what ``change`` returns."""
    path = root / "transforms_train.json"
    transforms = json.loads(path.read_text())
    transforms = change(transforms) or transforms
    path.write_text(json.dumps(transforms))


def test_a_scene_is_read_as_written(tmp_path, write_scene):
    images = write_scene(tmp_path / "toy")
    scene = transforms.load_blender(tmp_path / "toy", DataConfig(near=1.0, far=5.0))
    assert scene.name == "toy"
    assert list(scene.loaders) == ["train", "val"]
    split = scene.split("val")
    assert split.names == ("r_0", "r_1", "r_2")
    np.testing.assert_array_equal(split.dataset.pixels, images["val"])
    cameras = split.dataset.cameras
    assert all(
        isinstance(leaf, np.ndarray) and leaf.dtype == np.float32
        for leaf in jax.tree.leaves(cameras)
    )
    np.testing.assert_allclose(cameras.focal, 3 / math.tan(0.35), rtol=1e-6)
    np.testing.assert_allclose(cameras.principal, [[3, 2]] * 3)
    np.testing.assert_allclose(cameras.near, [1] * 3)
    np.testing.assert_allclose(cameras.far, [5] * 3)
    frames = json.loads((tmp_path / "toy/transforms_val.json").read_text())["frames"]
    poses = np.array([frame["transform_matrix"] for frame in frames])[:, :3]
    np.testing.assert_allclose(cameras.world_from_camera, poses, rtol=1e-6)


def test_missing_images_are_skipped_and_counted(tmp_path, write_scene):
    images = write_scene(tmp_path)
    (tmp_path / "train/r_1.png").unlink()
    for image in tmp_path.glob("val/*"):
        image.unlink()
    scene = transforms.load_blender(tmp_path, DataConfig())
    assert scene.notes == (
        "4 of the 6 photos that its files list do not exist, such as ./train/r_1",
    )
    assert list(scene.loaders) == ["train"]
    np.testing.assert_array_equal(scene.split("train").dataset.pixels, images["train"][[0, 2]])
    shutil.rmtree(tmp_path / "train")
    with pytest.raises(
        FileNotFoundError, match=r"train\.json: none of its 6 photos exists, such as"
    ):
        transforms.load_blender(tmp_path, DataConfig())


def test_suffixes_may_be_written_out(tmp_path, write_scene):
    images = write_scene(tmp_path)

    def add_suffixes(transforms):
        for frame in transforms["frames"]:
            frame["file_path"] += ".png"

    _edit(tmp_path, add_suffixes)
    split = transforms.load_blender(tmp_path, DataConfig()).split("train")
    assert split.names == ("r_0", "r_1", "r_2")
    np.testing.assert_array_equal(split.dataset.pixels, images["train"])


def test_rays_through_known_pixels(tmp_path, write_scene):
    """A camera at (5, 0, 0) that looks along -x with z up, focal length 2, image 4x2."""
    write_scene(tmp_path, count=1)
    Image.new("RGB", (4, 2)).save(tmp_path / "train/r_0.png")
    pose = [[0, 0, 1, 5], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]

    def change(transforms):
        transforms["camera_angle_x"] = math.pi / 2
        transforms["frames"][0]["transform_matrix"] = pose

    _edit(tmp_path, change)
    cameras = transforms.load_blender(tmp_path, DataConfig()).split("train").dataset.cameras
    pixels = np.array([[0, 0], [3, 1], [1, 0]])
    rays = jax.vmap(cast_rays, in_axes=(None, None, 0))(cameras, 0, pixels)
    # Right is +y and up is +z: the upper left pixel's centre is 1.5 to the left, 0.5 up.
    expected = np.array([[-2, -1.5, 0.5], [-2, 1.5, -0.5], [-2, -0.5, 0.5]])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(rays.direction, expected, atol=1e-6)
    np.testing.assert_allclose(rays.origin, [[5, 0, 0]] * 3)
    np.testing.assert_allclose(rays.near, 2)


def test_downscaling_keeps_rays_where_they_were(tmp_path, write_scene):
    """The centre of a small pixel is the corner that its four pixels share."""
    write_scene(tmp_path)
    Image.new("RGB", (7, 5)).save(tmp_path / "one.png")  # a column and a row are cropped

    def one_image(transforms):
        transforms["frames"] = transforms["frames"][:1]
        transforms["frames"][0]["file_path"] = "one"

    _edit(tmp_path, one_image)
    large = transforms.load_blender(tmp_path, DataConfig()).split("train").dataset
    small = transforms.load_blender(tmp_path, DataConfig(downscale=2)).split("train").dataset
    assert small.pixels.shape == (1, 2, 3, 3)
    ray = cast_rays(small.cameras, 0, np.array([2, 1]))
    same = cast_rays(large.cameras, 0, np.array([5.0, 3.0]))
    np.testing.assert_allclose(ray.direction, same.direction, atol=1e-6)


def _set(*path_and_value):
    *path, last, value = path_and_value

    def change(transforms):
        for step in path:
            transforms = transforms[step]
        transforms[last] = value

    return change


def _scaled(factors):
    def change(transforms):
        matrix = np.array(transforms["frames"][1]["transform_matrix"])
        matrix[:3, :3] *= factors
        transforms["frames"][1]["transform_matrix"] = matrix.tolist()

    return change


MATRIX = ("frames", 1, "transform_matrix")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: [1, 2], r"expected a JSON object, found \[1, 2\]"),
        (
            lambda t: t.pop("camera_angle_x") and None,
            r"fl_x must .* camera_angle_x in radians, but is missing",
        ),
        (_set("camera_angle_x", "wide"), r"camera_angle_x must .* radians.* but is 'wide'"),
        (_set("camera_angle_x", 39.6), r"camera_angle_x must .* radians.* but is 39\.6"),
        (_set("camera_angle_x", 0), r"camera_angle_x must .* but is 0"),
        (_set("camera_angle_x", True), r"camera_angle_x must .* but is True"),
        (_set("camera_angle_x", math.nan), r"camera_angle_x must .* but is nan"),
        (lambda t: t.pop("frames") and None, r"frames must be a list .* missing"),
        (_set("frames", []), r"frames must be a list of at least one frame, but is \[\]"),
        (_set("frames", {"0": {}}), r"frames must be a list .* but is \{"),
        (_set("frames", 1, 3), r"frames\[1\] must be an object, but is 3"),
        (lambda t: t["frames"][1].pop("file_path") and None, r"frames\[1\]\.file_path .* missing"),
        (_set("frames", 1, "file_path", 3), r"frames\[1\]\.file_path must .* but is 3"),
        (lambda t: t["frames"][1].pop("transform_matrix") and None, r"four rows .* missing"),
        (_set(*MATRIX, [[1, 2], [3, 4]]), r"frames\[1\]\.transform_matrix must be four rows"),
        (_set(*MATRIX, 2, [0, 0, 0]), r"frames\[1\]\.transform_matrix must be four rows"),
        (_set(*MATRIX, 2, 1, "x"), r"transform_matrix\[2\]\[1\] must be a finite .* but is 'x'"),
        (_set(*MATRIX, 0, 3, math.inf), r"transform_matrix\[0\]\[3\] must be .* but is inf"),
        (_set(*MATRIX, 0, 3, 10**400), r"transform_matrix\[0\]\[3\] must be .* but is 1000"),
        (_set(*MATRIX, 3, [0, 0, 1, 0]), r"transform_matrix\[3\] must be \[0, 0, 0, 1\]"),
        (_scaled([1.0, 1.0, -1.0]), r"frames\[1\]\.transform_matrix must rotate .* mirroring"),
        (_scaled([1.0, 1.0, 1.01]), r"frames\[1\]\.transform_matrix must rotate"),
        (_scaled([2.0, 2.0, 2.0]), r"frames\[1\]\.transform_matrix must rotate .* unit scale"),
        (_scaled([0.0, 0.0, 0.0]), r"frames\[1\]\.transform_matrix must rotate"),
    ],
)
def test_what_is_wrong_with_transforms_is_told_in_one_line(tmp_path, write_scene, change, message):
    write_scene(tmp_path)
    _edit(tmp_path, change)
    with pytest.raises(ValueError, match=r"transforms_train\.json: .*" + message) as error:
        transforms.load_blender(tmp_path, DataConfig()).split("train")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_a_little_scale_is_allowed(tmp_path, write_scene):
    write_scene(tmp_path)
    _edit(tmp_path, _scaled([1.02, 1.02, 1.02]))
    assert len(transforms.load_blender(tmp_path, DataConfig()).split("train").names) == 3


def test_images_of_other_sizes_have_the_same_angle(tmp_path, write_scene):
    images = write_scene(tmp_path)
    Image.new("RGB", (12, 8)).save(tmp_path / "train/r_2.png")
    dataset = transforms.load_blender(tmp_path, DataConfig()).split("train").dataset
    assert dataset.pixels.shape == (3, 8, 12, 4)
    np.testing.assert_array_equal(dataset.pixels[:2, :4, :6], images["train"][:2])
    np.testing.assert_array_equal(dataset.mask.sum(axis=(1, 2)), [24, 24, 96])
    np.testing.assert_allclose(dataset.cameras.focal[:, 0], np.array([3, 3, 6]) / math.tan(0.35))


TINY = {
    "camera_angle_x": 0.7,
    "frames": [
        {"file_path": "a", "transform_matrix": np.eye(4).tolist()},
        {"file_path": "./a.png", "rotation": 0.1, "transform_matrix": np.eye(4).tolist()},
    ],
}


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    Image.new("RGBA", (3, 2)).save(root / "a.png")
    return root


@pytest.mark.slow
@hypothesis.given(damage.files(TINY))
@hypothesis.settings(max_examples=400, deadline=None)
def test_any_transforms_give_a_right_dataset_or_a_clear_error(tiny_folder, contents):
    (tiny_folder / "transforms_train.json").write_bytes(contents)
    told = None
    try:
        split = transforms.load_blender(tiny_folder, DataConfig()).split("train")
    except (ValueError, OSError) as error:
        told = str(error)
    if told is not None:
        assert str(tiny_folder) in told
        return
    cameras, pixels = split.dataset.cameras, split.dataset.pixels
    assert len(pixels) == len(split.names) >= 1
    assert all(
        len(leaf) == len(pixels) and np.isfinite(leaf).all() for leaf in jax.tree.leaves(cameras)
    )
    assert (cameras.focal > 0).all()
    rotation = cameras.world_from_camera[:, :, :3].astype(float)
    gram = rotation.transpose(0, 2, 1) @ rotation
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(3), gram.shape), atol=0.11)
    assert (np.linalg.det(rotation) > 0).all()


@pytest.fixture
def lego(tmp_path, real_data):
    """The first four training views of the real scene, as links."""
    root = real_data / "nerf_synthetic" / "lego"
    if not root.is_dir():
        pytest.skip(f"the real lego scene is absent: {root}")
    transforms = json.loads((root / "transforms_train.json").read_text())
    transforms["frames"] = transforms["frames"][:4]
    (tmp_path / "transforms_train.json").write_text(json.dumps(transforms))
    (tmp_path / "train").mkdir()
    for index in range(4):
        (tmp_path / f"train/r_{index}.png").symlink_to(root / f"train/r_{index}.png")
    return tmp_path


def test_the_real_lego_scene(lego):
    split = transforms.load_blender(lego, DataConfig(downscale=8)).split("train")
    cameras, pixels = split.dataset.cameras, split.dataset.pixels
    assert pixels.shape == (4, 100, 100, 4)
    assert split.names == ("r_0", "r_1", "r_2", "r_3")
    # The paper's focal length is 1111.11 pixels at 800 pixels.
    np.testing.assert_allclose(cameras.focal, 1111.11 / 8, rtol=1e-4)
    # All cameras stand on a sphere of radius 4.03 and look at its centre.
    origins = cameras.world_from_camera[:, :, 3]
    np.testing.assert_allclose(np.linalg.norm(origins, axis=1), 4.031, atol=1e-3)
    np.testing.assert_allclose(cameras.world_from_camera[:, :, 2], origins / 4.031, atol=1e-3)
    alpha = pixels[..., 3]
    assert (alpha[:, :5, :5] == 0).all(), "corners are empty"
    assert (alpha[:, 45:55, 45:55] > 250).mean() > 0.9, "the middle is not"
