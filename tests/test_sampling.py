import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from nerf_jax import sampling
from nerf_jax.sampling import midpoints
from tests import oracles

stratified = jax.jit(sampling.stratified, static_argnums=3)
inverse_cdf = jax.jit(sampling.inverse_cdf, static_argnums=3)
blur_weights = jax.jit(sampling.blur_weights, static_argnames="padding")
anneal_weights = jax.jit(sampling.anneal_weights, static_argnames="slope")
checked = settings(max_examples=60, deadline=None, derandomize=True)
normal_floats = functools.partial(st.floats, width=32, allow_subnormal=False)


# ------------------------------------------------------------------------------ stratified


def test_without_a_key_the_edges_are_uniform_and_samples_at_midpoints():
    edges = stratified(None, 2.0, 6.0, 8)
    np.testing.assert_allclose(edges, 2 + np.arange(9) / 2)
    np.testing.assert_allclose(midpoints(edges), 2.25 + np.arange(8) / 2)


def cells(near: float, far: float, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each edge may fall: up to halfway to its neighbours."""
    even = np.linspace(near, far, num_samples + 1)
    between = (even[:-1] + even[1:]) / 2
    return np.append(near, between), np.append(between, far)


def test_jittered_edges_fill_their_own_cells_and_no_other():
    keys = jax.random.split(jax.random.key(0), 500)
    edges = np.asarray(jax.vmap(lambda key: stratified(key, 2.0, 6.0, 8))(keys))
    low, high = cells(2.0, 6.0, 8)
    assert (edges >= low).all()
    assert (edges <= high).all()
    assert (edges.min(axis=0) - low < 0.02 * (high - low)).all()
    assert (high - edges.max(axis=0) < 0.02 * (high - low)).all()


def test_an_integral_over_jittered_edges_is_unbiased():
    def f(t):
        return t**4

    def estimate(key):
        low, high = cells(0.0, 1.0, 3)
        return jnp.sum(jnp.asarray(high - low, jnp.float32) * f(stratified(key, 0.0, 1.0, 3)))

    estimates = np.asarray(jax.jit(jax.vmap(estimate))(jax.random.split(jax.random.key(1), 4000)))
    error = estimates.std() / np.sqrt(estimates.size)
    assert abs(estimates.mean() - 1 / 5) < 3 * error
    # The test has teeth: edges that never move are further off than chance allows.
    assert abs(estimate(None) - 1 / 5) > 10 * error


@checked
@given(
    seed=st.integers(0, 2**31 - 1),
    near=normal_floats(0, 10),
    length=normal_floats(0, 100),
)
@example(seed=0, near=3.0, length=0.0)
def test_jittered_edges_ascend_within_the_range(seed: int, near: float, length: float):
    far = np.float32(near) + np.float32(length)
    edges = np.asarray(stratified(jax.random.key(seed), np.float32(near), far, 8))
    assert (np.diff(edges) >= 0).all()
    slack = 1e-6 * far
    assert near - slack <= edges[0]
    assert edges[-1] <= far + slack


# ----------------------------------------------------------------------------- inverse CDF


def uneven(count: int, seed: int = 0) -> np.ndarray:
    gaps = np.random.default_rng(seed).uniform(0.1, 1.0, count)
    return np.concatenate([[2.0], 2.0 + np.cumsum(gaps)]).astype(np.float32)


def test_inverse_cdf_equals_the_slow_inversion():
    edges, weights = uneven(12), np.random.default_rng(1).uniform(size=12).astype(np.float32)
    drawn = inverse_cdf(None, edges, weights, 40)
    slow = oracles.invert_cdf(np.linspace(0, 1, 41), edges, weights + 1e-5 * weights.sum())
    np.testing.assert_allclose(drawn, slow, atol=1e-4)


@pytest.mark.parametrize("key", [None, 5])
def test_edges_are_distributed_in_proportion_to_the_weights(key):
    edges, weights = uneven(6), np.array([1, 0, 3, 12, 0, 4], np.float32)
    drawn = inverse_cdf(None if key is None else jax.random.key(key), edges, weights, 2000)
    count, _ = np.histogram(drawn, edges)
    # Two edges stand at the ends of each interval's quantiles; stratified, no chance is in it.
    np.testing.assert_allclose(count / 2001, weights / weights.sum(), atol=3 / 2001)


def test_within_an_interval_edges_are_uniform():
    drawn = inverse_cdf(None, jnp.array([0.0, 1.0, 4.0]), jnp.array([0.0, 1.0]), 100)
    inside = np.asarray(drawn)[1:]
    assert inside[0] > 1
    np.testing.assert_allclose(np.diff(inside), 3 / 100, rtol=1e-3)


def test_only_the_proportions_of_the_weights_matter():
    edges, weights = uneven(6), np.array([1, 0, 3, 12, 0, 4], np.float32)
    drawn = inverse_cdf(None, edges, weights, 9)
    np.testing.assert_allclose(inverse_cdf(None, edges, weights * 1e-3, 9), drawn, rtol=1e-5)


def test_zero_weights_sample_all_intervals_uniformly():
    edges = uneven(6)
    np.testing.assert_allclose(inverse_cdf(None, edges, np.zeros(6, np.float32), 6), edges, 1e-5)


@pytest.mark.parametrize("hot", [0, 3, 7])
def test_with_all_weight_in_one_interval_edges_are_there(hot: int):
    edges = uneven(8)
    drawn = inverse_cdf(jax.random.key(0), edges, np.eye(8, dtype=np.float32)[hot], 32)
    # The floor under the other intervals, 8e-5 of the whole, can move the outermost edges only.
    assert (drawn[1:-1] >= edges[hot]).all()
    assert (drawn[1:-1] <= edges[hot + 1]).all()


def test_edges_reach_the_ends_although_weights_there_are_zero():
    ends = inverse_cdf(None, jnp.arange(4.0), jnp.array([0.0, 1.0, 0.0]), 4)[jnp.array([0, -1])]
    np.testing.assert_array_equal(ends, [0, 3])


lengths = npst.arrays(np.float32, 6, elements=st.sampled_from([0.0, 1e-6, 0.5, 1.0, 100.0]))
masses = npst.arrays(np.float32, 6, elements=st.sampled_from([0.0, 1e-30, 1e-6, 0.5, 1.0, 1e6]))


@checked
@given(lengths=lengths, weights=masses)
@example(lengths=np.zeros(6, np.float32), weights=np.zeros(6, np.float32))
def test_drawn_edges_ascend_within_the_range(lengths: np.ndarray, weights: np.ndarray):
    edges = np.concatenate([[2.0], 2.0 + np.cumsum(lengths)]).astype(np.float32)
    for key in (None, jax.random.key(2)):
        drawn = np.asarray(inverse_cdf(key, edges, weights, 9))
        slack = 1e-6 * edges[-1]
        assert (np.diff(drawn) >= -slack).all()
        assert drawn[0] >= edges[0] - slack
        assert drawn[-1] <= edges[-1] + slack


@jax.jit
@functools.partial(jax.value_and_grad, argnums=(0, 1))
def squares(edges, weights):
    return jnp.sum(inverse_cdf(jax.random.key(0), edges, weights, 7) ** 2)


@pytest.mark.parametrize(
    "weights", [np.zeros(5), np.eye(5)[0], np.eye(5)[4], np.full(5, 1e-30), np.full(5, 1e30)]
)
@pytest.mark.parametrize("edges", [np.full(6, 2.0), np.array([2, 3, 3, 3, 4, 4]), np.arange(6)])
def test_the_gradients_of_drawn_edges_are_finite(weights: np.ndarray, edges: np.ndarray):
    value, gradients = squares(edges.astype(np.float32), weights.astype(np.float32))
    assert np.isfinite(value)
    for gradient in gradients:
        assert np.isfinite(gradient).all()


def test_the_edges_follow_their_knots():
    """Moving and stretching the ray moves and stretches what is drawn from it."""
    edges, weights = uneven(6), np.array([1, 2, 3, 0, 0, 4], np.float32)
    drawn = inverse_cdf(jax.random.key(4), edges, weights, 9)
    moved = inverse_cdf(jax.random.key(4), 3 * edges + 1, weights, 9)
    np.testing.assert_allclose(moved, 3 * drawn + 1, rtol=1e-5)


# --------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("count", [1, 2, 9])
def test_blurred_weights_equal_the_loop(count: int):
    w = np.random.default_rng(count).uniform(size=count).astype(np.float32)
    expected = oracles.blur_weights(w, 0.01)
    np.testing.assert_allclose(blur_weights(w, padding=0.01), expected, rtol=1e-6)


@checked
@given(w=masses)
def test_a_blur_is_an_envelope_of_at_most_the_largest_weight(w: np.ndarray):
    blurred = np.asarray(blur_weights(w, padding=0.0))
    assert (blurred >= w).all()
    assert (blurred <= w.max()).all()


def test_a_blur_reaches_the_neighbours_and_no_further():
    blurred = blur_weights(jnp.array([0.0, 0, 0, 1, 0, 0]), padding=0.01)
    np.testing.assert_allclose(blurred, np.array([0, 0, 0.5, 1, 0.5, 0]) + 0.01, rtol=1e-6)


def test_weights_are_annealed_by_schlicks_bias():
    w, x = np.array([0.0, 0.2, 0.7], np.float32), 0.3
    expected = [weight ** (10 * x / (9 * x + 1)) for weight in w]
    np.testing.assert_allclose(anneal_weights(w, x), expected, rtol=1e-5)


@checked
@given(w=masses, slope=st.sampled_from([1.0, 10.0]))
def test_annealing_goes_from_uniform_weights_to_the_given_ones(w: np.ndarray, slope: float):
    np.testing.assert_array_equal(anneal_weights(w, 0.0, slope=slope), np.ones_like(w))
    np.testing.assert_allclose(anneal_weights(w, 1.0, slope=slope), w, rtol=1e-5)
    parts = np.array([anneal_weights(w, x, slope=slope) for x in (0.1, 0.5, 0.9)])
    assert (np.diff(parts[:, w < 1], axis=0) <= 0).all()
    order = np.argsort(w)
    assert (np.diff(parts[:, order]) >= 0).all()


@pytest.mark.parametrize("fraction", [0.0, 1e-6, 0.5, 1.0])
def test_the_gradients_of_annealed_and_blurred_weights_are_finite(fraction: float):
    def total(w, fraction):
        annealed = sampling.anneal_weights(w, fraction)
        return jnp.sum(annealed) + jnp.sum(sampling.blur_weights(w, padding=0.01))

    w = jnp.array([0.0, 1e-30, 1e-6, 0.5, 0.5, 1.0, 1e6])
    for gradient in jax.grad(total, (0, 1))(w, jnp.float32(fraction)):
        assert np.isfinite(gradient).all()


# ------------------------------------------------------------------------------------ both


def test_a_batch_equals_a_loop():
    keys = jax.random.split(jax.random.key(0), 3)
    weights = np.random.default_rng(0).uniform(size=(3, 8)).astype(np.float32)

    @jax.jit
    def hierarchy(key, weights):
        first, second = jax.random.split(key)
        return inverse_cdf(second, stratified(first, 2.0, 6.0, 8), weights, 5)

    batch = jax.vmap(hierarchy)(keys, weights)
    for key, row, drawn in zip(keys, weights, batch, strict=True):
        np.testing.assert_allclose(drawn, hierarchy(key, row), rtol=1e-6)


@pytest.mark.parametrize(
    "sampler",
    [
        functools.partial(stratified, near=2.0, far=6.0, num_samples=8),
        functools.partial(
            inverse_cdf, edges=jnp.arange(5.0), weights=jnp.arange(4.0), num_samples=8
        ),
    ],
)
def test_sampling_depends_on_the_key_and_is_deterministic_without(sampler):
    np.testing.assert_array_equal(sampler(jax.random.key(1)), sampler(jax.random.key(1)))
    assert (sampler(jax.random.key(1)) != sampler(jax.random.key(2))).any()
    np.testing.assert_array_equal(sampler(None), sampler(None))


@pytest.mark.parametrize("scale", [1e-36, 1e-20, 1e-6, 1e30])
def test_inverse_cdf_does_not_depend_on_the_sum_of_the_weights(scale: float):
    edges = jnp.linspace(2.0, 6.0, 9)
    w = np.float32([0, 0, 3, 1, 0, 0, 0.5, 0])
    draw = jax.jit(lambda w: sampling.inverse_cdf(None, edges, w, 12))
    np.testing.assert_allclose(draw(jnp.float32(scale) * w), draw(jnp.asarray(w)), rtol=1e-5)
