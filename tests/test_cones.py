import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nerf_jax import cones
from nerf_jax.types import Point
from tests import closed_forms, oracles

frusta = jax.jit(cones.frusta)
ORIGIN, DIRECTION = np.array([0.5, -1.0, 2.0]), np.array([0.48, -0.6, 0.64])


def frustum(start: float, end: float, radius: float, direction=DIRECTION) -> Point:
    ray = closed_forms.ray(ORIGIN, direction, radius=radius)
    points = frusta(ray, jnp.array([start, end], jnp.float32))
    return jax.tree.map(lambda leaf: np.asarray(leaf[0]), points)


@pytest.mark.slow
@pytest.mark.parametrize(("start", "end"), [(0.0, 2.0), (1.0, 4.0), (3.0, 3.5)])
@pytest.mark.parametrize("radius", [0.02, 0.6])
def test_a_frustum_has_the_mean_and_variance_of_its_positions(start, end, radius):
    """Monte Carlo that knows nothing of the formulas: places in a box, kept if in the cone."""
    rng, size = np.random.default_rng(0), radius * end
    across = np.linalg.svd(DIRECTION[None])[2][1:]  # two axes at right angles to the cone's
    x, y = rng.uniform(-size, size, (2, 2_000_000))
    t = rng.uniform(start, end, x.size)
    inside = np.hypot(x, y) < radius * t
    places = (ORIGIN + t[:, None] * DIRECTION + np.stack([x, y], 1) @ across)[inside]
    found = frustum(start, end, radius)
    deviation = places.std(axis=0)
    np.testing.assert_allclose(found.position, places.mean(axis=0), atol=0.01 * deviation.max())
    np.testing.assert_allclose(found.variance, places.var(axis=0), rtol=0.01)


def test_all_frusta_of_a_ray_equal_the_slow_integrals():
    edges = np.sort(np.random.default_rng(0).uniform(0, 6, 9)).astype(np.float32)
    ray = closed_forms.ray(ORIGIN, DIRECTION, radius=0.1)
    points = frusta(ray, edges)
    for i in range(8):
        mean, variance = oracles.frustum(ray.origin, ray.direction, 0.1, edges[i], edges[i + 1])
        np.testing.assert_allclose(points.position[i], mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(points.variance[i], variance, rtol=1e-4)


def test_a_short_frustum_far_away_keeps_its_precision():
    """Where the integrals themselves, in single precision, would be differences of nothing."""
    found = frustum(1000.0, 1000.25, 1e-4)
    mean, variance = oracles.frustum(ORIGIN, DIRECTION, 1e-4, 1000, 1000.25)
    np.testing.assert_allclose(found.position, mean, rtol=1e-6)
    np.testing.assert_allclose(found.variance, variance, rtol=1e-4)


@pytest.mark.parametrize("t", [0.5, 4.0])
def test_a_disc_has_the_mean_and_variance_of_its_positions(t: float):
    """Monte Carlo: places in a square across the ray, kept if in the cone."""
    radius, rng = 0.3, np.random.default_rng(1)
    across = np.linalg.svd(DIRECTION[None])[2][1:]
    offset = rng.uniform(-radius * t, radius * t, (400_000, 2))
    offset = offset[np.hypot(*offset.T) < radius * t]
    places = ORIGIN + t * DIRECTION + offset @ across
    found = cones.disc(closed_forms.ray(ORIGIN, DIRECTION, radius=radius), jnp.float32(t))
    np.testing.assert_allclose(found.position, places.mean(axis=0), atol=0.005 * radius * t)
    np.testing.assert_allclose(found.variance, places.var(axis=0), rtol=0.01)


def test_a_disc_is_a_frustum_without_a_length():
    ray = closed_forms.ray(ORIGIN, DIRECTION, radius=0.1)
    for t in (0.0, 1.0, 30.0):
        found, short = cones.disc(ray, jnp.float32(t)), frustum(t, t, 0.1)
        np.testing.assert_allclose(found.position, short.position, rtol=1e-6)
        np.testing.assert_allclose(found.variance, short.variance, rtol=1e-5)
    point = cones.disc(ray._replace(radius=jnp.float32(0.0)), jnp.float32(2.0))
    np.testing.assert_array_equal(point.variance, np.zeros(3))


def test_without_a_radius_a_frustum_is_a_line():
    """Places near the far end count more all the same, as in the thinnest cone."""
    axis = np.array([0.0, 0.0, 1.0])
    line, cone = frustum(1.0, 3.0, 0.0, axis), frustum(1.0, 3.0, 1e-3, axis)
    np.testing.assert_array_equal(line.variance[:2], [0, 0])
    np.testing.assert_allclose(line.variance[2], cone.variance[2], rtol=1e-6)
    np.testing.assert_array_equal(line.position, cone.position)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    start=st.floats(0, 1e4, width=32),
    length=st.floats(0, 1e4, width=32),
    radius=st.floats(0, 1, width=32),
    seed=st.integers(0, 99),
)
def test_means_lie_in_their_frusta_and_no_variance_is_negative(start, length, radius, seed):
    direction = np.random.default_rng(seed).normal(size=3)
    ray = closed_forms.ray(np.zeros(3), direction / np.linalg.norm(direction), radius=radius)
    end = np.float32(start) + np.float32(length)
    points = frusta(ray, jnp.array([start, end], jnp.float32))
    distance = np.linalg.norm(np.float64(points.position[0]))
    tiny = 1e-30  # what is as small as that may become zero on the way
    assert start * (1 - 1e-5) - tiny <= distance <= end * (1 + 1e-5) + tiny
    assert (np.asarray(points.variance) >= 0).all()


