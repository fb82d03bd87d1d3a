"""Tests of the three methods that read the field at every sample: renderings, losses, gradients."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax import methods
from nerf_jax.config import Config
from nerf_jax.types import Point
from tests import closed_forms
from tests.closed_forms import FAR, NEAR
from tests.methods.photometric_methods import (
    CONFIGS,
    NETWORKS,
    awkward,
    batch,
    build,
    every,
    gradient,
    init,
    keys,
    loss,
    random_params,
    rays,
    render,
    uniform_params,
)


@every
def test_the_order_of_rays_changes_no_rendering(method: str):
    params, backwards = random_params(method), jax.tree.map(lambda leaf: leaf[::-1], rays())
    one_way, other_way = (render(method)(params, (), all_rays) for all_rays in (rays(), backwards))
    for value, same in zip(one_way, other_way, strict=True):
        np.testing.assert_allclose(value, same[::-1], atol=1e-6)


@pytest.mark.parametrize(
    ("method", "background", "shown"),
    [
        ("tutorial", "white", 1),
        ("tutorial", "black", 0),
        ("tutorial", "random", 1),
        ("nerf", "white", 1),
        ("mip", "white", 1),
    ],
)
def test_an_empty_scene_shows_the_background_and_nothing_else(method, background, shown):
    colors = [(0.2, 0.3, 0.4)] * NETWORKS[method]
    seen = render(method, background)(uniform_params(method, -1.0, *colors), (), rays())
    np.testing.assert_array_equal(seen.rgb, np.full((6, 3), shown))
    np.testing.assert_array_equal(seen.opacity, np.zeros(6))
    np.testing.assert_allclose(seen.depth, np.full(6, FAR), rtol=1e-6)


@pytest.mark.parametrize(
    ("method", "colors"),
    [("nerf", [(0.9, 0.1, 0.1), (0.2, 0.3, 0.4)]), ("mip", [(0.2, 0.3, 0.4)])],
)
def test_the_density_ends_at_far(method: str, colors):
    seen = render(method)(uniform_params(method, 0.25, *colors), (), rays())
    exact = closed_forms.uniform(NEAR, FAR - NEAR, 0.25, np.array(colors[-1]))
    np.testing.assert_allclose(seen.opacity, np.full(6, exact.opacity), rtol=1e-5)
    over_white = exact.rgb + 1 - exact.opacity
    np.testing.assert_allclose(seen.rgb, np.tile(over_white, (6, 1)), rtol=1e-5)
    np.testing.assert_allclose(seen.depth, np.full(6, exact.depth), atol=0.01)


@pytest.mark.parametrize(
    ("method", "background", "behind"),
    [("tutorial", "white", 1.0), ("tutorial", "black", 0.0), ("nerf", "white", 1.0)],
)
def test_transparent_pixels_are_compared_over_the_background(method, background, behind):
    photo, alpha, colors = np.array([0.1, 0.5, 0.9]), 0.25, [(0.5, 0.5, 0.5)]
    params = uniform_params(method, -1.0, *colors * NETWORKS[method])
    metrics = loss(method, background)(params, (), keys(), batch(photo, alpha))[1]
    target = alpha * photo + (1 - alpha) * behind
    np.testing.assert_allclose(metrics["mse"], np.mean((behind - target) ** 2), rtol=1e-5)


@pytest.mark.slow
@every
def test_with_random_backgrounds_only_transparent_pixels_have_no_loss_in_an_empty_scene(
    method: str,
):
    """Nothing in the scene, nothing in the photo: right over whatever colour was drawn."""
    colors = [(0.5, 0.5, 0.5)] * NETWORKS[method]
    empty, nothing, black = (
        uniform_params(method, -1.0, *colors),
        batch(np.zeros(3), 0.0),
        batch(np.zeros(3)),
    )
    assert loss(method, "random")(empty, (), keys(), nothing)[0] == 0
    draws = (loss(method, "random")(empty, (), keys(seed), black) for seed in (0, 1))
    first, other = (metrics["loss"] for _, metrics in draws)
    assert first != other
    # A uniform colour's mean square is 1/3, in both networks; six rays of three channels are few.
    assert 0.1 < first / len(colors) < 0.6


@every
def test_the_loss_is_a_mean_over_independent_rays(method: str):
    params = random_params(method)
    a, b = ((keys(seed), batch([0.1, 0.5, 0.9], seed=seed)) for seed in (0, 1))
    half_and_half = jax.tree.map(lambda one, other: jnp.concatenate([one[:3], other[3:]]), a, b)
    the_rest = jax.tree.map(lambda one, other: jnp.concatenate([other[:3], one[3:]]), a, b)
    values = [loss(method)(params, (), *given)[0] for given in (a, b, half_and_half, the_rest)]
    np.testing.assert_allclose(values[0] + values[1], values[2] + values[3], rtol=1e-5)
    assert np.ptp(values) > 1e-4


@every
def test_keys_decide_the_samples_of_a_training_ray(method: str):
    params, photos = random_params(method), batch([0.1, 0.5, 0.9])
    first, again, other = (loss(method)(params, (), keys(seed), photos)[0] for seed in (0, 0, 1))
    assert first == again
    assert first != other


@every
@pytest.mark.parametrize("kind", ["usual", "no width", "no length", "from the origin", "far out"])
def test_gradients_are_finite_and_reach_every_layer(method: str, kind: str):
    photos = batch([0.1, 0.5, 0.9])._replace(rays=awkward(kind))
    (value, _), slopes = gradient(method)(random_params(method), (), keys(), photos)
    assert np.isfinite(value)
    for path, leaf in jax.tree.leaves_with_path(slopes):
        assert np.isfinite(leaf).all(), path
        assert kind != "usual" or np.abs(leaf).max() > 0, path


@pytest.mark.slow
@every
@pytest.mark.parametrize("density", [-1.0, 0.0, 1e-12, 1e4, 1e20])
def test_gradients_are_finite_in_empty_and_in_solid_scenes(method: str, density: float):
    params = uniform_params(method, density, *[(0.2, 0.3, 0.4)] * NETWORKS[method])
    (value, _), slopes = gradient(method)(params, (), keys(), batch([0.1, 0.5, 0.9]))
    assert np.isfinite(value)
    for path, leaf in jax.tree.leaves_with_path(slopes):
        assert np.isfinite(leaf).all(), path


@every
def test_refresh_changes_nothing(method: str):
    aux = build(method).refresh(random_params(method), (), jax.random.key(0), jnp.int32(5))
    assert aux == ()


@pytest.mark.slow
@every
def test_the_density_is_that_of_the_rendered_network(method: str):
    params = random_params(method)
    seen = params["fine"] if method == "nerf" else params
    field = getattr(methods, f"{method}_field")(CONFIGS[method])
    rng = np.random.default_rng(4)
    positions, variances = rng.uniform(-1, 1, (20, 3)), rng.uniform(0, 0.1, (20, 3))
    points = Point(jnp.asarray(positions, jnp.float32), jnp.asarray(variances, jnp.float32))
    found = build(method).density(params, (), points)
    expected = [field.density(seen, Point(*point))[0] for point in zip(*points, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.ptp(found) > 0


@every
def test_the_config_decides_the_size(method: str):
    wide = dataclasses.replace(CONFIGS[method], width=20)
    built = methods.build(Config(model=wide))
    shapes = jax.eval_shape(init(built), jax.random.key(0))[0]
    widths = {leaf.shape[-1] for leaf in jax.tree.leaves(shapes)}
    assert widths == {20, 10, 3} | ({21} if method == "tutorial" else {1})
