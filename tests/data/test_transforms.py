import json
import math
import re

import hypothesis
import jax
import numpy as np
import pytest
from PIL import Image

from nerf_jax import data
from nerf_jax.config import DataConfig
from nerf_jax.data import transforms
from nerf_jax.data.colmap_files import MODELS
from tests.data import damage, test_colmap

HEIGHT, WIDTH = 20, 30
TURN = [[0, 0, 1, 5], [1, 0, 0, -2], [0, 1, 0, 0.5], [0, 0, 0, 1]]


def frame(name, **fields):
    return {"file_path": name, "transform_matrix": TURN, **fields}


def capture(root, file, photos=("images/a.png", "images/b.png")):
    """Write a capture, its photos small ones, and read it."""
    for name in photos:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / name)
    file = {"frames": [frame(name) for name in photos], **file}
    (root / "transforms.json").write_text(json.dumps(file))
    return transforms.read(root)


def test_a_capture_is_found_by_its_file(tmp_path):
    assert not transforms.find(tmp_path)
    assert not transforms.find(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"no transforms file; expected .* with transforms\.json"):
        transforms.read(tmp_path)
    path = tmp_path / "fox/transforms.json"
    read = capture(tmp_path / "fox", {"fl_x": 20})
    assert transforms.find(tmp_path / "fox") == transforms.find(path) == {"": path}
    assert not transforms.find(tmp_path / "fox/images/a.png")
    assert (read.name, read.source) == ("fox", str(path))
    assert transforms.read(path).photos == read.photos


def test_the_fields_of_opencv(tmp_path):
    lens = {"k1": 0.1, "k2": -0.2, "k3": 0.3, "k4": -0.4, "p1": 0.01, "p2": 0.02}
    size = {"w": 60.0, "h": 40, "cx": 31.5, "cy": 19.25}
    read = capture(tmp_path, {"fl_x": 50, "fl_y": 51, "camera_model": "OPENCV", **lens, **size})
    cameras = read.cameras
    np.testing.assert_allclose(cameras.world_from_camera, [TURN[:3]] * 2)
    np.testing.assert_allclose(cameras.focal, [[50, 51]] * 2)
    np.testing.assert_allclose(cameras.principal, [[31.5, 19.25]] * 2)
    np.testing.assert_allclose(cameras.lens.radial, [[0.1, -0.2, 0.3, -0.4]] * 2)
    np.testing.assert_allclose(cameras.lens.tangential, [[0.01, 0.02]] * 2)
    np.testing.assert_array_equal(cameras.lens.fisheye, [False] * 2)
    np.testing.assert_array_equal(read.size_hw, [[40, 60]] * 2)
    np.testing.assert_array_equal([cameras.near, cameras.far], 0)
    assert (read.masks, read.splits, read.notes, read.up) == ((), {}, (), None)
    assert read.observations == ()


def test_a_frame_goes_before_the_file(tmp_path):
    frames = [
        frame("images/a.png", fl_x=70, cx=3, k1=0.5, is_fisheye=False, w=WIDTH, h=HEIGHT),
        frame("images/b.png", camera_angle_y=math.pi / 2, k2=None),
    ]
    file = {"fl_x": 40, "fl_y": 41, "cx": 14, "k1": 0.1, "k2": 0.2, "is_fisheye": False}
    read = capture(tmp_path, {**file, "frames": frames})
    # A frame that names one axis has square pixels, whatever the file says of the other.
    np.testing.assert_allclose(read.cameras.focal, [[70, 70], [10, 10]], rtol=1e-6)
    np.testing.assert_allclose(read.cameras.principal, [[3, 10], [14, 10]])
    np.testing.assert_allclose(read.cameras.lens.radial[:, :2], [[0.5, 0.2], [0.1, 0.2]])


