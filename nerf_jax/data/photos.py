"""Photos of any sizes, shrunk and stacked into one array, each in the orientation of its camera."""

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt8

from nerf_jax.config import DataConfig
from nerf_jax.data import images
from nerf_jax.data.lens_check import pixels_with_ray
from nerf_jax.data.memory import describe_bytes, photo_budget
from nerf_jax.data.photo_cache import Decode, ForEach, cached_photos, identity
from nerf_jax.data.photo_files import is_inverted
from nerf_jax.data.scene import Track, untracked
from nerf_jax.types import Cameras


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


class Photos(NamedTuple):
    """Photos as arrays, in memory or in files."""

    pixels: UInt8[np.ndarray, "N H W C"]
    """With alpha if any photo has it; each photo is in the upper left corner."""
    mask: Bool[np.ndarray, "N H W"] | None
    """False in the padding, where the photos' masks are black, and at pixels without a ray; None:
    nothing is excluded."""
    cameras: Cameras
    """In pixels of these images."""
    scale: Float[np.ndarray, "N 2"]
    """The factors along x and y from each photo's ``size_hw`` to its final size."""


def read_photos(
    photos: Sequence[Photo],
    cameras: Cameras,
    config: DataConfig,
    *,
    limit: float = math.inf,
    track: Track = untracked,
) -> Photos:
    """Read photos in several threads, shrunk by ``config.downscale`` or to ``config.max_side``.

    Args:
        photos: at least one.
        cameras: of the photos, in pixels of their ``size_hw``.
        config: sizes.
        limit: bytes of pixels above which they are mapped from files, and not in memory.
        track: shows the progress.

    Raises:
        FileNotFoundError: a photo or a mask does not exist.
        ValueError: one is unusable, has another shape than ``size_hw``, or no pixel is left of it.
        OSError: the files could not be written.
    """
    plans = [_plan(photo, config) for photo in photos]
    height, width = (int(max(sides)) for sides in zip(*(p.small_hw for p in plans), strict=True))
    shape = len(plans), height, width, max(plan.channels for plan in plans)
    _require_memory(plans, shape, config)
    # Pixel centres are at halves, so that coordinates scale like sizes, without an offset. Cropping
    # incomplete blocks at the bottom and the right changes no coordinate.
    scale = np.array([np.divide(p.full_hw, p.photo.size_hw)[::-1] / p.factor for p in plans])
    cameras = cameras._replace(focal=cameras.focal * scale, principal=cameras.principal * scale)
    cameras = jax.tree.map(lambda x: x if x.dtype == bool else x.astype(np.float32), cameras)
    with_ray = pixels_with_ray(cameras, (height, width))

    def decode(index: int) -> tuple[np.ndarray, np.ndarray]:
        image, valid = _decode(plans[index], shape[1:])
        return image, valid & with_ray.get(index, True)

    # A decoder has a photo in about four copies.
    largest = max(4 * 3 * math.prod(plan.full_hw) for plan in plans)
    most_threads = int(min(max(1, limit / largest), 1024))
    for_each = partial(images.on_threads, track=track, most_threads=most_threads)
    if math.prod(shape) > limit:
        key = _identity(plans, shape, with_ray)
        return Photos(*cached_photos(key, shape, decode, for_each), cameras, scale)
    return Photos(*_in_memory(shape, decode, for_each), cameras, scale)


def _in_memory(
    shape: tuple[int, ...], decode: Decode, for_each: ForEach
) -> tuple[UInt8[np.ndarray, "N H W C"], Bool[np.ndarray, "N H W"] | None]:
    pixels, mask = np.zeros(shape, np.uint8), np.zeros(shape[:3], bool)

    def fill(index: int) -> None:
        pixels[index], mask[index] = decode(index)

    for_each(fill, range(len(pixels)))
    return pixels, None if mask.all() else mask


def _identity(
    plans: Sequence[_Plan], shape: tuple[int, ...], with_ray: Mapping[int, np.ndarray]
) -> str:
    """A key of all that the pixels and masks follow from."""
    paths = [path for plan in plans for path in (plan.photo.path, plan.photo.mask)]
    steps = [(plan.read.__name__, *plan[2:]) for plan in plans]
    masks = [(index, zlib.crc32(mask.tobytes())) for index, mask in with_ray.items()]
    return identity(paths, shape, steps, masks)


def _require_memory(plans: Sequence[_Plan], shape: tuple[int, ...], config: DataConfig) -> None:
    limit, size = photo_budget(config).train, math.prod(shape[1:])
    if size > limit:
        path = max(plans, key=lambda plan: plan.small_hw).photo.path
        raise ValueError(
            f"data.memory is {config.memory or describe_bytes(4 * limit)}, of which photos may "
            f"take a quarter, but {path} takes {describe_bytes(size)}; set at least "
            f"{describe_bytes(4 * size)}, or reduce the photos by data.downscale or data.max_side"
        )


def _decode(
    plan: _Plan, shape: tuple[int, ...]
) -> tuple[UInt8[np.ndarray, "H W C"], Bool[np.ndarray, "H W"]]:
    """The pixels of a photo, and which of them are the photo's and not excluded by its mask."""
    pixels, mask = np.zeros(shape, np.uint8), np.zeros(shape[:2], bool)
    rows, columns = map(slice, plan.small_hw)
    image = images.downscale_by_area(plan.read(plan.photo.path)[None], plan.factor)[0]
    pixels[rows, columns, -1] = 255  # opaque, if other photos have transparency
    pixels[rows, columns, : image.shape[-1]] = image
    mask[rows, columns] = _read_mask(plan)
    return pixels, mask


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
