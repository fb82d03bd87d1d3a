"""Photos of any sizes, shrunk and stacked into one array, each in the orientation of its camera."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from nerf_jax.config import DataConfig
from nerf_jax.data import images
from nerf_jax.data.photo_files import is_inverted


class Photo(NamedTuple):
    """A photo on disk and its expected size."""

    path: Path
    size_hw: tuple[int, int]
    """Height and width of the image that the intrinsics describe; the file may be resized."""
    mask: Path | None = None
    """An image of any size, black where the photo is to be ignored; white if
    :func:`nerf_jax.data.photo_files.is_inverted`."""


class _Plan(NamedTuple):
    """The steps to read a photo."""

    photo: Photo
    read: Callable[[Path], UInt8[np.ndarray, "H W C"]]
    full_hw: tuple[int, int]
    """Size of the result of ``read``."""
    factor: int
    """The factor by which this result is shrunk."""
    channels: int

    @property
    def small_hw(self) -> tuple[int, int]:
        return self.full_hw[0] // self.factor, self.full_hw[1] // self.factor


def read_photos(
    photos: Sequence[Photo], config: DataConfig
) -> tuple[UInt8[np.ndarray, "N H W C"], Bool[np.ndarray, "N H W"], Float[np.ndarray, "N 2"]]:
    """Read photos in several threads, shrunk by ``config.downscale`` or to ``config.max_side``.

    Args:
        photos: at least one.
        config: sizes.

    Returns:
        The pixels, with alpha if any photo has it, each photo in the upper left corner; the mask,
        which is False in the padding and where the photos' masks are black; and the factors along
        x and y from each photo's ``size_hw`` to its final size.

    Raises:
        FileNotFoundError: a photo or a mask does not exist.
        ValueError: one is unusable, has another shape than ``size_hw``, or no pixel is left of it.
    """
    plans = [_plan(photo, config) for photo in photos]
    height, width = np.max([plan.small_hw for plan in plans], axis=0)
    channels = max(plan.channels for plan in plans)
    pixels = np.zeros((len(plans), height, width, channels), np.uint8)
    mask = np.zeros((len(plans), height, width), bool)

    def fill(index: int) -> None:
        plan, rows, columns = plans[index], *map(slice, plans[index].small_hw)
        image = images.downscale_by_area(plan.read(plan.photo.path)[None], plan.factor)[0]
        pixels[index, rows, columns, -1] = 255  # opaque, if other photos have transparency
        pixels[index, rows, columns, : image.shape[-1]] = image
        mask[index, rows, columns] = _read_mask(plan)

    images.on_threads(fill, range(len(plans)))
    # Pixel centres are at halves, so that coordinates scale like sizes, without an offset. Cropping
    # incomplete blocks at the bottom and the right changes no coordinate.
    scale = [np.divide(plan.full_hw, plan.photo.size_hw)[::-1] / plan.factor for plan in plans]
    return pixels, mask, np.array(scale)


def _plan(photo: Photo, config: DataConfig) -> _Plan:
    path = photo.path
    header = images.read_header(path)
    read, full_hw = _reader(path, header, photo.size_hw, "its camera")
    factor = config.downscale
    if config.max_side is not None:
        factor = max(factor, -(-max(full_hw) // config.max_side))
    if factor > min(full_hw):
        raise ValueError(
            f"{path}: is {images.describe_size(full_hw)}, of which data.downscale="
            f"{config.downscale} and data.max_side={config.max_side} leave nothing; set a smaller "
            "data.downscale or a larger data.max_side"
        )
    return _Plan(photo, read, full_hw, factor, header.channels)


def _reader(
    path: Path, header: images.Header, size_hw: tuple[int, int], whose: str
) -> tuple[Callable[[Path], UInt8[np.ndarray, "H W C"]], tuple[int, int]]:
    """The function that reads an image in the orientation of ``size_hw``, and the resulting size.

    The stored orientation is preferred: structure from motion ignores EXIF's, so that all photos of
    a camera share its intrinsics (COLMAP, issue 1456).
    """
    if _is_resized(header.stored_hw, size_hw):
        return images.read_stored, header.stored_hw
    if _is_resized(header.upright_hw, size_hw):
        return images.read_image, header.upright_hw
    raise ValueError(
        f"{path}: is {images.describe_size(header.upright_hw)}, but {whose} is for "
        f"{images.describe_size(size_hw)}, and the aspect ratios differ; use the original images, "
        "uncropped"
    )


def _is_resized(size_hw: tuple[int, int], other_hw: tuple[int, int]) -> bool:
    """Whether two images have the same aspect ratio, within one pixel or 2 %."""
    (height, width), shape = size_hw, other_hw[0] / other_hw[1]
    return abs(height - width * shape) <= max(1 + shape, 0.02 * height)


def _read_mask(plan: _Plan) -> Bool[np.ndarray, "h w"]:
    """The mask of a shrunk photo: True for pixels of whose block nothing is to be ignored."""
    (height, width), factor = plan.small_hw, plan.factor
    path = plan.photo.mask
    if path is None:
        return np.ones((height, width), bool)
    read, mask_hw = _reader(path, images.read_header(path), plan.full_hw, str(plan.photo.path))
    rows, columns = (  # the nearest pixels of the mask, centres at halves
        ((np.arange(size) + 0.5) * of / size).astype(int)
        for size, of in zip(plan.full_hw, mask_hw, strict=True)
    )
    level = read(path)[..., :3].max(axis=-1)[rows[: height * factor, None], columns]
    valid = (level > 0) ^ is_inverted(path)
    return valid[:, : width * factor].reshape(height, factor, width, factor).all(axis=(1, 3))
