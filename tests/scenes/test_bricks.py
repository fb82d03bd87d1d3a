import os
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax.cameras import cast_rays
from nerf_jax.config import DataConfig
from nerf_jax.data.scene import Split
from nerf_jax.scenes import bricks, raytrace
from nerf_jax.types import Rays

SIZE, VIEWS = 48, {"train": 3, "val": 2, "test": 2}


def shrink(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Small pictures, and a cache that is nobody's."""
    monkeypatch.setattr(bricks, "IMAGE_SIZE", SIZE)
    for split, count in VIEWS.items():
        monkeypatch.setitem(bricks.NUM_VIEWS, split, count)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    shrink(monkeypatch, tmp_path)
    return tmp_path / "nerf_jax"


@pytest.fixture(scope="module")
def splits(tmp_path_factory) -> dict[str, Split]:
    """All of the scene, small."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink(monkeypatch, tmp_path_factory.mktemp("cache"))
        return {name: read(name) for name in VIEWS}


@pytest.fixture(scope="module")
def trace():
    """From an eye to two places."""
    trace = jax.jit(jax.vmap(bricks.trace))

    def from_eye(eye: list[float], places: list[list[float]]) -> raytrace.RayHit:
        offsets = jnp.float32(places) - jnp.float32([eye])
        directions = offsets / jnp.linalg.norm(offsets, axis=1, keepdims=True)
        return jax.tree.map(np.asarray, trace(jnp.float32([eye, eye]), directions))

    return from_eye


def read(split: str = "val", **settings) -> Split:
    return bricks.load(DataConfig(**settings)).split(split)


@partial(jax.jit, static_argnames="size")
def cast_all(cameras, image, size):
    pixel = jnp.stack(jnp.meshgrid(jnp.arange(size), jnp.arange(size)), axis=-1)
    return jax.vmap(jax.vmap(cast_rays, (None, None, 0)), (None, None, 0))(cameras, image, pixel)


def rays_of(split: Split) -> Rays:
    """Through the centres of all pixels."""
    count, size, _ = split.depth.shape
    rays = [cast_all(split.dataset.cameras, jnp.int32(image), size) for image in range(count)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rays)


def signed_distance(points: np.ndarray) -> np.ndarray:
    """To the model's surface, negative inside: a union of boxes and capped cylinders."""
    nearest = np.full(len(points), np.inf)
    for shape, low, high in zip(*bricks.MODEL[:3], strict=True):
        local, half = np.abs(points - (low + high) / 2), (high - low) / 2
        if shape == raytrace.BOX:
            gaps = local - half
        else:
            axis = 2 if shape == raytrace.UPRIGHT else 1
            round_axes = [0, 3 - axis]
            radial = np.linalg.norm(local[:, round_axes], axis=1) - half[0]
            gaps = np.stack([radial, local[:, axis] - half[axis]], axis=1)
        outside = np.linalg.norm(np.maximum(gaps, 0), axis=1)
        nearest = np.minimum(nearest, outside + np.minimum(gaps.max(axis=1), 0))
    return nearest


def test_model_lies_within_one_and_within_the_depths_of_the_default_config():
    low, high = bricks.MODEL.low, bricks.MODEL.high
    assert np.abs([low, high]).max() <= 1
    assert np.all(low < high)
    reach = np.linalg.norm(np.maximum(np.abs(low), np.abs(high)), axis=1).max()
    assert bricks.CAMERA_DISTANCE - reach > 2.5
    assert bricks.CAMERA_DISTANCE + reach < 5.5


def test_nothing_is_clipped_by_the_frame_in_any_view():
    corners = np.stack(
        [np.where(mask, bricks.MODEL.low, bricks.MODEL.high) for mask in np.ndindex(2, 2, 2)]
    ).reshape(-1, 3)
    for split in bricks.NUM_VIEWS:
        cameras = bricks._cameras(split, 2.0, 6.0)
        for pose in cameras.world_from_camera:
            x, y, z = ((corners - pose[:, 3]) @ pose[:, :3]).T
            assert np.max(np.abs([x, y]) / -z) < np.tan(bricks.CAMERA_ANGLE_X / 2)


@pytest.mark.slow
def test_scene_is_named_and_makes_its_splits_on_demand(cache):
    scene = bricks.load(DataConfig(near=2.5, far=5.5))
    assert (scene.name, scene.source) == ("bricks", "built in")
    assert set(scene.loaders) == {"train", "val", "test"}
    assert not cache.exists()
    for name in ("val", "test"):
        split, count = scene.split(name), VIEWS[name]
        assert split.dataset.pixels.shape == (count, SIZE, SIZE, 4)
        assert split.dataset.pixels.dtype == np.uint8
        assert split.depth.shape == (count, SIZE, SIZE)
        assert split.depth.dtype == np.float32
        assert len(set(split.names)) == count
        np.testing.assert_array_equal(split.dataset.cameras.near, np.full(count, 2.5, np.float32))
        np.testing.assert_array_equal(split.dataset.cameras.far, np.full(count, 5.5, np.float32))


@pytest.mark.slow
def test_depth_ends_on_the_surface_and_never_inside(splits):
    split = splits["val"]
    rays, hit = rays_of(split), np.isfinite(split.depth)
    assert 0.15 < hit.mean() < 0.6
    points = rays.origin[hit] + split.depth[hit][:, None] * rays.direction[hit]
    np.testing.assert_allclose(signed_distance(points), 0, atol=1e-5)
    # And nothing is on the way, nor where nothing is hit.
    end = np.where(hit, split.depth, 6.0)[..., None]
    for part in np.random.default_rng(0).uniform(0.4, 0.999, (16, *hit.shape, 1)):
        along = rays.origin + part * end * rays.direction
        assert signed_distance(along.reshape(-1, 3)).min() > -1e-5


@pytest.mark.slow
def test_alpha_is_the_share_of_the_pixel_that_is_hit(splits):
    split = splits["val"]
    alpha, hit = split.dataset.pixels[..., 3], np.isfinite(split.depth)
    assert set(np.unique(alpha)) <= {0, 64, 128, 191, 255}
    around = np.stack([np.roll(hit, (i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    assert np.mean(alpha[around.all(axis=0)] == 255) > 0.99
    assert np.mean(alpha[~around.any(axis=0)] == 0) > 0.99
    assert {64, 128, 191} & set(np.unique(alpha))
    assert np.all(split.dataset.pixels[alpha == 0] == 0)


def test_tiles_that_are_skipped_show_nothing(splits):
    split = splits["val"]
    rays = rays_of(split)
    first_hit = jax.jit(jax.vmap(jax.vmap(partial(raytrace.first_hit, bricks.MODEL))))
    for image in range(VIEWS["val"]):
        depth, _ = first_hit(rays.origin[image], rays.direction[image])
        np.testing.assert_allclose(split.depth[image], depth, atol=1e-5)


def test_all_parts_are_within_the_bounds_that_tiles_are_tried_against():
    low, high = (bound[None] for bound in bricks._BOUNDS)
    pixel = 6 * np.tan(bricks.CAMERA_ANGLE_X / 2) / (bricks.IMAGE_SIZE / 2)
    inside = (bricks.MODEL.low[:, None] > low + pixel) & (bricks.MODEL.high[:, None] < high - pixel)
    assert inside.all(axis=-1).any(axis=1).all()


def test_pictures_are_the_same_each_time(cache, splits):
    first, made, cached = splits["val"], read(), read()
    for again in (made, cached):
        jax.tree.map(np.testing.assert_array_equal, first.dataset, again.dataset)
        np.testing.assert_array_equal(first.depth, again.depth)


@pytest.mark.slow
def test_world_is_the_right_way_up(splits, trace):
    """RayHit from the road: the roof over the lawn, the house left of the tree."""
    eye = [0.2, -3.5, 1.0]
    above = trace(eye, [[-0.3, -0.2, 0.55], [0.6, 0.1, 0.3]])
    below = trace(eye, [[0.6, -0.2, -0.27], [0.8, -0.85, -0.27]])
    assert above.hit.all()
    assert below.hit.all()
    (roof, tree), (lawn, road) = above.rgb, below.rgb
    assert roof[0] > 2 * max(roof[1:])
    assert tree[1] > 1.2 * max(tree[0], tree[2])
    assert lawn[1] > 1.2 * max(lawn[0], lawn[2])
    assert np.ptp(road) < 0.1

    # The first camera is level: what it sees low in the image is the ground, high the sky.
    alpha, rays = splits["train"].dataset.pixels[0, ..., 3], rays_of(splits["train"])
    assert np.all(rays.direction[0, -1, :, 2] < rays.direction[0, 0, :, 2])
    widest = np.argmax((alpha > 0).sum(axis=1))
    assert widest > SIZE / 2


@pytest.mark.slow
def test_color_depends_on_the_view(trace):
    place = np.array([0.8, -0.75, -0.2628])  # on the road, lit by the sun
    eyes = place + np.array([[1.2, 1.8, 2.5], [1.8, -1.2, 2.5]])  # in the highlight, and beside
    seen = [trace(eye.tolist(), [place.tolist()] * 2) for eye in eyes]
    np.testing.assert_allclose(seen[0].depth, seen[1].depth, atol=2e-3)
    assert np.all(seen[0].rgb > seen[1].rgb + 0.05)


def test_cameras_look_at_the_centre_and_no_two_are_alike():
    places = []
    for split in bricks.NUM_VIEWS:
        cameras = bricks._cameras(split, 2.0, 6.0)
        for image in (0, bricks.NUM_VIEWS[split] - 1):
            ray = jax.jit(cast_rays)(cameras, jnp.int32(image), jnp.float32([128, 128]))
            np.testing.assert_allclose(ray.origin + 4 * ray.direction, 0, atol=1e-5)
        places.append(cameras.world_from_camera[:, :, 3])
    everywhere = np.concatenate(places)
    assert len(everywhere) == 80
    np.testing.assert_allclose(np.linalg.norm(everywhere, axis=1), 4, atol=1e-5)
    apart = np.linalg.norm(everywhere[:, None] - everywhere, axis=-1) + 9 * np.eye(80)
    assert apart.min() > 0.05
    assert np.mean(everywhere[:, 2] > 0) > 0.85


@pytest.mark.parametrize("damage", [b"", b"PK", b"\x93NUMPY", "half", "flip", "shape", "folder"])
def test_a_damaged_cache_is_made_again(cache, damage):
    made = {"cold": 0}

    def make():
        made["cold"] += 1
        return np.arange(1000, dtype=np.float32)

    def cached():
        return bricks._cached("thing", (1000,), np.float32, make)

    np.testing.assert_array_equal(cached(), make())
    np.testing.assert_array_equal(cached(), make())
    assert made["cold"] == 3  # once for the cache, and the two it is compared to
    [file] = cache.iterdir()
    whole = file.read_bytes()
    match damage:
        case "half":
            file.write_bytes(whole[: len(whole) // 2])
        case "flip":
            middle = len(whole) // 2
            file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
        case "shape":
            np.savez(file, array=np.zeros(3))
        case "folder":
            file.unlink()
            file.mkdir()
        case _:
            file.write_bytes(damage)
    np.testing.assert_array_equal(cached(), make())
    assert made["cold"] == 5
    if damage != "folder":
        np.testing.assert_array_equal(cached(), make())
        assert made["cold"] == 6
    assert [path.suffix for path in cache.iterdir()] == [".npz"]  # nothing left aside


def test_a_cache_never_unpickles(cache):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(cache / "sprung"),)

    def make():
        return np.zeros(2, np.float32)

    bricks._cached("thing", (2,), np.float32, make)
    [file] = cache.iterdir()
    np.savez(file, array=np.array([Trap(), Trap()], dtype=object))
    np.testing.assert_array_equal(bricks._cached("thing", (2,), np.float32, make), [0, 0])
    assert not (cache / "sprung").exists()


def test_a_cache_that_cannot_be_written_is_done_without(cache, monkeypatch):
    cache.write_text("a file where the folder should be")
    expected = read().depth
    monkeypatch.delenv("XDG_CACHE_HOME")

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    np.testing.assert_array_equal(read().depth, expected)


def test_the_cache_is_of_one_version_of_the_code(cache, monkeypatch, tmp_path):
    before = bricks._cache_path("thing")
    changed = tmp_path / "raytrace.py"
    changed.write_text(Path(raytrace.__file__).read_text() + "\n")
    monkeypatch.setattr(raytrace, "__file__", str(changed))
    assert bricks._cache_path("thing") != before
    assert before.parent == cache


@pytest.mark.slow
def test_downscaling_averages_areas_crops_the_rest_and_keeps_rays_and_depth(cache, splits):
    full, small = splits["val"].dataset.pixels, read(downscale=5)
    assert small.dataset.pixels.shape == (VIEWS["val"], 9, 9, 4)
    np.testing.assert_allclose(small.dataset.cameras.principal, SIZE / 2 / 5, rtol=1e-6)
    blocks = full[:, :45, :45].reshape(-1, 9, 5, 9, 5, 4) / 255
    over_black = (blocks[..., :3] * blocks[..., 3:]).mean(axis=(2, 4))
    pixels = small.dataset.pixels / 255
    np.testing.assert_allclose(pixels[..., :3] * pixels[..., 3:], over_black, atol=0.008)
    np.testing.assert_allclose(pixels[..., 3], blocks[..., 3].mean(axis=(2, 4)), atol=0.003)

    rays, hit = rays_of(small), np.isfinite(small.depth)
    assert small.depth.shape == (VIEWS["val"], 9, 9)
    points = rays.origin[hit] + small.depth[hit][:, None] * rays.direction[hit]
    np.testing.assert_allclose(signed_distance(points), 0, atol=1e-5)


def test_downscaling_leaves_a_pixel():
    with pytest.raises(ValueError, match=r"data\.downscale is 257, but must be at most 256"):
        bricks.load(DataConfig(downscale=257))
