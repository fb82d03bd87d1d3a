"""Videos of a ball with known pixels: their content, and interrupted renders that continue."""

import dataclasses
import json
import subprocess
import sys
import weakref
from pathlib import Path

import imageio_ffmpeg
import jax
import jax.numpy as jnp
import numpy as np
import OpenEXR
import pytest
from PIL import Image

from nerf_jax import methods
from nerf_jax.app.camera_paths import ellipse_path, orbit_path, spline_path
from nerf_jax.app.runs import Clock, Run
from nerf_jax.app.scene_cameras import SceneCameras, SplitCameras
from nerf_jax.app.trained import Trained
from nerf_jax.app.video import frame_size, render_video
from nerf_jax.app.video.frames import Frame, Frames
from nerf_jax.app.video.outputs import depth_scale, plot_depth_scale
from nerf_jax.app.video.trajectory import make_trajectory
from nerf_jax.cameras import cast_image_rays, focus_point, project, reframe
from nerf_jax.config import RenderConfig
from nerf_jax.train import TrainState
from nerf_jax.types import Cameras, Rendering
from tests import small
from tests.app.video.test_path_files import write_cameras

UNIT = 0.5
"""The world is half as large as in the dataset's files, rotated and translated."""
ROTATION = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], float)
WORLD_FROM_ORIGINAL = np.eye(4)
WORLD_FROM_ORIGINAL[:3] = np.concatenate([UNIT * ROTATION, [[0.3], [-0.2], [0.1]]], axis=1)
CENTER = np.array([0.15, -0.1, 0.2], np.float32)
COLOR = np.array([0.9, 0.4, 0.1], np.float32)


def render_ball(cameras: Cameras, image: int, size_hw: tuple[int, int]):
    """Distances along the rays to a ball of radius 1 at CENTER, inf if they miss it; the rays."""
    rays = jax.tree.map(np.asarray, cast_image_rays(cameras, image, size_hw))
    to_center = CENTER - rays.origin
    along = np.sum(to_center * rays.direction, axis=-1)
    inside = 1 - np.sum(to_center**2, axis=-1) + along**2
    distance = np.where(inside > 0, along - np.sqrt(np.maximum(inside, 0)), np.inf)
    return distance, rays.direction


class Ball:
    """A renderer that records the images it renders."""

    def __init__(self) -> None:
        self.rendered: list[int] = []

    def __call__(self, params, aux, cameras, image, size_hw) -> Rendering:
        self.rendered.append(image)
        distance, _ = render_ball(cameras, image, size_hw)
        solid = np.isfinite(distance)
        rgb = np.where(solid[..., None], COLOR, 1.0).astype(np.float32)
        depth = np.where(solid, distance, 6.0).astype(np.float32)
        return Rendering(rgb, solid.astype(np.float32), depth, depth)


def scene(tmp_path: Path, step: int = 8) -> Trained:
    cameras = small.dataset().cameras
    state = TrainState(jnp.int32(step), {"w": jnp.ones(3) * step}, (), (), jax.random.key(0))
    splits = {"train": SplitCameras(("a", "b", "c", "d"), cameras, (small.SIZE, small.SIZE))}
    all_cameras = SceneCameras(WORLD_FROM_ORIGINAL, splits)
    run, config = Run(tmp_path / "run"), small.config()
    return Trained(run, config, methods.build(config), state, Clock(), all_cameras, Ball())


def make_config(**changes) -> RenderConfig:
    return RenderConfig(**({"num_frames": 5, "fps": 10.0, "size": (48, 64)} | changes))


def path_of(config: RenderConfig) -> Cameras:
    """The cameras of the path of a config."""
    given = small.dataset().cameras
    make = {"orbit": orbit_path, "ellipse": ellipse_path, "spline": spline_path}[config.path]
    return reframe(make(given, config.num_frames), (small.SIZE, small.SIZE), config.size)


def centroid(picture: np.ndarray) -> np.ndarray:
    """The centroid of the pixels that are not white: column and row."""
    rows, columns = np.nonzero(picture[..., 2] < 170)
    return np.array([columns.mean(), rows.mean()]) + 0.5


