"""Spaces: how a scene's world fits into the unit cube, and how steps along a ray suit it.

Fields and occupancy grids live in the unit cube. A space says which place of the world is where in
it, and cuts rays into steps no longer than what the cube can tell apart there. Rays stay straight
and distances stay the world's: only places are bent, just before they are looked up.

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


class March(NamedTuple):
    """A ray's steps: the ``k``-th is at ``t(k)``, as long as that is before ``stop``.

    They are even, or grow in proportion to the distance once that is beyond ``bend``.
    """

    start: Float[Array, ""]
    stop: Float[Array, ""]
    """Before ``start`` or at it: the ray sees nothing."""
    offset: Float[Array, ""]
    """Where in its step each place is, in [0, 1)."""
    step: Float[Array, ""]
    """The length of the first ones, world units."""
    bend: Float[Array, ""] | None = None
    """The distance from which they grow; None: they never do."""

    def t(self, number: Num[Array, "*n"]) -> Float[Array, "*n"]:
        """Distances of steps, and of places between them."""
        number = number + self.offset
        even = self.start + number * self.step
        if self.bend is None:
            return even
        turn = jnp.maximum(self.start, self.bend)
        grown = number - (turn - self.start) / self.step
        growing = turn * jnp.exp(self.step / self.bend * jnp.maximum(grown, 0.0))
        return jnp.where(grown < 0, even, growing)

    def length(self, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """How long the step at a distance is."""
        if self.bend is None:
            return jnp.broadcast_to(self.step, t.shape)
        return self.step * jnp.maximum(t / self.bend, 1.0)

    def num_steps(self) -> Float[Array, ""]:
        """How many steps there are until ``stop``: the inverse of ``t``, less the offset."""
        if self.bend is None:
            return jnp.maximum(self.stop - self.start, 0.0) / self.step
        turn = jnp.maximum(self.start, self.bend)
        even = (jnp.clip(self.stop, self.start, turn) - self.start) / self.step
        return even + jnp.log(jnp.maximum(self.stop / turn, 1.0)) * self.bend / self.step


@runtime_checkable
class Space(Protocol):
    """What fields, occupancy grids and samplers need to know of a space."""

    def unit(self, position: Float[Array, "3"]) -> Float[Array, "3"]:
        """A place in the world as one in the unit cube; those beyond are just outside of it."""

    def world(self, unit: Float[Array, "3"]) -> Float[Array, "3"]:
        """And back."""

    def scale(self, position: Float[Array, "3"]) -> Float[Array, ""]:
        """How much larger things may be at a place than where space is not bent.

        A field's density is per that length, so that what a step stops of the light does not
        depend on how far it is from the middle: the same network serves all of space.
        """

    def step(self, num_steps: int) -> Float[Array, ""]:
        """The length of a step where the scale is 1, world units."""

    def march(self, key: Array | None, ray: Rays, num_steps: int) -> March:
        """A ray's way through the space, in at most K steps.

        Args:
            key: for the offset of all the ray's steps; None puts places in their middle.
            ray: one.
            num_steps: K.
        """


def contains(space: Space, position: Float[Array, "3"]) -> Bool[Array, ""]:
    """Whether a place of the world is in a space: all are in one that is contracted."""
    unit = space.unit(position)
    return jnp.all((unit >= 0) & (unit <= 1))


def _offset(key: Array | None) -> Float[Array, ""]:
    return jnp.float32(0.5) if key is None else jax.random.uniform(key)


class Box(NamedTuple):
    """What the scene is within, its sides along the axes; world units."""

    low: Float[Array, "3"]
    high: Float[Array, "3"]

    def unit(self, position: Float[Array, "3"]) -> Float[Array, "3"]:
        return (position - self.low) / (self.high - self.low)

    def world(self, unit: Float[Array, "3"]) -> Float[Array, "3"]:
        return self.low + unit * (self.high - self.low)

    def scale(self, position: Float[Array, "3"]) -> Float[Array, ""]:
        return jnp.ones(())

    def step(self, num_steps: int) -> Float[Array, ""]:
        """Such that K of them reach through the diagonal."""
        return jnp.linalg.norm(self.high - self.low) / num_steps

    def march(self, key: Array | None, ray: Rays, num_steps: int) -> March:
        start, stop = intersect(ray, self)
        # A ray that misses has no steps, and a place all the same: unfilled slots read there, and
        # what is infinite there would be NaN in the gradient, though none of it is asked for.
        hits = start < stop
        start, stop = jnp.where(hits, start, ray.near), jnp.where(hits, stop, ray.near)
        return March(start, stop, _offset(key), self.step(num_steps))


def intersect(ray: Rays, box: Box) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Where a ray enters and leaves a box, within its near and far: the slab method.

    A ray that misses leaves before it enters. A direction of length zero never moves: it sees all
    or nothing of the box.
    """
    # Parallel to a slab, a ray is between its planes for ever, or never.
    ahead = jnp.where((ray.origin >= box.low) & (ray.origin <= box.high), -jnp.inf, jnp.inf)
    to_low = safe_divide(box.low - ray.origin, ray.direction, ahead)
    to_high = safe_divide(box.high - ray.origin, ray.direction, -ahead)
    moves = ray.direction != 0
    first = jnp.where(moves, jnp.minimum(to_low, to_high), to_low)
    last = jnp.where(moves, jnp.maximum(to_low, to_high), to_high)
    return jnp.maximum(jnp.max(first), ray.near), jnp.minimum(jnp.min(last), ray.far)


