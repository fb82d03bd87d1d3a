"""A scene and a method so small that a test can train them."""

import functools
import io
import json
import math
import subprocess
from pathlib import Path

import imageio_ffmpeg
import jax
import numpy as np
from PIL import Image

from nerf_jax.cameras import cast_rays, look_at
from nerf_jax.config import (
    Config,
    DataConfig,
    EvalConfig,
    NerfConfig,
    OptimizerConfig,
    RenderConfig,
    TrainConfig,
)
from nerf_jax.train import sample_ray
from nerf_jax.types import Batch, Cameras, Dataset

SIZE = 16


def config(**train: object) -> Config:
    settings = {
        "num_steps": 8,
        "rays_per_step": 32,
        "steps_per_call": 4,
        "report_every_seconds": 0.0,
        "validate_every": 4,
        "validation_rays": 32,
        "checkpoint_every": 0,
    }
    return Config(
        name="small",
        data=DataConfig(near=2.0, far=6.0),
        model=NerfConfig(
            num_coarse=8, num_fine=8, depth=2, width=16, skip=0, position_bands=4, direction_bands=1
        ),
        optimizer=OptimizerConfig(learning_rate=5e-3),
        train=TrainConfig(**(settings | train)),
        eval=EvalConfig(rays_per_chunk=128),
        render=RenderConfig(num_frames=4, fps=4),
    )


@functools.cache
def dataset(num_images: int = 4) -> Dataset:
    """Photos of a unit ball whose colour is its normal, on transparent ground: exact pixels, and
    their depths."""
    turns = np.arange(num_images) * 2.4
    places = 4 / 1.09**0.5 * np.stack([np.cos(turns), np.sin(turns), 0.3 + 0 * turns], axis=1)
    up = np.array([0.0, 0.0, 1.0])
    cameras = Cameras(
        world_from_camera=np.stack([look_at(place, np.zeros(3), up) for place in places]),
        focal=np.full((num_images, 2), 1.4 * SIZE, np.float32),
        principal=np.full((num_images, 2), SIZE / 2, np.float32),
        near=np.full(num_images, 2.0, np.float32),
        far=np.full(num_images, 6.0, np.float32),
    )
    column, row = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    pixels = np.stack([column.ravel(), row.ravel()], axis=1)
    cast = jax.jit(jax.vmap(jax.vmap(cast_rays, (None, None, 0)), (None, 0, None)))
    rays = jax.tree.map(np.asarray, cast(cameras, np.arange(num_images), pixels))
    along = -np.sum(rays.origin * rays.direction, axis=-1)
    gap = np.sum(rays.origin**2, axis=-1) - along**2
    hit = gap < 1
    surface = along - np.sqrt(np.where(hit, 1 - gap, 0))
    normal = rays.origin + surface[..., None] * rays.direction
    rgba = np.concatenate([0.5 + 0.5 * normal, np.ones_like(normal[..., :1])], axis=-1)
    image = np.round(255 * np.clip(np.where(hit[..., None], rgba, 0.0), 0, 1)).astype(np.uint8)
    shape = num_images, SIZE, SIZE
    depth = np.where(hit, surface, 0.0).astype(np.float32).reshape(shape)
    data = Dataset(cameras, image.reshape(*shape, 4), depth=depth)
    for leaf in jax.tree.leaves(data):
        leaf.setflags(write=False)  # all tests share them
    return data


@functools.cache
def some(count: int, seed: int = 0) -> tuple[jax.Array, Batch]:
    """Keys and rays of the photos of :func:`dataset`, to give to a loss."""
    keys, draws = jax.random.split(jax.random.key(seed), (2, count))
    return keys, jax.jit(jax.vmap(sample_ray, (None, 0)))(dataset(), draws)


def write_blender(root: Path) -> None:
    """The ball as a Blender scene: what a user's folder looks like."""
    data = dataset(num_images=6)
    for split, numbers in (("train", range(4)), ("val", range(4, 6))):
        (root / split).mkdir(parents=True)
        frames = []
        for number in numbers:
            Image.fromarray(data.pixels[number]).save(root / split / f"r_{number}.png")
            pose = [*data.cameras.world_from_camera[number].tolist(), [0.0, 0.0, 0.0, 1.0]]
            frames.append({"file_path": f"./{split}/r_{number}", "transform_matrix": pose})
        transforms = {"camera_angle_x": 2 * math.atan(0.5 / 1.4), "frames": frames}
        (root / f"transforms_{split}.json").write_text(json.dumps(transforms))


def read_video(path: Path) -> np.ndarray:
    """Every frame, [N, H, W, 3] uint8, decoded by ffmpeg."""
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    decode = ["-f", "image2pipe", "-c:v", "ppm", "-"]
    command = [ffmpeg, "-loglevel", "error", "-i", str(path), *decode]
    stream = io.BytesIO(subprocess.run(command, capture_output=True, check=True).stdout)
    frames = []
    while stream.read(1):
        stream.seek(-1, io.SEEK_CUR)
        assert stream.readline() == b"P6\n"
        width, height = map(int, stream.readline().split())
        assert stream.readline() == b"255\n"
        frames.append(np.frombuffer(stream.read(3 * width * height), np.uint8))
        frames[-1] = frames[-1].reshape(height, width, 3)
    return np.stack(frames)


def cameras(num_images: int = 4) -> tuple[Cameras, tuple[int, int]]:
    """The cameras of :func:`dataset` and the size of their images, to initialise a method with."""
    data = dataset(num_images)
    return data.cameras, data.size_hw
