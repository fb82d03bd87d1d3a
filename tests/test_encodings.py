import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax import encodings
from tests import oracles

frequency = jax.jit(encodings.frequency, static_argnums=1, static_argnames="include_input")
X = np.array([0.3, -1.7, 2.9], np.float32)


@pytest.mark.parametrize("num_bands", [0, 1, 4, 10])
@pytest.mark.parametrize("include_input", [True, False])
def test_frequency_equals_the_loop(num_bands: int, include_input: bool):
    encoded = frequency(X, num_bands, include_input=include_input)
    assert encoded.shape == (3 * (2 * num_bands + include_input),)
    np.testing.assert_allclose(
        encoded, oracles.frequency(X, num_bands, include_input), atol=1e-6, rtol=1e-6
    )


def test_the_columns_are_the_input_then_sines_and_cosines_of_a_band():
    x = jnp.array([0.1, 0.2])
    expected = [x, np.sin(x), np.cos(x), np.sin(2 * x), np.cos(2 * x)]
    np.testing.assert_allclose(frequency(x, 2), np.concatenate(expected), rtol=1e-6)


def test_a_band_repeats_with_its_period():
    """Band ``l`` has the period ``2 pi / 2^l``: no factor of pi, as in the authors' code."""
    moved = frequency(jnp.array([0.4 + np.pi / 2]), 3, include_input=False)
    at_home = frequency(jnp.array([0.4]), 3, include_input=False)
    np.testing.assert_allclose(moved[4:], at_home[4:], atol=1e-6)
    assert np.abs(moved[:4] - at_home[:4]).min() > 0.1


def test_the_gradient_equals_finite_differences():
    direction = np.random.default_rng(0).normal(size=3 * (2 * 5 + 1))

    def along(x):
        return oracles.frequency(x, 5) @ direction

    mine = jax.grad(lambda x: frequency(x, 5) @ jnp.asarray(direction, jnp.float32))(X)
    np.testing.assert_allclose(mine, oracles.gradient(along, X)[0], rtol=1e-4)


def test_a_batch_equals_a_loop():
    batch = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    encoded = jax.vmap(lambda x: frequency(x, 6))(batch)
    for x, row in zip(batch, encoded, strict=True):
        np.testing.assert_allclose(row, frequency(x, 6), atol=1e-6)
