"""Views of the ball: exact depths, own colours, and the points that they see."""

import numpy as np

from nerf_jax.app.mesh.region import Region
from nerf_jax.app.mesh.views import Views, pixel_width, render_views, surface_points
from tests.app.mesh import ball


def test_views_are_of_cameras_evenly_chosen_with_depths_where_something_is_hit(tmp_path):
    told = []
    views = render_views(ball.scene(tmp_path), 0.5, 5, lambda *done: told.append(done))
    assert views.depth.shape == (5, 32, 32)
    assert told == [(number, 5) for number in range(1, 6)]
    given = ball.cameras().world_from_camera
    chosen = [int(np.abs(given - pose).sum(axis=(1, 2)).argmin()) for pose in views.cameras[0]]
    assert chosen == [0, 4, 9, 14, 19]
    np.testing.assert_allclose(views.cameras.focal, 1.6 * 32)
    middle = views.depth[:, 15:17, 15:17]
    np.testing.assert_allclose(middle, 3 - ball.RADIUS, atol=0.01)
    assert np.isinf(views.depth[:, 0, 0]).all()
    # Colours are where the eye is, not the white behind: of a whole disc, nearly one.
    ahead = -0.4 * -views.cameras.world_from_camera[:, :, 2] + 0.5
    np.testing.assert_allclose(views.rgb[:, 16, 16] / 255, ahead, atol=0.02)


def test_a_pixel_is_as_wide_as_it_is_far_over_the_focal_length(tmp_path):
    views = render_views(ball.scene(tmp_path), 0.5, 3, lambda *_: None)
    distance = np.median(views.depth[np.isfinite(views.depth)])
    assert np.isclose(pixel_width(views, 64), distance / (1.6 * 64), rtol=1e-5)
    assert np.isclose(pixel_width(views, 16), distance / (1.6 * 16), rtol=1e-5)


def test_points_are_where_rays_end():
    """Of depths that are those of the ball: on the ball; and none where nothing is hit."""
    cameras = ball.cameras(2, size=8)
    depth = np.full((2, 8, 8), np.inf, np.float32)
    depth[:, 3, 4] = 3.0 - ball.RADIUS
    depth[1, 0, 0] = np.nan
    rgb = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    places, colors = surface_points(Views(cameras, depth, rgb))
    assert places.shape == (2, 3)
    off = np.linalg.norm(places - ball.CENTER, axis=1) - ball.RADIUS
    assert np.abs(off).max() < 0.02  # the pixel next to the middle
    np.testing.assert_array_equal(colors, rgb[:, 3, 4])
    box = Region(places[0] - 0.1, places[0] + 0.1)
    np.testing.assert_array_equal(box.contains(places), [True, False])
    assert str(Region(np.zeros(3), np.ones(3))) == "0 0 0 1 1 1"
