"""The hash grid as a method: its loss, its grid, its views, and that it learns."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array

from nerf_jax import camera_model, methods
from nerf_jax.app.fit import FitResult, fit
from nerf_jax.app.runs import Run
from nerf_jax.compositing import over, solid_background
from nerf_jax.config import Config, DataConfig, HashConfig, OptimizerConfig
from nerf_jax.config.serialization import to_dict
from nerf_jax.devices import ray_mesh
from nerf_jax.methods import make_optimizer
from nerf_jax.metrics import psnr
from nerf_jax.occupancy import Occupancy
from nerf_jax.render_sparse import Budget, render_sparse
from nerf_jax.train import (
    TrainState,
    init_state,
    make_train_steps,
    make_validation,
    sample_ray,
)
from nerf_jax.types import Metrics, Params, Point, Rendering
from tests import small
from tests.small import some
from tests.test_train import same_bits

HASH = HashConfig(
    box_radius=1.2,
    num_levels=2,
    max_entries=2**11,
    min_resolution=4,
    max_resolution=32,
    width=16,
    grid_resolution=16,
    grid_every=8,
    grid_cells=16**3,
    grid_alpha=0.1,
    num_candidates=32,
    max_samples=2048,
)
RATE = OptimizerConfig(learning_rate=1e-2)


@functools.cache
def build(**changes: object):
    """The method, a few of its numbers changed."""
    changed = dataclasses.replace(HASH, **changes)
    return methods.build(Config(model=changed, data=DataConfig(background="random")))


@functools.cache
def loss(**changes: object):
    """``(params, aux, keys, batch) -> ((loss, metrics), gradient)``"""
    return jax.jit(jax.value_and_grad(build(**changes).loss, has_aux=True))


@functools.cache
def initial(seed: int = 0, **changes: object) -> tuple[Params, Occupancy]:
    """Parameters and the occupancy grid before training."""
    return build(**changes).init(jax.random.key(seed), *small.cameras())


@functools.cache
def refresh():
    return jax.jit(build().refresh)


@functools.cache
def updated() -> Occupancy:
    """The grid after an update of all its cells."""
    return refresh()(clouds(), initial()[1], jax.random.key(0), jnp.int32(1))


@functools.cache
def clouds() -> Params:
    """Parameters of a varying scene: features of the size of training's."""
    params, _ = initial(seed=3)
    tables = [2e4 * table for table in params["params"]["tables"]]
    return {"params": {**params["params"], "tables": tables}}


# ----------------------------------------------------------------------------------- loss


@pytest.mark.slow
@pytest.mark.parametrize("max_entries", [2**11, 1000])
def test_gradients_are_finite_and_reach_all_tables_and_layers(max_entries: int):
    sizes = {"num_levels": 4, "max_entries": max_entries}
    params, aux = initial(**sizes)
    assert [len(table) for table in params["params"]["tables"]] == [
        *(64, 512, max_entries, max_entries)
    ]
    keys, batch = some(64)
    (value, metrics), slopes = loss(**sizes)(params, aux, keys, batch)
    assert all(np.isfinite(part) for part in (value, *metrics.values()))
    assert metrics["kept"] == 1
    for path, leaf in jax.tree.leaves_with_path(slopes):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path


@pytest.mark.slow
def test_dropped_rays_do_not_enter_the_loss():
    _, aux = initial()
    keys, batch = some(64)
    tight = {"max_samples": 128, "candidates_per_sample": 40}  # every step is taken
    (value, metrics), slopes = loss(**tight)(clouds(), aux, keys, batch)
    count = round(float(metrics["kept"]) * 64)
    assert 0 < count < 40
    prefix = jax.tree.map(lambda leaf: leaf[:count], (keys, batch))
    (alone, same), slopes_alone = loss(**tight)(clouds(), aux, *prefix)
    assert same["kept"] == 1
    np.testing.assert_allclose(value, alone, rtol=1e-5)
    np.testing.assert_allclose(metrics["mse"], same["mse"], rtol=1e-5)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6), slopes, slopes_alone
    )


@pytest.mark.slow
def test_without_the_huber_bound_the_loss_is_the_mean_squared_error():
    _, aux = initial()
    value, metrics = loss(huber=0.0)(clouds(), aux, *some(64))[0]
    assert value == metrics["mse"]
    value, metrics = loss()(clouds(), aux, *some(64))[0]
    # Over delta = 0.1, small errors weigh five times as much as their square, large ones less.
    assert value < 5 * metrics["mse"]


