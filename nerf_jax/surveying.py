"""Surveying: what the training cameras say of a scene before anything is learned.

How far its space reaches, and which of its cells any of them sees: in the others nothing could be
learned, and whatever stood there would be seen from new viewpoints only.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from nerf_jax.cameras import project
from nerf_jax.contraction import Contracted, Frustum, Space
from nerf_jax.occupancy import Occupancy
from nerf_jax.types import Cameras

_MARGIN = 0.05
"""Of the image's size: what is this little outside of it counts as seen, for a cell is seen from
its middle."""


def fit_space(space: Space, cameras: Cameras, size_hw: tuple[int, int]) -> Space:
    """The space, its ends and its view those of the cameras.

    Raises:
        ValueError: cameras for a frustum look in opposite directions.
    """
    near, far = jnp.float32(np.min(cameras.near)), jnp.float32(np.max(cameras.far))
    match space:
        case Contracted():
            return space._replace(near=near, far=far)
        case Frustum():
            return _frustum(cameras, size_hw, near, far)
        case _:
            return space


def check_steps(space: Space, num_steps: int, resolution: int) -> None:
    """Make sure that no step is longer than a cell, lest blocks of them be missed.

    Raises:
        ValueError: some are.
    """
    match space:
        case Contracted(radius=radius, near=near, far=far):
            # At a corner of the cube, seen from the opposite one, a cell is 2 / sqrt(3) of its
            # distance over the number of cells along the side.
            growth, cell = float(space.step(1) / radius), 2 / 3**0.5
        case Frustum(near=near, far=far):
            growth, cell = float(space.step(1) / near), 1 - float(near / far)
        case _:
            return  # a box's are known from the config
    # Seven eighths of that: blocks of steps leave as much room (occupancy.near_blocks).
    needed = math.ceil(growth / cell * resolution * 7 / 64) * 8
    if num_steps < needed:
        raise ValueError(
            f"model.num_candidates is {num_steps}, whose steps from {float(near):.3g} to "
            f"{float(far):.3g} are longer than the cells of a grid of {resolution}: raise it to "
            f"{needed}, or lower --model.grid_resolution or --data.far"
        )


def _frustum(
    cameras: Cameras, size_hw: tuple[int, int], near: Float[Array, ""], far: Float[Array, ""]
) -> Frustum:
    """That of the mean camera, so wide that it holds what all of them see."""
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
    # Of pinholes: what a lens adds at the corners is left to the margin.
    place = (corners - np.asarray(cameras.principal)[:, None]) / np.asarray(cameras.focal)[:, None]
    ahead = np.concatenate([place * [1, -1], -np.ones_like(place[..., :1])], axis=2)
    along = np.einsum("nij,nkj->nki", poses[:, :, :3], ahead)
    depths = np.array([near, far])[:, None]
    ends = poses[:, None, None, :, 3] + along[:, :, None] * depths  # [N, 4, 2, 3]
    seen = (ends - mean[:, 3]) @ rotation
    tangent = np.abs(seen[..., :2]) / np.maximum(-seen[..., 2:], near / 2)
    camera_from_world = np.c_[rotation.T, -rotation.T @ mean[:, 3]]
    widest = (1 + _MARGIN) * tangent.max(axis=(0, 1, 2))
    return Frustum(
        jnp.asarray(camera_from_world, jnp.float32), jnp.asarray(widest, jnp.float32), near, far
    )


@functools.partial(jax.jit, static_argnames="size_hw")
def visible_cells(
    grid: Occupancy, cameras: Cameras, size_hw: tuple[int, int]
) -> Bool[Array, "G G G"]:
    """The cells whose middle some camera sees, no nearer than its ``near``.

    Args:
        grid: its space says where the cells are.
        cameras: N of them.
        size_hw: of their images.
    """
    resolution = len(grid.density)
    height, width = size_hw
    margin = _MARGIN * max(size_hw)

    def seen(camera: Cameras, position: Float[Array, "3"]) -> Bool[Array, ""]:
        (x, y), depth = project(camera, 0, position)
        inside = (x > -margin) & (x < width + margin) & (y > -margin) & (y < height + margin)
        return inside & (depth > camera.near[0])

    def row(number: Int[Array, ""]) -> Bool[Array, " n"]:
        """A row of cells along the last axis: all of them at once would fill the memory."""
        corner = jnp.stack(jnp.unravel_index(number, (resolution, resolution)))
        last = jnp.arange(resolution)
        place = jnp.concatenate([jnp.broadcast_to(corner, (resolution, 2)), last[:, None]], axis=1)
        position = jax.vmap(grid.space.world)((place + 0.5) / resolution)
        one = jax.tree.map(lambda leaf: jnp.asarray(leaf)[:, None], cameras)
        by_camera = jax.vmap(jax.vmap(seen, (None, 0)), (0, None))(one, position)
        return jnp.any(by_camera, axis=0)

    rows = jax.lax.map(row, jnp.arange(resolution**2))
    return rows.reshape(resolution, resolution, resolution)
