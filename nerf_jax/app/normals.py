"""Normals of the surfaces that a view shows, from its depths: whatever the method, it has those.

Notation: ``H`` rows and ``W`` columns of a view.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from nerf_jax.cameras import cast_rays
from nerf_jax.types import Cameras

_PIXELS_AT_ONCE = 2**14
"""One compilation serves views of all sizes."""

_EDGE = 4.0
"""How many times deeper than the other way a step must be to lead off the surface."""


def normals(
    depth: Float[np.ndarray, "H W"],
    opacity: Float[np.ndarray, "H W"],
    camera: Cameras,
    size_hw: tuple[int, int],
) -> Float[np.ndarray, "H W 3"]:
    """Unit vectors in the world, across the surface and towards the camera: zero where none is.

    The cross product of the steps to the neighbouring pixels' places. Where one of two steps
    leads over an edge, the other one is taken alone.

    Args:
        depth: distances along the rays, expected or median, in world units.
        opacity: in [0, 1]; below a half there is no surface.
        camera: what it was seen by; leaves of leading axis 1.
        size_hw: of the view.
    """
    direction = _directions(camera, size_hw)
    solid = (opacity >= 0.5) & np.isfinite(depth)
    places = np.where(solid, depth, 0.0)[..., None] * direction
    known = np.where(solid, depth, np.inf)
    right, down = _steps(places, known, axis=1), _steps(places, known, axis=0)
    across = np.cross(down, right)
    length = np.linalg.norm(across, axis=-1, keepdims=True)
    # A pixel without neighbours says nothing: as if it faced the camera.
    unit = np.where(length > 0, across / np.where(length > 0, length, 1.0), -direction)
    away = np.sum(unit * direction, axis=-1, keepdims=True) > 0
    return np.where(solid[..., None], np.where(away, -unit, unit), 0.0).astype(np.float32)


def color_normals(
    normals: Float[np.ndarray, "*n 3"], opacity: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n 3"]:
    """Normals as colours, [-1, 1] of x, y, z as [0, 1] of red, green, blue, on white by opacity."""
    shown = opacity * np.any(normals != 0, axis=-1)
    return ((0.5 + 0.5 * normals) * shown[..., None] + 1.0 - shown[..., None]).astype(np.float32)


def _steps(
    places: Float[np.ndarray, "H W 3"], depth: Float[np.ndarray, "H W"], axis: int
) -> Float[np.ndarray, "H W 3"]:
    """From pixel to pixel along an axis: the sum of the steps there and onwards that stay on the
    surface.
    """
    with np.errstate(invalid="ignore"):  # from nothing to nothing
        jump = np.abs(np.diff(depth, axis=axis))
    jump = np.where(np.isfinite(jump), jump, np.inf)
    step = np.diff(places, axis=axis)
    here, beyond = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
    here[axis], beyond[axis] = (1, 0), (0, 1)
    jumps = [np.pad(jump, pad, constant_values=np.inf) for pad in (here, beyond)]
    steps = [np.pad(step, [*pad, (0, 0)]) for pad in (here, beyond)]
    stays = [
        np.isfinite(one) & (one <= _EDGE * other)
        for one, other in zip(jumps, reversed(jumps), strict=True)
    ]
    return steps[0] * stays[0][..., None] + steps[1] * stays[1][..., None]


def _directions(camera: Cameras, size_hw: tuple[int, int]) -> Float[np.ndarray, "H W 3"]:
    """Of the rays through all pixels."""
    height, width = size_hw
    number = np.arange(height * width)
    pixels = np.stack([number % width, number // width], axis=1).astype(np.int32)
    padded = np.pad(pixels, [(0, -len(pixels) % _PIXELS_AT_ONCE), (0, 0)])
    parts = np.split(padded, len(padded) // _PIXELS_AT_ONCE)
    whole = np.concatenate([np.asarray(_some_directions(camera, part)) for part in parts])
    return whole[: len(pixels)].reshape(height, width, 3)


@jax.jit
def _some_directions(camera: Cameras, pixels: Int[Array, "P 2"]) -> Float[Array, "P 3"]:
    cast = functools.partial(cast_rays, camera, jnp.int32(0))
    return jax.vmap(cast)(pixels).direction
