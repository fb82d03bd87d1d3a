import jax
import jax.numpy as jnp
import numpy as np

from nerf_jax.losses import squared_error


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
