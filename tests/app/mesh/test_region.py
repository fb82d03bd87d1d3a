"""Which box is exported: what the cameras see of a scene, and not what strays."""

from dataclasses import replace

import numpy as np
import pytest

from nerf_jax.app.mesh.region import method_region, visible_region
from nerf_jax.app.mesh.views import Views
from nerf_jax.app.trained import Trained
from nerf_jax.config import HashConfig, NerfConfig
from tests.app.mesh import ball

BOX = HashConfig(box_center=(-0.2, -0.2, -0.2), box_radius=0.8)
CUBE = HashConfig(space="contracted", box_radius=1.0)
FRUSTUM = HashConfig(space="frustum")
NO_BOX = NerfConfig()


def views(monkeypatch, places: np.ndarray) -> Views:
    """Whatever they are, these are the points on what they see."""
    found = places.astype(np.float32), np.zeros(places.shape, np.uint8)
    monkeypatch.setattr("nerf_jax.app.mesh.region.surface_points", lambda views: found)
    return Views(ball.cameras(), np.zeros((1, 1, 1)), np.zeros((1, 1, 1, 3), np.uint8))


def scene(tmp_path, model) -> Trained:
    found = ball.scene(tmp_path)
    return replace(found, config=replace(found.config, model=model))


def uniform(low: float, high: float, count: int = 20_000) -> np.ndarray:
    return np.random.default_rng(0).uniform(low, high, (count, 3))


def test_in_a_box_all_that_is_seen_counts_but_for_one_in_a_thousand(tmp_path, monkeypatch):
    places = np.concatenate([uniform(-0.5, 0.5), [[-0.9, -0.9, -0.9], [5, 5, 5]]])
    low, high = visible_region(scene(tmp_path, BOX), views(monkeypatch, places))
    np.testing.assert_allclose(low, -0.51, atol=0.01)
    np.testing.assert_allclose(high, 0.51, atol=0.01)
    full = visible_region(scene(tmp_path, BOX), views(monkeypatch, uniform(-2, 2)))
    np.testing.assert_allclose(full.high, 0.6, atol=1e-6)  # no further than the box


def test_of_a_capture_the_cube_counts_unless_most_lies_around_it(tmp_path, monkeypatch):
    subject, around = uniform(-0.4, 0.7), 30 * uniform(-1, 1, 5_000)
    with_background = views(monkeypatch, np.concatenate([subject, around]))
    found = visible_region(scene(tmp_path, CUBE), with_background)
    np.testing.assert_allclose(found.low, -0.41, atol=0.05)
    room = views(monkeypatch, np.concatenate([uniform(-3, 3), 30 * uniform(-1, 1, 200)]))
    found = visible_region(scene(tmp_path, CUBE), room)
    np.testing.assert_allclose(found.low, -3, atol=0.2)
    np.testing.assert_allclose(found.high, 3, atol=0.2)


def test_without_a_box_what_strays_is_left_out(tmp_path, monkeypatch):
    places = np.concatenate([uniform(-1, 2), 50 * uniform(-1, 1, 100)])
    for space in (NO_BOX, FRUSTUM):
        found = visible_region(scene(tmp_path, space), views(monkeypatch, places))
        np.testing.assert_allclose(found.low, -1, atol=0.1)
        np.testing.assert_allclose(found.high, 2, atol=0.1)


def test_where_nothing_is_seen_there_is_nothing_to_export(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="see no surface"):
        visible_region(scene(tmp_path, BOX), views(monkeypatch, uniform(3, 4)))


def test_without_cameras_the_method_says_where_the_scene_is(tmp_path):
    assert method_region(scene(tmp_path, BOX)).high[0] == np.float32(0.6)
    np.testing.assert_allclose(method_region(scene(tmp_path, CUBE)).low, -1)
    for space in (NO_BOX, FRUSTUM):
        with pytest.raises(ValueError, match=r"give the box to export by --crop"):
            method_region(scene(tmp_path, space))


def test_scenes_without_an_end_are_captures():
    assert [model.bounded for model in (NO_BOX, BOX, CUBE, FRUSTUM)] == [True, True, False, False]
