"""A small ray tracer: boxes and cylinders of glossy plastic, under a sun and a sky.

It makes the pictures of the built-in scene. All is in closed form, and nothing random: what one
ray sees is a pure function of the ray, and its depth is exact.

Conventions: world units, z up, unit directions. The solids are NumPy arrays, fixed when a
function is traced. Colours are lit in linear light and come out as sRGB.
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
"""Shapes: a box, and the capped cylinders along z and along y that just fit into it."""

SEAM = 0.013
"""World units from its edges within which a face darkens, as towards the gap between bricks."""

Vector = tuple[Array, Array, Array]
"""A vector of the inner loops: its coordinates are kept apart, so that under ``vmap`` each is one
row in memory, which a CPU reads eight at a time. With rows of [3] it takes six times as long."""
Intersect = Callable[[Vector, Vector], tuple[Array, Array]]
Boxes = tuple[Float[Array | np.ndarray, "m 3"], Float[Array | np.ndarray, "m 3"]]
"""Their low and their high corners."""
Some = Bool[Array | np.ndarray, " n"]
"""Which of the parts."""


class Solids(NamedTuple):
    """The parts of a model: n of them, or one."""

    shape: Int[Array | np.ndarray, "*n"]
    low: Float[Array | np.ndarray, "*n 3"]
    """The corner of the bounding box with the least coordinates."""
    high: Float[Array | np.ndarray, "*n 3"]
    color: Float[Array | np.ndarray, "*n 3"]
    """Linear light, in [0, 1]."""
    large: Bool[Array | np.ndarray, "*n"]
    """Whether it hides enough of the sky to be looked for; the sun's shadows are of all parts."""


class Lights(NamedTuple):
    """Unit vectors towards the places that light comes from, infinitely far away."""

    sun: Float[Array | np.ndarray, "K 3"]
    sky: Float[Array | np.ndarray, "M 3"]


class RayHit(NamedTuple):
    """What a ray sees."""

    rgb: Float[Array, "3"]
    """sRGB in [0, 1]; zero where nothing is hit."""
    hit: Bool[Array, ""]
    depth: Float[Array, ""]
    """Distance to the surface in world units; inf where nothing is hit."""


# ------------------------------------------------------------------ where a ray meets solids


