"""``bricks``: the built-in scene. A toy house, a tree and a car, ray-traced on first use.

In this order: the model as a list of solids, the colour of one ray (:mod:`.raytrace`), and the
splits with their cache. Depth is exact, so that reconstructions can be compared with the true
surface.

Conventions: the model is defined in brick units (the distance between studs; x right, y away, z up,
the top of the lawn at 0) and scaled to world units, in which no coordinate exceeds 1.
"""

import contextlib
import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Array, Float, UInt8

from nerf_jax.cameras import look_at, resize
from nerf_jax.config import DataConfig
from nerf_jax.data.files import atomic_write, cache_folder, remove_unfinished
from nerf_jax.data.images import downscale_by_area, srgb_to_linear
from nerf_jax.data.scene import Scene, Split, Track
from nerf_jax.scenes import raytrace
from nerf_jax.scenes.raytrace import BOX, LYING, UPRIGHT, Lights, RayHit, Solids
from nerf_jax.types import Cameras, Dataset

IMAGE_SIZE = 256
NUM_VIEWS = {"train": 64, "val": 8, "test": 8}
CAMERA_ANGLE_X = 0.6911112
"""Radians: the horizontal field of view of the Blender scenes, as is the distance."""
CAMERA_DISTANCE = 4.0

# ---------------------------------------------------------------------- the model

UNIT = 0.146
"""World units per brick unit; with it, the corners of the base plate are inside every image."""
CENTER = np.array([6.5, 6.0, 1.8])
"""The origin of the world in brick units; the cameras look at it."""
PLATE = 0.4
"""Height of a plate in brick units; a brick is three plates high."""

RED, YELLOW, BLUE = "c4160c", "f5bd1a", "1560bd"
WHITE, GRAY, ASPHALT, BLACK = "f2f0ea", "a9adb0", "5d6166", "1d2226"
LAWN, LEAF, LIME = "58ab41", "1f8a3c", "8cc63f"
BROWN, TAN, ORANGE, PINK, GLASS = "7a4420", "dcc596", "f58220", "ec6fa9", "69b7e0"


def _solid(shape: int, low: tuple, high: tuple, color: str) -> Solids:
    """A part with bounds in brick units and an sRGB colour in hexadecimal."""
    srgb = np.array([int(color[k : k + 2], 16) for k in (0, 2, 4)]) / 255
    return Solids(
        shape=np.array(shape, np.int32),
        low=((np.array(low) - CENTER) * UNIT).astype(np.float32),
        high=((np.array(high) - CENTER) * UNIT).astype(np.float32),
        color=srgb_to_linear(srgb).astype(np.float32),
        large=np.array(high[2] - low[2] > 0.22),  # all parts but the studs
    )


def _box(
    x: float, y: float, z: float, width: float, depth: float, height: float, color: str
) -> list[Solids]:
    return [_solid(BOX, (x, y, z), (x + width, y + depth, z + height), color)]


def _round(x: float, y: float, z: float, radius: float, height: float, color: str) -> list[Solids]:
    low, high = (x - radius, y - radius, z), (x + radius, y + radius, z + height)
    return [_solid(UPRIGHT, low, high, color)]


def _brick(
    x: float, y: float, level: int, width: int, depth: int, plates: int, color: str
) -> list[Solids]:
    """A box, ``level`` plates above the lawn, with a stud on each unit of its top."""
    top = PLATE * (level + plates)
    parts = _box(x, y, PLATE * level, width, depth, PLATE * plates, color)
    for i in range(width):
        for j in range(depth):
            parts += _round(x + i + 0.5, y + j + 0.5, top, 0.3, 0.2, color)
    return parts


def _ground() -> list[Solids]:
    lawn = _brick(0, 4, -2, 13, 8, 2, LAWN)
    road = _box(0, 0, -0.8, 13, 3, 0.8, ASPHALT) + _box(0, 3, -0.8, 13, 1, 0.8, GRAY)
    return lawn + road + _box(2, 4, 0, 2, 1, 0.25, TAN)


def _house() -> list[Solids]:
    """Each window is one box through the house, so that opposite walls have the same windows."""
    parts = []
    for level, across, along in ((0, (3, 4), (2, 4)), (3, (2, 3, 2), (4, 2)), (6, (4, 3), (2, 4))):
        for i, width in enumerate(across):
            for j, depth in enumerate(along):
                corner = (1 + sum(across[:i]), 5 + sum(along[:j]))
                parts += _box(*corner, PLATE * level, width, depth, 3 * PLATE, YELLOW)
    parts += _box(2, 4.85, 0, 2, 1, 2.4, WHITE) + _box(2.25, 4.75, 0, 1.5, 1, 2.15, BLUE)
    parts += _box(4.75, 4.9, 1.0, 2.5, 6.2, 1.6, WHITE) + _box(0.9, 7.0, 1.0, 7.2, 2, 1.6, WHITE)
    for shift in (0, 1.1):
        parts += _box(5.0 + shift, 4.8, 1.25, 0.9, 6.4, 1.1, GLASS)
    parts += _box(0.8, 7.25, 1.25, 7.4, 1.5, 1.1, GLASS)
    for step in range(4):
        parts += _brick(1, 4 + step, 9 + 2 * step, 7, 8 - 2 * step, 2, RED)
    return parts + _brick(6, 9, 13, 1, 1, 6, GRAY)


