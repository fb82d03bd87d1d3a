"""What a config leaves to the photos."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax import methods
from nerf_jax.cameras import cast_rays, look_at
from nerf_jax.config import HashConfig, NerfConfig
from nerf_jax.contraction import required_steps
from nerf_jax.methods.grid_fields import grid_field
from nerf_jax.types import Cameras, Dataset, Point

AUTO = HashConfig(space="auto", num_candidates=0, grid_resolution=64, environment=True)


def photos(origins: np.ndarray, target: np.ndarray, channels: int = 3) -> Dataset:
    """Cameras that look at one place, all of whose pixels are at a distance of 4."""
    count = len(origins)
    up = np.array([0.0, 0.0, 1.0])
    cameras = Cameras(
        np.stack([look_at(origin, target, up) for origin in origins]),
        np.full((count, 2), 20, np.float32),
        np.full((count, 2), 8, np.float32),
        np.full(count, 1, np.float32),
        np.full(count, 40, np.float32),
    )
    pixels = np.zeros((count, 16, 16, channels), np.uint8)
    return Dataset(cameras, pixels, depth=np.full((count, 16, 16), 4, np.float32))


def one_side(apart: float, **changes: int) -> Dataset:
    x = apart * np.linspace(-1, 1, 7)
    return photos(np.stack([x, 0 * x, 0 * x], axis=1), np.array([0.0, 40.0, 0.0]), **changes)


def around() -> Dataset:
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    return photos(4 * np.stack([np.cos(angle), np.sin(angle), 0.3 + 0 * angle], 1), np.zeros(3))


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (one_side(1.0), "frustum"),
        (one_side(3.0), "contracted"),  # a walk past what they see
        (around(), "contracted"),
        (one_side(1.0, channels=4), "box"),
    ],
)
def test_the_space_suits_the_photos(dataset: Dataset, expected: str):
    config, notes = methods.resolve(AUTO, dataset)
    assert config.space == expected
    assert notes[0].startswith(f"space {expected}: ")
    assert config.environment == (dataset.pixels.shape[-1] == 3)
    space = methods.fit_space(config, dataset.cameras, dataset.size_hw)
    assert config.num_candidates >= required_steps(space, 64) > -1
    assert any(str(config.num_candidates) in note for note in notes)


@pytest.mark.slow
@pytest.mark.parametrize("unit", [0.01, 1.0, 50.0])
def test_the_initial_opacity_of_a_frustum_does_not_depend_on_its_unit_of_length(unit: float):
    """e^-1 times the logarithm of far / near: the density is even in the logarithm of depth."""
    given = one_side(1.0)
    poses = np.array(given.cameras.world_from_camera)
    poses[:, :, 3] *= unit
    near, far = given.cameras.near * np.float32(unit), given.cameras.far * np.float32(unit)
    dataset = given._replace(
        cameras=given.cameras._replace(world_from_camera=poses, near=near, far=far),
        depth=given.depth * np.float32(unit),
    )
    config, _ = methods.resolve(dataclasses.replace(AUTO, max_entries=64, num_levels=2), dataset)
    assert config.space == "frustum"
    space = methods.fit_space(config, dataset.cameras, dataset.size_hw)
    field = grid_field(config, space, 7)
    t = np.geomspace(near[0], far[0], 1000)

    @jax.jit
    def densities(key):
        rays = cast_rays(dataset.cameras, 3, np.array([8, 8]))
        points = rays.origin[None] + jnp.outer(jnp.asarray(t, jnp.float32), rays.direction)
        points = Point(points, jnp.zeros_like(points))
        return jax.vmap(field.density, (None, 0))(field.init(key), points)[0]

    sigma = densities(jax.random.key(0))
    assert np.trapezoid(sigma, t) == pytest.approx(np.exp(-1) * np.log(40), rel=0.05)


def test_a_frustum_that_begins_at_0_is_refused_by_name():
    given = one_side(1.0)
    none = given._replace(cameras=given.cameras._replace(near=np.zeros(7, np.float32)))
    with pytest.raises(ValueError, match=r"data\.near is 0: set model\.space to 'contracted'"):
        methods.resolve(dataclasses.replace(AUTO, space="frustum"), none)


def test_what_is_given_stays():
    for config in (HashConfig(), NerfConfig(), dataclasses.replace(AUTO, space="box")):
        found, notes = methods.resolve(config, one_side(1.0))
        if config == dataclasses.replace(AUTO, space="box"):
            assert found == dataclasses.replace(config, num_candidates=112)
        else:
            assert (found, notes) == (config, ())


@pytest.mark.parametrize(("dataset", "expected"), [(one_side(1.0), 0.0), (around(), 0.2)])
def test_directions_have_no_noise_where_they_differ_little(dataset: Dataset, expected: float):
    config, notes = methods.resolve(dataclasses.replace(AUTO, direction_noise=0.2), dataset)
    assert config.direction_noise == expected
    assert any("noise" in note for note in notes) == (expected == 0)
    assert methods.resolve(config, dataset) == (config, ())


def test_an_open_config_is_no_method_yet():
    with pytest.raises(ValueError, match=r"model.space is .auto."):
        methods.fit_space(AUTO, around().cameras, (16, 16))
