import json
import math
import struct

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies
from PIL import Image

from nerf_jax import data
from nerf_jax.cameras import look_at
from nerf_jax.config import DataConfig
from nerf_jax.data import colmap, transforms
from nerf_jax.data.colmap_files import MODELS
from nerf_jax.data.photo_files import natural

PARAMETERS = {
    "SIMPLE_PINHOLE": [500, 320, 240],
    "PINHOLE": [500, 510, 321, 239],
    "SIMPLE_RADIAL": [500, 322, 238, 0.1],
    "RADIAL": [500, 320, 240, 0.1, -0.05],
    "OPENCV": [500, 510, 321, 239, 0.1, -0.05, 0.003, -0.004],
    "OPENCV_FISHEYE": [400, 410, 321, 239, 0.1, -0.05, 0.02, -0.01],
    "FULL_OPENCV": [500, 510, 321, 239, 0.1, -0.05, 0.003, -0.004, 0.02, 0.03, 0.04, 0.01],
    "SIMPLE_RADIAL_FISHEYE": [400, 320, 240, 0.1],
    "RADIAL_FISHEYE": [400, 320, 240, 0.1, -0.05],
    "SIMPLE_FISHEYE": [400, 320, 240],
    "FISHEYE": [400, 410, 321, 239],
}
POINTS = np.array([[0.1, 0.2, -0.3], [-0.4, 0.5, 0.6], [0.3, -0.6, 0.2]])


def poses(count):
    """``world_from_camera`` of cameras around the points, as this package has them."""
    origins = np.random.default_rng(3).normal(size=(count, 3)) + np.array([4.0, 0.0, 1.0])
    return np.stack(
        [look_at(each, POINTS.mean(axis=0), np.array([0.2, 0.1, 1.0])) for each in origins]
    ).astype(float)


def write_model(root, form, models):
    """By COLMAP itself: a camera of each model, and two images by each. Returns its model."""
    pycolmap = pytest.importorskip("pycolmap")
    model = pycolmap.Reconstruction()
    for number, name in enumerate(models, start=3):
        camera = pycolmap.Camera(model=name, width=640, height=480, params=PARAMETERS[name])
        camera.camera_id = number
        model.add_camera_with_trivial_rig(camera)
    for number, pose in enumerate(poses(2 * len(models))):
        turned = pose[:, :3] * [1, -1, -1]
        camera_from_world = np.concatenate([turned.T, -turned.T @ pose[:, 3:]], axis=1)
        image = pycolmap.Image(
            name=f"{'ba'[number % 2]}/{number}.jpg",
            camera_id=3 + number // 2,
            image_id=number + 7,
        )
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(camera_from_world))
        (root / "images" / image.name).parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / image.name).touch()
        places = [(1.5, 2.5)] + [(10 * number + point, 7.25) for point in range(len(POINTS))]
        model.images[image.image_id].points2D = list(map(pycolmap.Point2D, map(np.array, places)))
    for index, point in enumerate(POINTS):
        # Each is hidden in one of the first photos; the first feature of all shows none.
        seen_in = [number for number in model.images if number != 7 + index]
        track = [pycolmap.TrackElement(number, 1 + index) for number in seen_in]
        model.add_point3D(point, pycolmap.Track(track), np.zeros(3, np.uint8))
    (root / "sparse/0").mkdir(parents=True)
    getattr(model, f"write_{form}")(str(root / "sparse/0"))
    return model


def project(cameras, number, point):
    """Where a camera shows a point, in pixels, by the formula of ``types.Lens``."""
    rotation, origin = np.split(cameras.world_from_camera[number], [3], axis=1)
    x, y, z = rotation.T @ (point - origin[:, 0])
    x, y = x / -z, -y / -z
    if cameras.lens is not None:
        radial, (p1, p2), fisheye = (leaf[number] for leaf in cameras.lens)
        angle = math.atan(math.hypot(x, y))
        if fisheye:
            x, y = np.array([x, y]) * angle / math.hypot(x, y)
        r2 = x * x + y * y
        factor = 1 + sum(k * r2**power for power, k in enumerate(radial, start=1))
        x, y = (
            x * factor + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * factor + 2 * p2 * x * y + p1 * (r2 + 2 * y * y),
        )
    return cameras.focal[number] * [x, y] + cameras.principal[number]


