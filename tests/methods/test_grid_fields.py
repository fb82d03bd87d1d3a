"""Hash grids as fields: what they learn from, and what a footprint leaves of their levels."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax import losses, methods
from nerf_jax.config import Config, DataConfig, HashConfig
from nerf_jax.config.methods import GridConfig
from nerf_jax.contraction import Box, Contracted
from nerf_jax.devices import ray_mesh
from nerf_jax.hashgrid import level_weights, make_levels
from nerf_jax.methods import fit_space, make_optimizer
from nerf_jax.methods.grid_fields import density_field, grid_field, rendering_loss
from nerf_jax.train import init_state, make_train_steps
from nerf_jax.types import Params, Point, Rendering
from tests import small
from tests.methods.test_hash_grid import HASH, RATE
from tests.methods.test_proposal import PROPOSAL
from tests.small import some

SPACES = {
    "box": Box(jnp.array([-1.0, -1.5, -2.0]), jnp.array([1.0, 1.5, 2.0])),
    "contracted": Contracted(jnp.zeros(3), jnp.float32(1.5), jnp.float32(0.1), jnp.float32(60.0)),
}
PLACES = np.random.default_rng(0).uniform(-1, 1, (20, 3)).astype(np.float32)


def large(params: Params) -> Params:
    """Features of the size of training's: a scene that differs from place to place."""
    tables = [2e4 * table for table in params["params"]["tables"]]
    return {"params": {**params["params"], "tables": tables}}


@functools.cache
def clouds() -> Params:
    return large(jax.jit(grid_field(HASH, SPACES["box"]).init)(jax.random.key(3)))


@functools.cache
def field(footprint: str, space: str):
    config = dataclasses.replace(HASH, footprint=footprint)
    density = grid_field(config, SPACES[space]).density
    return jax.jit(jax.vmap(density, (None, 0)))


def discs(places: np.ndarray, sigma: np.ndarray | float) -> Point:
    """As cones seen along y have them."""
    variance = np.square(sigma) * np.array([1.0, 0.0, 1.0])
    return Point(jnp.asarray(places), jnp.asarray(np.broadcast_to(variance, places.shape), "f4"))


def faded(space: str, points: Point, variance: np.ndarray) -> list[np.ndarray]:
    """What is read at points, the tables times the levels' weights; point by point."""
    sizes = HASH.num_levels, HASH.max_entries, HASH.min_resolution, HASH.max_resolution
    params, found = clouds()["params"], []
    for i, one in enumerate(variance):
        w = level_weights(make_levels(*sizes), jnp.float32(one))
        assert np.ptp(w) > 0.3
        tables = [weight * table for weight, table in zip(w, params["tables"], strict=True)]
        seen = field("point", space)({"params": {**params, "tables": tables}}, points)
        found.append(jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), seen))
    return [np.stack(parts) for parts in zip(*found, strict=True)]


def assert_same(found, expected, rtol: float = 1e-4):
    for one, other in zip(found, expected, strict=True):
        assert np.ptp(other, axis=0).min() > 0
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol)


@pytest.mark.slow
def test_in_a_box_levels_fade_by_the_footprint_relative_to_its_sides():
    points = discs(PLACES, 0.2)
    variance = ((0.2 / 2) ** 2 + (0.2 / 4) ** 2) / 2  # of the sides along x and z
    expected = faded("box", points, np.full(len(PLACES), variance))
    assert_same(field("cone", "box")(clouds(), points), expected)


@pytest.mark.slow
def test_in_contracted_space_footprints_shrink_as_the_space_does():
    """By the differences of places nearby, contracted as the paper has it."""

    def contracted(x: np.ndarray) -> np.ndarray:
        norm = np.abs(x / 1.5).max()
        return (x / 1.5 * (1 if norm <= 1 else (2 - 1 / norm) / norm) + 2) / 4

    distances = np.geomspace(0.5, 40.0, len(PLACES))
    places = np.float32(PLACES * distances[:, None])
    sigma, variance = 0.2 * np.maximum(distances, 1.5), []
    for place, width in zip(places.astype(float), sigma, strict=True):
        steps = 1e-5 * np.eye(3)[[0, 2]]
        slopes = [(contracted(place + h) - contracted(place - h)) / 2e-5 for h in steps]
        variance.append(np.sum(np.square(width * np.array(slopes))) / 2)
    points = discs(places, sigma[:, None])
    expected = faded("contracted", points, np.array(variance))
    assert_same(field("cone", "contracted")(clouds(), points), expected, rtol=1e-3)


