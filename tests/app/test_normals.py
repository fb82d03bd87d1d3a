"""Normals from the exact depths of a sphere and of planes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax.app.normals import color_normals, normals
from nerf_jax.cameras import cast_rays, look_at
from nerf_jax.types import Cameras, Lens

UP = np.array([0.0, 0.0, 1.0])


def camera(size_hw: tuple[int, int], position, target=(0.0, 0.0, 0.0), lens=None) -> Cameras:
    height, width = size_hw
    return Cameras(
        world_from_camera=look_at(np.array(position), np.array(target), UP)[None],
        focal=np.full((1, 2), 1.3 * height, np.float32),
        principal=np.array([[width / 2, height / 2]], np.float32),
        near=np.array([0.1], np.float32),
        far=np.array([9.0], np.float32),
        lens=lens,
    )


def cast(cameras: Cameras, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    column, row = np.meshgrid(np.arange(size_hw[1]), np.arange(size_hw[0]))
    pixels = jnp.asarray(np.stack([column, row], axis=-1).reshape(-1, 2))
    rays = jax.jit(jax.vmap(cast_rays, (None, None, 0)))(cameras, jnp.int32(0), pixels)
    return tuple(np.asarray(v, float).reshape(*size_hw, 3) for v in (rays.origin, rays.direction))


def sphere_depth(origin, direction):
    """Distances to the unit sphere, and whether the rays hit it."""
    along = -np.sum(origin * direction, axis=-1)
    gap = np.sum(origin**2, axis=-1) - along**2
    hit = gap < 1
    return np.where(hit, along - np.sqrt(np.where(hit, 1 - gap, 0)), 9.0), hit


BARREL = Lens(np.array([[0.2, 0.0, 0.0, 0.0]]), np.zeros((1, 2)), np.array([False]))


@pytest.mark.slow
@pytest.mark.parametrize("lens", [None, BARREL], ids=["pinhole", "lens"])
def test_the_normals_of_a_sphere(lens):
    size_hw = (150, 110)
    one_camera = camera(size_hw, (2.0, -2.0, 1.5), lens=lens)
    origin, direction = cast(one_camera, size_hw)
    depth, hit = sphere_depth(origin, direction)
    found = normals(depth.astype(np.float32), hit.astype(np.float32), one_camera, size_hw)
    exact = origin + depth[..., None] * direction
    degrees = np.degrees(np.arccos(np.clip(np.sum(found * exact, axis=-1), -1, 1)))
    facing = hit & (-np.sum(exact * direction, axis=-1) > 0.3)
    assert facing.sum() > 2500
    assert degrees[facing].max() < 2
    assert degrees[facing].mean() < 0.3
    np.testing.assert_allclose(np.linalg.norm(found[hit], axis=-1), 1, atol=1e-5)
    assert not found[~hit].any()
    assert (np.sum(found * direction, axis=-1)[hit] < 0).all(), "towards the camera"


@pytest.mark.slow
def test_edges_do_not_change_normals():
    """Two planes, one in front: pixels next to the edge have the normals of their own plane."""
    size_hw = (24, 40)
    one_camera = camera(size_hw, (0.0, -4.0, 0.0))
    origin, direction = cast(one_camera, size_hw)
    left = np.arange(40)[None] < 20
    slanted = np.array([0.6, -0.8, 0.0])
    toward = -np.sum(slanted * origin, axis=-1) / np.sum(slanted * direction, axis=-1)
    straight = -(origin[..., 1] - 2.0) / direction[..., 1]
    depth = np.where(left, toward, straight).astype(np.float32)
    found = normals(depth, np.ones(size_hw, np.float32), one_camera, size_hw)
    expected = np.where(left[..., None], slanted, [0.0, -1.0, 0.0])
    np.testing.assert_allclose(found, np.broadcast_to(expected, (24, 40, 3)), atol=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 5), (5, 1)])
def test_normals_without_neighbours_face_the_camera(size_hw):
    one_camera = camera(size_hw, (0.0, -4.0, 0.0))
    found = normals(
        np.full(size_hw, 3, np.float32), np.ones(size_hw, np.float32), one_camera, size_hw
    )
    np.testing.assert_allclose(found, -cast(one_camera, size_hw)[1], atol=1e-6)


def test_colours():
    vectors = np.array([[1, 0, 0], [0, -1, 0], [0, 0, 0]], np.float32)
    found = color_normals(vectors, np.array([1.0, 0.5, 1.0], np.float32))
    np.testing.assert_allclose(found, [[1, 0.5, 0.5], [0.75, 0.5, 0.75], [1, 1, 1]])
