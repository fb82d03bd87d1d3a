"""Where the density passes a level: inside and outside, by what stops light."""

import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nerf_jax.app.mesh.chunks import in_chunks
from nerf_jax.app.mesh.marching_cubes import Value
from nerf_jax.types import Point

_STOPPED = 0.25
_RANGE = 4.0
"""Logarithms of the density that values tell apart, either way of the level."""


def default_level(pixel: float) -> float:
    """The density that stops a quarter of the light across a photo's pixel; per world unit.

    Densities rise over a pixel or two, and light that comes straight on is half gone only behind
    the true surface: on the built-in scene by 0.7 % of its extent, where this level is right.

    Args:
        pixel: its width at the surface, world units.
    """
    return -math.log1p(-_STOPPED) / pixel


def level_value(
    density: Callable[[Point], Float[Array, " n"]], level: float, voxel: float
) -> Value:
    """Inside where it is denser than a level.

    By the density's logarithm: that is what networks with an exponential at their end give, and
    near a surface it is straight where the density itself is not, so that marching cubes finds the
    place between two nodes.

    Args:
        density: of n points, per world unit.
        level: the same.
        voxel: of the grid, world units: what a point stands for.
    """

    def read(places: Float[np.ndarray, "m 3"]) -> Float[Array, " m"]:
        position = jnp.asarray(places)
        return density(Point(position, jnp.full_like(position, voxel**2 / 12)))  # a cube's

    def value(places: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        sigma = in_chunks(read, places)
        return np.clip(np.log(level / np.maximum(sigma, 1e-30)) / _RANGE, -1.0, 1.0)

    return value