@pytest.mark.parametrize("path", ["orbit", "ellipse", "spline"])
def test_a_video_shows_the_ball_at_its_projection(tmp_path, path):
    config = make_config(path=path, outputs=("color",))
    found = render_video(scene(tmp_path), config, folder=tmp_path)
    assert found == [tmp_path / f"{path}.mp4", tmp_path / "stills"]
    frames = small.read_video(tmp_path / f"{path}.mp4")
    assert frames.shape == (5, 48, 64, 3)
    cameras = path_of(config)
    for index, frame in enumerate(frames):
        # The outline of a ball is not symmetric about its centre, but nearly.
        center = project(cameras, index, CENTER)[0]
        np.testing.assert_allclose(centroid(frame), center, atol=1.5)
        assert (
            np.abs(frame[round(float(center[1])), round(float(center[0]))] / 255 - COLOR).max()
            < 0.1
        )
    assert sorted(still.name for still in (tmp_path / "stills").iterdir())[0] == "000_color.png"
    assert not (tmp_path / "frames").exists()


def test_a_spiral_looks_at_the_surface_before_the_central_camera(tmp_path):
    """One additional rendering finds the front of the ball."""
    trained = scene(tmp_path)
    render_video(trained, make_config(path="spiral", formats=("png",)), folder=tmp_path)
    assert len(trained.renderer.rendered) == 6
    pictures = [np.asarray(Image.open(path)) for path in (tmp_path / "spiral_png").iterdir()]
    centroids = np.array([centroid(picture) for picture in pictures])
    assert np.abs(centroids - [32, 24]).max() < 6


def test_a_spiral_before_empty_space_looks_at_the_focus_point(tmp_path):
    trained = scene(tmp_path)
    zeros = np.zeros((small.SIZE, small.SIZE), np.float32)
    empty = Rendering(np.ones((small.SIZE, small.SIZE, 3), np.float32), zeros, zeros, zeros)
    trained = dataclasses.replace(trained, renderer=lambda *_: empty)
    path = make_trajectory(trained, make_config(path="spiral"), None).cameras
    np.testing.assert_allclose(focus_point(path.world_from_camera), 0, atol=1e-4)


@pytest.mark.parametrize(
    ("path", "turned", "choice"),
    [
        ("orbit", True, "tour, spline, or a"),
        ("spiral", True, "tour, spline, or a"),
        ("tour", False, "a"),
    ],
)
def test_a_path_that_the_cameras_do_not_allow_names_those_that_they_do(
    tmp_path, path, turned, choice
):
    trained = scene(tmp_path)
    split = trained.all_cameras.splits["train"]
    poses = split.cameras.world_from_camera.copy()
    poses[:, :, 3] = [0, 0, 5]
    poses[:, :, :3] = poses[:, :, :3] if turned else poses[0, :, :3]
    split = split._replace(cameras=split.cameras._replace(world_from_camera=poses))
    one_place = SceneCameras(WORLD_FROM_ORIGINAL, {"train": split})
    trained = dataclasses.replace(trained, all_cameras=one_place)
    message = rf"render\.path '{path}' is not possible from 4 .*; choose {choice} camera-path"
    with pytest.raises(ValueError, match=message):
        make_trajectory(trained, make_config(path=path), None)


def test_depth_and_normals_in_colour(tmp_path):
    config = make_config(outputs=("depth", "normals"), formats=("png",))
    render_video(scene(tmp_path), config, folder=tmp_path)
    cameras = path_of(config)
    about = json.loads((tmp_path / "orbit_depth.json").read_text())
    distances = np.stack([render_ball(cameras, index, (48, 64))[0] for index in range(5)])
    solid = distances[np.isfinite(distances)] / UNIT
    near, far = about["colors"]["red"], about["colors"]["blue"]
    np.testing.assert_allclose([near, far], np.percentile(solid, [1, 99]), rtol=1e-4)
    assert about["world_units_in_a_unit"] == pytest.approx(UNIT)
    for index in range(5):
        depth = np.asarray(Image.open(tmp_path / "orbit_depth_png" / f"{index:05d}.png"))
        normal = np.asarray(Image.open(tmp_path / "orbit_normals_png" / f"{index:05d}.png"))
        distance, direction = render_ball(cameras, index, (48, 64))
        hit = np.isfinite(distance)
        assert (depth[~hit] == 255).all()
        assert (normal[~hit] == 255).all()
        front = distance == distance.min()
        rim = hit & (distance > near * UNIT + 0.9 * (far - near) * UNIT)
        assert (depth[front][:, 0] > depth[front][:, 2]).all()  # red is near, blue is far
        assert (depth[rim][:, 2] > depth[rim][:, 0]).all()
        expected = cameras.world_from_camera[index, :, 3] + distance[hit][:, None] * direction[hit]
        error = normal[hit] / 127.5 - 1 - (expected - CENTER)
        assert np.median(np.linalg.norm(error, axis=1)) < 0.15  # of steps from pixel to pixel