@pytest.mark.slow
def test_coloured_rays_that_miss_the_box_are_counted():
    params, aux = initial()
    keys, batch = some(64)
    assert loss()(params, aux, keys, batch)[0][1]["outside"] == 0
    away = batch.rays._replace(origin=batch.rays.origin + 20.0)
    opaque = batch._replace(rays=away, pixel=batch.pixel.at[:, 3].set(1.0))
    assert loss()(params, aux, keys, opaque)[0][1]["outside"] > 0.9
    nothing = opaque._replace(pixel=jnp.zeros_like(batch.pixel))
    assert loss()(params, aux, keys, nothing)[0][1]["outside"] == 0


def test_more_rays_than_samples_are_refused():
    """They could not each have one, and the densities that are read at once would find no room."""
    params, aux = initial()
    with pytest.raises(ValueError, match=r"64 rays .* 32 samples.*max_samples.*rays_per_step"):
        loss(max_samples=32)(params, aux, *some(64))


# ------------------------------------------------------------------------------------ grid


@pytest.mark.slow
def test_the_grid_is_updated_on_schedule_only():
    params, aux = clouds(), initial()[1]
    updates = []
    for step in [*range(8), *range(254, 274)]:
        after = refresh()(params, aux, jax.random.key(step), jnp.int32(step))
        same_shapes = jax.tree.map(
            lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), aux, after
        )
        assert all(jax.tree.leaves(same_shapes))
        if not same_bits(after, aux):
            updates.append(step)
    assert updates == [1, 3, 5, 7, 255, 263, 271]


@pytest.mark.slow
def test_faint_cells_stay_occupied_until_training_has_settled():
    refresh = jax.jit(build(grid_alpha=0.02).refresh)
    threshold = -math.log(0.98) / updated().space.step(HASH.num_candidates)
    shares = []
    between = 0.1 ** ((600 - 431) / (600 - 256))
    for step, part in [(1, 0.1), (255, 0.1), (431, between), (607, 1.0)]:
        after = refresh(clouds(), updated(), jax.random.key(0), jnp.int32(step))
        assert after.density.mean() > threshold
        np.testing.assert_array_equal(after.occupied, after.density > part * threshold)
        shares.append(after.occupied.mean())
    assert 0.1 < shares[3] < shares[2] - 0.1
    assert shares[2] < min(shares[:2]) - 0.05


def test_an_update_finds_the_dense_cells():
    after = updated()
    assert (after.density >= 0).all()  # all cells at once while it is new
    assert 0.05 < after.occupied.mean() < 0.95
    dense = after.density > np.quantile(after.density, 0.95)
    assert after.occupied[dense].all()


# ----------------------------------------------------------------------------------- views


@functools.cache
def rendered_as_in_training() -> Rendering:
    budget = Budget(HASH.num_candidates, 4096, HASH.min_transmittance, HASH.min_alpha)
    training = jax.jit(
        lambda params, grid, keys, rays: render_sparse(
            methods.grid_field(HASH, grid.space), params, grid, budget, keys, rays
        )
    )(clouds(), updated(), None, some(100)[1].rays)
    assert training.kept.all()
    rgb, opacity = training.rendering.rgb, training.rendering.opacity
    return training.rendering._replace(rgb=over(rgb, opacity, jnp.ones((100, 3))))


@pytest.mark.slow
@pytest.mark.parametrize("max_samples", [2048, 128])
def test_a_rendering_equals_training_without_jitter(max_samples: int):
    """With any number of rounds."""
    render = jax.jit(build(max_samples=max_samples).render)
    found = render(clouds(), updated(), some(100)[1].rays)
    assert np.ptp(found.opacity) > 0.3
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
        found,
        rendered_as_in_training(),
    )


@pytest.mark.slow
def test_the_density_is_the_rendered_one_and_zero_in_empty_cells():
    params, aux = clouds(), updated()
    position = np.random.default_rng(0).uniform(-1.5, 1.5, (500, 3)).astype(np.float32)
    points = Point(jnp.asarray(position), jnp.zeros((500, 3)))
    field = methods.grid_field(HASH, aux.space)
    sigma = np.asarray(jax.vmap(field.density, (None, 0))(params, points)[0])
    cell = np.floor((position + HASH.box_radius) / (2 * HASH.box_radius / 16)).astype(int)
    inside = ((cell >= 0) & (cell < 16)).all(axis=1)
    occupied = inside & np.asarray(aux.occupied)[tuple(cell.clip(0, 15).T)]
    found = jax.jit(build().density)(params, aux, points)
    np.testing.assert_allclose(found, np.where(occupied, sigma, 0.0), rtol=1e-5)
    assert 0.05 < occupied.mean() < 0.95 * inside.mean()


# -------------------------------------------------------------------------------- training


@functools.cache
def trained(num_devices: int) -> tuple[TrainState, Metrics]:
    method, mesh = build(), ray_mesh(jax.devices()[:num_devices])
    optimizer = make_optimizer(RATE)
    steps = make_train_steps(method, optimizer, mesh, 128, 100)  # what the grid takes to forget
    return steps(init_state(method, optimizer, small.dataset(), mesh), small.dataset())


