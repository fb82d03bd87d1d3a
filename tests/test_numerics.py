import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nerf_jax import numerics, sampling, train

safe_norm = jax.jit(numerics.safe_norm)
normalize = jax.jit(numerics.normalize)
optical_depth = jax.jit(numerics.optical_depth)
safe_divide = jax.jit(numerics.safe_divide)
interpolate_sorted = jax.jit(sampling.interpolate_sorted)
bounded_exp = jax.jit(numerics.bounded_exp)

EXTREMES = (0.0, 1e-38, 1e-10, 1.0, 1e10, 1e20, 1e30, float("inf"))
"""As factors; their products overflow, vanish or make ``0 * inf``."""


def test_the_tangent_and_its_slope_are_those_of_double_precision():
    limit = np.pi / 2 - 1e-4
    x = np.linspace(-limit, limit, 20_001).astype(np.float32)
    x = np.concatenate([x, [0.0, 1e-30, np.pi / 4, -np.pi / 4]]).astype(np.float32)
    exact = np.tan(x.astype(np.float64))
    np.testing.assert_allclose(jax.jit(numerics.tan)(x), exact, rtol=3e-7)
    slope = jax.jit(jax.vmap(jax.grad(numerics.tan)))(x)
    np.testing.assert_allclose(slope, 1 + exact**2, rtol=1e-5)


def test_safe_norm_is_the_norm_and_its_gradient_the_unit_vector():
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    norm = np.linalg.norm(x, axis=-1)
    np.testing.assert_allclose(safe_norm(x), norm, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(jax.grad(safe_norm))(x), x / norm[:, None], rtol=1e-5)


def test_safe_norm_at_the_origin():
    value, gradient = jax.value_and_grad(safe_norm)(jnp.zeros(3))
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros(3))


def test_normalize_makes_unit_vectors_of_any_length():
    x = np.array([[3e-6, 4e-6, 0], [3, 0, -4], [0, 3e6, 4e6]], np.float32)
    np.testing.assert_allclose(
        normalize(x), [[0.6, 0.8, 0], [0.6, 0, -0.8], [0, 0.6, 0.8]], rtol=1e-6
    )


def test_normalize_is_invariant_to_length():
    x = jnp.array([0.3, -1.2, 0.5])
    along = jax.jvp(normalize, (x,), (x,))[1]
    np.testing.assert_allclose(along, np.zeros(3), atol=1e-6)


def test_normalize_at_the_origin():
    np.testing.assert_array_equal(normalize(jnp.zeros(3)), np.zeros(3))
    assert np.isfinite(jax.jacobian(normalize)(jnp.zeros(3))).all()


def test_optical_depth_is_the_product_at_moderate_values():
    sigma, delta = jnp.array([0.0, 0.5, 3.0, 1e-9]), jnp.array([7.0, 2.0, 0.0, 1e10])
    np.testing.assert_allclose(optical_depth(sigma, delta), [0, 1, 0, 10], rtol=1e-6)


def test_optical_depth_has_the_gradient_of_the_product():
    gradients = jax.grad(optical_depth, (0, 1))(3.0, 0.25)
    np.testing.assert_allclose(gradients, (0.25, 3.0))


def test_optical_depth_of_a_negative_interval_is_zero():
    assert optical_depth(jnp.float32(5.0), jnp.float32(-1.0)) == 0


def test_optical_depth_survives_extremes():
    pairs = np.array(list(itertools.product(EXTREMES, EXTREMES)), np.float32)
    tau, gradients = jax.vmap(jax.value_and_grad(optical_depth, (0, 1)))(*pairs.T)
    with np.errstate(over="ignore"):  # the bounds keep 0 * inf out; what is far beyond may overflow
        product = np.minimum(pairs[:, 0], 1e20) * np.minimum(pairs[:, 1], 1e10)
    np.testing.assert_allclose(np.exp(-tau), np.exp(-product), rtol=1e-5, atol=1e-40)
    assert np.isfinite(gradients).all()


def test_safe_divide():
    numerator, denominator = jnp.array([1.0, 1.0, 0.0]), jnp.array([4.0, 0.0, 0.0])
    np.testing.assert_array_equal(safe_divide(numerator, denominator), [0.25, 0, 0])
    np.testing.assert_array_equal(
        safe_divide(numerator, denominator, jnp.array([7.0, 8.0, 9.0])), [0.25, 8, 9]
    )


def test_safe_divide_has_gradients_of_the_quotient_and_none_at_zero():
    np.testing.assert_allclose(jax.grad(safe_divide, (0, 1))(3.0, 2.0), (0.5, -0.75))
    np.testing.assert_array_equal(jax.grad(safe_divide, (0, 1))(3.0, 0.0), (0, 0))


def test_fold_in_each_gives_a_number_the_same_key_in_any_batch():
    key = jax.random.key(3)
    keys = train.fold_in_each(key, jnp.array([5, 0, 17]))
    for number, folded in zip((5, 0, 17), keys, strict=True):
        assert folded == jax.random.fold_in(key, number)


eighths = st.integers(-16, 16).map(lambda number: number / 8)  # so coarse that knots often coincide


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    x=st.lists(eighths, min_size=7, max_size=7),
    xp=st.lists(eighths, min_size=5, max_size=5).map(sorted),
    fp=st.lists(st.floats(-10, 10, width=32), min_size=5, max_size=5),
)
def test_interpolate_sorted_equals_numpy(x, xp, fp):
    mine = interpolate_sorted(jnp.array(x), jnp.array(xp), jnp.array(fp))
    np.testing.assert_allclose(mine, np.interp(x, xp, fp), atol=1e-5)


