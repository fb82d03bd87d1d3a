"""The methods, each a function of a page: where config, field, sampler and renderer meet."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nerf_jax import fields, losses
from nerf_jax.compositing import Background, over, pixel_over, solid
from nerf_jax.config import Config, NerfConfig, TutorialConfig
from nerf_jax.render import render_rays
from nerf_jax.sampling import inverse_cdf, stratified
from nerf_jax.types import Aux, Batch, Field, Metrics, Model, Params, Rays, Rendering

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
        pair = None if keys is None else jax.vmap(jax.random.split, out_axes=1)(keys)
        spread_keys, focus_keys = (None, None) if pair is None else pair
        edges = jax.vmap(spread)(spread_keys, rays)
        coarse, w = render_rays(field, params["coarse"], rays, edges)
        edges = jax.vmap(focus)(focus_keys, edges, jax.lax.stop_gradient(w))
        fine, _ = render_rays(field, params["fine"], rays, edges)
        return coarse, fine

    return _photometric(init, see, background)


def tutorial_field(config: TutorialConfig) -> Field:
    """The network that :func:`tutorial` trains."""
    return fields.as_field(
        fields.TutorialMLP(config.width),
        position_bands=config.position_bands,
        direction_bands=config.direction_bands,
    )


def nerf_field(config: NerfConfig) -> Field:
    """The network of which :func:`nerf` trains two: ``params["coarse"]``, ``params["fine"]``."""
    return fields.as_field(
        fields.NerfMLP(config.depth, config.width, config.skip, config.density_activation),
        position_bands=config.position_bands,
        direction_bands=config.direction_bands,
    )


def _photometric(init: Callable[[Array], Params], see: See, background: Background) -> Model:
    """The model whose loss is L2 on the colour of every rendering of a ray."""

    def loss(params: Params, aux: Aux, keys: Array, batch: Batch) -> tuple[Array, Metrics]:
        behind, keys = jax.vmap(functools.partial(_behind, background))(keys)
        target = pixel_over(batch.pixel, behind)
        errors = [
            jnp.mean(losses.squared_error(over(seen.rgb, seen.opacity, behind), target))
            for seen in see(params, keys, batch.rays)
        ]
        total = sum(errors[1:], start=errors[0])
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


def _behind(background: Background, key: Array) -> tuple[Float[Array, "3"], Array]:
    """What a training ray ends on, and the key for the rest of it."""
    if background != "random":
        return solid(background), key
    color_key, key = jax.random.split(key)
    return jax.random.uniform(color_key, (3,)), key
