"""Compositing: from densities along a ray to its colour, opacity and depth.

Notation: ``S`` intervals with densities ``sigma`` (per world unit), lengths ``delta``,
transmittances ``T``, weights ``w`` and edges ``t[S+1]``.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from nerf_jax.numerics import optical_depth
from nerf_jax.packing import Packed, cumsum_by_ray, last_of_each_ray
from nerf_jax.sampling import midpoints
from nerf_jax.types import HostArray, Rendering

Background = Literal["white", "black", "random"]
"""``random``: a colour for every training ray, so that transparency must be learned."""

MIN_WEIGHT = 1e-6
"""Rays with less opacity have hit nothing, and their depth is ``far``."""


def transmittance(sigma: Float[Array, " S"], delta: Float[Array, " S"]) -> Float[Array, " S"]:
    """The share of the light that reaches each interval: ``T_i = exp(-sum_{j<i} sigma_j delta_j)``.

    NeRF, below Eq. 3. Exclusive: the first value is 1.
    """
    tau = optical_depth(sigma, delta)
    before = jnp.concatenate([jnp.zeros(1), jnp.cumsum(tau[:-1])])
    return jnp.exp(-before)


def weights(sigma: Float[Array, " S"], delta: Float[Array, " S"]) -> Float[Array, " S"]:
    """The contribution of each interval to the pixel: ``w_i = T_i (1 - exp(-sigma_i delta_i))``.

    NeRF, Eq. 3. Non-negative, and the sum is at most 1.
    """
    return transmittance(sigma, delta) * -jnp.expm1(-optical_depth(sigma, delta))


def composite(
    w: Float[Array, " S"], rgb: Float[Array, "S 3"], edges: Float[Array, " S+1"]
) -> Rendering:
    """The line integrals along a ray: colour, opacity, and two depths.

    Args:
        w: weights.
        rgb: colours.
        edges: distances along the ray.

    Returns:
        The rendering without a background; see :func:`over`.
    """
    opacity = jnp.sum(w)
    depth = expected_depth(jnp.sum(w * midpoints(edges)), opacity, edges[-1])
    return Rendering(w @ rgb, opacity, depth, _median(w, edges))


def expected_depth(
    moment: Float[Array, "*n"], opacity: Float[Array, "*n"], far: Float[Array, "*n"]
) -> Float[Array, "*n"]:
    """The mean distance of the light that is absorbed; ``far`` where there is none.

    In between, the share of ``far`` is ``exp(-opacity / MIN_WEIGHT)``: smooth, so that there is a
    gradient, and nothing from an opacity of 1e-4 on, however far away ``far`` is.

    Args:
        moment: the sum of weights times distances.
        opacity: the sum of weights.
        far: where the ray ends.
    """
    # The quotient is bounded for its gradient, 1 / opacity^2; its share is then below 1e-6.
    mean = moment / jnp.maximum(opacity, 1e-6 * MIN_WEIGHT)
    hit = opacity / MIN_WEIGHT
    return mean * -jnp.expm1(-hit) + far * jnp.exp(-hit)


def _median(w: Float[Array, " S"], edges: Float[Array, " S+1"]) -> Float[Array, ""]:
    """The distance with half of the weight before it, linear within the interval."""
    reached = jnp.cumsum(w)
    half = reached[-1] / 2
    index = jnp.argmax(reached >= half)
    inside = w[index]
    # No weight at the median is below the bound, which is for the gradient.
    fraction = (half - (reached[index] - inside)) / jnp.maximum(inside, 1e-14)
    median = edges[index] + jnp.clip(fraction, 0.0, 1.0) * (edges[index + 1] - edges[index])
    return jnp.where(reached[-1] > MIN_WEIGHT, median, edges[-1])


def transmittance_packed(
    sigma: Float[Array, " M"], delta: Float[Array, " M"], packed: Packed, longest: int
) -> Float[Array, " M"]:
    """:func:`transmittance` of packed intervals, no ray having more than ``longest``."""
    reached = cumsum_by_ray(optical_depth(sigma, delta), packed, longest)
    before = jnp.pad(reached, (1, 0))[:-1]
    return jnp.exp(-jnp.where(packed.rank > 0, before, 0.0))


def weights_packed(
    sigma: Float[Array, " M"], delta: Float[Array, " M"], packed: Packed, longest: int
) -> Float[Array, " M"]:
    """:func:`weights` of packed intervals, no ray having more than ``longest``."""
    alpha = -jnp.expm1(-optical_depth(sigma, delta))
    return transmittance_packed(sigma, delta, packed, longest) * alpha


def composite_packed(
    w: Float[Array, " M"],
    rgb: Float[Array, "M 3"],
    t: Float[Array, " M"],
    delta: Float[Array, " M"],
    far: Float[Array, " R"],
    packed: Packed,
    longest: int,
) -> Rendering:
    """The line integrals of R rays from packed intervals: :func:`composite`, to rounding.

    Args:
        w: weights.
        rgb: colours.
        t: the intervals' midpoints.
        delta: their lengths.
        far: where the rays end.
        packed: the intervals' rays.
        longest: a bound on the intervals of a ray.
    """
    sums = cumsum_by_ray(jnp.stack([w, w * t, *(w[:, None] * rgb).T], axis=1), packed, longest)
    total = last_of_each_ray(sums, packed)
    opacity = total[:, 0]
    depth = expected_depth(total[:, 1], opacity, far)
    half = opacity[packed.ray] / 2
    before = sums[:, 0] - w
    crossed = (sums[:, 0] >= half) & ((before < half) | (packed.rank == 0))
    inside = t + delta * (jnp.clip((half - before) / jnp.maximum(w, 1e-14), 0.0, 1.0) - 0.5)
    # The first one that crosses: by rounding there may be two.
    first = cumsum_by_ray(crossed.astype(jnp.float32), packed, longest) == 1
    median = last_of_each_ray(
        cumsum_by_ray(jnp.where(crossed & first, inside, 0.0), packed, longest), packed
    )
    return Rendering(total[:, 2:], opacity, depth, jnp.where(opacity > MIN_WEIGHT, median, far))


def over(
    rgb: Float[Array, "*#n 3"], opacity: Float[Array, "*#n"], background: Float[Array, "*#n 3"]
) -> Float[Array, "*#n 3"]:
    """A colour premultiplied by its opacity, over a background."""
    return rgb + (1.0 - opacity[..., None]) * jnp.broadcast_to(background, rgb.shape)


def to_float(pixels: Shaped[HostArray, "*n"]) -> Float[HostArray, "*n"]:
    """Pixel values in [0, 1]: integers of 8 bits divided by 255, floats as they are."""
    return pixels / np.float32(255) if jnp.issubdtype(pixels.dtype, jnp.integer) else pixels


def pixel_over(
    pixel: Float[Array, "*#n C"], background: Float[Array, "*#n 3"]
) -> Float[Array, "*#n 3"]:
    """A photo's colour over a background, by its straight alpha if it has one."""
    rgb = pixel[..., :3]
    if pixel.shape[-1] == 3:
        return rgb
    alpha = pixel[..., 3]
    return over(rgb * alpha[..., None], alpha, background)


def solid_background(background: Background) -> Float[Array, "3"]:
    """The background of rendered views: white where that of training is random."""
    return jnp.zeros(3) if background == "black" else jnp.ones(3)


def sample_background(background: Background, key: Array) -> tuple[Float[Array, "3"], Array]:
    """The background of one training ray, and the key for its samples."""
    if background != "random":
        return solid_background(background), key
    color_key, key = jax.random.split(key)
    return jax.random.uniform(color_key, (3,)), key
