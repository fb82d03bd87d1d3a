import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax import fields
from nerf_jax.config import NerfConfig, TutorialConfig
from nerf_jax.encodings import frequency
from nerf_jax.hashgrid import make_levels
from nerf_jax.types import Field, Params, Point, View
from tests import closed_forms, oracles

NERF, TUTORIAL = NerfConfig(), TutorialConfig()
BANDS = {"position_bands": 10, "direction_bands": 4}


@functools.cache
def field(method: str) -> Field:
    """The network at the size of the config's defaults."""
    if method == "nerf":
        network = fields.NerfMLP(NERF.depth, NERF.width, NERF.skip)
        bands = NERF.position_bands, NERF.direction_bands
    else:
        network = fields.TutorialMLP(TUTORIAL.width)
        bands = TUTORIAL.position_bands, TUTORIAL.direction_bands
    position_bands, direction_bands = bands
    return fields.as_field(
        network,
        lambda point: frequency(point.position, position_bands),
        lambda view: frequency(view.direction, direction_bands),
    )


@functools.cache
def initializer(method: str):
    return jax.jit(field(method).init)


@functools.cache
def initial(method: str, seed: int = 0) -> Params:
    return jax.tree.map(np.asarray, initializer(method)(jax.random.key(seed)))


@functools.cache
def shapes(method: str) -> Params:
    return jax.eval_shape(field(method).init, jax.random.key(0))


@functools.cache
def random_params(method: str) -> Params:
    return closed_forms.random_params(shapes(method))


@functools.cache
def reader(method: str):
    """``(params, positions, directions) -> (sigma, rgb)`` of many points, compiled once."""

    def read(params, position, direction):
        sigma, features = field(method).density(params, Point(position, jnp.zeros(3)))
        return sigma, field(method).color(params, features, View(direction, jnp.int32(0)))

    return jax.jit(jax.vmap(read, (None, 0, 0)))


def places(count: int = 16) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return rng.uniform(-1.5, 1.5, (count, 3)).astype(np.float32), directions.astype(np.float32)


@pytest.mark.parametrize(
    ("method", "network"),
    [("nerf", oracles.nerf_network), ("tutorial", oracles.tutorial_network)],
)
def test_a_network_equals_its_plain_forward_pass(method: str, network):
    params, (positions, directions) = random_params(method), places()
    sigmas, rgbs = reader(method)(params, positions, directions)
    assert 3 <= np.sum(sigmas > 0) <= 13  # both sides of the last ReLU
    for i, (position, direction) in enumerate(zip(positions, directions, strict=True)):
        x, d = oracles.frequency(position, 10), oracles.frequency(direction, 4)
        sigma, rgb = network(params["params"], x, d)
        np.testing.assert_allclose(sigmas[i], sigma, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(rgbs[i], rgb, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("skip", [0, 1, 3])
def test_the_position_enters_again_at_the_skip_layer(skip: int):
    network = fields.NerfMLP(depth=3, width=8, skip=skip)
    x, d = np.float32([0.3, -0.2]), np.float32([0.5])
    params = closed_forms.random_params(jax.eval_shape(network.init, jax.random.key(0), x, d))
    expected = oracles.nerf_network(params["params"], x, d, 3, skip)[1]
    np.testing.assert_allclose(jax.jit(network.apply)(params, x, d), expected, atol=1e-6)


def dense_size(*shapes: tuple[int, int]) -> int:
    return sum(inputs * outputs + outputs for inputs, outputs in shapes)


def test_the_tutorials_network_has_the_size_of_its_layers():
    x, d = 3 + 3 * 2 * 10, 3 + 3 * 2 * 4
    expected = dense_size(
        *[(x, 256), (256, 256), (256, 256), (256, 256)],
        *[(256 + x, 256), (256, 256), (256, 256), (256, 256 + 1)],
        *[(256 + d, 128), (128, 3)],
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes("tutorial"))) == expected


def test_the_papers_network_has_the_size_of_its_layers():
    x, d = 3 + 3 * 2 * 10, 3 + 3 * 2 * 4
    expected = dense_size(
        *[(x, 256), (256, 256), (256, 256), (256, 256), (256, 256)],
        *[(256 + x, 256), (256, 256), (256, 256)],
        *[(256, 1), (256, 256), (256 + d, 128), (128, 3)],
    )
    assert expected == 595_844  # as the authors' program counts
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes("nerf"))) == expected
    assert shapes("nerf")["params"]["trunk_5"]["kernel"].shape == (256 + x, 256)


