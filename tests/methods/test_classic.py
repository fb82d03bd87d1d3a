import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax import methods
from nerf_jax.config import Config, DataConfig, MipConfig, NerfConfig, TutorialConfig
from nerf_jax.types import Batch, Params, Point, Rays
from tests import closed_forms, oracles
from tests.closed_forms import FAR, NEAR

CONFIGS = {
    "tutorial": TutorialConfig(num_samples=24, width=16, position_bands=3, direction_bands=2),
    "nerf": NerfConfig(
        num_coarse=12, num_fine=10, depth=3, width=16, skip=1, position_bands=3, direction_bands=2
    ),
    "mip": MipConfig(
        num_samples=12, depth=3, width=16, skip=1, position_bands=5, direction_bands=2
    ),
}
RADIUS = 0.02
NETWORKS = {"tutorial": 1, "nerf": 2, "mip": 1}
every = pytest.mark.parametrize("method", CONFIGS)


def init(model):
    """``key -> (params, aux)``: these methods are not fitted to cameras."""
    return functools.partial(model.init, cameras=None, size_hw=(16, 16))


@functools.cache
def build(method: str, background: str = "white"):
    return methods.build(Config(model=CONFIGS[method], data=DataConfig(background=background)))


@functools.cache
def render(method: str, background: str = "white"):
    return jax.jit(build(method, background).render)


@functools.cache
def loss(method: str, background: str = "white"):
    """``(params, aux, keys, batch) -> (loss, metrics)``"""
    if background == "white":  # compiled anyway
        return lambda *given: gradient(method)(*given)[0]
    return jax.jit(build(method, background).loss)


@functools.cache
def gradient(method: str):
    """``(params, aux, keys, batch) -> ((loss, metrics), gradient)``"""
    return jax.jit(jax.value_and_grad(build(method).loss, has_aux=True))


@functools.cache
def shapes(method: str) -> Params:
    params, aux = jax.eval_shape(init(build(method)), jax.random.key(0))
    assert aux == ()
    return params


def random_params(method: str) -> Params:
    """Of a scene with clear and dense places, so that what is behind shows through."""
    return closed_forms.random_params(shapes(method), seed=5)


def networks(method: str, params: Params) -> list:
    return [params["coarse"], params["fine"]] if method == "nerf" else [params]


def uniform_params(method: str, density: float, *rgbs) -> Params:
    """A scene of one density and one colour everywhere: weights zero, biases as they must be.

    Args:
        method: one network, or a coarse and a fine one.
        density: per world unit; below zero for an empty scene.
        rgbs: of each network in turn.
    """
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes(method))
    for network, rgb in zip(networks(method, params), rgbs, strict=True):
        pad = CONFIGS[method].color_padding if method == "mip" else 0.0
        shade = (np.array(rgb) + pad) / (1 + 2 * pad)
        layers, logit = network["params"], np.log(shade) - np.log1p(-shade)
        if method == "tutorial":
            layers["to_features"]["Dense_0"]["bias"][-1] = density
            layers["block4"]["Dense_0"]["bias"][:] = logit
        else:
            raw = before_softplus(density) if method == "mip" else density
            layers["to_density"]["bias"][:] = raw
            layers["to_rgb"]["bias"][:] = logit
    return params


def before_softplus(density: float) -> float:
    """What mip-NeRF's ``softplus(raw - 1)`` makes a density of; none below zero, as of a ReLU."""
    if density <= 0:
        return -200.0
    return 1 + (density if density > 30 else np.log(np.expm1(density)))


def rays(count: int = 6, seed: int = 0) -> Rays:
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    origins = -4 * directions + 0.3 * rng.normal(size=(count, 3))
    return Rays(
        jnp.asarray(origins, jnp.float32),
        jnp.asarray(directions, jnp.float32),
        jnp.full(count, NEAR, jnp.float32),
        jnp.full(count, FAR, jnp.float32),
        jnp.full(count, RADIUS, jnp.float32),
        jnp.zeros(count, jnp.int32),
    )


