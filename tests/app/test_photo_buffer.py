"""The buffer of bands: the same at a step however it is reached, and fair to every pixel."""

import dataclasses

import jax
import numpy as np
import pytest
import scipy.stats

from nerf_jax import methods
from nerf_jax.app.fit import fit
from nerf_jax.app.photo_buffer import PERIOD, PhotoBuffer, load_photos
from nerf_jax.app.runs import Run
from nerf_jax.cameras import cast_rays
from nerf_jax.config.serialization import to_dict
from nerf_jax.data.memory import SparseArray
from nerf_jax.devices import ray_mesh
from nerf_jax.train import sample_ray
from nerf_jax.types import Dataset, RayTable
from tests import small
from tests.test_train import same_bits

DEVICE = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def numbered(height: int = 32, width: int = 5, count: int = 3) -> Dataset:
    """Photos whose pixels are their indices, and whose masks and depths follow from them."""
    pixels = np.stack(np.indices((count, height, width)), axis=-1).astype(np.uint8)
    depth = 3 + pixels.sum(axis=-1).astype(np.float32) / 300
    return Dataset(small.dataset(count).cameras, pixels, pixels.sum(axis=-1) % 2 > 0, depth)


def buffer(dataset: Dataset, num_bands: int, seed: int = 0) -> PhotoBuffer:
    band_bytes = PhotoBuffer(dataset, 1, seed, DEVICE).band_bytes
    return PhotoBuffer(dataset, num_bands * band_bytes, seed, DEVICE)


def contents(photos: PhotoBuffer, period: int) -> Dataset:
    return jax.tree.map(np.array, photos.at(period * PERIOD + period % PERIOD))


@pytest.mark.parametrize("num_bands", [1, 7, 8, 24, 40])
@pytest.mark.parametrize("height", [32, 37])  # a prime: bands of one row
def test_every_pixel_is_in_the_buffer_for_as_many_periods(num_bands, height):
    data = numbered(height)
    photos = buffer(data, num_bands)
    assert num_bands - photos.exchanged < photos.size <= num_bands
    stay, periods = photos.size // photos.exchanged, 60
    counts = np.zeros(data.pixels.shape[:3], int)
    for period in range(periods):
        np.add.at(counts, tuple(contents(photos, period).pixels.reshape(-1, 3).T), 1)
    # But for those that are there at the beginning or at the end.
    assert np.abs(counts - periods * photos.size / photos.num_bands).max() <= 2 * stay


def test_rays_of_the_buffer_are_those_of_the_photos_all_alike():
    data, num_rays = numbered(), 2**14
    photos, counts, expected = buffer(data, 8), *np.zeros((2, *data.pixels.shape[:3]))
    sample = jax.jit(jax.vmap(sample_ray, (None, 0)))
    for period in range(8):
        keys = jax.random.split(jax.random.key(period), num_rays)
        batch = sample(photos.at(period * PERIOD), keys)
        index = np.round(255 * np.asarray(batch.pixel)).astype(int)
        np.add.at(counts, tuple(index.T), 1)
        held = contents(photos, period).pixels.reshape(-1, 3)
        np.add.at(expected, tuple(held.T), num_rays / len(held))
    assert (counts[expected == 0] == 0).all()
    assert scipy.stats.chisquare(counts[expected > 0], expected[expected > 0]).pvalue > 1e-4
    image, row, column = index.T
    rays = jax.vmap(cast_rays, (None, 0, 0))(data.cameras, image, np.stack([column, row], axis=1))
    for ours, wanted in zip(batch.rays, rays, strict=True):
        np.testing.assert_allclose(ours, wanted, atol=1e-6)
    np.testing.assert_array_equal(batch.mask, data.mask[image, row, column])
    np.testing.assert_array_equal(batch.depth, data.depth[image, row, column])


def test_the_buffer_is_a_function_of_the_step_and_the_seed():
    data = numbered()
    photos = buffer(data, 16)
    by_period = [contents(photos, period) for period in range(30)]
    for period in (0, 1, 7, 29, 3):  # afterwards, and from another start
        assert same_bits(by_period[period], contents(buffer(data, 16), period))
        assert same_bits(by_period[period], contents(photos, period))
    assert not same_bits(by_period[0], by_period[1])
    assert not same_bits(by_period[0], contents(buffer(data, 16, seed=1), 0))


def test_photos_in_a_file_are_buffered_as_those_in_memory(tmp_path):
    data = numbered()
    (tmp_path / "pixels").write_bytes(data.pixels.tobytes())
    pixels = np.memmap(tmp_path / "pixels", np.uint8, "r", shape=data.pixels.shape)
    flat = np.flatnonzero(data.depth)
    sparse = SparseArray(data.depth.shape, flat, data.depth.ravel()[flat])
    mapped = data._replace(pixels=pixels, depth=sparse)
    for period in (0, 1):
        assert same_bits(contents(buffer(data, 9), period), contents(buffer(mapped, 9), period))


def test_only_what_does_not_fit_is_buffered():
    data = numbered()
    size = data.pixels.nbytes
    assert load_photos(data, size, DEVICE).at(0).pixels.shape == data.pixels.shape
    assert isinstance(load_photos(data, size - 1, DEVICE), PhotoBuffer)
    table = RayTable(*np.ones((2, *data.pixels.shape), np.float32), *np.ones((2, 3), np.float32))
    rays = load_photos(data._replace(cameras=table), size - 1, DEVICE)
    assert rays.at(0).pixels.shape == data.pixels.shape, "which cannot be divided"


def run_fit(folder, num_steps: int, *, resume: bool = False):
    config = small.config(num_steps=num_steps)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, memory="8KB"))
    data, run = small.dataset(), Run(folder)
    run.write_json("config.json", to_dict(config))
    assert data.pixels.nbytes > 2000
    return fit(run, config, methods.build(config), data, data, ray_mesh(), resume=resume).state


@pytest.mark.slow
def test_resuming_continues_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(PhotoBuffer, "period", 3)  # shorter than a call
    whole = run_fit(tmp_path / "whole", 10)
    run_fit(tmp_path / "parts", 5)
    assert same_bits(whole, run_fit(tmp_path / "parts", 10, resume=True))
    losses = [record["loss"] for record in Run(tmp_path / "whole").metrics()]
    assert [record["loss"] for record in Run(tmp_path / "parts").metrics()][:1] == losses[:1]
