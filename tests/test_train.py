"""Training: exact repetition, devices that do not matter, and learning."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from nerf_jax import methods
from nerf_jax.compositing import solid_background
from nerf_jax.config import Cosine, Exponential, Milestones, MipConfig, OptimizerConfig
from nerf_jax.devices import ray_mesh
from nerf_jax.methods import make_optimizer
from nerf_jax.methods.optimizer import learning_rate
from nerf_jax.train import (
    TrainState,
    _random_index,
    init_state,
    make_train_steps,
    make_validation,
    sample_ray,
)
from nerf_jax.types import Metrics
from tests import small

sample_rays = jax.jit(jax.vmap(sample_ray, (None, 0)))


METHOD = methods.build(small.config())
OPTIMIZER = make_optimizer(small.config().optimizer)


def begin(mesh, method=METHOD) -> TrainState:
    return init_state(method, OPTIMIZER, small.dataset(), mesh)


@functools.cache
def steps_of(num_devices: int, num_steps: int, num_passes: int = 1):
    """``(state, dataset) -> (state, metrics)``"""
    mesh = ray_mesh(jax.devices()[:num_devices])
    return make_train_steps(METHOD, OPTIMIZER, mesh, 32, num_steps, num_passes)


@functools.cache
def trained(num_devices: int, num_passes: int = 1) -> tuple[TrainState, Metrics]:
    """The state after six steps, and their metrics."""
    state = begin(ray_mesh(jax.devices()[:num_devices]))
    return steps_of(num_devices, 6, num_passes)(state, small.dataset())


def same_bits(a, b) -> bool:
    def plain(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        return np.asarray(leaf)

    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(plain(x), plain(y)) for x, y in pairs)


@pytest.mark.slow
def test_calls_of_any_length_give_the_same_bits():
    parts = begin(ray_mesh(jax.devices()[:1]))
    for length in (1, 2, 1, 2):
        parts, _ = steps_of(1, length)(parts, small.dataset())
    assert same_bits(trained(1)[0], parts)


def assert_same(end: tuple[TrainState, Metrics], other: tuple[TrainState, Metrics]) -> None:
    np.testing.assert_allclose(end[1]["loss"], other[1]["loss"], rtol=1e-5)
    close = functools.partial(np.testing.assert_allclose, atol=2e-5)
    jax.tree.map(close, end[0].params, other[0].params)


@pytest.mark.slow
def test_two_devices_agree_with_one():
    assert len(jax.devices()) == 2, "conftest asks for two virtual devices"
    assert_same(trained(2), trained(1))


@pytest.mark.slow
@pytest.mark.parametrize(("num_devices", "summed"), [(1, False), (2, True)])
def test_gradients_are_summed_over_several_devices_only(num_devices, summed):
    state = begin(ray_mesh(jax.devices()[:num_devices]))
    program = steps_of(num_devices, 1).lower(state, small.dataset()).compile().as_text()
    sums = [line for line in program.splitlines() if " all-reduce(" in line]
    assert any("f32[" in line.replace("f32[]", "") for line in sums) == summed


@pytest.mark.slow
def test_passes_change_nothing_but_the_memory():
    assert_same(trained(2, num_passes=4), trained(2))
    with pytest.raises(ValueError, match="3 passes cannot share 16 rays"):
        steps_of(2, 1, num_passes=3)


def test_rays_that_do_not_divide_by_the_devices_are_refused():
    with pytest.raises(ValueError, match=r"train.rays_per_step is 33, which 2 devices .* 32"):
        make_train_steps(METHOD, OPTIMIZER, ray_mesh(), 33, 1)


@pytest.mark.slow
def test_one_step_is_adam_on_the_gradient_of_the_loss():
    """The compiled step, retraced by hand from the contracts alone."""
    data, state = small.dataset(), begin(ray_mesh(jax.devices()[:1]))
    _, loss_key = jax.random.split(jax.random.fold_in(state.key, 0))
    ray_keys = [jax.random.split(jax.random.fold_in(loss_key, number)) for number in range(32)]
    batch = sample_rays(data, jnp.stack([keys[0] for keys in ray_keys]))
    sample_keys = jnp.stack([keys[1] for keys in ray_keys])
    slope = jax.jit(jax.grad(lambda p: METHOD.loss(p, (), sample_keys, batch)[0]))
    gradient = slope(state.params)
    updates, _ = optax.adam(5e-3).update(gradient, optax.adam(5e-3).init(state.params))
    expected = optax.apply_updates(state.params, updates)
    after, _ = steps_of(1, 1)(state, data)
    # Adam's first step is the gradient's sign: where that is all but zero, rounding decides it.
    for got, wanted, slope in zip(
        *map(jax.tree.leaves, (after.params, expected, gradient)), strict=True
    ):
        clear = np.abs(slope) > 1e-6
        np.testing.assert_allclose(np.asarray(got)[clear], np.asarray(wanted)[clear], atol=1e-5)


@pytest.mark.slow
def test_sample_ray_reads_every_pixel_with_its_own_ray():
    data = small.dataset(num_images=2)
    keys = jax.random.split(jax.random.key(0), 8192)
    batch = sample_rays(data, keys)
    # Number the pixels by their colour channels to see which was drawn.
    numbers = np.arange(2 * 16 * 16)
    coded = np.stack([numbers // 256, numbers // 16 % 16, numbers % 16], axis=-1)
    data = data._replace(pixels=coded.reshape(2, 16, 16, 3).astype(np.uint8))
    code = np.round(np.asarray(sample_rays(data, keys).pixel) * 255).astype(int)
    counts = np.bincount(code[:, 0] * 256 + code[:, 1] * 16 + code[:, 2], minlength=512)
    assert counts.min() > 0
    assert counts.max() < 45  # 16 expected; a fair draw passes 45 once in a billion
    for ray in range(8):
        image, row, column = code[ray]
        camera = data.cameras.world_from_camera[image]
        local = np.array([column + 0.5 - 8, -(row + 0.5 - 8), -1.4 * 16])
        expected = camera[:, :3] @ local
        expected /= np.linalg.norm(expected)
        np.testing.assert_allclose(batch.rays.direction[ray], expected, atol=1e-6)


@pytest.mark.parametrize(
    "sizes", [(1, 1, 3 * 2**24), (3 * 2**23 + 1, 1, 2), (1, 3 * 2**25, 3), (2**31 - 1, 7, 16)]
)
def test_every_ray_of_a_table_of_any_shape_is_equally_likely(sizes):
    """A chi-square test of the last digits and of the first ones, of each axis and of all."""
    draws = 2**16
    draw = jax.jit(jax.vmap(lambda key: _random_index(key, sizes)))
    index = np.asarray(draw(jax.random.split(jax.random.key(1), draws)), np.int64)
    assert (index >= 0).all()
    assert (index < sizes).all()
    flat = (index[:, 0] * sizes[1] + index[:, 1]) * sizes[2] + index[:, 2]
    for number, size in [*zip(index.T, sizes, strict=True), (flat, math.prod(sizes))]:
        bins = max(2, min(size, 48))  # of so many values a remainder does not count
        for digit in (number % bins, number * bins // size):
            counts = np.bincount(digit, minlength=bins)
            assert size == 1 or scipy.stats.chisquare(counts).pvalue > 1e-4


def test_a_random_index_is_an_exact_product_of_64_bits():
    sizes = (5, 2**31 - 1, 3 * 2**24)
    keys = jax.random.split(jax.random.key(2), 500)
    found = jax.vmap(lambda key: _random_index(key, sizes))(keys)
    words = np.asarray(jax.vmap(lambda key: jax.random.bits(key, (4,)))(keys)).tolist()
    for index, (*high, low) in zip(found.tolist(), words, strict=True):
        fractions = [(word << 32) + low for word in high]
        assert index == [f * n >> 64 for f, n in zip(fractions, sizes, strict=True)]


@pytest.mark.slow
def test_sample_ray_keeps_depths_between_near_and_far_only():
    """The number of its pixel is each depth's last digits."""
    number = np.arange(2 * 16 * 16).reshape(2, 16, 16)
    whole = np.random.default_rng(0).choice([0.0, 1.0, 3.0, 5.0, 7.0, np.inf], number.shape)
    depth = (whole + (whole > 0) * number / 1024).astype(np.float32)
    pixels = np.stack([number // 256, number // 16 % 16, number % 16], axis=-1).astype(np.uint8)
    data = small.dataset(num_images=2)._replace(pixels=pixels)
    keys = jax.random.split(jax.random.key(0), 512)
    batch = sample_rays(data._replace(depth=depth), keys)
    image, row, column = np.round(np.asarray(batch.pixel) * 255).astype(int).T
    known = depth[image, row, column]
    np.testing.assert_array_equal(batch.depth, np.where((known > 2) & (known < 6), known, 0))
    assert 100 < np.count_nonzero(batch.depth) < 250
    blind = sample_rays(data._replace(depth=None), keys)
    np.testing.assert_array_equal(blind.depth, np.zeros(512))
    jax.tree.map(np.testing.assert_array_equal, blind[:3], batch[:3])


def test_learning_rates():
    exponential = learning_rate(OptimizerConfig(1e-2, schedule=Exponential(final=0.01, steps=100)))
    np.testing.assert_allclose(
        [exponential(step) for step in (0, 50, 100, 900)], [1e-2, 1e-3, 1e-4, 1e-4], rtol=1e-5
    )
    halved = OptimizerConfig(8e-4, schedule=Milestones(epochs=(2, 4, 8), factor=0.5))
    rate = learning_rate(halved, steps_per_epoch=10)
    np.testing.assert_allclose(
        [rate(step) for step in (0, 19, 21, 41, 81)], [8e-4, 8e-4, 4e-4, 2e-4, 1e-4], rtol=1e-5
    )
    warm = learning_rate(OptimizerConfig(1e-2, warmup_steps=10, schedule=Exponential(final=1.0)))
    np.testing.assert_allclose([warm(0), warm(10)], [1e-4, 1e-2], rtol=1e-5)


def test_a_schedule_over_all_of_training_follows_its_progress():
    """As Optax's does, whose steps are known."""
    start, gradient = {"x": jnp.zeros(3)}, {"x": jnp.array([1.0, -2.0, 3.0])}
    ends = []
    for optimizer in (
        make_optimizer(OptimizerConfig(1e-2, schedule=Cosine(final=0.1))),
        make_optimizer(OptimizerConfig(1e-2, schedule=Exponential(final=0.1, steps=0))),
        optax.adam(optax.cosine_decay_schedule(1e-2, 10, alpha=0.1)),
    ):
        updater = optax.with_extra_args_support(optimizer)
        params, state = start, updater.init(start)
        for step in range(10):
            updates, state = updater.update(gradient, state, params, progress=step / 10)
            params = optax.apply_updates(params, updates)
        ends.append(params["x"])
    np.testing.assert_allclose(ends[:2], ends[2:] * 2, rtol=1e-5)


@pytest.mark.parametrize(("horizon", "last"), [(4, 0.5), (2, 1.0), (np.inf, 0.0)])
def test_a_loss_is_given_the_progress_of_training(horizon, last):
    """On two devices; at the third of three steps. Without a known end, there is none."""

    def loss(params, aux, keys, batch):
        return jnp.mean(params["x"] * batch.pixel), {"progress": jnp.mean(batch.progress)}

    model = METHOD._replace(
        init=lambda *_: ({"x": jnp.float32(1)}, ()),
        loss=loss,
        refresh=lambda params, aux, key, step: aux,
    )
    mesh = ray_mesh()
    steps = make_train_steps(model, OPTIMIZER, mesh, 32, 3, 2)
    _, metrics = steps(begin(mesh, model), small.dataset(), horizon)
    expected = np.minimum(np.arange(3) / horizon, 1.0)
    np.testing.assert_allclose(metrics["progress"], expected, rtol=1e-6)
    assert metrics["progress"][2] == last


MIP = MipConfig(num_samples=8, depth=2, width=16, skip=0, position_bands=6, direction_bands=1)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [small.config().model, MIP], ids=lambda sizes: sizes.method)
def test_training_improves_the_validation_score(sizes):
    method = methods.build(dataclasses.replace(small.config(), model=sizes))
    data, mesh = small.dataset(), ray_mesh()
    validate = make_validation(method, mesh, 512, solid_background("white"))
    state = begin(mesh, method)
    before = float(validate(state.params, state.aux, data))
    steps = make_train_steps(method, OPTIMIZER, mesh, 128, 150)
    state, metrics = steps(state, data)
    after = float(validate(state.params, state.aux, data))
    assert metrics["loss"].shape == (150,)
    assert after < 0.25 * before
    assert metrics["loss"][-20:].mean() < 0.25 * metrics["loss"][:5].mean()
