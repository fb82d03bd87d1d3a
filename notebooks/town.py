"""The built-in scene's toy house in a town without end, and the photos of a walk around it.

A capture to learn with, where none has to be taken, copied or downloaded. It is made as captures
are: by hand, through a lens that bends, and its poses stand in a frame that has nothing to do with
the town's. The colour and the distance that any ray sees are known.

Conventions: the town's frame is that of :mod:`.bricks`, z up, with the house at the origin.
"""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from nerf_jax.app.images import write_png
from nerf_jax.cameras import cast_rays, look_at
from nerf_jax.data import normalize
from nerf_jax.data.files import atomic_write
from nerf_jax.data.images import on_threads
from nerf_jax.scenes import bricks, raytrace
from nerf_jax.scenes.raytrace import BOX, Lights, RayHit, Solids
from nerf_jax.types import Cameras, Lens

FOCAL = 0.9
"""In widths of a photo: a phone's main camera."""
RADIAL = (-0.22, 0.05, 0.0, 0.0)
"""The lens's k1 to k4: it draws the corners in by a tenth."""
POINTS_A_PHOTO = 200

# What structure from motion would have made of the town: turned and scaled at will.
ORIGINAL_FROM_TOWN = np.eye(4)
_ASKEW = look_at(np.array([0.8, 0.5, -0.4]), np.zeros(3), np.array([0.3, 0.2, 1.0]))
ORIGINAL_FROM_TOWN[:3, :3] = 2.3 * _ASKEW[:, :3]
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
    middle: np.ndarray,
    width: np.ndarray | float,
    top: np.ndarray | float,
    colors: list,
) -> Solids:
    """Square blocks, ``middle`` [N, 2], ``width`` and ``top`` [N] or one, coloured at random."""
    count = len(middle)
    half = np.broadcast_to(width, count)[:, None] / 2
    low = np.append(middle - half, np.full((count, 1), _FLOOR - 0.1), axis=1)
    high = np.append(middle + half, _FLOOR + np.broadcast_to(top, count)[:, None], axis=1)
    return Solids(
        shape=np.full(count, BOX, np.int32),
        low=low.astype(np.float32),
        high=high.astype(np.float32),
        color=(rng.choice(colors, count) * rng.uniform(0.7, 1.1, (count, 1))).astype(np.float32),
        large=high[:, 2] > _FLOOR,  # what lies flat hides no sky
    )


