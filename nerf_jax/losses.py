"""What training makes small.

Notation: a ray is cut into ``S`` intervals by its edges ``t[E]``, ``E = S + 1``, and ``w[S]`` are
their weights, from :mod:`nerf_jax.compositing`; a proposal for it has ``P`` edges.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nerf_jax.packing import Packed, cumsum_by_ray, last_of_each_ray


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
    return jnp.mean(_huber(rgb - target, delta), axis=-1)


def _huber(error: Float[Array, "*n"], delta: float) -> Float[Array, "*n"]:
    size = jnp.abs(error)
    within = jnp.minimum(size, delta)
    return within * (size - within / 2) / delta


def photometric(
    rgb: Float[Array, "*n 3"], target: Float[Array, "*n 3"], delta: float
) -> Float[Array, "*n"]:
    """The loss of a ray's colour: Huber's, or L2 where ``delta`` is 0."""
    return huber(rgb, target, delta) if delta else squared_error(rgb, target)


def depth_error(
    depth: Float[Array, "*n"], known: Float[Array, "*n"], *, delta: float = 0.1
) -> Float[Array, "*n"]:
    """How far the depth of a ray is from a known one: Huber's loss of the logarithm of their ratio.

    Depths are known from sparse points (DS-NeRF, Deng et al., 2022) or a laser (Urban Radiance
    Fields, Rematas et al., 2022), and some are wrong. Captures reach from near to far, in a unit of
    their own: so it is the ratio that counts. And its logarithm changes about as that of a density
    does, near and far: a ray that hits little or nothing, whose depth is its end, is drawn no
    harder than others.

    Args:
        depth: the expected distance, as in :class:`nerf_jax.types.Rendering`: positive.
        known: what it should be; 0 where it is not known, where there is no error.
        delta: of the logarithm: what is further off counts linearly.
    """
    return _huber(jnp.log(depth / jnp.where(known > 0, known, depth)), delta)


def masked_mean(values: Float[Array, " R"], counts: Float[Array, " R"]) -> Float[Array, ""]:
    """The mean over the rays that count; zero where none does."""
    return jnp.sum(values * counts) / jnp.maximum(jnp.sum(counts), 1.0)


def distortion(w: Float[Array, " S"], edges: Float[Array, " S+1"]) -> Float[Array, ""]:
    """How far the weights of a ray lie apart: made small, they gather at one place.

    mip-NeRF 360 (Barron et al., 2022), Eq. 15, with the intervals' middles ``m``:
    ``sum_ij w_i w_j |m_i - m_j| + sum_i w_i^2 (t_(i+1) - t_i) / 3``. No pair is ever formed: the
    way from one middle to the next is part of all pairs of a weight before it and one behind.

    Args:
        w: weights.
        edges: ascending, in whatever unit distance shall count; the paper's are in [0, 1].
    """
    ways = (edges[2:] - edges[:-2]) / 2
    # Sums from both ends: what is left of a total after a subtraction would be rounding, where
    # nearly all weight lies before.
    before, behind = jnp.cumsum(w)[:-1], jnp.cumsum(w[::-1])[::-1][1:]
    return 2 * jnp.sum(ways * before * behind) + jnp.sum(w**2 * jnp.diff(edges)) / 3


def distortion_packed(
    w: Float[Array, " M"],
    t: Float[Array, " M"],
    delta: Float[Array, ""] | Float[Array, " M"],
    packed: Packed,
    longest: int,
) -> Float[Array, " R"]:
    """:func:`distortion` of R rays from what is packed of them, to rounding.

    Args:
        w: weights, as of :func:`nerf_jax.compositing.weights_packed`.
        t: the intervals' middles, ascending along each ray.
        delta: their lengths, or the one of all.
        packed: whose the intervals are.
        longest: no ray has more of them than that.

    Returns:
        One value for each ray; zero for rays without intervals.
    """
    reached = cumsum_by_ray(w, packed, longest)
    total = last_of_each_ray(reached, packed)[packed.ray]
    before, last = (jnp.pad(x, (1, 0))[:-1] for x in (reached, t))
    apart = jnp.where(packed.rank > 0, (t - last) * before * (total - before), 0.0)
    return last_of_each_ray(cumsum_by_ray(2 * apart + w**2 * delta / 3, packed, longest), packed)


def interlevel(
    edges: Float[Array, " E"],
    w: Float[Array, " E-1"],
    proposal_edges: Float[Array, " P"],
    proposal_w: Float[Array, " P-1"],
) -> Float[Array, ""]:
    """The weight that a proposal did not see coming: made small, it covers what is there.

    mip-NeRF 360 (Barron et al., 2022), Eq. 13: of each interval's weight, what exceeds the sum of
    the proposal's weights over all intervals that it shares a length with, squared and over the
    weight. A proposal may well see too much: how its weight lies within its intervals is not
    known. The gradient is stopped here on the side of ``w``: the proposal follows the scene, and
    never the scene the proposal.

    Args:
        edges, w: of the ray as it was rendered.
        proposal_edges, proposal_w: of the ray as it was foreseen, over at least the same range.
    """
    w = jax.lax.stop_gradient(w)
    reached = jnp.pad(jnp.cumsum(proposal_w), (1, 0))
    num_proposed = proposal_w.shape[0]
    first = jnp.searchsorted(proposal_edges, edges[:-1], side="right", method="compare_all") - 1
    first = jnp.clip(first, 0, num_proposed - 1)
    end = jnp.searchsorted(proposal_edges, edges[1:], side="left", method="compare_all")
    # An interval without length lies within one of the proposal's all the same.
    end = jnp.clip(end, first + 1, num_proposed)
    excess = jnp.maximum(w - (reached[end] - reached[first]), 0.0)
    # Where there is no weight there is no excess; less than the grain of single precision beside
    # 1 is none either, and would overflow the gradient.
    return jnp.sum(excess**2 / jnp.maximum(w, 1e-7))
