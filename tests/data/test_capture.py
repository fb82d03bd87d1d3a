import dataclasses
import os

import jax
import numpy as np
import pytest
from PIL import Image

from nerf_jax.config import DataConfig
from nerf_jax.data.capture import Capture, Observations, to_scene
from nerf_jax.types import Lens
from tests.data import rigs

HEIGHT, WIDTH = 6, 8
AS_IT_IS = DataConfig(normalize="none")


def write_photos(root, count, size_hw=(HEIGHT, WIDTH), channels=3, start=0):
    root.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(start)
    images = random.integers(0, 256, (count, *size_hw, channels), np.uint8)
    paths = []
    for index, image in enumerate(images, start):
        paths.append(root / f"{index:03d}.png")
        Image.fromarray(image).save(paths[-1])
    return images, tuple(paths)


def make_capture(photos, size_hw=(HEIGHT, WIDTH), near=0.0, far=0.0, **fields):
    poses = rigs.ring(np.random.default_rng(0), len(photos))
    return Capture(
        name="toy",
        source="some/toy",
        photos=tuple(photos),
        cameras=rigs.cameras(poses, size_hw, near, far),
        size_hw=np.tile(size_hw, (len(photos), 1)),
        **fields,
    )


@pytest.fixture
def nine(tmp_path):
    images, photos = write_photos(tmp_path, 9)
    return images, make_capture(photos)


def test_a_capture_is_read_as_written(nine):
    images, capture = nine
    scene = to_scene(capture, dataclasses.replace(AS_IT_IS, hold_out=0, near=0.5, far=9.0))
    assert (scene.name, scene.source, scene.notes) == ("toy", "some/toy", ())
    np.testing.assert_array_equal(scene.world_from_original, np.eye(4))
    assert list(scene.loaders) == ["train"]
    split = scene.split("train")
    assert split.names == tuple(f"{index:03d}" for index in range(9))
    assert split.dataset.mask is None
    np.testing.assert_array_equal(split.dataset.pixels, images)
    cameras = split.dataset.cameras
    assert {leaf.dtype for leaf in jax.tree.leaves(cameras)} == {np.dtype(np.float32)}
    for name in ("world_from_camera", "focal", "principal"):
        np.testing.assert_allclose(
            getattr(cameras, name), getattr(capture.cameras, name), rtol=1e-6
        )


def test_making_a_scene_reads_no_image(nine):
    _, capture = nine
    for photo in capture.photos:
        photo.unlink()
    scene = to_scene(capture, DataConfig())
    with pytest.raises(FileNotFoundError, match=r"000\.png: no such image"):
        scene.split("val")


def test_every_so_manieth_photo_by_name_is_held_out(nine):
    images, capture = nine
    order = [5, 0, 8, 3, 1, 7, 2, 6, 4]
    mixed = dataclasses.replace(
        capture,
        photos=tuple(capture.photos[number] for number in order),
        cameras=jax.tree.map(lambda leaf: leaf[order], capture.cameras),
    )
    scene = to_scene(mixed, DataConfig(hold_out=4))
    assert list(scene.loaders) == ["train", "val"]
    train, val = scene.split("train"), scene.split("val")
    assert val.names == ("000", "004", "008")
    assert train.names == ("001", "002", "003", "005", "006", "007")
    np.testing.assert_array_equal(val.dataset.pixels, images[::4])
    in_files = to_scene(mixed, dataclasses.replace(AS_IT_IS, hold_out=4)).split("val")
    np.testing.assert_allclose(
        in_files.dataset.cameras.world_from_camera,
        capture.cameras.world_from_camera[::4],
        rtol=1e-6,
    )


def test_the_only_photo_is_learned_from(tmp_path):
    _, photos = write_photos(tmp_path, 1)
    scene = to_scene(make_capture(photos), DataConfig())
    assert list(scene.loaders) == ["train"]
    cameras = scene.split("train").dataset.cameras
    np.testing.assert_allclose(cameras.world_from_camera[0, :, 3], 0, atol=1e-6)


def test_splits_that_files_name_are_theirs(nine):
    images, capture = nine
    named = dataclasses.replace(capture, splits={"train": (4, 1), "test": (8,), "val": ()})
    scene = to_scene(named, DataConfig())
    assert list(scene.loaders) == ["train", "test"]
    np.testing.assert_array_equal(scene.split("train").dataset.pixels, images[[4, 1]])
    assert scene.split("test").names == ("008",)
    rest = to_scene(dataclasses.replace(capture, splits={"val": (0, 2)}), DataConfig())
    assert rest.split("train").names == tuple(f"{index:03d}" for index in (1, *range(3, 9)))
    with pytest.raises(ValueError, match=r"some/toy: assigns every existing photo to val;"):
        to_scene(dataclasses.replace(capture, splits={"val": tuple(range(9))}), DataConfig())


