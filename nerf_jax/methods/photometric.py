"""Models whose loss is L2 on colours: the methods that read the field at every sample."""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from nerf_jax import losses
from nerf_jax.compositing import Background, over, pixel_over, sample_background, solid_background
from nerf_jax.types import Aux, Batch, Field, Metrics, Model, Params, Point, Rays, Rendering

RenderPasses = Callable[[Params, Array | None, Rays], tuple[Rendering, ...]]
"""``(params, keys[R] | None, rays[R])``: the renderings of all passes over the rays, the final one
last, before any background."""


def photometric_model(
    init: Callable[[Array], Params],
    density: Callable[[Params, Point], tuple[Array, Array]],
    render_passes: RenderPasses,
    background: Background,
    *,
    coarse_weight: float = 1.0,
    reduction: Literal["mean", "sum"] = "mean",
) -> Model:
    """A model trained by the squared error of the colours of every pass.

    Args:
        init: ``key -> params``.
        density: the density of the final pass's field.
        render_passes: the renderer.
        background: of training rays and of views.
        coarse_weight: of the errors of all passes but the last.
        reduction: the loss is the mean over rays and channels, or their sum.
    """

    def loss(params: Params, aux: Aux, keys: Array, batch: Batch) -> tuple[Array, Metrics]:
        backgrounds, keys = jax.vmap(functools.partial(sample_background, background))(keys)
        target = pixel_over(batch.pixel, backgrounds)
        passes = render_passes(params, keys, batch.rays)
        errors = [
            losses.masked_mean(
                losses.squared_error(over(found.rgb, found.opacity, backgrounds), target),
                batch.mask,
            )
            for found in passes
        ]
        opacity = jnp.min(jnp.stack([jnp.mean(found.opacity) for found in passes]))
        total = errors[-1] + coarse_weight * sum(errors[:-1])
        terms = 3 * jnp.sum(batch.mask) if reduction == "sum" else 1
        return terms * total, {"loss": total, "mse": errors[-1], "opacity": opacity}

    def render(params: Params, aux: Aux, rays: Rays) -> Rendering:
        found = render_passes(params, None, rays)[-1]
        return found._replace(rgb=over(found.rgb, found.opacity, solid_background(background)))

    return Model(
        init=lambda key, cameras, size_hw: (jax.jit(init)(key), ()),
        loss=loss,
        refresh=lambda params, aux, key, step: aux,
        render=render,
        density=lambda params, aux, points: jax.vmap(density, (None, 0))(params, points)[0],
        reduction=reduction,
    )


def init_alive(field: Field) -> Callable[[Array], Params]:
    """``key -> params`` of a field whose density is not zero almost everywhere.

    There a ReLU has no gradient, and the scene stays empty: so it is with one in five of the
    100-line NeRF's initial networks. Those are discarded, and another is drawn.
    """

    def is_dead(state: tuple[Array, Params]) -> Array:
        attempt, params = state
        position = jax.random.normal(jax.random.key(0), (256, 3))
        points = Point(position, jnp.zeros_like(position))
        sigma, _ = jax.vmap(field.density, (None, 0))(params, points)
        return (jnp.mean(sigma > 0) < 0.1) & (attempt < 100)

    def init(key: Array) -> Params:
        def again(state: tuple[Array, Params]) -> tuple[Array, Params]:
            attempt, _ = state
            return attempt + 1, field.init(jax.random.fold_in(key, attempt))

        return jax.lax.while_loop(is_dead, again, (jnp.int32(0), field.init(key)))[1]

    return init
