"""NeRF (Mildenhall et al., 2020): a coarse and a fine network, trained together."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from nerf_jax import fields
from nerf_jax.compositing import Background
from nerf_jax.config import NerfConfig
from nerf_jax.encodings import frequency
from nerf_jax.methods.photometric import init_alive, photometric_model
from nerf_jax.render import render_rays
from nerf_jax.sampling import inverse_cdf, split_each, stratified
from nerf_jax.types import Field, Model, Params, Point, Rays, Rendering


def nerf(config: NerfConfig, background: Background = "white") -> Model:
    """Hierarchical sampling (Section 5.2): the fine network is read at the coarse network's samples
    and at further ones, drawn from the coarse weights.
    """
    field = nerf_field(config)

    def init(key: Array) -> Params:
        coarse, fine = jax.random.split(key)
        return {"coarse": init_alive(field)(coarse), "fine": init_alive(field)(fine)}

    def density(params: Params, point: Point) -> tuple[Array, Array]:
        return field.density(params["fine"], point)

    def coarse_edges(key: Array | None, ray: Rays) -> Array:
        return stratified(key, ray.near, ray.far, config.num_coarse)

    def fine_edges(key: Array | None, edges: Array, w: Array) -> Array:
        return jnp.sort(jnp.append(edges, inverse_cdf(key, edges, w, config.num_fine - 1)))

    def render_passes(params: Params, keys: Array | None, rays: Rays) -> tuple[Rendering, ...]:
        coarse_keys, fine_keys = split_each(keys, 2)
        edges = jax.vmap(coarse_edges)(coarse_keys, rays)
        coarse, w = render_rays(field, params["coarse"], rays, edges)
        edges = jax.vmap(fine_edges)(fine_keys, edges, jax.lax.stop_gradient(w))
        fine, _ = render_rays(field, params["fine"], rays, edges)
        return coarse, fine

    return photometric_model(init, density, render_passes, background)


def nerf_field(config: NerfConfig) -> Field:
    """The network of which :func:`nerf` trains two: ``params["coarse"]``, ``params["fine"]``."""
    return fields.as_field(
        fields.NerfMLP(config.depth, config.width, config.skip, config.density_activation),
        lambda point: frequency(point.position, config.position_bands),
        lambda view: frequency(view.direction, config.direction_bands),
    )
