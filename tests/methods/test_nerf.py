"""NeRF against its slow reference, and its two networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax.types import Params
from tests import oracles
from tests.closed_forms import FAR, NEAR
from tests.methods.photometric_methods import (
    CONFIGS,
    batch,
    build,
    check_gradient,
    gradient,
    init,
    keys,
    loss,
    networks,
    random_params,
    rays,
    render,
    uniform_params,
)


def test_nerf_equals_its_slow_reference():
    params = random_params("nerf")
    seen = render("nerf")(params, (), rays())
    assert (seen.opacity > 0.1).all()
    assert np.ptp(seen.median_depth) > 0.1
    for i, (origin, direction) in enumerate(zip(*rays()[:2], strict=True)):
        coarse, fine = oracles.render_nerf(params, CONFIGS["nerf"], origin, direction, NEAR, FAR)
        rgb, *rest = fine
        expected = rgb + 1 - rest[0], *rest
        for mine, slow in zip(seen, expected, strict=True):
            np.testing.assert_allclose(mine[i], slow, atol=1e-4)
        assert np.abs(coarse[0] - rgb).max() > 1e-3  # two networks, and the fine one is shown


def test_the_loss_of_nerf_sums_both_networks_and_mse_is_of_the_fine_one():
    coarse, fine, photo = np.array([[0.2, 0.3, 0.4], [0.6, 0.6, 0.5], [0.1, 0.5, 0.9]])
    params = uniform_params("nerf", 1e4, coarse, fine)
    value, metrics = loss("nerf")(params, (), keys(), batch(photo))
    errors = np.mean((coarse - photo) ** 2), np.mean((fine - photo) ** 2)
    np.testing.assert_allclose(value, sum(errors), rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], value)
    np.testing.assert_allclose(metrics["mse"], errors[1], rtol=1e-4)


@pytest.mark.parametrize("network", ["coarse", "fine"])
def test_each_network_of_nerf_has_the_gradient_of_its_own_error(network: str):
    """Where the fine one looks is the coarse one's doing, but no gradient goes that way."""
    params, photos = random_params("nerf"), batch([0.1, 0.5, 0.9])

    def own_loss(own: Params):
        (total, metrics), slopes = gradient("nerf")({**params, network: own}, (), keys(), photos)
        metrics["own"] = metrics["mse"] if network == "fine" else total - metrics["mse"]
        return (total, metrics), slopes[network]

    check_gradient(own_loss, params[network], "own")


@pytest.mark.slow
def test_the_networks_of_nerf_are_initialised_differently():
    def difference(key):
        params, _ = init(build("nerf"))(key)
        first, second = (network["params"]["trunk_0"] for network in networks("nerf", params))
        return jnp.max(jnp.abs(first["kernel"] - second["kernel"]))

    assert jax.jit(difference)(jax.random.key(0)) > 0.1
