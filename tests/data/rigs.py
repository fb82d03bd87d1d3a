"""Cameras as people stand them, and what a pinhole shows: for the tests of captures."""

import numpy as np

from nerf_jax.cameras import look_at
from nerf_jax.config import DataConfig
from nerf_jax.data import photos as photo_reader
from nerf_jax.types import Cameras

UP = np.array([0.0, 0.0, 1.0])


def ring(random: np.random.Generator, count: int = 12) -> np.ndarray:
    """``world_from_camera`` of cameras all around a subject near the origin, looking at it."""
    turns = np.arange(count) * 2.4
    places = 3 * np.stack([np.cos(turns), np.sin(turns), 0.3 + 0 * turns], axis=1)
    places += random.normal(size=places.shape) * 0.2
    return _looking(places, random.normal(size=places.shape) * 0.1)


def wall(random: np.random.Generator, count: int = 12) -> np.ndarray:
    """Of cameras side by side before a wall, looking ahead along y."""
    places = random.uniform(-1, 1, (count, 3)) * [1.0, 0.1, 0.6]
    return _looking(places, places + [0, 20, 0] + random.normal(size=places.shape) * 0.3)


def room(random: np.random.Generator, count: int = 12) -> np.ndarray:
    """Of cameras in the middle of a room, looking outwards."""
    turns = np.arange(count) * 2.4
    places = 0.3 * np.stack([np.cos(turns), np.sin(turns), 0 * turns], axis=1)
    return _looking(places, 9 * places + random.normal(size=places.shape) * 0.2)


def _looking(places: np.ndarray, targets: np.ndarray) -> np.ndarray:
    pairs = zip(places, targets, strict=True)
    return np.stack([look_at(place, target, UP) for place, target in pairs]).astype(float)


def cameras(
    poses: np.ndarray, size_hw: tuple[int, int] = (6, 8), near: float = 0.0, far: float = 0.0
) -> Cameras:
    """Cameras with those poses, with a lens that has nothing square or central about it."""
    (height, width), count = size_hw, len(poses)
    return Cameras(
        world_from_camera=poses,
        focal=np.tile([1.3 * width, 1.4 * width], (count, 1)),
        principal=np.tile([0.45 * width, 0.55 * height], (count, 1)),
        near=np.full(count, near),
        far=np.full(count, far),
    )


def project(cameras: Cameras, image: int, point: np.ndarray) -> np.ndarray:
    """Where on the image plane a pinhole shows a point: column and row, centres at halves."""
    pose = np.asarray(cameras.world_from_camera[image], float)
    x, y, z = pose[:, :3].T @ (point - pose[:, 3])
    return np.array([x, -y]) / -z * cameras.focal[image] + cameras.principal[image]


def read_photos(
    photos: list[photo_reader.Photo], config: DataConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels of photos, their mask, and their scales, with some cameras."""
    poses = ring(np.random.default_rng(0), len(photos))
    read = photo_reader.read_photos(photos, cameras(poses), config)
    mask = np.ones(read.pixels.shape[:3], bool) if read.mask is None else read.mask
    return read.pixels, mask, read.scale
