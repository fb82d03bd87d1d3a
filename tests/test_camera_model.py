"""The photometric camera model, against formulas in NumPy and photos of known exposures."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from nerf_jax import camera_model
from tests import small


def random_params(num_photos: int = 5, scale: float = 3.0):
    key = iter(jax.random.split(jax.random.key(0), 4))
    zero = camera_model.init(num_photos)
    return jax.tree.map(lambda leaf: scale * jax.random.normal(next(key), leaf.shape), zero)


def test_zero_is_the_identity():
    params = camera_model.init(3)
    rgb = jnp.array([0.0, 0.3, 1.2])
    gain = camera_model.log_gains(params)[1]
    np.testing.assert_array_equal(camera_model.apply(params, gain, jnp.array([0.6, 0.8]), rgb), rgb)
    assert camera_model.regularizer(params) == 0


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_colours_equal_the_formulas(scale: float):
    params = random_params(scale=scale)
    raw = {name: np.asarray(leaf, float) for name, leaf in params.items()}
    exposure = 1.0 * np.tanh(0.1 * raw["exposure"])
    balance = 0.3 * np.tanh(0.1 / 0.3 * raw["balance"])
    gains = exposure[:, None] + balance - balance.mean(axis=1, keepdims=True)
    gains -= gains.mean(axis=0)
    near, far = 0.5 * np.tanh(0.2 * raw["vignetting"])
    bend = 0.5 * np.tanh(0.2 * raw["response"])
    offset, rgb = np.array([0.3, -0.5]), np.array([0.1, 0.5, 0.9])
    exposed = rgb * np.exp(gains[2] + near * 0.34 + far * 0.34**2)
    expected = np.where(exposed < 1, exposed + bend * exposed * (1 - exposed), exposed)
    found = camera_model.log_gains(params)
    np.testing.assert_allclose(found, gains, atol=1e-5)
    np.testing.assert_allclose(np.mean(found, axis=0), 0, atol=1e-6)  # no drift of the scene
    assert np.abs(found).max() <= 2 * (1 + 0.3 * 4 / 3)
    apply = camera_model.apply(params, found[2], jnp.asarray(offset), jnp.asarray(rgb))
    np.testing.assert_allclose(apply, expected, rtol=1e-4)
    total = sum(np.mean(part**2) for part in (gains, np.array([near, far]), bend))
    np.testing.assert_allclose(camera_model.regularizer(params), total, rtol=1e-4)


@pytest.mark.parametrize("scale", [0.0, 3.0])
def test_gradients_equal_finite_differences(scale: float):
    rgb, offset = jnp.array([0.2, 0.5, 0.0]), jnp.array([0.7, 0.2])

    def total(params):
        params = jax.tree.map(jnp.asarray, params)  # the differences are NumPy arrays
        gain = camera_model.log_gains(params)[1]
        found = camera_model.apply(params, gain, offset, rgb)
        return jnp.sum(found**2) + camera_model.regularizer(params)

    check_grads(total, (random_params(scale=scale),), 1, "rev", eps=1e-2, atol=1e-3, rtol=1e-2)


def test_exposures_that_are_known_are_the_first_guess():
    stops = np.array([0.0, 1.0, np.nan, 2.0])
    found = camera_model.log_gains(camera_model.init(4, np.log(2) * stops))
    expected = np.log(2) / 2.2 * np.array([-1, 0, 0, 1])
    np.testing.assert_allclose(found, np.repeat(expected[:, None], 3, axis=1), atol=1e-5)


def test_offsets_are_from_the_principal_point():
    cameras, size = small.cameras(2)
    off_centre = cameras._replace(principal=cameras.principal + np.array([[0, 0], [3, -2]]))
    found = camera_model.pixel_offset(off_centre, 1, jnp.array([4, 9]), size)
    principal = np.array([11, 6])
    expected = (np.array([4.5, 9.5]) - principal) / np.hypot(*principal)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_new_views_have_the_gains_of_their_neighbours():
    cameras, _ = small.cameras(6)
    gains = np.random.default_rng(0).normal(size=(6, 3))
    at = np.asarray(cameras.world_from_camera)
    for index in range(6):
        found = camera_model.predict_log_gain(gains, cameras, at[index])
        np.testing.assert_allclose(found, gains[index], atol=1e-5)
    constant = camera_model.predict_log_gain(np.ones((6, 3)), cameras, at[0] + 0.1)
    np.testing.assert_allclose(constant, 1)


def test_gains_follow_the_exposure_that_photos_state():
    stops = np.array([0.0, 1.0, 3.0])
    gains = 0.3 * stops[:, None] + np.array([0.1, 0.0, -0.1])
    found = camera_model.gains_at_exposure(gains, stops, 2.0)
    np.testing.assert_allclose(found, np.tile([0.7, 0.6, 0.5], (3, 1)), atol=1e-12)
    # Neither against the light, nor by more than a power law, nor by unknown or equal exposures.
    np.testing.assert_array_equal(camera_model.gains_at_exposure(-gains, stops, 2.0), -gains)
    steep = camera_model.gains_at_exposure(9 * gains, stops, 2.0)
    np.testing.assert_allclose(steep - 9 * gains, np.repeat((2 - stops)[:, None], 3, 1) / 2.2)
    for known, new in ((stops, np.nan), (np.array([0, np.nan, 1]), 2.0), (np.full(3, 0.1), 2.0)):
        np.testing.assert_array_equal(camera_model.gains_at_exposure(gains, known, new), gains)


def test_exposures_balances_and_vignetting_of_photos_are_found():
    """Of a scene that is learned together with them."""
    rng = np.random.default_rng(0)
    num_photos, num_pixels = 6, 200
    colors = rng.uniform(0.1, 0.7, (num_pixels, 3))
    gains = rng.normal(0, 0.2, (num_photos, 3))
    gains -= gains.mean(axis=0)
    offset = rng.uniform(-0.7, 0.7, (num_photos, num_pixels, 2))
    square = np.sum(offset**2, axis=-1, keepdims=True)
    photos = colors * np.exp(gains[:, None] - 0.3 * square - 0.1 * square**2)
    scene = {"colors": jnp.full((num_pixels, 3), 0.5), "camera": camera_model.init(num_photos)}
    per_pixel = jax.vmap(camera_model.apply, (None, None, 0, 0))
    per_photo = jax.vmap(per_pixel, (None, 0, 0, None))

    def loss(scene):
        camera = scene["camera"]
        seen = per_photo(camera, camera_model.log_gains(camera), offset, scene["colors"])
        return jnp.mean((seen - photos) ** 2) + 1e-6 * camera_model.regularizer(camera)

    optimizer = optax.adam(optax.exponential_decay(0.05, 1500, 0.02))

    def step(state, _):
        scene, opt_state = state
        updates, opt_state = optimizer.update(jax.grad(loss)(scene), opt_state)
        return (optax.apply_updates(scene, updates), opt_state), None

    train = jax.jit(lambda state: jax.lax.scan(step, state, length=1500)[0][0])
    found = train((scene, optimizer.init(scene)))
    np.testing.assert_allclose(camera_model.log_gains(found["camera"]), gains, atol=0.02)
    near, far = 0.5 * np.tanh(0.2 * np.asarray(found["camera"]["vignetting"]))
    np.testing.assert_allclose(near * 0.5 + far * 0.25, -0.3 * 0.5 - 0.1 * 0.25, atol=0.02)
    np.testing.assert_allclose(found["colors"], colors, atol=0.02)