def test_the_world_is_the_normalised_one_and_distances_scale(nine):
    _, capture = nine
    capture = dataclasses.replace(capture, cameras=capture.cameras._replace(far=np.full(9, 6.0)))
    scene = to_scene(capture, DataConfig(hold_out=0))
    cameras = scene.split("train").dataset.cameras
    scale = np.cbrt(np.linalg.det(scene.world_from_original[:3, :3]))
    moved = np.c_[capture.cameras.world_from_camera[:, :, 3], np.ones(9)]
    np.testing.assert_allclose(
        cameras.world_from_camera[:, :, 3], (moved @ scene.world_from_original.T)[:, :3], atol=1e-6
    )
    assert np.abs(cameras.world_from_camera[:, :, 3]).max() == pytest.approx(1)
    np.testing.assert_allclose(cameras.near, 0.05)  # the files say nothing
    np.testing.assert_allclose(cameras.far, 6 * scale, rtol=1e-6)


@pytest.mark.parametrize(
    ("in_files", "config", "expected"),
    [
        ((0, 0), {}, (0.05, 100)),
        ((2, 6), {}, (2, 6)),
        ((2, 6), {"near": 1.0}, (1, 6)),
        ((2, 6), {"near": 0.0, "far": 5.0}, (0, 5)),
        ((0, 0), {"far": 5.0}, (0.05, 5)),
    ],
)
def test_near_and_far(tmp_path, in_files, config, expected):
    _, photos = write_photos(tmp_path, 2)
    near, far = in_files
    scene = to_scene(
        make_capture(photos, near=near, far=far), dataclasses.replace(AS_IT_IS, **config)
    )
    cameras = scene.split("train").dataset.cameras
    np.testing.assert_allclose((cameras.near[0], cameras.far[0]), expected)


def test_rays_that_would_end_before_they_start_are_refused(nine):
    _, capture = nine
    near = dataclasses.replace(AS_IT_IS, near=200.0)
    with pytest.raises(ValueError, match=r"some/toy: .* 000\.png .* 200 and end at 100; .*data\.n"):
        to_scene(capture, near)
    for far in (0.01, 1e300):
        cameras = capture.cameras._replace(far=np.full(9, far))
        with pytest.raises(ValueError, match=r"some/toy: the rays of 000\.png"):
            to_scene(dataclasses.replace(capture, cameras=cameras), AS_IT_IS)


@pytest.mark.parametrize(
    ("disk_hw", "config", "kept_hw"),
    [
        ((36, 48), {}, (36, 48)),
        ((36, 48), {"downscale": 3}, (12, 16)),
        ((36, 48), {"max_side": 24}, (18, 24)),
        ((36, 48), {"max_side": 23}, (12, 16)),
        ((36, 48), {"max_side": 23, "downscale": 4}, (9, 12)),
        ((36, 48), {"downscale": 5}, (7, 9)),  # cropped
        ((72, 96), {"downscale": 2}, (36, 48)),  # files of another size than the cameras
        ((18, 24), {}, (18, 24)),
    ],
)
def test_a_point_stays_where_it_is_in_the_picture(tmp_path, disk_hw, config, kept_hw):
    """What a camera of 36x48 shows at a part of the image, it shows there at every size."""
    _, photos = write_photos(tmp_path, 2, disk_hw)
    capture = make_capture(photos, (36, 48))
    scene = to_scene(capture, DataConfig(hold_out=0, **config))
    dataset = scene.split("train").dataset
    assert dataset.pixels.shape == (2, *kept_hw, 3)
    point = np.array([0.2, -0.3, 0.1])
    moved = (scene.world_from_original @ [*point, 1])[:3]
    factor = np.array(disk_hw[::-1]) // np.array(kept_hw[::-1])
    for image in range(2):
        full = rigs.project(capture.cameras, image, point) / [48, 36] * disk_hw[::-1]
        found = rigs.project(dataset.cameras, image, moved)
        np.testing.assert_allclose(found * factor, full, rtol=1e-5)


def see(capture, image, points):
    """The observations of points that nothing occludes."""
    pixels = [rigs.project(capture.cameras, image, point) for point in points]
    return Observations(points, np.array(pixels))


