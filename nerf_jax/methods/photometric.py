"""Models whose loss is L2 on colours: the methods that read the field at every sample."""

import functools
from collections.abc import Callable

import jax
from jaxtyping import Array

from nerf_jax import losses
from nerf_jax.compositing import (
    Background,
    over,
    pixel_over,
    sample_background,
    solid_background,
)
from nerf_jax.types import Aux, Batch, Metrics, Model, Params, Point, Rays, Rendering

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
) -> Model:
    """A model trained by the squared error of the colours of every pass.

    Args:
        init: ``key -> params``.
        density: the density of the final pass's field.
        render_passes: the renderer.
        background: of training rays and of views.
        coarse_weight: of the errors of all passes but the last.
    """

    def loss(params: Params, aux: Aux, keys: Array, batch: Batch) -> tuple[Array, Metrics]:
        backgrounds, keys = jax.vmap(functools.partial(sample_background, background))(keys)
        target = pixel_over(batch.pixel, backgrounds)
        errors = [
            losses.masked_mean(
                losses.squared_error(over(found.rgb, found.opacity, backgrounds), target),
                batch.mask,
            )
            for found in render_passes(params, keys, batch.rays)
        ]
        total = errors[-1] + coarse_weight * sum(errors[:-1])
        return total, {"loss": total, "mse": errors[-1]}

    def render(params: Params, aux: Aux, rays: Rays) -> Rendering:
        found = render_passes(params, None, rays)[-1]
        return found._replace(rgb=over(found.rgb, found.opacity, solid_background(background)))

    return Model(
        init=lambda key, cameras, size_hw: (jax.jit(init)(key), ()),
        loss=loss,
        refresh=lambda params, aux, key, step: aux,
        render=render,
        density=lambda params, aux, points: jax.vmap(density, (None, 0))(params, points)[0],
    )
