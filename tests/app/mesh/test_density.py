"""Levels of a density: where they are, by fields whose surface is known."""

import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax.app.mesh.density import default_level, level_field
from nerf_jax.app.mesh.marching_cubes import grid_over, isosurface
from nerf_jax.types import Point

RADIUS, LEVEL = 0.7, 12.0


def soft_ball(sharpness: float):
    """Its density's logarithm falls with the distance, as that of a network with an exponential."""

    def density(points: Point) -> jnp.ndarray:
        off = RADIUS - jnp.linalg.norm(points.position, axis=1)
        return LEVEL * jnp.exp(sharpness * off)

    return density


def hard_ball(points: Point) -> jnp.ndarray:
    return jnp.where(jnp.linalg.norm(points.position, axis=1) < RADIUS, 1e3, 0.0)


def errors(field, resolution: int = 24) -> np.ndarray:
    """How far vertices are from the surface, in voxels."""
    grid = grid_over(-np.ones(3), np.ones(3), resolution)
    mesh = isosurface(field, grid, lambda *_: None)
    return (np.linalg.norm(mesh.vertices, axis=1) - RADIUS) / grid.voxel


def test_by_the_logarithm_marching_cubes_finds_the_place_between_two_nodes():
    """Straight values leave the error of the ball's own curve; the density itself, ten times it."""
    density = soft_ball(30.0)
    by_logarithm = errors(level_field(density, LEVEL, 0.1))
    assert np.abs(by_logarithm).mean() < 0.02

    def itself(places: np.ndarray) -> np.ndarray:
        points = Point(jnp.asarray(places), jnp.zeros_like(jnp.asarray(places)))
        return np.clip(1 - np.asarray(density(points)) / LEVEL, -1, 1)

    assert np.abs(errors(itself)).mean() > 10 * np.abs(by_logarithm).mean()


def test_a_hard_ball_is_right_to_half_a_voxel():
    off = errors(level_field(hard_ball, LEVEL, 0.1))
    assert np.abs(off).max() < 0.5 + 0.1


def test_a_point_stands_for_its_voxel():
    asked = []

    def density(points: Point) -> jnp.ndarray:
        asked.append(np.asarray(points.variance))
        return jnp.ones(len(points.position))

    level_field(density, 1.0, 0.3)(np.zeros((5, 3), np.float32))
    np.testing.assert_allclose(asked[0], 0.3**2 / 12)


@pytest.mark.parametrize("pixel", [0.01, 0.5])
def test_the_default_level_stops_a_quarter_of_the_light_across_a_pixel(pixel):
    assert np.isclose(np.exp(-default_level(pixel) * pixel), 0.75)
