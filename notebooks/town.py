"""The built-in scene's toy house in an unbounded town, and photos from a walk around it.

A capture to learn with that needs no camera and no download. It resembles a real one: hand-held,
through a lens with distortion, with poses in an arbitrary frame. The exact colour and distance are
known for any ray.

Conventions: the town's frame is that of :mod:`.bricks`, z up, with the house at the origin.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nerf_jax.app.images import to_uint8, write_png
from nerf_jax.app.ply import write_ply
from nerf_jax.cameras import cast_image_rays, look_at
from nerf_jax.data import normalize
from nerf_jax.data.images import on_threads
from nerf_jax.data.write_transforms import frame_fields, pinhole_fields, write_transforms
from nerf_jax.scenes import bricks, raytrace
from nerf_jax.scenes.raytrace import BOX, Lights, RayHit, Solids
from nerf_jax.types import Cameras, Lens

FOCAL = 0.9
"""In widths of a photo: a phone's main camera."""
RADIAL = (-0.22, 0.05, 0.0, 0.0)
"""The lens's k1 to k4: barrel distortion that moves the corners inwards by a tenth."""
POINTS_PER_PHOTO = 200

# Structure from motion gives an arbitrary rotation, scale and origin.
ORIGINAL_FROM_TOWN = np.eye(4)
_TILTED = look_at(np.array([0.8, 0.5, -0.4]), np.zeros(3), np.array([0.3, 0.2, 1.0]))
ORIGINAL_FROM_TOWN[:3, :3] = 2.3 * _TILTED[:, :3]
ORIGINAL_FROM_TOWN[:3, 3] = [4.0, -2.0, 7.0]

# ---------------------------------------------------------------------------- the town

_FLOOR = float(bricks.MODEL.low[:, 2].min())
_EARTH = [[0.25, 0.23, 0.20]]
_STONES = [[0.45, 0.38, 0.30], [0.20, 0.19, 0.20], [0.32, 0.20, 0.14], [0.55, 0.50, 0.44]]
_STONES += [[0.16, 0.22, 0.25], [0.40, 0.28, 0.12]]
_HOUSES = [[0.55, 0.08, 0.05], [0.70, 0.45, 0.05], [0.05, 0.20, 0.50], [0.60, 0.58, 0.52]]
_HOUSES += [[0.10, 0.35, 0.12], [0.40, 0.20, 0.10]]


def _blocks(
    rng: np.random.Generator,
    center: np.ndarray,
    width: np.ndarray | float,
    height: np.ndarray | float,
    colors: list,
) -> Solids:
    """Blocks with square bases and random colours: ``center`` [N, 2], the others [N] or scalars."""
    count = len(center)
    half = np.broadcast_to(width, count)[:, None] / 2
    low = np.append(center - half, np.full((count, 1), _FLOOR - 0.1), axis=1)
    high = np.append(center + half, _FLOOR + np.broadcast_to(height, count)[:, None], axis=1)
    return Solids(
        shape=np.full(count, BOX, np.int32),
        low=low.astype(np.float32),
        high=high.astype(np.float32),
        color=(rng.choice(colors, count) * rng.uniform(0.7, 1.1, (count, 1))).astype(np.float32),
        large=high[:, 2] > _FLOOR,  # flat blocks do not occlude the sky
    )


def _town() -> Solids:
    """The house, pavement around it, and blocks up to fifteen times as far away as the cameras."""
    rng = np.random.default_rng(3)
    row = 0.55 * np.arange(-6.5, 7)
    pavement = np.stack(np.meshgrid(row, row), axis=-1).reshape(-1, 2)
    distance, angle = np.geomspace(5.5, 45, 40), np.pi * (3 - np.sqrt(5)) * np.arange(40)
    streets = distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    width, height = distance * rng.uniform(0.07, 0.17, 40), distance * rng.uniform(0.08, 0.28, 40)
    blocks = partial(_blocks, rng)
    parts = [
        bricks.MODEL,
        blocks(np.zeros((1, 2)), 200.0, -0.02, _EARTH),
        blocks(pavement, 0.52, 0.0, _STONES),
        blocks(streets, width, height, _HOUSES),
    ]
    return Solids(*(np.concatenate(leaves) for leaves in zip(*parts, strict=True)))


TOWN = _town()
LIGHTS = Lights(bricks.LIGHTS.sun[:1], bricks.LIGHTS.sky[::4])
"""One sun and every fourth direction of the sky: a photo takes a fifth of a second."""