def batch(rgb, alpha: float = 1.0, seed: int = 0) -> Batch:
    """Six rays that the photos show in one colour."""
    pixel = jnp.asarray([*rgb, alpha], jnp.float32)
    return Batch(rays(seed=seed), jnp.tile(pixel, (6, 1)), jnp.ones(6), jnp.zeros(6))


def keys(seed: int = 0, count: int = 6) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


# ------------------------------------------------------------------------------ rendering


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


@every
def test_the_order_of_rays_changes_no_rendering(method: str):
    params, backwards = random_params(method), jax.tree.map(lambda leaf: leaf[::-1], rays())
    one_way, other_way = (render(method)(params, (), all_rays) for all_rays in (rays(), backwards))
    for value, same in zip(one_way, other_way, strict=True):
        np.testing.assert_allclose(value, same[::-1], atol=1e-6)


@pytest.mark.parametrize(
    ("method", "background", "shown"),
    [
        ("tutorial", "white", 1),
        ("tutorial", "black", 0),
        ("tutorial", "random", 1),
        ("nerf", "white", 1),
        ("mip", "white", 1),
    ],
)
def test_an_empty_scene_shows_the_background_and_nothing_else(method, background, shown):
    colors = [(0.2, 0.3, 0.4)] * NETWORKS[method]
    seen = render(method, background)(uniform_params(method, -1.0, *colors), (), rays())
    np.testing.assert_array_equal(seen.rgb, np.full((6, 3), shown))
    np.testing.assert_array_equal(seen.opacity, np.zeros(6))
    np.testing.assert_allclose(seen.depth, np.full(6, FAR), rtol=1e-6)


def test_the_last_interval_of_the_tutorial_is_opaque():
    """Its last interval is 1e10 long: a haze that stops a hundredth of the light stops all."""
    seen = render("tutorial")(uniform_params("tutorial", 0.0025, (0.2, 0.3, 0.4)), (), rays())
    np.testing.assert_allclose(seen.opacity, np.ones(6), rtol=1e-6)
    np.testing.assert_allclose(seen.rgb, np.tile([0.2, 0.3, 0.4], (6, 1)), rtol=1e-5)


@pytest.mark.parametrize(
    ("method", "colors"),
    [("nerf", [(0.9, 0.1, 0.1), (0.2, 0.3, 0.4)]), ("mip", [(0.2, 0.3, 0.4)])],
)
def test_the_density_ends_at_far(method: str, colors):
    seen = render(method)(uniform_params(method, 0.25, *colors), (), rays())
    exact = closed_forms.uniform(NEAR, FAR - NEAR, 0.25, np.array(colors[-1]))
    np.testing.assert_allclose(seen.opacity, np.full(6, exact.opacity), rtol=1e-5)
    over_white = exact.rgb + 1 - exact.opacity
    np.testing.assert_allclose(seen.rgb, np.tile(over_white, (6, 1)), rtol=1e-5)
    np.testing.assert_allclose(seen.depth, np.full(6, exact.depth), atol=0.01)


# ----------------------------------------------------------------------------------- loss


def test_the_loss_of_the_tutorial_is_the_mean_squared_error():
    shown, photo = np.array([0.2, 0.3, 0.4]), np.array([0.1, 0.5, 0.9])
    params = uniform_params("tutorial", 1.0, shown)
    value, metrics = loss("tutorial")(params, (), keys(), batch(photo))
    np.testing.assert_allclose(value, np.mean((shown - photo) ** 2), rtol=1e-5)
    np.testing.assert_allclose((metrics["loss"], metrics["mse"]), (value, value))


