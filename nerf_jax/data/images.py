"""Image files as arrays in the format of datasets: uint8, RGB or RGBA with straight alpha.

Pillow is imported only when a file is read, so that the built-in scene works without it.
"""

import functools
import importlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from nerf_jax.data.files import one_line, optional_import
from nerf_jax.data.intrinsics import PANORAMA
from nerf_jax.data.scene import Track, untracked

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".tif", ".tiff", ".bmp")
"""Suffixes of image files in a folder, in lower case."""
HEIF_SUFFIXES = (".heic", ".heif", ".hif", ".avif")
"""Suffixes of images that Pillow reads with pillow-heif; recent versions read AVIF without it."""

# Pillow's names of the modes with 8 bits per channel, or one: grey, colour or a palette.
_READABLE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB")
_PLAIN_MODES, _PLAIN_FORMATS = ("L", "RGB", "RGBA"), ("JPEG", "MPO", "PNG")
# 16 bits of grey. Pillow reads 16 bits of colour as the upper 8: the error is at most one level.
_DEEP_MODES = ("I;16", "I;16L", "I;16B")
_ORIENTATION_TAG = 0x0112
_EXIF_TAG, _EXPOSURE_TAGS = 0x8769, (0x829A, 0x8827, 0x829D)
# Pillow warns above this number, and refuses twice as many; its own limit is 90 megapixels, which
# phones exceed.
_MAX_PIXELS = 2**30


class Header(NamedTuple):
    """The properties of an image that can be read without its pixels."""

    stored_hw: tuple[int, int]
    orientation: int
    """EXIF orientation: 1 (upright) to 8; 5 to 8 exchange height and width."""
    channels: int
    is_plain: bool
    """Whether any program reads it alike: an upright JPEG or PNG of grey, RGB or RGBA, 8 bits."""

    @property
    def upright_hw(self) -> tuple[int, int]:
        return self.stored_hw if self.orientation < 5 else self.stored_hw[::-1]


