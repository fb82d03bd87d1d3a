"""The viewer's parts that need no browser, compared with closed forms and slower references."""

import math
import socket

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax import methods
from nerf_jax.app.commands.view import load_viewer
from nerf_jax.app.normals import color_normals, normals
from nerf_jax.app.viewer.picture import (
    MAX_DEPTH,
    DisplayOptions,
    ViewRenderer,
    make_box,
    render_in_box,
)
from nerf_jax.app.viewer.render_loop import AdaptiveResolution, next_size
from nerf_jax.app.viewer.scene_tree import box_edges
from nerf_jax.app.viewer.server import HOST, crop_limits, free_port
from nerf_jax.app.viewer.viewpoints import Photos, cameras_along, viewpoints_along
from nerf_jax.cameras import cast_rays, project
from nerf_jax.compositing import over
from nerf_jax.config import HashConfig, ProposalConfig
from nerf_jax.contraction import Box
from nerf_jax.render import image_renderer, render_rays
from nerf_jax.sampling import stratified
from nerf_jax.types import Cameras, Rays, Rendering
from tests import closed_forms, small
from tests.app.viewer.pages import ball_method, ball_scene, photos_of_ball, view_from

# Picture sizes.


def test_sizes_keep_the_shape_and_the_longer_side():
    assert view_from((1.0, 0.0, 0.0), aspect=2.0).image_size(512) == (256, 512)
    assert view_from((1.0, 0.0, 0.0), aspect=0.5).image_size(512) == (512, 256)
    assert view_from((1.0, 0.0, 0.0), aspect=1.0).image_size(400) == (400, 400)
    assert view_from((1.0, 0.0, 0.0), aspect=1000.0).image_size(64) == (1, 64)


@pytest.mark.parametrize("seconds_per_ray", [1e-8, 3e-6, 1e-4])
def test_adaptive_resolution_finds_the_size_that_comes_in_time(seconds_per_ray):
    resolution, full, budget = AdaptiveResolution(), (512, 288), 0.15
    for _ in range(20):
        rays = math.prod(resolution.largest(full, budget))
        resolution.record(rays, rays * seconds_per_ray)
    height, width = resolution.largest(full, budget)
    assert height * width * seconds_per_ray <= budget
    if (height, width) != full:
        assert 2.1 * height * width * seconds_per_ray > budget, "the next size takes longer"
    assert abs(height / width - full[0] / full[1]) < 0.05


def test_the_estimate_rises_at_once_and_falls_slowly():
    resolution = AdaptiveResolution()
    resolution.record(100, 1.0)
    assert resolution.seconds_per_ray == 0.01
    resolution.record(100, 0.1)
    assert 0.005 < resolution.seconds_per_ray < 0.01
    evenly = AdaptiveResolution(slower=0.5, faster=0.5)
    for seconds in (1.0, 3.0) * 20:
        evenly.record(100, seconds)
    assert 0.015 < evenly.seconds_per_ray < 0.025, "equal weights give the mean"
    for _ in range(100):
        resolution.record(100, 100.0)
    assert resolution.largest((1024, 1024), 0.15)[0] >= 8, "never smaller"


def test_sizes_grow_threefold_up_to_the_full_one():
    sizes = [(50, 64)]
    while (size := next_size(sizes[-1], (400, 512))) is not None:
        sizes.append(size)
    assert sizes == [(50, 64), (150, 192), (400, 512)]
    tiny = [(15, 19)]
    while (size := next_size(tiny[-1], (405, 513))) is not None:
        tiny.append(size)
    work = [height * width for height, width in tiny]
    assert sum(work[:-1]) < 0.13 * work[-1]
    assert next_size((400, 512), (200, 256)) is None
    assert next_size((300, 384), (400, 512)) == (400, 512), "no step that is hardly visible"


# Cameras and rendering.


