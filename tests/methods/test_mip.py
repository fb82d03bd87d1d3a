"""mip-NeRF against its slow reference, and its cones and colours."""

import jax.numpy as jnp
import numpy as np

from tests import oracles
from tests.closed_forms import FAR, NEAR
from tests.methods.photometric_methods import (
    CONFIGS,
    RADIUS,
    batch,
    keys,
    loss,
    random_params,
    rays,
    render,
    uniform_params,
)


def test_mip_equals_its_slow_reference():
    params = random_params("mip")
    seen = render("mip")(params, (), rays())
    assert (seen.opacity > 0.1).all()
    assert np.ptp(seen.median_depth) > 0.1
    for i, (origin, direction) in enumerate(zip(*rays()[:2], strict=True)):
        coarse, fine = oracles.render_mip(
            params, CONFIGS["mip"], origin, direction, RADIUS, NEAR, FAR
        )
        rgb, *rest = fine
        expected = rgb + 1 - rest[0], *rest
        for mine, slow in zip(seen, expected, strict=True):
            np.testing.assert_allclose(mine[i], slow, atol=1e-4)
        assert np.abs(coarse[0] - rgb).max() > 1e-3


def test_mip_renders_wide_and_thin_cones_differently():
    params = random_params("mip")
    thin, wide = (
        render("mip")(params, (), rays()._replace(radius=jnp.full(6, radius)))
        for radius in (0.0, 0.1)
    )
    assert np.abs(thin.rgb - wide.rgb).max() > 1e-3


def test_the_loss_of_mip_weights_the_coarse_pass_less_and_mse_is_of_the_fine_one():
    shown, photo = np.array([0.2, 0.3, 0.4]), np.array([0.1, 0.5, 0.9])
    params = uniform_params("mip", 1e4, shown)
    value, metrics = loss("mip")(params, (), keys(), batch(photo))
    error = np.mean((shown - photo) ** 2)
    np.testing.assert_allclose(metrics["mse"], error, rtol=1e-4)
    np.testing.assert_allclose((value, metrics["loss"]), 1.1 * error, rtol=1e-4)


def test_the_colours_of_mip_reach_beyond_black_and_white_by_the_padding():
    params = uniform_params("mip", 1e4, (0.5, 0.5, 0.5))
    params["params"]["to_rgb"]["bias"][:] = [-100, 100, 0]
    seen = render("mip")(params, (), rays())
    np.testing.assert_allclose(seen.rgb, np.tile([-0.001, 1.001, 0.5], (6, 1)), atol=1e-6)
