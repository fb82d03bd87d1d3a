"""The 100-line NeRF against its slow reference."""

import numpy as np

from tests import oracles
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


def test_the_loss_of_the_tutorial_is_the_mean_squared_error():
    shown, photo = np.array([0.2, 0.3, 0.4]), np.array([0.1, 0.5, 0.9])
    params = uniform_params("tutorial", 1.0, shown)
    value, metrics = loss("tutorial")(params, (), keys(), batch(photo))
    np.testing.assert_allclose(value, np.mean((shown - photo) ** 2), rtol=1e-5)
    np.testing.assert_allclose((metrics["loss"], metrics["mse"]), (value, value))


def test_the_gradient_of_the_tutorial_equals_a_finite_difference():
    photos = batch([0.1, 0.5, 0.9])
    check_gradient(
        lambda params: gradient("tutorial")(params, (), keys(), photos),
        random_params("tutorial"),
        "loss",
    )