def test_the_camera_of_a_view_casts_its_rays():
    view, size_hw = view_from((3.0, -2.0, 1.0), fov_degrees=50, aspect=2.0), (30, 60)
    camera = view.camera(size_hw, (0.5, 7.0))
    middle = cast_rays(camera, 0, jnp.array([30.0, 15.0]))
    np.testing.assert_allclose(middle.direction, view.forward, atol=1e-6)
    np.testing.assert_allclose(middle.origin, view.origin, atol=1e-6)
    assert (middle.near, middle.far) == (0.5, 7.0)
    top, bottom = (cast_rays(camera, 0, jnp.array([30.0, row])).direction for row in (0.0, 30.0))
    assert np.isclose(np.degrees(np.arccos(top @ bottom)), 50, atol=1e-3)
    left, right = (cast_rays(camera, 0, jnp.array([c, 15.0])).direction for c in (0.0, 60.0))
    across = 2 * np.degrees(np.arctan(2 * np.tan(np.radians(25))))
    assert np.isclose(np.degrees(np.arccos(left @ right)), across, atol=1e-3)


def test_images_of_any_size_show_the_same():
    """A coarse picture is stretched to the canvas, whose aspect differs a little."""
    view = view_from((3.0, -2.0, 1.0), aspect=1.5)
    point = jnp.array([0.2, 0.3, -0.1])
    found = [
        np.asarray(project(view.camera(size, (1.0, 9.0)), 0, point)[0]) / size[::-1]
        for size in ((200, 300), (7, 10), (20, 31))
    ]
    np.testing.assert_allclose(found, np.broadcast_to(found[0], (3, 2)), rtol=1e-5)


@pytest.mark.slow
def test_bands_are_the_picture(tmp_path):
    scene, size_hw = ball_scene(tmp_path), (21, 17)
    renderer = ViewRenderer(scene.config, scene.model)
    renderer.rays_per_call = 64
    camera, calls = view_from((4.0, 0.0, 1.0)).camera(size_hw, (2.0, 6.0)), []
    picture = renderer.render(scene, camera, size_hw, None, lambda: calls.append(1) or True)
    assert len(calls) == 7, "of three rows each"
    for leaf, other in zip(scene.render(camera, 0, size_hw), picture, strict=True):
        np.testing.assert_allclose(other, leaf, atol=1e-5)


def test_rendering_can_be_cancelled(tmp_path):
    scene = ball_scene(tmp_path)
    renderer, view = ViewRenderer(scene.config, scene.model), view_from((4.0, 0.0, 1.0))
    asked = []

    def keep_going() -> bool:
        asked.append(1)
        return len(asked) < 3

    camera = view.camera((64, 64), (2.0, 6.0))
    assert renderer.render(scene, camera, (64, 64), None, keep_going) is None
    assert len(asked) == 3 < 64 * 64 // renderer.rays_per_call
    whole = renderer.render(scene, camera, (64, 64), None)
    np.testing.assert_allclose(whole.rgb, scene.render(camera, 0, (64, 64)).rgb, atol=1e-5)


# Crop boxes.


@pytest.mark.slow
def test_the_crop_box_against_the_closed_form():
    """A uniform ball, cut at planes: the Beer-Lambert law along the rest of each chord."""
    sigma, rgb, num_samples = 1.5, np.array([0.2, 0.5, 0.9]), 400
    field = closed_forms.ball(sigma, rgb)

    def render(params, aux, rays: Rays) -> Rendering:
        edges = jax.vmap(lambda ray: stratified(None, ray.near, ray.far, num_samples))(rays)
        rendering, _ = render_rays(field, (), rays, edges)
        return rendering._replace(rgb=over(rendering.rgb, rendering.opacity, jnp.ones(3)))

    heights = np.array([0.0, 0.3, 0.6, -0.5])
    rays = [closed_forms.ray((-4, 0.1, height), (1, 0, 0)) for height in heights]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rays)
    box = Box(jnp.array([-0.2, -1.0, -0.4]), jnp.array([2.0, 1.0, 2.0]))
    rendering = jax.jit(render_in_box(render, jnp.ones(3)))(((), box), (), batch)
    half = np.sqrt(1 - 0.01 - heights**2)
    for number in range(3):
        exact = closed_forms.uniform(3.8, 0.2 + half[number], sigma, rgb)
        shown = exact.rgb + 1 - exact.opacity
        np.testing.assert_allclose(rendering.opacity[number], exact.opacity, atol=0.01)
        np.testing.assert_allclose(rendering.rgb[number], shown, atol=0.01)
        np.testing.assert_allclose(rendering.depth[number], exact.depth, atol=0.01)
        np.testing.assert_allclose(rendering.median_depth[number], exact.median_depth, atol=0.01)
    missed = jax.tree.map(lambda leaf: leaf[3], rendering)
    np.testing.assert_array_equal(missed.rgb, [1, 1, 1])
    assert (missed.opacity, missed.depth, missed.median_depth) == (0, 6, 6)
    everything = jax.jit(render_in_box(render, jnp.ones(3)))(((), make_box(None)), (), batch)
    for leaf, other in zip(render((), (), batch), everything, strict=True):
        np.testing.assert_allclose(other, leaf, atol=1e-5)