def check_against(model, root, read):
    """Poses, places of points and sizes, each against what COLMAP makes of its own files."""
    by_name = {image.name: image for image in model.images.values()}
    assert len(read.photos) == len(by_name)
    for number, photo in enumerate(read.photos):
        image = by_name[str(photo.relative_to(root / "images"))]
        camera = model.cameras[image.camera_id]
        pose = read.cameras.world_from_camera[number]
        np.testing.assert_allclose(pose[:, 3], image.projection_center(), atol=1e-12)
        np.testing.assert_allclose(-pose[:, 2], image.viewing_direction(), atol=1e-12)
        for point in POINTS:
            seen = camera.img_from_cam(image.cam_from_world() * point)
            np.testing.assert_allclose(project(read.cameras, number, point), seen, atol=1e-3)
        np.testing.assert_array_equal(read.size_hw[number], [480, 640])
        shown = [seen for seen in image.points2D if seen.has_point3D()]
        assert len(shown) == len(POINTS) - (image.image_id < 7 + len(POINTS))
        points, pixels = read.observations[number]
        np.testing.assert_array_equal(pixels, [seen.xy for seen in shown])
        expected = [model.points3D[seen.point3D_id].xyz for seen in shown]
        np.testing.assert_array_equal(points, expected)
    every = np.concatenate([seen.points for seen in read.observations])
    np.testing.assert_array_equal(np.unique(every, axis=0), np.unique(POINTS, axis=0))


@pytest.mark.parametrize("form", ["text", "binary"])
@pytest.mark.parametrize("name", PARAMETERS)
def test_every_model_shows_points_where_colmap_does(tmp_path, form, name):
    model = write_model(tmp_path, form, [name])
    read = colmap.read(tmp_path)
    check_against(model, tmp_path, read)
    assert (read.cameras.lens is None) == ("PINHOLE" in name)


@pytest.mark.parametrize("form", ["text", "binary"])
def test_a_capture_may_have_many_cameras(tmp_path, form):
    model = write_model(tmp_path, form, list(PARAMETERS))
    read = colmap.read(tmp_path)
    check_against(model, tmp_path, read)
    assert list(read.photos) == sorted(read.photos, key=natural)
    assert (read.name, read.notes) == (tmp_path.name, ())
    assert read.source == str(tmp_path / "sparse/0")


def test_every_model_that_is_read_is_tried():
    assert list(PARAMETERS) == list(MODELS)
    assert all(len(PARAMETERS[name]) == len(names) for name, (_, names) in MODELS.items())


def as_transforms(model, applied):
    """The file that nerfstudio makes of a model, the world turned by ``applied``."""
    frames = []
    for image in model.images.values():
        camera = model.cameras[image.camera_id]
        names = ("k1", "k2", "k3", "k4") if "FISHEYE" in camera.model_name else None
        names = names or ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
        camera_from_world = np.eye(4)
        camera_from_world[:3] = image.cam_from_world().matrix()
        pose = np.linalg.inv(camera_from_world)
        pose[:3, 1:3] *= -1
        frames.append(
            {
                "file_path": f"images/{image.name}",
                "transform_matrix": (applied @ pose).tolist(),
                "fl_x": camera.focal_length_x,
                "fl_y": camera.focal_length_y,
                "cx": camera.principal_point_x,
                "cy": camera.principal_point_y,
                "w": camera.width,
                "h": camera.height,
                **dict(zip(names, camera.params[camera.extra_params_idxs()], strict=False)),
                "camera_model": camera.model_name,
            }
        )
    return {"frames": frames, "applied_transform": applied[:3].tolist()}


