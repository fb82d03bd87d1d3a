"""Splines of rigid motions: their properties, and a comparison with matrix exponentials."""

import numpy as np
import pytest
from scipy.linalg import expm

from nerf_jax.app.splines import pose_between

AXES = [(1, 0, 0), (0, -1, 0), (0.6, 0, 0.8), (-0.48, 0.6, -0.64)]


def exp(twist) -> np.ndarray:
    """The rigid motion of a twist: the exponential of its matrix in se(3)."""
    x, y, z, *v = twist
    return expm(
        np.array([[0, -z, y, v[0]], [z, 0, -x, v[1]], [-y, x, 0, v[2]], [0, 0, 0, 0]], float)
    )


def some_poses(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([exp(rng.normal(size=6)) for _ in range(count)])


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-6, 1e-3, 1.0, np.pi - 1e-6])
def test_the_spline_of_two_poses_is_their_screw(axis, angle):
    start, twist = some_poses(1)[0], np.array([*(angle * np.array(axis)), 0.3, -0.2, 0.9])
    poses = np.stack([start, start @ exp(twist)])
    for t in np.linspace(0, 1, 7):
        np.testing.assert_allclose(pose_between(poses, t), start @ exp(t * twist), atol=1e-11)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("missing_angle", [0.0, 1e-12, 1e-6, 1e-3])
def test_half_a_turn_is_one_of_its_two_screws(axis, missing_angle):
    start = some_poses(1)[0]
    twist = np.array([*((np.pi - missing_angle) * np.array(axis)), 0.3, -0.2, 0.9])
    poses = np.stack([start, start @ exp(twist)])
    for t in (0.0, 1.0):
        np.testing.assert_allclose(pose_between(poses, t), poses[int(t)], atol=1e-12)
    half = np.linalg.inv(start) @ pose_between(poses, 0.5)
    np.testing.assert_allclose(start @ half @ half, poses[1], atol=1e-9)


def test_the_spline_passes_through_its_poses():
    poses = some_poses(5)
    for i, pose in enumerate(poses):
        np.testing.assert_allclose(pose_between(poses, float(i)), pose, atol=1e-12)


def test_the_velocity_is_continuous():
    poses, step = some_poses(5), 1e-6

    def velocity(t: float) -> np.ndarray:
        return (pose_between(poses, t + step) - pose_between(poses, t)) / step

    for knot in (1, 2, 3):
        np.testing.assert_allclose(velocity(knot - step), velocity(knot), atol=1e-4)
        assert np.abs(velocity(knot)).max() > 0.1


def test_the_spline_is_equivariant():
    poses, moved = some_poses(4), exp(np.array([0.3, -1.2, 0.5, 4.0, -5.0, 6.0]))
    for t in np.linspace(0, 3, 11):
        expected = moved @ pose_between(poses, t)
        np.testing.assert_allclose(pose_between(moved @ poses, t), expected, atol=1e-10)


def test_the_spline_of_poses_along_one_screw_is_the_screw():
    twist = np.array([0.2, 0.9, -0.4, 1.0, 0.3, -2.0])
    poses = np.stack([exp(i * twist) for i in range(4)])
    for t in np.linspace(0, 3, 13):
        np.testing.assert_allclose(pose_between(poses, t), exp(t * twist), atol=1e-10)
