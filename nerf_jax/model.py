"""The methods, each a function of a page: where config, field, sampler and renderer meet."""

import functools
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nerf_jax import fields, losses, occupancy, surveying
from nerf_jax.compositing import Background, over, pixel_over, solid
from nerf_jax.cones import frusta
from nerf_jax.config import Config, HashConfig, MipConfig, NerfConfig, TutorialConfig
from nerf_jax.encodings import frequency, integrated
from nerf_jax.hashgrid import make_levels
from nerf_jax.occupancy import Occupancy, near_blocks
from nerf_jax.poses import refine_poses
from nerf_jax.render import render_rays
from nerf_jax.sampling import blur_weights, inverse_cdf, stratified
from nerf_jax.spaces import Box, Contracted, Frustum, Space
from nerf_jax.sparse import Budget, Seen, render_all, render_sparse
from nerf_jax.types import (
    Aux,
    Batch,
    Cameras,
    Field,
    Metrics,
    Model,
    Params,
    Point,
    Rays,
    Rendering,
)

See = Callable[[Params, Array | None, Rays], tuple[Rendering, ...]]
"""``(params, keys[R] | None, rays[R])``: the rays' renderings, all of them trained, the last one
the result."""


def build(config: Config) -> Model:
    """The method that a config asks for."""
    background = config.data.background
    match config.model:
        case TutorialConfig():
            method = tutorial(config.model, background)
        case NerfConfig():
            method = nerf(config.model, background)
        case MipConfig():
            method = mip(config.model, background)
        case HashConfig():
            method = hash_grid(config.model, background, config.num_photos)
    if config.optimizer.pose_learning_rate:
        return refine_poses(method, config.num_photos)
    return method


def tutorial(config: TutorialConfig, background: Background = "white") -> Model:
    """The 100-line NeRF: one network, read at the near end of stratified bins.

    The last bin is 1e10 long, so that what is still to come at ``far`` is opaque if it has any
    density at all.
    """
    field = tutorial_field(config)

    def see(params: Params, keys: Array | None, rays: Rays) -> tuple[Rendering, ...]:
        def bins(key: Array | None, ray: Rays) -> tuple[Array, Array, Array]:
            t = stratified(key, ray.near, ray.far, config.num_samples - 1)
            return jnp.append(t, ray.far), t, jnp.append(jnp.diff(t), 1e10)

        edges, t, delta = jax.vmap(bins)(keys, rays)
        rendering, _ = render_rays(field, params, rays, edges, t=t, delta=delta)
        return (rendering,)

    return _photometric(field.init, see, background)


def nerf(config: NerfConfig, background: Background = "white") -> Model:
    """NeRF: a coarse network finds where to look, a fine one looks there (Section 5.2)."""
    field = nerf_field(config)

    def init(key: Array) -> Params:
        coarse, fine = jax.random.split(key)
        return {"coarse": field.init(coarse), "fine": field.init(fine)}

    def spread(key: Array | None, ray: Rays) -> Array:
        return stratified(key, ray.near, ray.far, config.num_coarse)

    def focus(key: Array | None, edges: Array, w: Array) -> Array:
        return jnp.sort(jnp.append(edges, inverse_cdf(key, edges, w, config.num_fine - 1)))

    def see(params: Params, keys: Array | None, rays: Rays) -> tuple[Rendering, ...]:
        spread_keys, focus_keys = _two_each(keys)
        edges = jax.vmap(spread)(spread_keys, rays)
        coarse, w = render_rays(field, params["coarse"], rays, edges)
        edges = jax.vmap(focus)(focus_keys, edges, jax.lax.stop_gradient(w))
        fine, _ = render_rays(field, params["fine"], rays, edges)
        return coarse, fine

    return _photometric(init, see, background)