def _town() -> Solids:
    """The house, a pavement around it, and blocks up to fifteen times as far away as cameras."""
    rng = np.random.default_rng(3)
    row = 0.55 * np.arange(-6.5, 7)
    pavement = np.stack(np.meshgrid(row, row), axis=-1).reshape(-1, 2)
    away, turn = np.geomspace(5.5, 45, 40), np.pi * (3 - np.sqrt(5)) * np.arange(40)
    streets = away[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    width, height = away * rng.uniform(0.07, 0.17, 40), away * rng.uniform(0.08, 0.28, 40)
    one, each = np.zeros((1, 2)), partial(_blocks, rng)
    parts = [
        bricks.MODEL,
        each(one, 200.0, -0.02, _EARTH),
        each(pavement, 0.52, 0.0, _STONES),
        each(streets, width, height, _HOUSES),
    ]
    return Solids(*(np.concatenate(leaves) for leaves in zip(*parts, strict=True)))


TOWN = _town()
LIGHTS = Lights(bricks.LIGHTS.sun[:1], bricks.LIGHTS.sky[::4])
"""One sun and a sky in four: a photo is to take a fifth of a second."""


def trace(origin: Float[Array, "3"], direction: Float[Array, "3"]) -> RayHit:
    """What one ray sees of the town, and else of the sky, which is infinitely far.

    Args:
        origin: in the town's frame.
        direction: a unit vector.
    """
    seen = raytrace.trace(TOWN, LIGHTS, origin, direction)
    level = (1 - jnp.clip(direction[2], 0, 1)) ** 2
    sky = jnp.array([0.35, 0.55, 0.85]) + level * jnp.array([0.51, 0.35, 0.09])
    return seen._replace(rgb=jnp.where(seen.hit, seen.rgb, sky))


# ---------------------------------------------------------------------------- the walk


def walk(num_photos: int, size_hw: tuple[int, int]) -> Cameras:
    """Cameras in the town's frame: most of the way around the house, now higher and now lower.

    Args:
        num_photos: N.
        size_hw: of the photos.
    """
    height, width = size_hw
    rng, number = np.random.default_rng(0), np.arange(num_photos)
    along = np.linspace(0, 1, num_photos)
    azimuth = np.radians(-130 + 160 * along)
    far, high = 3.2 + 0.3 * np.sin(9 * along), 1.1 + 0.5 * np.sin(1.3 * number)
    places = np.stack([far * np.cos(azimuth), far * np.sin(azimuth), high], axis=1)
    shaken = rng.normal(0, 0.06, (2, num_photos, 3))  # a hand's: what it aims at, what is up
    targets, ups = shaken[0] + [0, 0, -0.1], shaken[1] + [0, 0, 1]
    poses = [look_at(*each) for each in zip(places, targets, ups, strict=True)]
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
def _photo(camera: Cameras, size_hw: tuple[int, int]) -> RayHit:
    """What each pixel's centre sees. By rows, as a CPU's caches hold one."""
    columns = jnp.arange(size_hw[1])

    def row(number: Int[Array, ""]) -> RayHit:
        pixels = jnp.stack([columns, jnp.full_like(columns, number)], axis=1)
        rays = jax.vmap(cast_rays, (None, None, 0))(camera, 0, pixels)
        return jax.vmap(trace)(rays.origin, rays.direction)

    return jax.lax.map(row, jnp.arange(size_hw[0]))


def take_photos(
    folder: Path, num_photos: int = 20, size_hw: tuple[int, int] = (360, 480)
) -> Float[np.ndarray, "P 3"]:
    """Write a capture as ``run.py prepare`` does: photos and their cameras.

    A few seconds on two cores. The same photos each time.

    Args:
        folder: of ``images/`` and ``transforms.json``.
        num_photos: on the way; the fewer, the less each has in common with the next.
        size_hw: theirs. One ray a pixel: shrunk to half, their edges are smooth.

    Returns:
        Points on surfaces, ``POINTS_A_PHOTO`` of each photo, in the frame of the files.

    Raises:
        OSError: the folder cannot be written to.
    """
    cameras = walk(num_photos, size_hw)
    names = [f"images/{number:04d}.png" for number in range(num_photos)]
    places: list[np.ndarray] = [np.zeros((0, 3))] * num_photos

    def take(number: int) -> None:
        camera = jax.tree.map(lambda leaf: leaf[number : number + 1], cameras)
        seen = jax.tree.map(np.asarray, _photo(camera, size_hw))
        write_png(folder / names[number], seen.rgb)
        places[number] = _places(np.random.default_rng(number), camera, seen)

    take(0)  # before the threads, or each of them would compile it
    on_threads(take, range(1, num_photos))
    cameras = normalize.move(ORIGINAL_FROM_TOWN, cameras)
    with atomic_write(folder / "transforms.json") as aside:
        aside.write_text(json.dumps(_transforms(cameras, names, size_hw), indent=2) + "\n")
    return np.concatenate(places)


def _places(rng: np.random.Generator, camera: Cameras, seen: RayHit) -> Float[np.ndarray, "P 3"]:
    """Some places that a photo shows, in the frame of the files."""
    pixels = np.argwhere(seen.hit)[:, ::-1]
    pixels = rng.choice(pixels, POINTS_A_PHOTO)
    rays = jax.vmap(cast_rays, (None, None, 0))(camera, 0, jnp.asarray(pixels))
    depth = seen.depth[pixels[:, 1], pixels[:, 0]]
    places = np.asarray(rays.origin + depth[:, None] * rays.direction, np.float64)
    return normalize.move_points(ORIGINAL_FROM_TOWN, places)


def _transforms(cameras: Cameras, names: list[str], size_hw: tuple[int, int]) -> dict:
    """The cameras in nerfstudio's fields."""
    (fx, fy), (cx, cy) = (np.asarray(pair[0]).tolist() for pair in cameras[1:3])
    frames = [
        {"file_path": name, "transform_matrix": [*pose.tolist(), [0.0, 0.0, 0.0, 1.0]]}
        for name, pose in zip(names, cameras.world_from_camera, strict=True)
    ]
    return {
        "camera_model": "OPENCV",
        "w": size_hw[1],
        "h": size_hw[0],
        "fl_x": fx,
        "fl_y": fy,
        "cx": cx,
        "cy": cy,
        **dict(zip(("k1", "k2", "k3", "k4"), RADIAL, strict=True)),
        "frames": frames,
    }
