"""Views of the ball: exact depths, foreground colours, and surface points."""

import numpy as np

from nerf_jax.app.mesh.region import Region
from nerf_jax.app.mesh.views import Views, pixel_width, render_views, surface_points
from tests.app.mesh import ball


def test_views_have_evenly_chosen_cameras_and_exact_depths(tmp_path):
    calls = []
    views = render_views(ball.scene(tmp_path), 0.5, 5, lambda *done: calls.append(done))
    assert views.depth.shape == (5, 32, 32)
    assert calls == [(number, 5) for number in range(1, 6)]
    given = ball.cameras().world_from_camera
    chosen = [int(np.abs(given - pose).sum(axis=(1, 2)).argmin()) for pose in views.cameras[0]]
    assert chosen == [0, 4, 9, 14, 19]
    np.testing.assert_allclose(views.cameras.focal, 1.6 * 32)
    center = views.depth[:, 15:17, 15:17]
    np.testing.assert_allclose(center, 3 - ball.RADIUS, atol=0.01)
    assert np.isinf(views.depth[:, 0, 0]).all()
    # The ball's colour as seen by the camera, without the white background.
    expected = -0.4 * -views.cameras.world_from_camera[:, :, 2] + 0.5
    np.testing.assert_allclose(views.rgb[:, 16, 16] / 255, expected, atol=0.02)


def test_the_pixel_width_is_the_distance_over_the_focal_length(tmp_path):
    views = render_views(ball.scene(tmp_path), 0.5, 3, lambda *_: None)
    distance = np.median(views.depth[np.isfinite(views.depth)])
    assert np.isclose(pixel_width(views, 64), distance / (1.6 * 64), rtol=1e-5)
    assert np.isclose(pixel_width(views, 16), distance / (1.6 * 16), rtol=1e-5)


def test_points_are_at_the_depths_of_the_rays():
    """Depths of the ball give points on it; empty and unknown pixels give none."""
    cameras = ball.cameras(2, size=8)
    depth = np.full((2, 8, 8), np.inf, np.float32)
    depth[:, 3, 4] = 3.0 - ball.RADIUS
    depth[1, 0, 0] = np.nan
    rgb = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    points, colors = surface_points(Views(cameras, depth, rgb))
    assert points.shape == (2, 3)
    off = np.linalg.norm(points - ball.CENTER, axis=1) - ball.RADIUS
    assert np.abs(off).max() < 0.02  # the pixel next to the centre
    np.testing.assert_array_equal(colors, rgb[:, 3, 4])
    box = Region(points[0] - 0.1, points[0] + 0.1)
    np.testing.assert_array_equal(box.contains(points), [True, False])
    assert str(Region(np.zeros(3), np.ones(3))) == "0 0 0 1 1 1"
