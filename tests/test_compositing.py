import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from nerf_jax import compositing
from nerf_jax.compositing import over, pixel_over, solid_background
from nerf_jax.losses import depth_error
from tests import closed_forms, oracles

composite = jax.jit(compositing.composite)
transmittance = jax.jit(compositing.transmittance)
weights = jax.jit(compositing.weights)

MAX = float(np.finfo(np.float32).max)


def random_ray(num_samples: int = 7, seed: int = 0):
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.uniform(2, 6, num_samples + 1)).astype(np.float32)
    sigma = rng.exponential(1.0, num_samples).astype(np.float32)
    return sigma, rng.uniform(size=(num_samples, 3)).astype(np.float32), edges


@jax.jit
def see(sigma, rgb, edges):
    return compositing.composite(weights(sigma, jnp.diff(edges)), rgb, edges)


# ---------------------------------------------------------------- transmittance and weights


def test_transmittance_and_weights_equal_the_loop():
    sigma, _, edges = random_ray(20)
    slow_transmittance, slow_weights = oracles.weights(sigma, np.diff(edges))
    np.testing.assert_allclose(transmittance(sigma, np.diff(edges)), slow_transmittance, rtol=1e-5)
    np.testing.assert_allclose(weights(sigma, np.diff(edges)), slow_weights, rtol=1e-5)


def test_thin_media_keep_their_precision():
    """``1 - exp(-1e-9)`` is zero in single precision; the weight must not be."""
    np.testing.assert_allclose(weights(np.full(3, 1e-9, np.float32), np.ones(3, np.float32)), 1e-9)


densities = npst.arrays(
    np.float32, 5, elements=st.sampled_from([0.0, 1e-30, 1e-10, 0.1, 1.0, 30.0, 1e10, 1e20, MAX])
)
lengths = npst.arrays(
    np.float32, 5, elements=st.sampled_from([0.0, 1e-30, 1e-3, 0.5, 10.0, 1e10, MAX])
)


@jax.jit
def light(sigma, delta):
    """Transmittances, weights and the gradients of all weights."""
    w = compositing.weights(sigma, delta)
    return transmittance(sigma, delta), w, jax.jacobian(compositing.weights, (0, 1))(sigma, delta)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(sigma=densities, delta=lengths)
@example(sigma=np.full(5, 1e20, np.float32), delta=np.full(5, 1e10, np.float32))
@example(sigma=np.zeros(5, np.float32), delta=np.zeros(5, np.float32))
@example(sigma=np.zeros(5, np.float32), delta=np.full(5, 1e10, np.float32))
@example(sigma=np.full(5, 1e-30, np.float32), delta=np.full(5, MAX, np.float32))
def test_weights_and_transmittance_sum_to_one_and_gradients_are_finite(sigma, delta):
    t, w, gradients = jax.tree.map(np.asarray, light(sigma, delta))
    assert t[0] == 1
    assert (np.diff(t) <= 0).all()
    assert (w >= 0).all()
    assert w.sum() <= 1 + 1e-6
    # What an interval stops is missing behind it.
    np.testing.assert_allclose(t[:-1] - w[:-1], t[1:], atol=1e-6)
    for gradient in gradients:
        assert np.isfinite(gradient).all()


def test_an_extremely_dense_ray_is_opaque_at_once():
    w = weights(np.full(4, 1e20, np.float32), np.full(4, 1e10, np.float32))
    np.testing.assert_array_equal(w, [1, 0, 0, 0])


def test_the_last_interval_of_the_tutorial_is_opaque_if_it_holds_anything():
    delta = np.array([0.1, 0.1, 1e10], np.float32)
    np.testing.assert_array_equal(weights(np.array([0, 0, 1e-6], np.float32), delta), [0, 0, 1])
    np.testing.assert_array_equal(weights(np.array([0, 0, 0], np.float32), delta), [0, 0, 0])


def test_cutting_an_interval_in_two_changes_nothing():
    sigma, _, edges = random_ray()
    delta = np.diff(edges)
    halves = weights(np.repeat(sigma, 2), np.repeat(delta / 2, 2)).reshape(-1, 2).sum(axis=1)
    np.testing.assert_allclose(halves, weights(sigma, delta), rtol=1e-5)


# ------------------------------------------------------------------------------ composite


@pytest.mark.parametrize("seed", range(4))
def test_composite_equals_the_loop(seed: int):
    sigma, rgb, edges = random_ray(seed=seed)
    w = oracles.weights(sigma, np.diff(edges))[1]
    for mine, slow in zip(see(sigma, rgb, edges), oracles.composite(w, rgb, edges), strict=True):
        np.testing.assert_allclose(mine, slow, rtol=2e-5)


