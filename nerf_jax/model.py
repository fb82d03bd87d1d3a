"""The methods, each a function of a page: where config, field, sampler and renderer meet."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nerf_jax import fields, losses
from nerf_jax.compositing import Background, over, pixel_over, solid
from nerf_jax.config import Config, NerfConfig, TutorialConfig
from nerf_jax.render import render_ray
from nerf_jax.sampling import inverse_cdf, stratified
from nerf_jax.types import Aux, Batch, Metrics, Model, Params, Rays, Rendering

See = Callable[[Params, Array | None, Rays], tuple[Rendering, ...]]
"""``(params, key, ray)``: one ray's renderings, all of them trained, the last one the result."""


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
    field = fields.as_field(
        fields.TutorialMLP(config.width),
        position_bands=config.position_bands,
        direction_bands=config.direction_bands,
    )

    def see(params: Params, key: Array | None, ray: Rays) -> tuple[Rendering, ...]:
        t = stratified(key, ray.near, ray.far, config.num_samples - 1)
        delta = jnp.append(jnp.diff(t), 1e10)
        rendering, _ = render_ray(field, params, ray, jnp.append(t, ray.far), t=t, delta=delta)
        return (rendering,)

    return _photometric(field.init, see, background)


def nerf(config: NerfConfig, background: Background = "white") -> Model:
    """NeRF: a coarse network finds where to look, a fine one looks there (Section 5.2)."""
    field = fields.as_field(
        fields.NerfMLP(config.depth, config.width, config.skip),
        position_bands=config.position_bands,
        direction_bands=config.direction_bands,
    )

    def init(key: Array) -> Params:
        coarse, fine = jax.random.split(key)
        return {"coarse": field.init(coarse), "fine": field.init(fine)}

    def see(params: Params, key: Array | None, ray: Rays) -> tuple[Rendering, ...]:
        spread_key, focus_key = (None, None) if key is None else jax.random.split(key)
        spread = stratified(spread_key, ray.near, ray.far, config.num_coarse)
        coarse, w = render_ray(field, params["coarse"], ray, spread)
        focus = inverse_cdf(focus_key, spread, jax.lax.stop_gradient(w), config.num_fine - 1)
        edges = jnp.sort(jnp.concatenate([spread, focus]))
        fine, _ = render_ray(field, params["fine"], ray, edges)
        return coarse, fine

    return _photometric(init, see, background)


def _photometric(init: Callable[[Array], Params], see: See, background: Background) -> Model:
    """The model whose loss is L2 on the colour of every rendering of a ray."""

    def ray_loss(params: Params, key: Array, sample: Batch) -> tuple[Array, Array]:
        behind, see_key = _behind(background, key)
        target = pixel_over(sample.pixel, behind)
        errors = [
            losses.squared_error(over(seen.rgb, seen.opacity, behind), target)
            for seen in see(params, see_key, sample.rays)
        ]
        return sum(errors[1:], start=errors[0]), errors[-1]

    def loss(params: Params, aux: Aux, keys: Array, batch: Batch) -> tuple[Array, Metrics]:
        total, final = jax.vmap(ray_loss, (None, 0, 0))(params, keys, batch)
        return jnp.mean(total), {"loss": jnp.mean(total), "mse": jnp.mean(final)}

    def render(params: Params, aux: Aux, rays: Rays) -> Rendering:
        def one(ray: Rays) -> Rendering:
            seen = see(params, None, ray)[-1]
            return seen._replace(rgb=over(seen.rgb, seen.opacity, solid(background)))

        return jax.vmap(one)(rays)

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