def test_the_same_scene_in_both_formats_has_the_same_cameras(tmp_path):
    model = write_model(tmp_path, "binary", list(PARAMETERS))
    applied = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    (tmp_path / "transforms.json").write_text(json.dumps(as_transforms(model, applied)))
    one, other = colmap.read(tmp_path), transforms.read(tmp_path)
    assert one.photos == other.photos
    turned = applied[:3, :3] @ one.cameras.world_from_camera
    cameras = one.cameras._replace(world_from_camera=turned)
    jax.tree.map(np.testing.assert_allclose, cameras, other.cameras)
    np.testing.assert_array_equal(one.size_hw, other.size_hw)


def test_the_same_scene_in_both_formats_is_loaded_alike(tmp_path):
    write_text(tmp_path)
    random = np.random.default_rng(0)
    for name, shape in (("a photo.jpg", (240, 320, 3)), ("b.jpg", (480, 640, 3))):
        pixels = random.integers(0, 256, shape, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / name)
    read = colmap.read(tmp_path)
    frames = [
        {
            "file_path": f"images/{photo.stem}",
            "transform_matrix": [*pose.tolist(), [0, 0, 0, 1]],
            "fl_x": float(focal[0]),
            "fl_y": float(focal[1]),
            "cx": float(principal[0]),
            "cy": float(principal[1]),
            "k1": float(radial[0]),
        }
        for photo, pose, focal, principal, radial in zip(
            read.photos, *read.cameras[:3], read.cameras.lens.radial, strict=True
        )
    ]
    file = {"frames": frames, "colmap_path": "sparse/0"}
    (tmp_path / "transforms.json").write_text(json.dumps(file))
    one, other = (
        module.load(tmp_path, DataConfig(hold_out=0, downscale=2)).split("train")
        for module in (colmap, transforms)
    )
    assert one.names == other.names == ("a photo", "b")
    assert one.dataset.pixels.shape == (2, 240, 320, 3)
    jax.tree.map(np.testing.assert_allclose, one.dataset, other.dataset)
    # The one point, as far from b.jpg as files and placement say, in the pixel of half the size.
    apart = np.diff(one.dataset.cameras.world_from_camera[:, :, 3], axis=0)
    expected = np.zeros((2, 240, 320))
    expected[1, 20, 15] = np.linalg.norm([0.5, 0.25, 2]) * np.linalg.norm(apart) / 22**0.5
    for split in (one, other):
        np.testing.assert_allclose(split.depth, expected, rtol=1e-6)


# A model as it stands in the files, for what COLMAP would not write.
CAMERAS = """# Camera list with one line of data per camera:
1 PINHOLE 640 480 500 510 321 239
2 SIMPLE_RADIAL 320 240 250 160 120 0.1
"""
IMAGES = """# Image list with two lines of data per image:
1 1 0 0 0 0 0 4 1 b.jpg
10.5 20.5 -1 30 40.25 7
2 0.7071 0 0.7071 0 1 2 3 2 a photo.jpg

"""
POINTS3D = """# 3D point list
7 0.5 0.25 -2 255 0 1 0.5 1 1
9 nan 0 0 1 2 3 0.5
"""


def write_text(root, cameras=CAMERAS, images=IMAGES, points=POINTS3D, place="sparse/0"):
    (root / place).mkdir(parents=True, exist_ok=True)
    for name, text in (("cameras", cameras), ("images", images), ("points3D", points)):
        if text is not None:
            (root / place / f"{name}.txt").write_text(text)
    (root / "images").mkdir(exist_ok=True)
    for name in ("a photo.jpg", "b.jpg"):
        (root / "images" / name).touch()
    return root


