import hypothesis
import hypothesis.extra.numpy
import numpy as np
import pytest
from hypothesis import strategies
from PIL import Image

from nerf_jax.data.images import downscale_by_area, read_image, read_images


@hypothesis.given(
    hypothesis.extra.numpy.arrays(
        np.uint8,
        strategies.tuples(
            strategies.integers(1, 2),
            strategies.integers(3, 9),
            strategies.integers(3, 9),
            strategies.integers(3, 4),
        ),
    ),
    strategies.integers(1, 3),
)
def test_downscaling_is_the_rounded_mean_of_blocks(pixels, factor):
    small = downscale_by_area(pixels, factor)
    count, height, width, channels = pixels.shape
    assert small.shape == (count, height // factor, width // factor, channels)
    assert small.dtype == np.uint8
    for n, i, j, c in np.ndindex(small.shape):
        block = pixels[n, i * factor : (i + 1) * factor, j * factor : (j + 1) * factor, c]
        assert abs(float(small[n, i, j, c]) - block.mean(dtype=float)) <= 0.5


def test_downscaling_averages_alpha_straight():
    opaque_white, clear_black = [255, 255, 255, 255], [0, 0, 0, 0]
    pixels = np.array([[[opaque_white, clear_black], [opaque_white, clear_black]]], np.uint8)
    assert downscale_by_area(pixels, 2).tolist() == [[[[128, 128, 128, 128]]]]


def test_downscaling_by_a_large_factor_does_not_overflow():
    pixels = np.full((1, 300, 300, 3), 255, np.uint8)
    assert downscale_by_area(pixels, 300).tolist() == [[[[255, 255, 255]]]]


@pytest.mark.parametrize("factor", [5, 0, -1])
def test_impossible_factors_are_refused(factor):
    with pytest.raises(ValueError, match=rf"data.downscale is {factor}, .* 4x9"):
        downscale_by_area(np.zeros((1, 4, 9, 3), np.uint8), factor)


@pytest.mark.parametrize("channels", [3, 4])
def test_images_are_read_as_written(tmp_path, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, channels), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)


@pytest.mark.parametrize(("mode", "channels"), [("1", 3), ("L", 3), ("LA", 4), ("P", 3)])
def test_grey_and_palettes_become_colour(tmp_path, mode, channels):
    Image.new("LA", (5, 4), (255, 99)).convert(mode).save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png")
    assert pixels.shape == (4, 5, channels)
    assert (pixels[..., :3] == 255).all()
    assert channels == 3 or (pixels[..., 3] == 99).all()


def test_a_transparent_colour_becomes_alpha(tmp_path):
    image = Image.fromarray(np.array([[[1, 2, 3], [9, 9, 9]]], np.uint8))
    image.save(tmp_path / "a.png", transparency=(1, 2, 3))
    assert read_image(tmp_path / "a.png")[0, :, 3].tolist() == [0, 255]


def test_16_bit_images_are_refused_by_mode(tmp_path):
    Image.fromarray(np.zeros((4, 5), np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: .*mode 'I;16'.*8 bits a channel"):
        read_image(tmp_path / "a.png")


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"r_7\.png: no such image"):
        read_image(tmp_path / "r_7.png")


@hypothesis.given(strategies.data())
@hypothesis.settings(max_examples=60, deadline=None)
def test_damaged_images_are_named(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "r_0.png"
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 4), np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    end = data.draw(strategies.integers(0, len(whole) - 40), label="truncated to")
    path.write_bytes(whole[:end])
    with pytest.raises(ValueError, match=r"r_0\.png: cannot be read as an image"):
        read_image(path)


def test_text_is_no_image(tmp_path):
    (tmp_path / "a.png").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ValueError, match=r"a\.png: cannot be read as an image"):
        read_image(tmp_path / "a.png")


def test_many_images_are_read_in_order_and_shrunk(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 5, 7, 3), np.uint8)
    paths = [tmp_path / f"{index}.png" for index in range(9)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    whole, size = read_images(paths)
    np.testing.assert_array_equal(whole, pixels)
    assert size == (5, 7)
    small, size = read_images(paths, downscale=2)
    np.testing.assert_array_equal(small, downscale_by_area(pixels, 2))
    assert size == (5, 7)


@pytest.mark.parametrize(("mode", "size"), [("RGB", (7, 6)), ("RGBA", (7, 5))])
def test_images_that_differ_are_both_named(tmp_path, mode, size):
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path in paths[:2]:
        Image.new("RGB", (7, 5)).save(path)
    Image.new(mode, size).save(paths[2])
    with pytest.raises(ValueError, match=r"2\.png: is .* but .*0\.png is 5x7 RGB"):
        read_images(paths)
