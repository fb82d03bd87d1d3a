import numpy as np
import pytest
from PIL import Image, ImageOps

from nerf_jax.config import DataConfig
from nerf_jax.data.images import downscale_by_area
from nerf_jax.data.photos import Photo
from tests.data.rigs import read_photos

WHOLE = DataConfig()


def save(path, pixels, orientation=None):
    image = Image.fromarray(pixels)
    exif = image.getexif()
    if orientation is not None:
        exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


@pytest.fixture
def noise():
    random = np.random.default_rng(0)
    return lambda *shape: random.integers(0, 256, shape, np.uint8)


def test_photos_of_several_sizes_are_padded_at_the_bottom_and_the_right(tmp_path, noise):
    images = [noise(6, 8, 3), noise(8, 6, 3), noise(2, 9, 3)]
    photos = [
        Photo(save(tmp_path / f"{index}.png", image), image.shape[:2])
        for index, image in enumerate(images)
    ]
    pixels, counts, scale = read_photos(photos, WHOLE)
    assert pixels.shape == (3, 8, 9, 3)
    assert counts.dtype == bool
    np.testing.assert_array_equal(scale, 1)
    for found, count, image in zip(pixels, counts, images, strict=True):
        height, width = image.shape[:2]
        np.testing.assert_array_equal(found[:height, :width], image)
        assert count[:height, :width].all()
        assert count.sum() == height * width


def test_each_photo_is_shrunk_by_the_least_whole_factor_that_fits_it(tmp_path, noise):
    images = [noise(8, 6, 3), noise(16, 12, 3), noise(4, 3, 3)]
    photos = [
        Photo(save(tmp_path / f"{index}.png", image), (80, 60))
        for index, image in enumerate(images)
    ]
    pixels, counts, scale = read_photos(photos, DataConfig(max_side=4))
    assert pixels.shape == (3, 4, 3, 3)
    assert counts.all()
    np.testing.assert_allclose(scale, 0.05)
    for found, image, factor in zip(pixels, images, (2, 4, 1), strict=True):
        np.testing.assert_array_equal(found, downscale_by_area(image[None], factor)[0])


def test_beside_transparent_photos_the_others_are_opaque(tmp_path, noise):
    clear, opaque = noise(3, 4, 4), noise(3, 4, 3)
    photos = [
        Photo(save(tmp_path / "clear.png", clear), (3, 4)),
        Photo(save(tmp_path / "opaque.png", opaque), (3, 4)),
    ]
    pixels, _, _ = read_photos(photos, WHOLE)
    np.testing.assert_array_equal(pixels[0], clear)
    np.testing.assert_array_equal(pixels[1, ..., :3], opaque)
    assert (pixels[1, ..., 3] == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("of_stored", [True, False])
def test_a_photo_is_turned_as_its_camera_saw_it(tmp_path, noise, orientation, of_stored):
    """Cameras of the stored pixels get these; cameras of the other shape, the upright ones."""
    stored = noise(4, 7, 3)
    path = save(tmp_path / "a.png", stored, orientation)
    size_hw = (40, 70) if of_stored or orientation < 5 else (70, 40)
    pixels, _, scale = read_photos([Photo(path, size_hw)], WHOLE)
    np.testing.assert_allclose(scale, 0.1)
    if of_stored or orientation < 5:
        np.testing.assert_array_equal(pixels[0], stored)
        return
    upright = ImageOps.exif_transpose(Image.open(path))
    np.testing.assert_array_equal(pixels[0], np.asarray(upright))


def test_photos_of_another_shape_than_their_camera_are_refused(tmp_path, noise):
    path = save(tmp_path / "a.png", noise(30, 40, 3))
    for size_hw in ((30, 40), (300, 400), (302, 400), (31, 42)):
        read_photos([Photo(path, size_hw)], WHOLE)
    for size_hw in ((40, 30), (90, 160)):
        with pytest.raises(ValueError, match=r"a\.png: is 30x40 .* its camera is for .*uncropped"):
            read_photos([Photo(path, size_hw)], WHOLE)


def test_shrinking_to_nothing_is_refused(tmp_path, noise):
    photo = Photo(save(tmp_path / "a.png", noise(30, 40, 3)), (30, 40))
    for config in (DataConfig(downscale=31), DataConfig(max_side=1)):
        with pytest.raises(ValueError, match=r"a\.png: is 30x40 .*data\.downscale=.* nothing;"):
            read_photos([photo], config)


def test_a_mask_hides_what_is_black(tmp_path, noise):
    path = save(tmp_path / "a.png", noise(4, 6, 3))
    mask = np.full((4, 6), 255, np.uint8)
    mask[0, 0], mask[3, 4], mask[3, 5] = 0, 0, 1
    photo = Photo(path, (4, 6), save(tmp_path / "mask.png", mask))
    pixels, counts, _ = read_photos([photo, Photo(path, (4, 6))], WHOLE)
    np.testing.assert_array_equal(counts[0], mask > 0)
    assert counts[1].all()
    np.testing.assert_array_equal(pixels[0], pixels[1])
    small = read_photos([photo], DataConfig(downscale=2))[1]
    np.testing.assert_array_equal(small[0], [[False, True, True], [True, True, False]])


def test_a_mask_may_be_of_another_size(tmp_path, noise):
    path = save(tmp_path / "a.png", noise(4, 6, 3))
    mask = noise(2, 3) > 100
    for times in (1, 2, 6):
        large = np.kron(mask, np.full((times, times), 255, np.uint8)).astype(np.uint8)
        photo = Photo(path, (4, 6), save(tmp_path / f"{times}.png", large))
        counts = read_photos([photo], WHOLE)[1]
        np.testing.assert_array_equal(counts[0], np.kron(mask, np.ones((2, 2), bool)))
    wrong = Photo(path, (4, 6), save(tmp_path / "wrong.png", noise(6, 4)))
    with pytest.raises(ValueError, match=r"wrong\.png: is 6x4 .*a\.png is for 4x6"):
        read_photos([wrong], WHOLE)
    with pytest.raises(FileNotFoundError, match=r"absent\.png"):
        read_photos([wrong._replace(mask=tmp_path / "absent.png")], WHOLE)
