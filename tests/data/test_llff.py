import dataclasses

import hypothesis
import hypothesis.extra.numpy
import jax
import numpy as np
import pytest
from hypothesis import strategies
from PIL import Image

from nerf_jax.config import DataConfig
from nerf_jax.data import llff
from nerf_jax.data.images import downscale_by_area
from tests.data import rigs

FULL_HW, FOCAL, BOUNDS = (12, 16), 20.0, (2.0, 50.0)
AS_IT_IS = DataConfig(normalize="none", hold_out=0)


def rows(poses):
    """``poses_bounds.npy``, by the definition: down, right, back, place, hwf; near, far."""
    right, up, back, place = (poses[:, :, column] for column in range(4))
    hwf = np.tile([*FULL_HW, FOCAL], (len(poses), 1))
    matrix = np.stack([-up, right, back, place, hwf], axis=2)
    return np.concatenate([matrix.reshape(-1, 15), np.tile(BOUNDS, (len(poses), 1))], axis=1)


def write_llff(root, factors=(1,), count=9):
    """A capture; what is returned are its poses and the photos at each factor."""
    poses = rigs.wall(np.random.default_rng(0), count)
    root.mkdir(parents=True, exist_ok=True)
    np.save(root / llff.FILE, rows(poses))
    images = {}
    for factor in factors:
        shape = (count, FULL_HW[0] // factor, FULL_HW[1] // factor, 3)
        images[factor] = np.random.default_rng(factor).integers(0, 256, shape, np.uint8)
        folder = root / ("images" if factor == 1 else f"images_{factor}")
        folder.mkdir()
        (folder / ".DS_Store").touch()
        (folder / "notes.txt").touch()
        for index, image in enumerate(images[factor]):
            Image.fromarray(image).save(folder / f"IMG_{index:04d}.PNG")
    return poses, images


def test_a_capture_is_read_as_written(tmp_path):
    poses, images = write_llff(tmp_path / "toy")
    scene = llff.load(tmp_path / "toy", AS_IT_IS)
    assert (scene.name, scene.source, scene.notes) == ("toy", str(tmp_path / "toy"), ())
    split = scene.split("train")
    assert split.names[:2] == ("IMG_0000", "IMG_0001")
    np.testing.assert_array_equal(split.dataset.pixels, images[1])
    cameras = split.dataset.cameras
    np.testing.assert_allclose(cameras.world_from_camera, poses, rtol=1e-6)
    np.testing.assert_allclose(cameras.focal, FOCAL)
    np.testing.assert_allclose(cameras.principal, [[8, 6]] * 9)


def test_every_eighth_photo_is_held_out(tmp_path):
    write_llff(tmp_path)
    scene = llff.load(tmp_path, DataConfig())
    assert scene.split("val").names == ("IMG_0000", "IMG_0008")
    assert len(scene.split("train").names) == 7


def test_the_bounds_are_depths_along_the_axis(tmp_path):
    """Whatever the files call near or far is between ``near`` and ``far``, along every ray."""
    write_llff(tmp_path)
    cameras = llff.load(tmp_path, AS_IT_IS).split("train").dataset.cameras
    toward_corner = np.array([8 / FOCAL, 6 / FOCAL, 1])
    np.testing.assert_allclose(cameras.near, 0.9 * BOUNDS[0])
    np.testing.assert_allclose(cameras.far, BOUNDS[1] * np.linalg.norm(toward_corner), rtol=1e-6)
    scene = llff.load(tmp_path, DataConfig(hold_out=0))
    scale = np.cbrt(np.linalg.det(scene.world_from_original[:3, :3]))
    placed = scene.split("train").dataset.cameras
    np.testing.assert_allclose(placed.near, scale * cameras.near, rtol=1e-6)
    np.testing.assert_allclose(placed.far, scale * cameras.far, rtol=1e-6)


@pytest.mark.parametrize(
    ("factors", "downscale", "read", "shrunk_by", "told"),
    [
        ((1, 2, 4), 1, 1, 1, False),
        ((1, 2, 4), 4, 4, 1, False),
        ((1, 2), 4, 2, 2, False),
        ((1, 4), 2, 1, 2, False),
        ((1, 2), 3, 1, 3, False),
        ((4,), 1, 4, 1, True),
        ((2, 4), 1, 2, 1, True),
        ((2,), 3, 2, 1, True),
    ],
)
def test_photos_at_the_size_asked_for_are_taken_as_they_are(
    tmp_path, factors, downscale, read, shrunk_by, told
):
    _, images = write_llff(tmp_path, factors)
    scene = llff.load(tmp_path, dataclasses.replace(AS_IT_IS, downscale=downscale))
    dataset = scene.split("train").dataset
    np.testing.assert_array_equal(dataset.pixels, downscale_by_area(images[read], shrunk_by))
    np.testing.assert_allclose(dataset.cameras.focal, FOCAL / (read * shrunk_by))
    expected = f"photos of images_{read}, which data.downscale={downscale} chooses"
    if told:
        reason = f"since there are none for data.downscale={downscale}"
        expected = f"photos of images_{read} at 1/{read * shrunk_by}, {reason}"
    assert scene.notes == ((expected,) if read > 1 else ())


def test_a_file_is_found_by_itself_or_in_its_folder(tmp_path):
    assert llff.find(tmp_path) is None
    write_llff(tmp_path)
    assert llff.find(tmp_path) == tmp_path / llff.FILE
    assert llff.find(tmp_path / llff.FILE) == tmp_path / llff.FILE
    assert llff.load(tmp_path / llff.FILE, DataConfig()).source == str(tmp_path)


def test_folders_without_a_capture_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no LLFF capture; .*poses_bounds\.npy and images"):
        llff.load(tmp_path, DataConfig())
    write_llff(tmp_path, factors=())
    (tmp_path / "images_4").mkdir()
    with pytest.raises(ValueError, match=r"but no photos; .*images_2 for photos at 1/2"):
        llff.load(tmp_path, DataConfig(downscale=2))


def test_photos_and_cameras_must_be_as_many(tmp_path):
    write_llff(tmp_path)
    (tmp_path / "images/IMG_0003.PNG").unlink()
    with pytest.raises(
        ValueError, match=r"npy: has 9 cameras, but .*images has 8 photos;.*1 \.txt"
    ):
        llff.load(tmp_path, DataConfig())


def changed(index, value):
    def change(array):
        array[index] = value
        return array

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[:, :16], r"must be N rows of 17 numbers .* shape \(9, 16\) and type float64"),
        (lambda a: a[:0], r"must be N rows of 17 numbers .* shape \(0, 17\)"),
        (lambda a: a[0], r"must be N rows of 17 numbers .* shape \(17,\)"),
        (lambda a: a.astype(str), r"must be N rows of 17 numbers .* type <U"),
        (lambda a: a.astype(complex), r"must be N rows of 17 numbers .* type complex"),
        (lambda a: a.astype(object), r"cannot be read as plain NumPy arrays"),
        (changed((2, 3), np.nan), r"row 2 \(from 0\) must be finite numbers, but is \[.*nan"),
        (changed((2, 3), np.inf), r"row 2 .* must be finite"),
        (changed((2, 3), -1e300), r"row 2 .* must be finite"),
        (changed((1, slice(0, 15, 5)), 0), r"row 1 .* must have a rotation in"),
        (lambda a: -a, r"row 0 .* must have a rotation in"),
        (changed((1, 4), 0), r"row 1 .* height, width and focal .* is \[ *0\., *16\., *20\.\]"),
        (changed((1, 14), -20), r"row 1 .* focal length between 1 and 1e\+06 pixels"),
        (changed((8, 15), 60), r"row 8 .* two bounds, 0 < near < far, but is \[60\., *50\.\]"),
        (changed((8, 15), 0), r"row 8 .* two bounds"),
    ],
)
def test_what_is_wrong_with_the_file_is_told_in_one_line(tmp_path, change, message):
    poses, _ = write_llff(tmp_path)
    np.save(tmp_path / llff.FILE, change(rows(poses)))
    with pytest.raises(ValueError, match=r"poses_bounds\.npy: " + message) as error:
        llff.load(tmp_path, DataConfig())
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_single_precision_and_a_damaged_file(tmp_path):
    poses, _ = write_llff(tmp_path)
    path = tmp_path / llff.FILE
    np.save(path, rows(poses).astype(np.float32))
    cameras = llff.load(tmp_path, AS_IT_IS).split("train").dataset.cameras
    np.testing.assert_allclose(cameras.world_from_camera, poses, rtol=1e-5, atol=1e-6)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"poses_bounds\.npy: cannot be read as plain NumPy"):
        llff.load(tmp_path, DataConfig())


