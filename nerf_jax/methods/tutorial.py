"""The 100-line NeRF: one network, read at stratified samples."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from nerf_jax import fields
from nerf_jax.compositing import Background
from nerf_jax.config import TutorialConfig
from nerf_jax.encodings import frequency
from nerf_jax.methods.photometric import init_alive, photometric_model
from nerf_jax.render import render_rays
from nerf_jax.sampling import stratified
from nerf_jax.types import Field, Model, Params, Rays, Rendering


def tutorial(config: TutorialConfig, background: Background = "white") -> Model:
    """The 100-line NeRF: one network, read at the near end of stratified bins.

    The last bin is 1e10 long, so that any density at ``far`` makes the ray opaque. The loss is the
    sum over rays and channels, as in the original: Adam's epsilon is relative to it.
    """
    field = tutorial_field(config)

    def bins(key: Array | None, ray: Rays) -> tuple[Array, Array, Array]:
        t = stratified(key, ray.near, ray.far, config.num_samples - 1)
        return jnp.append(t, ray.far), t, jnp.append(jnp.diff(t), 1e10)

    def render_passes(params: Params, keys: Array | None, rays: Rays) -> tuple[Rendering, ...]:
        edges, t, delta = jax.vmap(bins)(keys, rays)
        rendering, _ = render_rays(field, params, rays, edges, t=t, delta=delta)
        return (rendering,)

    return photometric_model(
        init_alive(field), field.density, render_passes, background, reduction="sum"
    )


def tutorial_field(config: TutorialConfig) -> Field:
    """The network that :func:`tutorial` trains."""
    return fields.as_field(
        fields.TutorialMLP(config.width),
        lambda point: frequency(point.position, config.position_bands),
        lambda view: frequency(view.direction, config.direction_bands),
    )
