"""The 100-line NeRF against its slow reference."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax import methods
from nerf_jax.config import Config, NerfConfig, TutorialConfig, load
from nerf_jax.devices import ray_mesh
from nerf_jax.methods import make_optimizer
from nerf_jax.sampling import stratified
from nerf_jax.train import init_state, make_train_steps, sample_ray
from nerf_jax.types import Point
from tests import oracles, small
from tests.closed_forms import FAR, NEAR
from tests.methods.photometric_methods import (
    CONFIGS,
    batch,
    check_gradient,
    gradient,
    keys,
    loss,
    random_params,
    rays,
    render,
    uniform_params,
)


def test_the_tutorial_equals_its_slow_reference():
    params = random_params("tutorial")
    seen = render("tutorial")(params, (), rays())
    assert (seen.opacity > 0.1).all()
    assert np.ptp(seen.median_depth) > 0.1
    for i, (origin, direction) in enumerate(zip(*rays()[:2], strict=True)):
        rgb, *rest = oracles.render_tutorial(
            params, CONFIGS["tutorial"], origin, direction, NEAR, FAR
        )
        expected = rgb + 1 - rest[0], *rest
        for mine, slow in zip(seen, expected, strict=True):
            np.testing.assert_allclose(mine[i], slow, atol=1e-4)


def test_the_last_interval_of_the_tutorial_is_opaque():
    """Its last interval is 1e10 long: a haze that stops a hundredth of the light stops all."""
    seen = render("tutorial")(uniform_params("tutorial", 0.0025, (0.2, 0.3, 0.4)), (), rays())
    np.testing.assert_allclose(seen.opacity, np.ones(6), rtol=1e-6)
    np.testing.assert_allclose(seen.rgb, np.tile([0.2, 0.3, 0.4], (6, 1)), rtol=1e-5)


def test_the_loss_of_the_tutorial_is_the_sum_of_squared_errors_and_its_metrics_are_means():
    shown, photo = np.array([0.2, 0.3, 0.4]), np.array([0.1, 0.5, 0.9])
    params = uniform_params("tutorial", 1.0, shown)
    value, metrics = loss("tutorial")(params, (), keys(), batch(photo))
    squares = (shown - photo) ** 2
    np.testing.assert_allclose(value, 6 * np.sum(squares), rtol=1e-5)
    np.testing.assert_allclose((metrics["loss"], metrics["mse"]), np.full(2, squares.mean()), 1e-5)


NUM_RAYS = 32


def drawn(data, key, step: int) -> tuple[np.ndarray, ...]:
    """The rays of a step, the distances of their samples, and their photo's colours over white."""
    _, key = jax.random.split(jax.random.fold_in(key, step))
    keys = jax.vmap(lambda n: jax.random.split(jax.random.fold_in(key, n)))(jnp.arange(NUM_RAYS))
    rays, pixel, *_ = jax.vmap(sample_ray, (None, 0))(data, keys[:, 0])
    draw = jax.vmap(lambda key: stratified(key, 2.0, 6.0, CONFIG.num_samples - 1))
    rgb, alpha = np.asarray(pixel, float)[:, :3], np.asarray(pixel, float)[:, 3:]
    found = rays.origin, rays.direction, draw(keys[:, 1]), rgb * alpha + 1 - alpha
    return tuple(np.asarray(each, float) for each in found)


CONFIG = dataclasses.replace(CONFIGS["tutorial"], position_bands=4)


@pytest.mark.slow
def test_training_follows_the_original_s_trajectory():
    """20 steps of the sum over rays and channels, with PyTorch's Adam, in float64; here on two
    devices and in two passes."""
    settings = load("tutorial.py", "cpu")
    assert settings.data.background == "white"
    model = methods.build(dataclasses.replace(settings, model=CONFIG))
    optimizer, data, mesh = make_optimizer(settings.optimizer, 1e6), small.dataset(), ray_mesh()
    state = init_state(model, optimizer, data, mesh, seed=3)
    start = oracles.tutorial_layers(jax.tree.map(np.asarray, state.params))
    key = state.key.copy()
    state, _ = make_train_steps(model, optimizer, mesh, NUM_RAYS, 20, num_passes=2)(state, data)
    found = oracles.tutorial_layers(jax.tree.map(np.asarray, state.params))
    layers, m, v = start, [0 * x for x in start], [0 * x for x in start]
    for step in range(1, 21):
        slopes = oracles.tutorial_gradient(layers, CONFIG, *drawn(data, key, step - 1))
        m = [0.9 * a + 0.1 * g for a, g in zip(m, slopes, strict=True)]
        v = [0.999 * a + 0.001 * g**2 for a, g in zip(v, slopes, strict=True)]
        moves = [
            5e-4 * (a / (1 - 0.9**step)) / (np.sqrt(b / (1 - 0.999**step)) + 1e-8)
            for a, b in zip(m, v, strict=True)
        ]
        layers = [x - move for x, move in zip(layers, moves, strict=True)]
    flat = lambda arrays: np.concatenate([x.ravel() for x in arrays])  # noqa: E731
    apart, way = flat(found) - flat(layers), flat(layers) - flat(start)
    assert np.linalg.norm(apart) < 0.005 * np.linalg.norm(way)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["tutorial", "nerf"])
def test_no_seed_begins_without_density(method: str):
    """Of 40 seeds of the 100-line NeRF at its full width, 8 did."""
    full = TutorialConfig() if method == "tutorial" else NerfConfig()
    model = methods.build(Config(model=full))
    points = np.random.default_rng(0).uniform(-1.5, 1.5, (512, 3)).astype(np.float32)

    @jax.jit
    def positive(seed):
        params, aux = model.init(jax.random.split(jax.random.key(seed))[0], None, (1, 1))
        return jnp.mean(model.density(params, aux, Point(points, 0 * points)) > 0)

    shares = [float(positive(seed)) for seed in range(40)]
    assert min(shares) > 0.03


def test_the_gradient_of_the_tutorial_equals_a_finite_difference():
    photos = batch([0.1, 0.5, 0.9])
    check_gradient(
        lambda params: gradient("tutorial")(params, (), keys(), photos),
        random_params("tutorial"),
        "loss",
    )