GRID = {"num_levels": 2, "max_entries": 2**8, "max_resolution": 32, "width": 8}
METHODS = {
    "nerf": small.config().model,
    "hash": HashConfig(
        **GRID, grid_resolution=16, num_candidates=32, max_samples=1024, density_bias=1.0
    ),
    "proposal": ProposalConfig(
        **GRID, space="contracted", num_proposals=(16,), proposal_resolutions=(16,), num_samples=8
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_cropped(name):
    """Rays that miss the box are transparent, and all values are finite."""
    method = {"nerf": methods.nerf, "hash": methods.hash_grid, "proposal": methods.proposal}[name](
        METHODS[name], "black"
    )
    cameras, size_hw = photos_of_ball().cameras, (small.SIZE, small.SIZE)
    params, aux = jax.jit(lambda key: method.init(key, cameras, size_hw))(jax.random.key(0))
    rays = [closed_forms.ray((-4, y, 0.1), (1, 0.1, 0.05)) for y in np.linspace(-1.5, 1.5, 16)]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rays)
    box = make_box(((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5)))
    rendering = jax.jit(render_in_box(method.render, jnp.zeros(3)))((params, box), aux, batch)
    assert all(np.isfinite(leaf).all() for leaf in rendering)
    through = np.asarray(batch.origin + 4 * batch.direction)[:, 1]
    hits = np.abs(through) < 0.4
    assert (np.asarray(rendering.opacity)[hits] > 0).all()
    assert not np.asarray(rendering.opacity)[np.abs(through) > 0.7].any()
    assert (np.asarray(rendering.median_depth)[hits] > 3.3).all()


def test_the_edges_of_a_box():
    found = box_edges(((0.0, 1.0, 2.0), (1.0, 3.0, 5.0)))
    lengths = np.linalg.norm(found[:, 1] - found[:, 0], axis=1)
    assert sorted(lengths.tolist()) == [1] * 4 + [2] * 4 + [3] * 4
    assert len({tuple(sorted(map(tuple, edge.tolist()))) for edge in found}) == 12


# Pictures.


def rendering_and_camera(size_hw=(9, 12)) -> tuple[Rendering, Cameras]:
    view = view_from((4.0, -1.0, 1.0), aspect=size_hw[1] / size_hw[0])
    camera = view.camera(size_hw, (2.0, 6.0))
    return image_renderer(ball_method().render, 64)((), (), camera, 0, size_hw), camera


def picture_of(rendering: Rendering, camera: Cameras, options: DisplayOptions):
    return ViewRenderer(small.config(), ball_method()).picture(rendering, camera, options)


def test_another_background_is_composited_exactly():
    rendering, camera = rendering_and_camera()
    opacity = np.asarray(rendering.opacity)[..., None]
    alone = np.asarray(rendering.rgb) - (1 - opacity)
    assert 0 < opacity.min() + 0.01 < opacity.max()
    for background in ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.2, 0.4, 1.0)):
        picture = picture_of(rendering, camera, DisplayOptions(background=background))
        exact = alone + (1 - opacity) * np.array(background)
        np.testing.assert_allclose(picture.pixels, 255 * exact, atol=0.51)
        assert picture.depth is None


