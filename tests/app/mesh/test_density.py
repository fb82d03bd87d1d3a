"""Level sets of densities with known surfaces."""

import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax.app.mesh.density import default_level, level_field
from nerf_jax.app.mesh.marching_cubes import grid_over, isosurface
from nerf_jax.types import Point

RADIUS, LEVEL = 0.7, 12.0


def soft_ball(sharpness: float):
    """A density whose logarithm is linear in the distance from the centre."""

    def density(points: Point) -> jnp.ndarray:
        off = RADIUS - jnp.linalg.norm(points.position, axis=1)
        return LEVEL * jnp.exp(sharpness * off)

    return density


def hard_ball(points: Point) -> jnp.ndarray:
    return jnp.where(jnp.linalg.norm(points.position, axis=1) < RADIUS, 1e3, 0.0)


def errors(field, resolution: int = 24) -> np.ndarray:
    """Signed distances of vertices from the true surface, in voxels."""
    grid = grid_over(-np.ones(3), np.ones(3), resolution)
    mesh = isosurface(field, grid, lambda *_: None)
    return (np.linalg.norm(mesh.vertices, axis=1) - RADIUS) / grid.voxel


def test_the_logarithm_interpolates_better_than_the_density():
    """A linear field leaves only the error of the ball's curvature; the density, ten times that."""
    density = soft_ball(30.0)
    by_logarithm = errors(level_field(density, LEVEL, 0.1))
    assert np.abs(by_logarithm).mean() < 0.02

    def linear(positions: np.ndarray) -> np.ndarray:
        points = Point(jnp.asarray(positions), jnp.zeros_like(jnp.asarray(positions)))
        return np.clip(1 - np.asarray(density(points)) / LEVEL, -1, 1)

    assert np.abs(errors(linear)).mean() > 10 * np.abs(by_logarithm).mean()


def test_a_hard_ball_is_accurate_to_half_a_voxel():
    off = errors(level_field(hard_ball, LEVEL, 0.1))
    assert np.abs(off).max() < 0.5 + 0.1


def test_points_have_the_variance_of_a_voxel():
    variances = []

    def density(points: Point) -> jnp.ndarray:
        variances.append(np.asarray(points.variance))
        return jnp.ones(len(points.position))

    level_field(density, 1.0, 0.3)(np.zeros((5, 3), np.float32))
    np.testing.assert_allclose(variances[0], 0.3**2 / 12)


@pytest.mark.parametrize("pixel", [0.01, 0.5])
def test_the_default_level_has_an_opacity_of_a_quarter_across_a_pixel(pixel):
    assert np.isclose(np.exp(-default_level(pixel) * pixel), 0.75)
