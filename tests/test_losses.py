import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nerf_jax.losses import huber, squared_error


def test_squared_error_is_the_mean_over_channels_of_each_ray():
    rng = np.random.default_rng(0)
    rgb, target = rng.uniform(size=(2, 4, 3)).astype(np.float32)
    errors = squared_error(jnp.asarray(rgb), jnp.asarray(target))
    for i in range(4):
        slow = sum((float(rgb[i, k]) - float(target[i, k])) ** 2 for k in range(3)) / 3
        np.testing.assert_allclose(errors[i], slow, rtol=1e-5)


def test_squared_error_pulls_towards_the_target_and_rests_there():
    rgb, target = jnp.array([0.5, 0.2, 0.9]), jnp.array([0.2, 0.2, 1.0])
    value, gradient = jax.value_and_grad(squared_error)(rgb, target)
    np.testing.assert_allclose(value, (0.09 + 0.01) / 3, rtol=1e-5)
    np.testing.assert_allclose(gradient, [0.2, 0, -0.2 / 3], rtol=1e-5)
    np.testing.assert_array_equal(jax.grad(squared_error)(target, target), np.zeros(3))


@pytest.mark.parametrize("delta", [0.03, 0.1, 5.0])
def test_hubers_loss_is_optaxs_over_delta(delta: float):
    rng = np.random.default_rng(1)
    rgb, target = jnp.asarray(rng.uniform(size=(2, 50, 3)), jnp.float32)
    expected = optax.losses.huber_loss(rgb, target, delta=delta).mean(axis=-1) / delta
    np.testing.assert_allclose(huber(rgb, target, delta), expected, rtol=1e-5)

    def mine(rgb):
        return huber(rgb, target, delta).sum()

    def theirs(rgb):
        return optax.losses.huber_loss(rgb, target, delta=delta).mean(axis=-1).sum() / delta

    np.testing.assert_allclose(jax.grad(mine)(rgb), jax.grad(theirs)(rgb), rtol=1e-5, atol=1e-7)


def test_hubers_slope_is_one_far_off_and_rests_at_the_target():
    target = jnp.array([0.2, 0.5, 1.0])
    for error in (0.0, 0.1, 0.1001):  # at the target, and on both sides of the bend
        slope = jax.grad(huber)(target - error, target, 0.1)
        np.testing.assert_allclose(slope, np.full(3, -min(error / 0.1, 1) / 3), rtol=1e-3)
    np.testing.assert_allclose(jax.grad(huber)(target + 9.0, target, 0.1), np.full(3, 1 / 3))
