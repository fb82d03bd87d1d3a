"""Photos of the toy town: they match the cameras in their files, read by the loaders."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import town

from nerf_jax import data
from nerf_jax.cameras import cast_image_rays, cast_rays, project
from nerf_jax.config import DataConfig
from nerf_jax.data import normalize, transforms
from nerf_jax.data.images import read_image
from nerf_jax.scenes.raytrace import RayHit
from nerf_jax.types import Rays

NUM_PHOTOS, SIZE_HW = 3, (18, 24)
TOWN_FROM_ORIGINAL = np.linalg.inv(town.ORIGINAL_FROM_TOWN)
SCALE = np.cbrt(np.linalg.det(TOWN_FROM_ORIGINAL[:3, :3]))

trace = jax.jit(jax.vmap(town.trace))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("town")
    town.take_photos(folder, NUM_PHOTOS, SIZE_HW)
    return folder


def trace_rays(rays: Rays) -> RayHit:
    """The town along rays in the frame of the files."""
    origin = normalize.move_points(TOWN_FROM_ORIGINAL, np.asarray(rays.origin, float))
    direction = np.asarray(rays.direction, float) @ TOWN_FROM_ORIGINAL[:3, :3].T / SCALE
    return jax.tree.map(np.asarray, trace(jnp.float32(origin), jnp.float32(direction)))


@pytest.mark.slow
def test_photos_show_the_rays_of_their_cameras(folder):
    capture = transforms.read(folder)
    for index, photo in enumerate(capture.photos):
        rays = cast_image_rays(capture.cameras, index, SIZE_HW)
        seen = trace_rays(jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), rays))
        difference = np.abs(read_image(photo).reshape(-1, 3) / 255 - seen.rgb).max(axis=-1)
        # Rays that graze an edge may be rounded to its other side.
        assert np.mean(difference < 0.6 / 255) > 0.98
        assert seen.hit.any()
        assert len(np.unique(seen.rgb.round(2), axis=0)) > 50


@pytest.mark.slow
def test_the_lens_bends_rays_by_more_than_two_degrees(folder):
    capture = transforms.read(folder)
    straight = capture.cameras._replace(lens=None)
    corner = np.array([0.0, 0.0], np.float32)
    bent, ideal = (cast_rays(each, 0, corner).direction for each in (capture.cameras, straight))
    assert np.degrees(np.arccos(bent @ ideal)) > 2


def test_points_lie_on_surfaces(tmp_path):
    points = town.take_photos(tmp_path, NUM_PHOTOS, SIZE_HW)
    capture = transforms.read(tmp_path)
    assert points.shape == (NUM_PHOTOS * town.POINTS_PER_PHOTO, 3)
    of_photo = points.reshape(NUM_PHOTOS, -1, 3)
    for points, pose in zip(of_photo, capture.cameras.world_from_camera, strict=True):
        offset = points - pose[:, 3]
        distance = np.linalg.norm(offset, axis=1)
        rays = Rays(
            *(np.broadcast_to(pose[:, 3], points.shape), offset / distance[:, None]), *4 * [0]
        )
        depth = trace_rays(rays).depth / SCALE
        assert np.mean(np.abs(depth / distance - 1) < 1e-3) > 0.95  # except at edges


def test_every_photo_has_the_house_in_view():
    cameras = town.walk(20, (360, 480))
    for number in range(20):
        (x, y), depth = project(cameras, number, np.zeros(3, np.float32))
        assert 48 < x < 432
        assert 36 < y < 324
        assert 2 < depth < 4


def test_the_loader_turns_it_upright(folder):
    scene = data.load(DataConfig(root=folder))
    up = scene.world_from_original[:3, :3] @ town.ORIGINAL_FROM_TOWN[:3, 2]
    assert up[2] > 0.95 * np.linalg.norm(up)
    origins = scene.split("train").dataset.cameras.world_from_camera[:, :, 3]
    assert np.abs(origins).max() <= 1 + 1e-6


def test_above_is_the_sky():
    seen = trace_rays(
        Rays(np.zeros((1, 3)), SCALE * town.ORIGINAL_FROM_TOWN[:3, 2][None], *4 * [0])
    )
    assert not seen.hit[0]
    assert np.isinf(seen.depth[0])
    assert seen.rgb[0, 2] > seen.rgb[0, 0] > 0


def test_the_same_photos_each_time(folder, tmp_path):
    town.take_photos(tmp_path, NUM_PHOTOS, SIZE_HW)
    for path in folder.rglob("*.*"):
        assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_a_folder_that_cannot_be_created(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        town.take_photos(tmp_path / "file", 1, SIZE_HW)
