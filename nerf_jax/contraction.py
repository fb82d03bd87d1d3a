"""Contraction: maps from the world to the unit cube, and the steps along a ray that suit them.

Fields and occupancy grids are defined on the unit cube. A space maps world positions into it, and
cuts rays into steps that match the resolution there. Rays stay straight and distances stay in
world units: only positions are contracted, just before the field is read.

- :class:`Box`: an object, with nothing around it.
- :class:`Contracted`: a scene without bounds, seen from within (mip-NeRF 360, Eq. 10).
- :class:`Frustum`: a scene seen from one side: normalised device coordinates (NeRF, Appendix C).

Notation: ``K`` steps of a ray, ``t`` distances in world units.
"""

import math
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Num

from nerf_jax.lenses import from_image_plane, has_ray
from nerf_jax.numerics import safe_divide, safe_norm, tan
from nerf_jax.types import Cameras, Lens, Rays


class Even(NamedTuple):
    """Steps of equal length. This and the next two are spacings: coordinates ``s`` along a ray in
    which steps are even, with the distance ``t`` and its derivative by ``s``, the ``slope``.
    """

    def s(self, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return t

    def t(self, s: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return s

    def slope(self, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return jnp.ones_like(t)


class Proportional(NamedTuple):
    """Steps in proportion to the distance."""

    unit: Float[Array, ""]
    """The distance at which a step is as long as its ``s``."""

    def s(self, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return self.unit * jnp.log(t / self.unit)

    def t(self, s: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return self.unit * jnp.exp(s / self.unit)

    def slope(self, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return t / self.unit


class Angular(NamedTuple):
    """Steps of equal angle, seen from a point beside the ray: the shortest next to that point, and
    in proportion to the square of the distance far away, where ``1 / t`` is even.
    """

    closest: Float[Array, ""]
    """The distance along the ray at which the point is nearest."""
    apart: Float[Array, ""]
    """The distance between the point and the ray."""

    def s(self, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return jnp.arctan((t - self.closest) / self.apart)

    def t(self, s: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return self.closest + self.apart * tan(jnp.clip(s, -_RIGHT_ANGLE, _RIGHT_ANGLE))

    def slope(self, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return self.apart + (t - self.closest) ** 2 / self.apart


_RIGHT_ANGLE = math.pi / 2 - 1e-4
"""Nearly: its tangent is finite."""


class RaySteps(NamedTuple):
    """A ray's steps: the ``k``-th is at ``t(k)``, as long as that is before ``stop``."""

    start: Float[Array, ""]
    stop: Float[Array, ""]
    """At or before ``start``: the ray misses the space."""
    offset: Float[Array, ""]
    """The sample position within each step, in [0, 1)."""
    step: Float[Array, ""]
    """The length of a step in the coordinate of the spacing."""
    spacing: Even | Proportional | Angular

    def t(self, index: Num[Array, "*n"]) -> Float[Array, "*n"]:
        """The distances of steps; indices need not be whole."""
        return self.spacing.t(self.spacing.s(self.start) + (index + self.offset) * self.step)

    def length(self, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """The length of the step at a distance."""
        return self.step * self.spacing.slope(t)

    def num_steps(self) -> Float[Array, ""]:
        """The number of steps up to ``stop``: the inverse of ``t``, without the offset."""
        stop = jnp.maximum(self.stop, self.start)
        return (self.spacing.s(stop) - self.spacing.s(self.start)) / self.step


@runtime_checkable
class Space(Protocol):
    """The interface of a space for fields, occupancy grids and samplers."""

    def to_unit(self, position: Float[Array, "3"]) -> Float[Array, "3"]:
        """A world position in the unit cube; positions beyond the space are just outside of it."""

    def from_unit(self, unit: Float[Array, "3"]) -> Float[Array, "3"]:
        """The inverse of :meth:`to_unit`."""

    def scale(self, position: Float[Array, "3"]) -> Float[Array, ""]:
        """The size of a cell at a position, relative to where space is not contracted.

        A field's density is per that length, so that the opacity of a step does not depend on the
        distance from the centre: the same network serves all of space.
        """

    def step(self, num_steps: int) -> Float[Array, ""]:
        """The length of a step where the scale is 1, world units."""

    def ray_steps(self, offset: Float[Array, ""] | float, ray: Rays, num_steps: int) -> RaySteps:
        """At most K steps of a ray through the space.

        Args:
            offset: the sample position within each step, in [0, 1): a random one, or 0.5.
            ray: one.
            num_steps: K.
        """


def contains(space: Space, position: Float[Array, "3"]) -> Bool[Array, ""]:
    """Whether a world position is in a space; a contracted space contains all of them."""
    unit = space.to_unit(position)
    return jnp.all((unit >= 0) & (unit <= 1))


class Box(NamedTuple):
    """A bounded scene; the box is axis-aligned, in world units."""

    low: Float[Array, "3"]
    high: Float[Array, "3"]

    def to_unit(self, position: Float[Array, "3"]) -> Float[Array, "3"]:
        return (position - self.low) / (self.high - self.low)

    def from_unit(self, unit: Float[Array, "3"]) -> Float[Array, "3"]:
        return self.low + unit * (self.high - self.low)

    def scale(self, position: Float[Array, "3"]) -> Float[Array, ""]:
        return jnp.ones(())

    def step(self, num_steps: int) -> Float[Array, ""]:
        """A K-th of the diagonal."""
        return jnp.linalg.norm(self.high - self.low) / num_steps

    def ray_steps(self, offset: Float[Array, ""] | float, ray: Rays, num_steps: int) -> RaySteps:
        start, stop = intersect(ray, self)
        # A ray that misses has no steps but a finite position: unfilled slots read there, and
        # infinities there would give NaN gradients.
        hits = start < stop
        start, stop = jnp.where(hits, start, ray.near), jnp.where(hits, stop, ray.near)
        return RaySteps(start, stop, jnp.asarray(offset), self.step(num_steps), Even())


def intersect(ray: Rays, box: Box) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The ray-box intersection within near and far, by the slab method.

    Returns:
        The distances at which the ray enters and leaves; it leaves before it enters if it misses.
        A direction of length zero is inside the box along the whole ray, or outside.
    """
    # Parallel to a slab, a ray is always between its planes, or never. So is one that needs more
    # than 1e15 times its distance to cross: a quotient's gradient, 1 / d^2, must fit a float32.
    ahead = jnp.where((ray.origin >= box.low) & (ray.origin <= box.high), -jnp.inf, jnp.inf)
    moves = jnp.abs(ray.direction) > 1e-15
    direction = jnp.where(moves, ray.direction, 0.0)
    to_low = safe_divide(box.low - ray.origin, direction, ahead)
    to_high = safe_divide(box.high - ray.origin, direction, -ahead)
    first = jnp.where(moves, jnp.minimum(to_low, to_high), to_low)
    last = jnp.where(moves, jnp.maximum(to_low, to_high), to_high)
    return jnp.maximum(jnp.max(first), ray.near), jnp.minimum(jnp.min(last), ray.far)


class Contracted(NamedTuple):
    """An unbounded scene: identity inside a cube, contracted outside of it.

    In units of the cube's half side from its centre, with the maximum norm, so that the image is a
    cube again: ``x`` inside, ``(2 - 1/|x|) x / |x|`` outside.
    """

    center: Float[Array, "3"]
    radius: Float[Array, ""]
    """Half the side of the cube, world units."""
    near: Float[Array, ""]
    far: Float[Array, ""]
    """The least and the largest distance of samples, world units."""

    def to_unit(self, position: Float[Array, "3"]) -> Float[Array, "3"]:
        x = (position - self.center) / self.radius
        norm = jnp.maximum(jnp.max(jnp.abs(x)), 1.0)
        return ((2 - 1 / norm) / norm * x + 2) / 4

    def from_unit(self, unit: Float[Array, "3"]) -> Float[Array, "3"]:
        x = 4 * unit - 2
        # The cube's surface is infinitely far; no sample is beyond twice the farthest distance.
        room = jnp.clip(2 - jnp.max(jnp.abs(x)), self.radius / (2 * self.far), 1.0)
        return self.center + self.radius * x / ((2 - room) * room)

    def scale(self, position: Float[Array, "3"]) -> Float[Array, ""]:
        x = (position - self.center) / self.radius
        return jnp.maximum(jnp.max(jnp.abs(x)), 1.0)

    def step(self, num_steps: int) -> Float[Array, ""]:
        return jnp.pi / num_steps * self.radius

    def ray_steps(self, offset: Float[Array, ""] | float, ray: Rays, num_steps: int) -> RaySteps:
        """Steps of equal angle, seen from a point one half side away from the cube's centre, at
        right angles to the ray: even next to the cube, and far away in proportion to the square of
        the distance, as the cells are.
        """
        from_center = ray.origin - self.center
        closest = -jnp.dot(from_center, ray.direction)
        across = from_center + closest * ray.direction
        apart = safe_norm(jnp.append(across, self.radius))
        step, spacing = jnp.float32(math.pi / num_steps), Angular(closest, apart)
        return RaySteps(ray.near, ray.far, jnp.asarray(offset), step, spacing)


class Frustum(NamedTuple):
    """The view of one camera from near to far, even in ``x``, in ``y`` and in ``1 / depth``.

    The camera is the mean of the training cameras.
    """

    camera_from_world: Float[Array, "3 4"]
    tangent: Float[Array, "2"]
    """Of half the field of view, in x and in y."""
    near: Float[Array, ""]
    far: Float[Array, ""]
    """Depths of the two ends, and the least and largest distance of samples; world units."""

    def to_unit(self, position: Float[Array, "3"]) -> Float[Array, "3"]:
        x, y, _ = self._camera(position)
        depth = self._depth(position)
        xy = jnp.stack([x, y]) / (depth * self.tangent)
        z = (1 / self.near - 1 / depth) / (1 / self.near - 1 / self.far)
        return jnp.concatenate([(xy + 1) / 2, z[None]])

    def from_unit(self, unit: Float[Array, "3"]) -> Float[Array, "3"]:
        depth = 1 / ((1 - unit[2]) / self.near + unit[2] / self.far)
        xy = (2 * unit[:2] - 1) * self.tangent * depth
        rotation, offset = self.camera_from_world[:, :3], self.camera_from_world[:, 3]
        return rotation.T @ (jnp.concatenate([xy, -depth[None]]) - offset)

    def scale(self, position: Float[Array, "3"]) -> Float[Array, ""]:
        return jnp.maximum(self._depth(position) / self.near, 1.0)

    def step(self, num_steps: int) -> Float[Array, ""]:
        return jnp.log(self.far / self.near) / num_steps * self.near

    def ray_steps(self, offset: Float[Array, ""] | float, ray: Rays, num_steps: int) -> RaySteps:
        step, spacing = self.step(num_steps), Proportional(self.near)
        return RaySteps(ray.near, ray.far, jnp.asarray(offset), step, spacing)

    def _camera(self, position: Float[Array, "3"]) -> Float[Array, "3"]:
        return self.camera_from_world[:, :3] @ position + self.camera_from_world[:, 3]

    def _depth(self, position: Float[Array, "3"]) -> Float[Array, ""]:
        # Positions beside and behind the camera are clamped; those before `near` stay distinct.
        return jnp.maximum(-self._camera(position)[2], self.near / 2)


_PLACES = 9
"""Along a side of an image, to find how much of the world it shows."""


def fit_frustum(
    cameras: Cameras, size_hw: tuple[int, int], near: float, far: float, *, margin: float = 0.05
) -> Frustum:
    """The frustum of the mean camera, wide enough for what all cameras see.

    Args:
        cameras: N of them, NumPy arrays.
        size_hw: of their images.
        near, far: depths of its two ends, world units.
        margin: added to its width, as a share.

    Raises:
        ValueError: the cameras look in opposite directions, one is a fisheye, or ``near`` is 0.
    """
    fisheye = cameras.lens is not None and bool(np.any(cameras.lens.fisheye))
    if near <= 0 or fisheye:
        raise ValueError(
            "model.space is 'frustum', even in 1 / depth across an image plane, but "
            f"{'a camera is a fisheye' if fisheye else f'data.near is {near:g}'}: set model.space "
            "to 'contracted'"
        )
    poses = np.asarray(cameras.world_from_camera, float)
    mean = poses.mean(axis=0)
    left, _, right = np.linalg.svd(mean[:, :3])
    rotation = left @ right  # the rotation nearest to the mean of rotations
    if np.linalg.det(rotation) < 0 or np.linalg.norm(mean[:, 2]) < 0.5:
        raise ValueError(
            "model.space is 'frustum', for photos taken from one side, but these cameras look in "
            "all directions: set model.space to 'contracted'"
        )
    directions = np.einsum("nij,nkj->nki", poses[:, :, :3], _seen_directions(cameras, size_hw))
    depths = np.array([near, far])[:, None]
    ends = poses[:, None, None, :, 3] + directions[:, :, None] * depths  # [N, P, 2, 3]
    in_camera = (ends - mean[:, 3]) @ rotation
    tangent = np.abs(in_camera[..., :2]) / np.maximum(-in_camera[..., 2:], near / 2)
    camera_from_world = np.c_[rotation.T, -rotation.T @ mean[:, 3]]
    widest = (1 + margin) * tangent.max(axis=(0, 1, 2))
    with jax.ensure_compile_time_eval():
        return Frustum(
            *(jnp.asarray(x, jnp.float32) for x in (camera_from_world, widest, near, far))
        )


def _seen_directions(cameras: Cameras, size_hw: tuple[int, int]) -> Float[np.ndarray, "N P 3"]:
    """Directions of places all over each image, at depth 1 in camera axes.

    Where a lens shows nothing, the optical axis.
    """
    columns, rows = (np.linspace(0, size, _PLACES) for size in size_hw[::-1])
    pixels = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    points = (pixels - np.asarray(cameras.principal)[:, None]) / np.asarray(cameras.focal)[:, None]
    with jax.ensure_compile_time_eval():
        return np.asarray(_directions_or_axes(cameras.lens, jnp.asarray(points, jnp.float32)))


@jax.jit
@jax.vmap
def _directions_or_axes(lens: Lens | None, points: Float[Array, "P 2"]) -> Float[Array, "P 3"]:
    def one(point: Float[Array, "2"]) -> Float[Array, "3"]:
        axis = jnp.array([0.0, 0.0, -1.0])
        return jnp.where(has_ray(lens, point), from_image_plane(lens, point), axis)

    return jax.vmap(one)(points)


def required_steps(space: Space, resolution: int) -> int:
    """The least number of steps such that hardly any is longer than a cell.

    Args:
        space: 0 is returned for a box, whose steps are known from the config.
        resolution: cells along the side of the unit cube.
    """
    with jax.ensure_compile_time_eval():
        match space:
            case Contracted():
                # No step moves further in the unit cube than 5/4 of those at its centre, along
                # an axis (tests/test_contraction.py looks for one).
                growth, cell = math.pi, 4 / 5
            case Frustum(near=near, far=far):
                growth, cell = float(space.step(1) / near), 1 - float(near / far)
            case _:
                return 0
    # Seven eighths of that: the longest steps are few.
    return math.ceil(growth / cell * resolution * 7 / 64) * 8
