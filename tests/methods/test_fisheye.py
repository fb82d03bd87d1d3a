"""A capture by fisheyes of 200 degrees, from within a painted ball: learned up to its border."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax import methods
from nerf_jax.cameras import cast_image_rays
from nerf_jax.config import Config, DataConfig
from nerf_jax.devices import ray_mesh
from nerf_jax.train import init_state, make_train_steps
from nerf_jax.types import Cameras, Dataset, Lens
from tests.methods.test_hash_grid import HASH, RATE

SIZE, COUNT, BALL = 32, 6, 3.0
HALF_FIELD = np.radians(100)


def fisheyes() -> Cameras:
    """Side by side, all looking along -z: no other sees what one has beside it."""
    poses = np.tile(np.eye(3, 4, dtype=np.float32), (COUNT, 1, 1))
    turns = np.arange(COUNT) * 2 * np.pi / COUNT
    poses[:, :2, 3] = 0.4 * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    none = np.zeros((COUNT, 4), np.float32), np.zeros((COUNT, 2), np.float32)
    return Cameras(
        poses,
        np.full((COUNT, 2), SIZE / 2 / HALF_FIELD, np.float32),
        np.full((COUNT, 2), SIZE / 2, np.float32),
        near=np.full(COUNT, 0.3, np.float32),
        far=np.full(COUNT, 10.0, np.float32),
        lens=Lens(*none, np.full(COUNT, True)),
    )


def angles() -> np.ndarray:
    x = (np.arange(SIZE) + 0.5 - SIZE / 2) * 2 * HALF_FIELD / SIZE
    return np.hypot(*np.meshgrid(x, x))


def paint(cameras: Cameras) -> np.ndarray:
    """The photos: the wall's colour where a ray from within meets it, in float64."""
    columns, rows = np.meshgrid(*[np.arange(SIZE) + 0.5 - SIZE / 2] * 2)
    theta, scale = angles(), 2 * HALF_FIELD / SIZE
    sinc = np.sinc(theta / np.pi) * scale
    direction = np.stack([columns * sinc, -rows * sinc, -np.cos(theta)], axis=-1)
    origin = cameras.world_from_camera[:, None, None, :, 3].astype(float)
    along = -(origin * direction).sum(axis=-1)
    apart = (origin**2).sum(axis=-1) - along**2
    wall = origin + (along + np.sqrt(BALL**2 - apart))[..., None] * direction
    return np.round(255 * (0.5 + 0.4 * np.sin(1.5 * wall))).astype(np.uint8)


@pytest.mark.slow
def test_a_fisheye_s_border_is_learned():
    cameras = fisheyes()
    pixels, seen = paint(cameras), angles() < HALF_FIELD
    data = Dataset(cameras, pixels, np.tile(seen, (COUNT, 1, 1)))
    sizes = {"num_candidates": 64, "max_samples": 2**12}
    model = dataclasses.replace(HASH, space="contracted", box_radius=1.0, **sizes)
    method = methods.build(Config(model=model, data=DataConfig(background="black")))
    optimizer, mesh = methods.make_optimizer(RATE), ray_mesh()
    state = init_state(method, optimizer, data, mesh)
    state, _ = make_train_steps(method, optimizer, mesh, 256, 100)(state, data)
    rays = cast_image_rays(cameras, 0, (SIZE, SIZE))
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), rays)
    flat = flat._replace(appearance=jnp.full(SIZE**2, -1))
    rgb = jax.jit(method.render)(state.params, state.aux, flat).rgb
    error = np.mean((np.asarray(rgb).reshape(SIZE, SIZE, 3) - pixels[0] / 255) ** 2, axis=-1)
    inner, border = error[angles() < np.radians(70)], error[(angles() > np.radians(82)) & seen]
    assert -10 * np.log10(inner.mean()) > 20
    assert -10 * np.log10(border.mean()) > 20