def test_numerical_values_are_exact_and_in_the_units_of_the_files(tmp_path):
    config = make_config(outputs=("color", "depth", "normals"), formats=("png16", "exr"))
    render_video(scene(tmp_path), config, folder=tmp_path)
    cameras = path_of(config)
    for index in range(5):
        distance, direction = render_ball(cameras, index, (48, 64))
        axis = -cameras.world_from_camera[index, :, 2]
        expected = np.where(np.isfinite(distance), distance * (direction @ axis) / UNIT, 0.0)
        image = Image.open(tmp_path / "orbit_depth_png16" / f"{index:05d}.png")
        assert np.abs(np.asarray(image) / 1000 - expected).max() < 0.51e-3
        depth = channels(tmp_path / "orbit_depth_exr" / f"{index:05d}.exr")["Z"]
        assert depth.dtype == np.float32
        np.testing.assert_allclose(depth, expected, rtol=1e-5)
        hit = np.isfinite(distance)
        rgb = channels(tmp_path / "orbit_exr" / f"{index:05d}.exr")["RGB"]
        np.testing.assert_allclose(rgb[hit], np.broadcast_to(LINEAR, (hit.sum(), 3)), rtol=1e-3)
        assert (rgb[~hit] == 1).all()
        found = channels(tmp_path / "orbit_normals_exr" / f"{index:05d}.exr")
        normals = np.stack([found[f"N.{axis}"] for axis in "XYZ"], axis=-1)[hit]
        position = cameras.world_from_camera[index, :, 3] + distance[hit][:, None] * direction[hit]
        error = normals @ ROTATION.T - (position - CENTER)
        assert np.median(np.linalg.norm(error, axis=1)) < 0.15
    rgb = read_rgb48(tmp_path / "orbit_png16" / "00000.png", (48, 64))
    np.testing.assert_array_equal(rgb[24, 32], np.round(COLOR * 65535))


LINEAR = ((COLOR + 0.055) / 1.055) ** 2.4
"""COLOR is bright enough for sRGB's power law."""


def channels(path: Path) -> dict[str, np.ndarray]:
    with OpenEXR.File(str(path)) as file:
        return {name: channel.pixels for name, channel in file.channels().items()}


def read_rgb48(path: Path, size_hw: tuple[int, int]) -> np.ndarray:
    """By ffmpeg: Pillow reads only the upper half of each number."""
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb48le", "-"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path), *raw]
    read = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(read, "<u2").reshape(*size_hw, 3)


def test_depth_beyond_sixteen_bits_is_reported(tmp_path, capsys):
    config = make_config(outputs=("depth",), formats=("png16",), depth_unit=1e-5)
    render_video(scene(tmp_path), config, folder=tmp_path)
    assert "png16 depth is cut off at 0.65535: raise --depth-unit" in (capsys.readouterr().out)
    image = np.asarray(Image.open(tmp_path / "orbit_depth_png16" / "00000.png"))
    assert set(np.unique(image)) == {0, 65535}


