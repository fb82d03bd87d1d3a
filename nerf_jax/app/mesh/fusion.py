"""Fuses depth maps into one truncated signed distance (Curless and Levoy, 1996).

A camera measures, for a position in front of a surface, the distance to that surface along the
ray; for positions far behind it, nothing. The weighted mean over all cameras is zero at the
surface. It is evaluated per position in closed form, so no volume is stored.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nerf_jax.app.chunks import in_chunks
from nerf_jax.app.mesh.marching_cubes import ScalarField
from nerf_jax.app.mesh.views import Views, sample_depth
from nerf_jax.types import Cameras

_MIN_WEIGHT = 1.0
"""More than one camera: depths seen by a single camera often open holes in closed walls. Measured
on the built-in scene, the mean error of the surface falls by a tenth."""


def fused_field(views: Views, truncation: float) -> ScalarField:
    """:func:`fused_distance` as a scalar field."""
    given = jax.tree.map(jnp.asarray, (views.cameras, views.depth, np.float32(truncation)))
    evaluate = functools.partial(jax.jit(jax.vmap(fused_distance, (None, None, None, 0))), *given)
    return lambda positions: np.asarray(in_chunks(evaluate, positions))


def fused_distance(
    cameras: Cameras,
    depth: Float[Array, "N H W"],
    truncation: Float[Array, ""] | float,
    position: Float[Array, "3"],
) -> Float[Array, ""]:
    """The fused signed distance of one position, in units of the truncation.

    It is at most 1, and negative inside; NaN where fewer than two cameras measure it. A camera
    measures nothing farther than ``truncation`` behind a surface.
    """

    def add(sums: tuple[Array, Array], view: tuple[Cameras, Array]) -> tuple[tuple, None]:
        distance, surface, inside = sample_depth(*view, position)
        signed = (surface - distance) / truncation
        # The weight falls behind a surface (Bylow et al., 2013). Comparisons with NaN are false.
        weight = jnp.where(inside & (signed > -1), jnp.clip(1 + signed, 0.0, 1.0), 0.0)
        value = jnp.where(weight > 0, jnp.minimum(signed, 1.0), 0.0)
        return (sums[0] + weight * value, sums[1] + weight), None

    (total, weight), _ = jax.lax.scan(add, (jnp.zeros(()), jnp.zeros(())), (cameras, depth))
    known = weight > _MIN_WEIGHT
    return jnp.where(known, total / jnp.where(known, weight, 1.0), jnp.nan)