@jax.jit
@functools.partial(jax.grad, argnums=(0, 1, 2))
def gradients_of_the_sum(x, xp, fp):
    return jnp.sum(interpolate_sorted(x, xp, fp))


@pytest.mark.parametrize("xp", [[0, 0, 0, 0], [0, 1, 1, 2], [0, 0, 1, 1]])
def test_interpolate_sorted_has_finite_gradients_where_knots_coincide(xp):
    knots, values = jnp.array(xp, jnp.float32), jnp.array([1.0, 3.0, 2.0, 5.0])
    x = jnp.array([-1.0, 0.0, 0.5, 1.0, 3.0])
    for gradient in gradients_of_the_sum(x, knots, values):
        assert np.isfinite(gradient).all()


def test_interpolate_sorted_has_the_slope_of_its_segment():
    knots, values = jnp.array([0.0, 1.0, 3.0]), jnp.array([0.0, 2.0, 3.0])

    def at(x):
        return interpolate_sorted(x[None], knots, values)[0]

    slopes = jax.vmap(jax.grad(at))(jnp.array([0.5, 2.0, 4.0]))
    np.testing.assert_allclose(slopes, [2.0, 0.5, 0.0])


def test_bounded_exp_is_the_exponential_up_to_where_single_precision_ends():
    x = np.array([-1000, -90, -3, 0, 0.5, 15, 40, 79, 80, 81, 1000], np.float32)
    values = np.asarray(bounded_exp(x))
    np.testing.assert_allclose(values, np.exp(np.minimum(np.float64(x), 80)), rtol=1e-5, atol=1e-37)
    assert np.isfinite(values).all()


def test_bounded_exp_has_the_gradient_of_the_exponential_up_to_15():
    x = np.array([-1000, -3, 0, 0.5, 14.9, 15, 15.1, 40, 80, 81, 1000], np.float32)
    expected = np.exp(np.minimum(np.float64(x), 15))
    for grad in (
        jax.vmap(jax.grad(numerics.bounded_exp)),
        jax.jit(jax.vmap(jax.grad(bounded_exp))),
    ):
        np.testing.assert_allclose(grad(x), expected, rtol=1e-5)
    both = jax.jvp(bounded_exp, (x,), (np.full_like(x, 2),))
    np.testing.assert_allclose(both, [bounded_exp(x), 2 * expected], rtol=1e-5)


def test_bounded_exp_of_a_batch_equals_the_loop():
    x = np.linspace(-100, 100, 12, dtype=np.float32).reshape(4, 3)
    for row, values in zip(x, jax.vmap(bounded_exp)(x), strict=True):
        np.testing.assert_allclose(values, bounded_exp(row), rtol=1e-6)


def test_split_each_splits_the_key_of_each_ray():
    keys = jax.random.split(jax.random.key(3), 5)
    lists = sampling.split_each(keys, 3)
    for ray in range(5):
        expected = jax.random.key_data(jax.random.split(keys[ray], 3))
        found = [jax.random.key_data(each[ray]) for each in lists]
        np.testing.assert_array_equal(np.stack(found), expected)
    assert sampling.split_each(None, 2) == [None, None]


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e20, 1e37])
def test_norms_and_their_gradients_have_the_range_of_single_precision(scale: float):
    x = np.float32(scale) * np.float32([[1, -2, 2], [1, 0, 0], [0, 1e-3, 1]])
    exact = x.astype(float)
    length = np.linalg.norm(exact, axis=-1)
    np.testing.assert_allclose(numerics.safe_norm(jnp.asarray(x)), length, rtol=1e-6)
    unit = numerics.normalize(jnp.asarray(x))
    np.testing.assert_allclose(unit, exact / length[:, None], rtol=1e-6)
    gradient = jax.vmap(jax.grad(numerics.safe_norm))(x)
    np.testing.assert_allclose(gradient, exact / length[:, None], rtol=1e-6)


@pytest.mark.parametrize("denominator", [1e-37, -1e-30, 1e-20, 2.0, 1e20])
@pytest.mark.parametrize("numerator", [0.0, 1e-30, -1e-10, 3.0])
def test_quotients_and_their_gradients_have_the_range_of_single_precision(numerator, denominator):
    given = np.float32(numerator), np.float32(denominator)
    value, slopes = jax.value_and_grad(safe_divide, (0, 1))(*map(jnp.float32, given))
    n, d = map(float, given)
    limit = float(np.finfo(np.float32).max)
    expected = n / d, 1 / d, float(np.clip(-n / d / d, -limit, limit))
    np.testing.assert_allclose((value, *slopes), expected, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize(("numerator", "otherwise"), [(0.0, 0.0), (2.0, 1.0), (-1e30, np.inf)])
def test_a_quotient_by_zero_has_no_gradient(numerator: float, otherwise: float):
    divide = functools.partial(safe_divide, otherwise=otherwise)
    value, slopes = jax.value_and_grad(divide, (0, 1))(jnp.float32(numerator), jnp.float32(0))
    assert value == otherwise
    assert slopes == (0, 0)
