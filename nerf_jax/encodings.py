"""Encodings: coordinates in a higher dimension, so that a small network learns fine detail."""

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
        num_bands: L; 0: the input only.
        include_input: keep ``x`` itself in front.

    Returns:
        ``e = d * (2 L + include_input)`` values.
    """
    angles = jnp.outer(2.0 ** jnp.arange(num_bands), x)  # [L, d]
    waves = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=1)  # [L, 2, d]
    encoded = waves.reshape(-1)
    return jnp.concatenate([x, encoded]) if include_input else encoded


def integrated(
    mean: Float[Array, " d"], variance: Float[Array, " d"], num_bands: int
) -> Float[Array, " e"]:
    """The mean of :func:`frequency` over a Gaussian, Eq. 14 of mip-NeRF (Barron et al., 2021).

    A wave is damped by ``exp(-f^2 variance / 2)``, with ``f`` its frequency: bands finer than the
    footprint vanish, and do not alias, so that more bands do no harm.

    Args:
        mean: of one point.
        variance: along each axis; waves of one coordinate need no covariance.
        num_bands: L.

    Returns:
        ``e = 2 d L`` values as :func:`frequency` without the input, equal to it at zero variance.
    """
    waves = frequency(mean, num_bands, include_input=False).reshape(num_bands, 2, mean.size)
    damping = jnp.exp(jnp.outer(-(4.0 ** jnp.arange(num_bands)) / 2, variance))  # [L, d]
    return (waves * damping[:, None]).reshape(-1)


def spherical_harmonics(direction: Float[Array, "3"], degree: int) -> Float[Array, " {degree**2}"]:
    """Real spherical harmonics of a direction, band by band: ``l < degree``, ``-l <= m <= l``.

    Orthonormal over the sphere, with the Condon-Shortley phase, as Instant-NGP's code has them
    (Müller et al., 2022, Section 5.4). Polynomials, finite also at length zero.

    Args:
        direction: unit vector.
        degree: number of bands, 1 to 5.

    Raises:
        ValueError: another number of bands.
    """
    if not 1 <= degree <= 5:
        raise ValueError(f"spherical harmonics come in 1 to 5 bands, not {degree}")
    x, y, z = direction
    xx, yy, zz, xy, yz, xz = x * x, y * y, z * z, x * y, y * z, x * z
    bands = [
        [jnp.full_like(x, 0.28209479177387814)],
        [-0.48860251190291992 * y, 0.48860251190291992 * z, -0.48860251190291992 * x],
        [
            1.0925484305920792 * xy,
            -1.0925484305920792 * yz,
            0.94617469575756008 * zz - 0.31539156525252005,
            -1.0925484305920792 * xz,
            0.54627421529603959 * (xx - yy),
        ],
        [
            0.59004358992664352 * y * (yy - 3 * xx),
            2.8906114426405538 * xy * z,
            0.45704579946446572 * y * (1 - 5 * zz),
            0.3731763325901154 * z * (5 * zz - 3),
            0.45704579946446572 * x * (1 - 5 * zz),
            1.4453057213202769 * z * (xx - yy),
            0.59004358992664352 * x * (3 * yy - xx),
        ],
        [
            2.5033429417967046 * xy * (xx - yy),
            1.7701307697799304 * yz * (yy - 3 * xx),
            0.94617469575756008 * xy * (7 * zz - 1),
            0.66904654355728921 * yz * (3 - 7 * zz),
            (3.7024941420321507 * zz - 3.1735664074561294) * zz + 0.31735664074561293,
            0.66904654355728921 * xz * (3 - 7 * zz),
            0.47308734787878004 * (xx - yy) * (7 * zz - 1),
            1.7701307697799304 * xz * (3 * yy - xx),
            0.62583573544917614 * (xx * xx + yy * yy) - 3.7550144126950569 * xx * yy,
        ],
    ]
    return jnp.stack([value for band in bands[:degree] for value in band])