def test_the_loss_of_nerf_sums_both_networks_and_mse_is_of_the_fine_one():
    coarse, fine, photo = np.array([[0.2, 0.3, 0.4], [0.6, 0.6, 0.5], [0.1, 0.5, 0.9]])
    params = uniform_params("nerf", 1e4, coarse, fine)
    value, metrics = loss("nerf")(params, (), keys(), batch(photo))
    errors = np.mean((coarse - photo) ** 2), np.mean((fine - photo) ** 2)
    np.testing.assert_allclose(value, sum(errors), rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], value)
    np.testing.assert_allclose(metrics["mse"], errors[1], rtol=1e-4)


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


@pytest.mark.parametrize(
    ("method", "background", "behind"),
    [("tutorial", "white", 1.0), ("tutorial", "black", 0.0), ("nerf", "white", 1.0)],
)
def test_transparent_pixels_are_compared_over_the_background(method, background, behind):
    photo, alpha, colors = np.array([0.1, 0.5, 0.9]), 0.25, [(0.5, 0.5, 0.5)]
    params = uniform_params(method, -1.0, *colors * NETWORKS[method])
    metrics = loss(method, background)(params, (), keys(), batch(photo, alpha))[1]
    target = alpha * photo + (1 - alpha) * behind
    np.testing.assert_allclose(metrics["mse"], np.mean((behind - target) ** 2), rtol=1e-5)


@every
def test_with_random_backgrounds_only_transparent_pixels_have_no_loss_in_an_empty_scene(
    method: str,
):
    """Nothing in the scene, nothing in the photo: right over whatever colour was drawn."""
    colors = [(0.5, 0.5, 0.5)] * NETWORKS[method]
    empty, nothing, black = (
        uniform_params(method, -1.0, *colors),
        batch(np.zeros(3), 0.0),
        batch(np.zeros(3)),
    )
    assert loss(method, "random")(empty, (), keys(), nothing)[0] == 0
    first, other = (loss(method, "random")(empty, (), keys(seed), black)[0] for seed in (0, 1))
    assert first != other
    # A uniform colour's mean square is 1/3, in both networks; six rays of three channels are few.
    assert 0.1 < first / len(colors) < 0.6


@every
def test_the_loss_is_a_mean_over_independent_rays(method: str):
    params = random_params(method)
    a, b = ((keys(seed), batch([0.1, 0.5, 0.9], seed=seed)) for seed in (0, 1))
    half_and_half = jax.tree.map(lambda one, other: jnp.concatenate([one[:3], other[3:]]), a, b)
    the_rest = jax.tree.map(lambda one, other: jnp.concatenate([other[:3], one[3:]]), a, b)
    values = [loss(method)(params, (), *given)[0] for given in (a, b, half_and_half, the_rest)]
    np.testing.assert_allclose(values[0] + values[1], values[2] + values[3], rtol=1e-5)
    assert np.ptp(values) > 1e-4


@every
def test_keys_decide_the_samples_of_a_training_ray(method: str):
    params, photos = random_params(method), batch([0.1, 0.5, 0.9])
    first, again, other = (loss(method)(params, (), keys(seed), photos)[0] for seed in (0, 0, 1))
    assert first == again
    assert first != other


# ------------------------------------------------------------------------------- gradients


def test_the_gradient_of_the_tutorial_equals_a_finite_difference():
    photos = batch([0.1, 0.5, 0.9])
    check_gradient(
        lambda params: gradient("tutorial")(params, (), keys(), photos),
        random_params("tutorial"),
        "loss",
    )


@pytest.mark.parametrize("network", ["coarse", "fine"])
def test_each_network_of_nerf_has_the_gradient_of_its_own_error(network: str):
    """Where the fine one looks is the coarse one's doing, but no gradient goes that way."""
    params, photos = random_params("nerf"), batch([0.1, 0.5, 0.9])

    def own_loss(own: Params):
        (total, metrics), slopes = gradient("nerf")({**params, network: own}, (), keys(), photos)
        metrics["own"] = metrics["mse"] if network == "fine" else total - metrics["mse"]
        return (total, metrics), slopes[network]

    check_gradient(own_loss, params[network], "own")


