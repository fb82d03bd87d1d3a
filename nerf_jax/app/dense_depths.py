"""The known depths of the training photos: of the sparse points, and by plane-sweep stereo."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from nerf_jax.app.progress import say, track
from nerf_jax.cameras import cast_rays, focus_point, resize
from nerf_jax.compositing import to_float
from nerf_jax.data.images import on_threads
from nerf_jax.plane_sweep import agreeing, overlaps, sweep
from nerf_jax.types import Cameras, Dataset

_MAX_PHOTOS = 100
"""With more, photos overlap so much that the field finds the depths as soon."""
_MAX_PIXELS = 25_000
"""Of a photo while it is swept: it is reduced to as many."""
_NUM_DISTANCES = 160
_BEYOND = 6.0
"""How much farther than the sparse points distances are tried: backgrounds have few of those."""
_MAX_PAIRS = 240
"""Of photos that are compared: each with 8 others, or with fewer if there are more than 30."""
_NUM_POINTS = 256
"""Of each photo, by which the others are chosen."""
_LEAST_ALIKE, _TOLERANCE = 0.7, 0.02


def densify(
    dataset: Dataset, known: Float[np.ndarray, "N H W"] | None
) -> Float[np.ndarray, "N H W"] | None:
    """The known depths, and more where photos that overlap agree on them.

    Args:
        dataset: the training photos.
        known: distances along the rays of sparse points, 0 elsewhere; None if there are none.

    Returns:
        As ``known``, whose distances are kept. It is returned as it is for ray tables, for fewer
        than three photos and for very many, if all are taken from one position, and if the pixels
        are mapped from a file.
    """
    cameras, count = dataset.cameras, len(dataset.pixels)
    in_memory = not isinstance(dataset.pixels, np.memmap)
    if not (isinstance(cameras, Cameras) and in_memory and 3 <= count <= _MAX_PHOTOS):
        return known
    if not np.ptp(np.asarray(cameras.world_from_camera)[:, :, 3], axis=0).any():
        return known
    factor = int(np.ceil(np.sqrt(np.prod(dataset.size_hw) / _MAX_PIXELS)))
    grey, small = _reduce(dataset, factor), resize(cameras, 1 / factor)
    inverse = _trial_distances(cameras, known)
    others = _choose_others(cameras, dataset.size_hw, known)
    swept = np.zeros_like(grey)

    def one(image: int) -> None:
        found = sweep(small, grey, image, others[image], inverse)
        distance, alike = map(np.asarray, found)
        swept[image] = np.where(alike > _LEAST_ALIKE, distance, 0)

    on_threads(one, range(count), track, label="depths of photos")
    slack = 2 * (inverse[1] - inverse[0])
    check = functools.partial(agreeing, small, swept, tolerance=_TOLERANCE, slack=slack)
    sure = [check(image=image, others=others[image]) for image in range(count)]
    dense = _enlarge(np.where(np.stack(sure), swept, 0), factor, dataset.size_hw)
    if dataset.mask is not None:
        dense = np.where(dataset.mask, dense, 0)
    say(f"  known depths: {np.mean(dense > 0):.0%} of the pixels, by plane-sweep stereo")
    return dense if known is None else np.where(known > 0, known, dense)


def _reduce(dataset: Dataset, factor: int) -> Float[np.ndarray, "N H W"]:
    """Mean grey values of blocks; not a number where a pixel is masked, or most is transparent."""
    rows, columns = (side // factor for side in dataset.size_hw)

    def blocks(values: np.ndarray) -> np.ndarray:
        cropped = values[:, : rows * factor, : columns * factor]
        return cropped.reshape(len(values), rows, factor, columns, factor).mean((2, 4))

    pixels = np.asarray(dataset.pixels)
    grey = blocks(np.stack([to_float(photo[..., :3]).mean(axis=-1) for photo in pixels]))
    if dataset.mask is not None:
        grey[blocks(np.asarray(dataset.mask, np.float32)) < 1] = np.nan
    if pixels.shape[-1] == 4:
        grey[blocks(np.asarray(to_float(pixels[..., 3]))) < 0.5] = np.nan
    return grey


def _trial_distances(
    cameras: Cameras, known: Float[np.ndarray, "N H W"] | None
) -> Float[np.ndarray, " D"]:
    """Ascending reciprocals of distances: of the known ones, else around the focus point."""
    if known is None:
        nearest, farthest = _typical_distance(cameras, None) * np.array([0.25, 20])
    else:  # a few points are wrong
        nearest, farthest = np.percentile(known[known > 0], (0.5, 99.5)) * [0.8, _BEYOND]
    return np.linspace(1 / farthest, 1 / nearest, _NUM_DISTANCES, dtype=np.float32)


def _typical_distance(cameras: Cameras, known: Float[np.ndarray, "N H W"] | None) -> float:
    if known is not None:
        return float(np.median(known[known > 0]))
    poses = np.asarray(cameras.world_from_camera, float)
    return float(np.median(np.linalg.norm(poses[:, :, 3] - focus_point(poses), axis=1)))


def _choose_others(
    cameras: Cameras, size_hw: tuple[int, int], known: Float[np.ndarray, "N H W"] | None
) -> Int[np.ndarray, "N V"]:
    """For each photo, those to compare it with: they see its known points from a good angle.

    Points at a typical distance stand in for those of a photo that has none.
    """
    count, (height, width) = len(cameras.near), size_hw
    random = np.random.default_rng(0)
    pixels = random.integers(0, (width, height), (count, _NUM_POINTS, 2))
    distances = np.full((count, _NUM_POINTS), _typical_distance(cameras, known))
    for image, depth in enumerate([] if known is None else known):
        row, column = np.nonzero(depth)
        if len(row):
            chosen = random.integers(0, len(row), _NUM_POINTS)
            pixels[image] = np.stack([column, row], axis=1)[chosen]
            distances[image] = depth[row[chosen], column[chosen]]
    points = jnp.asarray(pixels), jnp.asarray(distances, jnp.float32)
    weights = _overlaps_at(cameras, size_hw, *points)
    num_others = min(max(4, _MAX_PAIRS // count), 8, count - 1)
    return np.argsort(-np.asarray(weights), axis=1)[:, :num_others]


@functools.partial(jax.jit, static_argnames="size_hw")
def _overlaps_at(
    cameras: Cameras,
    size_hw: tuple[int, int],
    pixels: Int[Array, "N P 2"],
    distances: Float[Array, "N P"],
) -> Float[Array, "N N"]:
    """The overlaps by the points at distances along the rays of pixels."""

    def point(image: Array, pixel: Array, distance: Array) -> Float[Array, "3"]:
        ray = cast_rays(cameras, image, pixel)
        return ray.origin + distance * ray.direction

    each = jax.vmap(jax.vmap(point, (None, 0, 0)))
    return overlaps(cameras, size_hw, each(jnp.arange(len(pixels)), pixels, distances))


def _enlarge(
    reduced: Float[np.ndarray, "N H W"], factor: int, size_hw: tuple[int, int]
) -> Float[np.ndarray, "N h w"]:
    """Each value for a block of pixels; 0 where the blocks end before the image does."""
    full = reduced.repeat(factor, axis=1).repeat(factor, axis=2)
    missing = [(0, side - have) for side, have in zip(size_hw, full.shape[1:], strict=True)]
    return np.pad(full, [(0, 0), *missing]).astype(np.float32)
