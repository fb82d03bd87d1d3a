"""The fused distance of a place, by a slow loop over cameras; and what it knows of a wall."""

import jax
import jax.numpy as jnp
import numpy as np

from nerf_jax.app.mesh.fusion import fused_distance, fused_field
from nerf_jax.app.mesh.views import Views
from nerf_jax.cameras import look_at
from nerf_jax.types import Cameras

HEIGHT, WIDTH = 9, 12


def cameras(places: np.ndarray, target: np.ndarray) -> Cameras:
    count = len(places)
    up = np.array([0.0, 0.0, 1.0])
    return Cameras(
        world_from_camera=np.stack([look_at(place, target, up) for place in places]),
        focal=np.tile(np.array([11.0, 10.0], np.float32), (count, 1)),
        principal=np.tile(np.array([5.5, 4.8], np.float32), (count, 1)),
        near=np.full(count, 0.5, np.float32),
        far=np.full(count, 5.0, np.float32),
    )


def slow(cams: Cameras, depth: np.ndarray, truncation: float, position: np.ndarray) -> float:
    """Curless and Levoy, in float64 and with matrices written out."""
    total = weight = 0.0
    for pose, focal, principal, near, far, image in zip(*cams[:5], depth, strict=True):
        world_from_camera = np.vstack([pose, [0, 0, 0, 1]]).astype(float)
        x, y, z, _ = np.linalg.inv(world_from_camera) @ [*position, 1]
        distance = np.linalg.norm(position - pose[:, 3])
        if z >= 0 or not near < distance < far:
            continue
        column, row = focal * [x / -z, y / z] + principal
        if not (0 <= column < WIDTH and 0 <= row < HEIGHT):
            continue
        signed = (image[int(row), int(column)] - distance) / truncation
        if signed > -1:
            own = 1.0 if signed > 0 else 1 + signed
            total, weight = total + own * min(signed, 1.0), weight + own
    return total / weight if weight > 1 else np.nan


def test_it_is_what_a_slow_loop_finds():
    rng = np.random.default_rng(0)
    places = rng.normal(size=(7, 3))
    cams = cameras(2 * places / np.linalg.norm(places, axis=1, keepdims=True), np.zeros(3))
    depth = rng.uniform(1.5, 2.5, (7, HEIGHT, WIDTH)).astype(np.float32)
    depth[rng.random(depth.shape) < 0.1] = np.inf
    depth[rng.random(depth.shape) < 0.1] = np.nan
    positions = rng.uniform(-1.5, 1.5, (400, 3)).astype(np.float32)
    found = fused_field(Views(cams, depth, np.zeros(0, np.uint8)), 0.6)(positions)
    expected = np.array([slow(cams, depth, 0.6, position) for position in positions])
    known = ~np.isnan(expected)
    assert 50 < known.sum() < 390
    assert (known == ~np.isnan(found)).mean() > 0.995  # rounding may move a place by a pixel
    both = known & ~np.isnan(found)
    assert np.quantile(np.abs(found[both] - expected[both]), 0.99) < 1e-5


def wall(distance: float) -> tuple[Cameras, np.ndarray]:
    """Three cameras beside each other before a wall across the y axis, by exact depths."""
    ahead = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0]])  # all look along y
    poses = np.tile(ahead, (3, 1, 1))
    poses[:, 0, 3] = [-0.2, 0.0, 0.2]
    rows, columns = np.indices((HEIGHT, WIDTH)) + 0.5
    x, y = (columns - 5.5) / 11.0, (rows - 4.8) / 10.0
    depth = distance * np.sqrt(1 + x**2 + y**2)
    cams = cameras(poses[:, :, 3] + [0, 1, 0], np.zeros(3))._replace(world_from_camera=poses)
    return cams, np.tile(depth, (3, 1, 1)).astype(np.float32)


def test_before_a_wall_is_outside_behind_it_inside_and_farther_unknown():
    cams, depth = wall(2.0)
    truncation = 0.4
    value = jax.jit(lambda p: fused_distance(cams, jnp.asarray(depth), truncation, p))
    for offset in (-0.3, -0.1, 0.1, 0.2):
        found = float(value(jnp.array([0.0, 2.0 + offset, 0.0])))
        assert abs(found + offset / truncation) < 0.05
    assert float(value(jnp.array([0.0, 1.0, 0.0]))) == 1.0
    assert np.isnan(value(jnp.array([0.0, 2.5, 0.0])))
    assert np.isnan(value(jnp.array([0.0, -1.0, 0.0])))  # behind the cameras
    assert np.isnan(value(jnp.array([0.0, 0.3, 0.0])))  # nearer than any looks
    assert np.isnan(value(jnp.array([3.0, 1.5, 0.0])))  # beside what they see


def test_where_nothing_is_hit_all_is_outside_and_what_one_alone_sees_unknown():
    cams, depth = wall(2.0)
    empty = np.full_like(depth, np.inf)
    place = jnp.array([0.0, 3.0, 0.0])
    assert float(fused_distance(cams, jnp.asarray(empty), 0.4, place)) == 1.0
    alone = np.where(np.arange(3)[:, None, None] == 1, empty, np.nan).astype(np.float32)
    assert np.isnan(fused_distance(cams, jnp.asarray(alone), 0.4, place))
