"""The flagship: a hash grid, read in occupied cells and only where light reaches.

Instant-NGP (Müller et al., 2022): a multiresolution hash grid with small networks, an occupancy
grid that skips empty space, and sparse rendering.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nerf_jax import camera_model, losses, occupancy
from nerf_jax.compositing import Background, pixel_over, sample_background, solid_background
from nerf_jax.config import HashConfig
from nerf_jax.contraction import Space, required_steps
from nerf_jax.methods.grid_fields import fit_space, grid_field, over_background, rendering_loss
from nerf_jax.occupancy import Occupancy
from nerf_jax.render_sparse import Budget, render_sparse
from nerf_jax.types import Batch, Cameras, Metrics, Model, Params, Point, Rays, RayTable, Rendering
from nerf_jax.wavefront import render_wavefront

_WARMUP = 256
"""Steps during which the occupancy grid is updated more often, and all of it."""

_SETTLED = 600
"""Steps after which a box's cells are emptied as the config says: thin things are learned late."""


def hash_grid(
    config: HashConfig,
    background: Background = "random",
    log_exposure: Float[np.ndarray, " N"] | None = None,
) -> Model:
    """The model. Its ``aux`` is the occupancy grid, with the space that it divides.

    ``log_exposure`` is that of the training photos, as for :func:`nerf_jax.camera_model.init`.
    """
    return Model(
        init=functools.partial(_init, config, log_exposure),
        loss=functools.partial(_loss, config, background),
        refresh=functools.partial(_refresh, config),
        render=functools.partial(_render, config, background),
        density=functools.partial(_density, config),
    )


def _init(
    config: HashConfig,
    log_exposure: Float[np.ndarray, " N"] | None,
    key: Array,
    cameras: Cameras | RayTable,
    size_hw: tuple[int, int],
) -> tuple[Params, Occupancy]:
    space = fit_space(config, cameras, size_hw)
    _check_steps(config, space, cameras)
    grid = occupancy.init_grid(space, config.grid_resolution)
    if not config.bounded and isinstance(cameras, Cameras):
        grid = occupancy.mask_invisible(grid, occupancy.visible_cells(grid, cameras, size_hw))
    field = grid_field(config, space, len(cameras.near))
    params = jax.jit(field.init)(key)
    if config.camera_model:
        camera = camera_model.init(len(cameras.near), log_exposure)
        params = {**params, "camera_model": camera}
    return params, grid


def _check_steps(config: HashConfig, space: Space, cameras: Cameras | RayTable) -> None:
    """Raise a ValueError if steps are longer than the grid's cells, so that some would be missed.

    Steps in a box are known from the config, which checks them itself.
    """
    needed = required_steps(space, config.grid_resolution)
    if not config.num_candidates:
        raise ValueError("model.num_candidates is 0: methods.resolve chooses it by the photos")
    if config.num_candidates < needed:
        raise ValueError(
            f"model.num_candidates is {config.num_candidates}, whose steps from "
            f"{np.min(cameras.near):.3g} to {np.max(cameras.far):.3g} are longer than the cells of "
            f"a grid of {config.grid_resolution}: raise it to {needed}, or lower "
            "--model.grid_resolution or --data.far"
        )


def _budget(config: HashConfig) -> Budget:
    return Budget(*(getattr(config, name) for name in Budget._fields))


