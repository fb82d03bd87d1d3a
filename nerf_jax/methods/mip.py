"""mip-NeRF (Barron et al., 2021): cones in the place of lines, one network for both passes."""

import jax
from jaxtyping import Array

from nerf_jax import fields
from nerf_jax.compositing import Background
from nerf_jax.cones import frusta
from nerf_jax.config import MipConfig
from nerf_jax.encodings import frequency, integrated
from nerf_jax.methods.photometric import photometric_model
from nerf_jax.render import render_rays
from nerf_jax.sampling import blur_weights, inverse_cdf, split_each, stratified
from nerf_jax.types import Field, Model, Params, Rays, Rendering


def mip(config: MipConfig, background: Background = "white") -> Model:
    """One network, read over conical frusta, first in even intervals and then where they weigh.

    The encoding of a frustum contains its size, so that one network serves wide and narrow
    intervals, and pictures of any size.
    """
    field = mip_field(config)

    def coarse_edges(key: Array | None, ray: Rays) -> Array:
        return stratified(key, ray.near, ray.far, config.num_samples)

    def fine_edges(key: Array | None, edges: Array, w: Array) -> Array:
        blurred = blur_weights(w, padding=config.resample_padding)
        return inverse_cdf(key, edges, blurred, config.num_samples)

    def render(params: Params, rays: Rays, edges: Array) -> tuple[Rendering, Array]:
        return render_rays(field, params, rays, edges, points=jax.vmap(frusta)(rays, edges))

    def render_passes(params: Params, keys: Array | None, rays: Rays) -> tuple[Rendering, ...]:
        coarse_keys, fine_keys = split_each(keys, 2)
        edges = jax.vmap(coarse_edges)(coarse_keys, rays)
        coarse, w = render(params, rays, edges)
        edges = jax.vmap(fine_edges)(fine_keys, edges, jax.lax.stop_gradient(w))
        fine, _ = render(params, rays, edges)
        return coarse, fine

    return photometric_model(
        field.init, field.density, render_passes, background, coarse_weight=config.coarse_weight
    )


def mip_field(config: MipConfig) -> Field:
    """The network that :func:`mip` trains."""
    return fields.as_field(
        fields.NerfMLP(config.depth, config.width, config.skip, "softplus", config.color_padding),
        lambda point: integrated(point.position, point.variance, config.position_bands),
        lambda view: frequency(view.direction, config.direction_bands),
    )
