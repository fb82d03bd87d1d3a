"""What the methods with a hash grid have in common: what they learn from."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax import losses, model
from nerf_jax.config import Config, DataConfig
from nerf_jax.config.methods import GridConfig
from nerf_jax.devices import ray_mesh
from nerf_jax.model.grids import misfit
from nerf_jax.train import init_state, make_optimizer, make_train_steps
from nerf_jax.types import Rendering
from tests import small
from tests.test_hash_model import HASH, RATE, some
from tests.test_proposal_model import PROPOSAL


def test_the_misfit_is_that_of_colours_and_of_depths_that_are_known():
    rng = np.random.default_rng(0)
    rgb, target = jnp.asarray(rng.uniform(size=(2, 9, 3)), jnp.float32)
    depth, known = jnp.asarray(rng.uniform(1, 2, (2, 9)), jnp.float32)
    known = known.at[::2].set(0.0)
    learned = jnp.ones(9).at[:3].set(0.0)
    seen = Rendering(rgb, jnp.ones(9), depth, depth)
    batch = some(9)[1]._replace(depth=known)
    alone, told = misfit(HASH, seen, target, batch, learned)
    assert set(told) == {"mse"}
    np.testing.assert_allclose(told["mse"], np.mean((rgb - target)[3:] ** 2), rtol=1e-5)
    expected = np.mean([losses.huber(rgb[i], target[i], HASH.huber) for i in range(3, 9)])
    np.testing.assert_allclose(alone, expected, rtol=1e-5)
    config = dataclasses.replace(HASH, depth_weight=0.5)
    both, told = misfit(config, seen, target, batch, learned)
    expected = np.mean([losses.depth_error(depth[i], known[i]) for i in (3, 5, 7)])
    np.testing.assert_allclose(told["depth"], expected, rtol=1e-5)
    np.testing.assert_allclose(both, alone + 0.5 * expected, rtol=1e-5)
    nowhere = batch._replace(depth=jnp.zeros(9))
    assert misfit(config, seen, target, nowhere, learned)[0] == alone


@pytest.mark.parametrize("sizes", [HASH, PROPOSAL], ids=lambda sizes: sizes.method)
def test_depths_that_are_known_are_learned(sizes: GridConfig):
    """From one photo, which has nothing against a larger ball further away, nor for it."""
    data = small.dataset(num_images=1)
    data = data._replace(depth=np.float32(1.3) * data.depth)
    mesh, optimizer = ray_mesh(jax.devices()[:1]), make_optimizer(RATE)
    sizes = dataclasses.replace(sizes, depth_weight=0.3)
    method = model.build(Config(model=sizes, data=DataConfig(background="random")))
    steps = make_train_steps(method, optimizer, mesh, 128, 100)
    _, metrics = steps(init_state(method, optimizer, 0, mesh), data)
    assert metrics["mse"][-10:].mean() < 0.2 * metrics["mse"][:5].mean()
    # A hundredth off, in the mean; the colours alone leave a quarter, which would be 0.2.
    assert metrics["depth"][-10:].mean() < 0.005
