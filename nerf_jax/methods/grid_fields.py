"""Hash grids as fields, and the parts that all methods with a hash grid share."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nerf_jax import fields, losses
from nerf_jax.compositing import over
from nerf_jax.config.methods import GridConfig, ProposalConfig
from nerf_jax.contraction import Box, Contracted, Space, fit_frustum
from nerf_jax.hashgrid import make_levels
from nerf_jax.types import (
    Batch,
    Cameras,
    Field,
    Metrics,
    Params,
    Point,
    Rays,
    RayTable,
    Rendering,
    View,
)


def fit_space(config: GridConfig, cameras: Cameras | RayTable, size_hw: tuple[int, int]) -> Space:
    """The space that the scene is in, fitted to the training cameras.

    Raises:
        ValueError: a frustum was asked for, and the cameras look in opposite directions or are
            given by rays.
    """
    if config.space == "auto":
        raise ValueError("model.space is 'auto': methods.resolve chooses it by the photos")
    near, far = float(np.min(cameras.near)), float(np.max(cameras.far))
    with jax.ensure_compile_time_eval():  # numbers, even while only shapes are traced
        center, radius = jnp.asarray(config.box_center, jnp.float32), jnp.float32(config.box_radius)
        if config.space == "box":
            return Box(center - radius, center + radius)
        if config.space == "contracted":
            return Contracted(center, radius, jnp.float32(near), jnp.float32(far))
    if isinstance(cameras, RayTable):
        raise ValueError(
            "model.space is 'frustum', which is fitted to cameras, but the scene is a ray dataset: "
            "set model.space to 'contracted'"
        )
    return fit_frustum(cameras, size_hw, near, far)


def grid_field(config: GridConfig, space: Space, num_photos: int | None = None) -> Field:
    """The tables and networks that a method trains, in a space.

    Args:
        config: their sizes.
        space: where they are.
        num_photos: of the training split; needed to initialise appearance codes.
    """
    levels = make_levels(
        config.num_levels, config.max_entries, config.min_resolution, config.max_resolution
    )
    network = fields.HashField(
        levels,
        config.num_features,
        config.width,
        footprint=config.footprint,
        density_bias=density_bias(config) + math.log(config.box_radius),
        has_environment=config.environment,
        num_photos=num_photos,
        code_size=config.code_size,
        **_on_device(config),
    )
    return _in_space(network, space, config.box_radius)


def density_bias(config: GridConfig) -> float:
    """Logarithm of the initial density per world unit; by default, -1 per half side of the box."""
    given = config.density_bias
    return default_density_bias(config.box_radius) if given is None else given


def default_density_bias(length: float) -> float:
    """-1 per length, so that a scene's initial opacity does not depend on the unit of length."""
    return -1.0 - math.log(length)


def density_field(config: ProposalConfig, resolution: int) -> Callable[[Space], Field]:
    """One of the small fields that propose samples, of which only the density is read.

    Args:
        config: their sizes.
        resolution: of the finest level.
    """
    levels = make_levels(5, config.proposal_entries, config.min_resolution, resolution)
    network = fields.HashField(
        levels,
        2,
        config.proposal_width,
        degree=1,
        footprint=config.footprint,
        density_bias=density_bias(config) + math.log(config.box_radius),
        **_on_device(config),
    )
    return lambda space: _in_space(network, space, config.box_radius)


def _on_device(config: GridConfig) -> dict[str, Any]:
    """The fields of a network that change its speed and its rounding alone."""
    return {
        "corners": config.corners,
        "dtype": None if config.activations == "float32" else jnp.bfloat16,
    }


def over_background(
    field: Field,
    params: Params,
    rays: Rays,
    rendering: Rendering,
    background: Float[Array, "3"] | Float[Array, "R 3"],
) -> Rendering:
    """The rendering of R rays over the learned environment, or else over a background."""
    if field.environment is not None:
        view = View(rays.direction, rays.appearance)
        background = jax.vmap(field.environment, (None, 0))(params, view)
    return rendering._replace(rgb=over(rendering.rgb, rendering.opacity, background))


def rendering_loss(
    config: GridConfig,
    rendering: Rendering,
    target: Float[Array, "R 3"],
    batch: Batch,
    mask: Float[Array, " R"],
) -> tuple[Float[Array, ""], Metrics]:
    """The loss of colours and depths, and its metrics.

    Args:
        config: the weights of the terms.
        rendering: of R rays, over the background.
        target: the photos' colours, over the same background.
        batch: the rays.
        mask: 1 for rays to learn from, 0 for the others.
    """
    mse = losses.masked_mean(losses.squared_error(rendering.rgb, target), mask)
    loss = losses.masked_mean(losses.photometric(rendering.rgb, target, config.huber), mask)
    if not config.depth_weight:
        return loss, {"mse": mse}
    known = mask * (batch.depth > 0)
    depth = losses.masked_mean(losses.depth_error(rendering.depth, batch.depth), known)
    weight = losses.decayed(config.depth_weight, config.depth_weight_final, batch.progress)
    return loss + weight * depth, {"mse": mse, "depth": depth}


def _in_space(network: fields.HashField, space: Space, length: float) -> Field:
    """The network's field over world positions.

    Its density is per world unit; the network's is per ``length``, where the scale is 1.
    """

    def in_unit_cube(point: Point) -> Point:
        # Footprints are small: the contraction is linear over them (mip-NeRF 360, Eq. 8), and the
        # covariances between the world's axes are left out.
        jacobian = jax.jacfwd(space.to_unit)(point.position)
        return Point(space.to_unit(point.position), jacobian**2 @ point.variance)

    field = fields.as_field(
        network, in_unit_cube, lambda view: view, has_environment=network.has_environment
    )

    def density(params: Params, point: Point) -> tuple[Array, Array]:
        sigma, features = field.density(params, point)
        return sigma / (length * space.scale(point.position)), features

    return field._replace(density=density)