def kernels_and_biases(params: Params) -> list[tuple[np.ndarray, np.ndarray]]:
    is_layer = lambda node: isinstance(node, dict) and "kernel" in node  # noqa: E731
    layers = jax.tree.leaves(params, is_leaf=is_layer)
    return [(layer["kernel"], layer["bias"]) for layer in layers]


@pytest.mark.slow
def test_the_tutorial_layers_are_initialised_as_in_pytorch():
    for kernel, bias in kernels_and_biases(initial("tutorial")):
        bound = kernel.shape[0] ** -0.5
        for values in (kernel, bias):
            assert np.abs(values).max() <= bound
        np.testing.assert_allclose(kernel.std(), bound / 3**0.5, rtol=0.1)  # uniform's own
        assert np.abs(bias).max() > 0.5 * bound or bias.size == 3


def test_the_paper_layers_are_initialised_as_in_keras():
    for kernel, bias in kernels_and_biases(initial("nerf")):
        bound = (6 / sum(kernel.shape)) ** 0.5
        assert np.abs(kernel).max() <= bound
        np.testing.assert_allclose(kernel.std(), bound / 3**0.5, rtol=0.1)
        np.testing.assert_array_equal(bias, np.zeros_like(bias))


@pytest.mark.parametrize("method", ["nerf", "tutorial"])
def test_layers_are_initialised_differently_and_by_the_key(method: str):
    first, other = initial(method), initial(method, 1)
    for (kernel, _), (elsewhere, _) in zip(
        kernels_and_biases(first), kernels_and_biases(other), strict=True
    ):
        assert np.abs(kernel - elsewhere).max() > 0
    corners = [kernel[:3, :1].tolist() for kernel, _ in kernels_and_biases(first)]
    assert all(corners.count(corner) == 1 for corner in corners)


@pytest.mark.parametrize("method", ["nerf", "tutorial"])
def test_only_colour_depends_on_the_view(method: str):
    params, (positions, directions) = random_params(method), places()
    sigma, rgb = reader(method)(params, positions, directions)
    other_sigma, other_rgb = reader(method)(params, positions, -directions)
    np.testing.assert_array_equal(sigma, other_sigma)
    assert np.abs(rgb - other_rgb).max(axis=1).min() > 1e-3


@pytest.mark.parametrize("method", ["nerf", "tutorial"])
def test_density_is_never_negative_and_colours_are_in_range(method: str):
    """Far outside the scene too, where encodings of positions mean little."""
    positions, directions = places(64)
    sigma, rgb = reader(method)(random_params(method), positions * 100, directions)
    assert (sigma >= 0).all()
    assert ((rgb >= 0) & (rgb <= 1)).all()
    assert np.ptp(rgb) > 0.1


def test_activations_of_16_bits_change_a_hash_field_little_and_no_type():
    levels = make_levels(3, 2**10, 4, 16)
    half, full = (fields.HashField(levels, width=16, dtype=dtype) for dtype in (jnp.bfloat16, None))
    point, view = Point(jnp.array([0.2, 0.6, 0.7]), jnp.zeros(3)), View(jnp.eye(3)[0], jnp.int32(0))
    params = full.init(jax.random.key(0), point, view)
    # Features as large as trained ones, so that the networks matter.
    params["params"]["tables"] = [1e4 * table for table in params["params"]["tables"]]
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    for method in ("density", "__call__"):
        given = (point,) if method == "density" else (point, view)
        found, expected = (one.apply(params, *given, method=method) for one in (half, full))
        found, expected = (one[0] if method == "density" else one for one in (found, expected))
        assert found.dtype == jnp.float32
        assert not np.array_equal(found, expected)
        np.testing.assert_allclose(found, expected, rtol=0.03)