BINARY = {
    "cameras": struct.pack("<QIiQQ4d", 2, 1, 1, 640, 480, 500, 510, 321, 239)
    + struct.pack("<IiQQ4d", 2, 2, 320, 240, 250, 160, 120, 0.1),
    "images": struct.pack("<QI7dI6sQ", 2, 1, 1, 0, 0, 0, 0, 0, 4, 1, b"b.jpg\0", 2)
    + struct.pack("<ddqddq", 10.5, 20.5, -1, 30, 40.25, 7)
    + struct.pack("<I7dI12sQ", 2, 0.7071, 0, 0.7071, 0, 1, 2, 3, 2, b"a photo.jpg\0", 0),
    "points3D": struct.pack("<QQ3d3BdQII", 2, 7, 0.5, 0.25, -2, 255, 0, 1, 0.5, 1, 1, 1)
    + struct.pack("<Q3d3BdQ", 9, math.nan, 0, 0, 1, 2, 3, 0.5, 0),
}


def write_binary(root, place="sparse/0", **files):
    (root / place).mkdir(parents=True, exist_ok=True)
    for name, contents in {**BINARY, **files}.items():
        (root / place / f"{name}.bin").write_bytes(contents)
    (root / "images").mkdir(exist_ok=True)
    for name in ("a photo.jpg", "b.jpg"):
        (root / "images" / name).touch()
    return root


def check_by_hand(root, read):
    """A camera 4 before the origin that looks along +z, and one turned to look along x."""
    assert [photo.name for photo in read.photos] == ["a photo.jpg", "b.jpg"]
    turned, straight = read.cameras.world_from_camera
    np.testing.assert_allclose(straight, [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, -4]])
    # World x goes to the camera's -z, y stays and z goes to x: turned by 90 degrees about y.
    np.testing.assert_allclose(turned[:, :3], [[0, 0, 1], [0, -1, 0], [1, 0, 0]], atol=1e-12)
    np.testing.assert_allclose(turned[:, 3], [3, -2, -1], atol=1e-12)
    np.testing.assert_allclose(read.cameras.focal, [[250, 250], [500, 510]])
    np.testing.assert_allclose(read.cameras.principal, [[160, 120], [321, 239]])
    np.testing.assert_allclose(read.cameras.lens.radial[:, 0], [0.1, 0])
    np.testing.assert_array_equal(read.size_hw, [[240, 320], [480, 640]])
    none, one = read.observations  # the second feature, as the first shows no point
    assert (none.pixels.shape, none.points.shape) == ((0, 2), (0, 3))
    np.testing.assert_array_equal(one.pixels, [[30, 40.25]])
    np.testing.assert_allclose(one.points, [[0.5, 0.25, -2]])
    assert not [note for note in read.notes if "exist" in note]


def test_what_stands_in_the_files(tmp_path):
    check_by_hand(tmp_path, colmap.read(write_text(tmp_path / "text")))
    check_by_hand(tmp_path, colmap.read(write_binary(tmp_path / "binary")))


@pytest.mark.parametrize("place", colmap.MODEL_FOLDERS)
def test_a_model_is_found_where_it_may_be(tmp_path, place):
    assert colmap.find(tmp_path) is None
    with pytest.raises(ValueError, match=r"no COLMAP model; expected cameras and images"):
        colmap.read(tmp_path)
    write_text(tmp_path, place=place)
    assert colmap.find(tmp_path) == tmp_path / place
    assert colmap.find(tmp_path / "images/b.jpg") is None
    check_by_hand(tmp_path, colmap.read(tmp_path))


def test_the_largest_model_is_read_and_the_others_are_named(tmp_path):
    one = "\n".join(IMAGES.splitlines()[:3])
    write_text(tmp_path, images=one, place="sparse/0")
    write_text(tmp_path, place="sparse/10")
    write_text(tmp_path, place="sparse/9")
    write_text(tmp_path, images=IMAGES.replace(" 1 b.jpg", " 1 c.jpg"), place="colmap/sparse/0")
    assert colmap.find(tmp_path) == tmp_path / "sparse/9"
    read = colmap.read(tmp_path)
    check_by_hand(tmp_path, read)
    assert len(read.notes) == 3
    others = (("sparse/10", 2), ("sparse/0", 1), ("colmap/sparse/0", 2))
    for note, (other, count) in zip(read.notes, others, strict=True):
        model = tmp_path / other
        photos = f"{count} photos instead of 2"
        assert note == f"not used: the model {model}, with {photos}; --data.root {model} reads it"
    chosen = colmap.read(tmp_path / "sparse/0")
    assert chosen.source == str(tmp_path / "sparse/0")
    assert chosen.photos == (tmp_path / "images/b.jpg",)
    assert any("1 photos in" in note and "a photo.jpg" in note for note in chosen.notes)


