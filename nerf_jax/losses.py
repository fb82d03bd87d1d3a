"""What training makes small."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def squared_error(rgb: Float[Array, "*n 3"], target: Float[Array, "*n 3"]) -> Float[Array, "*n"]:
    """L2 on the colour of a ray, the mean over its channels (NeRF, Eq. 6)."""
    return jnp.mean((rgb - target) ** 2, axis=-1)
