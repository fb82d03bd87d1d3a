"""Films of a ball whose every pixel is known: what is in them, and what is not rendered twice."""

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
from nerf_jax.app.video.outputs import depth_scale, draw_scale
from nerf_jax.app.video.path_files import write_path
from nerf_jax.app.video.trajectory import make_trajectory
from nerf_jax.cameras import cast_rays, focus_point, project, reframe
from nerf_jax.config import RenderConfig
from nerf_jax.train import TrainState
from nerf_jax.types import Cameras, Rendering
from tests import small

UNIT = 0.5
"""The world is half as large as the dataset's files have it, and turned and moved."""
TURN = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], float)
WORLD_FROM_ORIGINAL = np.eye(4)
WORLD_FROM_ORIGINAL[:3] = np.concatenate([UNIT * TURN, [[0.3], [-0.2], [0.1]]], axis=1)
CENTER = np.array([0.15, -0.1, 0.2], np.float32)
COLOR = np.array([0.9, 0.4, 0.1], np.float32)


@jax.jit
def distances(cameras: Cameras, image, pixels):
    """Along the rays to a ball of radius 1 at CENTER, and the rays; inf beside it."""
    rays = jax.vmap(cast_rays, (None, None, 0))(cameras, image, pixels)
    to_center = CENTER[None] - rays.origin
    along = jnp.sum(to_center * rays.direction, axis=-1)
    inside = 1 - jnp.sum(to_center**2, axis=-1) + along**2
    hit = jnp.where(inside > 0, along - jnp.sqrt(jnp.maximum(inside, 0)), jnp.inf)
    return hit, rays.direction


def see_ball(cameras: Cameras, image: int, size_hw: tuple[int, int]):
    columns, rows = np.meshgrid(np.arange(size_hw[1]), np.arange(size_hw[0]))
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=1)
    hit, directions = distances(cameras, jnp.int32(image), pixels)
    return np.asarray(hit).reshape(size_hw), np.asarray(directions).reshape(*size_hw, 3)