def test_photos_of_a_model_may_be_in_folders_of_cameras(tmp_path):
    images = IMAGES.replace("b.jpg", "left/b.jpg").replace("a photo.jpg", "right/a photo.jpg")
    write_text(tmp_path, images=images)
    for name, folder in (("b.jpg", "left"), ("a photo.jpg", "right")):
        (tmp_path / "images" / folder).mkdir()
        (tmp_path / "images" / name).rename(tmp_path / "images" / folder / name)
    found = colmap.read(tmp_path / "sparse/0")
    assert found.photos == tuple(
        tmp_path / "images" / n for n in ("left/b.jpg", "right/a photo.jpg")
    )


def test_a_damaged_model_is_no_large_one(tmp_path):
    write_binary(tmp_path, place="sparse/1")
    write_binary(tmp_path, place="sparse/0", images=b"\xff" * 60)
    assert colmap.find(tmp_path) == tmp_path / "sparse/1"


@pytest.mark.parametrize(
    ("camera", "expected"),
    [
        ("SIMPLE_PINHOLE 640 480 500 320 240", "llff"),
        ("PINHOLE 640 480 500 500.1 320 240.5", "llff"),
        ("PINHOLE 640 480 500 510 320 240", "colmap"),
        ("PINHOLE 640 480 500 500 310 240", "colmap"),
        ("SIMPLE_RADIAL 640 480 500 320 240 0.1", "colmap"),
    ],
)
def test_a_model_goes_before_llffs_file_if_it_knows_more(tmp_path, camera, expected):
    write_text(tmp_path, cameras=f"1 {camera}\n2 SIMPLE_PINHOLE 640 480 500 320 240\n")
    matrix = np.concatenate([np.eye(3)[:, [1, 0, 2]] * [-1, 1, 1], np.full((3, 2), 9)], axis=1)
    rows = np.array([[*matrix.ravel(), 1, 2]] * 2)
    np.save(tmp_path / "poses_bounds.npy", rows)
    assert data.recognize(tmp_path) == expected
    np.save(tmp_path / "poses_bounds.npy", rows[:1])
    assert data.recognize(tmp_path) == "colmap", "one camera for two photos"


def test_panoramas_are_to_be_cut(tmp_path):
    write_text(
        tmp_path, cameras=CAMERAS.replace("PINHOLE 640 480 500 510 321 239", "EQUIRECTANGULAR 8 4")
    )
    with pytest.raises(ValueError, match=r"camera 1 is a panorama: cut it into pinhole views"):
        colmap.read(tmp_path)


def test_names_as_windows_writes_them(tmp_path):
    write_text(tmp_path, images=IMAGES.replace("b.jpg", "cam1\\b.jpg"))
    (tmp_path / "images/cam1").mkdir()
    (tmp_path / "images/b.jpg").rename(tmp_path / "images/cam1/b.JPG")
    assert [photo.name for photo in colmap.read(tmp_path).photos] == ["a photo.jpg", "b.JPG"]


def test_binary_files_go_before_text(tmp_path):
    write_text(tmp_path, cameras="nonsense")
    write_binary(tmp_path)
    check_by_hand(tmp_path, colmap.read(tmp_path))


def test_points_are_not_needed(tmp_path):
    for points in (None, "# none\n"):
        (tmp_path / "sparse/0/points3D.txt").unlink(missing_ok=True)
        read = colmap.read(write_text(tmp_path, points=points))
        assert [seen.points.shape for seen in read.observations] == [(0, 3)] * 2


