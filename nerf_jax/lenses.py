"""Lenses: where a direction falls on the image plane, and which direction falls there.

Directions are in camera axes: x right, y up, looking along -z. Places are on the image plane at
unit focal length, in image axes: x right, y down. An ideal lens shows what is at the angle theta
from its axis at ``tan theta`` from the centre, or, a fisheye, at ``theta``: a fisheye sees what is
beside and behind it as well. A real one then moves that place by a polynomial, the same for both:
:class:`nerf_jax.types.Lens`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from nerf_jax.numerics import normalize, safe_divide, safe_norm
from nerf_jax.types import HostArray, Lens

# Four are enough for most of an image; the rest are for what is close to the lens's edge.
_NEWTON_STEPS = 10
# Of the polynomial's derivative, 1 at the centre and 0 at the edge.
_LEAST_DETERMINANT = 0.01
# A pinhole's tan theta: wider than any lens, and its ninth power still fits a float32.
_LARGEST_TANGENT = 1e3


def to_image_plane(lens: Lens | None, direction: Float[HostArray, "3"]) -> Float[Array, "2"]:
    """Where one lens shows what lies in a direction, of any length.

    Args:
        lens: None: a pinhole.
        direction: in camera axes.

    Returns:
        The place on the image plane at unit focal length. Without a fisheye, what is beside or
        behind the camera has none, and the centre stands for it. Beyond the edge of a lens, where
        its polynomial turns back, the place is the polynomial's, though nothing is seen there.
    """
    x, y, z = normalize(jnp.asarray(direction))
    across, ahead = jnp.stack([x, -y]), -z
    radius = safe_norm(across)
    in_front = ahead * _LARGEST_TANGENT > radius
    pinhole = jnp.where(in_front, across / jnp.where(in_front, ahead, 1.0), 0.0)
    if lens is None:
        return pinhole
    # On the axis nothing is divided by zero, and at the camera itself there is no angle.
    theta = jnp.arctan2(radius, jnp.where((radius > 0) | (ahead != 0), ahead, 1.0))
    fisheye = across * safe_divide(theta, radius, 1.0)
    return distort(lens, jnp.where(lens.fisheye, fisheye, pinhole))


def from_image_plane(lens: Lens | None, place: Float[HostArray, "2"]) -> Float[Array, "3"]:
    """What one lens shows at a place on its image plane: the inverse of :func:`to_image_plane`.

    Args:
        lens: None: a pinhole.
        place: on the image plane at unit focal length.

    Returns:
        A direction in camera axes, its length not one in general. Beyond the edge of a lens,
        something near the edge.
    """
    x, y = place if lens is None else undistort(lens, place)
    pinhole = jnp.stack([x, -y, -jnp.ones_like(x)])
    if lens is None:
        return pinhole
    theta = safe_norm(jnp.stack([x, y]))
    part = jnp.sinc(theta / jnp.pi)  # sin(theta) / theta
    fisheye = jnp.stack([x * part, -y * part, -jnp.cos(theta)])
    return jnp.where(lens.fisheye, fisheye, pinhole)


def distort(lens: Lens, ideal: Float[HostArray, "2"]) -> Float[Array, "2"]:
    """Where one lens shows what an ideal lens would show at ``ideal``: OpenCV's polynomial."""
    x, y = ideal
    k1, k2, k3, k4 = lens.radial
    p1, p2 = jnp.where(lens.fisheye, 0.0, lens.tangential)
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k4)))
    return jnp.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ]
    )


def undistort(lens: Lens, place: Float[HostArray, "2"]) -> Float[Array, "2"]:
    """Where an ideal lens would show what one lens shows at ``place``: inverts :func:`distort`.

    By Newton's method in a fixed number of steps; the gradient, with respect to the place and to
    the lens, is the implicit function theorem's. A polynomial may turn back at some radius, the
    lens's edge, and nothing is shown beyond it: a place there gives one within the edge.
    """
    place = jnp.asarray(place)
    fixed, goal = jax.lax.stop_gradient((lens, place))

    def newton(_: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        ideal, part = state
        step = _solve(_derivative(fixed, ideal), goal - distort(fixed, ideal))
        further = ideal + part * step
        # A step over the edge is not taken, and the next is half as long.
        inside = _is_inside(fixed, further)
        part = jnp.where(inside, jnp.minimum(2 * part, 1.0), part / 2)
        return jnp.where(inside, further, ideal), part

    start = 0.0 * goal, 1.0 + 0.0 * goal[0]  # the first step is to the place itself
    ideal, _ = jax.lax.fori_loop(0, _NEWTON_STEPS, newton, start)
    # distort(lens, ideal) = place, differentiated; the value of this last step is zero.
    error = place - distort(lens, ideal)
    return ideal + _solve(_derivative(fixed, ideal), error - jax.lax.stop_gradient(error))


def _derivative(lens: Lens, ideal: Float[Array, "2"]) -> Float[Array, "2 2"]:
    return jax.jacfwd(distort, argnums=1)(lens, ideal)


def _is_inside(lens: Lens, ideal: Float[Array, "2"]) -> Bool[Array, ""]:
    """Whether a place is within the edge: the image there is neither folded nor mirrored."""
    (a, b), (c, d) = _derivative(lens, ideal)
    return (a * d - b * c > _LEAST_DETERMINANT) & (a + d > 0)


def _solve(matrix: Float[Array, "2 2"], vector: Float[Array, "2"]) -> Float[Array, "2"]:
    """Cramer's rule, for matrices of the places within the edge."""
    (a, b), (c, d) = matrix
    x, y = vector
    return jnp.stack([d * x - b * y, a * y - c * x]) / (a * d - b * c)