@pytest.mark.parametrize("num_samples", [1, 4, 32])
@pytest.mark.parametrize("density", [0.01, 0.7, 5.0])
def test_the_opacity_and_colour_of_a_uniform_slab_are_exact(num_samples: int, density: float):
    """Beer and Lambert hold in every interval, so their number does not matter."""
    rgb = np.array([0.9, 0.2, 0.5], np.float32)
    exact = closed_forms.uniform(2.0, 4.0, density, rgb)
    edges = np.linspace(2, 6, num_samples + 1, dtype=np.float32)
    seen = see(np.full(num_samples, density, np.float32), np.tile(rgb, (num_samples, 1)), edges)
    np.testing.assert_allclose(seen.opacity, exact.opacity, rtol=1e-5)
    np.testing.assert_allclose(seen.rgb, exact.rgb, rtol=1e-5)


def test_the_depths_of_a_uniform_slab_converge_with_the_square_of_the_intervals():
    """Light is stopped before an interval's middle by a part that falls with its length."""
    exact = closed_forms.uniform(2.0, 4.0, 0.7, np.zeros(3))
    errors = []
    for num_samples in (4, 8, 16, 32):
        edges = np.linspace(2, 6, num_samples + 1, dtype=np.float32)
        seen = see(
            np.full(num_samples, 0.7, np.float32), np.zeros((num_samples, 3), np.float32), edges
        )
        errors.append((seen.depth - exact.depth, seen.median_depth - exact.median_depth))
    depth, median = np.abs(errors).T
    np.testing.assert_allclose(depth[:-1] / depth[1:], 4, rtol=0.1)
    # The median's error depends on where in its interval it falls; its bound is quadratic.
    assert (median <= 0.7 / 8 * (4 / np.array([4, 8, 16, 32])) ** 2).all()