class Ball:
    """A renderer that counts what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, params, aux, cameras, image, size_hw) -> Rendering:
        self.asked.append(image)
        hit, _ = see_ball(cameras, image, size_hw)
        solid = np.isfinite(hit)
        rgb = np.where(solid[..., None], COLOR, 1.0).astype(np.float32)
        depth = np.where(solid, hit, 6.0).astype(np.float32)
        return Rendering(rgb, solid.astype(np.float32), depth, depth)


def scene(tmp_path: Path, step: int = 8) -> Trained:
    cameras = small.dataset().cameras
    state = TrainState(jnp.int32(step), {"w": jnp.ones(3) * step}, (), (), jax.random.key(0))
    shots = {"train": SplitCameras(("a", "b", "c", "d"), cameras, (small.SIZE, small.SIZE))}
    setting = SceneCameras(WORLD_FROM_ORIGINAL, shots)
    run, config = Run(tmp_path / "run"), small.config()
    return Trained(run, config, methods.build(config), state, Clock(), setting, Ball())


def wanted(**changes) -> RenderConfig:
    return RenderConfig(**({"num_frames": 5, "fps": 10.0, "size": (48, 64)} | changes))


def path_of(config: RenderConfig) -> Cameras:
    """The cameras of the path of a config."""
    given = small.dataset().cameras
    make = {"orbit": orbit_path, "ellipse": ellipse_path, "spline": spline_path}[config.path]
    return reframe(make(given, config.num_frames), (small.SIZE, small.SIZE), config.size)


def middle(picture: np.ndarray) -> np.ndarray:
    """Of what is not white, column and row in pixels."""
    rows, columns = np.nonzero(picture[..., 2] < 170)
    return np.array([columns.mean(), rows.mean()]) + 0.5


@pytest.mark.parametrize("path", ["orbit", "ellipse", "spline"])
def test_a_video_shows_the_ball_where_it_is(tmp_path, path):
    config = wanted(path=path, outputs=("color",))
    found = render_video(scene(tmp_path), config, folder=tmp_path)
    assert found == [tmp_path / f"{path}.mp4", tmp_path / "stills"]
    frames = small.read_video(tmp_path / f"{path}.mp4")
    assert frames.shape == (5, 48, 64, 3)
    cameras = path_of(config)
    for number, frame in enumerate(frames):
        # The outline of a ball is not symmetric about its centre, but nearly.
        place = project(cameras, number, CENTER)[0]
        np.testing.assert_allclose(middle(frame), place, atol=1.5)
        assert (
            np.abs(frame[round(float(place[1])), round(float(place[0]))] / 255 - COLOR).max() < 0.1
        )
    assert sorted(still.name for still in (tmp_path / "stills").iterdir())[0] == "000_color.png"
    assert not (tmp_path / "frames").exists()


def test_a_spiral_is_around_what_the_middle_camera_sees(tmp_path):
    """The glance takes one rendering more; it finds the front of the ball."""
    there = scene(tmp_path)
    render_video(there, wanted(path="spiral", formats=("png",)), folder=tmp_path)
    assert len(there.renderer.asked) == 6
    pictures = [np.asarray(Image.open(path)) for path in (tmp_path / "spiral_png").iterdir()]
    middles = np.array([middle(picture) for picture in pictures])
    assert np.abs(middles - [32, 24]).max() < 6


def test_a_spiral_before_nothing_is_around_what_the_cameras_look_at(tmp_path):
    there = scene(tmp_path)
    empty = np.zeros((small.SIZE, small.SIZE), np.float32)
    nothing = Rendering(np.ones((small.SIZE, small.SIZE, 3), np.float32), empty, empty, empty)
    there = dataclasses.replace(there, renderer=lambda *asked: nothing)
    path = make_trajectory(there, wanted(path="spiral"), None).cameras
    np.testing.assert_allclose(focus_point(path.world_from_camera), 0, atol=1e-4)


def test_depth_and_normals_in_colour(tmp_path):
    config = wanted(outputs=("depth", "normals"), formats=("png",))
    render_video(scene(tmp_path), config, folder=tmp_path)
    cameras = path_of(config)
    about = json.loads((tmp_path / "orbit_depth.json").read_text())
    hits = np.stack([see_ball(cameras, number, (48, 64))[0] for number in range(5)])
    solid = hits[np.isfinite(hits)] / UNIT
    near, far = about["colors"]["red"], about["colors"]["blue"]
    np.testing.assert_allclose([near, far], np.percentile(solid, [1, 99]), rtol=1e-4)
    assert about["world_units_in_a_unit"] == pytest.approx(UNIT)
    for number in range(5):
        depth = np.asarray(Image.open(tmp_path / "orbit_depth_png" / f"{number:05d}.png"))
        normal = np.asarray(Image.open(tmp_path / "orbit_normals_png" / f"{number:05d}.png"))
        hit, direction = see_ball(cameras, number, (48, 64))
        there = np.isfinite(hit)
        assert (depth[~there] == 255).all()
        assert (normal[~there] == 255).all()
        front, rim = hit == hit.min(), there & (hit > near * UNIT + 0.9 * (far - near) * UNIT)
        assert (depth[front][:, 0] > depth[front][:, 2]).all()  # red is near, blue is far
        assert (depth[rim][:, 2] > depth[rim][:, 0]).all()
        expected = cameras.world_from_camera[number, :, 3] + hit[there][:, None] * direction[there]
        error = normal[there] / 127.5 - 1 - (expected - CENTER)
        assert np.median(np.linalg.norm(error, axis=1)) < 0.15  # of steps from pixel to pixel


def test_the_numbers_are_exact_and_in_the_units_of_the_files(tmp_path):
    config = wanted(outputs=("color", "depth", "normals"), formats=("png16", "exr"))
    render_video(scene(tmp_path), config, folder=tmp_path)
    cameras = path_of(config)
    for number in range(5):
        hit, direction = see_ball(cameras, number, (48, 64))
        axis = -cameras.world_from_camera[number, :, 2]
        expected = np.where(np.isfinite(hit), hit * (direction @ axis) / UNIT, 0.0)
        image = Image.open(tmp_path / "orbit_depth_png16" / f"{number:05d}.png")
        assert np.abs(np.asarray(image) / 1000 - expected).max() < 0.51e-3
        depth = channels(tmp_path / "orbit_depth_exr" / f"{number:05d}.exr")["Z"]
        assert depth.dtype == np.float32
        np.testing.assert_allclose(depth, expected, rtol=1e-5)
        there = np.isfinite(hit)
        rgb = channels(tmp_path / "orbit_exr" / f"{number:05d}.exr")["RGB"]
        np.testing.assert_allclose(rgb[there], np.broadcast_to(LINEAR, (there.sum(), 3)), rtol=1e-3)
        assert (rgb[~there] == 1).all()
        found = channels(tmp_path / "orbit_normals_exr" / f"{number:05d}.exr")
        normals = np.stack([found[f"N.{axis}"] for axis in "XYZ"], axis=-1)[there]
        place = cameras.world_from_camera[number, :, 3] + hit[there][:, None] * direction[there]
        error = normals @ TURN.T - (place - CENTER)
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


def test_depth_beyond_sixteen_bits_is_told(tmp_path, capsys):
    config = wanted(outputs=("depth",), formats=("png16",), depth_unit=1e-5)
    render_video(scene(tmp_path), config, folder=tmp_path)
    assert "png16 ends at 0.65535, and the scene does not: raise --depth-unit" in (
        capsys.readouterr().out
    )
    image = np.asarray(Image.open(tmp_path / "orbit_depth_png16" / "00000.png"))
    assert set(np.unique(image)) == {0, 65535}


def test_a_gif_has_every_frame(tmp_path):
    config = wanted(outputs=("color",), formats=("gif",), fps=12.5, size=(33, 47))
    render_video(scene(tmp_path), config, folder=tmp_path)
    with Image.open(tmp_path / "orbit.gif") as gif:
        assert (gif.n_frames, gif.size) == (5, (47, 33))
        assert gif.info["loop"] == 0
        for number in range(5):
            gif.seek(number)
            assert gif.info["duration"] == 80
            inside = np.asarray(gif.convert("RGB"))[16, 23] / 255
            np.testing.assert_allclose(inside, COLOR, atol=0.03)


def test_depths_scale_holds_a_frame_at_a_time():
    alive: set[int] = set()
    most = []

    class Counted(Frames):
        def read(self, number: int) -> Frame:
            depth = np.full((20, 30), 2.0 + number, np.float32)
            alive.add(number)
            weakref.finalize(depth, alive.remove, number)
            most.append(len(alive))
            return Frame(np.zeros((20, 30, 3), np.float32), np.ones_like(depth), depth)

    near, far = depth_scale(Counted(Path(), 100))
    assert max(most) <= 2
    np.testing.assert_allclose([near, far], np.percentile(np.arange(100) + 2, [1, 99]), atol=1)


# -------------------------------------------------------------------------- broken off


class BrokenOff(Exception):
    pass


def break_off(done: int, total: int) -> None:
    if done == 3:
        raise BrokenOff


def break_a_film(there: Trained, config: RenderConfig, folder: Path) -> None:
    with pytest.raises(BrokenOff):
        render_video(there, config, folder=folder, tell=break_off)
    there.renderer.asked.clear()


def test_a_render_that_was_broken_off_goes_on(tmp_path, capsys):
    there, config = scene(tmp_path), wanted(num_frames=6)
    break_a_film(there, config, tmp_path)
    assert len(list((tmp_path / "frames" / "orbit").glob("*.npz"))) == 3
    told: list[tuple[int, int]] = []
    render_video(there, config, folder=tmp_path, tell=lambda *counts: told.append(counts))
    assert there.renderer.asked == [3, 4, 5]
    assert told == [(4, 6), (5, 6), (6, 6)]
    assert "3 of 6 frames are there already" in capsys.readouterr().out
    whole = render_video(scene(tmp_path), config, folder=tmp_path / "whole")
    for path in whole[:2]:
        resumed = small.read_video(tmp_path / path.name)
        np.testing.assert_array_equal(resumed, small.read_video(path))
    assert not (tmp_path / "frames").exists()


@pytest.mark.parametrize(
    "change", [{"size": (48, 62)}, {"num_frames": 7}, {"elevation_degrees": 40.0}, {"step": 9}]
)
def test_another_path_size_or_checkpoint_is_rendered_anew(tmp_path, change):
    break_a_film(scene(tmp_path), wanted(), tmp_path)
    there = scene(tmp_path, change.pop("step", 8))
    config = wanted(**change)
    render_video(there, config, folder=tmp_path)
    assert there.renderer.asked == list(range(config.num_frames))


def test_what_was_seen_is_kept_if_asked_and_serves_other_formats(tmp_path):
    there, config = scene(tmp_path), wanted(keep_frames=True)
    render_video(there, config, folder=tmp_path)
    there.renderer.asked.clear()
    again = wanted(outputs=("normals",), formats=("gif",), fps=3.0)
    render_video(there, again, folder=tmp_path)
    assert there.renderer.asked == []
    assert (tmp_path / "orbit_normals.gif").is_file()


def test_a_frame_that_is_damaged_is_named(tmp_path):
    there, config = scene(tmp_path), wanted(num_frames=4)
    break_a_film(there, config, tmp_path)
    frame = tmp_path / "frames" / "orbit" / "00001.npz"
    frame.write_bytes(frame.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"00001.npz: damaged .* remove it and render again"):
        render_video(there, config, folder=tmp_path)
    there.renderer.asked.clear()
    frame.unlink()
    render_video(there, config, folder=tmp_path)
    assert there.renderer.asked == [1]


def test_what_others_keep_beside_the_frames_stays(tmp_path):
    folder = tmp_path / "frames" / "orbit"
    folder.mkdir(parents=True)
    (folder / "photo.png").write_text("mine")
    break_a_film(scene(tmp_path), wanted(), tmp_path)
    render_video(scene(tmp_path), wanted(num_frames=3), folder=tmp_path)
    assert [path.name for path in folder.iterdir()] == ["photo.png"]


def test_a_longer_film_leaves_no_frames_behind(tmp_path):
    for count in (6, 4):
        render_video(scene(tmp_path), wanted(num_frames=count, formats=("png",)), folder=tmp_path)
    names = sorted(path.name for path in (tmp_path / "orbit_png").iterdir())
    assert names == [f"{number:05d}.png" for number in range(4)]


# ------------------------------------------------------------------------- given paths


def test_key_frames_of_ones_own_are_flown(tmp_path):
    there, config = scene(tmp_path), wanted(outputs=("color",), size=None)
    assert frame_size(there, config) == (small.SIZE, small.SIZE)
    found = render_video(there, config, there.cameras(), folder=tmp_path)
    assert found[0] == tmp_path / "path.mp4"
    frames = small.read_video(found[0])
    assert frames.shape == (4, small.SIZE, small.SIZE, 3)


def test_a_paths_file_brings_its_size_rate_and_frames(tmp_path):
    cameras = small.dataset(num_images=3).cameras
    file = tmp_path / "flight.json"
    write_path(file, cameras, (16, 16), 24.0, WORLD_FROM_ORIGINAL)
    config = RenderConfig(path=str(file), formats=("gif",), outputs=("color",))
    render_video(scene(tmp_path), config, folder=tmp_path)
    with Image.open(tmp_path / "flight.gif") as gif:
        assert (gif.n_frames, gif.size) == (3, (16, 16))
        for number in range(3):
            gif.seek(number)
            assert gif.info["duration"] in (40, 50)
            place = project(cameras, number, CENTER)[0]
            picture = np.asarray(gif.convert("RGB"))
            np.testing.assert_allclose(middle(picture), place, atol=1.5)
    config = RenderConfig(path=str(file), size=(20, 40), downscale=2, fps=5, outputs=("color",))
    render_video(scene(tmp_path), config, folder=tmp_path)
    assert small.read_video(tmp_path / "flight.mp4").shape == (3, 10, 20, 3)


# ----------------------------------------------------------------------------- mistakes


def test_mistakes_are_told_before_anything_is_rendered(tmp_path, monkeypatch):
    there = scene(tmp_path)
    (tmp_path / "file").write_text("")
    mistakes = [
        (wanted(num_frames=0), tmp_path, ValueError, "render.num_frames is 0: nothing to render"),
        (wanted(), tmp_path / "file" / "x", OSError, r"x: cannot be written to \(.*--output"),
        (wanted(formats=("gif",), fps=60.0), tmp_path, ValueError, "a GIF has 50 frames a second"),
        (wanted(path="no.json"), tmp_path, OSError, "no.json"),
    ]
    for config, folder, kind, expected in mistakes:
        with pytest.raises(kind, match=expected) as raised:
            render_video(there, config, folder=folder)
        assert "\n" not in str(raised.value)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    with pytest.raises(OSError, match="no ffmpeg at /nowhere/ffmpeg"):
        render_video(there, wanted(), folder=tmp_path)
    render_video(there, wanted(formats=("png",)), folder=tmp_path)  # which needs none
    assert there.renderer.asked == list(range(5))
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(ImportError, match=r"pip install 'nerf_jax\[exr\]'"):
        render_video(there, wanted(formats=("exr",)), folder=tmp_path)


def test_the_scale_is_drawn_from_near_to_far():
    picture = draw_scale(2.0, 5.0)
    assert picture.shape == (90, 480, 3)
    bar = picture[20]
    colored = np.flatnonzero(np.ptp(bar, axis=-1) > 0.2)
    assert bar[colored[2], 0] > bar[colored[2], 2]  # red, near
    assert bar[colored[-3], 2] > bar[colored[-3], 0]  # blue, far
    assert draw_scale(3.0, 3.0).shape == (90, 480, 3)  # of a flat wall