@pytest.mark.parametrize(
    ("fields", "focal"),
    [
        ({"camera_angle_x": math.pi / 2}, [15, 15]),
        ({"camera_angle_y": math.pi / 2}, [10, 10]),
        ({"camera_angle_x": math.pi / 2, "camera_angle_y": 2 * math.atan(0.5)}, [15, 20]),
        ({"x_fov": 90}, [15, 15]),
        ({"fl_x": 25}, [25, 25]),
        ({"fl_y": 25, "camera_angle_y": 1}, [25, 25]),
        ({"fl_x": 25, "camera_angle_y": math.pi / 2}, [25, 10]),
    ],
)
def test_the_focal_length_may_be_told_in_many_ways(tmp_path, fields, focal):
    read = capture(tmp_path, fields)
    np.testing.assert_allclose(read.cameras.focal, [focal] * 2, rtol=1e-6)
    # The rest is that of the photos on disk: no size, no centre and no lens was told.
    np.testing.assert_array_equal(read.size_hw, [[HEIGHT, WIDTH]] * 2)
    np.testing.assert_allclose(read.cameras.principal, [[15, 10]] * 2)
    assert read.cameras.lens is None


def test_an_angle_is_of_the_size_that_the_file_tells(tmp_path):
    read = capture(tmp_path, {"camera_angle_x": math.pi / 2, "w": 300, "h": 200})
    np.testing.assert_allclose(read.cameras.focal, 150, rtol=1e-6)
    np.testing.assert_allclose(read.cameras.principal, [[150, 100]] * 2)


@pytest.mark.parametrize(
    "fields", [{"is_fisheye": True}, {"camera_model": "OPENCV_FISHEYE", "p1": 0.0}]
)
def test_fisheyes(tmp_path, fields):
    lens = capture(tmp_path, {"fl_x": 25, "k3": 0.1, **fields}).cameras.lens
    assert lens.fisheye.all()
    np.testing.assert_allclose(lens.radial, [[0, 0, 0.1, 0]] * 2)
    # Without coefficients as well: a fisheye is no pinhole then.
    assert capture(tmp_path, {"fl_x": 25, **fields}).cameras.lens.fisheye.all()


def test_what_places_a_scene_in_a_box_changes_nothing(tmp_path):
    plain = capture(tmp_path, {"fl_x": 20})
    box = {"scale": 0.1, "offset": [1, 2, 3], "aabb_scale": 16, "aabb": [[0, 0, 0], [1, 1, 1]]}
    applied = {"applied_transform": [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]}
    other = {"applied_scale": 3, "orientation_override": "none", "depth_unit_scale_factor": 1}
    read = capture(tmp_path, {"fl_x": 20, **box, **applied, **other})
    np.testing.assert_array_equal(read.cameras.world_from_camera, plain.cameras.world_from_camera)
    np.testing.assert_array_equal(read.cameras.focal, plain.cameras.focal)


def test_names_may_lack_suffixes_and_photos_may_be_missing(tmp_path):
    names = ["./images/v1.b", "images\\c.jpg", "images/gone", "images/a"]
    read = capture(
        tmp_path,
        {"fl_x": 20, "frames": [frame(name) for name in names]},
        ["images/a.JPG", "images/v1.b.png", "images/c.jpg"],
    )
    expected = ["images/a.JPG", "images/c.jpg", "images/v1.b.png"]
    assert [str(photo.relative_to(tmp_path)) for photo in read.photos] == expected
    assert read.notes == (
        "1 of the 4 photos that its files list do not exist, such as images/gone",
    )


def test_what_is_told_of_a_missing_photo_does_not_matter(tmp_path):
    frames = [frame("images/a.png"), {"file_path": "images/gone.png", "transform_matrix": []}]
    assert len(capture(tmp_path, {"fl_x": 20, "frames": frames}).photos) == 1


def test_no_photo_at_all_is_told(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"transforms\.json: none of its 2 photos exists, such as .*gone"
    ):
        capture(tmp_path, {"fl_x": 20, "frames": [frame("gone.png"), frame("lost.png")]})


