"""Lenses: the image point of a direction, and the direction of an image point.

Directions are in camera axes: x right, y up, looking along -z. Points are on the image plane at
unit focal length, in image axes: x right, y down. An ideal lens maps the angle theta from its axis
to the radius ``tan theta``, and a fisheye to ``theta``, also beside and behind the camera. A real
lens then distorts the point by a polynomial, the same for both: :class:`nerf_jax.types.Lens`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from nerf_jax.numerics import normalize, safe_divide, safe_norm
from nerf_jax.types import HostArray, Lens

# Four are enough for most of an image; the rest are for points close to the lens's edge.
_NEWTON_STEPS = 10
# From the axis to a right angle, or to 180 degrees for a fisheye: the radii that Newton starts at.
_NUM_ANGLES = 64
# Of the polynomial's derivative, 1 at the centre and 0 at the edge. No lens magnifies tenfold.
_LEAST_DETERMINANT, _LARGEST_DETERMINANT = 0.01, 100.0
# Of an image point, relative to its distance from the centre, or 1: 0.1 of 1000 pixels.
_TOLERANCE = 1e-4
# A pinhole's tan theta: wider than any lens, and its ninth power still fits a float32.
_LARGEST_TANGENT = 1e3


def to_image_plane(lens: Lens | None, direction: Float[HostArray, "3"]) -> Float[Array, "2"]:
    """The image point of a direction of any length.

    Args:
        lens: None: a pinhole.
        direction: in camera axes.

    Returns:
        The point on the image plane at unit focal length. Unless the lens is a fisheye, directions
        beside or behind the camera are mapped to the centre. Beyond the edge of a lens, where its
        polynomial is not monotone, the point is the polynomial's, though nothing is visible there.
    """
    x, y, z = normalize(jnp.asarray(direction))
    xy, depth = jnp.stack([x, -y]), -z
    radius = safe_norm(xy)
    in_front = depth * _LARGEST_TANGENT > radius
    pinhole = jnp.where(in_front, xy / jnp.where(in_front, depth, 1.0), 0.0)
    if lens is None:
        return pinhole
    # Finite on the axis and for the zero vector, which has no angle.
    theta = jnp.arctan2(radius, jnp.where((radius > 0) | (depth != 0), depth, 1.0))
    fisheye = xy * safe_divide(theta, radius, 1.0)
    return distort(lens, jnp.where(lens.fisheye, fisheye, pinhole))


def from_image_plane(lens: Lens | None, point: Float[HostArray, "2"]) -> Float[Array, "3"]:
    """The direction of an image point: the inverse of :func:`to_image_plane`.

    Args:
        lens: None: a pinhole.
        point: on the image plane at unit focal length.

    Returns:
        A direction in camera axes, not of unit length in general. Beyond the edge of a lens, a
        direction near the edge.
    """
    x, y = point if lens is None else undistort(lens, point)
    pinhole = jnp.stack([x, -y, -jnp.ones_like(x)])
    if lens is None:
        return pinhole
    theta = safe_norm(jnp.stack([x, y]))
    sinc = jnp.sinc(theta / jnp.pi)  # sin(theta) / theta
    fisheye = jnp.stack([x * sinc, -y * sinc, -jnp.cos(theta)])
    return jnp.where(lens.fisheye, fisheye, pinhole)


def distort(lens: Lens, ideal: Float[HostArray, "2"]) -> Float[Array, "2"]:
    """The distorted point of an ideal lens's point: OpenCV's polynomial."""
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


def undistort(lens: Lens, point: Float[HostArray, "2"]) -> Float[Array, "2"]:
    """The ideal lens's point of a distorted point: the inverse of :func:`distort`.

    Newton's method in a fixed number of steps, from the largest of some radii within the edge whose
    image is not beyond the point; the gradient, with respect to the point and to the lens, is the
    implicit function theorem's. A polynomial may have a maximum at some radius, the lens's edge,
    with nothing visible beyond: points there give one within the edge; :func:`has_ray` is False.
    """
    point = jnp.asarray(point)
    fixed, goal = jax.lax.stop_gradient((lens, point))

    def newton(_: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        ideal, damping = state
        step = _solve(_derivative(fixed, ideal), goal - distort(fixed, ideal))
        further = ideal + damping * step
        # A step beyond the edge is not taken, and the next is half as long.
        inside = _is_inside(fixed, further)
        damping = jnp.where(inside, jnp.minimum(2 * damping, 1.0), damping / 2)
        return jnp.where(inside, further, ideal), damping

    start = _first_radius(fixed, safe_norm(goal)) * normalize(goal)
    start = jnp.where(_is_inside(fixed, start), start, 0.0)
    ideal, _ = jax.lax.fori_loop(0, _NEWTON_STEPS, newton, (start, 1.0 + 0.0 * goal[0]))
    # distort(lens, ideal) = point, differentiated; the value of this last step is zero.
    error = point - distort(lens, ideal)
    return ideal + _solve(_derivative(fixed, ideal), error - jax.lax.stop_gradient(error))


def has_ray(lens: Lens | None, point: Float[HostArray, "2"]) -> Bool[Array, ""]:
    """Whether an image point has a direction: whether a lens can show anything there.

    There is none beyond the edge of a lens, nor where it magnifies more than lenses can, nor
    at more than 180 degrees from a fisheye's axis.
    """
    if lens is None:
        return jnp.array(True)
    point = jnp.asarray(point)
    ideal = undistort(lens, point)
    (a, b), (c, d) = _derivative(lens, ideal)
    error = safe_norm(distort(lens, ideal) - point)
    found = error <= _TOLERANCE * jnp.maximum(safe_norm(point), 1.0)
    possible = _is_inside(lens, ideal) & (a * d - b * c < _LARGEST_DETERMINANT)
    return found & possible & (~lens.fisheye | (safe_norm(ideal) <= jnp.pi))


def _first_radius(lens: Lens, radius: Float[Array, ""]) -> Float[Array, ""]:
    """The last ideal radius of a grid up to which the image grows, and is not beyond a radius."""
    angle = np.arange(_NUM_ANGLES) * (np.pi / 2 / _NUM_ANGLES)
    r = jnp.where(lens.fisheye, np.float32(2 * angle), np.float32(np.tan(angle)))
    k, r2 = lens.radial, r * r
    image = r * (1 + r2 * (k[0] + r2 * (k[1] + r2 * (k[2] + r2 * k[3]))))
    slope = 1 + r2 * (3 * k[0] + r2 * (5 * k[1] + r2 * (7 * k[2] + r2 * 9 * k[3])))
    below = (slope > _LEAST_DETERMINANT) & (image <= radius)
    return jnp.max(jnp.where(r < jnp.min(jnp.where(below, jnp.inf, r)), r, 0.0))


def _derivative(lens: Lens, ideal: Float[Array, "2"]) -> Float[Array, "2 2"]:
    return jax.jacfwd(distort, argnums=1)(lens, ideal)


def _is_inside(lens: Lens, ideal: Float[Array, "2"]) -> Bool[Array, ""]:
    """Whether a point is within the edge: the image there is neither folded nor mirrored."""
    (a, b), (c, d) = _derivative(lens, ideal)
    return (a * d - b * c > _LEAST_DETERMINANT) & (a + d > 0)


def _solve(matrix: Float[Array, "2 2"], vector: Float[Array, "2"]) -> Float[Array, "2"]:
    """Cramer's rule, for the non-singular matrices within the edge."""
    (a, b), (c, d) = matrix
    x, y = vector
    return jnp.stack([d * x - b * y, a * y - c * x]) / (a * d - b * c)
