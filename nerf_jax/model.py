"""The methods, each a function of a page: where config, field, sampler and renderer meet."""

import functools
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nerf_jax import fields, losses, occupancy
from nerf_jax.compositing import Background, over, pixel_over, solid
from nerf_jax.cones import frusta
from nerf_jax.config import Config, HashConfig, MipConfig, NerfConfig, TutorialConfig
from nerf_jax.encodings import frequency, integrated
from nerf_jax.hashgrid import make_levels
from nerf_jax.occupancy import Box, march, near_blocks
from nerf_jax.render import render_rays
from nerf_jax.sampling import blur_weights, inverse_cdf, stratified
from nerf_jax.sparse import Budget, Seen, render_all, render_sparse
from nerf_jax.types import (
    Aux,
    Batch,
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
    match config.model:
        case TutorialConfig():
            return tutorial(config.model, config.data.background)
        case NerfConfig():
            return nerf(config.model, config.data.background)
        case MipConfig():
            return mip(config.model, config.data.background)
        case HashConfig():
            return hash_grid(config.model, config.data.background)


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


def hash_grid(config: HashConfig, background: Background = "random") -> Model:
    """The flagship: a hash grid read in occupied cells, and there only where light reaches."""
    field, box = hash_field(config), hash_box(config)
    budget = Budget(
        config.num_candidates, config.max_samples, config.min_transmittance, config.min_alpha
    )
    threshold = -math.log1p(-config.grid_alpha) / box.step(config.num_candidates)

    def init(key: Array) -> tuple[Params, Aux]:
        return field.init(key), occupancy.unknown(config.grid_resolution)

    def see(params: Params, aux: Aux, keys: Array | None, rays: Rays) -> Seen:
        return render_sparse(field, params, aux, box, budget, keys, rays)

    def loss(params: Params, aux: Aux, keys: Array, batch: Batch) -> tuple[Array, Metrics]:
        behind, keys = jax.vmap(functools.partial(_behind, background))(keys)
        target = pixel_over(batch.pixel, behind)
        rendering, kept, work = see(params, aux, keys, batch.rays)
        rgb = over(rendering.rgb, rendering.opacity, behind)
        learned = kept * batch.counts
        mse = losses.mean_of_counted(losses.squared_error(rgb, target), learned)
        total = mse
        if config.huber:
            total = losses.mean_of_counted(losses.huber(rgb, target, config.huber), learned)
        start, stop = jax.vmap(occupancy.intersect, (0, None))(batch.rays, box)
        outside = (start >= stop) & (jnp.max(jnp.abs(target - behind), axis=-1) > 0.1)
        counts = {"kept": jnp.mean(kept * 1.0), "outside": jnp.mean(outside * 1.0)}
        return total, {"loss": total, "mse": mse, **counts, **{k: v * 1.0 for k, v in work.items()}}

    def refresh(params: Params, aux: Aux, key: Array, step: Array) -> Aux:
        cell_key, place_key = jax.random.split(key)
        new = step < _NEW
        every = jnp.where(new, max(1, config.grid_every // 4), config.grid_every)

        def density(position: Array) -> Array:
            points = Point(position, jnp.zeros_like(position))
            return jax.vmap(field.density, (None, 0))(params, points)[0]

        def look() -> Aux:
            swept = jnp.where(new, config.grid_cells, -(-config.grid_cells // 2))
            cells = occupancy.choose_cells(cell_key, aux, step // every, config.grid_cells, swept)
            return occupancy.update(aux, box, density, place_key, cells, threshold)

        return jax.lax.cond(step % every == every - 1, look, lambda: aux)

    def render(params: Params, aux: Aux, rays: Rays) -> Rendering:
        marches = jax.vmap(march, (None, 0, None, None))(None, rays, box, config.num_candidates)
        near = jax.vmap(near_blocks, (None, None, 0, 0, None))(
            aux, box, rays, marches, config.num_candidates
        )
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

    return Model(init, loss, refresh, render, advise)


_NEW = 256
"""Steps while which the occupancy grid is looked at more often, and all of it."""


def hash_box(config: HashConfig) -> Box:
    """The cube that the scene is within."""
    center = jnp.asarray(config.box_center, jnp.float32)
    return Box(center - config.box_radius, center + config.box_radius)


def hash_field(config: HashConfig) -> Field:
    """The tables and networks that :func:`hash_grid` trains."""
    levels = make_levels(
        config.num_levels, config.max_entries, config.min_resolution, config.max_resolution
    )
    network = fields.HashField(levels, config.num_features, config.width)
    box = hash_box(config)
    return fields.as_field(
        network, lambda point: box.unit(point.position), lambda direction: direction
    )


def tutorial_field(config: TutorialConfig) -> Field:
    """The network that :func:`tutorial` trains."""
    return fields.as_field(
        fields.TutorialMLP(config.width),
        lambda point: frequency(point.position, config.position_bands),
        functools.partial(frequency, num_bands=config.direction_bands),
    )


def nerf_field(config: NerfConfig) -> Field:
    """The network of which :func:`nerf` trains two: ``params["coarse"]``, ``params["fine"]``."""
    return fields.as_field(
        fields.NerfMLP(config.depth, config.width, config.skip, config.density_activation),
        lambda point: frequency(point.position, config.position_bands),
        functools.partial(frequency, num_bands=config.direction_bands),
    )


def mip_field(config: MipConfig) -> Field:
    """The network that :func:`mip` trains."""
    return fields.as_field(
        fields.NerfMLP(config.depth, config.width, config.skip, "softplus", config.color_padding),
        lambda point: integrated(point.position, point.variance, config.position_bands),
        functools.partial(frequency, num_bands=config.direction_bands),
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