def test_masks_that_fit_no_photo_are_named(tmp_path):
    capture(tmp_path, {"fl_x": 20})
    (tmp_path / "masks").mkdir()
    scene = transforms.load(tmp_path, DataConfig())
    assert scene.notes == (
        f"{tmp_path}/masks is not used: it has neither PHOTO.jpg.png nor PHOTO.png for any photo",
    )
    Image.new("L", (WIDTH, HEIGHT), 255).save(tmp_path / "masks/a.png")
    scene = transforms.load(tmp_path, DataConfig())
    assert scene.notes == (f"1 of 2 photos have masks in {tmp_path}/masks: black is ignored",)


def test_masks(tmp_path):
    frames = [frame("images/b.png"), frame("images/a.png", mask_path="masks/a")]
    photos = ["images/a.png", "images/b.png", "masks/a.png"]
    read = capture(tmp_path, {"fl_x": 20, "frames": frames}, photos)
    assert read.masks == (tmp_path / "masks/a.png", None)
    (tmp_path / "masks/a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"frames\[1\]\.mask_path: masks/a does not exist"):
        transforms.read(tmp_path)


def test_fields_that_change_nothing_are_ignored(tmp_path):
    other = {"rolling_shutter": [0, 0, 0, 0], "from_mitsuba": False, "k5": 0, "lens": "wide"}
    assert capture(tmp_path, {"fl_x": 20, **other}).cameras.lens is None


NERFSTUDIO = {"w": WIDTH, "h": HEIGHT, "fl_x": 25, "fl_y": 24, "cx": 14, "cy": 9, "k1": 0.1}


@pytest.mark.parametrize("per_frame", [False, True])
@pytest.mark.parametrize("angle", [{}, {"camera_angle_x": 1.0}])
def test_every_name_of_a_file_is_read_alike(tmp_path, per_frame, angle):
    fields = {**NERFSTUDIO, **angle}
    frames = [frame("a.png", **(fields if per_frame else {}))]
    file = {"frames": frames, **(angle if per_frame else fields)}
    expected = capture(tmp_path / "one", file, ["a.png"])
    for name in ("transforms_train.json", "transforms_all.json"):
        root = tmp_path / name
        root.mkdir()
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / "a.png")
        (root / name).write_text(json.dumps(file))
        assert data.recognize(root) == "transforms"
        jax.tree.map(np.testing.assert_array_equal, transforms.read(root).cameras, expected.cameras)


def test_files_of_splits(tmp_path):
    """Photos of train are in no other split, unless a split has no others; the poses decide."""
    for split, names in (("train", "ab"), ("val", "bc"), ("test", "a")):
        file = {"fl_x": 20, "frames": [frame(f"{name}.png") for name in names]}
        (tmp_path / f"transforms_{split}.json").write_text(json.dumps(file))
    (tmp_path / "transforms.json").write_text("not read")
    for name in "abc":
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / f"{name}.png")
    scene = transforms.load(tmp_path, DataConfig())
    found = {split: scene.split(split).names for split in scene.loaders}
    assert found == {"train": ("a", "b"), "val": ("c",), "test": ("a",)}
    for part in (
        r"not used: .*transforms\.json; --data\.root .*transforms\.json reads it",
        r"2 of the 5 names are of photos listed before; each is read once",
        r"val: 1 of 2 photos are in train too, and left out",
        r"test: 1 of 1 photos are in train too, and kept: the scores will be of training",
    ):
        assert any(re.match(part, note) for note in scene.notes), part


def test_a_photo_that_is_listed_twice_is_read_once(tmp_path):
    twice = [frame("images/a.png"), frame("images\\A.png"), frame("./images/b.png")]
    read = capture(tmp_path, {"fl_x": 20, "frames": twice})
    assert [photo.name for photo in read.photos] == ["a.png", "b.png"]
    twice[1]["transform_matrix"] = np.eye(4).tolist()
    with pytest.raises(ValueError, match=r"json: 'images/a\.png' and .*A\.png' are one photo"):
        capture(tmp_path, {"fl_x": 20, "frames": twice})


