"""Plane-sweep stereo: the depths of textured surfaces, from photos with known cameras.

The points of a photo's rays at a trial distance are projected into other photos. Where the distance
is right, the windows around these pixels look alike (Collins, 1996), by the normalized
cross-correlation, which ignores exposure. A distance counts only if another photo, swept on its
own, agrees. The surfaces swept are spheres, not planes: then any lens will do.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Bool, Float, Int

from nerf_jax.cameras import cast_image_rays, project
from nerf_jax.numerics import normalize, safe_norm
from nerf_jax.types import Cameras, HostArray, Rays

_WINDOW = 7
_LEAST_VARIANCE = 4e-4
"""Of a window's grey values: with less texture every distance looks alike."""
_BEST_ANGLE, _SPREAD_BELOW, _SPREAD_ABOVE = 8.0, 3.0, 12.0
"""Degrees between two rays to a point: with less, distances are uncertain; with more, photos look
different (the weights of MVSNet, Yao et al., 2018, Section 3.3)."""


def overlaps(
    cameras: Cameras, size_hw: tuple[int, int], points: Float[HostArray, "N P 3"]
) -> Float[Array, "N N"]:
    """How well each photo sees the points of each other, at a good angle and a similar distance.

    Args:
        cameras: N of them.
        size_hw: of the photos.
        points: P world points that each photo sees.

    Returns:
        A weight in [0, P] for each photo (rows) and other (columns); 0 for itself.
    """
    count, size_wh, points = len(points), jnp.array(size_hw[::-1]), jnp.asarray(points)
    origins = jnp.asarray(cameras.world_from_camera)[:, :, 3]

    def one(image: Int[Array, ""], other: Int[Array, ""], point: Float[Array, "3"]) -> Array:
        pixel, depth = project(cameras, other, point)
        inside = (depth > 0) & jnp.all((pixel >= 0) & (pixel < size_wh))
        here, there = origins[image] - point, origins[other] - point
        cosine = jnp.clip(normalize(here) @ normalize(there), -1, 1)
        off = jnp.degrees(jnp.arccos(cosine)) - _BEST_ANGLE
        angle = jnp.exp(-((off / jnp.where(off < 0, _SPREAD_BELOW, _SPREAD_ABOVE)) ** 2) / 2)
        ratio = safe_norm(there) / safe_norm(here)
        return jnp.where(inside, angle * jnp.minimum(ratio, 1 / ratio), 0.0)

    def row(image: Int[Array, ""]) -> Float[Array, " N"]:
        of_points = jax.vmap(one, (None, None, 0))
        weights = jax.vmap(of_points, (None, 0, None))(image, jnp.arange(count), points[image])
        return jnp.sum(weights, axis=1)

    return jax.lax.map(row, jnp.arange(count)) * (1 - jnp.eye(count))


@functools.partial(jax.jit, static_argnames="num_alike")
def sweep(
    cameras: Cameras,
    grey: Float[HostArray, "N H W"],
    image: int | Int[HostArray, ""],
    others: Int[HostArray, " V"],
    inverse: Float[HostArray, " D"],
    *,
    num_alike: int = 2,
) -> tuple[Float[Array, "H W"], Float[Array, "H W"]]:
    """The distances of one photo's pixels, and how alike the photos are there.

    Args:
        cameras: N of them, for images of the size of ``grey``.
        grey: the photos' grey values; not finite where they are to be ignored.
        image: the photo whose distances are sought.
        others: the photos to compare it with.
        inverse: ascending reciprocals of the trial distances, at equal spacing.
        num_alike: how many of ``others`` must agree: a surface may be hidden in some.

    Returns:
        Distances along the rays, between trials by a parabola; and the mean correlation in the
        ``num_alike`` most alike photos: at most 1, and -1 where there is no texture.
    """
    _, height, width = grey.shape
    rays = cast_image_rays(cameras, image, (height, width))
    own = jnp.asarray(grey)[image]
    own_mean, own_variance = _moments(own)

    def look_up(other: Int[Array, ""], inverse: Float[Array, ""], ray: Rays) -> Float[Array, ""]:
        pixel, depth = project(cameras, other, ray.origin + ray.direction / inverse)
        return jnp.where(depth > 0, _interpolate(grey[other], pixel), jnp.nan)

    def correlation(inverse: Float[Array, ""], other: Int[Array, ""]) -> Float[Array, "H W"]:
        found = _for_pixels(functools.partial(look_up, other, inverse))(rays)
        mean, variance = _moments(found)
        covariance = _window_mean(own * found) - own_mean * mean
        ratio = covariance * jax.lax.rsqrt(jnp.maximum(own_variance * variance, 1e-12))
        return jnp.where(jnp.isfinite(ratio), ratio, -1.0)

    def trial(inverse: Float[Array, ""]) -> Float[Array, "H W"]:
        each = jax.lax.map(functools.partial(correlation, inverse), others)
        return jnp.mean(jax.lax.top_k(jnp.moveaxis(each, 0, -1), num_alike)[0], axis=-1)

    alike = jax.lax.map(trial, inverse)
    best = jnp.argmax(alike, axis=0)

    def at(index: Int[Array, "H W"]) -> Float[Array, "H W"]:
        return jnp.take_along_axis(alike, jnp.clip(index, 0, len(inverse) - 1)[None], axis=0)[0]

    before, top, behind = at(best - 1), at(best), at(best + 1)
    curvature = jnp.minimum(before - 2 * top + behind, -1e-6)
    offset = jnp.clip((before - behind) / (2 * curvature), -0.5, 0.5)
    # At an end of the trials, the true distance may be beyond.
    sure = (best > 0) & (best < len(inverse) - 1) & (own_variance > _LEAST_VARIANCE)
    distance = 1 / (inverse[best] + offset * (inverse[1] - inverse[0]))
    return distance, jnp.where(sure, top, -1.0)


