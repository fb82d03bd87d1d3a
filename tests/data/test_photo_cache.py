"""Photos in files: the same as in memory, made once, and made again when they change."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from nerf_jax.config import DataConfig
from nerf_jax.data import photo_cache, photos
from nerf_jax.data.memory import SparseArray, describe_bytes, photo_budget, read_rows
from nerf_jax.data.photos import Photo, Photos
from tests.data import rigs


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "nerf_jax" / "photos"


def write_photos(folder, sizes=((6, 8), (8, 6), (4, 4)), with_mask=False) -> list[Photo]:
    random, written = np.random.default_rng(0), []
    for index, size in enumerate(sizes):
        path, mask = folder / f"{index}.png", None
        Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(path)
        if with_mask and index == 1:
            mask = folder / "mask.png"
            Image.fromarray(random.integers(0, 2, size, np.uint8) * 255).save(mask)
        written.append(Photo(path, size, mask))
    return written


def read(some: list[Photo], limit: float = 0, config=None) -> Photos:
    cameras = rigs.cameras(rigs.ring(np.random.default_rng(0), len(some)))
    return photos.read_photos(some, cameras, config or DataConfig(), limit=limit)


@pytest.mark.parametrize("sizes", [((6, 8), (8, 6), (4, 4)), ((6, 8), (6, 8))])
@pytest.mark.parametrize("with_mask", [True, False])
@pytest.mark.parametrize("downscale", [1, 2])
def test_photos_in_files_are_those_in_memory(tmp_path, sizes, with_mask, downscale):
    some, config = write_photos(tmp_path, sizes, with_mask), DataConfig(downscale=downscale)
    inside, outside = read(some, np.inf, config), read(some, 0, config)
    assert isinstance(outside.pixels, np.memmap)
    assert not isinstance(inside.pixels, np.memmap)
    np.testing.assert_array_equal(outside.pixels, inside.pixels)
    assert (outside.mask is None) == (inside.mask is None) == (len(set(sizes)) == 1 - with_mask)
    np.testing.assert_array_equal(outside.mask, inside.mask)
    np.testing.assert_array_equal(read_rows(outside.pixels, [1, 0]), inside.pixels[[1, 0]])
    np.testing.assert_array_equal(outside.scale, inside.scale)


def test_photos_are_decoded_once_and_again_when_anything_changed(tmp_path, cache):
    some = write_photos(tmp_path, with_mask=True)
    read(some)
    (first,) = cache.glob("*.pixels")
    before = first.stat().st_mtime_ns
    read(some)
    assert {first} == set(cache.glob("*.pixels"))
    assert first.stat().st_mtime_ns == before
    for count, change in enumerate(
        (
            lambda: os.utime(some[0].path, ns=(1, 1)),
            lambda: os.utime(some[1].mask, ns=(1, 1)),
            lambda: some.reverse(),
            lambda: some.pop(),
        ),
        start=2,
    ):
        change()
        np.testing.assert_array_equal(read(some).pixels, read(some, np.inf).pixels)
        assert len(list(cache.glob("*.pixels"))) == count
    read(some, config=DataConfig(downscale=2))
    assert len(list(cache.glob("*.pixels"))) == 6


@pytest.mark.parametrize("name", ["pixels", "mask"])
def test_a_damaged_cache_is_made_again(tmp_path, cache, name):
    some = write_photos(tmp_path)
    expected = np.array(read(some).mask)
    (path,) = cache.glob(f"*.{name}")
    path.write_bytes(path.read_bytes()[:-1]) if name == "pixels" else path.unlink()
    np.testing.assert_array_equal(read(some).mask, expected)


def test_a_photo_that_cannot_be_read_leaves_no_cache(tmp_path, cache):
    some = write_photos(tmp_path)
    damaged = some[1].path.read_bytes()
    some[1].path.write_bytes(damaged[: len(damaged) // 2])
    with pytest.raises(ValueError, match=r"1\.png: cannot be read as an image"):
        read(some)
    assert list(cache.iterdir()) == []


def test_a_full_disk_is_reported_before_decoding(tmp_path, monkeypatch):
    some = write_photos(tmp_path)
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(photo_cache.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"photos: the photos' pixels take 576 B .* 100 B are"):
        read(some)


def test_memory_for_less_than_a_photo_is_refused(tmp_path):
    some = write_photos(tmp_path, ((20, 30), (10, 10)))
    message = r"data\.memory is 7KB, .* but .*0\.png takes 1\.8 KB; set at least 7\.2 KB"
    with pytest.raises(ValueError, match=message):
        read(some, config=DataConfig(memory="7KB"))
    read(some, config=DataConfig(memory="7.2KB"))


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (576, "576 B"), (1800, "1.8 KB"), (25e6, "25 MB"), (1.5e9, "1.5 GB")],
)
def test_sizes_are_described(count, text):
    assert describe_bytes(int(count)) == text
    assert DataConfig(memory=text).memory_bytes == count if count >= 1e3 else True


def test_photos_may_take_a_share_of_the_memory(monkeypatch):
    assert photo_budget(DataConfig(memory="2 GB")) == (5e8, 1.25e8)
    free = photo_budget(DataConfig())
    assert 10**7 < free.held_out < free.train < 10**14


def test_a_sparse_array_has_the_rows_of_the_dense_one():
    random = np.random.default_rng(0)
    dense = random.uniform(size=(6, 5, 4)) * (random.uniform(size=(6, 5, 4)) < 0.3)
    flat = np.flatnonzero(dense)
    sparse = SparseArray(dense.shape, flat, dense.ravel()[flat])
    for index in (slice(None), 3, [5, 0, 0], np.array([2]), slice(1, 4)):
        np.testing.assert_array_equal(sparse[index], dense[index])
        shape = 10, 3, 4
        np.testing.assert_array_equal(sparse.reshape(shape)[index], dense.reshape(shape)[index])
    assert len(sparse) == len(list(sparse)) == 6