class Contracted(NamedTuple):
    """A cube as it is, and around it all the rest of the world, the thinner the farther.

    In units of the cube's half side from its centre, and with the largest coordinate for the
    norm, so that the image is a cube again: ``x`` within, ``(2 - 1/|x|) x / |x|`` outside.
    """

    center: Float[Array, "3"]
    radius: Float[Array, ""]
    """Half the side of the cube, world units."""
    near: Float[Array, ""]
    far: Float[Array, ""]
    """Distances between which rays may look, world units."""

    def unit(self, position: Float[Array, "3"]) -> Float[Array, "3"]:
        x = (position - self.center) / self.radius
        norm = jnp.maximum(jnp.max(jnp.abs(x)), 1.0)
        return ((2 - 1 / norm) / norm * x + 2) / 4

    def world(self, unit: Float[Array, "3"]) -> Float[Array, "3"]:
        x = 4 * unit - 2
        # The cube's surface is infinitely far; nothing beyond twice the farthest ray is meant.
        nearly = 2 - self.radius / (2 * self.far)
        norm = jnp.clip(jnp.max(jnp.abs(x)), 1.0, nearly)
        return self.center + self.radius * x / (norm * (2 - norm))

    def scale(self, position: Float[Array, "3"]) -> Float[Array, ""]:
        x = (position - self.center) / self.radius
        return jnp.maximum(jnp.max(jnp.abs(x)), 1.0)

    def step(self, num_steps: int) -> Float[Array, ""]:
        return self._growth(num_steps) * self.radius

    def march(self, key: Array | None, ray: Rays, num_steps: int) -> March:
        """Even up to half the cube's half side, where cameras are; then as distance grows."""
        step = self._growth(num_steps) * self._bend()
        return March(ray.near, ray.far, _offset(key), step, self._bend())

    def _bend(self) -> Float[Array, ""]:
        return jnp.maximum(self.radius / 2, self.near)

    def _growth(self, num_steps: int) -> Float[Array, ""]:
        """Of a step to the next, so that K of them reach from near to far."""
        bend = self._bend()
        return (1 - self.near / bend + jnp.log(self.far / bend)) / num_steps


class Frustum(NamedTuple):
    """What one camera sees, from near to far: across evenly, and in depth evenly in ``1 / depth``.

    The camera is the mean of those that took the photos.
    """

    camera_from_world: Float[Array, "3 4"]
    tangent: Float[Array, "2"]
    """Of half the angle of view, in x and in y."""
    near: Float[Array, ""]
    far: Float[Array, ""]
    """Depths of the two ends, and the distances between which rays may look; world units."""

    def unit(self, position: Float[Array, "3"]) -> Float[Array, "3"]:
        x, y, _ = self._camera(position)
        depth = self._depth(position)
        across = jnp.stack([x, y]) / (depth * self.tangent)
        ahead = (1 / self.near - 1 / depth) / (1 / self.near - 1 / self.far)
        return jnp.concatenate([(across + 1) / 2, ahead[None]])

    def world(self, unit: Float[Array, "3"]) -> Float[Array, "3"]:
        depth = 1 / (1 / self.near + unit[2] * (1 / self.far - 1 / self.near))
        across = (2 * unit[:2] - 1) * self.tangent * depth
        place = jnp.concatenate([across, -depth[None]])
        rotation, offset = self.camera_from_world[:, :3], self.camera_from_world[:, 3]
        return rotation.T @ (place - offset)

    def scale(self, position: Float[Array, "3"]) -> Float[Array, ""]:
        return jnp.maximum(self._depth(position) / self.near, 1.0)

    def step(self, num_steps: int) -> Float[Array, ""]:
        return jnp.log(self.far / self.near) / num_steps * self.near

    def march(self, key: Array | None, ray: Rays, num_steps: int) -> March:
        return March(ray.near, ray.far, _offset(key), self.step(num_steps), self.near)

    def _camera(self, position: Float[Array, "3"]) -> Float[Array, "3"]:
        return self.camera_from_world[:, :3] @ position + self.camera_from_world[:, 3]

    def _depth(self, position: Float[Array, "3"]) -> Float[Array, ""]:
        # Beside and behind the camera there is no place; those before `near` are kept apart.
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
    """The number of steps of which none is longer than a cell, so that no block of them is missed.

    Args:
        space: a box needs none here: its steps are even, and known from the config.
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
    # Seven eighths of that: blocks of steps leave as much room (occupancy.near_blocks).
    return math.ceil(growth / cell * resolution * 7 / 64) * 8
