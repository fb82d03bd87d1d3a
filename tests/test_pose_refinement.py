import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_jax import pose_refinement
from nerf_jax.types import Batch, Model, Point
from tests import closed_forms, small

rotate = jax.jit(pose_refinement.rotate)
rotate_jacobian = jax.jit(jax.jacrev(pose_refinement.rotate))


@pytest.mark.parametrize("angle", [0.0, 1e-6, 1e-3, 0.01, 1.0, 3.1])
def test_rotations_equal_scipy(angle: float):
    rng = np.random.default_rng(0)
    for _ in range(10):
        axis, x = rng.normal(size=(2, 3))
        turn = angle * axis / np.linalg.norm(axis)
        expected = Rotation.from_rotvec(turn).apply(x)
        found = rotate(np.float32(turn), np.float32(x))
        np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("angle", [0.0, 5e-4, 2e-3, 0.05, 0.19, 0.21, 0.7])
def test_gradients_of_rotations_equal_scipy(angle: float):
    turn, x = angle * np.array([0.6, -0.64, 0.48]), np.array([0.3, -1.2, 0.7])
    found = rotate_jacobian(np.float32(turn), np.float32(x))
    step = 1e-4
    expected = [
        (Rotation.from_rotvec(turn + e).apply(x) - Rotation.from_rotvec(turn - e).apply(x))
        / (2 * step)
        for e in step * np.eye(3)
    ]
    np.testing.assert_allclose(found, np.stack(expected, axis=1), atol=2e-6)


KEYS = jnp.zeros(0)  # the toy draws nothing


def toy(weight: float = 1.0) -> Model:
    """A method that wants rays to start at the origin and look along x."""

    def loss(params, aux, keys, batch):
        rays = batch.rays
        off = jnp.sum((rays.direction - jnp.array([[1.0, 0, 0]])) ** 2 + rays.origin**2)
        return weight * off + params, {"loss": off}

    return Model(
        init=lambda key, cameras, size_hw: (jnp.float32(0.0), ()),
        loss=loss,
        refresh=lambda params, aux, key, step: aux,
        render=lambda params, aux, rays: rays.origin + params,
        density=lambda params, aux, points: points.position[:, 0] + params,
    )


def batch(appearance) -> Batch:
    rays = [closed_forms.ray([0.1, 0, 0], [1, 0.1, 0], appearance=number) for number in appearance]
    rays = closed_forms.stack(rays)
    count = len(appearance)
    return Batch(rays, jnp.zeros((count, 3)), jnp.ones(count), jnp.zeros(count))


@pytest.mark.slow
def test_zero_poses_change_nothing():
    model = pose_refinement.refine_poses(toy())
    params, aux = model.init(jax.random.key(0), *small.cameras(3))
    given = batch([0, 1, 2])
    np.testing.assert_allclose(
        model.loss(params, aux, KEYS, given)[0], toy().loss(0.0, aux, KEYS, given)[0], rtol=1e-6
    )
    np.testing.assert_array_equal(model.render(params, aux, given.rays), given.rays.origin)
    points = Point(given.rays.origin, jnp.zeros_like(given.rays.origin))
    np.testing.assert_array_equal(model.density(params, aux, points), points.position[:, 0])


@pytest.mark.slow
def test_each_photo_has_a_motion_of_its_own_and_their_mean_stays():
    model = pose_refinement.refine_poses(toy())
    params, aux = model.init(jax.random.key(0), *small.cameras(3))

    @jax.jit
    def total(motions, given):
        return model.loss({**params, "poses": motions}, aux, KEYS, given)[0]

    slope = jax.jit(jax.grad(total))(params["poses"], batch([1]))
    assert np.isfinite(slope).all()
    np.testing.assert_allclose(slope.sum(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(slope[0], slope[2])
    assert (np.abs(slope[1]) > 1.9 * np.abs(slope[0])).any()
    shifted = params["poses"] + 0.3
    np.testing.assert_allclose(
        total(shifted, batch([0, 2])), total(params["poses"], batch([0, 2])), rtol=1e-5
    )


def test_rays_of_no_photo_are_not_moved():
    model = pose_refinement.refine_poses(toy())
    params, aux = model.init(jax.random.key(0), *small.cameras(3))
    moved = {**params, "poses": jax.random.normal(jax.random.key(1), (3, 6))}
    given = batch([-1, -1])
    found = model.loss(moved, aux, KEYS, given)[0]
    np.testing.assert_allclose(found, toy().loss(0.0, aux, KEYS, given)[0], rtol=1e-6)
    assert not np.isclose(found, model.loss(moved, aux, KEYS, batch([-1, 1]))[0])


@pytest.mark.slow
def test_gradient_descent_finds_where_the_camera_was():
    """Of one photo among many: the mean of the motions is hardly its own."""
    model = pose_refinement.refine_poses(toy())
    params, aux = model.init(jax.random.key(0), *small.cameras(50))
    given = batch([7])
    slope = jax.jit(jax.grad(lambda m: model.loss({**params, "poses": m}, aux, KEYS, given)[0]))
    motions = params["poses"]
    for _ in range(200):
        motions = motions - 0.1 * slope(motions)
    move = jax.jit(jax.vmap(pose_refinement.move, (None, 0)))
    moved = move(pose_refinement.centered(motions)[7], given.rays)
    np.testing.assert_allclose(moved.direction[0], [1, 0, 0], atol=1e-3)
    np.testing.assert_allclose(moved.origin[0], 0, atol=1e-3)
