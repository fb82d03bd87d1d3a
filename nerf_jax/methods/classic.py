"""The methods that read every sample: the 100-line NeRF, the 2020 paper, mip-NeRF."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from nerf_jax import fields, losses
from nerf_jax.compositing import Background, over, pixel_over, sample_background, solid
from nerf_jax.cones import frusta
from nerf_jax.config import MipConfig, NerfConfig, TutorialConfig
from nerf_jax.encodings import frequency, integrated
from nerf_jax.numerics import split_each
from nerf_jax.render import render_rays
from nerf_jax.sampling import blur_weights, inverse_cdf, stratified
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

    return _photometric(field.init, field.density, see, background)


def nerf(config: NerfConfig, background: Background = "white") -> Model:
    """NeRF: a coarse network finds where to look, a fine one looks there (Section 5.2)."""
    field = nerf_field(config)

    def init(key: Array) -> Params:
        coarse, fine = jax.random.split(key)
        return {"coarse": field.init(coarse), "fine": field.init(fine)}

    def density(params: Params, point: Point) -> tuple[Array, Array]:
        return field.density(params["fine"], point)

    def spread(key: Array | None, ray: Rays) -> Array:
        return stratified(key, ray.near, ray.far, config.num_coarse)

    def focus(key: Array | None, edges: Array, w: Array) -> Array:
        return jnp.sort(jnp.append(edges, inverse_cdf(key, edges, w, config.num_fine - 1)))

    def see(params: Params, keys: Array | None, rays: Rays) -> tuple[Rendering, ...]:
        spread_keys, focus_keys = split_each(keys, 2)
        edges = jax.vmap(spread)(spread_keys, rays)
        coarse, w = render_rays(field, params["coarse"], rays, edges)
        edges = jax.vmap(focus)(focus_keys, edges, jax.lax.stop_gradient(w))
        fine, _ = render_rays(field, params["fine"], rays, edges)
        return coarse, fine

    return _photometric(init, density, see, background)


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
        spread_keys, focus_keys = split_each(keys, 2)
        edges = jax.vmap(spread)(spread_keys, rays)
        coarse, w = look(params, rays, edges)
        edges = jax.vmap(focus)(focus_keys, edges, jax.lax.stop_gradient(w))
        fine, _ = look(params, rays, edges)
        return coarse, fine

    return _photometric(field.init, field.density, see, background, config.coarse_weight)


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
    init: Callable[[Array], Params],
    density: Callable[[Params, Point], tuple[Array, Array]],
    see: See,
    background: Background,
    earlier: float = 1.0,
) -> Model:
    """The model whose loss is L2 on the colour of every rendering of a ray, those before the last
    weighted by ``earlier``.
    """

    def loss(params: Params, aux: Aux, keys: Array, batch: Batch) -> tuple[Array, Metrics]:
        behind, keys = jax.vmap(functools.partial(sample_background, background))(keys)
        target = pixel_over(batch.pixel, behind)
        errors = [
            losses.masked_mean(
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
        init=lambda key, cameras, size_hw: (jax.jit(init)(key), ()),
        loss=loss,
        refresh=lambda params, aux, key, step: aux,
        render=render,
        density=lambda params, aux, points: jax.vmap(density, (None, 0))(params, points)[0],
    )