@jax.jit
def agreeing(
    cameras: Cameras,
    distance: Float[HostArray, "N H W"],
    image: int | Int[HostArray, ""],
    others: Int[HostArray, " V"],
    tolerance: float | Float[HostArray, ""],
    slack: float | Float[HostArray, ""] = 0.0,
) -> Bool[Array, "H W"]:
    """Whether another photo has the distances of one photo's pixels, and their neighbours too.

    Args:
        cameras: N of them, for images of the size of ``distance``.
        distance: of each photo's pixels, along the rays; 0 where unknown.
        image: the photo to check.
        others: the photos to compare it with.
        tolerance: the largest relative difference.
        slack: the largest difference of reciprocals, if that is more: far away, the photos do not
            tell distances more closely apart.
    """
    _, height, width = distance.shape
    rays, own = cast_image_rays(cameras, image, (height, width)), distance[image]
    size_wh = jnp.array([width, height])

    def close(found: Array, expected: Any, tolerance: Any) -> Bool[Array, "*n"]:
        inverse = 1 / expected
        difference = jnp.abs(1 / found - inverse)
        return (found > 0) & (expected > 0) & (difference < jnp.maximum(tolerance * inverse, slack))

    def agrees(other: Int[Array, ""], ray: Rays, own: Float[Array, ""]) -> Bool[Array, ""]:
        point = ray.origin + own * ray.direction
        position, depth = project(cameras, other, point)
        inside = (depth > 0) & jnp.all((position >= 0) & (position < size_wh))
        column, row = jnp.clip(position.astype(jnp.int32), 0, size_wh - 1)
        to_point = safe_norm(point - jnp.asarray(cameras.world_from_camera)[other, :, 3])
        return inside & close(distance[other, row, column], to_point, tolerance)

    def agreed(other: Int[Array, ""]) -> Bool[Array, "H W"]:
        return _for_pixels(functools.partial(agrees, other))(rays, own)

    seen_twice = jnp.any(jax.lax.map(agreed, others), axis=0) & (own > 0)
    # Single pixels agree by chance, in foliage or noise: half of the 5x5 around must be near.
    padded = jnp.pad(jnp.where(seen_twice, own, 0.0), 2)
    around = [padded[y : y + height, x : x + width] for y in range(5) for x in range(5)]
    near = close(jnp.stack(around), own[None], 0.03)
    return seen_twice & (jnp.sum(near, axis=0) > 12)


def _for_pixels(function: Callable[..., Any]) -> Callable[..., Any]:
    return jax.vmap(jax.vmap(function))


def _moments(grey: Float[Array, "H W"]) -> tuple[Float[Array, "H W"], Float[Array, "H W"]]:
    """The mean and the variance of the window around each pixel."""
    mean = _window_mean(grey)
    return mean, _window_mean(grey**2) - mean**2


def _window_mean(values: Float[Array, "H W"]) -> Float[Array, "H W"]:
    """The mean of the window around each pixel; NaN where the window leaves the image."""
    radius = _WINDOW // 2
    for window in ((1, _WINDOW), (_WINDOW, 1)):
        values = jax.lax.reduce_window(values, 0.0, jax.lax.add, window, (1, 1), "VALID")
    return jnp.pad(values / _WINDOW**2, radius, constant_values=jnp.nan)


def _interpolate(grey: Float[Array, "H W"], position: Float[Array, "2"]) -> Float[Array, ""]:
    """Bilinear interpolation at a position in pixels; NaN outside of the pixels' centres."""
    column, row = position - 0.5
    return map_coordinates(grey, [row, column], order=1, cval=jnp.nan)
