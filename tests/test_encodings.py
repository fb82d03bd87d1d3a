import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from nerf_jax import encodings
from tests import oracles

frequency = jax.jit(encodings.frequency, static_argnums=1, static_argnames="include_input")
integrated = jax.jit(encodings.integrated, static_argnums=2)
spherical_harmonics = jax.jit(encodings.spherical_harmonics, static_argnums=1)
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


# --------------------------------------------------------------------------------- integrated


def test_integrated_equals_the_loop():
    variance = np.array([0.0, 0.02, 3.0], np.float32)
    encoded = integrated(X, variance, 6)
    assert encoded.shape == (3 * 2 * 6,)
    np.testing.assert_allclose(encoded, oracles.integrated(X, variance, 6), atol=1e-5)


@pytest.mark.parametrize("num_bands", [0, 1, 16])
def test_integrated_without_variance_is_the_frequency_encoding(num_bands: int):
    expected = frequency(X, num_bands, include_input=False)
    np.testing.assert_array_equal(integrated(X, np.zeros(3, np.float32), num_bands), expected)


def test_integrated_is_the_mean_over_the_gaussian():
    """By Monte Carlo."""
    variance, rng = np.array([0.001, 0.05, 1.0], np.float32), np.random.default_rng(0)
    places = X + np.sqrt(variance) * rng.normal(size=(200_000, 3))
    bands = 2.0 ** np.arange(5)[:, None]  # those that the narrowest lets pass, and more
    waves = [[wave(band * places).mean(axis=0) for wave in (np.sin, np.cos)] for band in bands]
    np.testing.assert_allclose(integrated(X, variance, 5), np.ravel(waves), atol=0.01)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    variance=npst.arrays(np.float32, 3, elements=st.floats(0, 1e3, width=32)),
    more=st.floats(1, 100, width=32),
)
def test_a_larger_footprint_fades_every_wave(variance: np.ndarray, more: float):
    small, large = (integrated(X, v, 8) for v in (variance, variance * np.float32(more)))
    assert (np.abs(large) <= np.abs(small) + 1e-7).all()


def test_frequencies_finer_than_the_footprint_vanish():
    """A band whose waves are as long as a standard deviation is all but gone, with all above it."""
    encoded = np.asarray(integrated(X, np.full(3, 1e-4, np.float32), 16)).reshape(16, 6)
    finest = 0.01 * 2.0 ** np.arange(16) >= 2 * np.pi
    assert np.abs(encoded[finest]).max() < 1e-8
    assert np.abs(encoded[:4]).max(axis=1).min() > 0.5


@pytest.mark.parametrize("variance", [0.0, 1e-30, 1e30, 3e38])
def test_the_gradients_of_integrated_are_finite(variance: float):
    def total(mean, variance):
        return jnp.sum(encodings.integrated(mean, variance, 16))

    for gradient in jax.grad(total, (0, 1))(X, np.full(3, variance, np.float32)):
        assert np.isfinite(gradient).all()


# -------------------------------------------------------------------------- spherical harmonics


def quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Directions and weights that integrate polynomials up to degree 9 over the sphere."""
    z, heights = np.polynomial.legendre.leggauss(5)
    azimuth = np.arange(10) * 2 * np.pi / 10
    z, azimuth = (grid.reshape(-1) for grid in np.meshgrid(z, azimuth, indexing="ij"))
    radius = np.sqrt(1 - z**2)
    directions = np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), z], axis=-1)
    return directions.astype(np.float32), np.repeat(heights, 10) * 2 * np.pi / 10


def slow_harmonics(direction: np.ndarray, degree: int) -> list[float]:
    """From the complex ones, which have the Condon-Shortley phase in them."""
    x, y, z = np.float64(direction)
    polar, azimuth, values = np.arctan2(np.hypot(x, y), z), np.arctan2(y, x), []
    for band in range(degree):
        for order in range(-band, band + 1):
            if hasattr(scipy.special, "sph_harm_y"):
                value = scipy.special.sph_harm_y(band, abs(order), polar, azimuth)
            else:  # before SciPy 1.15
                value = scipy.special.sph_harm(abs(order), band, azimuth, polar)
            part = value.imag if order < 0 else value.real
            values.append(part if order == 0 else np.sqrt(2) * part)
    return values


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5])
def test_spherical_harmonics_are_scipys(degree: int):
    poles = np.array([[0, 0, 1], [0, 0, -1]], np.float32)
    for direction in np.concatenate([quadrature()[0][::3], poles]):
        mine = spherical_harmonics(direction, degree)
        assert mine.shape == (degree**2,)
        np.testing.assert_allclose(mine, slow_harmonics(direction, degree), rtol=0, atol=2e-6)


def test_spherical_harmonics_are_orthonormal():
    directions, areas = quadrature()
    values = np.float64(jax.vmap(lambda direction: spherical_harmonics(direction, 5))(directions))
    np.testing.assert_allclose(values.T * areas @ values, np.eye(25), atol=2e-6)


def test_spherical_harmonics_of_no_direction_are_finite_and_their_gradients_too():
    zero = jnp.zeros(3)
    assert np.isfinite(spherical_harmonics(zero, 5)).all()
    assert np.isfinite(jax.jacobian(lambda x: spherical_harmonics(x, 5))(zero)).all()


@pytest.mark.parametrize("degree", [-1, 0, 6])
def test_spherical_harmonics_of_other_degrees_are_refused(degree: int):
    with pytest.raises(ValueError, match=f"1 to 5 bands, not {degree}"):
        encodings.spherical_harmonics(jnp.ones(3), degree)
