"""Proposal sampling as a method."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax import methods
from nerf_jax.compositing import solid_background
from nerf_jax.config import Config, DataConfig, OptimizerConfig, ProposalConfig
from nerf_jax.devices import ray_mesh
from nerf_jax.methods import make_optimizer
from nerf_jax.metrics import psnr
from nerf_jax.train import init_state, make_train_steps, make_validation
from nerf_jax.types import Point
from tests import small
from tests.small import some

PROPOSAL = ProposalConfig(
    space="box",
    box_radius=1.2,
    num_levels=4,
    max_entries=2**11,
    min_resolution=4,
    max_resolution=32,
    width=16,
    num_proposals=(16, 12),
    num_samples=8,
    proposal_resolutions=(8, 16),
    proposal_entries=2**9,
    proposal_width=8,
    distortion=0.002,
    anneal_steps=50,
)
RATE = OptimizerConfig(learning_rate=1e-2)


@functools.cache
def build():
    return methods.build(Config(model=PROPOSAL, data=DataConfig(background="random")))


@functools.cache
def clouds():
    """Of a scene that differs from place to place, of which proposals know nothing yet."""
    params, aux = build().init(jax.random.key(3), *small.cameras())
    field = params["field"]["params"]
    field = {"params": {**field, "tables": [2e4 * table for table in field["tables"]]}}
    return {**params, "field": field}, aux


@functools.cache
def loss():
    """``(params, aux, keys, batch) -> ((loss, metrics), gradient)``"""
    return jax.jit(jax.value_and_grad(build().loss, has_aux=True))


@pytest.mark.slow
def test_gradients_reach_the_field_and_every_proposal():
    params, aux = clouds()
    (value, metrics), slopes = loss()(params, aux, *some(64))
    assert all(np.isfinite(part) for part in (value, *metrics.values()))
    assert len(slopes["proposals"]) == 2
    for part in (slopes["field"], *slopes["proposals"]):
        tables = part["params"]["tables"]
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(part))
        assert all(np.abs(table).max() > 0 for table in tables)


@pytest.mark.slow
def test_proposals_learn_from_the_field_alone():
    """The photos' colours do not reach them: other photos, the same gradient."""
    params, aux = clouds()
    keys, batch = some(64)
    inverted = batch._replace(pixel=1 - batch.pixel)
    one, two = (loss()(params, aux, keys, given)[1] for given in (batch, inverted))
    jax.tree.map(np.testing.assert_array_equal, one["proposals"], two["proposals"])
    tables = [part["field"]["params"]["tables"][0] for part in (one, two)]
    assert np.abs(tables[0] - tables[1]).max() > 0


@pytest.mark.slow
def test_a_rendering_is_deterministic_and_over_its_background():
    params, aux = build().init(jax.random.key(1), *small.cameras())
    _, batch = some(32)
    render = jax.jit(build().render)
    jax.tree.map(
        np.testing.assert_array_equal,
        render(params, aux, batch.rays),
        render(params, aux, batch.rays),
    )
    aside = batch.rays._replace(origin=batch.rays.origin + 50.0)
    seen = render(params, aux, aside)
    np.testing.assert_array_equal(seen.rgb, np.ones((32, 3)))
    np.testing.assert_array_equal(seen.opacity, np.zeros(32))


@pytest.mark.slow
def test_the_density_is_that_of_the_field_and_zero_outside_the_space():
    params, aux = clouds()
    position = jnp.asarray(np.random.default_rng(0).uniform(-1.5, 1.5, (200, 3)), jnp.float32)
    points = Point(position, jnp.zeros_like(position))
    field = methods.grid_field(PROPOSAL, aux.space)
    sigma, _ = jax.jit(jax.vmap(field.density, (None, 0)))(params["field"], points)
    inside = np.abs(position).max(axis=1) <= PROPOSAL.box_radius
    found = jax.jit(build().density)(params, aux, points)
    np.testing.assert_allclose(found, np.where(inside, sigma, 0.0), rtol=1e-5)
    assert 0.1 < inside.mean() < 0.9


@pytest.mark.slow
def test_the_trust_in_proposals_grows_linearly():
    params, aux = build().init(jax.random.key(0), *small.cameras())
    key, steps = jax.random.key(0), jnp.array([0, 25, 999])
    refresh = jax.jit(build().refresh)
    trust = [float(refresh(params, aux, key, step).trust) for step in steps]
    np.testing.assert_allclose(trust, [0.0, 0.5, 1.0])


@pytest.mark.slow
def test_it_learns():
    mesh, optimizer = ray_mesh(), make_optimizer(RATE)
    state = init_state(build(), optimizer, small.dataset(), mesh)
    validate = make_validation(build(), mesh, 512, solid_background("white"))
    before = float(psnr(validate(state.params, state.aux, small.dataset())))
    state, metrics = make_train_steps(build(), optimizer, mesh, 128, 150)(state, small.dataset())
    after = float(psnr(validate(state.params, state.aux, small.dataset())))
    assert after > before + 5
    assert after > 16
    assert metrics["interlevel"][-10:].mean() < 0.05


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_proposals": ()}, "model.num_proposals must be one or more numbers of at least 16"),
        ({"proposal_resolutions": (128,)}, "model.proposal_resolutions must be 2 numbers"),
        ({"num_samples": 0}, "model.num_samples must be positive"),
        ({"interlevel": -1.0}, "model.interlevel must be positive"),
        ({"anneal_steps": -1}, "model.anneal_steps must be at least 0"),
    ],
)
def test_invalid_values_are_reported_with_the_field(values: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        ProposalConfig(**values)
