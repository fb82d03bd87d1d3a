"""The flagship: a hash grid, read in occupied cells and there only where light reaches."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nerf_jax import losses, occupancy
from nerf_jax.compositing import Background, over, pixel_over, sample_background, solid
from nerf_jax.config import HashConfig
from nerf_jax.contraction import Space, required_steps
from nerf_jax.methods.grid_fields import fit_space, grid_field, misfit
from nerf_jax.occupancy import Occupancy, near_blocks
from nerf_jax.render_sparse import Budget, Samples, Seen, render_all, render_sparse
from nerf_jax.types import (
    Aux,
    Batch,
    Cameras,
    Metrics,
    Model,
    Params,
    Point,
    Rays,
    RayTable,
    Rendering,
)


def hash_grid(config: HashConfig, background: Background = "random") -> Model:
    """The flagship: a hash grid read in occupied cells, and there only where light reaches."""
    budget = Budget(*(getattr(config, name) for name in Budget._fields))

    def init(
        key: Array, cameras: Cameras | RayTable, size_hw: tuple[int, int]
    ) -> tuple[Params, Aux]:
        space = fit_space(config, cameras, size_hw)
        _check_steps(config, space, cameras)
        grid = occupancy.unknown(space, config.grid_resolution)
        if config.space != "box" and isinstance(cameras, Cameras):
            grid = occupancy.seen_only(grid, occupancy.visible_cells(grid, cameras, size_hw))
        field = grid_field(config, space, len(cameras.near))
        return jax.jit(field.init)(key), grid

    def see(params: Params, aux: Aux, keys: Array | None, rays: Rays) -> Seen:
        field = grid_field(config, aux.space)
        return render_sparse(field, params, aux, budget, keys, rays)

    def loss(params: Params, aux: Aux, keys: Array, batch: Batch) -> tuple[Array, Metrics]:
        behind, keys = jax.vmap(functools.partial(sample_background, background))(keys)
        target = pixel_over(batch.pixel, behind)
        seen, kept, work, samples = see(params, aux, keys, batch.rays)
        seen = seen._replace(rgb=over(seen.rgb, seen.opacity, behind))
        learned = kept * batch.counts
        total, errors = misfit(config, seen, target, batch, learned)
        if config.distortion:
            apart = _distortion(samples, config.num_candidates)
            total = total + config.distortion * losses.masked_mean(apart, learned)
        march = jax.vmap(aux.space.march, (None, 0, None))(None, batch.rays, config.num_candidates)
        outside = (march.start >= march.stop) & (jnp.max(jnp.abs(target - behind), axis=-1) > 0.1)
        counts = {"kept": jnp.mean(kept * 1.0), "outside": jnp.mean(outside * 1.0)}
        return total, {"loss": total, **errors, **counts, **{k: v * 1.0 for k, v in work.items()}}

    def anywhere(params: Params, aux: Occupancy, points: Point) -> Float[Array, " N"]:
        field = grid_field(config, aux.space)
        return jax.vmap(field.density, (None, 0))(params, points)[0]

    def density(params: Params, aux: Occupancy, points: Point) -> Float[Array, " N"]:
        occupied = jax.vmap(occupancy.occupied_at, (None, 0))(aux, points.position)
        return jnp.where(occupied, anywhere(params, aux, points), 0.0)

    def refresh(params: Params, aux: Aux, key: Array, step: Array) -> Aux:
        cell_key, place_key = jax.random.split(key)
        new = step < _NEW
        every = jnp.where(new, max(1, config.grid_every // 4), config.grid_every)

        def scaled(position: Array) -> Array:
            scale = jax.vmap(aux.space.scale)(position)
            # As wide as a step is long: no ray has seen what the field holds without a footprint.
            width = aux.space.step(config.num_candidates) * scale
            points = Point(position, jnp.stack([width**2 / 12] * 3, axis=1))
            return anywhere(params, aux, points) * scale

        def look() -> Aux:
            swept = jnp.where(new, config.grid_cells, -(-config.grid_cells // 2))
            cells = occupancy.choose_cells(cell_key, aux, step // every, config.grid_cells, swept)
            threshold = -math.log1p(-config.grid_alpha) / aux.space.step(config.num_candidates)
            return occupancy.update(aux, scaled, place_key, cells, threshold)

        return jax.lax.cond(step % every == every - 1, look, lambda: aux)

    def render(params: Params, aux: Aux, rays: Rays) -> Rendering:
        marches = jax.vmap(aux.space.march, (None, 0, None))(None, rays, config.num_candidates)
        near = jax.vmap(near_blocks, (None, 0, 0, None))(aux, rays, marches, config.num_candidates)
        window = min(rays.far.size, max(1, config.max_samples // 4))
        seen = render_all(functools.partial(see, params, aux, None), rays, near.any(axis=1), window)
        return seen._replace(rgb=over(seen.rgb, seen.opacity, solid(background)))

    return Model(init, loss, refresh, render, density)


_NEW = 256
"""Steps while which the occupancy grid is looked at more often, and all of it."""


def _check_steps(config: HashConfig, space: Space, cameras: Cameras | RayTable) -> None:
    """Raise a ValueError if steps are longer than the grid's cells, so that some would be missed.

    Those in a box are known from the config, which checks them itself.
    """
    needed = required_steps(space, config.grid_resolution)
    if config.num_candidates < needed:
        raise ValueError(
            f"model.num_candidates is {config.num_candidates}, whose steps from "
            f"{np.min(cameras.near):.3g} to {np.max(cameras.far):.3g} are longer than the cells of "
            f"a grid of {config.grid_resolution}: raise it to {needed}, or lower "
            "--model.grid_resolution or --data.far"
        )


def _distortion(samples: Samples, num_candidates: int) -> Float[Array, " R"]:
    """How far apart the samples of each ray lie, counted in steps of K from end to end."""
    place, delta = samples.number / num_candidates, jnp.float32(1 / num_candidates)
    return losses.distortion_packed(samples.w, place, delta, samples.packed, num_candidates)
