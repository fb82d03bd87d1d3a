"""The intrinsics of one camera as its file has them, checked, and their conversion to ``Cameras``.

Pixel coordinates start at the upper left corner of the image, pixel centres at halves. The lens
coefficients have OpenCV's names (:class:`nerf_jax.types.Lens`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from nerf_jax.types import Cameras, Lens

MAX_FLOAT32 = float(np.finfo(np.float32).max)
MAX_SIDE = 2**20
# In image sides, from a field of view of 175 degrees to the longest telescopes. A value outside the
# range has another unit, such as image sides.
_FOCAL_RANGE = (0.02, 1e4)
_MAX_FIT_ERROR = 0.1  # pixels

PANORAMA = (
    "is a panorama: cut it into pinhole views, each with ffmpeg -i PANORAMA -vf "
    "v360=e:flat:yaw=0:pitch=0:h_fov=90:v_fov=90:w=1024:h=1024 VIEW.jpg at yaws 45 degrees apart, "
    "and find their cameras with run.py prepare"
)
"""The remedy for images that no :class:`Intrinsics` describe."""


class Intrinsics(NamedTuple):
    """One camera without its pose; lengths in pixels."""

    height: float
    width: float
    focal: tuple[float, float]
    principal: tuple[float, float]
    radial: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    tangential: tuple[float, float] = (0.0, 0.0)
    fisheye: bool = False


def check(camera: Intrinsics, where: str) -> None:
    """Check that intrinsics are those of a camera.

    Raises:
        ValueError: a size, focal length or coefficient is impossible. The message begins with
            ``where``.
    """
    for name, side in (("width", camera.width), ("height", camera.height)):
        if not (1 <= side <= MAX_SIDE and side == int(side)):
            raise ValueError(
                f"{where}: the {name} must be a whole number of pixels, at least 1 and at most "
                f"{MAX_SIDE}, but is {side:g}"
            )
    low, high = (factor * max(camera.width, camera.height) for factor in _FOCAL_RANGE)
    for focal in camera.focal:
        if not low <= focal <= high:  # true for nan
            raise ValueError(
                f"{where}: the focal length must be in pixels, between {low:g} and {high:g} for "
                f"an image of {camera.width:g}x{camera.height:g}, but is {focal:g}"
            )
    for value in (*camera.principal, *camera.radial, *camera.tangential):
        if not abs(value) <= MAX_FLOAT32:
            raise ValueError(
                f"{where}: the principal point and the lens's coefficients must be finite numbers, "
                f"but one is {value:g}"
            )
    if max(camera.principal) <= 1 < 0.1 * min(camera.width, camera.height):
        raise ValueError(
            f"{where}: the principal point must be in pixels, but is {camera.principal} for an "
            f"image of {camera.width:g}x{camera.height:g}; multiply it by the size"
        )
    if camera.fisheye and any(camera.tangential):
        raise ValueError(
            f"{where}: a fisheye has no tangential coefficients p1 and p2, but they are "
            f"{camera.tangential}; set them to 0, or undistort the photos"
        )


def divide_radial(
    camera: Intrinsics, denominator: tuple[float, float, float], where: str
) -> Intrinsics:
    """Divide the radial polynomial of a camera by another one, as OpenCV's rational lens does.

    Args:
        camera: its k4 is zero.
        denominator: of r^2, r^4 and r^6; OpenCV's k4 to k6.
        where: the beginning of messages.

    Returns:
        The camera with the polynomial k1 to k4 that is nearest to the quotient in its image.

    Raises:
        ValueError: it differs by more than a tenth of a pixel.
    """
    if not any(denominator):
        return camera
    focal = np.array(camera.focal)
    far = np.maximum(camera.principal, np.subtract((camera.width, camera.height), camera.principal))
    reach = 1.05 * float(np.linalg.norm(far / focal))  # a margin for tangential terms
    r = np.linspace(0, 4 * reach, 4001)
    powers = r[:, None] ** [2, 4, 6]
    with np.errstate(all="ignore"):  # beyond a pole, which is outside of the image
        exact = r * (1 + powers @ camera.radial[:3]) / (1 + powers @ denominator)
        inside = np.logical_and.accumulate(np.diff(exact, prepend=-1) > 0) & (exact <= reach)
    r, exact = r[inside], exact[inside]
    terms = (r / reach)[:, None] ** [3, 5, 7, 9]
    fitted = np.linalg.lstsq(terms, exact - r, rcond=None)[0]
    error = np.abs(terms @ fitted + r - exact).max() * focal.max()
    if not error <= _MAX_FIT_ERROR:
        raise ValueError(
            f"{where}: the denominator {denominator} of its lens makes a polynomial of four terms "
            f"wrong by {error:.2g} pixels; undistort the photos"
        )
    k1, k2, k3, k4 = map(float, fitted / reach ** np.array([3, 5, 7, 9]))
    return camera._replace(radial=(k1, k2, k3, k4))


def to_cameras(
    world_from_camera: Float[np.ndarray, "N 3 4"], intrinsics: Sequence[Intrinsics]
) -> Cameras:
    """N cameras, ``near`` and ``far`` zero; the lens is None if all are pinholes."""

    def stack(name: str, kind: type = np.float32) -> np.ndarray:
        return np.array([getattr(camera, name) for camera in intrinsics], kind)

    lens = Lens(stack("radial"), stack("tangential"), stack("fisheye", bool))
    zeros = np.zeros(len(intrinsics), np.float32)
    return Cameras(
        world_from_camera=world_from_camera,
        focal=stack("focal"),
        principal=stack("principal"),
        near=zeros,
        far=zeros,
        lens=lens if any(leaf.any() for leaf in lens) else None,
    )
