"""The package's singularities, each handled once: values and gradients stay finite. And a tangent
that is quick on a CPU.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def safe_norm(x: Float[Array, "*n d"]) -> Float[Array, "*n"]:
    """Euclidean norm over the last axis, with gradient 0 (and not NaN) at the origin."""
    unit, largest = _by_largest(x)
    squared = jnp.sum(unit * unit, axis=-1)
    return jnp.sqrt(jnp.where(squared > 0, squared, 1.0)) * jnp.where(squared > 0, largest, 0.0)


def normalize(x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
    """Unit vectors; zero stays zero."""
    unit, _ = _by_largest(x)
    squared = jnp.sum(unit * unit, axis=-1, keepdims=True)
    return unit / jnp.sqrt(jnp.where(squared > 0, squared, 1.0))


def _by_largest(x: Float[Array, "*n d"]) -> tuple[Float[Array, "*n d"], Float[Array, "*n"]]:
    """A vector divided by its largest component, whose square then has no limits, and that."""
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1))
    largest = jnp.where(largest > 0, largest, 1.0)
    return x / largest[..., None], largest


def optical_depth(sigma: Float[Array, "*#n"], delta: Float[Array, "*#n"]) -> Float[Array, "*#n"]:
    """``sigma * delta``, the exponent of the Beer-Lambert law, at most 100.

    ``exp(-100)`` is negligible in any precision used here, so the bound changes no value; it keeps
    ``1e10 * 1e10`` finite, and the gradient from ``0 * inf``. Negative intervals are empty.
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
    return jnp.where(nonzero, _divide(numerator, jnp.where(nonzero, denominator, 1.0)), otherwise)


@jax.custom_jvp
def _divide(numerator: Float[Array, "*n"], denominator: Float[Array, "*n"]) -> Float[Array, "*n"]:
    return numerator / denominator


@_divide.defjvp
def _divide_jvp(primals: tuple[Array, Array], tangents: tuple) -> tuple[Array, Array]:
    (numerator, denominator), (d_numerator, d_denominator) = primals, tangents
    quotient = numerator / denominator
    # Without 1 / d^2, which overflows for a d of 1e-20: XLA would make one of two divisions. And
    # finite, as inf * 0 is NaN.
    largest = jnp.finfo(quotient.dtype).max
    slope = jax.lax.optimization_barrier(quotient) / denominator
    slope = jnp.clip(slope, -largest, largest)
    return quotient, d_numerator / denominator - slope * d_denominator


@jax.custom_jvp
def bounded_exp(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """``exp(x)`` whose gradient is at most ``exp(15)``, so that large densities can be trained.

    The value is bounded by the range of float32.
    """
    return jnp.exp(jnp.minimum(x, 80.0))


@bounded_exp.defjvp
def _bounded_exp_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    return bounded_exp(x), jnp.exp(jnp.minimum(x, 15.0)) * dx


_TAN = (9.38540186e-3, 3.11992233e-3, 2.44301355e-2, 5.34112807e-2, 1.33387994e-1, 3.33331569e-1)
_RIGHT_ANGLE = np.float32(np.pi / 2)
_REST = np.float32(np.pi / 2 - np.float64(_RIGHT_ANGLE))


def tan(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """The tangent for ``|x| < pi/2``, to single precision.

    A polynomial up to ``pi/4``, and the reciprocal of the rest's beyond (Moshier's Cephes library,
    tanf). XLA calls the C library for each value, which on a CPU takes a hundred times as long.
    """
    far = jnp.abs(x) > np.pi / 4
    # The right angle in two parts, so that the difference keeps all digits.
    sign = jnp.sign(x)
    rest = jnp.where(far, (sign * _RIGHT_ANGLE - x) + sign * _REST, x)
    square = rest * rest
    series = jnp.zeros_like(x)
    for coefficient in _TAN:
        series = (series + coefficient) * square
    near = rest + rest * series
    return jnp.where(far, 1 / jnp.where(far, near, 1.0), near)