def _loss(
    config: HashConfig,
    background: Background,
    params: Params,
    grid: Occupancy,
    keys: Array,
    batch: Batch,
) -> tuple[Array, Metrics]:
    backgrounds, keys = jax.vmap(functools.partial(sample_background, background))(keys)
    target = pixel_over(batch.pixel, backgrounds)
    field, count = grid_field(config, grid.space), config.num_candidates
    rendering, kept, counts, samples = render_sparse(
        field, params, grid, _budget(config), keys, batch.rays, batch.progress
    )
    # Backgrounds are not photographed, but a learned environment is.
    if config.camera_model and not config.environment:
        rendering = _photographed(params["camera_model"], rendering, batch)
    rendering = over_background(field, params, batch.rays, rendering, backgrounds)
    if config.camera_model and config.environment:
        rendering = _photographed(params["camera_model"], rendering, batch)
    mask = kept * batch.mask
    loss, errors = rendering_loss(config, rendering, target, batch, mask)
    if config.camera_model:
        loss = loss + config.camera_weight * camera_model.regularizer(params["camera_model"])
    if config.depth_weight:
        error = losses.termination_packed(samples.w, samples.t, batch.depth, samples.packed, count)
        weight = losses.decayed(config.depth_weight, config.depth_weight_final, batch.progress)
        loss += weight * losses.masked_mean(error, mask * (batch.depth > 0))
    if config.distortion:
        # Over distances in [0, 1] from a ray's first step to its last.
        t, delta = samples.step / count, counts["stride"] / count
        distortion = losses.distortion_packed(samples.w, t, delta, samples.packed, count)
        loss = loss + config.distortion * losses.masked_mean(distortion, mask)
    steps = jax.vmap(grid.space.ray_steps, (None, 0, None))(0.5, batch.rays, count)
    outside = (steps.start >= steps.stop) & (jnp.max(jnp.abs(target - backgrounds), axis=-1) > 0.1)
    shares = {"kept": jnp.mean(kept * 1.0), "outside": jnp.mean(outside * 1.0)}
    return loss, {"loss": loss, **errors, **shares, **{k: v * 1.0 for k, v in counts.items()}}


def _photographed(camera: Params, rendering: Rendering, batch: Batch) -> Rendering:
    """The rendering with the colours of the rays' photos; of no photo: with the mean gains."""
    photo = batch.rays.appearance[:, None]
    gains = jnp.where(photo < 0, 0.0, camera_model.log_gains(camera)[jnp.maximum(photo[:, 0], 0)])
    offset = jnp.zeros((len(photo), 2)) if batch.offset is None else batch.offset
    apply = jax.vmap(camera_model.apply, (None, 0, 0, 0))
    return rendering._replace(rgb=apply(camera, gains, offset, rendering.rgb))


def _refresh(
    config: HashConfig, params: Params, grid: Occupancy, key: Array, step: Array
) -> Occupancy:
    """Update the occupancy grid every few steps: all cells at first, then a part of them."""
    cell_key, position_key = jax.random.split(key)
    warmup = step < _WARMUP
    every = jnp.where(warmup, max(1, config.grid_every // 4), config.grid_every)

    def density(position: Array) -> Array:
        scale = jax.vmap(grid.space.scale)(position)
        # As wide as a step is long: training never sees the field without a footprint.
        width = grid.space.step(config.num_candidates) * scale
        points = Point(position, jnp.stack([width**2 / 12] * 3, axis=1))
        return _field_density(config, params, grid, points) * scale

    def update() -> Occupancy:
        num_in_order = jnp.where(warmup, config.grid_cells, -(-config.grid_cells // 2))
        cells = occupancy.choose_cells(
            *(cell_key, grid, step // every, config.grid_cells, num_in_order),
            search="scan" if config.loops else "scan_unrolled",
        )
        threshold = -math.log1p(-config.grid_alpha) / grid.space.step(config.num_candidates)
        if config.bounded:
            threshold *= 0.1 ** jnp.clip((_SETTLED - step) / (_SETTLED - _WARMUP), 0.0, 1.0)
        return occupancy.update(grid, density, position_key, cells, threshold)

    return jax.lax.cond(step % every == every - 1, update, lambda: grid)


def _field_density(
    config: HashConfig, params: Params, grid: Occupancy, points: Point
) -> Float[Array, " N"]:
    return jax.vmap(grid_field(config, grid.space).density, (None, 0))(params, points)[0]


def _density(
    config: HashConfig, params: Params, grid: Occupancy, points: Point
) -> Float[Array, " N"]:
    occupied = jax.vmap(occupancy.occupied_at, (None, 0))(grid, points.position)
    return jnp.where(occupied, _field_density(config, params, grid, points), 0.0)


def _render(
    config: HashConfig, background: Background, params: Params, grid: Occupancy, rays: Rays
) -> Rendering:
    field = grid_field(config, grid.space)
    found = render_wavefront(field, params, grid, _budget(config), rays)
    return over_background(field, params, rays, found, solid_background(background))
