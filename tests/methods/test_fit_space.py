"""Spaces fitted to cameras, and the cells of a grid that cameras see."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax import methods, occupancy
from nerf_jax.cameras import look_at
from nerf_jax.config import HashConfig
from nerf_jax.contraction import Box, required_steps
from nerf_jax.methods import fit_space, hash_grid
from nerf_jax.types import Cameras, Lens, RayTable
from tests import small

UP = np.array([0.0, 0.0, 1.0])
SIZE = (30, 40)
NEAR, FAR = 0.3, 40.0


def cameras(places, targets) -> Cameras:
    count = len(places)
    pairs = zip(np.array(places, float), np.array(targets, float), strict=True)
    poses = [look_at(place, target, UP) for place, target in pairs]
    return Cameras(
        world_from_camera=np.stack(poses),
        focal=np.full((count, 2), 35.0, np.float32),
        principal=np.tile(np.array([20.0, 15.0], np.float32), (count, 1)),
        near=np.full(count, NEAR, np.float32),
        far=np.full(count, FAR, np.float32),
    )


AROUND = cameras([[3, 0, 0.5], [0, 3, 0.5], [-3, 0.2, 0.4]], [[0, 0, 0]] * 3)
ASIDE = cameras([[3, 0, 0.0], [3, 0.4, 0.1], [3.1, -0.4, -0.2]], [[0, 0, 0]] * 3)
IN_CONTRACTED = HashConfig(space="contracted", box_radius=3.0)
IN_FRUSTUM = HashConfig(space="frustum")
CONTRACTED = fit_space(IN_CONTRACTED, AROUND, SIZE)


@pytest.mark.slow
def test_a_cell_is_visible_if_a_camera_sees_it():
    """Against a loop over cells and cameras."""
    grid = occupancy.init_grid(CONTRACTED, 8)
    visible = occupancy.visible_cells(grid, AROUND, SIZE)
    assert 0.1 < visible.mean() < 0.9
    for cell in np.ndindex(8, 8, 8):
        place = np.asarray(CONTRACTED.from_unit((jnp.array(cell) + 0.5) / 8), float)
        seen = False
        for pose in AROUND.world_from_camera.astype(float):
            x, y, z = pose[:, :3].T @ (place - pose[:, 3])
            column, row = 20 + 35 * x / -z, 15 - 35 * y / -z
            seen |= -z > NEAR and -2 < column < 42 and -2 < row < 32
        assert visible[cell] == seen, (cell, place)


def test_a_frustum_contains_the_view_of_its_cameras_and_little_more():
    space = fit_space(IN_FRUSTUM, ASIDE, SIZE)
    rotation = space.camera_from_world[:, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
    found = []
    for pose in ASIDE.world_from_camera:
        for corner in ([-20, -15], [20, -15], [-20, 15], [20, 15]):
            way = pose[:, :3] @ np.array([corner[0] / 35, -corner[1] / 35, -1.0])
            for depth in (NEAR, 1.0, FAR):
                found.append(space.to_unit(jnp.asarray(pose[:, 3] + depth * way, jnp.float32)))
    across = np.stack(found)[:, :2]
    assert ((across > 0) & (across < 1)).all()
    assert across.min() < 0.05
    visible = occupancy.visible_cells(occupancy.init_grid(space, 8), ASIDE, SIZE)
    assert (
        visible.mean() > 0.1
    )  # as wide as at the near end, it is wider than any camera at the far one


def test_near_and_far_are_those_of_the_cameras():
    space = fit_space(IN_CONTRACTED, AROUND, SIZE)
    np.testing.assert_allclose((space.near, space.far), (NEAR, FAR))
    assert space.radius == 3.0
    box = fit_space(HashConfig(box_center=(1.0, 0.0, 0.0), box_radius=2.0), AROUND, SIZE)
    assert isinstance(box, Box)
    np.testing.assert_array_equal(box, ([-1, -2, -2], [3, 2, 2]))


@pytest.mark.slow
def test_steps_longer_than_cells_are_refused_and_the_suggested_number_is_enough():
    key = jax.random.key(0)
    for config, rig in ((IN_CONTRACTED, AROUND), (IN_FRUSTUM, ASIDE)):
        small = dataclasses.replace(
            config, num_levels=1, max_entries=8, grid_resolution=64, num_candidates=112
        )
        with pytest.raises(
            ValueError, match=r"model.num_candidates is 112, .* raise it to \d+"
        ) as e:
            hash_grid(small).init(key, rig, SIZE)
        needed = int(str(e.value).split("raise it to ")[1].split(",")[0])
        assert needed == required_steps(fit_space(config, rig, SIZE), 64)
        assert needed % 8 == 0
        hash_grid(dataclasses.replace(small, num_candidates=needed)).init(key, rig, SIZE)


def test_cameras_all_around_have_no_frustum():
    facing = cameras([[3, 0, 0], [-3, 0, 0]], [[0, 0, 0]] * 2)
    for opposite in (facing, AROUND):
        with pytest.raises(ValueError, match=r"model.space is 'frustum'.*'contracted'"):
            fit_space(IN_FRUSTUM, opposite, SIZE)


def test_repeated_cameras_see_the_same_cells():
    grid = occupancy.init_grid(CONTRACTED, 8)
    twice = jax.tree.map(lambda leaf: np.concatenate([leaf] * 2), AROUND)
    np.testing.assert_array_equal(
        occupancy.visible_cells(grid, AROUND, SIZE), occupancy.visible_cells(grid, twice, SIZE)
    )


def test_a_ray_dataset_has_no_frustum_but_is_contracted_between_its_ends():
    rays = np.zeros((3, 2, 2, 3), np.float32)
    table = RayTable(rays, rays, np.array([0.5, 0.4, 0.6], "f4"), np.array([7.0, 9.0, 8.0], "f4"))
    space = fit_space(IN_CONTRACTED, table, (2, 2))
    np.testing.assert_allclose((space.near, space.far), (0.4, 9.0))
    with pytest.raises(ValueError, match=r"model.space is 'frustum'.*ray dataset.*'contracted'"):
        fit_space(IN_FRUSTUM, table, (2, 2))


def test_a_fisheye_and_a_near_of_zero_have_no_frustum():
    config, (cameras, size_hw) = HashConfig(space="frustum"), small.cameras()
    poses = np.tile(cameras.world_from_camera[:1], (4, 1, 1))
    cameras = cameras._replace(world_from_camera=poses)
    fit_space(config, cameras, size_hw)
    none = np.zeros((4, 4), np.float32), np.zeros((4, 2), np.float32)
    fisheyes = cameras._replace(lens=Lens(*none, np.full(4, True)))
    with pytest.raises(ValueError, match=r"a camera is a fisheye: set model.space to 'contracted'"):
        fit_space(config, fisheyes, size_hw)
    with pytest.raises(ValueError, match=r"data.near is 0: set model.space"):
        fit_space(config, cameras._replace(near=0 * cameras.near), size_hw)
    data = small.dataset()._replace(cameras=fisheyes, pixels=small.dataset().pixels[..., :3])
    resolved, _ = methods.resolve(HashConfig(space="auto"), data)
    assert resolved.space == "contracted"