@pytest.mark.slow
@pytest.mark.parametrize("num_devices", [1, 2])
def test_it_trains_on_any_number_of_devices(num_devices: int):
    state, metrics = trained(num_devices)
    assert (metrics["kept"] == 1).all()
    assert metrics["loss"][-10:].mean() < 0.5 * metrics["loss"][:5].mean()
    for leaf in jax.tree.leaves((state.params, state.aux)):
        copies = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(copies) == num_devices
        assert all(np.array_equal(copies[0], copy) for copy in copies)


@pytest.mark.slow
def test_two_devices_agree_with_one():
    (one, one_metrics), (two, two_metrics) = trained(1), trained(2)
    np.testing.assert_allclose(one_metrics["loss"][:5], two_metrics["loss"][:5], rtol=1e-4)
    # Adam makes much of rounding where a gradient is all but zero: later steps agree less well.
    np.testing.assert_allclose(
        one_metrics["loss"][-10:].mean(), two_metrics["loss"][-10:].mean(), rtol=0.1
    )
    occupied = [np.asarray(state.aux.occupied) for state in (one, two)]
    assert (occupied[0] != occupied[1]).mean() < 0.02


@pytest.mark.slow
def test_training_improves_the_score_and_finds_empty_cells():
    state, _ = trained(2)
    mesh, white = ray_mesh(), solid_background("white")
    validate = make_validation(build(), mesh, 512, white)
    blank = init_state(build(), make_optimizer(RATE), small.dataset(), mesh)
    before, after = (
        float(psnr(validate(s.params, s.aux, small.dataset()))) for s in (blank, state)
    )
    assert after > before + 5
    assert after > 16
    assert state.aux.occupied.mean() < 0.9


def run_fit(folder, *, resume: bool = False, **train: object) -> FitResult:
    config = dataclasses.replace(
        small.config(**train), model=HASH, optimizer=RATE, data=DataConfig(background="random")
    )
    run = Run(folder)
    run.write_json("config.json", to_dict(config))
    data = small.dataset()
    return fit(run, config, build(), data, data, ray_mesh(), resume=resume)


@pytest.mark.slow
@pytest.mark.usefixtures("traced_once")
def test_resuming_continues_bit_for_bit_and_remembers_the_grid(tmp_path):
    settings = {"steps_per_call": 3, "validate_every": 0}
    whole = run_fit(tmp_path / "whole", num_steps=6, **settings)
    half = run_fit(tmp_path / "parts", num_steps=3, **settings)
    resumed = run_fit(tmp_path / "parts", num_steps=6, resume=True, **settings)
    assert int(resumed.state.step) == 6
    assert same_bits(whole.state, resumed.state)
    assert not same_bits(half.state.aux, whole.state.aux)
    last = [Run(tmp_path / name).metrics()[-1] for name in ("whole", "parts")]
    assert last[0]["loss"] == last[1]["loss"]


# -------------------------------------------------------------------------------- captures


@pytest.mark.slow
def test_a_ball_is_learned_as_a_capture_is():
    """Its space is contracted to a cube that is smaller than the ball, and its cameras stand
    outside of it; in cones, with appearance codes and learned poses.
    """
    model = dataclasses.replace(
        HASH,
        space="contracted",
        box_radius=0.8,
        distortion=0.01,
        num_candidates=64,
        code_size=2,
        footprint="cone",
    )
    rate = dataclasses.replace(RATE, pose_learning_rate=1e-4)
    method = methods.build(Config(model=model, optimizer=rate))
    data, mesh, optimizer = small.dataset(), ray_mesh(), make_optimizer(rate)
    state = init_state(method, optimizer, data, mesh)
    state, metrics = make_train_steps(method, optimizer, mesh, 128, 100)(state, data)
    assert np.isfinite(metrics["loss"]).all()
    validate = make_validation(method, mesh, 512, solid_background("white"))
    assert psnr(validate(state.params, state.aux, data)) > 16
    assert 0.3 < state.aux.visible.mean() < 0.99
    assert not (state.aux.occupied & ~state.aux.visible).any()
    codes = state.params["scene"]["params"]["codes"]
    assert codes.shape == (4, 2)
    assert np.ptp(codes, axis=0).min() > 1e-3
    assert 0 < np.abs(state.params["poses"]).max() < 100 * 1e-4 * 1.01


def test_steps_longer_than_cells_are_refused_before_training():
    config = dataclasses.replace(HASH, space="contracted", box_radius=0.8, grid_resolution=16)
    far = small.dataset().cameras._replace(far=np.full(4, 1e5, np.float32))
    method = methods.build(Config(model=config))
    with pytest.raises(ValueError, match=r"model.num_candidates is 32, .* raise it to"):
        method.init(jax.random.key(0), far, (16, 16))


