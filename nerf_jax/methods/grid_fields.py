"""Hash grids as fields: the space they are in, and what all methods with one have in common."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nerf_jax import fields, losses
from nerf_jax.config.methods import GridConfig, ProposalConfig
from nerf_jax.contraction import Box, Contracted, Space, fit_frustum
from nerf_jax.hashgrid import make_levels
from nerf_jax.types import Batch, Cameras, Field, Metrics, Params, Point, RayTable, Rendering


def fit_space(config: GridConfig, cameras: Cameras | RayTable, size_hw: tuple[int, int]) -> Space:
    """The space that the scene is in, fitted to the training cameras.

    Raises:
        ValueError: a frustum was asked for, and the cameras look in opposite directions or are
            given by rays.
    """
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