def _tree(x: float, y: float) -> list[Solids]:
    parts = _round(x, y, 0, 0.55, 2.0, BROWN)
    for level, color in ((4, LEAF), (10, LIME)):
        parts += _brick(x - 2, y - 1, level, 4, 2, 2, color)
        parts += _brick(x - 1, y - 2, level, 2, 4, 2, color)
    parts += _brick(x - 2, y - 2, 6, 4, 4, 2, LIME) + _brick(x - 2, y - 2, 8, 4, 4, 2, LEAF)
    return parts + _brick(x - 1, y - 1, 12, 2, 2, 2, LEAF)


def _car(x: float) -> list[Solids]:
    """Five studs long and two wide, on the road, its front towards +x."""
    parts = _box(x, 0.5, 0.35, 5, 2, 0.9, BLUE) + _box(x + 0.7, 0.6, 1.25, 2.6, 1.8, 0.8, GLASS)
    parts += _box(x + 4.9, 0.6, 0.7, 0.25, 0.5, 0.4, YELLOW)
    parts += _box(x + 4.9, 1.9, 0.7, 0.25, 0.5, 0.4, YELLOW)
    for i in (0, 1):
        for j in (0, 1):
            parts += _round(x + 3.8, 1.0 + j, 1.25, 0.3, 0.2, BLUE)
            parts += _round(x + 1.5 + i, 1.0 + j, 2.35, 0.3, 0.2, WHITE)
            center, side = x + 1.1 + 2.8 * i, 0.3 + 2.0 * j
            low, high = (center - 0.5, side, 0), (center + 0.5, side + 0.4, 1)
            parts += [_solid(LYING, low, high, BLACK)]
    return parts + _box(x + 0.6, 0.5, 2.05, 2.8, 2, 0.3, WHITE)


def _flower(x: float, y: float, color: str) -> list[Solids]:
    stem, head = _round(x, y, 0, 0.3, 0.5, LEAF), _round(x, y, 0.5, 0.45, 0.4, color)
    return stem + head + _round(x, y, 0.9, 0.28, 0.18, YELLOW)


def _model() -> Solids:
    """All parts, without the studs whose centres are inside another part."""
    parts = _ground() + _house() + _tree(10.5, 8.5) + _car(4.2)
    for x, y, color in ((9.5, 4.5, PINK), (11.5, 5.5, ORANGE), (12.5, 4.5, RED), (0.5, 5.5, PINK)):
        parts += _flower(x, y, color)
    solids = Solids(*(np.stack(leaf) for leaf in zip(*parts, strict=True)))
    centers = (solids.low + solids.high)[:, None] / 2
    inside = (solids.low < centers) & (centers < solids.high)  # [part, other part, axis]
    hidden = (inside.all(axis=-1) & ~np.eye(len(parts), dtype=bool)).any(axis=1)
    return Solids(*(leaf[solids.large | ~hidden] for leaf in solids))


MODEL = _model()


def _spiral(count: int, low: float, high: float, turn: float = 0.0) -> Float[np.ndarray, "N 3"]:
    """Unit vectors, evenly distributed on the sphere between two heights by the golden angle."""
    z = low + (high - low) * (np.arange(count) + 0.5) / count
    azimuth = np.pi * (3 - np.sqrt(5)) * np.arange(count) + turn
    radius = np.sqrt(1 - z * z)
    around = [radius * np.cos(azimuth), radius * np.sin(azimuth), z]
    return np.stack(around, axis=1).astype(np.float32)


def _lights() -> Lights:
    """A sun wide enough for soft shadows, and a clear sky."""
    toward = np.array([-0.42, -0.62, 0.85])
    sun = toward + 0.05 * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    sun /= np.linalg.norm(sun, axis=1, keepdims=True)
    return Lights(sun.astype(np.float32), _spiral(16, 0.0, 1.0))


LIGHTS = _lights()

# ---------------------------------------------------------------------- one ray


def trace(origin: Float[Array, "3"], direction: Float[Array, "3"]) -> RayHit:
    """Trace one ray through the model: colour, whether anything is hit, and the exact distance.

    Pure and deterministic; use it with ``jax.vmap`` and ``jax.jit``.

    Args:
        origin: world units. Inside a part, the distance is 0.
        direction: a unit vector.
    """
    return raytrace.trace(MODEL, LIGHTS, origin, direction)


_color_pixel = partial(raytrace.color_pixel, MODEL, LIGHTS)
_depth_pixel = partial(raytrace.depth_pixel, MODEL)