def test_an_opaque_surface_hides_the_background():
    sigma, edges = np.array([0, 1e4, 2, 1e4], np.float32), np.array([2, 3, 4, 5, 6], np.float32)
    seen = see(sigma, np.eye(4, 3, -1, dtype=np.float32), edges)
    np.testing.assert_allclose(seen.rgb, [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose((seen.opacity, seen.depth, seen.median_depth), (1, 3.5, 3.5), 1e-5)


def test_the_median_depth_is_at_a_surface_and_the_mean_between_two():
    edges = np.array([2, 3, 5, 6], np.float32)
    seen = composite(np.array([0.6, 0, 0.4], np.float32), np.zeros((3, 3), np.float32), edges)
    np.testing.assert_allclose(seen.depth, 0.6 * 2.5 + 0.4 * 5.5, rtol=1e-5)
    np.testing.assert_allclose(seen.median_depth, 2 + 0.5 / 0.6, rtol=1e-5)


def test_a_ray_that_hits_nothing_ends_at_far():
    _, rgb, edges = random_ray()
    seen = see(np.zeros(7, np.float32), rgb, edges)
    np.testing.assert_array_equal(seen.rgb, np.zeros(3))
    assert seen.opacity == 0
    np.testing.assert_allclose(seen.depth, edges[-1], rtol=1e-6)
    assert seen.median_depth == edges[-1]


@pytest.mark.parametrize("far", [6.0, 1e4, 1e8])
@pytest.mark.parametrize("density", [1e4, 5.0, 0.01, 1e-4])
def test_the_expected_depth_does_not_depend_on_far(density: float, far: float):
    """A surface at 1, of any opacity, and empty space up to a far end."""
    edges = np.float32([0.5, 1.0, 1.002, far])
    sigma = np.float32([0, density / 0.002, 0])
    _, slow_weights = oracles.weights(sigma, np.diff(edges.astype(float)))
    expected = slow_weights @ (edges[:-1] + edges[1:].astype(float)) / 2 / slow_weights.sum()
    found = see(sigma, np.ones((3, 3), np.float32), edges)
    np.testing.assert_allclose(found.depth, expected, rtol=2e-6)
    np.testing.assert_allclose(found.median_depth, 1.001, rtol=2e-3)


def test_depth_supervision_finds_the_surface_whatever_far_is():
    """Gradient descent on where an opaque surface is, from one known depth."""

    def loss(place):
        w = jnp.array([0.0, 1.0, 0.0])
        edges = jnp.stack([0.5, place, place + 1e-3, 1e4])
        rendering = compositing.composite(w, jnp.ones((3, 3)), edges)
        return depth_error(rendering.depth, jnp.float32(1.0))

    step = jax.jit(jax.grad(loss))
    place = jnp.float32(1.5)
    for _ in range(200):
        place = place - 0.05 * step(place)
    np.testing.assert_allclose(place, 0.9995, atol=2e-4)


def test_the_gradients_equal_finite_differences():
    sigma, rgb, edges = random_ray()
    along = np.array([0.3, -1.0, 0.6]), 0.8, -0.4, 0.25

    def score(seen):
        return sum(jnp.sum(jnp.asarray(a) * value) for a, value in zip(along, seen, strict=True))

    def slow(sigma, rgb, edges):
        w = oracles.weights(sigma, np.diff(edges))[1]
        seen = oracles.composite(w, rgb, edges)
        return sum(np.sum(a * value) for a, value in zip(along, seen, strict=True))

    mine = jax.jit(jax.grad(lambda *ray: score(see(*ray)), (0, 1, 2)))(sigma, rgb, edges)
    for gradient, differences in zip(mine, oracles.gradient(slow, sigma, rgb, edges), strict=True):
        np.testing.assert_allclose(gradient, differences, rtol=1e-3, atol=1e-4)


def test_in_empty_space_the_gradient_of_the_opacity_is_the_length():
    """``d opacity / d sigma_i`` is the interval's length, however long."""
    delta = np.array([0.5, 0.0, 2.0, 1e10], np.float32)
    gradient = jax.grad(lambda sigma: weights(sigma, delta).sum())(jnp.zeros(4))
    np.testing.assert_allclose(gradient, delta)


@jax.jit
def gradients_of_all(sigma, rgb, edges, delta):
    def total(sigma, rgb, edges, delta):
        seen = compositing.composite(compositing.weights(sigma, delta), rgb, edges)
        return sum(jnp.sum(value) for value in seen)

    return jax.value_and_grad(total, (0, 1, 2, 3))(sigma, rgb, edges, delta)


@pytest.mark.parametrize("sigma", [0.0, 1e-30, 1.0, 1e20], ids="sigma{:.0e}".format)
@pytest.mark.parametrize(
    "edges",
    [(2, 3, 4, 5, 6), (2, 3, 3, 3, 6), (2, 2, 2, 2, 2)],
    ids=["even", "standing", "no length"],
)
@pytest.mark.parametrize("last", [None, 1e10, 0.0])
def test_gradients_are_finite_at_the_singular_points(sigma, edges, last):
    edges = np.array(edges, np.float32)
    delta = np.diff(edges)
    if last is not None:
        delta[-1] = last
    value, gradients = gradients_of_all(
        np.full(4, sigma, np.float32), np.ones((4, 3), np.float32), edges, delta
    )
    assert np.isfinite(value)
    for gradient in gradients:
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("w", [(0, 0, 0), (1, 0, 0), (0, 0, 1), (1e-30, 0, 1e-30)])
def test_gradients_with_respect_to_weights_are_finite(w):
    def total(w, edges):
        return sum(jnp.sum(value) for value in composite(w, jnp.ones((3, 3)), edges))

    gradients = jax.grad(total, (0, 1))(jnp.array(w, jnp.float32), jnp.arange(2.0, 6.0))
    for gradient in gradients:
        assert np.isfinite(gradient).all()


def test_a_batch_of_rays_equals_a_loop():
    rays = [random_ray(seed=seed) for seed in range(3)]
    batch = jax.vmap(see)(*(np.stack(part) for part in zip(*rays, strict=True)))
    for i, one in enumerate(rays):
        for whole, part in zip(batch, see(*one), strict=True):
            np.testing.assert_allclose(whole[i], part, rtol=1e-6)


# ---------------------------------------------------------------------------- backgrounds


def test_over_fills_the_transparent_fraction():
    rgb = jnp.array([0.2, 0.1, 0.0])
    np.testing.assert_allclose(
        over(rgb, jnp.float32(0.25), jnp.array([1.0, 0.4, 0.0])), [0.95, 0.4, 0], rtol=1e-6
    )


def test_over_broadcasts_one_colour_to_an_image():
    rng = np.random.default_rng(0)
    opacity = rng.uniform(size=(2, 4)).astype(np.float32)
    rgb = opacity[..., None] * rng.uniform(size=(2, 4, 3)).astype(np.float32)
    image = over(jnp.asarray(rgb), jnp.asarray(opacity), solid_background("white"))
    for i, j in np.ndindex(2, 4):
        np.testing.assert_allclose(image[i, j], rgb[i, j] + 1 - opacity[i, j], rtol=1e-6)


def test_a_photo_without_alpha_hides_the_background():
    pixel = jnp.array([0.2, 0.5, 0.9])
    np.testing.assert_array_equal(pixel_over(pixel, jnp.ones(3)), pixel)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_a_photo_with_straight_alpha_is_blended_with_the_background(alpha: float):
    rgb, background = np.array([0.2, 0.5, 0.9]), np.array([1.0, 0.0, 0.5])
    pixel = jnp.asarray(np.append(rgb, alpha), jnp.float32)
    np.testing.assert_allclose(
        pixel_over(pixel, jnp.asarray(background, jnp.float32)),
        [alpha * rgb[k] + (1 - alpha) * background[k] for k in range(3)],
        rtol=1e-6,
    )


def test_renderings_are_over_white_if_training_samples_the_background():
    assert [solid_background(name)[0] for name in ("white", "black", "random")] == [1, 0, 1]


def test_the_median_of_the_exact_answer_halves_the_opacity():
    """Of the reference in ``scenes`` that other tests lean on."""
    exact = closed_forms.uniform(2.0, 4.0, 0.7, np.ones(3))
    before = 1 - math.exp(-0.7 * (exact.median_depth - 2.0))
    assert before == pytest.approx(exact.opacity / 2)