def test_a_rotated_ray_has_rotated_frusta():
    """The axes' variances are those of the same Gaussian: their sum does not depend on them."""
    total = [frustum(1.0, 3.0, 0.3, d).variance.sum() for d in (DIRECTION, np.eye(3)[1])]
    np.testing.assert_allclose(total[0], total[1], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("edges", [(0, 0, 1), (2, 2, 2), (1e-25, 2e-25, 3e-25), (0, 1e4, 1e10)])
@pytest.mark.parametrize("radius", [0.0, 0.1])
def test_the_gradients_of_frusta_are_finite(edges, radius: float):
    def total(ray, edges):
        return sum(jnp.sum(leaf) for leaf in cones.frusta(ray, edges))

    ray = closed_forms.ray((0, 0, 0), (0, 0, 1), radius=radius)
    value, gradients = jax.value_and_grad(total, (0, 1), allow_int=True)(ray, jnp.float32(edges))
    assert np.isfinite(value)
    for leaf in [*gradients[0][:5], gradients[1]]:
        assert np.isfinite(leaf).all()


@pytest.mark.slow
def test_the_gradients_equal_finite_differences():
    along = np.array([0.3, -1.0, 0.7])

    def slow(start, end, radius):
        mean, variance = oracles.frustum(ORIGIN, DIRECTION, radius, start, end)
        return along @ mean + along @ variance

    def mine(start, end, radius):
        ray = closed_forms.ray(ORIGIN, DIRECTION)._replace(radius=radius)
        point = jax.tree.map(lambda leaf: leaf[0], cones.frusta(ray, jnp.stack([start, end])))
        return jnp.float32(along) @ (point.position + point.variance)

    given = np.float32(1), np.float32(2.5), np.float32(0.3)
    expected = oracles.gradient(slow, *given)
    for gradient, differences in zip(jax.grad(mine, (0, 1, 2))(*given), expected, strict=True):
        np.testing.assert_allclose(gradient, differences, rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1.0, 1e18])
def test_frusta_have_the_range_of_single_precision(scale: float):
    """Means are proportional to the edges, and their gradients do not depend on the scale."""

    @jax.jit
    def mean(edges):
        ray = closed_forms.ray((0, 0, 0), (0, 0, 1), radius=0.1)
        return cones.frusta(ray, edges).position[:, 2]

    for edges in np.float32([[0, 1, 3], [1, 1, 1], [2, 3, 1e3]]):
        np.testing.assert_allclose(
            mean(np.float32(scale) * edges), scale * np.asarray(mean(edges)), rtol=1e-5
        )
        slopes = [jax.jacrev(mean)(jnp.asarray(s * edges)) for s in np.float32([scale, 1])]
        np.testing.assert_allclose(*slopes, rtol=1e-5, atol=1e-6)
