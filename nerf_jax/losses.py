"""Losses: photometric, depth, and regularisers of the weights along a ray.

Notation: a ray is cut into ``S`` intervals by its edges ``t[E]``, ``E = S + 1``, and ``w[S]`` are
their weights, from :mod:`nerf_jax.compositing`; a proposal has ``P`` edges.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nerf_jax.packing import Packed, cumsum_by_ray, last_of_each_ray


def squared_error(rgb: Float[Array, "*n 3"], target: Float[Array, "*n 3"]) -> Float[Array, "*n"]:
    """L2 loss of a ray's colour, the mean over its channels (NeRF, Eq. 6)."""
    return jnp.mean((rgb - target) ** 2, axis=-1)


def huber(
    rgb: Float[Array, "*n 3"], target: Float[Array, "*n 3"], delta: float
) -> Float[Array, "*n"]:
    """Huber loss of a ray's colour, divided by ``delta``: the mean over its channels.

    Quadratic for errors up to ``delta`` and linear beyond, where its slope is 1: robust to a few
    rays with large errors (Huber, 1964).
    """
    return jnp.mean(_huber(rgb - target, delta), axis=-1)


def _huber(error: Float[Array, "*n"], delta: float) -> Float[Array, "*n"]:
    size = jnp.abs(error)
    within = jnp.minimum(size, delta)
    return within * (size - within / 2) / delta


def photometric(
    rgb: Float[Array, "*n 3"], target: Float[Array, "*n 3"], delta: float
) -> Float[Array, "*n"]:
    """The loss of a ray's colour: Huber, or L2 if ``delta`` is 0."""
    return huber(rgb, target, delta) if delta else squared_error(rgb, target)


def depth_error(
    depth: Float[Array, "*n"], known: Float[Array, "*n"], *, delta: float = 0.1
) -> Float[Array, "*n"]:
    """Depth supervision: Huber loss of the logarithm of the ratio of two depths.

    Depths are known from sparse points (DS-NeRF, Deng et al., 2022) or a laser (Urban Radiance
    Fields, Rematas et al., 2022), and some are wrong, hence Huber. The ratio is independent of the
    scene's unit and weighs near and far alike. Its logarithm changes about as the logarithm of a
    density does, so the gradient of a ray that hits little or nothing is no larger than another's.

    Args:
        depth: the expected distance, as in :class:`nerf_jax.types.Rendering`.
        known: the known distance; 0 where unknown, where the loss is 0.
        delta: of the logarithm: larger errors count linearly.
    """
    # Finite at depths of 0, and where they are too small for the gradient of their ratio.
    error = jnp.log(jnp.maximum(depth, 1e-30)) - jnp.log(jnp.where(known > 0, known, 1.0))
    return jnp.where(known > 0, _huber(error, delta), 0.0)


def termination_packed(
    w: Float[Array, " M"],
    t: Float[Array, " M"],
    known: Float[Array, " R"],
    packed: Packed,
    longest: int,
    *,
    spread: float = 0.1,
    wrong: float = 0.01,
) -> Float[Array, " R"]:
    """Depth supervision of R rays: minus the logarithm of the light that ends near a known depth.

    The likelihood of the depth if a ray ends at random, by its weights (DS-NeRF, Deng et al., 2022,
    Section 3.2). A mean depth says nothing of how much light ends at all: an object may become
    transparent before a learned environment, and its cells, found empty, are then never read again.

    Args:
        w: weights, as of :func:`nerf_jax.compositing.weights_packed`.
        t: the intervals' midpoints.
        known: the known distance of each ray; 0 where unknown, where the loss is 0.
        packed: the intervals' rays.
        longest: a bound on the intervals of a ray.
        spread: the standard deviation of the logarithm of a depth.
        wrong: the share of light that ends near a wrong depth by chance: it bounds the loss.
    """
    own = known[packed.ray]
    off = jnp.log(jnp.maximum(t, 1e-30)) - jnp.log(jnp.where(own > 0, own, 1.0))
    near = cumsum_by_ray(w * jnp.exp(-((off / spread) ** 2) / 2), packed, longest)
    found = last_of_each_ray(near, packed)
    return jnp.where(known > 0, -jnp.log(found + wrong), 0.0)


def decayed(
    weight: float, final: float, progress: Float[Array, ""] | None
) -> Float[Array, ""] | float:
    """A weight that falls exponentially as progress goes from 0 to 1, to ``final`` times itself."""
    return weight if progress is None else weight * final**progress


def masked_mean(values: Float[Array, " R"], mask: Float[Array, " R"]) -> Float[Array, ""]:
    """The mean over the rays whose mask is 1; zero if there are none."""
    return jnp.sum(values * mask) / jnp.maximum(jnp.sum(mask), 1.0)


def distortion(w: Float[Array, " S"], edges: Float[Array, " S+1"]) -> Float[Array, ""]:
    """The distortion loss, which concentrates the weights of a ray.

    mip-NeRF 360 (Barron et al., 2022), Eq. 15, with the intervals' midpoints ``m``:
    ``sum_ij w_i w_j |m_i - m_j| + sum_i w_i^2 (t_(i+1) - t_i) / 3``. Linear in S: the gap between
    two midpoints belongs to all pairs of a weight before it and one behind it.

    Args:
        w: weights.
        edges: ascending, in any unit; the paper's are in [0, 1].
    """
    gaps = (edges[2:] - edges[:-2]) / 2
    # Sums from both ends: the difference to the total would be rounding error where nearly all
    # weight is before the gap.
    before, behind = jnp.cumsum(w)[:-1], jnp.cumsum(w[::-1])[::-1][1:]
    return 2 * jnp.sum(gaps * before * behind) + jnp.sum(w**2 * jnp.diff(edges)) / 3


def distortion_packed(
    w: Float[Array, " M"],
    t: Float[Array, " M"],
    delta: Float[Array, ""] | Float[Array, " M"],
    packed: Packed,
    longest: int,
) -> Float[Array, " R"]:
    """:func:`distortion` of R rays from packed intervals, to rounding.

    Args:
        w: weights, as of :func:`nerf_jax.compositing.weights_packed`.
        t: the intervals' midpoints, ascending along each ray.
        delta: their lengths, or one for all.
        packed: the intervals' rays.
        longest: a bound on the intervals of a ray.

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
    """The interlevel loss, which makes a proposal an upper bound of the weights.

    mip-NeRF 360 (Barron et al., 2022), Eq. 13: the excess of each interval's weight over the sum of
    the proposal's weights in all overlapping intervals, squared and divided by the weight. There is
    no loss where the proposal is larger, as its distribution within its intervals is unknown. The
    gradient with respect to ``w`` is stopped: the proposal follows the scene, and not the reverse.

    Args:
        edges, w: of the ray as rendered.
        proposal_edges, proposal_w: of the proposal, over at least the same range.
    """
    w = jax.lax.stop_gradient(w)
    reached = jnp.pad(jnp.cumsum(proposal_w), (1, 0))
    num_proposed = proposal_w.shape[0]
    first = jnp.searchsorted(proposal_edges, edges[:-1], side="right", method="compare_all") - 1
    first = jnp.clip(first, 0, num_proposed - 1)
    end = jnp.searchsorted(proposal_edges, edges[1:], side="left", method="compare_all")
    # An interval of zero length is inside one of the proposal's too.
    end = jnp.clip(end, first + 1, num_proposed)
    excess = jnp.maximum(w - (reached[end] - reached[first]), 0.0)
    # Without weight there is no excess; where it is almost none, the gradient would overflow.
    return jnp.sum(excess**2 / jnp.maximum(w, 1e-7))