def mip(config: MipConfig, background: Background = "white") -> Model:
    """mip-NeRF: one network, which sees what a pixel's cone holds, finds where to look and looks.

    Barron et al., 2021. The encoding of a frustum says how large it is: so one network serves both
    the wide intervals and the narrow ones, and the pictures of any size.
    """
    field = mip_field(config)

    def spread(key: Array | None, ray: Rays) -> Array:
        return stratified(key, ray.near, ray.far, config.num_samples)

    def focus(key: Array | None, edges: Array, w: Array) -> Array:
        blurred = blur_weights(w, padding=config.resample_padding)
        return inverse_cdf(key, edges, blurred, config.num_samples)

    def look(params: Params, rays: Rays, edges: Array) -> tuple[Rendering, Array]:
        return render_rays(field, params, rays, edges, points=jax.vmap(frusta)(rays, edges))

    def see(params: Params, keys: Array | None, rays: Rays) -> tuple[Rendering, ...]:
        spread_keys, focus_keys = _two_each(keys)
        edges = jax.vmap(spread)(spread_keys, rays)
        coarse, w = look(params, rays, edges)
        edges = jax.vmap(focus)(focus_keys, edges, jax.lax.stop_gradient(w))
        fine, _ = look(params, rays, edges)
        return coarse, fine

    return _photometric(field.init, see, background, config.coarse_weight)


