"""The cone of a pixel: Gaussians of its cross sections and of its frusta.

The Gaussian of a region has the mean and the variance of a position uniformly distributed in it.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from nerf_jax.numerics import safe_divide
from nerf_jax.types import Point, Rays


def disc(ray: Rays, t: Float[Array, ""]) -> Point:
    """The Gaussian of the cross section of a ray's cone at a distance.

    A disc's variance in its plane is a quarter of its squared radius, which equals the pixel's.

    Args:
        ray: one, with the ``radius`` of its cone; 0 makes discs points.
        t: the distance.

    Returns:
        The mean, and the variance along each axis of the world.
    """
    axis = ray.direction**2
    variance = (t * ray.radius / 2) ** 2 * (jnp.sum(axis) - axis)
    return Point(ray.origin + t * ray.direction, variance)


def frusta(ray: Rays, edges: Float[Array, " E"]) -> Point:
    """The Gaussians of a ray's conical frusta.

    mip-NeRF (Barron et al., 2021), Eqs. 7, 8 and 16, without cancellation: intervals have the
    midpoint ``m`` and half the length ``h``, and ``q = h^2 / (3 m^2 + h^2)``.

    Args:
        ray: one, with the ``radius`` of its cone; 0 makes frusta lines.
        edges: ascending distances along it, from 0 on.

    Returns:
        ``E - 1`` points: the means, and the variances along each axis of the world.
    """
    m, h = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    u = safe_divide(h, m)  # 0 / 0 at the apex
    q = u**2 / (3 + u**2)
    t = m * (1 + 2 * q)  # beyond the midpoint: the cone widens
    along = h**2 * (1 / 3 - 4 / 15 * q * (4 - 5 * q))
    across = ray.radius**2 * (m**2 / 4 + h**2 * (5 / 12 - 4 / 15 * q))
    axis = ray.direction**2
    # The sum of the squares, as rounding may leave 1 below one of them.
    variance = jnp.outer(along, axis) + jnp.outer(across, jnp.sum(axis) - axis)
    return Point(ray.origin[None] + jnp.outer(t, ray.direction), variance)