def srgb_to_linear(srgb: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Decode sRGB values in [0, 1] to linear light in [0, 1] (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def downscale_by_area(
    pixels: UInt8[np.ndarray, "N H W C"], factor: int
) -> UInt8[np.ndarray, "N h w C"]:
    """Shrink images; each pixel is the mean of a ``factor`` x ``factor`` block, rounded to nearest.

    Straight alpha is averaged like a colour channel, and colours are not weighted by it, as in the
    half-resolution loader of the reference implementation. Rows and columns that do not fill a
    block are cropped from the bottom and the right.

    Raises:
        ValueError: the factor is below 1, or leaves no pixel.
    """
    height, width = (size // factor if factor >= 1 else 0 for size in pixels.shape[1:3])
    if min(height, width) < 1:
        raise ValueError(
            f"data.downscale is {factor}, but must be at least 1 and at most the shorter side of "
            f"the images, which are {describe_size(pixels.shape[1:3])}"
        )
    if factor == 1:
        return pixels
    small = np.empty((len(pixels), height, width, pixels.shape[3]), np.uint8)
    for target, image in zip(small, pixels, strict=True):  # one at a time: sums need four bytes
        image = image[: height * factor, : width * factor]
        sums = np.zeros(target.shape, np.uint32)
        for row in range(factor):
            for column in range(factor):
                sums += image[row::factor, column::factor]
        target[:] = (sums + factor**2 // 2) // factor**2
    return small


def is_readable(path: Path) -> bool:
    """Whether a file's suffix is that of an image which the installed packages can read."""
    suffix = path.suffix.lower()
    return suffix in SUFFIXES or (
        suffix in HEIF_SUFFIXES and suffix in _pillow().registered_extensions()
    )


def read_header(path: Path) -> Header:
    """Read an image's header; raises as :func:`read_image`, except for damaged pixels."""
    with _opened(path) as image:
        return _header(image)


def verify(path: Path) -> Header:
    """Read an image's header, and check its pixels at little cost.

    Raises:
        FileNotFoundError, ValueError, ImportError: as :func:`read_image`, or it is a panorama.
    """
    with _opened(path) as image:
        header = _header(image)
        # JPEG: reads all bytes, but computes few pixels.
        image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
        image.load()
        is_panorama = b"equirectangular" in bytes(image.info.get("xmp", b""))
    if is_panorama:
        raise ValueError(f"{path}: {PANORAMA}")
    return header


def upright_exif(path: Path) -> Any:
    """The EXIF data of an image, as Pillow has them, without the orientation; none if damaged."""
    with _opened(path) as image, suppress(Exception):
        exif = image.getexif()
        exif.pop(_ORIENTATION_TAG, None)
        exif.tobytes()
        return exif
    return _pillow().Exif()


def log_exposure(path: Path) -> float:
    """The light that a photo collected by its EXIF data: the natural logarithm of exposure time
    (s) times ISO over the squared f-number; nan if one of them is unknown.
    """
    with suppress(Exception):  # damaged, of several values, or with a denominator of zero
        exif = upright_exif(path).get_ifd(_EXIF_TAG)
        time, iso, aperture = (float(exif[tag]) for tag in _EXPOSURE_TAGS)
        exposure = math.log(time * iso / aperture**2)
        return exposure if math.isfinite(exposure) else math.nan
    return math.nan


def read_image(path: Path) -> UInt8[np.ndarray, "H W C"]:
    """Read one image, upright: C = 3, or 4 if the file has transparency.

    Grey and palettes are converted to colour, 16 bits per channel to 8, and the image is rotated by
    its EXIF orientation.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not an image, is truncated, or has neither 8 nor 16 bits per channel.
        ImportError: Pillow is not installed.
    """
    with _opened(path) as image:
        return _upright(_pixels(image), _orientation(image))


def read_stored(path: Path) -> UInt8[np.ndarray, "H W C"]:
    """Read one image as :func:`read_image` does, but without the rotation by EXIF."""
    with _opened(path) as image:
        return _pixels(image)


def _upright(pixels: UInt8[np.ndarray, "h w C"], orientation: int) -> UInt8[np.ndarray, "H W C"]:
    """Undo EXIF's orientations 1 to 8 (Exif 2.3, tag 0x0112)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def on_threads(
    task: Callable[[int], None],
    indices: Sequence[int],
    track: Track = untracked,
    most_threads: int = 1024,
    label: str = "read photos",
) -> None:
    """Run a task for each index, on all cores but on no more threads than given.

    Shows the progress; raises the first error.
    """
    # Decoding releases the GIL, and so does JAX.
    with ThreadPoolExecutor(min(most_threads, os.cpu_count() or 1)) as pool:
        try:
            for _ in track(pool.map(task, indices), label, len(indices)):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _pillow() -> Any:
    pillow: Any = optional_import("PIL.Image", "pillow")
    pillow.MAX_IMAGE_PIXELS = _MAX_PIXELS
    _register_heif()
    return pillow


@functools.cache
def _register_heif() -> None:
    with suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A Pillow image of a supported mode; any problem with the file is an error of one line."""
    pillow = _pillow()
    try:
        with pillow.open(path) as image:
            mode = image.mode
            if mode in _READABLE_MODES + _DEEP_MODES:
                yield image
                return
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: no such image; copy the missing file there or remove its frame"
        ) from error
    except Exception as error:  # decoders of damaged files raise almost any exception
        raise ValueError(
            f"{path}: cannot be read as an image ({one_line(error)}); {_remedy(path)}"
        ) from error
    raise ValueError(
        f"{path}: its pixels are in Pillow's mode {mode!r}, but 8 or 16 bits per channel are "
        "expected, grey, RGB or RGBA; convert the file to an 8-bit PNG"
    )


def _remedy(path: Path) -> str:
    """The remedy for an unreadable file, by its first bytes, whatever its suffix."""
    with suppress(OSError), path.open("rb") as file:
        start = file.read(12)
        if start[4:8] == b"ftyp" and "HEIF" not in _pillow().OPEN:
            return "it is HEIC or AVIF: pip install 'nerf_jax[heic]' reads it"
        if start.startswith(b"version http"):
            return "it is a pointer to a file in Git LFS: fetch the file with git lfs pull"
    return "copy or download the file again"


def _header(image: Any) -> Header:
    channels, orientation = 4 if _is_transparent(image) else 3, _orientation(image)
    is_plain = image.mode in _PLAIN_MODES and image.format in _PLAIN_FORMATS and orientation == 1
    return Header((image.height, image.width), orientation, channels, is_plain)


def _pixels(image: Any) -> UInt8[np.ndarray, "h w C"]:
    image.load()
    if image.mode in _DEEP_MODES:
        # 65535 is white, so that a level spans 257 values and not 256.
        grey = ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    mode = "RGBA" if _is_transparent(image) else "RGB"
    return np.array(image if image.mode == mode else image.convert(mode))


def _is_transparent(image: Any) -> bool:
    deep = image.mode in _DEEP_MODES
    return not deep and (image.mode[-1] in "Aa" or "transparency" in image.info)


def _orientation(image: Any) -> int:
    """The file's EXIF orientation; 1 if there is none or it cannot be read."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would read all pixels to search for it after them
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # photos with damaged metadata are usable
        return 1
    return orientation if orientation in range(1, 9) else 1


def describe_size(size_hw: Sequence[int]) -> str:
    """A size for messages."""
    return f"{size_hw[0]}x{size_hw[1]} (height x width)"
