"""Hash grids as fields: the space they are in, and what all methods with one have in common."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nerf_jax import fields, losses
from nerf_jax.config.methods import GridConfig, ProposalConfig
from nerf_jax.contraction import Box, Contracted, Frustum, Space
from nerf_jax.hashgrid import make_levels
from nerf_jax.types import Batch, Field, Metrics, Params, Point, Rendering


def grid_space(config: GridConfig) -> Space:
    """The space that the scene is in; that of a capture is fitted to its cameras later."""
    center, radius = jnp.asarray(config.box_center, jnp.float32), jnp.float32(config.box_radius)
    near, far = jnp.float32(0.1), jnp.float32(100.0)
    match config.space:
        case "box":
            return Box(center - radius, center + radius)
        case "contracted":
            return Contracted(center, radius, near, far)
        case "frustum":
            return Frustum(jnp.eye(3, 4), jnp.ones(2), near, far)


def grid_field(config: GridConfig, space: Space, num_photos: int = 0) -> Field:
    """The tables and networks that a method trains, in a space."""
    levels = make_levels(
        config.num_levels, config.max_entries, config.min_resolution, config.max_resolution
    )
    network = fields.HashField(
        levels,
        config.num_features,
        config.width,
        footprint=config.footprint,
        density_bias=config.density_bias,
        num_photos=num_photos,
        code_size=config.code_size,
    )
    return _in_space(network, space)


def density_field(config: ProposalConfig, resolution: int) -> Callable[[Space], Field]:
    """One of the small fields that propose, of which only the density is read."""
    levels = make_levels(5, config.proposal_entries, config.min_resolution, resolution)
    network = fields.HashField(
        levels,
        2,
        config.proposal_width,
        degree=1,
        footprint=config.footprint,
        density_bias=config.density_bias,
    )
    return lambda space: _in_space(network, space)


def misfit(
    config: GridConfig,
    seen: Rendering,
    target: Float[Array, "R 3"],
    batch: Batch,
    learned: Float[Array, " R"],
) -> tuple[Float[Array, ""], Metrics]:
    """How far what R rays see is from what is known of them: the loss, and what is to be told.

    Args:
        config: what counts how much.
        seen: over the background.
        target: the photos' colours, over the same.
        batch: the rays.
        learned: 1 for those to learn from, 0 for the others.
    """
    mse = losses.masked_mean(losses.squared_error(seen.rgb, target), learned)
    off = losses.photometric(seen.rgb, target, config.huber)
    total = losses.masked_mean(off, learned)
    if not config.depth_weight:
        return total, {"mse": mse}
    known = learned * (batch.depth > 0)
    depth = losses.masked_mean(losses.depth_error(seen.depth, batch.depth), known)
    return total + config.depth_weight * depth, {"mse": mse, "depth": depth}


def _in_space(network: fields.HashField, space: Space) -> Field:
    def in_cube(point: Point) -> Point:
        # Footprints are small: they are bent as their middle is (mip-NeRF 360, Eq. 8), and what
        # varies along one axis of the world is taken to know nothing of the others.
        stretch = jax.jacfwd(space.unit)(point.position)
        return Point(space.unit(point.position), stretch**2 @ point.variance)

    field = fields.as_field(network, in_cube, lambda view: view)

    def density(params: Params, point: Point) -> tuple[Array, Array]:
        sigma, features = field.density(params, point)
        return sigma / space.scale(point.position), features

    return field._replace(density=density)
