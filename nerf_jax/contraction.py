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

from nerf_jax.numerics import safe_divide
from nerf_jax.types import Cameras, Rays


class RaySteps(NamedTuple):
    """A ray's steps: the ``k``-th is at ``t(k)``, as long as that is before ``stop``.

    They are even, or grow in proportion to the distance beyond ``growth_start``.
    """

    start: Float[Array, ""]
    stop: Float[Array, ""]
    """At or before ``start``: the ray misses the space."""
    offset: Float[Array, ""]
    """The sample position within each step, in [0, 1)."""
    step: Float[Array, ""]
    """The length of the first steps, world units."""
    growth_start: Float[Array, ""] | None = None
    """The distance from which steps grow; None: they are even."""

    def t(self, index: Num[Array, "*n"]) -> Float[Array, "*n"]:
        """The distances of steps; indices need not be whole."""
        index = index + self.offset
        even = self.start + index * self.step
        if self.growth_start is None:
            return even
        first = jnp.maximum(self.start, self.growth_start)
        num_grown = index - (first - self.start) / self.step
        growing = first * jnp.exp(self.step / self.growth_start * jnp.maximum(num_grown, 0.0))
        return jnp.where(num_grown < 0, even, growing)

    def length(self, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """The length of the step at a distance."""
        if self.growth_start is None:
            return jnp.broadcast_to(self.step, t.shape)
        return self.step * jnp.maximum(t / self.growth_start, 1.0)

    def num_steps(self) -> Float[Array, ""]:
        """The number of steps up to ``stop``: the inverse of ``t``, without the offset."""
        if self.growth_start is None:
            return jnp.maximum(self.stop - self.start, 0.0) / self.step
        first = jnp.maximum(self.start, self.growth_start)
        even = (jnp.clip(self.stop, self.start, first) - self.start) / self.step
        return even + jnp.log(jnp.maximum(self.stop / first, 1.0)) * self.growth_start / self.step


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

    def ray_steps(self, key: Array | None, ray: Rays, num_steps: int) -> RaySteps:
        """At most K steps of a ray through the space.

        Args:
            key: for the offset of all the ray's steps; None: samples are midpoints.
            ray: one.
            num_steps: K.
        """


def contains(space: Space, position: Float[Array, "3"]) -> Bool[Array, ""]:
    """Whether a world position is in a space; a contracted space contains all of them."""
    unit = space.to_unit(position)
    return jnp.all((unit >= 0) & (unit <= 1))


def _offset(key: Array | None) -> Float[Array, ""]:
    return jnp.float32(0.5) if key is None else jax.random.uniform(key)


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

    def ray_steps(self, key: Array | None, ray: Rays, num_steps: int) -> RaySteps:
        start, stop = intersect(ray, self)
        # A ray that misses has no steps but a finite position: unfilled slots read there, and
        # infinities there would give NaN gradients.
        hits = start < stop
        start, stop = jnp.where(hits, start, ray.near), jnp.where(hits, stop, ray.near)
        return RaySteps(start, stop, _offset(key), self.step(num_steps))


def intersect(ray: Rays, box: Box) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The ray-box intersection within near and far, by the slab method.

    Returns:
        The distances at which the ray enters and leaves; it leaves before it enters if it misses.
        A direction of length zero is inside the box along the whole ray, or outside.
    """
    # Parallel to a slab, a ray is always between its planes, or never.
    ahead = jnp.where((ray.origin >= box.low) & (ray.origin <= box.high), -jnp.inf, jnp.inf)
    to_low = safe_divide(box.low - ray.origin, ray.direction, ahead)
    to_high = safe_divide(box.high - ray.origin, ray.direction, -ahead)
    moves = ray.direction != 0
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
        largest = 2 - self.radius / (2 * self.far)
        norm = jnp.clip(jnp.max(jnp.abs(x)), 1.0, largest)
        return self.center + self.radius * x / (norm * (2 - norm))

    def scale(self, position: Float[Array, "3"]) -> Float[Array, ""]:
        x = (position - self.center) / self.radius
        return jnp.maximum(jnp.max(jnp.abs(x)), 1.0)

    def step(self, num_steps: int) -> Float[Array, ""]:
        return self._growth(num_steps) * self.radius

    def ray_steps(self, key: Array | None, ray: Rays, num_steps: int) -> RaySteps:
        """Even steps up to half the cube's half side, then in proportion to the distance."""
        step = self._growth(num_steps) * self._growth_start()
        return RaySteps(ray.near, ray.far, _offset(key), step, self._growth_start())

    def _growth_start(self) -> Float[Array, ""]:
        return jnp.maximum(self.radius / 2, self.near)

    def _growth(self, num_steps: int) -> Float[Array, ""]:
        """The relative growth from step to step for K steps from near to far."""
        start = self._growth_start()
        return (1 - self.near / start + jnp.log(self.far / start)) / num_steps


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
        depth = 1 / (1 / self.near + unit[2] * (1 / self.far - 1 / self.near))
        xy = (2 * unit[:2] - 1) * self.tangent * depth
        rotation, offset = self.camera_from_world[:, :3], self.camera_from_world[:, 3]
        return rotation.T @ (jnp.concatenate([xy, -depth[None]]) - offset)

    def scale(self, position: Float[Array, "3"]) -> Float[Array, ""]:
        return jnp.maximum(self._depth(position) / self.near, 1.0)

    def step(self, num_steps: int) -> Float[Array, ""]:
        return jnp.log(self.far / self.near) / num_steps * self.near

    def ray_steps(self, key: Array | None, ray: Rays, num_steps: int) -> RaySteps:
        return RaySteps(ray.near, ray.far, _offset(key), self.step(num_steps), self.near)

    def _camera(self, position: Float[Array, "3"]) -> Float[Array, "3"]:
        return self.camera_from_world[:, :3] @ position + self.camera_from_world[:, 3]

    def _depth(self, position: Float[Array, "3"]) -> Float[Array, ""]:
        # Positions beside and behind the camera are clamped; those before `near` stay distinct.
        return jnp.maximum(-self._camera(position)[2], self.near / 2)


def fit_frustum(
    cameras: Cameras, size_hw: tuple[int, int], near: float, far: float, *, margin: float = 0.05
) -> Frustum:
    """The frustum of the mean camera, wide enough for what all cameras see.

    Args:
        cameras: N of them, NumPy arrays.
        size_hw: of their images.
        near, far: depths of its two ends, world units.
        margin: added to its width, as a share: room for what a lens shows beyond a pinhole.

    Raises:
        ValueError: the cameras look in opposite directions.
    """
    poses = np.asarray(cameras.world_from_camera, float)
    mean = poses.mean(axis=0)
    left, _, right = np.linalg.svd(mean[:, :3])
    rotation = left @ right  # the rotation nearest to the mean of rotations
    if np.linalg.det(rotation) < 0 or np.linalg.norm(mean[:, 2]) < 0.5:
        raise ValueError(
            "model.space is 'frustum', for photos taken from one side, but these cameras look in "
            "all directions: set model.space to 'contracted'"
        )
    height, width = size_hw
    corners = np.array([[x, y] for x in (0, width) for y in (0, height)])
    image = (corners - np.asarray(cameras.principal)[:, None]) / np.asarray(cameras.focal)[:, None]
    directions = np.concatenate([image * [1, -1], -np.ones_like(image[..., :1])], axis=2)
    directions = np.einsum("nij,nkj->nki", poses[:, :, :3], directions)
    depths = np.array([near, far])[:, None]
    ends = poses[:, None, None, :, 3] + directions[:, :, None] * depths  # [N, 4, 2, 3]
    in_camera = (ends - mean[:, 3]) @ rotation
    tangent = np.abs(in_camera[..., :2]) / np.maximum(-in_camera[..., 2:], near / 2)
    camera_from_world = np.c_[rotation.T, -rotation.T @ mean[:, 3]]
    widest = (1 + margin) * tangent.max(axis=(0, 1, 2))
    with jax.ensure_compile_time_eval():
        return Frustum(
            *(jnp.asarray(x, jnp.float32) for x in (camera_from_world, widest, near, far))
        )


def required_steps(space: Space, resolution: int) -> int:
    """The least number of steps such that none is longer than a cell, and no block is missed.

    Args:
        space: 0 is returned for a box, whose steps are known from the config.
        resolution: cells along the side of the unit cube.
    """
    with jax.ensure_compile_time_eval():
        match space:
            case Contracted(radius=radius):
                # At a corner of the cube, seen from the opposite one, a cell is 2 / sqrt(3) of its
                # distance over the number of cells along the side.
                growth, cell = float(space.step(1) / radius), 2 / 3**0.5
            case Frustum(near=near, far=far):
                growth, cell = float(space.step(1) / near), 1 - float(near / far)
            case _:
                return 0
    # Seven eighths of that: blocks of steps leave as much room (occupancy.occupied_blocks).
    return math.ceil(growth / cell * resolution * 7 / 64) * 8