def test_depth_opacity_and_normals():
    rendering, camera = rendering_and_camera((40, 50))
    solid = np.asarray(rendering.opacity) > 0.99
    empty = np.asarray(rendering.opacity) < 0.01
    assert solid.sum() > 300 < empty.sum()
    blue = (0.0, 0.0, 1.0)
    pictures = {
        show: picture_of(rendering, camera, DisplayOptions(show, blue)).pixels
        for show in ("Colour", "Depth", "Opacity", "Normals")
    }
    assert (pictures["Opacity"][solid] > 250).all()
    assert (pictures["Opacity"][empty] < 3).all()
    for show in ("Colour", "Depth", "Normals"):
        np.testing.assert_allclose(pictures[show][empty], [[0, 0, 255]] * empty.sum(), atol=3)
    exact = normals(rendering.median_depth, rendering.opacity, camera, (40, 50))
    exact = color_normals(exact, rendering.opacity)[solid]
    np.testing.assert_allclose(pictures["Normals"][solid] / 255, exact, atol=0.02)
    distance = np.asarray(rendering.median_depth)
    near = pictures["Depth"][distance == distance.min()][0].astype(int)
    assert near[0] > near[2] + 50, "near is red"


def test_the_depth_of_a_picture_is_along_the_axis():
    rendering, camera = rendering_and_camera((40, 50))
    depth = picture_of(rendering, camera, DisplayOptions(depth=True)).depth
    for row, column in ((20, 25), (15, 33)):
        ray = cast_rays(camera, 0, jnp.array([column, row]))
        point = ray.origin + rendering.median_depth[row, column] * ray.direction
        np.testing.assert_allclose(depth[row, column], project(camera, 0, point)[1], rtol=1e-5)
    assert depth[0, 0] == np.float32(MAX_DEPTH)


# Photos.


def test_viewpoints_of_photos_and_the_nearest_one():
    photos = photos_of_ball()
    for number in range(4):
        view = photos.viewpoint(number)
        camera = view.camera(photos.size_hw, (2.0, 6.0))
        np.testing.assert_allclose(camera.focal[0], photos.cameras.focal[number], rtol=1e-5)
        assert photos.nearest(view) == number
        away = view._replace(world_from_camera=view.world_from_camera + 0.01)
        assert photos.nearest(away) == number
        np.testing.assert_allclose(photos.orbit_center(view), 0, atol=1e-5)
    # From the same position in the opposite direction, another photo is nearer.
    opposite = view_from(photos.viewpoint(0).origin, target=2 * photos.viewpoint(0).origin)
    scores = [
        np.linalg.norm(photos.viewpoint(n).origin - opposite.origin) / photos.focus_distance
        + np.arccos(np.clip(photos.viewpoint(n).forward @ opposite.forward, -1, 1))
        for n in range(4)
    ]
    assert photos.nearest(opposite) == int(np.argmin(scores))
    assert photos.initial_viewpoint() is not None
    assert any(
        np.array_equal(photos.initial_viewpoint()[0], photos.viewpoint(n)[0]) for n in range(4)
    )


def test_bounds_of_rays_closer_and_farther_than_the_photos():
    photos = photos_of_ball()
    np.testing.assert_allclose(photos.bounds(photos.origins[0]), (2, 6), atol=1e-4)
    np.testing.assert_allclose(photos.bounds(np.array([0.0, 9.0, 0.0])), (2, 11), atol=1e-4)
    np.testing.assert_allclose(photos.bounds(np.array([0.0, 3.0, 0.0])), (1, 6), atol=1e-4)
    near, far = photos.bounds(np.zeros(3))
    assert 0 < near < 0.1
    assert far == 6


