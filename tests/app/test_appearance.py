"""Codes of photos that were not learned from, in a scene that is known but for its exposure."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax import methods
from nerf_jax.app import appearance
from nerf_jax.cameras import cast_rays
from nerf_jax.config import Config, OptimizerConfig
from nerf_jax.fields import appearance_codes
from nerf_jax.losses import masked_mean, squared_error
from nerf_jax.pose_refinement import refine_poses
from nerf_jax.types import Dataset, Model, Point, Rendering, View
from tests import small
from tests.methods.test_hash_grid import HASH
from tests.methods.test_proposal import PROPOSAL

SIZE = 24
GAINS = (1.0, 0.5, 0.3, 1.4)


def paint(direction):
    """A colour for every direction, in [0.2, 0.6]."""
    return 0.4 + 0.2 * direction


@functools.cache
def exposures() -> Model:
    """A method that knows the scene, and has a brightness for each photo: 0.8 and 1.2."""

    def see(params, rays):
        own = params["params"]["codes"][jnp.maximum(rays.appearance, 0)]
        mean = jnp.mean(params["params"]["codes"], axis=0, keepdims=True)
        gain = jnp.where(rays.appearance[:, None] < 0, mean, own)
        return gain * params["params"]["head"][None] * paint(rays.direction)

    def loss(params, aux, keys, batch):
        error = squared_error(see(params, batch.rays), batch.pixel)
        mse = masked_mean(error, batch.mask)
        return mse, {"loss": mse, "mse": mse}

    def render(params, aux, rays):
        return Rendering(see(params, rays), *[jnp.ones_like(rays.far)] * 3)

    codes = jnp.array([[0.8], [1.2]])
    return Model(
        init=lambda key, cameras, size_hw: (
            {"params": {"codes": codes, "head": jnp.ones(3)}},
            (),
        ),
        loss=loss,
        refresh=lambda params, aux, key, step: aux,
        render=render,
        density=None,
    )


@functools.cache
def photos() -> Dataset:
    """What the scene looks like at each of the gains."""
    cameras = small.dataset(len(GAINS)).cameras
    column, row = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    pixels = np.stack([column, row], axis=-1).reshape(-1, 2)
    cast = jax.vmap(jax.vmap(cast_rays, (None, None, 0)), (None, 0, None))
    seen = paint(np.asarray(cast(cameras, np.arange(len(GAINS)), pixels).direction))
    seen = seen * np.array(GAINS, np.float32)[:, None, None]
    return Dataset(cameras, seen.reshape(len(GAINS), SIZE, SIZE, 3))


def fit(method: Model, params, photo: Dataset, aux=(), **options):
    options = {"num_rays": 128} | options
    return appearance.fit_code(method, params, aux, photo, jax.random.key(0), **options)


def test_the_exposure_of_each_photo_is_found():
    method = exposures()
    params, _ = method.init(jax.random.key(0), *small.cameras())
    for index, gain in enumerate(GAINS):
        fitted = fit(method, params, appearance.left_half(photos(), index))
        np.testing.assert_allclose(appearance_codes(fitted), [[gain], [gain]], atol=2e-3)
        np.testing.assert_array_equal(fitted["params"]["head"], params["params"]["head"])


@pytest.mark.slow
def test_the_right_half_is_seen_aright_then_and_was_not_before():
    method, data = exposures(), photos()
    params, _ = method.init(jax.random.key(0), *small.cameras())
    rows, columns = np.mgrid[:SIZE, SIZE // 2 : SIZE]
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=1)
    rays = jax.vmap(cast_rays, (None, None, 0))(data.cameras, 1, pixels)
    rays = rays._replace(appearance=jnp.full_like(rays.appearance, -1))
    truth = data.pixels[1, rows.ravel(), columns.ravel()]
    fitted = fit(method, params, appearance.left_half(data, 1))
    assert np.abs(method.render(params, (), rays).rgb - truth).min() > 0.05
    np.testing.assert_allclose(method.render(fitted, (), rays).rgb, truth, atol=2e-3)


def test_neither_the_right_half_nor_another_photo_nor_what_is_masked_is_looked_at():
    method, data = exposures(), photos()
    params, _ = method.init(jax.random.key(0), *small.cameras())
    mask = np.ones(data.pixels.shape[:3], bool)
    mask[1, :5] = False
    expected = fit(method, params, appearance.left_half(data._replace(mask=mask), 1))
    spoilt = np.zeros_like(data.pixels)
    kept = np.s_[1, 5:, : SIZE // 2]
    spoilt[kept] = data.pixels[kept]
    photo = appearance.left_half(data._replace(pixels=spoilt, mask=mask), 1)
    found = fit(method, params, photo)
    np.testing.assert_array_equal(appearance_codes(found), appearance_codes(expected))


def test_all_photos_share_one_compilation():
    traced = []

    def loss(*arguments):
        traced.append(None)
        return exposures().loss(*arguments)

    method, data = exposures()._replace(loss=loss), photos()
    params, _ = method.init(jax.random.key(0), *small.cameras())
    fit(method, params, appearance.left_half(data, 0))
    once = len(traced)
    fit(method, params, appearance.left_half(data, 3))
    assert len(traced) == once > 0


@pytest.mark.slow
def test_where_a_mask_hides_all_the_mean_code_stays():
    method, data = exposures(), photos()
    params, _ = method.init(jax.random.key(0), *small.cameras())
    nothing = data._replace(mask=np.zeros(data.pixels.shape[:3], bool))
    fitted = fit(method, params, appearance.left_half(nothing, 1))
    np.testing.assert_allclose(appearance_codes(fitted), [[1.0], [1.0]])


@pytest.mark.parametrize(
    ("columns", "middle"),
    [
        (range(10), 5),
        (range(9), 4),
        (range(6), 3),  # the photo of a smaller size, and its margin
        (range(2, 10), 6),
        ([3], 3),
        ([], 5),
    ],
)
def test_the_halves_are_of_what_counts(columns, middle: int):
    counts = np.zeros((4, 10), bool)
    counts[1:, list(columns)] = True
    assert appearance.middle_column(counts) == middle


def test_a_photo_without_a_mask_counts_as_a_whole():
    left = appearance.left_half(photos(), 2).mask
    half = SIZE // 2
    assert left.shape == (1, SIZE, SIZE)
    assert left[..., :half].all()
    assert not left[..., half:].any()


@pytest.mark.slow
def test_cameras_that_were_learned_are_not_those_of_a_held_out_photo():
    method = refine_poses(exposures())
    params, _ = method.init(jax.random.key(0), *small.cameras(2))
    moved = {**params, "poses": 0.5 * jax.random.normal(jax.random.key(1), (2, 6))}
    fitted = fit(method, moved, appearance.left_half(photos(), 1))
    np.testing.assert_allclose(appearance_codes(fitted), [[0.5], [0.5]], atol=2e-3)
    np.testing.assert_array_equal(fitted["poses"], moved["poses"])


@pytest.mark.slow
def test_the_flagship_grows_darker_for_a_dark_photo():
    """One that has learned nothing yet, and whose cameras are learned too."""
    config = dataclasses.replace(HASH, code_size=3)
    optimizer = OptimizerConfig(pose_learning_rate=1e-4)
    method = methods.build(Config(model=config, optimizer=optimizer))
    params, aux = method.init(jax.random.key(0), *small.cameras(2))
    dark = photos()._replace(pixels=np.full_like(photos().pixels, 0.1))
    fitted = fit(method, params, appearance.left_half(dark, 0), aux)
    field = methods.grid_field(config, aux.space)

    def color(params):
        """In the middle, as the photo's camera sees it."""
        _, features = field.density(params["scene"], Point(jnp.zeros(3), jnp.zeros(3)))
        view = View(jnp.array([-0.96, 0.0, -0.29]), jnp.int32(-1))
        return field.color(params["scene"], features, view)

    assert color(fitted).mean() < color(params).mean() - 0.03
    codes = appearance_codes(fitted)
    assert codes.shape == (2, 3)
    np.testing.assert_array_equal(codes[0], codes[1])
    changed = jax.tree.map(lambda old, new: bool((old != new).any()), params, fitted)
    changed["scene"]["params"].pop("codes")
    assert not any(jax.tree.leaves(changed))


@pytest.mark.slow
@pytest.mark.parametrize("code_size", [0, 2])
@pytest.mark.parametrize("config", [HASH, PROPOSAL])
@pytest.mark.parametrize("pose_learning_rate", [0.0, 1e-4])
def test_the_codes_are_found_where_the_methods_keep_them(config, code_size, pose_learning_rate):
    config = dataclasses.replace(config, code_size=code_size)
    optimizer = OptimizerConfig(pose_learning_rate=pose_learning_rate)
    method = methods.build(Config(model=config, optimizer=optimizer))
    init = functools.partial(method.init, cameras=small.cameras(5)[0], size_hw=(16, 16))
    shapes, _ = jax.eval_shape(init, jax.random.key(0))
    found = appearance_codes(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes))
    assert found.shape == (5, 2) if code_size else found is None


def test_a_method_without_codes_is_named():
    params = {"params": {"head": jnp.ones(3)}}
    with pytest.raises(ValueError, match=r"no appearance codes to fit: model.code_size is 0"):
        fit(exposures(), params, appearance.left_half(photos(), 0))