def test_photos_at_the_size_asked_for_are_read(tmp_path):
    """With the intrinsics of the full size, told or, without ``w`` and ``h``, of the photos."""
    names = ["images/a.png", "images_2/a.png"]
    frames = [frame("images/a.png")]
    capture(tmp_path, {"fl_x": 20, "frames": frames}, names[:1])
    (tmp_path / "images_2").mkdir()
    Image.new("RGB", (WIDTH // 2, HEIGHT // 2)).save(tmp_path / "images_2/a.png")
    for downscale, photo, factor in ((1, names[0], 1), (2, names[1], 2), (3, names[0], 1)):
        read = transforms.read(tmp_path, downscale)
        assert (read.photos, read.factor) == ((tmp_path / photo,), factor)
        np.testing.assert_array_equal(read.size_hw, [[HEIGHT, WIDTH]])
    (tmp_path / "images/a.png").unlink()
    scene = transforms.load(tmp_path, DataConfig())
    assert scene.notes[0].startswith("photos of images_2 at 1/2, since there are none for")
    np.testing.assert_allclose(scene.split("train").dataset.cameras.focal, 10)


def test_a_rational_lens_becomes_the_polynomial_nearest_to_it(tmp_path):
    lens = {"k1": 0.5, "k2": -0.3, "k3": 0.04, "k4": 0.9, "k5": -0.2, "k6": 0.01}
    fields = {"fl_x": 20, "camera_model": "FULL_OPENCV", **lens}
    radial = capture(tmp_path, fields).cameras.lens.radial[0]
    r2 = np.linspace(0, 0.9, 50) ** 2  # to the corners
    above = 1 + lens["k1"] * r2 + lens["k2"] * r2**2 + lens["k3"] * r2**3
    below = 1 + lens["k4"] * r2 + lens["k5"] * r2**2 + lens["k6"] * r2**3
    found = 1 + sum(k * r2**power for power, k in enumerate(radial, start=1))
    np.testing.assert_allclose(20 * r2**0.5 * found, 20 * r2**0.5 * above / below, atol=0.1)
    with pytest.raises(ValueError, match=r"frames\[0\]: the denominator .* undistort the photos"):
        capture(tmp_path, {**fields, "fl_x": 8, "k4": 5, "k5": -3})


@pytest.mark.parametrize("name", [name for name in MODELS if "FISHEYE" in name])
def test_fisheyes_by_colmaps_names(tmp_path, name):
    assert capture(tmp_path, {"fl_x": 20, "camera_model": name}).cameras.lens.fisheye.all()


def test_three_rows_are_a_pose(tmp_path):
    frames = [frame("images/a.png", transform_matrix=TURN[:3])]
    read = capture(tmp_path, {"fl_x": 20, "frames": frames})
    np.testing.assert_array_equal(read.cameras.world_from_camera, [TURN[:3]])


def test_splits(tmp_path):
    frames = [frame(f"images/{name}") for name in ("d.png", "gone.png", "a.png", "b")]
    file = {
        "fl_x": 20,
        "frames": frames,
        "train_filenames": ["./images/d.png", "images/a.png", "images/gone.png"],
        "val_filenames": ["images/b.png"],
        "test_filenames": ["images/gone.png"],
    }
    photos = ["images/a.png", "images/b.png", "images/d.png"]
    assert capture(tmp_path, file, photos).splits == {"train": (0, 2), "val": (1,)}


def test_up_becomes_a_unit_vector_and_a_damaged_point_cloud_is_not_read(tmp_path):
    (tmp_path / "points.ply").write_text("no cloud")
    read = capture(tmp_path, {"fl_x": 20, "ply_file_path": "points.ply", "up": [0, -2, 0]})
    np.testing.assert_allclose(read.up, [0, -1, 0])


def test_observations_come_from_the_sparse_model(tmp_path):
    """A photo of the same name in another folder is another photo."""
    names = ["images/a photo.jpg", "images/b.jpg", "more/b.jpg"]
    file = {"fl_x": 20, "colmap_path": "sparse/0"}
    assert capture(tmp_path, file, names).observations == ()  # the model does not exist
    test_colmap.write_text(tmp_path / "colmap")
    for place in ("colmap/sparse/0", "colmap"):
        read = capture(tmp_path, {**file, "colmap_path": place}, names)
        found = [seen.points.tolist() for seen in read.observations]
        assert found == [[], [[0.5, 0.25, -2]], []]
        np.testing.assert_array_equal(read.observations[1].pixels, [[30, 40.25]])


def other(**fields):
    """Frames of which the second has more fields, or without those that are None."""
    second = frame("images/b.png", **fields)
    present = {name: value for name, value in second.items() if value is not None}
    return {"fl_x": 20, "frames": [frame("images/a.png"), present]}


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ({}, r"frames\[0\]\.fl_x must be the focal length .*camera_angle_x .* is missing"),
        ({"fl_x": "long"}, r"fl_x must be a finite number, but is 'long'"),
        ({"fl_x": -20}, r"frames\[0\]: the focal length must be in pixels, .* 30x20, but is -20"),
        ({"fl_x": 1e30}, r"frames\[0\]: the focal length must be in pixels, .* but is 1e\+30"),
        ({"camera_angle_x": 42.9}, r"camera_angle_x must be a field of view in radians"),
        ({"x_fov": 0.7e-9}, r"x_fov must be a field of view in degrees"),
        (
            {"camera_angle_x": 3, "is_fisheye": True},
            r"fl_x must .* camera_angle_x cannot describe a",
        ),
        ({"fl_x": 20, "w": 30}, r"h must be the photo's size .* together, but is missing"),
        ({"fl_x": 20, "w": 30, "h": 20.5}, r"the height must be a whole number .* but is 20\.5"),
        ({"fl_x": 20, "w": 30, "h": -20}, r"the height must be a whole number .* but is -20"),
        ({"fl_x": 0.5}, r"frames\[0\]: the focal length must be in pixels, between 0\.6 and"),
        ({"fl_x": 20, "cx": 0.5, "cy": 0.4}, r"principal point .* pixels, but is \(0\.5, 0\.4\)"),
        ({"fl_x": 20, "cx": math.nan}, r"json: cx must be a finite number, but is nan"),
        ({"fl_x": 20, "k1": [0]}, r"json: k1 must be a finite number, but is \[0\]"),
        (
            {"fl_x": 20, "camera_model": "FOV"},
            r"camera_model must be one of SIMPLE_.* is 'FOV'",
        ),
        ({"fl_x": 20, "is_fisheye": 1}, r"is_fisheye must be true or false, but is 1"),
        (
            {"fl_x": 20, "is_fisheye": True, "camera_model": "OPENCV"},
            r"is_fisheye must agree with camera_model, which is OPENCV, but is True",
        ),
        ({"fl_x": 20, "is_fisheye": True, "p2": 0.1}, r"frames\[0\]: a fisheye has no tangential"),
        ({"fl_x": 20, "equirectangular": True}, r"equirectangular: the image is a panorama: cut"),
        ({"fl_x": 20, "camera_model": "EQUIRECTANGULAR"}, r"camera_model .* is a panorama: cut it"),
        ({"fl_x": 20, "camera_model": "spherical"}, r"camera_model .* is a panorama: cut it into"),
        ({"fl_x": 20, "k5": 0.1}, r"k5 must be 0, unless camera_model is FULL_OPENCV, but is 0\.1"),
        ({"fl_x": 20, "from_mitsuba": True}, r"from_mitsuba would change the rays"),
        (other(rolling_shutter=[0, 0, 0, 1]), r"frames\[1\]\.rolling_shutter would change"),
        (other(transform_matrix_start=TURN), r"frames\[1\]\.transform_matrix_start would change"),
        (other(transform_matrix=None), r"frames\[1\]\.transform_matrix must be four rows"),
        (other(file_path=None), r"frames\[1\]\.file_path must be the photo's path .* missing"),
        (other(mask_path=3), r"frames\[1\]\.mask_path must be the path of an image, but is 3"),
        ({"fl_x": 20, "frames": []}, r"frames must be a list of at least one frame"),
        ({"fl_x": 20, "train_filenames": "all"}, r"train_filenames must be a list of paths"),
        ({"fl_x": 20, "train_filenames": []}, r"train_filenames must list a photo that exists"),
        ({"fl_x": 20, "val_filenames": ["c"]}, r"val_filenames has c, which is not a frame's"),
        ({"fl_x": 20, "up": [0, 0]}, r"up must be 3 finite numbers, but is \[0, 0\]"),
        ({"fl_x": 20, "up": [0, 0, 0]}, r"up must have a length"),
        ({"fl_x": 20, "colmap_path": 0}, r"colmap_path must be the path of a folder with a COLMAP"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, file, message):
    with pytest.raises(ValueError, match=message) as error:
        capture(tmp_path, file)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_a_damaged_photo_is_named_where_its_size_is_needed(tmp_path):
    capture(tmp_path, {"fl_x": 20})
    (tmp_path / "images/b.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"images/b\.png: cannot be read as an image"):
        transforms.read(tmp_path)


TINY = {
    "camera_model": "OPENCV",
    "fl_x": 20.0,
    "camera_angle_x": 0.7,
    "cx": 14,
    "k1": 0.1,
    "p1": 0.01,
    "w": WIDTH,
    "h": HEIGHT,
    "up": [0, 0, 1],
    "train_filenames": ["a.png"],
    "frames": [
        frame("a.png", mask_path="a.png", fl_x=30),
        frame("gone"),
        frame("b", k2=0.1, is_fisheye=False),
    ],
}


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    capture(root, TINY, ["a.png", "b.png"])
    return root


@pytest.mark.slow
@hypothesis.given(damage.files(TINY))
@hypothesis.settings(max_examples=600, deadline=None)
def test_any_file_gives_a_right_capture_or_a_clear_error(tiny_folder, contents):
    (tiny_folder / "transforms.json").write_bytes(contents)
    told = None
    try:
        read = transforms.read(tiny_folder)
    except (ValueError, OSError) as error:
        told = str(error)
    if told is not None:
        assert str(tiny_folder) in told
        return
    count, cameras = len(read.photos), read.cameras
    assert count >= 1
    assert all(photo.is_file() for photo in read.photos)
    assert read.size_hw.shape == (count, 2)
    assert len(read.masks) in (0, count)
    leaves = [*cameras[:-1], *(cameras.lens or ())]
    assert all(len(leaf) == count and np.isfinite(leaf).all() for leaf in leaves)
    assert (cameras.focal > 0).all()
    rotation = cameras.world_from_camera[:, :, :3]
    gram = rotation.transpose(0, 2, 1) @ rotation
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(3), gram.shape), atol=0.11)
    assert (np.linalg.det(rotation) > 0).all()


def test_the_real_fox(real_data):
    root = real_data / "fox"
    if not root.is_dir():
        pytest.skip(f"the real fox is absent: {root}")
    read = transforms.read(root)
    assert (read.name, len(read.photos)) == ("fox", 50)
    assert read.notes[0].startswith("17 of the 67 photos that its files list do not exist")
    assert read.photos == tuple(sorted((root / "images").glob("*.jpg")))
    np.testing.assert_array_equal(read.size_hw, [[1920, 1080]] * 50)
    cameras = read.cameras
    np.testing.assert_allclose(cameras.focal, [[1375.52, 1374.49]] * 50, rtol=1e-6)
    np.testing.assert_allclose(cameras.principal, [[554.558, 965.268]] * 50, rtol=1e-6)
    np.testing.assert_allclose(cameras.lens.radial, [[0.0578421, -0.0805099, 0, 0]] * 50)
    np.testing.assert_allclose(cameras.lens.tangential, [[-0.000980296, 0.00015575]] * 50)
    listed = {
        (root / each["file_path"]).resolve(): each["transform_matrix"]
        for each in json.loads((root / "transforms.json").read_text())["frames"]
    }
    poses = [listed[photo.resolve()][:3] for photo in read.photos]
    np.testing.assert_allclose(cameras.world_from_camera, poses)