anything = hypothesis.extra.numpy.arrays(
    strategies.sampled_from([np.float64, np.float32, np.float16, np.int64, np.uint8, np.bool_]),
    strategies.sampled_from([(3, 17), (1, 17), (3, 16), (0, 17), (17,), (3, 17, 1), ()]),
)


@strategies.composite
def damaged_rows(draw):
    """Three cameras in which some numbers are others."""
    found = rows(rigs.wall(np.random.default_rng(0), 3))
    extreme = strategies.sampled_from([0, -1, 1e-300, 1e-38, 1e7, 1e30, 1e38, 1e300, np.nan])
    numbers = strategies.floats() | extreme
    for _ in range(draw(strategies.integers(1, 4))):
        row = draw(strategies.integers(0, 2) | strategies.just(slice(None)))
        found[row, draw(strategies.integers(0, 16) | strategies.sampled_from([3, 8]))] = draw(
            numbers
        )
    return found


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    root = tmp_path_factory.mktemp("three")
    write_llff(root, count=3)
    return root


def check_right_or_told(root, config):
    told = None
    try:
        scene = llff.load(root, config)
        split = scene.split("train")
    except (ValueError, OSError) as error:
        told = str(error)
    if told is not None:
        assert str(root) in told
        assert "\n" not in told
        assert len(told) < 600
        return
    cameras = split.dataset.cameras
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(cameras))
    assert (cameras.focal > 0).all()
    assert ((cameras.near >= 0) & (cameras.near < cameras.far)).all()
    rotation = cameras.world_from_camera[:, :, :3].astype(float)
    gram = rotation.transpose(0, 2, 1) @ rotation
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(3), gram.shape), atol=0.02)
    if np.linalg.det(scene.world_from_original[:3, :3]) != pytest.approx(1):
        assert np.abs(cameras.world_from_camera[:, :, 3]).max() <= 1 + 1e-6