def hash_grid(config: HashConfig, background: Background = "random", num_photos: int = 0) -> Model:
    """The flagship: a hash grid read in occupied cells, and there only where light reaches."""
    budget = Budget(
        config.num_candidates, config.max_samples, config.min_transmittance, config.min_alpha
    )

    def init(key: Array) -> tuple[Params, Aux]:
        grid = occupancy.unknown(hash_space(config), config.grid_resolution)
        return hash_field(config, grid.space, num_photos).init(key), grid

    def survey(aux: Occupancy, cameras: Cameras, size_hw: tuple[int, int]) -> Occupancy:
        if config.space == "box":
            return aux
        space = surveying.fit_space(aux.space, cameras, size_hw)
        grid = occupancy.unknown(space, config.grid_resolution)
        return occupancy.seen_only(grid, surveying.visible_cells(grid, cameras, size_hw))

    def see(params: Params, aux: Aux, keys: Array | None, rays: Rays) -> Seen:
        field = hash_field(config, aux.space, num_photos)
        return render_sparse(field, params, aux, budget, keys, rays)

    def loss(params: Params, aux: Aux, keys: Array, batch: Batch) -> tuple[Array, Metrics]:
        behind, keys = jax.vmap(functools.partial(_behind, background))(keys)
        target = pixel_over(batch.pixel, behind)
        rendering, kept, work, _ = see(params, aux, keys, batch.rays)
        rgb = over(rendering.rgb, rendering.opacity, behind)
        learned = kept * batch.counts
        mse = losses.mean_of_counted(losses.squared_error(rgb, target), learned)
        total = mse
        if config.huber:
            total = losses.mean_of_counted(losses.huber(rgb, target, config.huber), learned)
        march = jax.vmap(aux.space.march, (None, 0, None))(None, batch.rays, config.num_candidates)
        outside = (march.start >= march.stop) & (jnp.max(jnp.abs(target - behind), axis=-1) > 0.1)
        counts = {"kept": jnp.mean(kept * 1.0), "outside": jnp.mean(outside * 1.0)}
        return total, {"loss": total, "mse": mse, **counts, **{k: v * 1.0 for k, v in work.items()}}

    def refresh(params: Params, aux: Aux, key: Array, step: Array) -> Aux:
        cell_key, place_key = jax.random.split(key)
        new = step < _NEW
        every = jnp.where(new, max(1, config.grid_every // 4), config.grid_every)

        def density(position: Array) -> Array:
            field = hash_field(config, aux.space, num_photos)
            points = Point(position, jnp.zeros_like(position))
            sigma, _ = jax.vmap(field.density, (None, 0))(params, points)
            return sigma * jax.vmap(aux.space.scale)(position)

        def look() -> Aux:
            swept = jnp.where(new, config.grid_cells, -(-config.grid_cells // 2))
            cells = occupancy.choose_cells(cell_key, aux, step // every, config.grid_cells, swept)
            threshold = -math.log1p(-config.grid_alpha) / aux.space.step(config.num_candidates)
            return occupancy.update(aux, density, place_key, cells, threshold)

        return jax.lax.cond(step % every == every - 1, look, lambda: aux)

    def render(params: Params, aux: Aux, rays: Rays) -> Rendering:
        marches = jax.vmap(aux.space.march, (None, 0, None))(None, rays, config.num_candidates)
        near = jax.vmap(near_blocks, (None, 0, 0, None))(aux, rays, marches, config.num_candidates)
        window = min(rays.far.size, max(1, config.max_samples // 4))
        seen = render_all(functools.partial(see, params, aux, None), rays, near.any(axis=1), window)
        return seen._replace(rgb=over(seen.rgb, seen.opacity, solid(background)))

    def advise(means: Mapping[str, float]) -> dict[str, str]:
        found = {}
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

    return Model(init, loss, refresh, render, advise, survey)


_NEW = 256
"""Steps while which the occupancy grid is looked at more often, and all of it."""


def hash_space(config: HashConfig) -> Space:
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


def hash_field(config: HashConfig, space: Space, num_photos: int = 0) -> Field:
    """The tables and networks that :func:`hash_grid` trains, in a space."""
    levels = make_levels(
        config.num_levels, config.max_entries, config.min_resolution, config.max_resolution
    )
    network = fields.HashField(
        levels,
        config.num_features,
        config.width,
        density_bias=config.density_bias,
        num_photos=num_photos,
        code_size=config.code_size,
    )
    field = fields.as_field(network, lambda point: space.unit(point.position), lambda view: view)

    def density(params: Params, point: Point) -> tuple[Array, Array]:
        sigma, features = field.density(params, point)
        return sigma / space.scale(point.position), features

    return field._replace(density=density)


def tutorial_field(config: TutorialConfig) -> Field:
    """The network that :func:`tutorial` trains."""
    return fields.as_field(
        fields.TutorialMLP(config.width),
        lambda point: frequency(point.position, config.position_bands),
        lambda view: frequency(view.direction, config.direction_bands),
    )


def nerf_field(config: NerfConfig) -> Field:
    """The network of which :func:`nerf` trains two: ``params["coarse"]``, ``params["fine"]``."""
    return fields.as_field(
        fields.NerfMLP(config.depth, config.width, config.skip, config.density_activation),
        lambda point: frequency(point.position, config.position_bands),
        lambda view: frequency(view.direction, config.direction_bands),
    )


def mip_field(config: MipConfig) -> Field:
    """The network that :func:`mip` trains."""
    return fields.as_field(
        fields.NerfMLP(config.depth, config.width, config.skip, "softplus", config.color_padding),
        lambda point: integrated(point.position, point.variance, config.position_bands),
        lambda view: frequency(view.direction, config.direction_bands),
    )


def _photometric(
    init: Callable[[Array], Params], see: See, background: Background, earlier: float = 1.0
) -> Model:
    """The model whose loss is L2 on the colour of every rendering of a ray, those before the last
    weighted by ``earlier``.
    """

    def loss(params: Params, aux: Aux, keys: Array, batch: Batch) -> tuple[Array, Metrics]:
        behind, keys = jax.vmap(functools.partial(_behind, background))(keys)
        target = pixel_over(batch.pixel, behind)
        errors = [
            losses.mean_of_counted(
                losses.squared_error(over(seen.rgb, seen.opacity, behind), target), batch.counts
            )
            for seen in see(params, keys, batch.rays)
        ]
        total = errors[-1] + earlier * sum(errors[:-1])
        return total, {"loss": total, "mse": errors[-1]}

    def render(params: Params, aux: Aux, rays: Rays) -> Rendering:
        seen = see(params, None, rays)[-1]
        return seen._replace(rgb=over(seen.rgb, seen.opacity, solid(background)))

    return Model(
        init=lambda key: (init(key), ()),
        loss=loss,
        refresh=lambda params, aux, key, step: aux,
        render=render,
    )


def _two_each(keys: Array | None) -> tuple[Array | None, Array | None]:
    """Two keys for each ray, or none."""
    if keys is None:
        return None, None
    first, second = jax.vmap(jax.random.split, out_axes=1)(keys)
    return first, second


def _behind(background: Background, key: Array) -> tuple[Float[Array, "3"], Array]:
    """What a training ray ends on, and the key for the rest of it."""
    if background != "random":
        return solid(background), key
    color_key, key = jax.random.split(key)
    return jax.random.uniform(color_key, (3,)), key