def test_photos_may_be_missing(tmp_path):
    write_text(tmp_path)
    (tmp_path / "images/b.jpg").unlink()
    read = colmap.read(tmp_path)
    assert [photo.name for photo in read.photos] == ["a photo.jpg"]
    assert read.notes == ("1 of the 2 photos that its files list do not exist, such as b.jpg",)
    (tmp_path / "images/a photo.jpg").unlink()
    message = r"images\.txt: none of its 2 photos exists, such as .*b\.jpg; copy the photos"
    with pytest.raises(FileNotFoundError, match=message):
        colmap.read(tmp_path)


def test_a_camera_of_no_photo_may_be_of_any_model(tmp_path):
    write_text(tmp_path, cameras=f"{CAMERAS}3 FOV 640 480 500 500 320 240 0.9\n")
    check_by_hand(tmp_path, colmap.read(tmp_path))


def test_the_last_image_may_lack_its_line_of_points(tmp_path):
    check_by_hand(tmp_path, colmap.read(write_text(tmp_path, images=IMAGES.rstrip())))


def changed(text, old, new):
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"cameras": ""},
            r"cameras\.txt: contains no camera 2, which image 2 \('a photo\.jpg'\) refers",
        ),
        ({"cameras": CAMERAS + CAMERAS}, r"cameras\.txt: contains the id 1 twice"),
        (
            {"cameras": changed(CAMERAS, "PINHOLE", "FOV")},
            r"cameras\.txt: camera 1: the model FOV is not supported; .*image_undistorter",
        ),
        (
            {
                "cameras": CAMERAS.replace("1 PINHOLE", "1 FULL_OPENCV").replace(
                    "239", "2 3 4 5 6 7 8 9 1"
                )
            },
            r"camera 1: the denominator \(8\.0, 9\.0, 1\.0\) of .*; undistort the photos",
        ),
        (
            {"cameras": changed(CAMERAS, " 239", "")},
            r"a PINHOLE has the parameters fx .* 3 numbers",
        ),
        (
            {"cameras": changed(CAMERAS, "640 480", "640")},
            r"camera 1: the height must .* is 500|a P",
        ),
        ({"cameras": changed(CAMERAS, "640", "wide")}, r"cameras\.txt:2: expected CAMERA_ID MODEL"),
        ({"cameras": changed(CAMERAS, "640", "-640")}, r"camera 1: the width must .* but is -640"),
        ({"cameras": changed(CAMERAS, "500", "nan")}, r"camera 1: the focal length .* but is nan"),
        (
            {"cameras": changed(CAMERAS, "239", "inf")},
            r"camera 1: the principal point .* one is inf",
        ),
        ({"images": "# none\n"}, r"images\.txt: none of its 0 photos exists; copy"),
        ({"images": IMAGES + IMAGES}, r"images\.txt: contains the id 1 twice"),
        (
            {"images": changed(IMAGES, "a photo", "b")},
            r"images\.txt: 'b\.jpg' and 'b\.jpg' are one photo, .* with two different cameras",
        ),
        (
            {"images": changed(IMAGES, " 4 1 b.jpg", " 4 b.jpg")},
            r"images\.txt:2: expected IMAGE_ID",
        ),
        ({"images": changed(IMAGES, "30 40.25 7\n", "\n")}, None),
        (
            {"images": changed(IMAGES, "30 40.25 7\n", "30\n")},
            r"images\.txt:3: expected the image's",
        ),
        (  # as by programs that leave out the lines of points
            {"images": "".join(IMAGES.splitlines(keepends=True)[i] for i in (1, 3))},
            r"images\.txt:2: expected the image's points .* an empty line, but found '2 0\.7071",
        ),
        (
            {"images": changed(IMAGES, "1 1 0", "1 3 0")},
            r"image 1 \('b\.jpg'\): the quaternion .* 3 0",
        ),
        (
            {"images": changed(IMAGES, "1 1 0", "1 0 0")},
            r"the quaternion QW .* length 1, but is 0 0",
        ),
        ({"images": changed(IMAGES, "1 1 0", "1 nan 0")}, r"the quaternion .* but is nan 0"),
        ({"images": changed(IMAGES, " 4 1", " inf 1")}, r"image 1 .* translation .* is 0 0 inf"),
        ({"points": changed(POINTS3D, "0.25", "x")}, r"points3D\.txt:2: expected POINT3D_ID X Y Z"),
    ],
)
def test_what_is_wrong_with_text_is_told_in_one_line(tmp_path, files, message):
    write_text(tmp_path, **files)
    if message is None:
        colmap.read(tmp_path)
        return
    with pytest.raises((ValueError, OSError), match=message) as error:
        colmap.read(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"cameras": b""}, r"cameras\.bin: ends after 0 bytes, but more must follow"),
        ({"cameras": BINARY["cameras"][:-1]}, r"cameras\.bin: ends after \d+ bytes"),
        ({"images": BINARY["images"][:73]}, r"images\.bin: ends within the name of an image"),
        ({"images": BINARY["images"][:90]}, r"images\.bin: ends after 90 bytes"),
        (
            {"images": BINARY["images"] + b"more"},
            r"images\.bin: holds \d+ bytes, but its 2 records end at \d+",
        ),
        ({"points3D": b"\xff" * 8 + BINARY["points3D"][8:]}, r"points3D\.bin: ends after"),
        ({"points3D": BINARY["points3D"][:51] + b"\xff" * 8}, r"points3D\.bin: ends after"),
        (
            {"cameras": struct.pack("<QIiQQ5d", 1, 1, 7, 640, 480, 500, 500, 320, 240, 0.9)},
            r"cameras\.bin: camera 1: the model FOV is not supported; undistort",
        ),
    ],
)
def test_what_is_wrong_with_binary_is_told_in_one_line(tmp_path, files, message):
    with pytest.raises(ValueError, match=message) as error:
        colmap.read(write_binary(tmp_path, **files))
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