def trace(origin: Float[Array, "3"], direction: Float[Array, "3"]) -> RayHit:
    """The town along one ray; where it hits nothing, the sky at infinity.

    Args:
        origin: in the town's frame.
        direction: a unit vector.
    """
    hit = raytrace.trace(TOWN, LIGHTS, origin, direction)
    horizon = (1 - jnp.clip(direction[2], 0, 1)) ** 2
    sky = jnp.array([0.35, 0.55, 0.85]) + horizon * jnp.array([0.51, 0.35, 0.09])
    return hit._replace(rgb=jnp.where(hit.hit, hit.rgb, sky))


# ---------------------------------------------------------------------------- the walk


def walk(num_photos: int, size_hw: tuple[int, int]) -> Cameras:
    """Cameras in the town's frame, most of the way around the house at varying heights."""
    height, width = size_hw
    rng, index = np.random.default_rng(0), np.arange(num_photos)
    progress = np.linspace(0, 1, num_photos)
    azimuth = np.radians(-130 + 160 * progress)
    radius, z = 3.2 + 0.3 * np.sin(9 * progress), 1.1 + 0.5 * np.sin(1.3 * index)
    origins = np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), z], axis=1)
    noise = rng.normal(0, 0.06, (2, num_photos, 3))  # a hand's, in the target and in up
    targets, ups = noise[0] + [0, 0, -0.1], noise[1] + [0, 0, 1]
    poses = [look_at(*each) for each in zip(origins, targets, ups, strict=True)]
    return Cameras(
        world_from_camera=np.stack(poses),
        focal=np.full((num_photos, 2), FOCAL * width, np.float32),
        principal=np.tile(np.array([width / 2, height / 2], np.float32), (num_photos, 1)),
        near=np.zeros(num_photos, np.float32),
        far=np.full(num_photos, 100, np.float32),
        lens=Lens(
            radial=np.tile(np.array(RADIAL, np.float32), (num_photos, 1)),
            tangential=np.zeros((num_photos, 2), np.float32),
            fisheye=np.zeros(num_photos, bool),
        ),
    )


@partial(jax.jit, static_argnames="size_hw")
def _photo(
    cameras: Cameras, index: int, size_hw: tuple[int, int]
) -> tuple[RayHit, Float[Array, "H W 3"]]:
    """The hits of the rays through all pixel centres, and their positions."""
    rays = cast_image_rays(cameras, index, size_hw)
    # Row by row: a row's intermediate values fit into a CPU's cache.
    hits = jax.lax.map(lambda row: jax.vmap(trace)(*row), (rays.origin, rays.direction))
    return hits, rays.origin + hits.depth[..., None] * rays.direction


def take_photos(
    folder: Path, num_photos: int = 20, size_hw: tuple[int, int] = (360, 480)
) -> Cameras:
    """Write a capture as ``run.py prepare`` does: photos, their cameras, and sparse points.

    It takes a few seconds on two cores, and gives the same photos each time.

    Args:
        folder: for ``images/``, ``transforms.json`` and ``sparse_points.ply``.
        num_photos: on the walk; neighbours overlap less if there are fewer.
        size_hw: of the photos. They have one ray per pixel: reduced to half, edges are smooth.

    Returns:
        The cameras, in the frame of the files.

    Raises:
        OSError: the folder cannot be written to.
    """
    cameras = walk(num_photos, size_hw)
    names = [f"images/{index:04d}.png" for index in range(num_photos)]
    sparse: list[tuple] = [()] * num_photos

    def take(index: int) -> None:
        hits, positions = jax.tree.map(np.asarray, _photo(cameras, index, size_hw))
        write_png(folder / names[index], hits.rgb)
        pixels = np.random.default_rng(index).choice(np.argwhere(hits.hit), POINTS_PER_PHOTO)
        chosen = tuple(pixels.T)
        sparse[index] = positions[chosen].astype(float), to_uint8(hits.rgb[chosen])

    take(0)  # before the threads, or each of them would compile it
    on_threads(take, range(1, num_photos))
    points, colors = map(np.concatenate, zip(*sparse, strict=True))
    points = normalize.move_points(ORIGINAL_FROM_TOWN, points)
    write_ply(folder / "sparse_points.ply", points, colors)
    original = normalize.move(ORIGINAL_FROM_TOWN, cameras)
    shared = {
        "camera_model": "OPENCV",
        **pinhole_fields(size_hw, original.focal[0].tolist(), original.principal[0].tolist()),
        **dict(zip(("k1", "k2", "k3", "k4"), RADIAL, strict=True)),
        "ply_file_path": "sparse_points.ply",
    }
    poses = zip(names, original.world_from_camera, strict=True)
    frames = [frame_fields(name, pose, {}) for name, pose in poses]
    write_transforms(folder / "transforms.json", shared, frames)
    return original