# ---------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"box_radius": 0.0}, "model.box_radius must be positive, but is 0.0"),
        ({"box_radius": -1.0}, "model.box_radius must be positive"),
        ({"box_radius": float("nan")}, "model.box_radius must be positive"),
        ({"box_center": (0.0, float("inf"), 0.0)}, "model.box_center must be three finite"),
        ({"num_levels": 0}, "model.num_levels must be positive"),
        ({"num_features": 0}, "model.num_features must be positive"),
        ({"max_entries": 0}, "model.max_entries must be positive"),
        ({"width": 0}, "model.width must be positive"),
        ({"min_resolution": 1}, r"model.min_resolution must be in \[2, 2048\], but is 1"),
        ({"max_resolution": 8}, r"model.min_resolution must be in \[2, 8\], but is 16"),
        ({"grid_resolution": 126}, "model.grid_resolution must be a multiple of 4, but is 126"),
        ({"grid_resolution": 0}, "model.grid_resolution must be a multiple of 4"),
        ({"grid_every": 0}, "model.grid_every must be positive"),
        ({"grid_cells": 0}, "model.grid_cells must be positive"),
        ({"grid_alpha": 1.0}, r"model.grid_alpha must be in \[0, 1\)"),
        ({"num_candidates": 216}, "must be a multiple of 8 and at least 224, for a grid of 128"),
        ({"num_candidates": 1023}, "model.num_candidates must be a multiple of 8 .* is 1023"),
        ({"max_samples": 1000}, "model.max_samples must be at least model.num_candidates, 1024"),
        ({"min_transmittance": -0.1}, r"model.min_transmittance must be in \[0, 1\)"),
        ({"min_alpha": 1.0}, r"model.min_alpha must be in \[0, 1\)"),
        ({"huber": -0.1}, "model.huber must be finite and at least 0"),
        ({"depth_weight": -0.1}, "model.depth_weight must be finite and at least 0"),
    ],
)
def test_invalid_values_are_reported_with_the_field(values: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        HashConfig(**values)


def test_the_minimum_of_candidates_of_a_grid_is_accepted():
    assert HashConfig(num_candidates=224).num_candidates == 224
    assert HashConfig(grid_resolution=16, num_candidates=32, max_samples=32).max_samples == 32


@pytest.mark.slow
@pytest.mark.parametrize("environment", [False, True])
def test_the_exposures_of_photos_of_a_known_scene_are_learned(environment):
    """The scene is learned from photos of one exposure: beside a scene that is not known, what a
    colour owes to the direction it is seen from, and what to the photo, is not told apart by views
    as far apart as these.
    """
    factors = np.array([0.6, 0.8, 1.0, 0.7])
    photos, mesh, optimizer = small.dataset(), ray_mesh(), make_optimizer(RATE)
    pixels = photos.pixels
    if environment:  # photos without alpha, of a black surrounding
        pixels = pixels[..., :3] * (pixels[..., 3:] > 0)
    alike, exposed = pixels.copy(), pixels.astype(float)
    exposed[..., :3] *= factors[:, None, None, None]
    config = dataclasses.replace(HASH, camera_model=True, environment=environment)
    method = methods.build(Config(model=config, optimizer=RATE))
    state = init_state(method, optimizer, photos._replace(pixels=alike), mesh)
    steps = make_train_steps(method, optimizer, mesh, 128, 200)
    state, _ = steps(state, photos._replace(pixels=alike))
    data, adam = photos._replace(pixels=exposed.astype(np.uint8)), optax.adam(5e-2)

    def loss(camera: Params, key: Array) -> Array:
        keys = jax.random.split(key, 256)
        batch = jax.vmap(sample_ray, (None, 0))(data, keys)
        params = {**state.params, "camera_model": camera}
        return method.loss(params, state.aux, keys, batch)[0]

    @jax.jit
    def step(carry: tuple, key: Array) -> tuple:
        camera, moments = carry
        updates, moments = adam.update(jax.grad(loss)(camera, key), moments)
        return (optax.apply_updates(camera, updates), moments), None

    camera = state.params["camera_model"]
    keys = jax.random.split(jax.random.key(0), 150)
    (camera, _), _ = jax.lax.scan(step, (camera, adam.init(camera)), keys)
    found = camera_model.log_gains(camera).mean(axis=1)
    expected = np.log(factors / np.exp(np.mean(np.log(factors))))
    np.testing.assert_allclose(found, expected, atol=0.08)
    told = methods.build(Config(model=config, optimizer=RATE), 2.2 * np.log(factors))
    params, _ = told.init(jax.random.key(0), photos.cameras, photos.size_hw)
    first = camera_model.log_gains(params["camera_model"]).mean(axis=1)
    np.testing.assert_allclose(first, expected, atol=1e-5, err_msg="as the photos say")
