"""Photos of any sizes, shrunk and put into one array, each as its camera saw it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from nerf_jax.config import DataConfig
from nerf_jax.data import images


class Photo(NamedTuple):
    """A photo on disk, and the shape that it should have."""

    path: Path
    size_hw: tuple[int, int]
    """Height and width of the image that its camera is described for: this one, or the same
    resized."""
    mask: Path | None = None
    """An image that is black where the photo is to be ignored; of any size."""


class _Plan(NamedTuple):
    """How a photo is read."""

    photo: Photo
    read: Callable[[Path], UInt8[np.ndarray, "H W C"]]
    full_hw: tuple[int, int]
    """Of what ``read`` returns."""
    factor: int
    """By which it is shrunk then."""
    channels: int

    @property
    def small_hw(self) -> tuple[int, int]:
        return self.full_hw[0] // self.factor, self.full_hw[1] // self.factor


def read_photos(
    photos: Sequence[Photo], config: DataConfig
) -> tuple[UInt8[np.ndarray, "N H W C"], Bool[np.ndarray, "N H W"], Float[np.ndarray, "N 2"]]:
    """Read photos on several threads, shrunk as ``config.downscale`` and ``config.max_side`` ask.

    Args:
        photos: at least one.
        config: how they are read.

    Returns:
        The pixels, with alpha if any photo has it, each photo in the upper left corner; the mask
        of those that count, which are all but the margins and what the masks hide; and for each
        photo the factors by which its size has changed along x and y, from that of its camera.

    Raises:
        FileNotFoundError: a photo or a mask is not there.
        ValueError: one is unusable, or of another shape than its camera, or nothing is left of it.
    """
    plans = [_plan(photo, config) for photo in photos]
    height, width = np.max([plan.small_hw for plan in plans], axis=0)
    channels = max(plan.channels for plan in plans)
    pixels = np.zeros((len(plans), height, width, channels), np.uint8)
    counts = np.zeros((len(plans), height, width), bool)

    def fill(slot: int) -> None:
        plan, rows, columns = plans[slot], *map(slice, plans[slot].small_hw)
        image = images.downscale_by_area(plan.read(plan.photo.path)[None], plan.factor)[0]
        pixels[slot, rows, columns, -1] = 255  # opaque, beside photos with transparency
        pixels[slot, rows, columns, : image.shape[-1]] = image
        counts[slot, rows, columns] = _read_mask(plan)

    images.on_threads(fill, range(len(plans)))
    # Centres are at halves, so that places scale as sizes do, without an offset. What is cropped
    # to fill whole blocks lies at the bottom and the right, and so changes nothing.
    scale = [np.divide(plan.full_hw, plan.photo.size_hw)[::-1] / plan.factor for plan in plans]
    return pixels, counts, np.array(scale)


def _plan(photo: Photo, config: DataConfig) -> _Plan:
    """How a photo is to be read, from its header."""
    path = photo.path
    header = images.read_header(path)
    read, full_hw = _reader(path, header, photo.size_hw, "its camera")
    factor = config.downscale
    if config.max_side is not None:
        factor = max(factor, -(-max(full_hw) // config.max_side))
    if factor > min(full_hw):
        raise ValueError(
            f"{path}: is {_by(full_hw)}, of which data.downscale={config.downscale} and "
            f"data.max_side={config.max_side} leave nothing; set a smaller data.downscale or a "
            "larger data.max_side"
        )
    return _Plan(photo, read, full_hw, factor, header.channels)


def _reader(
    path: Path, header: images.Header, size_hw: tuple[int, int], whose: str
) -> tuple[Callable[[Path], UInt8[np.ndarray, "H W C"]], tuple[int, int]]:
    """How to read an image so that it has a shape, and its size then.

    As it is stored, if that fits: structure from motion leaves EXIF's orientation aside, so that
    all photos of a camera share its intrinsics however it was held (COLMAP, issue 1456).
    """
    if _is_resized(header.stored_hw, size_hw):
        return images.read_stored, header.stored_hw
    if _is_resized(header.upright_hw, size_hw):
        return images.read_image, header.upright_hw
    raise ValueError(
        f"{path}: is {_by(header.upright_hw)}, but {whose} is for {_by(size_hw)}, and one is not "
        "the other resized; use the images that belong together, uncropped"
    )


def _is_resized(size_hw: tuple[int, int], other_hw: tuple[int, int]) -> bool:
    """Whether two images are of one shape: to the rounding of a pixel, or to a fiftieth."""
    (height, width), shape = size_hw, other_hw[0] / other_hw[1]
    return abs(height - width * shape) <= max(1 + shape, 0.02 * height)


def _read_mask(plan: _Plan) -> Bool[np.ndarray, "h w"]:
    """Where a photo counts: a small pixel does if nothing in its block is black."""
    (height, width), factor = plan.small_hw, plan.factor
    path = plan.photo.mask
    if path is None:
        return np.ones((height, width), bool)
    read, mask_hw = _reader(path, images.read_header(path), plan.full_hw, str(plan.photo.path))
    rows, columns = (  # the nearest pixels of the mask; centres at halves
        ((np.arange(size) + 0.5) * of / size).astype(int)
        for size, of in zip(plan.full_hw, mask_hw, strict=True)
    )
    level = read(path)[..., :3].max(axis=-1)[rows[: height * factor, None], columns]
    blocks = level[:, : width * factor].reshape(height, factor, width, factor)
    return blocks.min(axis=(1, 3)) > 0


def _by(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[0]}x{size_hw[1]} (height x width)"
