"""What training makes small."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def squared_error(rgb: Float[Array, "*n 3"], target: Float[Array, "*n 3"]) -> Float[Array, "*n"]:
    """L2 on the colour of a ray, the mean over its channels (NeRF, Eq. 6)."""
    return jnp.mean((rgb - target) ** 2, axis=-1)


def huber(
    rgb: Float[Array, "*n 3"], target: Float[Array, "*n 3"], delta: float
) -> Float[Array, "*n"]:
    """Huber's loss on the colour of a ray, over ``delta``: the mean over its channels.

    Quadratic for errors up to ``delta`` and linear beyond, where its slope is 1: a few rays that
    are far off do not outweigh the rest (Huber, 1964).
    """
    error = jnp.abs(rgb - target)
    within = jnp.minimum(error, delta)
    return jnp.mean(within * (error - within / 2), axis=-1) / delta


def mean_of_counted(values: Float[Array, " R"], counts: Float[Array, " R"]) -> Float[Array, ""]:
    """The mean over the rays that count; zero where none does."""
    return jnp.sum(values * counts) / jnp.maximum(jnp.sum(counts), 1.0)
