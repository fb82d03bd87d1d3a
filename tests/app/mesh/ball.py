"""A learned scene with an exact answer: a ball, whose own files lie in another frame than it."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from nerf_jax.app.runs import Clock, Run
from nerf_jax.app.scene_cameras import SceneCameras, SplitCameras
from nerf_jax.app.trained import Trained
from nerf_jax.cameras import look_at
from nerf_jax.render import image_renderer
from nerf_jax.train import TrainState
from nerf_jax.types import Cameras, Model, Params, Point, Rays, Rendering
from tests import small

RADIUS, CENTER = 0.7, np.array([0.2, -0.1, 0.3])
SHARPNESS = 200.0
"""Of the density's logarithm, per world unit: it is 20 at the surface."""

WORLD_FROM_ORIGINAL = np.eye(4)
WORLD_FROM_ORIGINAL[:3, :3] = 2.5 * Rotation.from_euler("xyz", [0.4, -1.1, 2.0]).as_matrix()
WORLD_FROM_ORIGINAL[:3, 3] = [3.0, -2.0, 0.5]


def density(params: Params, aux: tuple, points: Point) -> jax.Array:
    from_center = jnp.linalg.norm(points.position - jnp.asarray(CENTER, jnp.float32)[None], axis=1)
    return 20 * jnp.exp(jnp.clip(SHARPNESS * (RADIUS - from_center), -30, 10))


def render(params: Params, aux: tuple, rays: Rays) -> Rendering:
    """The ball's surface, over white; its colour gives the direction it is seen from."""
    origin = rays.origin - jnp.asarray(CENTER, jnp.float32)[None]
    along = jnp.sum(origin * rays.direction, axis=1)
    inside = along**2 - jnp.sum(origin**2, axis=1) + RADIUS**2
    t = -along - jnp.sqrt(jnp.maximum(inside, 0.0))
    hit = (inside > 0) & (t > rays.near) & (t < rays.far)
    rgb = jnp.where(hit[:, None], 0.5 - 0.4 * rays.direction, 1.0)
    depth = jnp.where(hit, t, rays.far)
    return Rendering(rgb, hit * 1.0, depth, depth)


MODEL = Model(
    init=lambda key, cameras, size_hw: ((), ()),
    loss=lambda *_: (jnp.zeros(()), {}),
    refresh=lambda params, aux, key, step: aux,
    render=render,
    density=density,
)


def cameras(count: int = 24, distance: float = 3.0, size: int = 64) -> Cameras:
    """All around the ball, evenly."""
    z = -1 + 2 * (np.arange(count) + 0.5) / count
    turn = 2.4 * np.arange(count)
    level = np.sqrt(1 - z * z)
    places = CENTER + distance * np.stack([level * np.cos(turn), level * np.sin(turn), z], axis=1)
    up = np.array([0.0, 0.1, 1.0])
    return Cameras(
        world_from_camera=np.stack([look_at(place, CENTER, up) for place in places]),
        focal=np.full((count, 2), 1.6 * size, np.float32),
        principal=np.full((count, 2), size / 2, np.float32),
        near=np.full(count, 1.0, np.float32),
        far=np.full(count, 6.0, np.float32),
    )


def scene(folder: Path, with_cameras: bool = True) -> Trained:
    """The ball as a run that was opened again."""
    names = tuple(f"photo_{number:02d}" for number in range(24))
    shots = {"train": SplitCameras(names, cameras(), (64, 64))} if with_cameras else {}
    state = TrainState(jnp.int32(8), (), (), (), jax.random.key(0))
    return Trained(
        Run(folder),
        small.config(),
        MODEL,
        state,
        Clock(),
        SceneCameras(WORLD_FROM_ORIGINAL, shots),
        image_renderer(render, 1024),
    )


def world(places: np.ndarray) -> np.ndarray:
    """From the frame of the files."""
    return places @ WORLD_FROM_ORIGINAL[:3, :3].T + WORLD_FROM_ORIGINAL[:3, 3]
