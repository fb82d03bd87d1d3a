import struct
import zlib

import hypothesis
import hypothesis.extra.numpy
import numpy as np
import pytest
from hypothesis import strategies
from PIL import Image, ImageCms, ImageOps

from nerf_jax.data.images import (
    downscale_by_area,
    is_readable,
    log_exposure,
    read_header,
    read_image,
    read_stored,
    srgb_to_linear,
    upright_exif,
    verify,
)


def test_srgb_is_decoded_to_linear_light():
    # The knee of the curve, middle grey (21.4 % in linear light) and the ends.
    found = srgb_to_linear(np.array([0.0, 0.04045, 0.5, 1.0]))
    np.testing.assert_allclose(found, [0.0, 0.0031308, 0.2140411, 1.0], rtol=1e-5)


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


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bits_of_grey_are_scaled_to_8(tmp_path, name):
    grey = np.arange(65536).reshape(256, 256).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / name)
    pixels = read_image(tmp_path / name)
    assert pixels.dtype == np.uint8
    assert read_header(tmp_path / name).channels == pixels.shape[-1] == 3
    exact = np.broadcast_to(grey[..., None] * (255 / 65535), pixels.shape)
    np.testing.assert_allclose(pixels, exact, atol=0.5 + 1e-9)


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bits_of_colour_are_scaled_to_8_within_a_level(tmp_path, channels):
    colors = np.random.default_rng(0).integers(0, 65536, (9, 7, channels), np.uint16)
    colors[0, 0], colors[0, 1] = 0, 65535
    write_deep_png(tmp_path / "a.png", colors)
    pixels = read_image(tmp_path / "a.png")
    assert pixels.shape == colors.shape
    assert pixels[0, :2].tolist() == [[0] * channels, [255] * channels]
    np.testing.assert_allclose(pixels, colors * (255 / 65535), atol=1)


def write_deep_png(path, colors):
    """16 bits a channel, which Pillow does not write (PNG specification, 11.2)."""

    def chunk(kind, body):
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    height, width, channels = colors.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colors)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
def test_other_kinds_of_colour_are_converted(tmp_path, mode):
    image = Image.new("RGB", (5, 4), (250, 128, 3))
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.applyTransform(image, ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    image.convert(mode).save(tmp_path / "a.tif")
    expected = np.broadcast_to([250, 128, 3], (4, 5, 3))
    np.testing.assert_allclose(read_image(tmp_path / "a.tif"), expected, atol=6)


@pytest.mark.parametrize(("suffix", "package"), [(".heic", "pillow_heif"), (".avif", "PIL")])
def test_photos_of_phones_are_read(tmp_path, suffix, package):
    pytest.importorskip(package)
    if suffix == ".heic":
        is_readable(tmp_path / "a.heic")  # registers the format
    path = tmp_path / f"a{suffix}"
    try:
        Image.new("RGB", (80, 60), (250, 128, 3)).save(path)
    except (KeyError, OSError):
        pytest.skip("Pillow was built without AVIF")
    assert is_readable(path)
    assert not verify(path).is_plain
    expected = np.broadcast_to([250, 128, 3], (60, 80, 3))
    np.testing.assert_allclose(read_image(path), expected, atol=4)
    path.rename(tmp_path / "a.jpg")  # as phones send them
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg"), expected, atol=4)


def test_a_panorama_is_to_be_cut(tmp_path):
    xmp = b'<rdf:Description GPano:ProjectionType="equirectangular"/>'
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", xmp=xmp)
    with pytest.raises(ValueError, match=r"a\.jpg: is a panorama: cut it into pinhole views"):
        verify(tmp_path / "a.jpg")


def test_photos_of_200_megapixels_are_read(tmp_path):
    Image.new("1", (16320, 12240)).save(tmp_path / "a.png")
    assert read_header(tmp_path / "a.png").stored_hw == (12240, 16320)


@pytest.mark.parametrize(
    ("start", "remedy"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", r"it is HEIC or AVIF: pip install 'nerf_jax\[heic\]'"),
        (b"version https://git-lfs.github.com/spec/v1\n", r"it is a pointer .*: .* git lfs pull"),
        (b"something else", r"copy or download the file again"),
    ],
)
@pytest.mark.usefixtures("no_heif")
def test_the_remedy_for_an_unreadable_file_is_known_by_its_first_bytes(tmp_path, start, remedy):
    (tmp_path / "a.jpg").write_bytes(start)
    with pytest.raises(ValueError, match=rf"a\.jpg: cannot be read as an image \(.*\); {remedy}"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("name", "mode", "orientation", "plain"),
    [
        ("a.jpg", "RGB", 1, True),
        ("a.png", "RGBA", 1, True),
        ("a.jpg", "RGB", 6, False),
        ("a.jpg", "CMYK", 1, False),
        ("a.png", "P", 1, False),
        ("a.png", "I;16", 1, False),
        ("a.webp", "RGB", 1, False),
    ],
)
def test_plain_images_are_known(tmp_path, name, mode, orientation, plain):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new(mode, (5, 4)).save(tmp_path / name, exif=exif)
    assert verify(tmp_path / name).is_plain == plain
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-30])
    with pytest.raises(ValueError, match="cannot be read as an image"):
        verify(tmp_path / name)


def test_other_kinds_of_pixels_are_refused_by_mode(tmp_path):
    Image.fromarray(np.zeros((4, 5), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif: .*mode 'F'.*8 or 16 bits per channel"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_images_are_upright_as_pillow_has_them(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise = np.random.default_rng(0).integers(0, 256, (5, 8, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / name, exif=exif)
    with Image.open(tmp_path / name) as image:
        stored, upright = np.asarray(image), np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(read_image(tmp_path / name), upright)
    np.testing.assert_array_equal(read_stored(tmp_path / name), stored)
    header = read_header(tmp_path / name)
    assert header.stored_hw == stored.shape[:2]
    assert header.upright_hw == upright.shape[:2]


def test_a_damaged_orientation_does_not_matter(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (5, 8, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), noise)
    assert not upright_exif(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_a_header_says_what_will_be_read(tmp_path, mode):
    Image.new("LA", (5, 4), (255, 99)).convert(mode).save(tmp_path / "a.png")
    header, pixels = read_header(tmp_path / "a.png"), read_image(tmp_path / "a.png")
    assert (*header.upright_hw, header.channels) == pixels.shape


def test_a_header_is_read_without_the_pixels(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (99, 99, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:999])
    assert read_header(tmp_path / "a.png").stored_hw == (99, 99)
    with pytest.raises(ValueError, match=r"a\.png: cannot be read as an image"):
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


@pytest.mark.parametrize(
    ("time", "iso", "aperture", "expected"),
    [
        (1 / 50, 200, 2.0, np.log(1 / 50 * 200 / 4)),
        (1 / 50, None, 2.0, np.nan),
        (1 / 50, 200, 0.0, np.nan),  # a lens that the camera does not know
    ],
)
def test_the_light_of_a_photo_is_known_by_its_exif(tmp_path, time, iso, aperture, expected):
    exif = Image.Exif()
    values = {0x829A: time, 0x8827: iso, 0x829D: aperture}
    exif.get_ifd(0x8769).update({tag: value for tag, value in values.items() if value is not None})
    Image.new("RGB", (5, 4)).save(tmp_path / "a.jpg", exif=exif)
    np.testing.assert_allclose(log_exposure(tmp_path / "a.jpg"), expected, rtol=1e-5)
    Image.new("RGB", (5, 4)).save(tmp_path / "plain.png")
    assert np.isnan(log_exposure(tmp_path / "plain.png"))