def test_a_gif_has_every_frame(tmp_path):
    config = make_config(outputs=("color",), formats=("gif",), fps=12.5, size=(33, 47))
    render_video(scene(tmp_path), config, folder=tmp_path)
    with Image.open(tmp_path / "orbit.gif") as gif:
        assert (gif.n_frames, gif.size) == (5, (47, 33))
        assert gif.info["loop"] == 0
        for index in range(5):
            gif.seek(index)
            assert gif.info["duration"] == 80
            inside = np.asarray(gif.convert("RGB"))[16, 23] / 255
            np.testing.assert_allclose(inside, COLOR, atol=0.03)


def test_the_depth_scale_holds_one_frame_in_memory():
    alive: set[int] = set()
    most = []

    class Counted(Frames):
        def read(self, index: int) -> Frame:
            depth = np.full((20, 30), 2.0 + index, np.float32)
            alive.add(index)
            weakref.finalize(depth, alive.remove, index)
            most.append(len(alive))
            return Frame(np.zeros((20, 30, 3), np.float32), np.ones_like(depth), depth)

    near, far = depth_scale(Counted(Path(), 100))
    assert max(most) <= 2
    np.testing.assert_allclose([near, far], np.percentile(np.arange(100) + 2, [1, 99]), atol=1)


# ------------------------------------------------------------------ interrupted renders


class Interrupted(Exception):
    pass


def interrupt(done: int, total: int) -> None:
    if done == 3:
        raise Interrupted


def interrupted_render(trained: Trained, config: RenderConfig, folder: Path) -> None:
    with pytest.raises(Interrupted):
        render_video(trained, config, folder=folder, on_progress=interrupt)
    trained.renderer.rendered.clear()


def test_an_interrupted_render_continues(tmp_path, capsys):
    trained, config = scene(tmp_path), make_config(num_frames=6)
    interrupted_render(trained, config, tmp_path)
    assert len(list((tmp_path / "frames" / "orbit").glob("*.npz"))) == 3
    progress: list[tuple[int, int]] = []
    render_video(trained, config, folder=tmp_path, on_progress=lambda *done: progress.append(done))
    assert trained.renderer.rendered == [3, 4, 5]
    assert progress == [(4, 6), (5, 6), (6, 6)]
    assert "3 of 6 frames exist already" in capsys.readouterr().out
    whole = render_video(scene(tmp_path), config, folder=tmp_path / "whole")
    for path in whole[:2]:
        resumed = small.read_video(tmp_path / path.name)
        np.testing.assert_array_equal(resumed, small.read_video(path))
    assert not (tmp_path / "frames").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", [{"size": (48, 62)}, {"num_frames": 7}, {"elevation_degrees": 40.0}, {"step": 9}]
)
def test_another_path_size_or_checkpoint_is_rendered_anew(tmp_path, change):
    interrupted_render(scene(tmp_path), make_config(), tmp_path)
    trained = scene(tmp_path, change.pop("step", 8))
    config = make_config(**change)
    render_video(trained, config, folder=tmp_path)
    assert trained.renderer.rendered == list(range(config.num_frames))


def test_kept_frames_serve_other_outputs_and_formats(tmp_path):
    trained, config = scene(tmp_path), make_config(keep_frames=True)
    render_video(trained, config, folder=tmp_path)
    trained.renderer.rendered.clear()
    again = make_config(outputs=("normals",), formats=("gif",), fps=3.0)
    render_video(trained, again, folder=tmp_path)
    assert trained.renderer.rendered == []
    assert (tmp_path / "orbit_normals.gif").is_file()


def test_a_damaged_frame_is_named(tmp_path):
    trained, config = scene(tmp_path), make_config(num_frames=4)
    interrupted_render(trained, config, tmp_path)
    frame = tmp_path / "frames" / "orbit" / "00001.npz"
    frame.write_bytes(frame.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"00001.npz: damaged .* delete it and render again"):
        render_video(trained, config, folder=tmp_path)
    trained.renderer.rendered.clear()
    frame.unlink()
    render_video(trained, config, folder=tmp_path)
    assert trained.renderer.rendered == [1]


def test_other_files_in_the_folder_of_frames_are_kept(tmp_path):
    folder = tmp_path / "frames" / "orbit"
    folder.mkdir(parents=True)
    (folder / "photo.png").write_text("mine")
    interrupted_render(scene(tmp_path), make_config(), tmp_path)
    render_video(scene(tmp_path), make_config(num_frames=3), folder=tmp_path)
    assert [path.name for path in folder.iterdir()] == ["photo.png"]