@pytest.mark.slow
@hypothesis.given(damaged_rows() | anything, strategies.sampled_from(["cameras", "none"]))
@hypothesis.settings(max_examples=400, deadline=None)
def test_any_array_gives_a_right_dataset_or_a_clear_error(three, array, normalize):
    np.save(three / llff.FILE, array)
    check_right_or_told(three, DataConfig(normalize=normalize, hold_out=0))


@pytest.mark.slow
@hypothesis.given(strategies.data())
@hypothesis.settings(max_examples=200, deadline=None)
def test_any_bytes_give_a_right_dataset_or_a_clear_error(three, data):
    np.save(three / llff.FILE, rows(rigs.wall(np.random.default_rng(0), 3)))
    whole = bytearray((three / llff.FILE).read_bytes())
    place = data.draw(strategies.integers(0, len(whole) - 1))
    whole[place] = data.draw(strategies.integers(0, 255))
    end = data.draw(strategies.integers(0, len(whole)) | strategies.just(len(whole)))
    noise = strategies.binary(max_size=99)
    (three / llff.FILE).write_bytes(data.draw(noise | strategies.just(bytes(whole[:end]))))
    check_right_or_told(three, DataConfig(hold_out=0))


@pytest.fixture
def fern(real_data):
    root = real_data / "nerf_llff_data" / "fern"
    if not root.is_dir():
        pytest.skip(f"the real fern scene is absent: {root}")
    return root


def test_the_real_fern_scene(fern):
    scene = llff.load(fern, DataConfig(downscale=8))
    assert scene.notes == ("photos of images_8, which data.downscale=8 chooses",)
    train, val = scene.split("train"), scene.split("val")
    assert val.names == ("image000", "image008", "image016")
    assert train.dataset.pixels.shape == (17, 378, 504, 3)
    assert train.dataset.mask is None
    cameras = train.dataset.cameras
    # The focal length in the file, 3260.5 pixels of 4032, at an eighth.
    np.testing.assert_allclose(cameras.focal, 3260.526 / 8, rtol=1e-5)
    np.testing.assert_allclose(cameras.principal, [[252, 189]] * 17)
    everyone = np.concatenate([cameras.world_from_camera, val.dataset.cameras.world_from_camera])
    assert np.abs(everyone[:, :, 3]).max() == pytest.approx(1)
    # Side by side, all looking ahead along y, z up.
    axes = everyone[:, :, :3].mean(axis=0)
    np.testing.assert_allclose(axes, [[1, 0, 0], [0, 0, -1], [0, 1, 0]], atol=0.2)
    assert np.ptp(everyone[:, 0, 3]) > np.ptp(everyone[:, 1, 3])
    assert ((cameras.near > 0.5) & (cameras.near < cameras.far) & (cameras.far < 200)).all()
