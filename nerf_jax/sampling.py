"""Where along a ray to look.

Notation: a ray is cut into ``S`` intervals by its edges ``t[E]``, ``E = S + 1`` ascending distances
in world units. Samplers return edges; the field is read once in each interval. ``key=None`` means
deterministic.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nerf_jax.numerics import interpolate_sorted, safe_divide


def stratified(
    key: Array | None,
    near: float | Float[Array, ""],
    far: float | Float[Array, ""],
    num_samples: int,
) -> Float[Array, " {num_samples+1}"]:
    """Edges spread evenly from near to far, each jittered in a cell of its own.

    The stratified sampling of NeRF (Eq. 2), as its authors' code and mip-NeRF draw it: the cells
    end halfway between neighbouring edges, so the edges stay in order; the first and the last
    jitter too, inwards. The middles of jittered intervals fall more often near the middles of the
    bins, so the estimate has a small bias where the density jumps (notebook 02 shows it).

    Args:
        key: a PRNG key; None leaves the edges even, and :func:`midpoints` are then the bins' own.
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
    """The middle of each interval."""
    return (edges[:-1] + edges[1:]) / 2


def inverse_cdf(
    key: Array | None,
    edges: Float[Array, " E"],
    weights: Float[Array, " E-1"],
    num_samples: int,
) -> Float[Array, " {num_samples+1}"]:
    """Edges drawn in proportion to weights: hierarchical sampling (NeRF, Section 5.2).

    The weights make a density that is constant over each interval; its cumulative distribution
    is inverted at stratified places. Weights that are all zero count as all alike.

    Args:
        key: a PRNG key, or None for evenly spaced quantiles.
        edges: of the intervals that the weights belong to.
        weights: non-negative, of any sum.
        num_samples: N, the number of intervals wanted.

    Returns:
        ``N + 1`` ascending edges within ``[edges[0], edges[-1]]``.
    """
    # A floor under every interval, relative to the sum where there is one (as NeRF's 1e-5): no
    # interval is ever quite closed, so a mistaken coarse field can recover.
    padded = weights + 1e-5 * jnp.maximum(jnp.sum(weights), 1e-5)
    cdf = jnp.concatenate([jnp.zeros(1), jnp.cumsum(padded)])
    cdf = safe_divide(cdf, jnp.broadcast_to(cdf[-1], cdf.shape))
    return interpolate_sorted(stratified(key, 0.0, 1.0, num_samples), cdf, edges)


def blur_weights(w: Float[Array, " S"], *, padding: float) -> Float[Array, " S"]:
    """Weights that reach a neighbour further, mip-NeRF (Barron et al., 2021), Eq. 18.

    The maxima of neighbouring pairs, then the means of neighbouring maxima: an envelope, since what
    one interval of a ray holds may be in the next one of the ray beside it.

    Args:
        w: non-negative weights.
        padding: added to all, so that empty places are looked at too.
    """
    extended = jnp.concatenate([w[:1], w, w[-1:]])
    return midpoints(jnp.maximum(extended[:-1], extended[1:])) + padding


def anneal_weights(
    w: Float[Array, " S"], fraction: float | Float[Array, ""], *, slope: float = 10.0
) -> Float[Array, " S"]:
    """Weights that are all alike at first, and themselves in the end.

    mip-NeRF 360 (Barron et al., 2022), Section 4: ``w`` to the power of ``b x / ((b - 1) x + 1)``,
    Schlick's bias. While a proposal knows little, what is drawn from it should not be sure.

    Args:
        w: non-negative weights.
        fraction: x, the part of training that is done, in [0, 1].
        slope: b, how fast the power leaves 0.
    """
    power = slope * fraction / ((slope - 1) * fraction + 1)
    # The slope of a power less than 1 is infinite at zero: it is left out there.
    positive = w > 0
    return jnp.where(positive, jnp.where(positive, w, 1.0) ** power, 0.0**power)
