"""Sample positions along a ray.

Notation: a ray is cut into ``S`` intervals by its edges ``t[E]``, ``E = S + 1`` ascending distances
in world units. Samplers return edges; the field is read once in each interval. ``key=None`` means
deterministic.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nerf_jax.numerics import safe_divide


def stratified(
    key: Array | None,
    near: float | Float[Array, ""],
    far: float | Float[Array, ""],
    num_samples: int,
) -> Float[Array, " {num_samples+1}"]:
    """Edges spread evenly from near to far, each jittered in a cell of its own.

    The stratified sampling of NeRF (Eq. 2), as its authors' code and mip-NeRF do it: the cells end
    halfway between neighbouring edges, so the edges stay in order; the first and the last jitter
    inwards. The midpoints of jittered intervals are more often near the centres of the bins, so
    the estimate has a small bias where the density jumps (notebook 02 shows it).

    Args:
        key: a PRNG key; None: the edges are even, and their :func:`midpoints` the bins' centres.
        near, far: distances of the two ends.
        num_samples: S, the number of intervals.

    Returns:
        ``S + 1`` edges.
    """
    u = jnp.linspace(0.0, 1.0, num_samples + 1)
    if key is not None:
        between = midpoints(u)
        lower = jnp.concatenate([u[:1], between])
        upper = jnp.concatenate([between, u[-1:]])
        u = lower + (upper - lower) * jax.random.uniform(key, u.shape)
    return near + (far - near) * u


def midpoints(edges: Float[Array, " E"]) -> Float[Array, " E-1"]:
    """The midpoint of each interval."""
    return (edges[:-1] + edges[1:]) / 2


def inverse_cdf(
    key: Array | None, edges: Float[Array, " E"], weights: Float[Array, " E-1"], num_samples: int
) -> Float[Array, " {num_samples+1}"]:
    """Edges drawn in proportion to weights: hierarchical sampling (NeRF, Section 5.2).

    The weights define a density that is constant over each interval; its cumulative distribution
    is inverted at stratified quantiles. Weights that are all zero count as equal.

    Args:
        key: a PRNG key, or None for evenly spaced quantiles.
        edges: of the intervals that the weights belong to.
        weights: non-negative, of any sum.
        num_samples: N, the number of new intervals.

    Returns:
        ``N + 1`` ascending edges within ``[edges[0], edges[-1]]``.
    """
    weights = safe_divide(weights, jnp.broadcast_to(jnp.max(weights), weights.shape))
    # A minimum for every interval, relative to the sum (NeRF's 1e-5): a wrong field can recover.
    padded = weights + 1e-5 * jnp.maximum(jnp.sum(weights), 1.0)
    cdf = jnp.concatenate([jnp.zeros(1), jnp.cumsum(padded)])
    cdf = safe_divide(cdf, jnp.broadcast_to(cdf[-1], cdf.shape))
    return interpolate_sorted(stratified(key, 0.0, 1.0, num_samples), cdf, edges)


def blur_weights(w: Float[Array, " S"], *, padding: float) -> Float[Array, " S"]:
    """Weights widened to the neighbouring intervals: mip-NeRF (Barron et al., 2021), Eq. 18.

    The maxima of neighbouring pairs, then the means of neighbouring maxima: an envelope, since a
    surface may be in the next interval of a neighbouring ray.

    Args:
        w: non-negative weights.
        padding: added to all weights, so that empty space is sampled too.
    """
    extended = jnp.concatenate([w[:1], w, w[-1:]])
    return midpoints(jnp.maximum(extended[:-1], extended[1:])) + padding


def anneal_weights(
    w: Float[Array, " S"], fraction: float | Float[Array, ""], *, slope: float = 10.0
) -> Float[Array, " S"]:
    """Weights that are uniform at the start of training and unchanged at its end.

    mip-NeRF 360 (Barron et al., 2022), Section 4: ``w`` to the power of ``b x / ((b - 1) x + 1)``,
    Schlick's bias: samples from proposals that have learned little are spread out.

    Args:
        w: non-negative weights.
        fraction: x, the share of the annealing that is done, in [0, 1].
        slope: b, how fast the power leaves 0.
    """
    power = slope * fraction / ((slope - 1) * fraction + 1)
    # A power below 1 has an infinite slope at zero, which is masked.
    positive = w > 0
    return jnp.where(positive, jnp.where(positive, w, 1.0) ** power, 0.0**power)


def split_each(keys: Array | None, count: int) -> list[Array | None]:
    """``count`` lists of keys, one key a ray in each, of one list of them; None for None."""
    if keys is None:
        return [None] * count
    return list(jax.vmap(functools.partial(jax.random.split, num=count), out_axes=1)(keys))


def interpolate_sorted(
    x: Float[Array, " q"], xp: Float[Array, " n"], fp: Float[Array, " n"]
) -> Float[Array, " q"]:
    """Piecewise linear interpolation of the points ``(xp, fp)``.

    Args:
        x: where to interpolate; outside ``xp`` the value is that of the nearest end.
        xp: ascending, with ties allowed.
        fp: the values at ``xp``.
    """
    # Comparing all pairs is faster than a binary search under vmap: no loop with a gather in it.
    upper = jnp.searchsorted(xp, x, side="right", method="compare_all")
    upper = jnp.clip(upper, 1, xp.shape[0] - 1)
    lower = upper - 1
    # Tied points are met only at the ends, where x is at or beyond both of them.
    beyond = jnp.where(x < xp[lower], 0.0, 1.0)
    fraction = safe_divide(x - xp[lower], xp[upper] - xp[lower], beyond)
    return fp[lower] + jnp.clip(fraction, 0.0, 1.0) * (fp[upper] - fp[lower])