_MARGIN = 0.05
"""World units: larger than the height of studs and than the offset of a subsample in its pixel."""
_BOUNDS = (
    np.asarray(MODEL.low[MODEL.large] - _MARGIN),
    np.asarray(MODEL.high[MODEL.large] + _MARGIN),
)

# ---------------------------------------------------------------------- the splits


def load(config: DataConfig) -> Scene:
    """The built-in scene. Its images are rendered when a split is first read: about ten seconds.

    Raises:
        ValueError: ``config.downscale`` leaves no pixel.
    """
    if config.downscale > IMAGE_SIZE:
        raise ValueError(
            f"data.downscale is {config.downscale}, but must be at most {IMAGE_SIZE}: the images "
            f"of the built-in scene are {IMAGE_SIZE}x{IMAGE_SIZE}"
        )
    loaders = {split: partial(_read_split, split, config) for split in NUM_VIEWS}
    return Scene(name="bricks", source="built in", loaders=loaders)


def _cameras(split: str, near: float, far: float) -> Cameras:
    """Cameras around the model, from just below the horizon to nearly overhead, all different."""
    count = NUM_VIEWS[split]
    turn = {"train": 0.0, "val": 4.0, "test": 5.2}[split]
    origins = CAMERA_DISTANCE * _spiral(count, -0.08, 0.93, turn)
    center, up = np.zeros(3), np.array([0.0, 0.0, 1.0])
    focal = IMAGE_SIZE / 2 / np.tan(CAMERA_ANGLE_X / 2)
    return Cameras(
        world_from_camera=np.stack([look_at(origin, center, up) for origin in origins]),
        focal=np.full((count, 2), focal, np.float32),
        principal=np.full((count, 2), IMAGE_SIZE / 2, np.float32),
        near=np.full(count, near, np.float32),
        far=np.full(count, far, np.float32),
    )


def _read_split(split: str, config: DataConfig, track: Track) -> Split:
    cameras = _cameras(split, *config.bounds(2.0, 6.0))
    count, size = NUM_VIEWS[split], IMAGE_SIZE // config.downscale
    small = resize(cameras, 1 / config.downscale)

    def colors() -> np.ndarray:
        empty = np.zeros(4, np.float32)
        rgba = raytrace.render_images(_color_pixel, empty, _BOUNDS, cameras, IMAGE_SIZE)
        return np.round(255 * rgba).astype(np.uint8)

    def depths() -> np.ndarray:
        empty = np.array(np.inf, np.float32)
        return raytrace.render_images(_depth_pixel, empty, _BOUNDS, small, size)

    full = (count, IMAGE_SIZE, IMAGE_SIZE, 4)
    pixels = _downscale(_cached(f"{split}-rgba", full, np.uint8, colors), config.downscale)
    depth = _cached(f"{split}-depth", (count, size, size), np.float32, depths)
    names = tuple(f"{split}_{index:02d}" for index in range(count))
    return Split(Dataset(small, pixels), names, depth)


def _downscale(pixels: UInt8[np.ndarray, "N H W 4"], factor: int) -> UInt8[np.ndarray, "N h w 4"]:
    """Average areas, colours weighted by alpha, so that empty pixels do not darken the edges."""
    if factor == 1:
        return pixels
    rgb, alpha = pixels[..., :3].astype(np.uint16), pixels[..., 3:]
    weighted = ((rgb * alpha + 127) // 255).astype(np.uint8)
    small = downscale_by_area(np.concatenate([weighted, alpha], axis=-1), factor)
    rgb, alpha = small[..., :3].astype(np.float32), small[..., 3:]
    straight = np.minimum(255 * rgb / np.maximum(alpha, 1), 255)
    return np.concatenate([np.round(straight).astype(np.uint8), alpha], axis=-1)


# ---------------------------------------------------------------------- the cache


def _cached(
    name: str, shape: tuple[int, ...], dtype: type, make: Callable[[], np.ndarray]
) -> np.ndarray:
    """The result of ``make``, kept in the user's cache folder until this code changes.

    If the cache is damaged or cannot be written, the array is made again.
    """
    try:
        path = _cache_path(f"{name}-{'x'.join(map(str, shape))}")
    except (OSError, RuntimeError):  # there is no home folder, or the code is in an archive
        return make()
    with contextlib.suppress(Exception):  # absent, truncated, or another file
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            array = arrays["array"]
        if array.shape == shape and array.dtype == dtype:
            return array
    array = make()
    with contextlib.suppress(OSError):
        remove_unfinished(path.parent)
        with atomic_write(path) as aside:
            np.savez_compressed(aside, array=array)
    return array


def _cache_path(name: str) -> Path:
    source = b"".join(Path(file).read_bytes() for file in (__file__, raytrace.__file__))
    return cache_folder() / f"bricks-{hashlib.sha256(source).hexdigest()[:16]}-{name}.npz"
