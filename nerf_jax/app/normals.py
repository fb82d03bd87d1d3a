"""Surface normals from the depths of a rendered image, so that they exist for every method.

Notation: ``H`` rows and ``W`` columns of the image.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from nerf_jax.app.chunks import in_chunks
from nerf_jax.cameras import cast_rays
from nerf_jax.types import Cameras

_MAX_RATIO = 4.0
"""A depth step this many times larger than the one on the other side crosses an edge."""


def normals(
    depth: Float[np.ndarray, "H W"],
    opacity: Float[np.ndarray, "H W"],
    camera: Cameras,
    size_hw: tuple[int, int],
) -> Float[np.ndarray, "H W 3"]:
    """Unit normals in the world, towards the camera; zero for pixels that show no surface.

    A normal is the cross product of the steps to the neighbouring pixels' positions. If one of two
    opposite steps crosses an edge, the other one is used alone.

    Args:
        depth: distances along the rays, expected or median, in world units.
        opacity: in [0, 1]; below one half there is no surface.
        camera: of the image; leaves of leading axis 1.
        size_hw: of the image.
    """
    direction = _directions(camera, size_hw)
    solid = (opacity >= 0.5) & np.isfinite(depth)
    positions = np.where(solid, depth, 0.0)[..., None] * direction
    surface_depth = np.where(solid, depth, np.inf)
    right, down = (_steps(positions, surface_depth, axis) for axis in (1, 0))
    normal = np.cross(down, right)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    # A pixel without neighbours on the surface is taken to face the camera.
    unit = np.where(length > 0, normal / np.where(length > 0, length, 1.0), -direction)
    away = np.sum(unit * direction, axis=-1, keepdims=True) > 0
    return np.where(solid[..., None], np.where(away, -unit, unit), 0.0).astype(np.float32)


def _directions(camera: Cameras, size_hw: tuple[int, int]) -> Float[np.ndarray, "H W 3"]:
    """The directions of an image's rays, by one program for all sizes."""
    rows, columns = np.indices(size_hw, np.int32).reshape(2, -1)
    pixels = np.stack([columns, rows], axis=1)
    found = in_chunks(functools.partial(_pixel_directions, camera), pixels, 2**14)
    return found.reshape(*size_hw, 3)


@jax.jit
def _pixel_directions(camera: Cameras, pixels: Int[Array, "P 2"]) -> Float[Array, "P 3"]:
    return jax.vmap(cast_rays, (None, None, 0))(camera, jnp.int32(0), pixels).direction


def color_normals(
    normals: Float[np.ndarray, "*n 3"], opacity: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n 3"]:
    """Normals as colours over white: x, y, z in [-1, 1] as red, green, blue in [0, 1]."""
    alpha = (opacity * np.any(normals != 0, axis=-1))[..., None]
    return ((0.5 + 0.5 * normals) * alpha + 1.0 - alpha).astype(np.float32)


def _steps(
    positions: Float[np.ndarray, "H W 3"], depth: Float[np.ndarray, "H W"], axis: int
) -> Float[np.ndarray, "H W 3"]:
    """For each pixel, the sum of the steps from its predecessor and to its successor along an axis,
    of those that stay on the surface.
    """
    with np.errstate(invalid="ignore"):  # inf - inf, from background to background
        jump = np.abs(np.diff(depth, axis=axis))
    jump = np.where(np.isfinite(jump), jump, np.inf)
    step = np.diff(positions, axis=axis)
    first, last = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
    first[axis], last[axis] = (1, 0), (0, 1)
    before, after = (np.pad(jump, pad, constant_values=np.inf) for pad in (first, last))
    from_before, to_after = (np.pad(step, [*pad, (0, 0)]) for pad in (first, last))
    stays_before = np.isfinite(before) & (before <= _MAX_RATIO * after)
    stays_after = np.isfinite(after) & (after <= _MAX_RATIO * before)
    return from_before * stays_before[..., None] + to_after * stays_after[..., None]
