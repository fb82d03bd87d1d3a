"""Images on disk, as the bytes that datasets keep: uint8, RGB or RGBA with straight alpha.

Pillow is imported only when a file is read, so the built-in scene works without it.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

# What Pillow calls the modes that hold 8 bits a channel, or fewer, of grey, colour or a palette.
_READABLE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")


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


def read_image(path: Path) -> UInt8[np.ndarray, "H W C"]:
    """Read one image: C = 3, or 4 if the file has transparency. Grey and palettes become colour.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not an image, is truncated, or holds more than 8 bits a channel.
        ImportError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("reading images needs Pillow: pip install pillow") from error

    try:
        with Image.open(path) as image:
            image.load()
            mode = image.mode
            transparent = mode.endswith("A") or "transparency" in image.info
            wanted = "RGBA" if transparent else "RGB"
            if mode in _READABLE_MODES:
                return np.array(image if mode == wanted else image.convert(wanted))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: no such image; copy the missing file there or remove its frame"
        ) from error
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise ValueError(
            f"{path}: cannot be read as an image ({error}); copy or download the file again"
        ) from error
    raise ValueError(
        f"{path}: its pixels are in Pillow's mode {mode!r}, but 8 bits a channel are expected, "
        "RGB or RGBA; convert the file to an 8-bit PNG"
    )


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

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # decoding releases the GIL
        for _ in pool.map(fill, range(1, len(paths))):
            pass
    return pixels, (first.shape[0], first.shape[1])


def _describe(image: UInt8[np.ndarray, "H W C"]) -> str:
    height, width, channels = image.shape
    return f"{height}x{width} {'RGBA' if channels == 4 else 'RGB'} (height x width)"