def test_images_of_a_longer_path_are_deleted(tmp_path):
    for count in (6, 4):
        render_video(
            scene(tmp_path), make_config(num_frames=count, formats=("png",)), folder=tmp_path
        )
    names = sorted(path.name for path in (tmp_path / "orbit_png").iterdir())
    assert names == [f"{index:05d}.png" for index in range(4)]


# ------------------------------------------------------------------------- given paths


def test_given_cameras_are_rendered(tmp_path):
    trained, config = scene(tmp_path), make_config(outputs=("color",), size=None)
    assert frame_size(trained, config) == (small.SIZE, small.SIZE)
    found = render_video(trained, config, trained.cameras(), folder=tmp_path)
    assert found[0] == tmp_path / "path.mp4"
    frames = small.read_video(found[0])
    assert frames.shape == (4, small.SIZE, small.SIZE, 3)


@pytest.mark.slow
def test_a_path_file_sets_size_frame_rate_and_frames(tmp_path):
    cameras = small.dataset(num_images=3).cameras
    file = tmp_path / "flight.json"
    write_cameras(file, cameras, (16, 16), 24.0, WORLD_FROM_ORIGINAL)
    config = RenderConfig(path=str(file), formats=("gif",), outputs=("color",))
    render_video(scene(tmp_path), config, folder=tmp_path)
    with Image.open(tmp_path / "flight.gif") as gif:
        assert (gif.n_frames, gif.size) == (3, (16, 16))
        for index in range(3):
            gif.seek(index)
            assert gif.info["duration"] in (40, 50)
            center = project(cameras, index, CENTER)[0]
            picture = np.asarray(gif.convert("RGB"))
            np.testing.assert_allclose(centroid(picture), center, atol=1.5)
    config = RenderConfig(path=str(file), size=(20, 40), downscale=2, fps=5, outputs=("color",))
    render_video(scene(tmp_path), config, folder=tmp_path)
    assert small.read_video(tmp_path / "flight.mp4").shape == (3, 10, 20, 3)


# ------------------------------------------------------------------------ invalid input


@pytest.mark.parametrize(
    ("changes", "folder", "error", "expected"),
    [
        ({"num_frames": 0}, "", ValueError, "render.num_frames is 0: nothing to render"),
        ({}, "file/x", OSError, r"x: cannot be written to \(.*--output"),
        ({"formats": ("gif",), "fps": 60.0}, "", ValueError, "a GIF has 50 frames per second"),
        ({"path": "no.json"}, "", OSError, "no.json"),
    ],
)
def test_invalid_input_is_reported_before_rendering(tmp_path, changes, folder, error, expected):
    trained = scene(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(error, match=expected) as raised:
        render_video(trained, make_config(**changes), folder=tmp_path / folder)
    assert "\n" not in str(raised.value)
    assert not trained.renderer.rendered


def test_missing_programs_and_packages_are_reported_before_rendering(tmp_path, monkeypatch):
    trained = scene(tmp_path)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    with pytest.raises(OSError, match="no ffmpeg at /nowhere/ffmpeg"):
        render_video(trained, make_config(), folder=tmp_path)
    render_video(trained, make_config(formats=("png",)), folder=tmp_path)  # needs no ffmpeg
    assert trained.renderer.rendered == list(range(5))
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(ImportError, match=r"pip install 'nerf_jax\[exr\]'"):
        render_video(trained, make_config(formats=("exr",)), folder=tmp_path)


def test_the_depth_scale_is_plotted_from_near_to_far():
    picture = plot_depth_scale(2.0, 5.0)
    assert picture.shape == (90, 480, 3)
    bar = picture[20]
    colored = np.flatnonzero(np.ptp(bar, axis=-1) > 0.2)
    assert bar[colored[2], 0] > bar[colored[2], 2]  # red, near
    assert bar[colored[-3], 2] > bar[colored[-3], 0]  # blue, far
    assert plot_depth_scale(3.0, 3.0).shape == (90, 480, 3)  # of a flat wall
