"""The known depths of training photos, with those of a plane sweep."""

import numpy as np
import pytest

from nerf_jax.app.dense_depths import densify
from nerf_jax.types import Dataset, RayTable
from tests.textured_plane import cameras, photos


def dataset(channels: int = 3) -> tuple[Dataset, np.ndarray]:
    """The photos, opaque left of column 30 if they have alpha, and the true distances."""
    grey, distance = photos(cameras())
    pixels = np.repeat((grey[..., None] * 255).clip(0, 255).astype(np.uint8), channels, axis=-1)
    if channels == 4:
        pixels[..., 3] = np.where(np.arange(pixels.shape[2]) < 30, 255, 0)
    return Dataset(cameras(), pixels), distance


@pytest.mark.parametrize("sparse", [False, True])
def test_more_depths_are_known(sparse, capsys):
    """The distances of the trials come from the points, or else from the cameras' focus."""
    photos, true = dataset()
    known = np.where(np.random.default_rng(0).random(true.shape) < 0.01, true, 0)
    known[0, 0, 0] = 7.0  # a wrong point is kept: the loss is robust to it
    found = densify(photos, known if sparse else None)
    assert found.dtype == np.float32
    error = np.abs(found / true - 1)[found > 0]
    assert np.mean(found > 0) > 0.3
    assert np.mean(error < 0.03) > 0.97
    if sparse:
        np.testing.assert_array_equal(found[known > 0], known[known > 0].astype(np.float32))
    out = capsys.readouterr().out
    assert "depths of photos 4/4  took" in out
    assert "of the pixels, by plane-sweep stereo" in out


@pytest.mark.parametrize("kind", ["mask", "alpha"])
def test_pixels_that_are_left_out_have_no_depth(kind):
    photos, _ = dataset(4 if kind == "alpha" else 3)
    left = np.broadcast_to(np.arange(56) < 30, photos.pixels.shape[:3])
    found = densify(photos._replace(mask=left) if kind == "mask" else photos, None)
    assert (found[..., :30] > 0).any()
    assert not (found[..., 30:] > 0).any()


def test_few_photos_and_ray_tables_are_left_as_they_are():
    photos, true = dataset()
    poses = cameras().world_from_camera[:2]
    two = Dataset(cameras()._replace(world_from_camera=poses), photos.pixels[:2])
    assert densify(two, true) is true
    poses = np.repeat(cameras().world_from_camera[:1], 4, axis=0)
    turned = Dataset(cameras()._replace(world_from_camera=poses), photos.pixels)
    assert densify(turned, None) is None, "from one position there are no depths"
    rays = RayTable(*(np.zeros(1) for _ in RayTable._fields))
    assert densify(photos._replace(cameras=rays), None) is None
