"""What a file says of one camera's lens and image, checked, and many of them as ``Cameras``.

Pixels are measured from the upper left corner of the image, pixel centres at halves; the names of
the coefficients are OpenCV's (:class:`nerf_jax.types.Lens`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from nerf_jax.types import Cameras, Lens

_LARGEST = float(np.finfo(np.float32).max)
_LARGEST_SIDE = 2**20
# From a view of nearly half a turn to the best telescopes: beyond is a wrong unit.
_FOCAL_RANGE = (1e-3, 1e4)


class Intrinsics(NamedTuple):
    """One camera, without its pose."""

    height: float
    """Pixels, as the width; a whole number."""
    width: float
    focal: tuple[float, float]
    """Pixels, along x and y."""
    principal: tuple[float, float]
    """Pixels from the upper left corner, x and y."""
    radial: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """k1 to k4."""
    tangential: tuple[float, float] = (0.0, 0.0)
    """p1 and p2."""
    fisheye: bool = False


def check(camera: Intrinsics, where: str) -> None:
    """Refuse what no camera is.

    Raises:
        ValueError: a size, a focal length or a coefficient that cannot be, after ``where``.
    """
    for name, side in (("width", camera.width), ("height", camera.height)):
        if not (1 <= side <= _LARGEST_SIDE and side == int(side)):
            raise ValueError(
                f"{where}: the {name} must be a whole number of pixels, at least 1 and at most "
                f"{_LARGEST_SIDE}, but is {side:g}"
            )
    low, high = (factor * max(camera.width, camera.height) for factor in _FOCAL_RANGE)
    for focal in camera.focal:
        if not low <= focal <= high:  # also when it is nan
            raise ValueError(
                f"{where}: the focal length must be in pixels, between {low:g} and {high:g} for "
                f"an image of {camera.width:g}x{camera.height:g}, but is {focal:g}"
            )
    for value in (*camera.principal, *camera.radial, *camera.tangential):
        if not abs(value) <= _LARGEST:
            raise ValueError(
                f"{where}: the principal point and the lens's coefficients must be finite numbers, "
                f"but one is {value:g}"
            )
    if camera.fisheye and any(camera.tangential):
        raise ValueError(
            f"{where}: a fisheye has no tangential coefficients p1 and p2, but they are "
            f"{camera.tangential}; set them to 0, or undistort the photos"
        )


def to_cameras(
    world_from_camera: Float[np.ndarray, "N 3 4"], intrinsics: Sequence[Intrinsics]
) -> Cameras:
    """N cameras whose files say nothing of near and far; without a lens if all are pinholes."""

    def stack(name: str, kind: type = np.float32) -> np.ndarray:
        return np.array([getattr(camera, name) for camera in intrinsics], kind)

    lens = Lens(stack("radial"), stack("tangential"), stack("fisheye", bool))
    count = len(intrinsics)
    return Cameras(
        world_from_camera=world_from_camera,
        focal=stack("focal"),
        principal=stack("principal"),
        near=np.zeros(count, np.float32),
        far=np.zeros(count, np.float32),
        lens=lens if any(leaf.any() for leaf in lens) else None,
    )
