"""Scenes with an exact answer, as fields: whatever renders them can be held to it."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nerf_jax.types import Field, Params, Point, Rays, View

NEAR, FAR = 2.0, 6.0


class Exact(NamedTuple):
    """What a ray sees, before any background."""

    rgb: np.ndarray
    opacity: float
    depth: float
    median_depth: float


def uniform(start: float, length: float, sigma: float, rgb: np.ndarray) -> Exact:
    """Through a uniform medium between ``start`` and ``start + length``, by Beer and Lambert."""
    if length == 0 or sigma == 0:
        return Exact(np.zeros(3), 0.0, FAR, FAR)
    tau = sigma * length
    opacity = -math.expm1(-tau)
    depth = start + 1 / sigma - length * math.exp(-tau) / opacity
    median = start - math.log(1 - opacity / 2) / sigma
    return Exact(opacity * np.asarray(rgb), opacity, depth, median)


def layers(cuts: tuple[float, ...], sigmas: tuple[float, ...], rgbs: np.ndarray) -> Field:
    """Slabs across the x axis: number ``i`` lies between ``cuts[i]`` and ``cuts[i + 1]``."""

    def density(params: Params, point: Point):
        x = point.position[0]
        inside = (jnp.array(cuts[:-1]) <= x) & (x < jnp.array(cuts[1:]))
        sigma = jnp.sum(jnp.where(inside, jnp.array(sigmas), 0.0))
        return sigma, jnp.where(inside, 1.0, 0.0) @ jnp.asarray(rgbs)

    return Field(lambda key: (), density, lambda params, features, view: features)


def ball(sigma: float, rgb: np.ndarray, radius: float = 1.0) -> Field:
    """A uniform ball at the origin."""

    def density(params: Params, point: Point):
        inside = jnp.sum(point.position**2) < radius**2
        return jnp.where(inside, sigma, 0.0), jnp.asarray(rgb, jnp.float32)

    return Field(lambda key: (), density, lambda params, features, view: features)


def through_ball(origin, direction, sigma: float, rgb, radius: float = 1.0) -> Exact:
    """The exact answer for :func:`ball`; the origin lies outside."""
    middle = -float(np.dot(origin, direction))
    half_chord_squared = radius**2 - (float(np.dot(origin, origin)) - middle**2)
    if half_chord_squared <= 0 or middle < 0:
        return uniform(0.0, 0.0, sigma, rgb)
    half = math.sqrt(half_chord_squared)
    return uniform(middle - half, 2 * half, sigma, rgb)


def painted_by_view() -> Field:
    """Dense everywhere; the colour says from where it is seen, and in which photo."""

    def density(params: Params, point: Point):
        return 1e3 * (1 + jnp.sum(point.position**2)), point.position

    def color(params: Params, features: jax.Array, view: View):
        return 0.5 + 0.5 * view.direction * params["sign"] + view.appearance

    return Field(lambda key: {"sign": jnp.ones(())}, density, color)


def ray(
    origin,
    direction,
    near: float = NEAR,
    far: float = FAR,
    radius: float = 0.0,
    appearance: int = 0,
) -> Rays:
    direction = np.asarray(direction, np.float64)
    return Rays(
        origin=jnp.asarray(origin, jnp.float32),
        direction=jnp.asarray(direction / np.linalg.norm(direction), jnp.float32),
        near=jnp.float32(near),
        far=jnp.float32(far),
        radius=jnp.float32(radius),
        appearance=jnp.int32(appearance),
    )


def stack(rays: list[Rays]) -> Rays:
    """The rays as a batch, by NumPy: JAX would compile a program for each number of them."""
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *rays)


def random_params(like: Params, seed: int = 0) -> Params:
    """A network's, unlike the initial ones: biases matter, and densities take both signs."""
    rng = np.random.default_rng(seed)

    def draw(leaf: np.ndarray) -> np.ndarray:
        if leaf.ndim == 1:
            return rng.normal(0, 0.1, leaf.shape).astype(np.float32)
        kernel = rng.normal(0, 1.5 * leaf.shape[0] ** -0.5, leaf.shape)
        # What comes in is positive behind a ReLU: without a mean, its sum takes both signs.
        return (kernel - kernel.mean(axis=0)).astype(np.float32)

    return jax.tree.map(draw, like)