def intersect_box(origin: Vector, direction: Vector) -> Intersect:
    """Where a line enters and leaves a box (Kay and Kajiya 1986).

    Args:
        origin: world units.
        direction: a unit vector; no coordinate may be zero.

    Returns:
        ``(low, high) -> (enter, leave)``: distances along the line, negative behind the origin,
        with ``enter < leave`` only if it meets the box. In two stages, so that what is the same
        for all boxes, the divisions above all, is worked out once.
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
    """The same for the capped cylinder along z that just fits into the bounds.

    The half chord comes from the line's distance to the axis and not from the origin's, whose
    square would cancel digits (Haines et al. 2019, "Precision improvements for ray/sphere
    intersection").
    """
    x, y, z = origin
    inverse_level, inverse_z = 1 / jnp.sqrt(direction[0] ** 2 + direction[1] ** 2), 1 / direction[2]
    u, v = direction[0] * inverse_level, direction[1] * inverse_level  # unit, in the plane

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
    """The cylinder along y: the one along z, with y and z exchanged."""

    def exchange(vector: Vector) -> Vector:
        return vector[0], vector[2], vector[1]

    intersect = intersect_cylinder(exchange(origin), exchange(direction))
    return lambda low, high: intersect(exchange(low), exchange(high))


INTERSECT = {BOX: intersect_box, UPRIGHT: intersect_cylinder, LYING: intersect_lying}


def first_hit(
    solids: Solids, origin: Float[Array, "3"], direction: Float[Array, "3"]
) -> tuple[Float[Array, ""], Int[Array, ""]]:
    """The distance to the nearest surface, and the number of the part it belongs to.

    Args:
        solids: n parts.
        origin: where the ray starts. Inside a part, the distance is 0.
        direction: a unit vector.

    Returns:
        inf and -1 where nothing is hit.
    """

    def nearer(best: Any, enter: Array, leave: Array, part: Array) -> tuple[Array, Array]:
        enter = jnp.maximum(enter, 0.0)
        closer = (enter < leave) & (enter < best[0])
        return jnp.where(closer, enter, best[0]), jnp.where(closer, part, best[1])

    nothing = jnp.asarray(jnp.inf, origin.dtype), jnp.int32(-1)
    return _sweep(nearer, nothing, solids, np.ones_like(solids.large), _line(origin, direction))


def _blocked(
    solids: Solids, among: Some, origin: Float[Array, "3"], direction: Float[Array, "3"]
) -> Bool[Array, ""]:
    """Whether any of some parts is between a place and the light from a direction."""

    def either(blocked: Array, enter: Array, leave: Array, part: Array) -> Array:
        return blocked | (jnp.maximum(enter, 0.0) < leave)

    return _sweep(either, jnp.bool_(False), solids, among, _line(origin, direction))


def _sweep(
    step: Callable, carry: Any, solids: Solids, among: Some, line: tuple[Vector, Vector]
) -> Any:
    """``carry = step(carry, enter, leave, part)`` over some of the parts."""
    for shape, intersect in INTERSECT.items():
        parts = np.flatnonzero((solids.shape == shape) & among).astype(np.int32)
        meet = intersect(*line)

        def body(carry: Any, each: Any, meet: Intersect = meet) -> tuple[Any, None]:
            part, low, high = each
            return step(carry, *meet(_coordinates(low), _coordinates(high)), part), None

        carry, _ = jax.lax.scan(body, carry, (parts, solids.low[parts], solids.high[parts]))
    return carry


def _line(origin: Float[Array, "3"], direction: Float[Array, "3"]) -> tuple[Vector, Vector]:
    """The ray, tilted by less than a float can tell where it runs along an axis: to divide by."""
    tiny = 1e-9
    tilted = jnp.where(jnp.abs(direction) < tiny, jnp.copysign(tiny, direction), direction)
    return _coordinates(origin), _coordinates(tilted)


def _coordinates(vector: Float[Array, "3"]) -> Vector:
    return vector[0], vector[1], vector[2]


# ------------------------------------------------------------------------ what a ray sees


def trace(
    solids: Solids, lights: Lights, origin: Float[Array, "3"], direction: Float[Array, "3"]
) -> RayHit:
    """What one ray sees: the exact surface, its shadows and its gloss.

    Args:
        solids: n parts.
        lights: what they are lit by.
        origin: where the ray starts. Inside a part, the depth is 0.
        direction: a unit vector.
    """
    depth, number = first_hit(solids, origin, direction)
    hit = number >= 0
    part = Solids(*(jnp.asarray(leaf)[number] for leaf in solids))
    point = origin + jnp.where(hit, depth, 0.0) * direction
    rgb = _srgb(_shade(solids, lights, point, direction, part))
    return RayHit(rgb=jnp.where(hit, rgb, 0.0), hit=hit, depth=depth)


def _shade(
    solids: Solids, lights: Lights, point: Array, direction: Array, part: Solids
) -> Float[Array, "3"]:
    """Linear light that leaves a point of the surface towards the eye.

    The sun with its shadow; the sky as far as it is not hidden; a little light from below; and
    the plastic's gloss, which moves with the eye: a highlight (Blinn 1977) and the sky's
    reflection (Schlick 1994).
    """
    normal, edge = _surface(point, part)
    start = point + 2e-4 * normal  # beyond rounding, or the surface would shade itself
    # One light after another: side by side, the lights and not the rays would be neighbours in
    # memory, which takes 1.7 times as long.
    everything, to_sun, to_sky = np.ones_like(solids.large), *map(jnp.asarray, lights)
    shadow = jax.lax.map(lambda toward: _blocked(solids, everything, start, toward), to_sun)
    hidden = jax.lax.map(lambda toward: _blocked(solids, solids.large, start, toward), to_sky)
    sun = jnp.where(shadow, 0.0, jnp.maximum(to_sun @ normal, 0.0))
    # Twice, as the mean of the cosine over a whole hemisphere is a half.
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
    """The outward normal, and the distance to the nearest edge of a box's face (else inf)."""
    half = (part.high - part.low) / 2
    local = (point - (part.low + part.high) / 2) / half  # a face is where a coordinate is 1
    size = jnp.abs(local)
    flat = jnp.where(size >= jnp.max(size), jnp.sign(local), 0.0)

    axis = jnp.array([[0, 0, 0], [0, 0, 1], [0, 1, 0]])[part.shape]
    radial = local * (1 - axis)
    is_side = jnp.sum(radial * radial) > jnp.sum(axis * local * local)
    rounded = jnp.where(is_side, radial, axis * jnp.sign(local))

    normal = normalize(jnp.where(part.shape == BOX, flat, rounded))
    gaps = (1 - size) * half  # to the three pairs of faces, the point's own first
    edge = jnp.sum(gaps) - jnp.min(gaps) - jnp.max(gaps)  # so the middle one is to an edge
    return normal, jnp.where(part.shape == BOX, edge, jnp.inf)


def _srgb(linear: Float[Array, "3"]) -> Float[Array, "3"]:
    linear = jnp.clip(linear, 0.0, 1.0)
    curve = 1.055 * jnp.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return jnp.where(linear <= 0.0031308, 12.92 * linear, curve)


# --------------------------------------------------------------------------- its pictures

SUBSAMPLES = np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]], np.float32)
"""Places in a pixel, column and row. Each sees its own share of the lights, so that a pixel has
soft shadows at the price of one light a sub-sample, and the same ones in every picture."""