@pytest.mark.slow
def test_a_cone_without_a_footprint_is_a_point_and_points_ignore_footprints():
    narrow, wide = discs(PLACES, 0.0), discs(PLACES, 0.5)
    point = field("point", "box")(clouds(), narrow)
    assert_same(field("cone", "box")(clouds(), narrow), point, rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, field("point", "box")(clouds(), wide), point)


@pytest.mark.slow
@pytest.mark.parametrize("footprint", ["point", "cone"])
def test_proposals_use_footprints_if_the_field_does(footprint: str):
    config = dataclasses.replace(PROPOSAL, footprint=footprint)
    proposal = density_field(config, 32)(SPACES["box"])
    params = large(jax.jit(proposal.init)(jax.random.key(0)))
    density = jax.jit(jax.vmap(proposal.density, (None, 0)))
    narrow, wide = (density(params, discs(PLACES, sigma))[0] for sigma in (0.0, 0.5))
    assert ((narrow != wide) == (footprint == "cone")).all()


@pytest.mark.slow
def test_the_misfit_is_of_colours_and_known_depths():
    misfit = jax.jit(rendering_loss, static_argnums=0)
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
    falling = dataclasses.replace(config, depth_weight_final=0.01)
    for progress, weight in ((0.0, 0.5), (0.5, 0.05), (1.0, 0.005)):
        later = batch._replace(progress=jnp.float32(progress))
        found = misfit(falling, seen, target, later, learned)[0]
        np.testing.assert_allclose(found, alone + weight * expected, rtol=1e-5)
    nowhere = batch._replace(depth=jnp.zeros(9))
    assert misfit(config, seen, target, nowhere, learned)[0] == alone


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [HASH, PROPOSAL], ids=lambda sizes: sizes.method)
def test_known_depths_are_learned(sizes: GridConfig):
    """From one photo, which has nothing against a larger ball further away, nor for it."""
    data = small.dataset(num_images=1)
    data = data._replace(depth=np.float32(1.3) * data.depth)
    mesh, optimizer = ray_mesh(jax.devices()[:1]), make_optimizer(RATE)
    sizes = dataclasses.replace(sizes, depth_weight=0.3)
    method = methods.build(Config(model=sizes, data=DataConfig(background="random")))
    steps = make_train_steps(method, optimizer, mesh, 128, 100)
    _, metrics = steps(init_state(method, optimizer, small.dataset(), mesh), data)
    assert metrics["mse"][-10:].mean() < 0.2 * metrics["mse"][:5].mean()
    # A hundredth off, in the mean; the colours alone leave a quarter, which would be 0.2.
    assert metrics["depth"][-10:].mean() < 0.005


@pytest.mark.slow
@pytest.mark.parametrize("radius", [0.015, 1.0, 300.0])
@pytest.mark.parametrize("kind", ["box", "contracted"])
def test_the_initial_opacity_of_a_box_does_not_depend_on_its_unit_of_length(kind, radius):
    """e^-1 per half side, or what a config says per world unit."""
    cameras, size_hw = small.cameras()
    scaled = cameras.world_from_camera.copy()
    scaled[:, :, 3] *= radius
    bounds = {"near": cameras.near * radius, "far": cameras.far * radius}
    cameras = cameras._replace(world_from_camera=scaled, **bounds)
    sizes = {"num_levels": 2, "max_entries": 64, "max_resolution": 32, "width": 16}
    for bias, expected in ((None, np.exp(-1) / radius), (-2.0, np.exp(-2))):
        config = HashConfig(space=kind, box_radius=radius, density_bias=bias, **sizes)
        field = grid_field(config, fit_space(config, cameras, size_hw), 4)
        params = field.init(jax.random.key(0))
        sigma, _ = field.density(params, Point(jnp.full(3, 0.3 * radius), jnp.zeros(3)))
        np.testing.assert_allclose(sigma, expected, rtol=1e-2)
