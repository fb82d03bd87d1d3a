"""A textured plane before four cameras, whose distances are known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np

from nerf_jax.cameras import cast_image_rays, look_at
from nerf_jax.types import Cameras, Lens

SIZE_HW = (40, 56)
ORIGINS = np.array([[0.0, 0.1, 2.0], [0.35, 0.0, 2.1], [-0.35, 0.1, 1.9], [0.0, 0.4, 2.0]])


def cameras(lens: tuple[float, bool] | None = None) -> Cameras:
    """Four cameras above the plane z = 0; ``lens``: k1, and whether it is a fisheye."""
    poses = [look_at(origin, np.zeros(3), np.array([0.0, 1.0, 0.0])) for origin in ORIGINS]
    radial = np.zeros((4, 4), np.float32)
    radial[:, 0] = lens[0] if lens else 0
    return Cameras(
        world_from_camera=np.stack(poses),
        focal=np.full((4, 2), 50, np.float32),
        principal=np.full((4, 2), (28, 20), np.float32),
        near=np.full(4, 0.5, np.float32),
        far=np.full(4, 9, np.float32),
        lens=Lens(radial, np.zeros((4, 2), np.float32), np.full(4, lens[1])) if lens else None,
    )


def photos(cameras: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Grey values of waves on the plane, without texture right of x = 0.4; and the distances."""
    rays = jax.vmap(lambda image: cast_image_rays(cameras, image, SIZE_HW))(jnp.arange(4))
    distance = -np.asarray(rays.origin[..., 2] / rays.direction[..., 2])
    point = np.asarray(rays.origin + distance[..., None] * rays.direction)
    waves = np.random.default_rng(0).normal(0, 20, (12, 2))
    grey = 0.5 + np.mean(np.sin(point[..., :2] @ waves.T + np.arange(12)), axis=-1)
    return np.where(point[..., 0] > 0.4, 0.5, grey).astype(np.float32), distance