def color_pixel(
    solids: Solids, lights: Lights, camera: Cameras, pixel: Float[Array, "2"]
) -> Float[Array, "4"]:
    """What a pixel shows: sRGB and straight alpha, in [0, 1].

    Args:
        solids: n parts.
        lights: four or a multiple of it, of the sun and of the sky.
        camera: one.
        pixel: column and row of its upper left corner.

    Returns:
        The mean colour of the sub-samples that hit, and their share.
    """

    def sample(share: tuple[Array, Array, Array]) -> RayHit:
        place, sun, sky = share
        ray = _ray(camera, pixel + place)
        return trace(solids, Lights(sun, sky), ray.origin, ray.direction)

    def shares(toward: Array | np.ndarray) -> Array:  # [K, 3] -> [4, K / 4, 3], neighbours apart
        return jnp.asarray(toward).reshape(-1, len(SUBSAMPLES), 3).swapaxes(0, 1)

    seen = jax.lax.map(sample, (SUBSAMPLES, shares(lights.sun), shares(lights.sky)))
    hits = jnp.sum(seen.hit)
    rgb = jnp.sum(seen.rgb, axis=0) / jnp.maximum(hits, 1)
    return jnp.append(rgb, hits / len(SUBSAMPLES))


def depth_pixel(solids: Solids, camera: Cameras, pixel: Float[Array, "2"]) -> Float[Array, ""]:
    """The distance along the ray through the centre of a pixel; inf where nothing is hit."""
    ray = _ray(camera, pixel + 0.5)
    return first_hit(solids, ray.origin, ray.direction)[0]


def pictures(
    pixel_value: Callable,
    empty: Float[np.ndarray, "*c"],
    bounds: Boxes,
    cameras: Cameras,
    size: int,
) -> Float[np.ndarray, "N size size *c"]:
    """``pixel_value(camera, pixel)`` for every pixel of every camera.

    Args:
        pixel_value: of one camera and one pixel's upper left corner; compiled once a size.
        empty: its value off the model.
        bounds: into one of which the centre looks of every pixel that sees anything.
        cameras: N of them.
        size: of the square images.
    """
    device, tile = _workbench()

    def picture(image: int) -> np.ndarray:
        # One camera, so that splits of any number of views share what is compiled.
        camera = jax.device_put(jax.tree.map(lambda leaf: leaf[image], cameras), device)
        return np.asarray(_picture(pixel_value, empty, bounds, camera, size, tile))

    first = picture(0)  # before the threads, or each of them would compile it
    # One image a thread: XLA leaves operations as small as a tile's to a single core.
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        return np.stack([first, *pool.map(picture, range(1, len(cameras.near)))])


def _workbench() -> tuple[jax.Device, int]:
    """Where pictures are made, and the side of the tiles that they are made in, in pixels.

    On the CPU, by tiles that its caches hold and that mostly miss the model. An accelerator
    would spend its time on starting kernels, so it is used only where JAX is kept off the CPU.
    """
    try:
        return jax.local_devices(backend="cpu")[0], 24
    except RuntimeError:
        return jax.local_devices()[0], 256


@partial(jax.jit, static_argnames=("pixel_value", "size", "tile"))
def _picture(
    pixel_value: Callable,
    empty: Float[Array, "*c"],
    bounds: Boxes,
    camera: Cameras,
    size: int,
    tile: int,
) -> Float[Array, "size size *c"]:
    across = -(-size // tile)
    inside = jnp.stack(jnp.meshgrid(jnp.arange(tile), jnp.arange(tile)), axis=-1).reshape(-1, 2)

    def make(number: Int[Array, ""]) -> Array:
        corner = tile * jnp.stack([number % across, number // across])
        pixels = (corner[None] + inside).astype(jnp.float32)
        return jax.lax.cond(
            jnp.any(jax.vmap(_looks_into, in_axes=(None, None, 0))(bounds, camera, pixels)),
            lambda: jax.vmap(pixel_value, in_axes=(None, 0))(camera, pixels).astype(empty.dtype),
            lambda: jnp.broadcast_to(empty, (tile * tile, *empty.shape)),
        )

    tiles = jax.lax.map(make, jnp.arange(across * across))
    tiles = tiles.reshape(across, across, tile, tile, *empty.shape).swapaxes(1, 2)
    return tiles.reshape(across * tile, across * tile, *empty.shape)[:size, :size]


def _looks_into(bounds: Boxes, camera: Cameras, pixel: Float[Array, "2"]) -> Bool[Array, ""]:
    """Whether the line through a pixel's centre meets any of the boxes."""
    ray = _ray(camera, pixel + 0.5)
    meet = intersect_box(*_line(ray.origin, ray.direction))

    def body(found: Array, each: Any) -> tuple[Array, None]:
        enter, leave = meet(_coordinates(each[0]), _coordinates(each[1]))
        return found | (enter < leave), None

    return jax.lax.scan(body, jnp.bool_(False), bounds)[0]


def _ray(camera: Cameras, place: Float[Array, "2"]) -> Rays:
    """Through a place on the image plane of the one camera."""
    return cast_rays(jax.tree.map(lambda leaf: leaf[None], camera), jnp.int32(0), place)
