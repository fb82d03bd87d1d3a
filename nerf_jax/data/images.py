"""Images on disk, as the bytes that datasets keep: uint8, RGB or RGBA with straight alpha.

Pillow is imported only when a file is read, so the built-in scene works without it.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped, UInt8

SUFFIXES = (".jpg", ".jpeg", ".png")
"""Of the files in a folder that are taken to be images, in lower case."""

# What Pillow calls the modes that hold 8 bits a channel, or fewer, of grey, colour or a palette.
_READABLE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
# And 16 bits of grey. Of 16 bits of colour it keeps the upper 8: at most one level off.
_DEEP_MODES = ("I;16", "I;16L", "I;16B")
_ORIENTATION_TAG = 0x0112


class Header(NamedTuple):
    """What an image file says before its pixels."""

    stored_hw: tuple[int, int]
    """Height and width of the pixels as the file has them."""
    orientation: int
    """How they are turned, as EXIF numbers it: 1 (not at all) to 8; 5 to 8 exchange the sides."""
    channels: int
    """3, or 4 if there is transparency."""

    @property
    def upright_hw(self) -> tuple[int, int]:
        """Height and width of the image as it is shown."""
        return self.stored_hw if self.orientation < 5 else self.stored_hw[::-1]


def srgb_to_linear(srgb: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Decode sRGB values in [0, 1] to linear light in [0, 1] (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def downscale_by_area(
    pixels: UInt8[np.ndarray, "N H W C"], factor: int
) -> UInt8[np.ndarray, "N h w C"]:
    """Shrink images, each pixel the mean of a ``factor`` x ``factor`` block, rounded to nearest.

    Straight alpha is averaged as one more channel and the colours without weighting by it, as
    the half-resolution loader of the reference implementation does. Rows and columns that do
    not fill a block are cropped from the bottom and the right.

    Raises:
        ValueError: the factor is below 1, or leaves no pixel.
    """
    height, width = (size // factor if factor >= 1 else 0 for size in pixels.shape[1:3])
    if min(height, width) < 1:
        raise ValueError(
            f"data.downscale is {factor}, but must be at least 1 and at most the shorter side of "
            f"the images, which are {pixels.shape[1]}x{pixels.shape[2]} (height x width)"
        )
    if factor == 1:
        return pixels
    small = np.empty((len(pixels), height, width, pixels.shape[3]), np.uint8)
    for target, image in zip(small, pixels, strict=True):  # one at a time: sums take four bytes
        image = image[: height * factor, : width * factor]
        sums = np.zeros(target.shape, np.uint32)
        for row in range(factor):
            for column in range(factor):
                sums += image[row::factor, column::factor]
        target[:] = (sums + factor**2 // 2) // factor**2
    return small


def read_header(path: Path) -> Header:
    """What an image is, without reading its pixels.

    Raises:
        FileNotFoundError, ValueError, ImportError: as :func:`read_image`, but for damage to the
            pixels, which is not seen here.
    """
    with _opened(path) as image:
        channels = 4 if _is_transparent(image) else 3
        return Header((image.height, image.width), _orientation(image), channels)


def read_image(path: Path) -> UInt8[np.ndarray, "H W C"]:
    """Read one image, upright: C = 3, or 4 if the file has transparency.

    Grey and palettes become colour, 16 bits a channel 8, and the image is turned as its EXIF
    orientation says.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not an image, is truncated, or holds no 8 or 16 bits a channel.
        ImportError: Pillow is not installed.
    """
    with _opened(path) as image:
        return turn(_pixels(image), _orientation(image))


def read_stored(path: Path) -> UInt8[np.ndarray, "H W C"]:
    """Read one image as :func:`read_image` does, but its pixels as the file has them, unturned."""
    with _opened(path) as image:
        return _pixels(image)


def turn(pixels: Shaped[np.ndarray, "h w C"], orientation: int) -> Shaped[np.ndarray, "H W C"]:
    """Stored pixels as they are shown: EXIF's orientations 1 to 8 (Exif 2.3, tag 0x0112)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def read_images(
    paths: Sequence[Path], downscale: int = 1
) -> tuple[UInt8[np.ndarray, "N H W C"], tuple[int, int]]:
    """Read images of one size, on several threads, into one array.

    Args:
        paths: at least one.
        downscale: shrink each by this factor as it is read (:func:`downscale_by_area`).

    Returns:
        The pixels, and the height and width of the files before they were shrunk.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_image`, or the images differ in shape.
    """
    first = read_image(paths[0])
    small = downscale_by_area(first[None], downscale)
    pixels = np.empty((len(paths), *small.shape[1:]), np.uint8)
    pixels[0] = small[0]

    def fill(index: int) -> None:
        image = read_image(paths[index])
        if image.shape != first.shape:
            raise ValueError(
                f"{paths[index]}: is {_describe(image)}, but {paths[0]} is {_describe(first)}; "
                "all images of a split must be of one size and kind"
            )
        pixels[index] = downscale_by_area(image[None], downscale)[0]

    on_threads(fill, range(1, len(paths)))
    return pixels, (first.shape[0], first.shape[1])


def on_threads(task: Callable[[int], None], numbers: Sequence[int]) -> None:
    """Do a task for each number, several at once; the first failure is raised."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # decoding releases the GIL
        for _ in pool.map(task, numbers):
            pass


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A Pillow image of a readable mode; whatever goes wrong with the file is told in one line."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("reading images needs Pillow: pip install pillow") from error

    try:
        with Image.open(path) as image:
            mode = image.mode
            if mode in _READABLE_MODES + _DEEP_MODES:
                yield image
                return
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: no such image; copy the missing file there or remove its frame"
        ) from error
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise ValueError(
            f"{path}: cannot be read as an image ({error}); copy or download the file again"
        ) from error
    raise ValueError(
        f"{path}: its pixels are in Pillow's mode {mode!r}, but 8 or 16 bits a channel are "
        "expected, grey, RGB or RGBA; convert the file to an 8-bit PNG"
    )


def _pixels(image: Any) -> UInt8[np.ndarray, "h w C"]:
    image.load()
    if image.mode in _DEEP_MODES:
        # 65535 is white, so that a level is 257 wide and not 256.
        grey = ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    wanted = "RGBA" if _is_transparent(image) else "RGB"
    return np.array(image if image.mode == wanted else image.convert(wanted))


def _is_transparent(image: Any) -> bool:
    deep = image.mode in _DEEP_MODES
    return not deep and (image.mode.endswith("A") or "transparency" in image.info)


def _orientation(image: Any) -> int:
    """The file's EXIF orientation; 1 where there is none or it cannot be read."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would read all pixels first, to look for it behind them
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a damaged note is no reason to refuse a photo
        return 1
    return orientation if orientation in range(1, 9) else 1


def _describe(image: UInt8[np.ndarray, "H W C"]) -> str:
    height, width, channels = image.shape
    return f"{height}x{width} {'RGBA' if channels == 4 else 'RGB'} (height x width)"