def test_photos_are_composited_on_white():
    photos = photos_of_ball()
    picture = photos.thumbnail(1, 32)
    assert picture.shape == (32, 32, 3)
    np.testing.assert_array_equal(picture[0, 0], [255, 255, 255])
    rgba = np.asarray(photos.pixels[1]) / 255
    mean = (rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]).mean(axis=(0, 1))
    np.testing.assert_allclose(picture.mean(axis=(0, 1)) / 255, mean, atol=0.02)
    assert Photos(photos.names, photos.cameras, photos.size_hw).thumbnail(1, 32) is None


def test_a_single_photo():
    photos = photos_of_ball()
    one = Photos(
        photos.names[:1], jax.tree.map(lambda leaf: leaf[:1], photos.cameras), photos.size_hw
    )
    assert one.frustum_size > 0 < one.focus_distance
    assert np.isfinite(one.orbit_center(one.initial_viewpoint())).all()


def test_crop_limits_around_the_focus():
    photos, config = photos_of_ball(), small.config()
    low, high = crop_limits(config, photos)
    np.testing.assert_allclose(high, 6, atol=1e-3)
    np.testing.assert_allclose(low, -6, atol=1e-3)


# Key frames.


def test_the_path_through_key_frames():
    keys = [
        view_from((4.0, 0.0, 1.0), fov_degrees=40),
        view_from((0.0, 4.0, 1.0), fov_degrees=60),
        view_from((-4.0, 0.0, 3.0), fov_degrees=40),
    ]
    path = viewpoints_along(keys, 41)
    for key, frame in zip(keys, (0, 20, 40), strict=True):
        np.testing.assert_allclose(path[frame].world_from_camera, key.world_from_camera, atol=1e-6)
        assert np.isclose(path[frame].fov_radians, key.fov_radians)
    poses = np.stack([view.world_from_camera for view in path])
    turns = poses[:, :, :3]
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), [np.eye(3)] * 41, atol=1e-9)
    assert np.allclose(np.linalg.det(turns), 1)
    steps = np.linalg.norm(np.diff(poses, axis=0), axis=(1, 2))
    assert steps.max() < 3 * steps.mean(), "no jump"
    assert np.abs(np.diff(steps)).max() < 0.3 * steps.mean(), "no jerk, at the middle key either"


@pytest.mark.parametrize("count", [1, 2])
def test_few_key_frames(count):
    keys = [view_from((4.0, 0.0, 1.0)), view_from((0.0, 4.0, 1.0))][:count]
    path = viewpoints_along(keys, 5)
    assert len(path) == 5
    np.testing.assert_allclose(path[-1].world_from_camera, keys[-1].world_from_camera, atol=1e-6)
    # Around the point that both look at, not through it.
    expected = {1: (4, 0, 1), 2: (8**0.5, 8**0.5, 1)}[count]
    np.testing.assert_allclose(path[2].origin, expected, atol=1e-6)


def test_rotations_take_the_shorter_direction():
    """A rotation by more than pi is one by less than pi in the other direction."""
    keys = [view_from((0.0, 0.0, 0.0), (np.cos(a), np.sin(a), 0.0)) for a in (3.0, -3.0)]
    middle = viewpoints_along(keys, 3)[1]
    np.testing.assert_allclose(middle.forward, [-1, 0, 0], atol=1e-6)


def test_cameras_along_have_the_size_of_the_video():
    keys = [view_from((4.0, 0.0, 1.0), aspect=3.0), view_from((0.0, 4.0, 1.0), aspect=3.0)]
    path = cameras_along(viewpoints_along(keys, 7), (90, 120), (1.0, 8.0))
    assert path.world_from_camera.shape == (7, 3, 4)
    np.testing.assert_allclose(path.principal, [[60, 45]] * 7)
    np.testing.assert_allclose(path.focal[:, 0], path.focal[:, 1], rtol=1e-5)


# Ports.


def test_ports():
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) > port
        with pytest.raises(OSError, match=f"no port from {port} to {port} is free"):
            free_port(port, tries=1)
    for wrong in (0, -1, 65536):
        with pytest.raises(ValueError, match=f"port must be between 1 and 65535, but is {wrong}"):
            load_viewer(wrong)
