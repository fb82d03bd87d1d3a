"""The pixels of photos that have no ray: those beyond the edge of their lens."""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from nerf_jax.lenses import has_ray
from nerf_jax.types import Cameras, Lens

_GRID = 33
"""Positions along each side of a photo by which its lens is judged."""


def check_lenses(
    cameras: Cameras, size_hw: Int[np.ndarray, "N 2"], source: str, names: Sequence[str]
) -> tuple[str, ...]:
    """A note on the pixels that have no ray; none if all have one.

    Args:
        cameras: N, in pixels of images of ``size_hw``.
        size_hw: of each image.
        source: the file of the cameras, for messages.
        names: of the photos.

    Raises:
        ValueError: most of a photo has no ray, so its lens cannot be right.
    """
    shares = np.zeros(len(size_hw))
    for group in _groups(cameras, size_hw):
        shares[group] = 1 - _have_rays(cameras, group[0], _grid(size_hw[group[0]])).mean()
    worst = int(np.argmax(shares))
    if shares[worst] > 0.5 and cameras.lens is not None:
        numbers = zip(("k1", "k2", "k3", "k4"), cameras.lens.radial[worst], strict=True)
        raise ValueError(
            f"{source}: the lens of {names[worst]} ({', '.join(f'{k} {x:.3g}' for k, x in numbers)}"
            f") has no ray for {shares[worst]:.0%} of the photo: its distortion cannot be inverted "
            "there; correct the coefficients, or leave them out if the photos are undistorted"
        )
    count = np.count_nonzero(shares)
    if not count:
        return ()
    return (
        f"{shares.mean():.2%} of the pixels, in {count} of {len(shares)} photos, are beyond the "
        "edge of their lens and have no ray: they are masked",
    )


def pixels_with_ray(
    cameras: Cameras, size_hw: tuple[int, int]
) -> dict[int, Bool[np.ndarray, "H W"]]:
    """The pixels that have a ray, by the index of each photo in which some have none.

    Args:
        cameras: N, in pixels of images of ``size_hw``.
        size_hw: of all images.
    """
    sizes = np.broadcast_to(size_hw, (len(cameras.near), 2))
    pixels = np.stack(np.meshgrid(*map(np.arange, size_hw[::-1])), axis=-1) + 0.5
    found: dict[int, Bool[np.ndarray, "H W"]] = {}
    for group in _groups(cameras, sizes):
        if not _have_rays(cameras, group[0], _grid(sizes[0])).all():
            have = _have_rays(cameras, group[0], pixels.reshape(-1, 2)).reshape(size_hw)
            found |= dict.fromkeys(group, have)
    return found


def _groups(cameras: Cameras, size_hw: Int[np.ndarray, "N 2"]) -> list[list[int]]:
    """The indices of cameras with the same lens, intrinsics and size; none of undistorted ones."""
    if cameras.lens is None:
        return []
    lens = [np.asarray(leaf, float).reshape(len(size_hw), -1) for leaf in cameras.lens]
    rows = np.concatenate([cameras.focal, cameras.principal, size_hw, *lens], axis=1)
    _, group = np.unique(rows, axis=0, return_inverse=True)
    groups = [np.flatnonzero(group == index).tolist() for index in range(group.max() + 1)]
    return [each for each in groups if np.any(np.concatenate([x[each[0]] for x in lens]))]


def _grid(size_hw: Int[np.ndarray, "2"]) -> Float[np.ndarray, "P 2"]:
    """Columns and rows spread over an image, its borders included."""
    rows, columns = (np.linspace(0.5, size - 0.5, _GRID) for size in size_hw)
    return np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)


def _have_rays(
    cameras: Cameras, index: int, pixels: Float[np.ndarray, "P 2"]
) -> Bool[np.ndarray, " P"]:
    lens = jax.tree.map(lambda leaf: np.asarray(leaf)[index], cameras.lens)
    points = (pixels - cameras.principal[index]) / cameras.focal[index]
    with np.errstate(over="ignore"):  # too large values become inf, and have no ray
        numbers = jax.tree.map(lambda x: x if x.dtype == bool else x.astype(np.float32), lens)
        return np.asarray(_have_ray(numbers, points.astype(np.float32)))


@jax.jit
def _have_ray(lens: Lens, points: Float[Array, "P 2"]) -> Bool[Array, " P"]:
    return jax.lax.map(lambda point: has_ray(lens, point), points, batch_size=2**14)
