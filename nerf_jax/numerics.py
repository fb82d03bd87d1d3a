"""Every singularity of the package, handled here and once: values and gradients stay finite."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def safe_norm(x: Float[Array, "*n d"]) -> Float[Array, "*n"]:
    """Euclidean norm over the last axis, with gradient 0 (and not NaN) at the origin."""
    squared = jnp.sum(x * x, axis=-1)
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def normalize(x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
    """Unit vectors; zero stays zero."""
    norm = safe_norm(x)[..., None]
    return x / jnp.where(norm > 0, norm, 1.0)


def optical_depth(sigma: Float[Array, "*#n"], delta: Float[Array, "*#n"]) -> Float[Array, "*#n"]:
    """``sigma * delta``, the exponent of Beer and Lambert, bounded where its exponential is done.

    ``exp(-100)`` is zero beside one in any precision used here, so the bound changes no value; it
    keeps ``1e10 * 1e10`` from overflowing, and with it the ``0 * inf`` of the gradient. A negative
    or zero interval holds nothing.
    """
    # Both factors are bounded before the product: the bound's gradient is then 0 and not inf * 0.
    limit = 100.0
    delta = jnp.clip(delta, 0.0, 1e10)
    return jnp.minimum(jnp.minimum(sigma, 1e20) * delta, limit)


def safe_divide(
    numerator: Float[Array, "*n"], denominator: Float[Array, "*n"], otherwise: float | Array = 0.0
) -> Float[Array, "*n"]:
    """``numerator / denominator``; ``otherwise`` where the denominator is zero."""
    nonzero = denominator != 0
    return jnp.where(nonzero, numerator / jnp.where(nonzero, denominator, 1.0), otherwise)


def fold_in_each(key: Array, numbers: Array) -> Array:
    """A key for each number: what is drawn for one does not depend on which others there are."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, numbers)


def split_each(keys: Array | None, count: int) -> list[Array | None]:
    """So many lists of keys, one key a ray in each, of one key a ray; or as many times None."""
    if keys is None:
        return [None] * count
    return list(jax.vmap(functools.partial(jax.random.split, num=count), out_axes=1)(keys))


def interpolate_sorted(
    x: Float[Array, " q"], xp: Float[Array, " n"], fp: Float[Array, " n"]
) -> Float[Array, " q"]:
    """Piecewise linear interpolation: the value at ``x`` of the curve through ``(xp, fp)``.

    ``xp`` ascends and may stand still; values outside it are those of its ends.
    """
    # Comparing all pairs beats a binary search under vmap: no loop, no gather within it.
    upper = jnp.searchsorted(xp, x, side="right", method="compare_all")
    upper = jnp.clip(upper, 1, xp.shape[0] - 1)
    lower = upper - 1
    # Knots that stand still are met only at the ends, where x is on or beyond both of them.
    beyond = jnp.where(x < xp[lower], 0.0, 1.0)
    part = safe_divide(x - xp[lower], xp[upper] - xp[lower], beyond)
    return fp[lower] + jnp.clip(part, 0.0, 1.0) * (fp[upper] - fp[lower])


@jax.custom_jvp
def bounded_exp(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """``exp(x)``, its gradient's exponent at most 15: a density that may be very large and still
    be trained. The value itself is bounded where float32 ends.
    """
    return jnp.exp(jnp.minimum(x, 80.0))


@bounded_exp.defjvp
def _bounded_exp_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    return bounded_exp(x), jnp.exp(jnp.minimum(x, 15.0)) * dx
