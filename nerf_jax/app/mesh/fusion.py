"""Depths fused into one signed distance (Curless and Levoy, 1996).

A camera that sees a surface says of places before it how far it is, along the ray; of those well
behind it, nothing. The mean of what all cameras say is zero at the surface. In closed form of one
place, so that no volume is kept and any part of space may be asked for.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nerf_jax.app.mesh.chunks import in_chunks
from nerf_jax.app.mesh.marching_cubes import Value
from nerf_jax.app.mesh.views import Views, sight
from nerf_jax.types import Cameras

_LEAST_WEIGHT = 1.0
"""More than one camera's: what one sees alone is as often a hole in a wall that is none. Measured
on the built-in scene, the surface's mean error falls by a tenth."""


def fused_value(views: Views, truncation: float) -> Value:
    """Inside where the views' surfaces are nearer to the cameras, by the mean of the views.

    Args:
        views: their depths.
        truncation: world units before a surface from which on all is outside, and behind it, from
            which on nothing is known.
    """
    given = jax.tree.map(jnp.asarray, (views.cameras, views.depth, np.float32(truncation)))
    read = functools.partial(jax.jit(jax.vmap(fused, (None, None, None, 0))), *given)
    return lambda places: np.asarray(in_chunks(read, places))


def fused(
    cameras: Cameras,
    depth: Float[Array, "N H W"],
    truncation: Float[Array, ""] | float,
    position: Float[Array, "3"],
) -> Float[Array, ""]:
    """The fused distance of one place to the surface, in units of the truncation, at most 1.

    Args:
        cameras: N pinholes.
        depth: their distances; inf where there is nothing, NaN where that is unknown.
        truncation: world units.
        position: the place.

    Returns:
        Negative inside; NaN where not two cameras look.
    """

    def add(sums: tuple[Array, Array], view: tuple[Cameras, Array]) -> tuple[tuple, None]:
        distance, seen, inside = sight(*view, position)
        signed = (seen - distance) / truncation
        # Less and less is known of what is behind a surface (Bylow et al., 2013). NaN is not more.
        weight = jnp.where(inside & (signed > -1), jnp.clip(1 + signed, 0.0, 1.0), 0.0)
        value = jnp.where(weight > 0, jnp.minimum(signed, 1.0), 0.0)
        return (sums[0] + weight * value, sums[1] + weight), None

    (total, weight), _ = jax.lax.scan(add, (jnp.zeros(()), jnp.zeros(())), (cameras, depth))
    known = weight > _LEAST_WEIGHT
    return jnp.where(known, total / jnp.where(known, weight, 1.0), jnp.nan)
