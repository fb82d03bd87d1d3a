"""The flagship: a hash grid, read in occupied cells and there only where light reaches."""

import functools
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nerf_jax import losses, occupancy, surveying
from nerf_jax.compositing import Background, over, pixel_over, sample_background, solid
from nerf_jax.config import HashConfig
from nerf_jax.methods.grid_fields import grid_field, grid_space, misfit
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
    Rendering,
)


def hash_grid(config: HashConfig, background: Background = "random", num_photos: int = 0) -> Model:
    """The flagship: a hash grid read in occupied cells, and there only where light reaches."""
    budget = Budget(
        config.num_candidates,
        config.max_samples,
        config.min_transmittance,
        config.min_alpha,
        config.candidates_per_sample,
    )

    def init(key: Array) -> tuple[Params, Aux]:
        grid = occupancy.unknown(grid_space(config), config.grid_resolution)
        return grid_field(config, grid.space, num_photos).init(key), grid

    def survey(aux: Occupancy, cameras: Cameras, size_hw: tuple[int, int]) -> Occupancy:
        if config.space == "box":
            return aux
        space = surveying.fit_space(aux.space, cameras, size_hw)
        surveying.check_steps(space, config.num_candidates, config.grid_resolution)
        grid = occupancy.unknown(space, config.grid_resolution)
        return occupancy.seen_only(grid, surveying.visible_cells(grid, cameras, size_hw))

    def see(params: Params, aux: Aux, keys: Array | None, rays: Rays) -> Seen:
        field = grid_field(config, aux.space, num_photos)
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
        field = grid_field(config, aux.space, num_photos)
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

    def advise(means: Mapping[str, float]) -> dict[str, str]:
        found = {}
        if means["samples"] < 1:
            found["samples"] = (
                "nothing stops any light, so that nothing is learned: raise --model.density_bias "
                f"(now {config.density_bias:g}), or lower --model.min_alpha (now "
                f"{config.min_alpha:g})"
            )
        if means["outside"] > 0.01:
            found["outside"] = (
                f"{means['outside']:.0%} of the rays show something, but pass by the cube of half "
                f"side {config.box_radius:g} around {config.box_center} that the scene should be "
                "in: raise --model.box_radius, or move --model.box_center to the scene"
            )
        if means["kept"] < 0.1 and means["step"] > 4 * _NEW:
            found["kept"] = (
                f"{1 - means['kept']:.0%} of the rays drawn find no room and are dropped: raise "
                f"--model.max_samples (now {config.max_samples}), or lower --train.rays_per_step"
            )
        return found

    return Model(init, loss, refresh, render, advise, survey, density)


_NEW = 256
"""Steps while which the occupancy grid is looked at more often, and all of it."""


def _distortion(samples: Samples, num_candidates: int) -> Float[Array, " R"]:
    """How far apart the samples of each ray lie, counted in steps of K from end to end."""
    place, delta = samples.number / num_candidates, jnp.float32(1 / num_candidates)
    return losses.distortion_packed(samples.w, place, delta, samples.packed, num_candidates)
