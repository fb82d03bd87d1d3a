"""A ray tracer for boxes and cylinders of glossy plastic, lit by a sun and a sky.

It renders the built-in scene. Everything is in closed form and deterministic: the colour of a ray
is a pure function of the ray, and its depth is exact.

Conventions: world units, z up, unit directions. The solids are NumPy arrays, constant when a
function is traced. Shading is in linear light; colours are returned as sRGB.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from nerf_jax.cameras import cast_rays
from nerf_jax.numerics import normalize
from nerf_jax.types import Cameras, Rays

BOX, UPRIGHT, LYING = range(3)
"""Shapes: a box, and the capped cylinders along z and along y inscribed in it."""

SEAM = 0.013
"""World units from the edges of a face in which it darkens, as at the gap between bricks."""

Vector = tuple[Array, Array, Array]
"""A vector in the inner loops. Its coordinates are separate arrays, so that under ``vmap`` each is
contiguous in memory and a CPU reads eight at a time. Arrays of [3] take six times as long."""
Intersect = Callable[[Vector, Vector], tuple[Array, Array]]
Boxes = tuple[Float[Array | np.ndarray, "m 3"], Float[Array | np.ndarray, "m 3"]]
"""The lower and the upper corners of axis-aligned boxes."""
Mask = Bool[Array | np.ndarray, " n"]


class Solids(NamedTuple):
    """The parts of a model: n of them, or one."""

    shape: Int[Array | np.ndarray, "*n"]
    low: Float[Array | np.ndarray, "*n 3"]
    """Lower corner of the bounding box."""
    high: Float[Array | np.ndarray, "*n 3"]
    color: Float[Array | np.ndarray, "*n 3"]
    """Linear light, in [0, 1]."""
    large: Bool[Array | np.ndarray, "*n"]
    """Whether the part is tested for occlusion of the sky; all parts are tested for the sun."""


class Lights(NamedTuple):
    """Unit vectors towards distant lights."""

    sun: Float[Array | np.ndarray, "K 3"]
    sky: Float[Array | np.ndarray, "M 3"]


class RayHit(NamedTuple):
    """The first surface along a ray."""

    rgb: Float[Array, "3"]
    """sRGB in [0, 1]; zero if nothing is hit."""
    hit: Bool[Array, ""]
    depth: Float[Array, ""]
    """Distance to the surface in world units; inf if nothing is hit."""


# ---------------------------------------------------------------------- intersection


def intersect_box(origin: Vector, direction: Vector) -> Intersect:
    """Intersect a line with axis-aligned boxes (Kay and Kajiya 1986).

    Args:
        origin: world units.
        direction: a unit vector; no coordinate may be zero.

    Returns:
        ``(low, high) -> (enter, leave)``: distances along the line, negative behind the origin;
        ``enter < leave`` only if the line meets the box. It is a function so that the divisions,
        which are the same for all boxes, are computed once.
    """
    inverse = [1 / d for d in direction]

    def intersect(low: Vector, high: Vector) -> tuple[Array, Array]:
        to_low, to_high = (
            [(c - o) * i for c, o, i in zip(corner, origin, inverse, strict=True)]
            for corner in (low, high)
        )
        near, far = map(jnp.minimum, to_low, to_high), map(jnp.maximum, to_low, to_high)
        return reduce(jnp.maximum, near), reduce(jnp.minimum, far)

    return intersect


def intersect_cylinder(origin: Vector, direction: Vector) -> Intersect:
    """Intersect a line with the capped cylinders along z inscribed in boxes.

    The half chord is computed from the line's distance to the axis and not from the origin's, whose
    square would lose digits (Haines et al. 2019, "Precision improvements for ray/sphere
    intersection").
    """
    x, y, z = origin
    inverse_level, inverse_z = 1 / jnp.sqrt(direction[0] ** 2 + direction[1] ** 2), 1 / direction[2]
    u, v = direction[0] * inverse_level, direction[1] * inverse_level  # unit, in the x-y plane

    def intersect(low: Vector, high: Vector) -> tuple[Array, Array]:
        radius = (high[0] - low[0]) / 2
        to_x, to_y = low[0] + radius - x, low[1] + radius - y
        nearest, passing = to_x * u + to_y * v, to_x * v - to_y * u
        squared = radius * radius - passing * passing
        half = jnp.sqrt(jnp.maximum(squared, 0.0))
        first, second = (low[2] - z) * inverse_z, (high[2] - z) * inverse_z
        enter = jnp.maximum(jnp.minimum(first, second), (nearest - half) * inverse_level)
        leave = jnp.minimum(jnp.maximum(first, second), (nearest + half) * inverse_level)
        return enter, jnp.where(squared > 0, leave, -jnp.inf)

    return intersect


def intersect_lying(origin: Vector, direction: Vector) -> Intersect:
    """Intersect a line with the cylinders along y: those along z, with y and z exchanged."""

    def exchange(vector: Vector) -> Vector:
        return vector[0], vector[2], vector[1]

    intersect = intersect_cylinder(exchange(origin), exchange(direction))
    return lambda low, high: intersect(exchange(low), exchange(high))


INTERSECT = {BOX: intersect_box, UPRIGHT: intersect_cylinder, LYING: intersect_lying}


def first_hit(
    solids: Solids, origin: Float[Array, "3"], direction: Float[Array, "3"]
) -> tuple[Float[Array, ""], Int[Array, ""]]:
    """The distance to the nearest surface and the index of its part; inf and -1 if nothing is hit.

    If ``origin`` is inside a part, the distance is 0. ``direction`` is a unit vector.
    """

    def nearer(best: Any, enter: Array, leave: Array, part: Array) -> tuple[Array, Array]:
        enter = jnp.maximum(enter, 0.0)
        closer = (enter < leave) & (enter < best[0])
        return jnp.where(closer, enter, best[0]), jnp.where(closer, part, best[1])

    nothing = jnp.asarray(jnp.inf, origin.dtype), jnp.int32(-1)
    return _sweep(nearer, nothing, solids, np.ones_like(solids.large), _line(origin, direction))


def _occluded(
    solids: Solids, mask: Mask, origin: Float[Array, "3"], direction: Float[Array, "3"]
) -> Bool[Array, ""]:
    """Whether any of the parts in ``mask`` is on the ray."""

    def either(occluded: Array, enter: Array, leave: Array, part: Array) -> Array:
        return occluded | (jnp.maximum(enter, 0.0) < leave)

    return _sweep(either, jnp.bool_(False), solids, mask, _line(origin, direction))


def _sweep(
    step: Callable, carry: Any, solids: Solids, mask: Mask, line: tuple[Vector, Vector]
) -> Any:
    """``carry = step(carry, enter, leave, part)`` for each of the parts in ``mask``."""
    for shape, intersect in INTERSECT.items():
        parts = np.flatnonzero((solids.shape == shape) & mask).astype(np.int32)
        meet = intersect(*line)

        def body(carry: Any, each: Any, meet: Intersect = meet) -> tuple[Any, None]:
            part, low, high = each
            return step(carry, *meet(_coordinates(low), _coordinates(high)), part), None

        carry, _ = jax.lax.scan(body, carry, (parts, solids.low[parts], solids.high[parts]))
    return carry


def _line(origin: Float[Array, "3"], direction: Float[Array, "3"]) -> tuple[Vector, Vector]:
    """The ray with no zero in its direction, for the divisions."""
    tiny = 1e-9
    tilted = jnp.where(jnp.abs(direction) < tiny, jnp.copysign(tiny, direction), direction)
    return _coordinates(origin), _coordinates(tilted)


def _coordinates(vector: Float[Array, "3"]) -> Vector:
    return vector[0], vector[1], vector[2]


# ---------------------------------------------------------------------- shading


def trace(
    solids: Solids, lights: Lights, origin: Float[Array, "3"], direction: Float[Array, "3"]
) -> RayHit:
    """Trace one ray: the surface it hits, its shadows and its gloss.

    If ``origin`` is inside a part, the depth is 0. ``direction`` is a unit vector.
    """
    depth, index = first_hit(solids, origin, direction)
    hit = index >= 0
    part = Solids(*(jnp.asarray(leaf)[index] for leaf in solids))
    point = origin + jnp.where(hit, depth, 0.0) * direction
    rgb = _linear_to_srgb(_shade(solids, lights, point, direction, part))
    return RayHit(rgb=jnp.where(hit, rgb, 0.0), hit=hit, depth=depth)


def _shade(
    solids: Solids, lights: Lights, point: Array, direction: Array, part: Solids
) -> Float[Array, "3"]:
    """Linear light from a surface point towards the camera.

    The sun with its shadow; the unoccluded part of the sky; a little light from below; and two
    terms of gloss that depend on the view: a highlight (Blinn 1977) and the reflection of the sky
    (Schlick 1994).
    """
    normal, edge = _surface(point, part)
    start = point + 2e-4 * normal  # more than rounding, or the surface would shade itself
    # One light after another: vectorized over lights, the rays would not be contiguous in memory,
    # which takes 1.7 times as long.
    everything, to_sun, to_sky = np.ones_like(solids.large), *map(jnp.asarray, lights)
    shadow = jax.lax.map(lambda toward: _occluded(solids, everything, start, toward), to_sun)
    hidden = jax.lax.map(lambda toward: _occluded(solids, solids.large, start, toward), to_sky)
    sun = jnp.where(shadow, 0.0, jnp.maximum(to_sun @ normal, 0.0))
    # Twice, since the mean cosine over a hemisphere is 1/2.
    sky = 2 * jnp.mean(jnp.where(hidden, 0.0, jnp.maximum(to_sky @ normal, 0.0)))

    between = normalize(to_sun - direction[None])
    gloss = jnp.mean(jnp.where(sun > 0, (between @ normal) ** 80, 0.0))
    facing = jnp.clip(-direction @ normal, 0.0, 1.0)
    mirrored_z = direction[2] + 2 * facing * normal[2]
    fresnel = 0.04 + 0.5 * (1 - facing) ** 5
    reflected = fresnel * jnp.clip(0.4 + 0.6 * mirrored_z, 0.1, 1.0) * (0.3 + 0.7 * sky)

    plastic = jnp.asarray(part.color) * (0.72 + 0.28 * jnp.clip(edge / SEAM, 0.0, 1.0))
    warm, cool = jnp.array([1.0, 0.95, 0.86]), jnp.array([0.92, 0.97, 1.0])
    diffuse = 0.95 * jnp.mean(sun) * warm + 0.50 * sky * cool + 0.12 - 0.08 * normal[2]
    return plastic * diffuse + 0.30 * gloss * warm + reflected * cool


def _surface(point: Float[Array, "3"], part: Solids) -> tuple[Float[Array, "3"], Float[Array, ""]]:
    """The outward normal, and for boxes the distance to the nearest edge of the face (else inf)."""
    half = (part.high - part.low) / 2
    local = (point - (part.low + part.high) / 2) / half  # a coordinate of a face is 1
    size = jnp.abs(local)
    flat = jnp.where(size >= jnp.max(size), jnp.sign(local), 0.0)

    axis = jnp.array([[0, 0, 0], [0, 0, 1], [0, 1, 0]])[part.shape]
    radial = local * (1 - axis)
    is_side = jnp.sum(radial * radial) > jnp.sum(axis * local * local)
    rounded = jnp.where(is_side, radial, axis * jnp.sign(local))

    normal = normalize(jnp.where(part.shape == BOX, flat, rounded))
    gaps = (1 - size) * half  # to the three pairs of faces; the smallest is to the point's own
    edge = jnp.sum(gaps) - jnp.min(gaps) - jnp.max(gaps)  # the median
    return normal, jnp.where(part.shape == BOX, edge, jnp.inf)


def _linear_to_srgb(linear: Float[Array, "3"]) -> Float[Array, "3"]:
    linear = jnp.clip(linear, 0.0, 1.0)
    curve = 1.055 * jnp.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return jnp.where(linear <= 0.0031308, 12.92 * linear, curve)


# ---------------------------------------------------------------------- images

SUBSAMPLES = np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]], np.float32)
"""Positions in a pixel, column and row. Each is lit by its own share of the lights, so that a pixel
has soft shadows at the cost of one light per subsample, the same ones in every image."""


def color_pixel(
    solids: Solids, lights: Lights, camera: Cameras, pixel: Float[Array, "2"]
) -> Float[Array, "4"]:
    """The mean colour of the subsamples of a pixel that hit, and their fraction: sRGB and alpha.

    Args:
        solids: n parts.
        lights: the numbers of suns and of skies are multiples of four.
        camera: one.
        pixel: column and row of its upper left corner.
    """

    def sample(share: tuple[Array, Array, Array]) -> RayHit:
        offset, sun, sky = share
        ray = _ray(camera, pixel + offset)
        return trace(solids, Lights(sun, sky), ray.origin, ray.direction)

    def shares(toward: Array | np.ndarray) -> Array:  # [K, 3] -> [4, K / 4, 3], every fourth
        return jnp.asarray(toward).reshape(-1, len(SUBSAMPLES), 3).swapaxes(0, 1)

    found = jax.lax.map(sample, (SUBSAMPLES, shares(lights.sun), shares(lights.sky)))
    hits = jnp.sum(found.hit)
    rgb = jnp.sum(found.rgb, axis=0) / jnp.maximum(hits, 1)
    return jnp.append(rgb, hits / len(SUBSAMPLES))


def depth_pixel(solids: Solids, camera: Cameras, pixel: Float[Array, "2"]) -> Float[Array, ""]:
    """The distance along the ray through the centre of a pixel; inf if nothing is hit."""
    ray = _ray(camera, pixel + 0.5)
    return first_hit(solids, ray.origin, ray.direction)[0]


def render_images(
    pixel_value: Callable,
    empty: Float[np.ndarray, "*c"],
    bounds: Boxes,
    cameras: Cameras,
    size: int,
) -> Float[np.ndarray, "N size size *c"]:
    """``pixel_value(camera, pixel)`` for every pixel of every camera.

    Args:
        pixel_value: function of one camera and the upper left corner of a pixel.
        empty: its value outside the model.
        bounds: boxes that contain the model, with a margin for subsamples.
        cameras: N of them.
        size: of the square images.
    """
    # On the CPU in tiles that fit its caches and mostly miss the model. An accelerator would spend
    # its time on kernel launches, so it is used only if JAX has no CPU backend.
    try:
        device, tile = jax.local_devices(backend="cpu")[0], 24
    except RuntimeError:
        device, tile = jax.local_devices()[0], 256

    def render(image: int) -> np.ndarray:
        # One camera at a time, so that splits of any size share the compiled program.
        camera = jax.device_put(jax.tree.map(lambda leaf: leaf[image], cameras), device)
        return np.asarray(_render_image(pixel_value, empty, bounds, camera, size, tile))

    first = render(0)  # before the threads, or each would compile the program
    # One image per thread: XLA runs operations of this size on one core.
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        return np.stack([first, *pool.map(render, range(1, len(cameras.near)))])


@partial(jax.jit, static_argnames=("pixel_value", "size", "tile"))
def _render_image(
    pixel_value: Callable,
    empty: Float[Array, "*c"],
    bounds: Boxes,
    camera: Cameras,
    size: int,
    tile: int,
) -> Float[Array, "size size *c"]:
    across = -(-size // tile)
    inside = jnp.stack(jnp.meshgrid(jnp.arange(tile), jnp.arange(tile)), axis=-1).reshape(-1, 2)

    def make(index: Int[Array, ""]) -> Array:
        corner = tile * jnp.stack([index % across, index // across])
        pixels = (corner[None] + inside).astype(jnp.float32)
        return jax.lax.cond(
            jnp.any(jax.vmap(_meets_any, in_axes=(None, None, 0))(bounds, camera, pixels)),
            lambda: jax.vmap(pixel_value, in_axes=(None, 0))(camera, pixels).astype(empty.dtype),
            lambda: jnp.broadcast_to(empty, (tile * tile, *empty.shape)),
        )

    tiles = jax.lax.map(make, jnp.arange(across * across))
    tiles = tiles.reshape(across, across, tile, tile, *empty.shape).swapaxes(1, 2)
    return tiles.reshape(across * tile, across * tile, *empty.shape)[:size, :size]


def _meets_any(bounds: Boxes, camera: Cameras, pixel: Float[Array, "2"]) -> Bool[Array, ""]:
    """Whether the line through a pixel's centre meets any of the boxes."""
    ray = _ray(camera, pixel + 0.5)
    meet = intersect_box(*_line(ray.origin, ray.direction))

    def body(found: Array, each: Any) -> tuple[Array, None]:
        enter, leave = meet(_coordinates(each[0]), _coordinates(each[1]))
        return found | (enter < leave), None

    return jax.lax.scan(body, jnp.bool_(False), bounds)[0]


def _ray(camera: Cameras, position: Float[Array, "2"]) -> Rays:
    """The ray through a position on the image plane of one camera."""
    return cast_rays(jax.tree.map(lambda leaf: leaf[None], camera), jnp.int32(0), position)