@pytest.mark.parametrize("config", [{}, {"downscale": 3}, {"normalize": "none"}])
def test_depths_are_known_where_photos_show_points(tmp_path, config):
    """The second photo does not show the last point, though it is within it: it is hidden."""
    _, photos = write_photos(tmp_path, 2, (36, 48))
    points = np.random.default_rng(1).uniform(-0.4, 0.4, (5, 3))
    capture = make_capture(photos, (36, 48))
    seen = see(capture, 0, points[[3, 1, 0, 2, 4]]), see(capture, 1, points[:4])
    capture = dataclasses.replace(capture, observations=seen)
    scene = to_scene(capture, DataConfig(hold_out=0, **config))
    split = scene.split("train")
    cameras, depth = split.dataset.cameras, split.depth
    assert split.dataset.depth is None  # only what asks for it has it on the device
    assert (depth.shape, depth.dtype) == (split.dataset.pixels.shape[:3], np.float32)
    expected = np.full_like(depth, np.inf)
    for image, shown in enumerate((5, 4)):
        for point in points[:shown]:
            moved = (scene.world_from_original @ [*point, 1])[:3]
            column, row = np.floor(rigs.project(cameras, image, moved)).astype(int)
            distance = np.linalg.norm(moved - cameras.world_from_camera[image, :, 3])
            expected[image, row, column] = min(expected[image, row, column], distance)
    assert np.isfinite(expected).sum(axis=(1, 2)).tolist() == [5, 4]
    np.testing.assert_allclose(depth, np.where(np.isinf(expected), 0, expected), rtol=1e-5)


def test_a_pixel_knows_the_nearest_point_and_photos_know_none_outside(tmp_path):
    paths = [write_photos(tmp_path / str(size), 1, (size, size))[1][0] for size in (4, 6)]
    capture = make_capture(paths)
    points = np.array([[0.0, 0, 0], [0, 0, 0.3], [0, 0, 1e300]])
    corners = [[0, 0], [0.5, 0.9], [4, 3.99], [3.99, 4], [5.99, 5.99]]
    outside = [[-0.01, 1], [1, -0.01], [6, 1], [1, 6], [np.nan, 1], [1, np.inf], [1e300, 1]]
    everywhere = Observations(points[[0, 1] * 6], np.array(corners + outside))
    far_away = Observations(points[[0, 2]], np.array([[0.5, 0.5], [2.5, 2.5]]))
    capture = dataclasses.replace(
        capture, observations=(far_away, everywhere), size_hw=np.array([[4, 4], [6, 6]])
    )
    split = to_scene(capture, dataclasses.replace(AS_IT_IS, hold_out=0)).split("train")
    away = np.linalg.norm(points[:2, None] - capture.cameras.world_from_camera[:, :, 3], axis=2)
    expected = np.zeros((2, 6, 6))
    expected[0, 0, 0] = away[0, 0]
    expected[1, [3, 4, 5], [4, 3, 5]] = away[[0, 1, 0], 1]
    expected[1, 0, 0] = away[:, 1].min()
    np.testing.assert_allclose(split.depth, expected, rtol=1e-6)


def test_without_observations_no_depth_is_known(nine):
    _, capture = nine
    nothing = Observations(np.zeros((0, 3)), np.zeros((0, 2)))
    for observations in ((), (nothing,) * 9):
        blind = dataclasses.replace(capture, observations=observations)
        assert to_scene(blind, DataConfig()).split("train").depth is None


def test_rays_reach_from_before_the_points_to_behind_them(nine):
    """By their distances from the cameras that see them, but for one wrong point in a thousand."""
    _, capture = nine
    points = np.random.default_rng(0).uniform(-0.4, 0.4, (250, 3))
    wrong = np.vstack([points, [[0, 0, 1e6]]])
    pixels = np.ones((251, 2))
    seen = [Observations(points, pixels[1:])] * 8 + [Observations(wrong, pixels)]
    capture = dataclasses.replace(capture, observations=tuple(seen))
    scene = to_scene(capture, DataConfig(normalize="points", hold_out=0))
    scale = np.cbrt(np.linalg.det(scene.world_from_original[:3, :3]))
    origins = capture.cameras.world_from_camera[:, :, 3]
    distances = scale * np.linalg.norm(points - origins[:, None], axis=2)
    cameras = scene.split("train").dataset.cameras
    near, far = cameras.near[0], cameras.far[0]
    assert 0.5 * distances.min() <= near < 0.6 * distances.min()
    assert 3.6 * distances.max() < far <= 4 * distances.max()
    assert (cameras.near == near).all()
    own = to_scene(capture, DataConfig(normalize="points", hold_out=0, near=0.1, far=7.0))
    cameras = own.split("train").dataset.cameras
    assert (cameras.near[0], cameras.far[0]) == (np.float32(0.1), 7.0)