@strategies.composite
def damaged(draw, right):
    """Bytes of which a few are dropped, put in or replaced, or that end too early."""
    put = strategies.binary(max_size=8) | strategies.sampled_from(
        [b"\xff" * 8, b"\0" * 8, struct.pack("<d", math.nan), b"nan", b"-1", b"1e999", b" ", b"\n"]
    )
    for _ in range(draw(strategies.integers(1, 2))):
        start = draw(strategies.integers(0, len(right)))
        end = start + draw(strategies.sampled_from([0, 1, 4, 8, len(right)]))
        right = right[:start] + draw(put) + right[end:]
    return right


FILES = [(f"{name}.bin", contents) for name, contents in BINARY.items()]
FILES += [
    (f"{name}.txt", text.encode())
    for name, text in (("cameras", CAMERAS), ("images", IMAGES), ("points3D", POINTS3D))
]


@pytest.mark.slow
@hypothesis.given(
    strategies.sampled_from(FILES).flatmap(
        lambda file: strategies.tuples(strategies.just(file[0]), damaged(file[1]))
    )
)
@hypothesis.settings(max_examples=800, deadline=None)
def test_any_files_give_a_right_capture_or_a_clear_error(tmp_path_factory, file):
    name, contents = file
    root = tmp_path_factory.getbasetemp() / f"damaged{name[-4:]}"
    (write_binary if name.endswith(".bin") else write_text)(root)
    (root / "sparse/0" / name).write_bytes(contents)
    told = None
    try:
        read = colmap.read(root)
    except (ValueError, OSError) as error:
        told = str(error)
    if told is not None:
        assert str(root) in told
        return
    cameras = read.cameras
    leaves = [*cameras[:-1], *(cameras.lens or ())]
    assert all(len(leaf) == len(read.photos) >= 1 for leaf in leaves)
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    assert (cameras.focal > 0).all()
    assert len(read.observations) == len(read.photos)
    for points, pixels in read.observations:
        assert pixels.shape == (len(points), 2)
        assert np.isfinite(points).all()
    rotation = cameras.world_from_camera[:, :, :3]
    gram = rotation.transpose(0, 2, 1) @ rotation
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(3), gram.shape), atol=1e-9)
    assert (np.linalg.det(rotation) > 0).all()
