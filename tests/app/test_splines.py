"""Rigid motions and splines of them, against matrix exponentials and by their properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from nerf_jax.app.splines import between, exp, log, pose_between


def matrix_of(twist: np.ndarray) -> np.ndarray:
    """Of se(3), row by row."""
    x, y, z = twist[:3]
    return np.array(
        [[0, -z, y, twist[3]], [z, 0, -x, twist[4]], [-y, x, 0, twist[5]], [0, 0, 0, 0]]
    )


def some_poses(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([exp(rng.normal(size=6)) for _ in range(count)])


numbers = st.floats(-2, 2)
twists = st.tuples(*[numbers] * 6).map(np.array)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(twist=twists, size=st.sampled_from([1e-9, 1e-4, 1.1e-3, 0.1, 1.0]))
def test_exp_is_the_matrix_exponential_and_log_undoes_it(twist, size):
    twist = size * twist
    np.testing.assert_allclose(exp(twist), expm(matrix_of(twist)), atol=1e-11)
    if np.linalg.norm(twist[:3]) < np.pi - 1e-6:
        np.testing.assert_allclose(log(exp(twist)), twist, atol=1e-8)


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, -1, 0), (0.6, 0, 0.8), (-0.48, 0.6, -0.64)])
@pytest.mark.parametrize("short", [0.0, 1e-12, 1e-6, 1e-3])
def test_log_of_half_a_turn(axis, short):
    motion = exp(np.array([*((np.pi - short) * np.array(axis)), 0.3, -0.2, 0.9]))
    np.testing.assert_allclose(exp(log(motion)), motion, atol=1e-9)


def test_between_leads_from_one_pose_to_the_other():
    one, other = some_poses(2)
    np.testing.assert_allclose(one @ between(one, other), other, atol=1e-12)


def test_the_spline_passes_through_its_poses():
    poses = some_poses(5)
    for i, pose in enumerate(poses):
        np.testing.assert_allclose(pose_between(poses, float(i)), pose, atol=1e-12)


def test_its_velocity_does_not_jump():
    poses, step = some_poses(5), 1e-6

    def velocity(place: float) -> np.ndarray:
        return (pose_between(poses, place + step) - pose_between(poses, place)) / step

    for knot in (1, 2, 3):
        np.testing.assert_allclose(velocity(knot - step), velocity(knot), atol=1e-4)
        assert np.abs(velocity(knot)).max() > 0.1


def test_it_moves_with_its_poses():
    poses, moved = some_poses(4), exp(np.array([0.3, -1.2, 0.5, 4.0, -5.0, 6.0]))
    for place in np.linspace(0, 3, 11):
        expected = moved @ pose_between(poses, place)
        np.testing.assert_allclose(pose_between(moved @ poses, place), expected, atol=1e-10)


def test_a_screw_is_followed_at_a_steady_speed():
    """Poses along one screw: the spline is the screw."""
    twist = np.array([0.2, 0.9, -0.4, 1.0, 0.3, -2.0])
    poses = np.stack([exp(i * twist) for i in range(4)])
    for place in np.linspace(0, 3, 13):
        np.testing.assert_allclose(pose_between(poses, place), exp(place * twist), atol=1e-10)
