"""The buffer of bands: the same at a step however it is reached, and fair to every pixel."""

import dataclasses

import jax
import numpy as np
import pytest

from nerf_jax.app.photo_buffer import PERIOD, PhotoBuffer, WholePhotos, load_photos
from nerf_jax.data.memory import SparseArray
from nerf_jax.data.scene import Split
from nerf_jax.train import sample_ray
from nerf_jax.types import Cameras, Dataset, RayTable
from tests import small
from tests.test_train import same_bits

DEVICE = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def numbered(count: int, height: int, width: int) -> Dataset:
    """Photos whose pixels, masks and depths tell where they are."""
    shape = count, height, width
    pixels = np.stack(np.indices(shape), axis=-1).astype(np.uint8)
    mask = pixels.sum(axis=-1) % 2 > 0
    depth = 3 + pixels.sum(axis=-1).astype(np.float32) / 300
    return Dataset(small.dataset(count).cameras, pixels, mask, depth)


def buffer(dataset: Dataset, num_bands: int, seed: int = 0) -> PhotoBuffer:
    bands = PhotoBuffer(dataset, 10**9, seed, DEVICE)
    return PhotoBuffer(dataset, num_bands * bands.band_bytes, seed, DEVICE)


def contents(photos: PhotoBuffer, step: int) -> Dataset:
    return jax.tree.map(np.array, photos.at(step))


@pytest.mark.parametrize("num_bands", [1, 7, 8, 24, 40])
@pytest.mark.parametrize("height", [32, 37])  # 37: bands of one row
def test_every_pixel_is_in_the_buffer_for_as_many_steps(num_bands, height):
    data = numbered(3, height, 5)
    photos = buffer(data, num_bands)
    assert photos.size <= num_bands
    # As many periods as give every band the same number of turns, if the buffer is fair.
    periods = int(np.lcm(photos.num_bands, photos.exchanged)) // photos.exchanged
    counts = np.zeros(data.pixels.shape[:3], int)
    for period in range(periods):
        pixels = contents(photos, period * PERIOD).pixels.reshape(-1, 3)
        np.add.at(counts, tuple(pixels.T), 1)
    # Those at the two ends of the time are there for a part of their turn.
    turn = photos.size // photos.exchanged
    order = photos._order(np.arange(periods * photos.exchanged + photos.size))
    expected = np.zeros(photos.num_bands, int)
    for period in range(periods):
        window = order[period * photos.exchanged :][: photos.size]
        np.add.at(expected, window, 1)
    np.testing.assert_array_equal(counts.reshape(photos.num_bands, -1).T, [expected] * photos.rows)
    assert turn >= 1