def test_the_lens_comes_along(tmp_path):
    _, photos = write_photos(tmp_path, 3)
    capture = make_capture(photos)
    lens = Lens(
        radial=np.arange(12.0).reshape(3, 4),
        tangential=np.zeros((3, 2)),
        fisheye=np.array([True, False, True]),
    )
    capture = dataclasses.replace(capture, cameras=capture.cameras._replace(lens=lens))
    found = to_scene(capture, DataConfig(downscale=2)).split("train").dataset.cameras.lens
    np.testing.assert_allclose(found.radial, lens.radial[1:])
    np.testing.assert_array_equal(found.fisheye, [False, True])


def test_names_are_one_each(tmp_path):
    photos = [*write_photos(tmp_path / "left", 2)[1], *write_photos(tmp_path / "right", 2)[1]]
    split = to_scene(make_capture(photos), DataConfig(hold_out=0)).split("train")
    assert split.names == ("left_000", "left_001", "right_000", "right_001")
    Image.open(photos[0]).save(tmp_path / "left/000.jpg")
    both = make_capture([tmp_path / "left/000.jpg", photos[0]])
    assert to_scene(both, DataConfig(hold_out=0)).split("train").names == ("000.jpg", "000.png")


def test_masks_that_hide_everything_are_refused(tmp_path):
    _, photos = write_photos(tmp_path, 2)
    Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / "black.png")
    capture = make_capture(photos, masks=(tmp_path / "black.png",) * 2)
    with pytest.raises(ValueError, match=r"some/toy: the masks of 001\.png .* only black"):
        to_scene(capture, DataConfig()).split("train")


def test_bytes_of_names_that_are_not_utf8_are_escaped(tmp_path):
    _, (path,) = write_photos(tmp_path, 1)
    photo = path.rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    split = to_scene(make_capture((photo,)), AS_IT_IS).split("train")
    assert split.names == ("caf\\xe9",)


def test_names_leave_room_for_more(tmp_path):
    """Files are named after photos, with more at the end; a name has at most 255 bytes."""
    long = "\N{GREEK SMALL LETTER ALPHA}" * 120
    for folder in ("a", "b"):
        write_photos(tmp_path / folder, 1)
        (tmp_path / folder / "000.png").rename(tmp_path / folder / f"{long}.png")
    photos = [tmp_path / folder / f"{long}.png" for folder in ("a", "b")]
    scene = to_scene(make_capture(photos), dataclasses.replace(AS_IT_IS, hold_out=0))
    names = scene.split("train").names
    assert len(set(names)) == 2
    assert max(len(name.encode()) for name in names) <= 210


def with_lens(capture: Capture, radial, fisheye: bool = False) -> Capture:
    count = len(capture.photos)
    lens = Lens(np.tile(radial, (count, 1)), np.zeros((count, 2)), np.full(count, fisheye))
    return dataclasses.replace(capture, cameras=capture.cameras._replace(lens=lens))


def test_pixels_without_a_ray_are_masked_and_counted(tmp_path):
    """The edge of k1 = -2 is at ideal radius 1 / sqrt(6), distorted 2 / 3 of that."""
    size_hw = 60, 80
    _, photos = write_photos(tmp_path, 3, size_hw)
    capture = with_lens(make_capture(photos, size_hw), [-2.0, 0, 0, 0])
    scene = to_scene(capture, dataclasses.replace(AS_IT_IS, hold_out=0))
    mask = scene.split("train").dataset.mask
    camera = capture.cameras
    column, row = np.meshgrid(np.arange(80) + 0.5, np.arange(60) + 0.5)
    x = (column - camera.principal[0, 0]) / camera.focal[0, 0]
    y = (row - camera.principal[0, 1]) / camera.focal[0, 1]
    radius, edge = np.hypot(x, y), 2 / 3 / 6**0.5
    for found in mask:
        assert found[radius < 0.99 * edge].all()
        assert not found[radius > 1.001 * edge].any()
    (note,) = scene.notes
    share = float(note.split("%")[0])
    np.testing.assert_allclose(share, 100 * np.mean(radius > edge), atol=2)
    assert "of the pixels, in 3 of 3 photos, are beyond the edge of their lens" in note


@pytest.mark.parametrize("fisheye", [False, True])
@pytest.mark.parametrize("k1", [1e9, -1e9, 1e38, -50.0])
def test_a_lens_that_cannot_be_is_refused(nine, k1: float, fisheye: bool):
    _, capture = nine
    with pytest.raises(ValueError, match=r"some/toy: the lens of 000.png \(k1 .* has no ray for"):
        to_scene(with_lens(capture, [k1, 0, 0, 0], fisheye), AS_IT_IS)


def test_a_usual_lens_masks_nothing(nine):
    _, capture = nine
    scene = to_scene(with_lens(capture, [0.06, -0.08, 0, 0]), AS_IT_IS)
    assert scene.notes == ()
    assert scene.split("train").dataset.mask is None