def check_gradient(loss_and_gradient, params: Params, name: str, step: float = 2e-3) -> None:
    """Along itself, where the difference is largest beside the rounding of single precision."""
    slopes = jax.tree.map(np.asarray, loss_and_gradient(params)[1])
    length = np.sqrt(sum(np.sum(leaf**2) for leaf in jax.tree.leaves(slopes)))
    assert length > 0.01
    around = []
    for sign in (1, -1):
        moved = jax.tree.map(
            lambda leaf, slope, s=sign: leaf + s * step / length * slope, params, slopes
        )
        around.append(loss_and_gradient(moved)[0][1][name])
    after, before = around
    np.testing.assert_allclose((after - before) / (2 * step), length, rtol=0.02)


def awkward(kind: str, count: int = 6) -> Rays:
    """Rays that are hard on arithmetic."""
    usual = rays(count)
    return {
        "usual": usual,
        "no width": usual._replace(radius=jnp.zeros(count)),
        "no length": usual._replace(far=usual.near),
        "from the origin": usual._replace(origin=jnp.zeros((count, 3)), near=jnp.zeros(count)),
        "far out": usual._replace(origin=usual.origin * 1e4),
    }[kind]


@every
@pytest.mark.parametrize("kind", ["usual", "no width", "no length", "from the origin", "far out"])
def test_gradients_are_finite_and_reach_every_layer(method: str, kind: str):
    photos = batch([0.1, 0.5, 0.9])._replace(rays=awkward(kind))
    (value, _), slopes = gradient(method)(random_params(method), (), keys(), photos)
    assert np.isfinite(value)
    for path, leaf in jax.tree.leaves_with_path(slopes):
        assert np.isfinite(leaf).all(), path
        assert kind != "usual" or np.abs(leaf).max() > 0, path


@every
@pytest.mark.parametrize("density", [-1.0, 0.0, 1e-12, 1e4, 1e20])
def test_gradients_are_finite_in_empty_and_in_solid_scenes(method: str, density: float):
    params = uniform_params(method, density, *[(0.2, 0.3, 0.4)] * NETWORKS[method])
    (value, _), slopes = gradient(method)(params, (), keys(), batch([0.1, 0.5, 0.9]))
    assert np.isfinite(value)
    for path, leaf in jax.tree.leaves_with_path(slopes):
        assert np.isfinite(leaf).all(), path


# ------------------------------------------------------------------------------- the model


@every
def test_refresh_changes_nothing(method: str):
    aux = build(method).refresh(random_params(method), (), jax.random.key(0), jnp.int32(5))
    assert aux == ()


def test_the_networks_of_nerf_are_initialised_differently():
    def difference(key):
        params, _ = init(build("nerf"))(key)
        first, second = (network["params"]["trunk_0"] for network in networks("nerf", params))
        return jnp.max(jnp.abs(first["kernel"] - second["kernel"]))

    assert jax.jit(difference)(jax.random.key(0)) > 0.1


@every
def test_the_density_is_that_of_the_rendered_network(method: str):
    params = random_params(method)
    seen = params["fine"] if method == "nerf" else params
    field = getattr(methods, f"{method}_field")(CONFIGS[method])
    rng = np.random.default_rng(4)
    positions, variances = rng.uniform(-1, 1, (20, 3)), rng.uniform(0, 0.1, (20, 3))
    points = Point(jnp.asarray(positions, jnp.float32), jnp.asarray(variances, jnp.float32))
    found = build(method).density(params, (), points)
    expected = [field.density(seen, Point(*point))[0] for point in zip(*points, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.ptp(found) > 0


@every
def test_the_config_decides_the_size(method: str):
    wide = dataclasses.replace(CONFIGS[method], width=20)
    built = methods.build(Config(model=wide))
    shapes = jax.eval_shape(init(built), jax.random.key(0))[0]
    widths = {leaf.shape[-1] for leaf in jax.tree.leaves(shapes)}
    assert widths == {20, 10, 3} | ({21} if method == "tutorial" else {1})
