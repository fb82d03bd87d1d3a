"""Encodings: coordinates lifted to where a small network can see fine detail."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def frequency(
    x: Float[Array, " d"], num_bands: int, *, include_input: bool = True
) -> Float[Array, " e"]:
    """Positional encoding, Eq. 4 of NeRF (Mildenhall et al., 2020).

    ``x, sin(x), cos(x), sin(2x), cos(2x), ..., sin(2^(L-1) x), cos(2^(L-1) x)`` with L bands. As
    in the authors' code and all that followed, without the paper's factor of pi.

    Args:
        x: one point or direction.
        num_bands: L; 0 leaves the input alone.
        include_input: keep ``x`` itself in front.

    Returns:
        ``e = d * (2 L + include_input)`` values.
    """
    angles = jnp.outer(2.0 ** jnp.arange(num_bands), x)  # [L, d]
    waves = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=1)  # [L, 2, d]
    encoded = waves.reshape(-1)
    return jnp.concatenate([x, encoded]) if include_input else encoded
